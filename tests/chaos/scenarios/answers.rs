//! A corpus of answers that nobody should give, on every call. Each run gives each call another one.

use std::sync::Arc;
use std::time::Duration;

use super::{CALLS, Scenario};
use crate::ills::{End, Ill, Step};
use crate::program::SECRET;
use crate::run::{Plan, Run};

/// How many runs the selection of CI has.
const QUICK: usize = 3;
const PATIENCE: Duration = Duration::from_secs(400);

pub(super) fn scenarios() -> Vec<Scenario> {
    let count = corpus().len();
    (0..count)
        .map(|turn| {
            let scenario =
                Scenario::new(format!("answers {turn}"), Plan::default(), move |run| Box::pin(answers(run, turn)));
            if turn % (count / QUICK) == 1 { scenario.quick() } else { scenario }
        })
        .collect()
}

async fn answers(run: &mut Run, turn: usize) {
    let corpus = corpus();
    run.outage("answers that nobody should give");
    for (place, call) in CALLS.iter().enumerate() {
        // Seven and the length of the corpus have no common part: every call meets every answer, if all runs are made.
        let mut bytes = corpus[(turn + 7 * place) % corpus.len()].clone();
        if *call == "poll" && bytes.starts_with(b"HTTP/1.1 404") {
            // A backend without notifications says the same, and is left in peace for minutes.
            bytes = json("404 Not Found", "{\"error_code\": \"x\"}");
        }
        run.ills.add(Some(call), Some(1), Ill::new(Step::Instead(Arc::new(bytes)), End::Close));
    }
    run.start();
    run.until_no_ill_waits(PATIENCE).await;
    run.until_beats(1).await;
    run.calm();
    run.recover().await;
    run.stop().await;
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    [head.replace('\n', "\r\n").as_bytes(), body].concat()
}

fn json(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    http(&format!("HTTP/1.1 {status}\ncontent-type: application/json\ncontent-length: {length}\n\n"), body.as_bytes())
}

fn corpus() -> Vec<Vec<u8>> {
    let odd_types = r#"{"access_token": 7, "expires_in": -1, "session_id": [], "instance": "x", "instance_id": {},
        "cadence_seconds": "soon", "updated_instance_health": 1e999, "notifications": {"a": 1}, "join_status": null}"#;
    let extremes = r#"{"access_token": "", "expires_in": 1e300, "cadence_seconds": -1,
        "updated_instance_health": "\u0000", "notifications": [null, 1, [], {}, {"notification_id": ""}]}"#;
    let echo = format!(r#"{{"auth_success": true, "error_code": "{SECRET}", "desc": "you sent {SECRET}\u001b[31m"}}"#);
    let many = format!("HTTP/1.1 200 OK\n{}\n", "x: y\n".repeat(1000));
    vec![
        json("200 OK", ""),
        json("200 OK", "null"),
        json("200 OK", "[]"),
        json("200 OK", "{}"),
        json("200 OK", "not JSON"),
        json("200 OK", odd_types),
        json("200 OK", extremes),
        json("200 OK", &"[".repeat(200_000)),
        json("200 OK", &format!("{{\"a\": \"{}\"}}", "x".repeat(400_000))),
        json("200 OK", "\u{feff}{\"access_token\": \"a\u{0}b\"}"),
        http("HTTP/1.1 200 OK\ncontent-length: 4\n\n", &[0xff, 0xfe, 0, 0x80]),
        json("204 No Content", "{}"),
        json("205 Reset Content", "{}"),
        json("206 Partial Content", "{\"session"),
        json("304 Not Modified", ""),
        json("400 Bad Request", "[[[["),
        json("401 Unauthorized", "{\"error_code\": null}"),
        json("404 Not Found", "<html>nothing here</html>"),
        json("408 Request Timeout", ""),
        json("425 Too Early", ""),
        http("HTTP/1.1 429 Slow\nretry-after: -1\ncontent-length: 0\n\n", b""),
        http("HTTP/1.1 503 Busy\nretry-after: Thu, 01 Jan 1970 00:00:00 GMT\ncontent-length: 0\n\n", b""),
        http("HTTP/1.1 503 Busy\nretry-after: soon\nretry-after: 1\ncontent-length: 0\n\n", b""),
        json("500 Oops", &echo),
        json("502 Bad Gateway", "<html>"),
        http("HTTP/1.1 500 Oops\ntransfer-encoding: chunked\n\n", b"zz\r\n"),
        http("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n", b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        http("HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 2\n\n", b"2\r\n{}\r\n0\r\n\r\n"),
        http("HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 3\n\n", b"{}"),
        http("HTTP/1.1 200 OK\ncontent-length: 99999999999999999999\n\n", b"{}"),
        http("HTTP/1.1 200 OK\ncontent-length: 500\n\n", b"{\"a\""),
        http("HTTP/1.1 200 OK\ncontent-encoding: gzip\ncontent-length: 2\n\n", b"{}"),
        http(&many, b"{}"),
        http(&format!("HTTP/1.1 200 OK\nx: {}\n\n", "y".repeat(1 << 20)), b"{}"),
        http("HTTP/1.1 200 OK\nx: a\0b\n\n", b"{}"),
        http("HTTP/1.1 200 OK\nnonsense\n\n", b"{}"),
        http("HTTP/1.1 999 What\ncontent-length: 0\n\n", b""),
        http("HTTP/1.1 101 Switching Protocols\nupgrade: x\nconnection: upgrade\n\n", b""),
        http("HTTP/1.1 100 Continue\n\nHTTP/1.1 500 Oops\ncontent-length: 0\n\n", b""),
        http("HTTP/9.9 200 OK\n\n", b"{}"),
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        b"220 mail.example.org ESMTP\r\n".to_vec(),
        b"\0".repeat(100),
        [json("500 Oops", ""), json("200 OK", "{}"), json("200 OK", "{}")].concat(),
    ]
}
