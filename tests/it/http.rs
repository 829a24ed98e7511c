//! The HTTP adapter against real sockets: a raw server that answers whatever a test says, byte by byte.

mod contract;
mod corpus;
mod exchange;
mod h2;
mod login;
mod polls;
pub(crate) mod stub;
pub(crate) mod tls;

use std::time::Duration;

use rallyhere_agent::config::secret::{Secret, SecretOrigin};
use rallyhere_agent::config::settings::{Auth, Environment};
use rallyhere_agent::core::call::{
    AuditEvent, Call, CallKind, FubarReport, InstanceUpdate, Login, Registration, SessionEvent,
};
use rallyhere_agent::core::duty::{Duty, Listing, Match};
use rallyhere_agent::core::ids::{
    AllocationId, Etag, Generation, InstanceId, MatchId, NotificationId, PlayerId, SessionId,
};
use rallyhere_agent::core::instance::{CustomData, Health, JoinParams, JoinStatus, StartupParams};
use rallyhere_agent::io::http::{HttpBackend, Limits};
use rallyhere_agent::ports::Authenticator as _;

/// The token that the tests' calls carry.
pub(crate) const TOKEN: &str = "token-of-the-tests-0123456789";
/// The limit of a call in tests that do not wait for it.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned(), SecretOrigin::Value)
}

pub(crate) fn environment(url: &str) -> Environment {
    Environment { url: url.to_owned(), ca_file: None, connect_timeout: Duration::from_secs(5), http2: true }
}

/// The documented limits, shrunk.
fn short() -> Limits {
    Limits {
        header: Duration::from_millis(300),
        body_idle: Duration::from_millis(300),
        login: Duration::from_millis(600),
        ..Limits::default()
    }
}

pub(crate) fn client_credentials() -> Auth {
    Auth::ClientCredentials { client_id: "client".to_owned(), client_secret: secret("client-secret-0123456789") }
}

/// A backend that has a token already: the access-token grant asks nobody.
pub(crate) async fn logged_in(environment: &Environment, limits: Limits) -> HttpBackend {
    let backend = HttpBackend::with_limits(environment, &Auth::AccessToken { token: secret(TOKEN) }, limits).unwrap();
    backend.login(Login::Fresh, Generation(7)).await.unwrap();
    backend
}

fn session() -> SessionId {
    SessionId::parse("s-1").unwrap()
}

fn instance() -> InstanceId {
    InstanceId::parse("i-1").unwrap()
}

fn data() -> CustomData {
    CustomData::from([("key".to_owned(), "value".to_owned())])
}

fn read() -> Call {
    Call::ReadSession { session: session(), etag: None }
}

pub(crate) fn health() -> Call {
    Call::PostHealth { session: session(), instance: instance(), health: Health::Healthy, refresh_ttl: false }
}

fn poll() -> Call {
    Call::Poll {
        instance: instance(),
        after: Some(NotificationId::parse("n/1").unwrap()),
        page_size: 100,
        deadline: Duration::from_secs(25),
    }
}

/// One call of every kind, as full as it can be.
fn every_call() -> Vec<Call> {
    vec![
        Call::FindSession { allocation: AllocationId::parse("a-1").unwrap() },
        Call::ReadSession { session: session(), etag: Some(Etag::parse("\"v1\"").unwrap()) },
        Call::Register {
            session: session(),
            registration: Box::new(Registration {
                instance_id: instance(),
                host_type: "dedicated".to_owned(),
                startup_params: Some(StartupParams {
                    map: "arena".to_owned(),
                    mode: Some("duel".to_owned()),
                    misc_params: "-x".to_owned(),
                    custom_data: data(),
                }),
                custom_data: data(),
            }),
        },
        Call::Update {
            session: session(),
            update: Box::new(InstanceUpdate {
                allocation_id: Some(AllocationId::parse("a-1").unwrap()),
                join_status: JoinStatus::Joinable,
                join_params: Some(JoinParams {
                    public_conn_str: "unreal://h:1".to_owned(),
                    private_conn_str: String::new(),
                    custom_data: data(),
                }),
                version: Some("1.2.3".to_owned()),
                custom_data: data(),
                match_id: None,
            }),
        },
        Call::Unregister { session: session() },
        Call::HealthConfig,
        health(),
        Call::Fubar {
            session: session(),
            report: Box::new(FubarReport {
                instance_id: instance(),
                error: "crashed".to_owned(),
                region: "eu".to_owned(),
                matchmaking_profile_id: Some("m".to_owned()),
                source_provider: Some("sic".to_owned()),
            }),
        },
        Call::PostEvent {
            session: session(),
            event: Box::new(SessionEvent {
                event_code: "started".to_owned(),
                timestamp: "2026-11-22T10:00:00Z".parse().unwrap(),
                description: Some("words".to_owned()),
                custom_data: data(),
            }),
        },
        duty(Duty::BeginMatch(game_match(Some(data())))),
        duty(Duty::UpdateMatch(game_match(None))),
        duty(Duty::EndMatch),
        duty(Duty::ListBrowser(Listing { custom_data: data() })),
        duty(Duty::UpdateBrowser(Listing { custom_data: data() })),
        duty(Duty::UnlistBrowser),
        duty(Duty::UpdateSession { custom_data: Some(data()), joinable: Some(true) }),
        duty(Duty::RemovePlayer { player: PlayerId::parse("00000000-0000-4000-8000-000000000001").unwrap() }),
        poll(),
    ]
}

/// The calls that a service of today has, with the words that only it knows.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are as they were")]
fn calls_of_today() -> Vec<Call> {
    let there = |call: &Call| {
        let gone = [CallKind::Fubar, CallKind::PostEvent, CallKind::Match, CallKind::Poll];
        !gone.contains(&call.kind())
    };
    let mut calls: Vec<Call> = every_call().into_iter().filter(there).collect();
    for call in &mut calls {
        match call {
            Call::Register { registration, .. } => registration.host_type = "preallocated".to_owned(),
            Call::Update { update, .. } => {
                update.join_status = JoinStatus::Unjoinable;
                update.match_id = MatchId::parse("m-1").ok();
            }
            Call::PostHealth { refresh_ttl, .. } => *refresh_ttl = true,
            _ => {}
        }
    }
    calls.push(audit());
    calls
}

fn audit() -> Call {
    Call::Audit {
        session: session(),
        event: Box::new(AuditEvent {
            event_name: "instance_fubar".to_owned(),
            reason: Some("crashed".to_owned()),
            instance_id: instance(),
            allocation_id: AllocationId::parse("a-1").ok(),
            instance_health: Some(Health::Unhealthy),
            region: Some("eu".to_owned()),
            matchmaking_profile_id: Some("m".to_owned()),
            match_id: MatchId::parse("m-1").ok(),
            custom_data: data(),
        }),
    }
}

fn duty(duty: Duty) -> Call {
    Call::Duty { session: session(), duty: Box::new(duty) }
}

fn game_match(custom_data: Option<CustomData>) -> Match {
    Match { match_id: MatchId::parse("m-1").unwrap(), custom_data }
}
