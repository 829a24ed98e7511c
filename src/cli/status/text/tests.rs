use super::*;
use crate::io::local::status::{self, Status};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn fine() -> Status {
    Status {
        version: "0.1.0".into(),
        name: "default".to_owned(),
        phase: "serving".into(),
        phase_since: Some(at(-720)),
        ready: true,
        health: status::Health {
            verdict: "healthy".into(),
            reason: "the game says so".to_owned(),
            cadence_seconds: 10.0,
            last_sent: Some(at(-3)),
            last_answer: Some(status::HealthAnswer { health: "healthy".into(), at: Some(at(-3)) }),
        },
        session: Some(status::Session {
            session_id: "s-1".to_owned(),
            region_id: Some("eu".to_owned()),
            etag: None,
            seen: Some(at(-40)),
        }),
        instance: status::Instance {
            instance_id: Some("i-1".to_owned()),
            join_status: Some("joinable".to_owned()),
            public_conn_str: "203.0.113.7:7777".to_owned(),
            version: Some("1.2.3".to_owned()),
            ..status::Instance::default()
        },
        auth: status::Auth { state: "valid".into(), attempts: 1, ..status::Auth::default() },
        notifications: status::Notifications { state: "polling".into(), ..status::Notifications::default() },
        store: status::Store { state: "ok".into(), ..status::Store::default() },
        ..Status::default()
    }
}

#[test]
fn one_that_is_fine_says_so_in_one_line_and_the_rest_in_a_table() {
    let text = render(&fine(), at(0));
    assert_eq!(
        text,
        "default: serving, healthy\n\
         \n  phase          serving for 12 min, the game is ready\
         \n  health         healthy (the game says so), posted 3 s ago, every 10 s, the backend says healthy\
         \n  session        s-1 in eu, confirmed 40 s ago\
         \n  instance       i-1, joinable at the backend, version 1.2.3\
         \n  connect        public 203.0.113.7:7777\
         \n  login          valid, 1 so far\
         \n  notifications  polling, 0 for the game\
         \n  outbox         0 waiting, 0 dead\
         \n  state          ok\
         \n  agent          0.1.0"
    );
}

/// What must be said, and what has to be wrong for it.
type Trouble = (&'static str, fn(&mut Status));

#[test]
fn every_trouble_has_a_line_that_names_it() {
    let cases: [Trouble; 17] = [
        ("somebody else holds", |s| s.phase = "superseded".into()),
        ("the login is refused: client_invalid: check auth.client_id; tried again in 40 s", |s| {
            s.auth.state = "denied".into();
            s.auth.detail = Some("client_invalid: check auth.client_id".to_owned());
            s.auth.retry_at = Some(at(40));
        }),
        ("login none: no connection", |s| {
            s.auth.state = "none".into();
            s.auth.detail = Some("no connection".to_owned());
        }),
        ("the game is unhealthy: it is silent", |s| {
            s.health.verdict = "unhealthy".into();
            s.health.reason = "it is silent".to_owned();
            s.health.last_answer = Some(status::HealthAnswer { health: "unhealthy".into(), at: Some(at(-1)) });
        }),
        ("the backend thinks that the game is unknown, the agent says healthy", |s| {
            s.health.last_answer = Some(status::HealthAnswer { health: "unknown".into(), at: Some(at(-1)) });
        }),
        ("no health was posted for 26 s", |s| s.health.last_sent = Some(at(-26))),
        ("the backend has taken no health for 10 min", |s| {
            s.health.last_answer = Some(status::HealthAnswer { health: "healthy".into(), at: Some(at(-600)) });
        }),
        ("still finding the session, for 2 h", |s| {
            s.phase = "resolving".into();
            s.phase_since = Some(at(-7200));
        }),
        ("the state directory is full", |s| s.store.state = "full".into()),
        ("the state directory is read-only", |s| s.store.state = "read_only".into()),
        ("the state directory: failed", |s| s.store.state = "failed".into()),
        ("2 reports or events can never be delivered", |s| s.outbox.dead = 2),
        ("3 reports or events wait: throttled (HTTP 429)", |s| {
            s.outbox.waiting = 3;
            s.outbox.last_failure = Some("throttled (HTTP 429)".to_owned());
        }),
        ("1000 notifications wait", |s| {
            s.notifications.state = "paused".into();
            s.notifications.inbox = 1000;
        }),
        ("4 notifications wait for whoever is to take them: connection refused", |s| {
            s.notifications.inbox = 4;
            s.notifications.hand_off.state = "absent".into();
            s.notifications.hand_off.last_failure = Some("connection refused".to_owned());
        }),
        ("2 notifications are set aside", |s| s.notifications.set_aside = 2),
        ("the backend has no notifications", |s| s.notifications.state = "unsupported".into()),
    ];
    for (words, spoil) in cases {
        let mut status = fine();
        spoil(&mut status);
        let text = render(&status, at(0));
        let named: Vec<&str> = text.lines().filter(|line| line.starts_with("  ! ")).collect();
        assert!(named.len() == 1 && named[0].contains(words), "{words:?} in\n{text}");
        assert!(text.lines().next().unwrap().ends_with("needs attention"), "{text}");
    }
}

#[test]
fn a_drain_shows_what_is_left_and_an_unset_clock_shows_no_negative_time() {
    let mut status = fine();
    status.phase = "draining".into();
    status.drain = Some(status::Drain { reason: "kernel update".to_owned(), deadline: Some(at(42)) });
    status.phase_since = Some(at(3600));
    let text = render(&status, at(0));
    assert!(text.contains("drain          kernel update, at most 42 s more"), "{text}");
    assert!(text.contains("draining for 0 s"), "{text}");
}

#[test]
fn nothing_that_comes_from_elsewhere_steers_the_terminal() {
    let mut status = fine();
    let evil = "a\u{1b}[31m\r\nb\u{7}".to_owned();
    status.name.clone_from(&evil);
    status.health.reason.clone_from(&evil);
    status.auth.detail = Some(evil.clone());
    status.instance.public_conn_str.clone_from(&evil);
    status.outbox.waiting = 1;
    status.outbox.last_failure = Some(evil.clone());
    status.phase = evil.into();
    let text = render(&status, at(0));
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    assert_eq!(text.lines().count(), 14, "{text}");
}

#[test]
fn an_empty_status_of_some_other_agent_is_shown_all_the_same() {
    let status: Status = serde_json::from_str(r#"{"phase":"dreaming","new":{"x":1},"auth":{"mood":2}}"#).unwrap();
    assert!(render(&status, at(0)).starts_with(": dreaming\n"));
}
