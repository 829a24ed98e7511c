//! Any reply at all, to every call: an answer or a failure, never a panic; nothing of it is long, unfit for a log line, or a secret.
//!
//! An input is a status, some headers, an empty line and a body. Without an empty line it is the body of a 200.

use std::time::Duration;

use jiff::Timestamp;
use rallyhere_agent::core::allocation::{Address, SessionWish, SicEntry, Teller, Word};
use rallyhere_agent::core::call::{
    Answer, AuditEvent, Call, CallKind, Failure, FubarReport, InstanceUpdate, Registration, SessionEvent,
};
use rallyhere_agent::core::duty::{Duty, Listing, Match};
use rallyhere_agent::core::ids::{AllocationId, Etag, InstanceId, MatchId, NotificationId, PlayerId, SessionId};
use rallyhere_agent::core::instance::{Health, JoinStatus};
use rallyhere_agent::wire::login::{self, is_sendable, jwt_lifetime};
use rallyhere_agent::wire::look::Look;
use rallyhere_agent::wire::{RETRY_AFTER_LIMIT, Reply, TEXT_LIMIT, decode, file, one_line};
use secrecy::ExposeSecret as _;

/// What was sent with the call, and what a backend might echo.
const SECRET: &str = "planted-secret-7f3a";
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const PAGE_SIZE: u8 = 3;

/// How many of the calls take this reply for a success.
pub(crate) fn hold(input: &[u8]) -> usize {
    let input = Input::read(input);
    let reply = Reply {
        status: input.status,
        etag: input.etag,
        retry_after: input.retry_after,
        date: input.date,
        body: input.body,
        secrets: &[SECRET],
    };
    let wall: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let mut takers = 0;
    for call in calls() {
        match decode(&call, &reply, wall) {
            Ok(answer) => {
                assert!(matches!(reply.status, 200..=299 | 304), "{} for {:?}", reply.status, call.kind());
                fits(&call, &answer);
                takers += 1;
            }
            Err(failure) => tame(&reply, &failure),
        }
    }
    match login::decode(&reply, wall) {
        Ok(token) => {
            assert!(is_sendable(token.access.expose_secret()));
            assert!(token.lifetime.is_none_or(|lifetime| (Duration::from_secs(1)..=YEAR).contains(&lifetime)));
            takers += 1;
        }
        Err(failure) => tame(&reply, &failure),
    }
    for look in
        [Look::Session(session()), Look::Allocation(allocation()), Look::HealthConfig, Look::Notifications(instance())]
    {
        match look.decode(&reply, wall) {
            Ok(_seen) => takers += 1,
            Err(failure) => tame(&reply, &failure),
        }
    }
    for teller in [Teller::Multiplay, Teller::File, Teller::Local] {
        match file(teller, input.body) {
            Ok(word) => takers += usize::from(word != Word::Nothing),
            Err(words) => assert!(!words.is_empty()),
        }
    }
    let text = String::from_utf8_lossy(input.body);
    let _lifetime = jwt_lifetime(&text);
    let line = one_line(&text, TEXT_LIMIT);
    assert!(line.chars().count() <= TEXT_LIMIT && !line.chars().any(char::is_control), "{line:?}");
    takers
}

#[derive(Default)]
struct Input<'a> {
    status: u16,
    etag: Option<&'a str>,
    retry_after: Option<&'a str>,
    date: Option<&'a str>,
    body: &'a [u8],
}

impl<'a> Input<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut input = Self { status: 200, body: bytes, ..Self::default() };
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") else { return input };
        let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return input };
        input.body = &bytes[end + 2..];
        for line in head.lines() {
            match line.split_once(": ") {
                Some(("etag", value)) => input.etag = Some(value),
                Some(("retry-after", value)) => input.retry_after = Some(value),
                Some(("date", value)) => input.date = Some(value),
                Some(_) | None => input.status = line.parse().unwrap_or(input.status),
            }
        }
        input
    }
}

/// What the core relies on in an answer.
fn fits(call: &Call, answer: &Answer) {
    match answer {
        Answer::HealthConfig(config) => {
            assert!((Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&config.cadence), "{config:?}");
        }
        Answer::Page(page) => {
            assert!(page.notifications.len() <= usize::from(PAGE_SIZE));
            assert!(page.notifications.is_empty() || page.last_id.is_some());
        }
        Answer::Sic(answer) => {
            let words = answer.message.as_deref().unwrap_or_default();
            assert!(words.chars().count() <= TEXT_LIMIT && !words.contains(SECRET), "{words:?}");
        }
        Answer::NotModified => assert!(matches!(call, Call::ReadSession { etag: Some(_), .. })),
        Answer::Session { .. }
        | Answer::SessionMade(_)
        | Answer::Instance(_)
        | Answer::Unregistered
        | Answer::HealthAccepted(_)
        | Answer::Accepted => {}
    }
}

/// What every failure must be, for whoever logs it.
fn tame(reply: &Reply<'_>, failure: &Failure) {
    let words = failure.to_string();
    assert!(!words.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{words:?}");
    assert!(words.chars().count() <= 400, "{words:?}");
    assert!(!words.contains(SECRET), "{words:?}");
    assert_eq!(failure.status, Some(reply.status));
    assert!(failure.retry_after.is_none_or(|wait| wait <= RETRY_AFTER_LIMIT), "{failure:?}");
}

fn session() -> SessionId {
    SessionId::parse("session").unwrap()
}

fn instance() -> InstanceId {
    InstanceId::parse("instance").unwrap()
}

fn allocation() -> AllocationId {
    AllocationId::parse("allocation").unwrap()
}

/// One of every kind but the login's; of the duties one for each kind of call.
fn calls() -> Vec<Call> {
    let (session, instance) = (session(), instance());
    let duty = |duty: Duty| Call::Duty { session: session.clone(), duty: Box::new(duty) };
    let match_id = MatchId::parse("match").unwrap();
    let (region, version) = ("eu".to_owned(), "1.0.0".to_owned());
    let wish = SessionWish {
        session_type: "t".to_owned(),
        region: region.clone(),
        client_version: version.clone(),
        platform: "p".to_owned(),
        input: "i".to_owned(),
    };
    let entry = SicEntry {
        profile_id: "p".to_owned(),
        server_id: "s".to_owned(),
        hostname: "h".to_owned(),
        own_id: None,
        address: Address { host: "192.0.2.1".to_owned(), port: 7777 },
    };
    let registration = Registration {
        instance_id: instance.clone(),
        host_type: "dedicated".to_owned(),
        startup_params: None,
        custom_data: [].into(),
    };
    let update = InstanceUpdate {
        allocation_id: None,
        join_status: JoinStatus::Joinable,
        join_params: None,
        version: Some(version),
        custom_data: [].into(),
        match_id: None,
    };
    let report = FubarReport {
        instance_id: instance.clone(),
        error: "e".to_owned(),
        region,
        matchmaking_profile_id: None,
        source_provider: None,
    };
    let event = SessionEvent {
        event_code: "e".to_owned(),
        timestamp: Timestamp::UNIX_EPOCH,
        description: None,
        custom_data: [].into(),
    };
    let audit = AuditEvent {
        event_name: "e".to_owned(),
        reason: None,
        instance_id: instance.clone(),
        allocation_id: None,
        instance_health: Some(Health::Healthy),
        region: None,
        matchmaking_profile_id: None,
        match_id: None,
        custom_data: [].into(),
    };
    let calls = vec![
        Call::FindSession { allocation: allocation() },
        Call::ReadSession { session: session.clone(), etag: None },
        Call::ReadSession { session: session.clone(), etag: Etag::parse("\"e\"").ok() },
        Call::CreateSession { wish: Box::new(wish) },
        Call::SicRegister { entry: Box::new(entry) },
        Call::SicState { id: "id".to_owned() },
        Call::Register { session: session.clone(), registration: Box::new(registration) },
        Call::Update { session: session.clone(), update: Box::new(update) },
        Call::Unregister { session: session.clone() },
        Call::HealthConfig,
        Call::PostHealth {
            session: session.clone(),
            instance: instance.clone(),
            health: Health::Healthy,
            refresh_ttl: false,
        },
        Call::Fubar { session: session.clone(), report: Box::new(report) },
        Call::PostEvent { session: session.clone(), event: Box::new(event) },
        Call::Audit { session: session.clone(), event: Box::new(audit) },
        duty(Duty::BeginMatch(Match { match_id, custom_data: None })),
        duty(Duty::ListBrowser(Listing::default())),
        duty(Duty::UpdateSession { custom_data: None, joinable: None }),
        duty(Duty::RemovePlayer { player: PlayerId::parse("00000000-0000-0000-0000-000000000001").unwrap() }),
        Call::Poll {
            instance,
            after: NotificationId::parse("1-0").ok(),
            page_size: PAGE_SIZE,
            deadline: Duration::from_secs(25),
        },
    ];
    for kind in CallKind::ALL {
        assert!(kind == CallKind::Login || calls.iter().any(|call| call.kind() == kind), "no {kind}");
    }
    calls
}
