//! Whatever comes in, the answer is an answer and the next one is served.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rallyhere_agent::io::local::trial::bodies;
use serde_json::{Value, json};

use super::fake::Served;
use super::raw::request;

/// What a fuzzer begins with, and what it has found: named by how it must be read.
#[test]
fn bodies_of_the_corpus_are_taken_or_refused_as_their_names_say() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz/local_body");
    let mut read = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let body = fs::read(&path).unwrap();
        let takers = bodies(&body);
        // Odd ones are refused by the calls that know the field, and ignored by those that do not.
        let wanted = if name.starts_with("odd-") { takers > 0 } else { name.starts_with("good-") };
        assert_eq!(takers > 0, wanted, "{name}: {takers} calls take it");
        // Nor is any beginning of it, or any other byte in it, a reason to fall over.
        for at in 0..body.len().min(200) {
            let _cut = bodies(&body[..at]);
            let mut other = body.clone();
            other[at] ^= 0x5a;
            let _changed = bodies(&other);
        }
        read += 1;
    }
    assert!(read >= 12, "{read}");
}

#[tokio::test]
async fn malformed_http_ends_its_own_connection_only() {
    let served = Served::start();
    let long_header = format!("GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many_headers = format!("GET /v1/status HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let garbage: Vec<&[u8]> = vec![
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n bad fold\r\n\r\n",
        b"POST /v1/ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /v1/ready HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for door in served.doors() {
        for bytes in &garbage {
            let mut connection = door.connect().await;
            connection.try_send(bytes).await;
            let answer = connection.rest().await;
            let good = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(good, "{:?}: {answer}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
        }
        assert_eq!(door.get("/v1/status").await.status, 200);
    }
    assert_eq!(served.fake.take_asked(), []);
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_harms_nobody() {
    let served = Served::start();
    for (path, status) in [
        ("//", 404),
        ("/v1/../v1/status", 404),
        ("/v1/status%00", 404),
        ("/v1/%ff", 404),
        ("/v1/notifications?%", 422),
        ("/v1/notifications?&&", 200),
        ("/v1/notifications?after=%ff", 200),
    ] {
        assert_eq!(served.uds().get(path).await.status, status, "{path}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop_oneof![Just("healthy"), Just("1.2.3"), Just("n-1"), Just("")].prop_map(Value::from),
    ];
    let field = prop_oneof![
        3 => prop_oneof![
            Just("status"), Just("reason"), Just("error"), Just("key"), Just("event_code"), Just("description"),
            Just("custom_data"), Just("joinable"), Just("version"), Just("public_conn_str"), Just("notification_id"),
        ].prop_map(str::to_owned),
        1 => ".{0,12}",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => any_json().prop_map(|json| json.to_string().into_bytes()),
        2 => (any_json(), any::<prop::sample::Index>()).prop_map(|(json, at)| {
            let mut bytes = json.to_string().into_bytes();
            bytes.truncate(at.index(bytes.len().max(1)));
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

const CALLS: [(&str, &str); 9] = [
    ("POST", "/v1/ready"),
    ("POST", "/v1/health"),
    ("PATCH", "/v1/instance"),
    ("POST", "/v1/fubar"),
    ("POST", "/v1/events"),
    ("POST", "/v1/notifications/ack"),
    ("POST", "/v1/allocate"),
    ("POST", "/v1/drain"),
    ("POST", "/v1/shutdown"),
];

#[test]
fn any_body_gets_a_2xx_or_a_4xx() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(async { Served::start() });
    let kept = Cell::new(Some(runtime.block_on(served.uds().connect())));
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() });
    let cases = (0..CALLS.len(), any_body());
    let run = runner.run(&cases, |(call, body)| {
        let (method, path) = CALLS[call];
        let mut connection = kept.take().unwrap();
        let answer = runtime.block_on(async {
            connection.send(&request(method, path, &[], &body)).await;
            connection.answer().await
        });
        kept.set(Some(connection));
        match answer.status {
            200 | 202 => taken.set(taken.get() + 1),
            400 | 422 => {
                answer.refusal();
                refused.set(refused.get() + 1);
            }
            other => prop_assert!(false, "{other} for {method} {path} {:?}", String::from_utf8_lossy(&body)),
        }
        Ok(())
    });
    run.unwrap();
    assert!(taken.get() > 20 && refused.get() > 200, "both happen: {} taken, {} refused", taken.get(), refused.get());
}
