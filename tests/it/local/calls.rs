//! Every call and every error status, on the socket and on TCP.

use rallyhere_agent::core::allocation::Allocation;
use rallyhere_agent::core::event::{Denied, Granted, Request, Said, StoreFault};
use rallyhere_agent::core::ids::NotificationId;
use rallyhere_agent::core::instance::Health;

use super::fake::{DOCUMENT, Fake, Served};
use rallyhere_agent::io::local::Limits;
use std::time::Duration;

fn said() -> Said {
    Said::default()
}

fn data(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn fubar(error: &str, key: Option<&str>) -> Request {
    Request::Fubar { error: error.to_owned(), key: key.map(str::to_owned) }
}

/// Method, path, body, status, answer, what the core is asked.
type Good = (&'static str, &'static str, String, u16, &'static str, Request);

fn good() -> Vec<Good> {
    let some = |text: &str| Some(text.to_owned());
    let long = "ü".repeat(128);
    vec![
        ("POST", "/v1/ready", String::new(), 200, "{}", Request::Ready(said())),
        ("POST", "/v1/ready", " \n".to_owned(), 200, "{}", Request::Ready(said())),
        ("POST", "/v1/ready", "{}".to_owned(), 200, "{}", Request::Ready(said())),
        (
            "POST",
            "/v1/ready",
            r#"{"public_conn_str":"1.2.3.4:7777","private_conn_str":"","custom_data":{"map":"x"}}"#.to_owned(),
            200,
            "{}",
            Request::Ready(Said {
                public_conn_str: some("1.2.3.4:7777"),
                private_conn_str: some(""),
                custom_data: Some(data(&[("map", "x")])),
                ..said()
            }),
        ),
        (
            "POST",
            "/v1/health",
            r#"{"status":"degraded","reason":"slow ticks"}"#.to_owned(),
            200,
            "{}",
            Request::Health { status: Health::Degraded, reason: some("slow ticks") },
        ),
        (
            "POST",
            "/v1/health",
            r#"{"status":"unhealthy","reason":null}"#.to_owned(),
            200,
            "{}",
            Request::Health { status: Health::Unhealthy, reason: None },
        ),
        (
            "PATCH",
            "/v1/instance",
            r#"{"joinable":false,"version":"1.2.3-rc.1+4","custom_data":{}}"#.to_owned(),
            200,
            "{}",
            Request::Instance(Said {
                joinable: Some(false),
                version: some("1.2.3-rc.1+4"),
                custom_data: Some(data(&[])),
                ..said()
            }),
        ),
        (
            "POST",
            "/v1/fubar",
            r#"{"error":"crash","key":"k1"}"#.to_owned(),
            202,
            r#"{"report_id":"r-1"}"#,
            fubar("crash", Some("k1")),
        ),
        ("POST", "/v1/fubar", format!(r#"{{"error":"{long}"}}"#), 202, r#"{"report_id":"r-1"}"#, fubar(&long, None)),
        (
            "POST",
            "/v1/fubar",
            format!(r#"{{"error":"{long}!"}}"#),
            202,
            r#"{"report_id":"r-1","truncated":true}"#,
            fubar(&long, None),
        ),
        (
            "POST",
            "/v1/events",
            r#"{"event_code":"round_over","description":"","custom_data":{"a":"1","b":"2"}}"#.to_owned(),
            202,
            r#"{"event_id":"r-1"}"#,
            Request::Event {
                event_code: "round_over".to_owned(),
                description: some(""),
                custom_data: data(&[("a", "1"), ("b", "2")]),
            },
        ),
        (
            "POST",
            "/v1/notifications/ack",
            r#"{"notification_id":"n 1/%"}"#.to_owned(),
            200,
            r#"{"acknowledged":0}"#,
            Request::Ack(NotificationId::parse("n 1/%").unwrap()),
        ),
        (
            "POST",
            "/v1/allocate",
            r#"{"session_id":"s","allocation_id":"a","public_host":"[::1]","public_port":65535}"#.to_owned(),
            202,
            "{}",
            Request::Give(Allocation::read(Some("s"), Some("a"), Some("::1"), Some(65535)).unwrap()),
        ),
        ("DELETE", "/v1/allocate", String::new(), 202, "{}", Request::TakeBack),
        ("POST", "/v1/drain", String::new(), 202, "{}", Request::Drain { reason: None }),
        (
            "POST",
            "/v1/drain",
            r#"{"reason":"kernel"}"#.to_owned(),
            202,
            "{}",
            Request::Drain { reason: some("kernel") },
        ),
        ("POST", "/v1/shutdown", String::new(), 202, "{}", Request::Shutdown { reason: None }),
        (
            "POST",
            "/v1/shutdown",
            r#"{"reason":"match over"}"#.to_owned(),
            202,
            "{}",
            Request::Shutdown { reason: some("match over") },
        ),
    ]
}

#[tokio::test]
async fn every_call_asks_the_core_and_answers_as_designed() {
    let served = Served::start();
    for door in served.doors() {
        for (method, path, body, status, answer, asked) in good() {
            let answered = door.call(method, path, &body).await;
            assert_eq!((answered.status, answered.body.as_str()), (status, answer), "{method} {path} {body} {door:?}");
            answered.json();
            assert_eq!(served.fake.take_asked(), [asked], "{method} {path} {body}");
        }
    }
}

/// Method, path, body, status, code, what the message must name.
type Bad = (&'static str, &'static str, String, u16, &'static str, &'static str);

fn bad() -> Vec<Bad> {
    let text = |count: usize| "x".repeat(count);
    let bad = |path, body: &str, code, names| {
        ("POST", path, body.to_owned(), if code == "not_json" { 400 } else { 422 }, code, names)
    };
    vec![
        bad("/v1/ready", "nonsense", "not_json", "line 1"),
        bad("/v1/ready", r#"{"custom_data":"#, "not_json", ""),
        bad("/v1/ready", "{} {}", "not_json", ""),
        bad("/v1/ready", r#"{"unknown":1, broken"#, "not_json", ""),
        bad("/v1/health", "", "not_json", "empty"),
        bad("/v1/fubar", "", "not_json", "empty"),
        bad("/v1/events", "", "not_json", "empty"),
        bad("/v1/notifications/ack", "", "not_json", "empty"),
        bad("/v1/ready", "[]", "invalid_field", "object"),
        bad("/v1/health", r#"["healthy",null]"#, "invalid_field", "object"),
        bad("/v1/ready", "null", "invalid_field", "object"),
        bad("/v1/ready", r#"{"conn":"x"}"#, "invalid_field", "conn"),
        bad("/v1/ready", r#"{"public_conn_str":1}"#, "invalid_field", "public_conn_str"),
        bad("/v1/ready", r#"{"public_conn_str":"a\u0000b"}"#, "invalid_field", "public_conn_str"),
        bad("/v1/ready", r#"{"private_conn_str":"a","private_conn_str":"b"}"#, "invalid_field", "private_conn_str"),
        bad("/v1/ready", &format!(r#"{{"public_conn_str":"{}"}}"#, text(1025)), "invalid_field", "public_conn_str"),
        bad("/v1/ready", r#"{"custom_data":{"k":""}}"#, "invalid_field", "custom_data.k"),
        bad("/v1/ready", r#"{"custom_data":{"k":7}}"#, "invalid_field", "custom_data.k"),
        bad("/v1/ready", &format!(r#"{{"custom_data":{{"k":"{}"}}}}"#, text(4097)), "invalid_field", "custom_data.k"),
        bad("/v1/health", "{}", "invalid_field", "status"),
        bad("/v1/health", r#"{"status":"unknown"}"#, "invalid_field", "status"),
        bad("/v1/health", r#"{"status":"HEALTHY"}"#, "invalid_field", "status"),
        bad("/v1/health", &format!(r#"{{"status":"healthy","reason":"{}"}}"#, text(257)), "invalid_field", "reason"),
        bad("/v1/fubar", "{}", "invalid_field", "error"),
        bad("/v1/fubar", r#"{"error":""}"#, "invalid_field", "error"),
        bad("/v1/fubar", r#"{"error":null}"#, "invalid_field", "error"),
        bad("/v1/fubar", r#"{"error":"a\ud800"}"#, "not_json", ""),
        bad("/v1/fubar", r#"{"error":"x","key":""}"#, "invalid_field", "key"),
        bad("/v1/fubar", &format!(r#"{{"error":"x","key":"{}"}}"#, text(129)), "invalid_field", "key"),
        bad("/v1/events", r#"{"event_code":""}"#, "invalid_field", "event_code"),
        bad("/v1/events", &format!(r#"{{"event_code":"{}"}}"#, text(257)), "invalid_field", "event_code"),
        bad(
            "/v1/events",
            &format!(r#"{{"event_code":"x","description":"{}"}}"#, text(4097)),
            "invalid_field",
            "description",
        ),
        bad("/v1/events", r#"{"event_code":"x","custom_data":{"k":""}}"#, "invalid_field", "custom_data.k"),
        bad("/v1/notifications/ack", "{}", "invalid_field", "notification_id"),
        bad("/v1/notifications/ack", r#"{"notification_id":""}"#, "invalid_field", "notification_id"),
        bad("/v1/allocate", "{}", "invalid_field", "session_id"),
        bad("/v1/allocate", r#"{"session_id":"s","public_host":"h"}"#, "invalid_field", "public_port"),
        bad("/v1/allocate", r#"{"session_id":"s","public_port":65536}"#, "invalid_field", "public_port"),
        bad(
            "/v1/allocate",
            r#"{"session_id":"s","public_host":"a b","public_port":1}"#,
            "invalid_field",
            "public_host",
        ),
        bad("/v1/allocate", &format!(r#"{{"allocation_id":"{}"}}"#, text(129)), "invalid_field", "allocation_id"),
        bad("/v1/allocate", r#"{"session":"s"}"#, "invalid_field", "session"),
        bad("/v1/drain", r#"{"why":"x"}"#, "invalid_field", "why"),
        bad("/v1/drain", &format!(r#"{{"reason":"{}"}}"#, text(257)), "invalid_field", "reason"),
        bad("/v1/shutdown", r#"{"reason":1}"#, "invalid_field", "reason"),
        ("PATCH", "/v1/instance", String::new(), 400, "not_json", "empty"),
        ("PATCH", "/v1/instance", r#"{"version":"1.2"}"#.to_owned(), 422, "invalid_field", "version"),
        ("PATCH", "/v1/instance", r#"{"joinable":"yes"}"#.to_owned(), 422, "invalid_field", "joinable"),
        ("GET", "/v1/notifications?wait=301", String::new(), 422, "invalid_field", "wait"),
        ("GET", "/v1/notifications?wait=-1", String::new(), 422, "invalid_field", "wait"),
        ("GET", "/v1/notifications?wait=1.5", String::new(), 422, "invalid_field", "wait"),
        ("GET", "/v1/notifications?limit=0", String::new(), 422, "invalid_field", "limit"),
        ("GET", "/v1/notifications?limit=1001", String::new(), 422, "invalid_field", "limit"),
        ("GET", "/v1/notifications?wiat=1", String::new(), 422, "invalid_field", "wiat"),
        ("GET", "/v1/notifications/stream?wait=1", String::new(), 422, "invalid_field", "wait"),
        ("GET", "/v1/nothing", String::new(), 404, "not_found", "/v1/nothing"),
        ("POST", "/v1/ready/", String::new(), 404, "not_found", "/v1/ready/"),
    ]
}

#[tokio::test]
async fn every_mistake_is_named_and_reaches_no_core() {
    let served = Served::start();
    for door in served.doors() {
        for (method, path, body, status, code, names) in bad() {
            let answer = door.call(method, path, &body).await;
            let (got, message) = answer.refusal();
            assert_eq!((answer.status, got.as_str()), (status, code), "{method} {path} {body}: {message}");
            assert!(message.contains(names), "{method} {path} {body}: {message:?} does not name {names:?}");
            assert_eq!(served.fake.take_asked(), [], "{method} {path} {body}");
        }
    }
}

#[tokio::test]
async fn a_wrong_verb_is_told_the_right_one() {
    let served = Served::start();
    for (method, path, allow) in [
        ("GET", "/v1/ready", "POST"),
        ("POST", "/v1/status", "GET,HEAD"),
        ("PUT", "/v1/instance", "PATCH"),
        ("DELETE", "/v1/notifications", "GET,HEAD"),
        ("OPTIONS", "/v1/fubar", "POST"),
    ] {
        for door in served.doors() {
            let answer = door.call(method, path, "").await;
            assert_eq!((answer.status, answer.refusal().0.as_str()), (405, "method_not_allowed"));
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_verdict_of_the_core_decides_the_status() {
    let served = Served::start();
    let full = Denied::Full { limit: 1000 };
    for (denied, status, code, names) in [
        (Denied::Field { field: "error", reason: "no".to_owned() }, 422, "invalid_field", "error: no"),
        (Denied::Phase("it is draining".to_owned()), 409, "wrong_phase", "it is draining"),
        (Denied::UnknownNotification, 404, "unknown_notification", "no notification"),
        (Denied::Store(StoreFault::Full), 503, "not_durable", "full"),
        (Denied::Store(StoreFault::ReadOnly), 503, "not_durable", "read-only"),
        (full, 503, "outbox_full", "1000"),
    ] {
        let verdict = denied.clone();
        served.fake.judge(move |_| Some(Err(verdict.clone())));
        for door in served.doors() {
            let answer = door.post("/v1/fubar", r#"{"error":"x"}"#).await;
            let (got, message) = answer.refusal();
            assert_eq!((answer.status, got.as_str()), (status, code), "{denied:?}");
            assert!(message.contains(names), "{denied:?}: {message}");
        }
    }
    served.fake.judge(|_| Some(Ok(Granted::Done)));
    let answer = served.uds().post("/v1/fubar", r#"{"error":"x"}"#).await;
    assert_eq!(answer.status, 500, "without an id nothing may look durable");
}

#[tokio::test]
async fn a_core_that_says_nothing_or_has_ended_is_a_503() {
    let limits = Limits { verdict: Duration::from_millis(50), ..Limits::default() };
    let mut served = Served::start_with(Fake::start(), limits, None);
    served.fake.judge(|_| None);
    let answer = served.uds().post("/v1/fubar", r#"{"error":"x"}"#).await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (503, "too_slow"));
    served.fake.end().await;
    let answer = served.uds().post("/v1/fubar", r#"{"error":"x"}"#).await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (503, "ended"));
    assert_eq!(served.uds().get("/v1/status").await.status, 200, "the last state can still be read");
}

#[tokio::test]
async fn the_session_is_the_document_byte_for_byte() {
    let served = Served::start();
    for door in served.doors() {
        let answer = door.get("/v1/session").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, DOCUMENT));
        assert_eq!(answer.header("etag"), Some("\"v7\""));
    }
    served.fake.show(|snapshot| snapshot.session = None);
    let answer = served.uds().get("/v1/session").await;
    assert_eq!((answer.status, answer.refusal().0.as_str()), (404, "no_session"));
}

#[tokio::test]
async fn the_status_has_the_words_of_the_design() {
    let served = Served::start();
    served.fake.notify(&["n1"]);
    served.fake.show(|snapshot| snapshot.store.fault = Some(StoreFault::ReadOnly));
    for door in served.doors() {
        let status = door.get("/v1/status").await.json();
        assert_eq!(status["phase"], "serving");
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["health"]["verdict"], "healthy");
        assert_eq!(status["health"]["reason"], "the game says so");
        assert_eq!(status["health"]["cadence_seconds"], 10.0);
        assert_eq!(status["health"]["last_answer"]["health"], "healthy");
        let sent: jiff::Timestamp = status["health"]["last_sent"].as_str().unwrap().parse().unwrap();
        assert!(rallyhere_agent::clock::wall().duration_since(sent).as_secs() < 60);
        assert_eq!(status["auth"]["state"], "none");
        assert!(status["auth"]["detail"].is_null());
        assert_eq!(status["notifications"]["state"], "polling");
        assert_eq!(status["notifications"]["inbox"], 1);
        assert_eq!(status["outbox"]["waiting"], 0);
        assert_eq!(status["outbox"]["dead"], 0);
        assert_eq!(status["store"]["state"], "read_only");
        assert_eq!(status["store"]["faults"], 0);
        assert_eq!(status["session"]["session_id"], "s-1");
        assert_eq!(status["instance"]["instance_id"], "i-1");
        assert_eq!(status["counters"]["health_sent"], 0);
    }
}

#[tokio::test]
async fn the_core_hears_once_of_a_game_and_never_of_an_onlooker() {
    for (method, path, body) in [
        ("POST", "/v1/ready", ""),
        ("POST", "/v1/health", r#"{"status":"healthy"}"#),
        ("PATCH", "/v1/instance", "{}"),
        ("POST", "/v1/fubar", r#"{"error":"x"}"#),
        ("POST", "/v1/events", r#"{"event_code":"x"}"#),
        ("GET", "/v1/session", ""),
        ("GET", "/v1/notifications", ""),
        ("POST", "/v1/notifications/ack", r#"{"notification_id":"x"}"#),
    ] {
        let served = Served::start();
        served.uds().get("/v1/status").await;
        served.uds().post("/v1/drain", "").await;
        assert_eq!(served.fake.greetings(), 0, "looking and draining is an operator's");
        served.uds().call(method, path, body).await;
        served.tcp().call(method, path, body).await;
        assert_eq!(served.fake.greetings(), 1, "{method} {path}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let served = Served::start();
    for door in served.doors() {
        let mut connection = door.connect().await;
        for _ in 0..20 {
            connection.send(&super::raw::request("POST", "/v1/health", &[], br#"{"status":"healthy"}"#)).await;
            assert_eq!(connection.answer().await.status, 200);
            connection.send(&super::raw::request("POST", "/v1/health", &[], br#"{"status":"odd"}"#)).await;
            assert_eq!(connection.answer().await.status, 422);
        }
    }
}

#[tokio::test]
async fn a_missing_permission_is_shown_as_denied_with_its_name() {
    let served = Served::start();
    served.fake.show(|snapshot| {
        snapshot.auth = std::sync::Arc::new(rallyhere_agent::core::AuthView {
            state: rallyhere_agent::core::auth::AuthState::Valid,
            ..Default::default()
        });
        snapshot.forbidden.insert(rallyhere_agent::core::call::CallKind::PostHealth, Some("insufficient_role".into()));
    });
    let status = served.uds().get("/v1/status").await.json();
    assert_eq!(status["auth"]["state"], "denied");
    let detail = status["auth"]["detail"].as_str().unwrap();
    assert!(detail.contains("insufficient_role") && detail.contains("session:instance:health"), "{detail}");
}
