//! The backend: the way there, its clock, the login, and what the client may do.

use std::time::Duration;

use super::super::Chain;
use super::allocation;
use super::finding::Findings;
use crate::config::settings::{Auth, Instance, Settings};
use crate::core::allocation::Source;
use crate::core::call::{CallKind, Failure, FailureKind, Login};
use crate::core::ids::{Generation, InstanceId};
use crate::core::ordered;
use crate::core::params::Target;
use crate::io::http::HttpBackend;
use crate::io::http::reach::Reach;
use crate::ports::Authenticator as _;
use crate::wire::look::{Look, Seen};

/// Below this many days a certificate should be renewed.
const DAYS_ENOUGH: u64 = 14;
/// Further off than this many seconds a clock makes trouble: tokens that seem not to be valid yet, or any more.
const SKEW: i64 = 30;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

const DNS: &str = "dns";
const TCP: &str = "tcp";
const TLS: &str = "tls";
const CLOCK: &str = "clock";
const LOGIN: &str = "login";

/// Everything about the backend.
pub(super) async fn look(settings: &Settings, findings: &mut Findings) {
    way(settings, findings).await;
    let backend = match HttpBackend::new(&settings.environment, &settings.auth) {
        Ok(backend) => backend,
        Err(error) => return findings.fail(LOGIN, &Chain(&error).to_string(), "mend the key that is named"),
    };
    let login = backend.login(Login::Fresh, Generation(1)).await;
    match &login {
        Ok(logged_in) => {
            let lifetime = logged_in.lifetime.map(|lifetime| format!("; the token lives {} s", lifetime.as_secs()));
            findings.ok(LOGIN, &format!("accepted, {}{}", grant(&settings.auth), lifetime.unwrap_or_default()));
        }
        Err(failure) => findings.fail(LOGIN, &failure.to_string(), login_advice(failure)),
    }
    permissions(settings, &backend, login.is_ok(), findings).await;
    clock(&backend, findings);
}

/// Name, connection, certificates: each only if the one before is good.
async fn way(settings: &Settings, findings: &mut Findings) {
    let reach = match Reach::new(&settings.environment) {
        Ok(reach) => reach,
        Err(error) => return findings.fail(DNS, &Chain(&error).to_string(), "mend the key that is named"),
    };
    let host = reach.host();
    let addresses = match reach.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            let advice = "check environment.url, /etc/resolv.conf, and whether this machine may ask its name servers";
            return findings.fail(DNS, &format!("{host} has no address: {error}"), advice);
        }
    };
    let shown: Vec<String> = addresses.iter().take(4).map(|address| address.ip().to_string()).collect();
    findings.ok(DNS, &format!("{host} is {}", shown.join(", ")));
    let stream = match reach.connect(&addresses).await {
        Ok(stream) => stream,
        Err(error) => {
            let advice =
                "check the port of environment.url, firewalls, and that no proxy is needed: the agent uses none";
            let port = addresses.first().map_or(0, std::net::SocketAddr::port);
            return findings.fail(TCP, &format!("no connection to {host} port {port}: {error}"), advice);
        }
    };
    let peer = stream.peer_addr().map_or_else(|_gone| host.to_owned(), |address| address.to_string());
    findings.ok(TCP, &format!("connected to {peer}"));
    match reach.shake_hands(stream).await {
        Ok(None) => findings.not_checked(TLS, "environment.url is http, which is allowed to this machine only"),
        Ok(Some(chain)) if chain.days_left < DAYS_ENOUGH => findings.warn(
            TLS,
            &format!("the certificates of {host} are trusted for {} more days only", chain.days_left),
            "tell whoever runs the backend (or the proxy in front of it) to renew its certificate",
        ),
        Ok(Some(chain)) => findings.ok(TLS, &format!("trusted, for {} more days at least", chain.days_left)),
        Err(error) => findings.fail(
            TLS,
            &Chain(&error).to_string(),
            "check this machine's clock, the package ca-certificates, and environment.ca_file if the backend has a CA of its own",
        ),
    }
}

fn clock(backend: &HttpBackend, findings: &mut Findings) {
    let Some(ahead) = backend.clock_ahead() else {
        return findings.not_checked(CLOCK, "no answer of the backend named its time");
    };
    let seconds = ahead.as_secs();
    if seconds.abs() > SKEW {
        let side = if seconds > 0 { "behind" } else { "ahead of" };
        let detail = format!("this machine is {} s {side} the backend", seconds.abs());
        return findings.warn(CLOCK, &detail, "let this machine keep its time by NTP (timedatectl set-ntp true)");
    }
    findings.ok(CLOCK, &format!("within {SKEW} s of the backend"));
}

fn grant(auth: &Auth) -> &'static str {
    match auth {
        Auth::ClientCredentials { .. } => "with client credentials",
        Auth::Basic { .. } => "with user and password",
        Auth::AccessToken { .. } => {
            "with a token of somebody else's making (only the permissions show whether it is good)"
        }
    }
}

fn login_advice(failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::Unauthorised | FailureKind::Forbidden | FailureKind::Rejected => {
            "check auth.client_id and the secret: they are those of this environment, without a space or newline too many"
        }
        FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Redirected | FailureKind::Malformed => {
            "check environment.url: what answers there does not speak as the backend does"
        }
        FailureKind::Throttled => "wait: too many logins came from here or with these credentials",
        FailureKind::Server => "the backend has trouble of its own: try again later",
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::TimedOut
        | FailureKind::NoToken
        | FailureKind::Conflict => "see the lines above; if they are good, try again",
    }
}

/// What can be seen of the permissions without writing anything.
async fn permissions(settings: &Settings, backend: &HttpBackend, logged_in: bool, findings: &mut Findings) {
    if !logged_in {
        return findings.not_checked("permissions", "without a login nothing can be said of them");
    }
    let health = ask(backend, &Look::HealthConfig, "", findings).await;
    drop(health);
    for instance in &settings.instances {
        let of = if settings.instances.len() > 1 { format!(" ({})", instance.name()) } else { String::new() };
        let look = match &instance.params.target {
            Target::Session { session, .. } => Look::Session(session.clone()),
            Target::Allocation(allocation) => Look::Allocation(allocation.clone()),
            Target::Awaited => {
                let source = instance.params.allocation.source.as_str();
                let why = format!("the session comes from instance.source = \"{source}\", and is not known yet");
                findings.not_checked(&format!("session{of}"), &why);
                if let Source::Sic(entry) = &instance.params.allocation.source {
                    allocation::ask_sic(backend, entry, &of, PATIENCE, findings).await;
                }
                continue;
            }
        };
        let seen = ask(backend, &look, &of, findings).await;
        match instance_id(instance, seen) {
            Some(id) => drop(ask(backend, &Look::Notifications(id), &of, findings).await),
            None => findings.not_checked(
                &format!("{}{of}", CallKind::Poll.permission()),
                "no instance id is known before the first registration",
            ),
        }
    }
    let writes = [CallKind::Update, CallKind::PostHealth, CallKind::Fubar, CallKind::PostEvent, CallKind::Audit];
    for permission in ordered::set(writes.map(CallKind::permission)) {
        findings.not_checked(permission, "only a write would show it");
    }
}

fn instance_id(instance: &Instance, seen: Option<Seen>) -> Option<InstanceId> {
    instance.params.instance_id.clone().or_else(|| seen?.instance)
}

/// Asks one question, and says what its answer tells of the permission.
async fn ask(backend: &HttpBackend, look: &Look, of: &str, findings: &mut Findings) -> Option<Seen> {
    let check = format!("{}{of}", look.permission());
    match backend.look(look, PATIENCE).await {
        Ok(seen) => {
            findings.ok(&check, &format!("granted: {}", what(look)));
            Some(seen)
        }
        Err(failure) => {
            refused(&check, look, &failure, findings);
            None
        }
    }
}

fn what(look: &Look) -> &'static str {
    match look {
        Look::Allocation(_) => "the session of the allocation was read",
        Look::Session(_) => "the session was read",
        Look::HealthConfig => "the rules for health posts were read",
        Look::Notifications(_) => "the instance's notifications were read",
    }
}

fn refused(check: &str, look: &Look, failure: &Failure, findings: &mut Findings) {
    let detail = failure.to_string();
    match failure.kind {
        FailureKind::Forbidden => {
            let advice = format!("grant the client the permission {}", look.permission());
            findings.fail(check, &detail, &advice);
        }
        FailureKind::Unauthorised => findings.fail(check, &detail, "the token was refused: check the credentials"),
        FailureKind::NotFound | FailureKind::Unsupported => match look {
            Look::Allocation(_) => findings.ok(check, "granted; no session is bound to the allocation yet"),
            Look::Session(_) => {
                findings.warn(check, &detail, "there is no such session now: check instance.session_id");
            }
            Look::HealthConfig => findings.warn(
                check,
                &detail,
                "this environment does not say how often health is wanted: the agent uses health.default_cadence",
            ),
            Look::Notifications(_) if failure.code.is_none() => findings.ok(
                check,
                "not needed: this environment has no notifications of instances (2026-08); the agent reads the session for changes",
            ),
            Look::Notifications(_) => findings.warn(
                check,
                &detail,
                "there are no notifications for this instance: it is not registered yet, or this environment has none",
            ),
        },
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::TimedOut
        | FailureKind::NoToken
        | FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::Server
        | FailureKind::Rejected
        | FailureKind::Redirected
        | FailureKind::Malformed => {
            findings.warn(
                check,
                &detail,
                "nothing can be said of the permission: try again, and look at the lines above",
            );
        }
    }
}
