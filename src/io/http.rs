//! The backend over HTTPS: one token, lanes of connections, and limits on everything (design.md sections 2 and 8).
//!
//! What a reply means is decided in [`crate::wire`]; when to try again, in the core. Here is one attempt per call, with a single
//! exception: a call that changes nothing is sent once more, at once, when a connection that had been used before turns out to be
//! closed. Nothing is logged here but a line per request at DEBUG, and a warning where the machine has no trusted roots; no secret
//! is in any of these, in any `Debug` or error.

mod departure;
mod exchange;
mod keepsake;
mod lane;
mod limits;
mod login;
mod look;
mod origin;
mod passage;
mod polls;
pub mod reach;
mod streams;
mod tls;
mod vault;

pub use limits::Limits;
pub(crate) use passage::{Passage, Passed};

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret as _;

use crate::clock;
use crate::config::settings::{Auth, Environment};
use crate::core::auth::Past;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind, LoggedIn, Login};
use crate::core::ids::Generation;
use crate::ports::{Authenticator, Backend};
use crate::telemetry::metrics::Requests;
use crate::wire;

use exchange::Outbound;
use keepsake::Keepsake;
use lane::{Lane, Speaks};
use origin::Origin;
use polls::Polls;
use vault::{Token, Vault};

/// Why there can be no connection to the backend at all: a mistake in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// `environment.url` is not usable. The URL itself is not shown: somebody may have put a password into it.
    #[error("environment.url: {0}")]
    Url(&'static str),
    /// `environment.ca_file` cannot be read as PEM.
    #[error("environment.ca_file: cannot read certificates from {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// `environment.ca_file` has no certificate in it.
    #[error("environment.ca_file: {path} holds no certificate; it must be PEM with BEGIN CERTIFICATE")]
    CaFileEmpty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of `environment.ca_file` cannot be a root.
    #[error("environment.ca_file: a certificate in {path} cannot be used as a root")]
    CaFileCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// rustls refused its own defaults.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// reqwest refused the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// The backend. One for the whole process; a clone is the same one.
#[derive(Clone)]
pub struct HttpBackend {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Origin,
    /// Long polls have connections of their own, so that one that blocks holds up nothing else (backend.md, trap 16).
    polls: Polls,
    /// Where the other calls share a connection, health posts have their own: there is no time to wait for a stream, or to find out
    /// that the connection is dead. Else `control` is as good.
    health: Option<Lane>,
    control: Lane,
    /// What games ask through us: slow ones hold up nobody but each other.
    passages: Lane,
    vault: Vault,
    /// What outlives the process; only where there is a state directory.
    keepsake: Option<Arc<Keepsake>>,
    requests: Arc<Requests>,
    /// How far the backend's clock is before ours, by its newest answer that said so; for the doctor.
    ahead: Mutex<Option<SignedDuration>>,
    limits: Limits,
}

impl fmt::Debug for HttpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBackend").field("origin", &self.shared.origin).finish_non_exhaustive()
    }
}

impl HttpBackend {
    /// Sets up the connections; nothing is sent yet.
    ///
    /// # Errors
    /// If the URL, the CA file or TLS itself cannot be used.
    pub fn new(environment: &Environment, auth: &Auth) -> Result<Self, HttpSetupError> {
        Self::with_limits(environment, auth, Limits::default())
    }

    /// As [`HttpBackend::new`], with a memory of logins in a state directory, which must be locked by this process: the token
    /// of the last run is used again, if there is one. Also gives what the login machine must know of the past.
    ///
    /// Reads one small file.
    ///
    /// # Errors
    /// As [`HttpBackend::new`].
    pub fn remembering(environment: &Environment, auth: &Auth, state: &Path) -> Result<(Self, Past), HttpSetupError> {
        let keepsake = Keepsake::open(state, environment, auth);
        let mut past = Past { attempts: keepsake.attempts(), token: None };
        let found = keepsake.token();
        let backend = Self::build(environment, auth, Limits::default(), Some(Arc::new(keepsake)))?;
        // A token from a file is somebody else's business: that file is read at the first login.
        if let (Some(found), Auth::ClientCredentials { .. } | Auth::Basic { .. }) = (found, auth) {
            let can_refresh = found.refresh.is_some();
            if backend.shared.vault.keep(found.access.expose_secret(), found.refresh, Generation(1)) {
                past.token = Some(LoggedIn { lifetime: found.left, can_refresh });
            }
        }
        Ok((backend, past))
    }

    /// As [`HttpBackend::new`], with other limits than the documented ones.
    ///
    /// # Errors
    /// As [`HttpBackend::new`].
    pub fn with_limits(environment: &Environment, auth: &Auth, limits: Limits) -> Result<Self, HttpSetupError> {
        Self::build(environment, auth, limits, None)
    }

    fn build(
        environment: &Environment,
        auth: &Auth,
        limits: Limits,
        keepsake: Option<Arc<Keepsake>>,
    ) -> Result<Self, HttpSetupError> {
        let origin = Origin::parse(&environment.url)?;
        let tls = tls::client_config(&origin, environment.ca_file.as_deref())?;
        let lane = |speaks| Lane::new(tls.clone(), speaks, environment.connect_timeout, limits);
        let offers = origin.is_https() && environment.http2;
        let control = if offers { Speaks::Http2IfOffered } else { Speaks::Http1 };
        Ok(Self {
            shared: Arc::new(Shared {
                polls: Polls::new(&origin, &tls, environment.connect_timeout, limits, offers)?,
                health: if offers { Some(lane(Speaks::Http1)?) } else { None },
                control: lane(control)?,
                passages: lane(Speaks::Http1)?,
                origin,
                vault: Vault::new(auth),
                keepsake,
                requests: Arc::default(),
                ahead: Mutex::default(),
                limits,
            }),
        })
    }

    /// Uses other credentials from the next login on, as after SIGHUP. The token in use stays until then.
    pub fn replace_secrets(&self, auth: &Auth) {
        self.shared.vault.replace(auth);
    }

    /// What is measured of the requests, for metrics.
    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.shared.requests)
    }
}

impl Backend for HttpBackend {
    fn call(&self, call: Call, limit: Duration) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let begun = clock::now();
            let answer = shared.call(&call, limit).await;
            let ended = clock::now();
            shared.requests.called(call.kind(), &answer, ended.saturating_duration_since(begun));
            if let (Call::Poll { instance, .. }, Ok(Answer::Page(page))) = (&call, &answer) {
                let ids = page.notifications.iter().map(|notification| &notification.notification_id);
                shared.requests.arrivals().came(instance, ids, ended);
            }
            answer
        }
    }
}

impl Authenticator for HttpBackend {
    fn login(
        &self,
        login: Login,
        generation: Generation,
    ) -> impl Future<Output = Result<LoggedIn, Failure>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let result = shared.login(login, generation).await;
            shared.requests.logged_in(&result);
            result
        }
    }
}

impl Shared {
    async fn call(&self, call: &Call, limit: Duration) -> Result<Answer, Failure> {
        let deadline = clock::now() + limit;
        let Some(token) = self.vault.token() else {
            return Err(Failure::local(FailureKind::NoToken, "not logged in yet"));
        };
        let request = wire::encode(call);
        let Some(url) = self.origin.url(&request.path_and_query) else {
            return Err(Failure::local(FailureKind::Rejected, "an id of \".\" or \"..\" cannot be part of a URL"));
        };
        let poll = request.kind == CallKind::Poll;
        let outbound = Outbound {
            method: method(request.method),
            url,
            authorization: token.header.clone(),
            // An etag that no header can carry is left out: then the whole document comes.
            if_none_match: request
                .if_none_match
                .as_deref()
                .and_then(|etag| HeaderValue::from_bytes(etag.as_bytes()).ok()),
            body: request.body.map(Into::into),
            foreign: None,
            response_limit: request.response_limit,
            is_safe: request.kind.is_safe(),
            header_limit: (!poll).then_some(self.limits.header),
            body_idle: self.limits.body_idle,
            deadline,
        };
        let inbound = if poll {
            let seat = self.polls.seat().await;
            let inbound = exchange::exchange(seat.lane(), &outbound).await;
            if let Err(failure) = &inbound {
                self.polls.ended(&seat, failure).await;
            }
            inbound?
        } else {
            exchange::exchange(self.lane(request.kind), &outbound).await?
        };
        let secret = token.secret();
        let (auth, refresh) = (self.vault.auth(), self.vault.refresh());
        // Not only what this request has carried: whoever has mixed up two answers may repeat what the other one has.
        let mut secrets = vec![secret.as_str()];
        secrets.extend(auth.secrets());
        secrets.extend(refresh.as_ref().map(|refresh| refresh.expose_secret()));
        let decoded = wire::decode(call, &inbound.reply(&secrets), clock::wall());
        let decoded = decoded.map_err(|failure| failure.found_at(&inbound.trail(&secrets)));
        decoded.map_err(|failure| {
            if failure.kind != FailureKind::Unauthorised {
                return failure;
            }
            if matches!(request.kind, CallKind::SicRegister | CallKind::SicState) {
                // Another service than the one that the token is for in the first place: the core judges what that means.
                return Failure { token: Some(token.generation), ..failure };
            }
            self.refused(&token);
            Failure { token: Some(token.generation), ..failure }
        })
    }

    /// The connections that a call other than a poll goes on.
    fn lane(&self, kind: CallKind) -> &Lane {
        self.health.as_ref().filter(|_| kind == CallKind::PostHealth).unwrap_or(&self.control)
    }

    /// The backend refused this token: it is not used again by a later process, nor taken again from a file.
    fn refused(&self, token: &Token) {
        self.vault.refused(token.generation);
        if let Some(keepsake) = self.keepsake.clone() {
            let secret = token.secret();
            // On a thread that may block: nothing waits for it, and a newer token is left alone.
            tokio::task::spawn_blocking(move || keepsake.refused(&secret));
        }
    }
}

fn method(method: wire::Method) -> reqwest::Method {
    match method {
        wire::Method::Get => reqwest::Method::GET,
        wire::Method::Post => reqwest::Method::POST,
        wire::Method::Patch => reqwest::Method::PATCH,
        wire::Method::Delete => reqwest::Method::DELETE,
    }
}
