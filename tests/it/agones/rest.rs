//! Every call over REST, to the letter.

use rallyhere_agent::core::event::{Denied, Request, Said, StoreFault};
use rallyhere_agent::io::local::Limits;
use serde_json::{Value, json};

use crate::local::fake::{Fake, Served};
use crate::local::raw::Answer;

fn label(key: &str, value: &str) -> Request {
    Request::Label { key: key.to_owned(), value: value.to_owned() }
}

fn annotation(key: &str, value: &str) -> Request {
    Request::Annotation { key: key.to_owned(), value: value.to_owned() }
}

fn reserve(seconds: u64) -> Request {
    Request::Reserve { seconds }
}

/// Method, path, body, what the core is asked.
type Call = (&'static str, &'static str, &'static str, Request);

fn good() -> Vec<Call> {
    let ready = || Request::Ready(Said::default());
    let shutdown = || Request::Shutdown { reason: None };
    vec![
        ("POST", "/ready", "{}", ready()),
        ("POST", "/ready", "", ready()),
        ("POST", "/ready", r#" {"unknown":{"deep":[1]}} "#, ready()),
        ("POST", "/allocate", "{}", Request::Allocate),
        ("POST", "/allocate", "", Request::Allocate),
        ("POST", "/shutdown", "{}", shutdown()),
        ("POST", "/shutdown", "", shutdown()),
        ("POST", "/health", "{}", Request::Heartbeat),
        ("POST", "/health", "{}{}{}", Request::Heartbeat),
        ("POST", "/health", " {} \n{} ", Request::Heartbeat),
        ("POST", "/reserve", r#"{"seconds":"5"}"#, reserve(5)),
        ("POST", "/reserve", r#"{"seconds":5}"#, reserve(5)),
        ("POST", "/reserve", r#"{"seconds":5.0}"#, reserve(5)),
        ("POST", "/reserve", r#"{"seconds":-1}"#, reserve(0)),
        ("POST", "/reserve", r#"{"seconds":null}"#, reserve(0)),
        ("POST", "/reserve", "{}", reserve(0)),
        ("PUT", "/metadata/label", r#"{"key":"mode","value":"ctf"}"#, label("mode", "ctf")),
        ("PUT", "/metadata/label", r#"{"key":"mode","value":"","more":1}"#, label("mode", "")),
        ("PUT", "/metadata/label", r#"{"key":"mode"}"#, label("mode", "")),
        ("PUT", "/metadata/annotation", r#"{"key":"x","value":"any text: ü\n"}"#, annotation("x", "any text: ü\n")),
    ]
}

#[tokio::test]
async fn every_call_is_answered_as_the_gateway_does() {
    let served = Served::start();
    assert_eq!(served.tcp().get("/gameserver").await.status, 200);
    assert_eq!(served.fake.greetings(), 1, "the core knows that a game is there");
    assert_eq!(served.fake.take_asked(), []);
    for door in served.doors() {
        for (method, path, body, asked) in good() {
            for kind in ["application/json", "text/plain", "application/octet-stream"] {
                let answer = door.call_with(method, path, &[("content-type", kind)], body.as_bytes()).await;
                assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{method} {path} {body}");
                assert_eq!(answer.header("grpc-metadata-content-type"), Some("application/grpc"));
                assert_eq!(answer.header("content-type"), Some("application/json"));
                assert_eq!(served.fake.take_asked(), std::slice::from_ref(&asked), "{method} {path} {body}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_has_every_key() {
    let served = Served::start();
    served.fake.show(|snapshot| {
        let mut sdk = crate::local::fake::sdk();
        sdk.labels = std::sync::Arc::new([("mode".to_owned(), "ctf".to_owned())].into());
        sdk.annotations = std::sync::Arc::new([("x".to_owned(), "y".to_owned())].into());
        sdk.custom_data = [("token".to_owned(), "t".to_owned())].into();
        sdk.join_params.private_conn_str = "10.0.0.1:7777".to_owned();
        snapshot.sdk = sdk.into();
    });
    let answer = served.tcp().get("/gameserver").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-metadata-content-type"), Some("application/grpc"));
    assert_eq!(
        answer.json(),
        json!({
            "object_meta": {
                "name": "i-1",
                "namespace": "default",
                "uid": "i-1",
                "resource_version": "7",
                "generation": "1",
                "creation_timestamp": "1795341600",
                "deletion_timestamp": "0",
                "annotations": {
                    "agones.dev/sdk-x": "y",
                    "rallyhere/session_id": "s-1",
                    "rallyhere/custom_data.token": "t",
                },
                "labels": {"agones.dev/sdk-mode": "ctf"},
            },
            "spec": {
                "health": {
                    "disabled": false,
                    "period_seconds": 5,
                    "failure_threshold": 3,
                    "initial_delay_seconds": 60,
                },
            },
            "status": {
                "state": "Ready",
                "address": "203.0.113.7",
                "addresses": [
                    {"type": "ExternalIP", "address": "203.0.113.7"},
                    {"type": "InternalIP", "address": "10.0.0.1"},
                ],
                "ports": [{"name": "default", "port": 7777}],
                "players": null,
                "counters": {},
                "lists": {},
            },
        })
    );
}

#[tokio::test]
async fn an_empty_document_is_complete_too() {
    let mut bare = crate::local::fake::snapshot();
    bare.sdk = std::sync::Arc::default();
    let served = Served::start_with(Fake::start_with(bare), Limits::default(), None);
    let json = served.uds().get("/gameserver").await.json();
    assert_eq!(json["status"]["state"], "Starting");
    for (pointer, empty) in [
        ("/object_meta/name", json!("")),
        ("/object_meta/labels", json!({})),
        ("/object_meta/annotations", json!({})),
        ("/status/address", json!("")),
        ("/status/ports", json!([])),
        ("/status/addresses", json!([])),
    ] {
        assert_eq!(json.pointer(pointer), Some(&empty), "{pointer}");
    }
}

fn failure(answer: &Answer) -> (u16, i64, String) {
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 3, "{json}");
    assert_eq!(json["details"], json!([]));
    (answer.status, json["code"].as_i64().unwrap(), json["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_mistake_has_its_code_and_reaches_no_core() {
    let served = Served::start();
    let table = [
        ("POST", "/ready", "{", 400, 3, "the body"),
        ("POST", "/ready", "[]", 400, 3, "JSON object"),
        ("POST", "/ready", "null", 400, 3, "JSON object"),
        ("POST", "/health", "", 400, 3, "empty"),
        ("POST", "/health", "{}{", 400, 3, "the body"),
        ("POST", "/health", "7", 400, 3, "JSON object"),
        ("POST", "/reserve", r#"{"seconds":5.5}"#, 400, 3, "whole number"),
        ("POST", "/reserve", r#"{"seconds":"5.5"}"#, 400, 3, "whole number"),
        ("POST", "/reserve", r#"{"seconds":"soon"}"#, 400, 3, "whole number"),
        ("PUT", "/metadata/label", r#"{"key":5}"#, 400, 3, "the body"),
        ("PUT", "/metadata/annotation", "x", 400, 3, "the body"),
        ("GET", "/ready", "", 501, 12, "Method Not Allowed"),
        ("PUT", "/health", "{}", 501, 12, "Method Not Allowed"),
        ("POST", "/gameserver", "{}", 501, 12, "Method Not Allowed"),
        ("POST", "/watch/gameserver", "{}", 501, 12, "Method Not Allowed"),
        ("POST", "/metadata/label", "{}", 501, 12, "Method Not Allowed"),
        ("DELETE", "/shutdown", "", 501, 12, "Method Not Allowed"),
        ("GET", "/", "", 404, 5, "Not Found"),
        ("GET", "/nothing", "", 404, 5, "Not Found"),
        ("POST", "/ready/", "{}", 404, 5, "Not Found"),
        ("POST", "/alpha/player/connect", "{}", 404, 5, "Not Found"),
        ("GET", "/v1beta1/counters/x", "", 404, 5, "Not Found"),
    ];
    for door in served.doors() {
        for (method, path, body, status, code, names) in table {
            let (got, is, message) = failure(&door.call(method, path, body).await);
            assert_eq!((got, is), (status, code), "{method} {path} {body}: {message}");
            assert!(message.contains(names), "{method} {path} {body}: {message}");
            assert_eq!(served.fake.take_asked(), [], "{method} {path} {body}");
        }
        assert_eq!(door.get("/v1/nothing").await.refusal().0, "not_found", "below /v1 the words are ours");
    }
}

#[tokio::test]
async fn the_verdict_of_the_core_decides_the_code() {
    let field = |field| Denied::Field { field, reason: "because".to_owned() };
    let served = Served::start();
    for (denied, status, code) in [
        (field("key"), 400, 3),
        (field("value"), 400, 3),
        (field("labels"), 429, 8),
        (field("annotations"), 429, 8),
        (field("public_conn_str"), 400, 9),
        (Denied::Phase("it is draining".to_owned()), 400, 9),
        (Denied::Store(StoreFault::Full), 503, 14),
        (Denied::Store(StoreFault::ReadOnly), 503, 14),
    ] {
        let verdict = denied.clone();
        served.fake.judge(move |_| Some(Err(verdict.clone())));
        let answer = served.tcp().call("PUT", "/metadata/label", r#"{"key":"a"}"#).await;
        let (got, is, message) = failure(&answer);
        assert_eq!((got, is, message), (status, code, denied.to_string()));
    }
}

#[tokio::test]
async fn a_core_that_is_gone_or_silent_is_unavailable_but_shutdown_is_done() {
    let limits = Limits { verdict: std::time::Duration::from_millis(50), ..Limits::default() };
    let mut served = Served::start_with(Fake::start(), limits, None);
    served.fake.judge(|_| None);
    let (status, code, message) = failure(&served.tcp().post("/ready", "{}").await);
    assert_eq!((status, code), (503, 14), "{message}");
    served.fake.end().await;
    let (status, code, message) = failure(&served.tcp().post("/ready", "{}").await);
    assert_eq!((status, code), (503, 14), "{message}");
    assert_eq!(served.tcp().post("/shutdown", "{}").await.status, 200, "it has ended, as it wanted");
    assert_eq!(served.tcp().get("/gameserver").await.status, 200);
}

#[tokio::test]
async fn who_may_not_come_in_stays_out() {
    let served = Served::start_with(Fake::start(), Limits::default(), Some("s3cret"));
    let door = served.tcp();
    assert_eq!(door.post("/ready", "{}").await.status, 401);
    let with = |extra: &'static [(&'static str, &'static str)]| {
        let door = door.clone();
        async move { door.call_with("POST", "/ready", extra, b"{}").await.status }
    };
    assert_eq!(with(&[("authorization", "Bearer s3cret")]).await, 200);
    assert_eq!(with(&[("authorization", "Bearer s3cret"), ("host", "evil.example")]).await, 403);
    assert_eq!(with(&[("authorization", "Bearer s3cret"), ("origin", "http://localhost")]).await, 403);
    assert_eq!(served.uds().post("/ready", "{}").await.status, 200, "the socket has its file mode");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_the_same_shape() {
    let served = Served::start();
    let body = format!(r#"{{"key":"a","value":"{}"}}"#, "x".repeat(300 * 1024));
    let (status, code, _) = failure(&served.tcp().call("PUT", "/metadata/annotation", &body).await);
    assert_eq!((status, code), (429, 8));
    let json: Value = served.tcp().get("/gameserver").await.json();
    assert_eq!(json["status"]["state"], "Ready");
}
