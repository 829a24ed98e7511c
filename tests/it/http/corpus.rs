//! Answers that no backend should give, to every kind of call: each ends in a typed outcome, in time, without a panic.

use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::call::{Answer, FailureKind, Login};
use rallyhere_agent::core::ids::Generation;
use rallyhere_agent::io::http::HttpBackend;
use rallyhere_agent::ports::{Authenticator as _, Backend as _};
use tokio::task::JoinSet;

use super::stub::{Step, Stub, answer, ok};
use super::{audit, client_credentials, environment, every_call, logged_in, read, short};

use FailureKind::{Cut, Malformed, NotFound, Redirected, Rejected, Server, TimedOut, Unsupported};

/// Every field that we read, null, an array, or a number.
fn fields(value: &str) -> String {
    let names = [
        "session_id",
        "region_id",
        "instance",
        "instance_id",
        "allocation_id",
        "join_status",
        "instance_health",
        "cadence_seconds",
        "updated_instance_health",
        "notifications",
        "access_token",
        "refresh_token",
        "expires_in",
        "error_code",
        "desc",
    ];
    let pairs: Vec<String> = names.iter().map(|name| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn raw(head: &str, body: &[u8]) -> Vec<Step> {
    let mut bytes = head.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    vec![Step::Send(bytes), Step::Close]
}

fn body(body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    raw(&format!("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: {}\n\n", body.len()), body)
}

/// What is said, and what a read of the session makes of it (`None`: a session).
fn corpus() -> Vec<(&'static str, Vec<Step>, Option<FailureKind>)> {
    let session = r#"{"session_id": "s-1"}"#;
    let chunked =
        |chunks: &str| raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", chunks.replace('\n', "\r\n").as_bytes());
    let head = |head: &str| raw(head, session.as_bytes());
    vec![
        // Bodies.
        ("empty body", body(""), Some(Malformed)),
        ("white space", body(" \n\t"), Some(Malformed)),
        ("html", body("<!doctype html><title>502</title>"), Some(Malformed)),
        ("truncated object", body(r#"{"session_id": "s-"#), Some(Malformed)),
        ("truncated escape", body(r#"{"session_id": "\u12"#), Some(Malformed)),
        ("trailing garbage", body(r#"{"session_id": "s-1"} x"#), Some(Malformed)),
        ("two documents", body(r#"{"session_id": "s-1"}{"session_id": "s-1"}"#), Some(Malformed)),
        ("trailing comma", body(r#"{"session_id": "s-1",}"#), Some(Malformed)),
        ("single quotes", body("{'session_id': 's-1'}"), Some(Malformed)),
        ("NaN", body(r#"{"session_id": "s-1", "x": NaN}"#), Some(Malformed)),
        ("number too big", body(r#"{"session_id": "s-1", "x": 1e999999}"#), Some(Malformed)),
        ("long number", body(format!(r#"{{"session_id": "s-1", "x": {}}}"#, "9".repeat(300))), None),
        ("deep array", body("[".repeat(100_000)), Some(Malformed)),
        ("deep object", body("{\"a\":".repeat(50_000)), Some(Malformed)),
        ("deep and closed", body(format!("{}{}", "[".repeat(5000), "]".repeat(5000))), Some(Malformed)),
        ("NUL bytes", body([0; 64]), Some(Malformed)),
        ("NUL in a string", body(b"{\"session_id\": \"s\0\"}"), Some(Malformed)),
        ("escaped NUL in an id", body(r#"{"session_id": "s\u0000"}"#), Some(Malformed)),
        ("invalid UTF-8", body(b"{\"session_id\": \"s-1\", \"x\": \"\xff\xfe\"}"), Some(Malformed)),
        ("lone surrogate", body(r#"{"session_id": "\ud800"}"#), Some(Malformed)),
        ("UTF-16", body("{\0\"\0s\0\"\0:\x001\0}\0"), Some(Malformed)),
        ("byte order mark", body("\u{feff}{\"session_id\": \"s-1\"}"), Some(Malformed)),
        ("null", body("null"), Some(Malformed)),
        ("number", body("5"), Some(Malformed)),
        ("string", body("\"s-1\""), Some(Malformed)),
        ("array for object", body("[]"), Some(Malformed)),
        ("array of the fields", body(r#"["s-1", "eu", null]"#), Some(Malformed)),
        ("empty object", body("{}"), Some(Malformed)),
        ("every field null", body(fields("null")), Some(Malformed)),
        ("every field an array", body(fields("[[]]")), Some(Malformed)),
        ("every field an object", body(fields("{}")), Some(Malformed)),
        ("every field a number", body(fields("-1")), Some(Malformed)),
        ("every field a huge number", body(fields("18446744073709551616")), Some(Malformed)),
        ("every field empty", body(fields("\"\"")), Some(Malformed)),
        ("every field true", body(fields("true")), Some(Malformed)),
        ("field twice", body(r#"{"session_id": "s-1", "session_id": "s-1"}"#), Some(Malformed)),
        ("instance is text", body(r#"{"session_id": "s-1", "instance": "i-1"}"#), Some(Malformed)),
        ("id too long", body(format!(r#"{{"session_id": "{}"}}"#, "x".repeat(129))), Some(Malformed)),
        ("unknown fields", body(r#"{"session_id": "s-1", "\u0000": [], "": {"a": 1}}"#), None),
        (
            "junk entries",
            body(r#"{"session_id": "s-1", "notifications": [null, 1, "", [], {}, {"notification_id": {}}]}"#),
            None,
        ),
        // Heads.
        ("wrong content type", head("HTTP/1.1 200 OK\nContent-Type: image/png\nContent-Length: 21\n\n"), None),
        ("no length", head("HTTP/1.1 200 OK\n\n"), None),
        ("HTTP/1.0", head("HTTP/1.0 200 OK\n\n"), None),
        (
            "duplicate headers",
            head("HTTP/1.1 200 OK\nETag: a\nETag: b\nDate: x\nDate: y\nContent-Length: 21\n\n"),
            None,
        ),
        ("same length twice", head("HTTP/1.1 200 OK\nContent-Length: 21\nContent-Length: 21\n\n"), None),
        ("two lengths", head("HTTP/1.1 200 OK\nContent-Length: 21\nContent-Length: 5\n\n"), Some(Malformed)),
        ("negative length", head("HTTP/1.1 200 OK\nContent-Length: -1\n\n"), Some(Malformed)),
        ("absurd length", head("HTTP/1.1 200 OK\nContent-Length: 99999999999999999999999\n\n"), Some(Malformed)),
        ("length not a number", head("HTTP/1.1 200 OK\nContent-Length: many\n\n"), Some(Malformed)),
        ("length too small", head("HTTP/1.1 200 OK\nContent-Length: 5\n\n"), Some(Malformed)),
        ("length too large", head("HTTP/1.1 200 OK\nContent-Length: 500\n\n"), Some(Cut)),
        (
            "gzip announced",
            raw("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 5\n\n", b"\x1f\x8b\x08\0\0"),
            Some(Malformed),
        ),
        ("HTTP/0.9", vec![Step::Send(session.into()), Step::Close], Some(Malformed)),
        ("HTTP/2 preface", raw("PRI * HTTP/2.0\n\nSM\n\n", b""), Some(Malformed)),
        ("HTTP/3.0", head("HTTP/3.0 200 OK\n\n"), Some(Malformed)),
        ("SSH", raw("SSH-2.0-OpenSSH_9.6\n", b""), Some(Malformed)),
        ("binary", vec![Step::Send(vec![0x16, 3, 3, 0, 2, 2, 40]), Step::Close], Some(Malformed)),
        ("no status", head("HTTP/1.1 \n\n"), Some(Malformed)),
        ("status not a number", head("HTTP/1.1 abc OK\n\n"), Some(Malformed)),
        ("status of two digits", head("HTTP/1.1 20 OK\n\n"), Some(Malformed)),
        ("status 000", head("HTTP/1.1 000 Nothing\n\n"), Some(Malformed)),
        ("status 999", head("HTTP/1.1 999 What\nContent-Length: 21\n\n"), Some(Malformed)),
        ("header without colon", head("HTTP/1.1 200 OK\nnonsense\n\n"), Some(Malformed)),
        ("header with NUL", head("HTTP/1.1 200 OK\nX: a\0b\n\n"), Some(Malformed)),
        ("folded header", head("HTTP/1.1 200 OK\nX: a\n b\n\n"), Some(Malformed)),
        ("header not ASCII", head("HTTP/1.1 200 OK\nETag: \"é\"\nRetry-After: é\nContent-Length: 21\n\n"), None),
        ("a thousand headers", head(&format!("HTTP/1.1 200 OK\n{}\n", "X: y\n".repeat(1000))), Some(Malformed)),
        ("a huge header", head(&format!("HTTP/1.1 200 OK\nX: {}\n\n", "y".repeat(1 << 20))), Some(Malformed)),
        ("a huge etag", head(&format!("HTTP/1.1 200 OK\nETag: {}\nContent-Length: 21\n\n", "y".repeat(5000))), None),
        ("only a head", raw("HTTP/1.1 200 OK\n", b""), Some(Cut)),
        ("half a status line", raw("HTTP/1", b""), Some(Cut)),
        ("nothing", vec![Step::Close], Some(Cut)),
        ("silence", vec![Step::Hang], Some(TimedOut)),
        // Chunks.
        ("chunk size not hex", chunked("xyz\n{}\n0\n\n"), Some(Malformed)),
        ("chunk size negative", chunked("-5\n{}\n0\n\n"), Some(Malformed)),
        ("chunk size too big", chunked("fffffffffffffffffff\n{}\n0\n\n"), Some(Malformed)),
        ("chunk too short", chunked("1\n{}\n0\n\n"), Some(Malformed)),
        ("chunk cut off", chunked("15\n{\"sess"), Some(Cut)),
        ("no last chunk", chunked("15\n{\"session_id\": \"s-1\"}\n"), Some(Cut)),
        ("chunks and trailers", chunked("15;x=y\n{\"session_id\": \"s-1\"}\n0\nX: y\n\n"), None),
        (
            "chunks and a length",
            head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 21\n\n"),
            Some(Malformed),
        ),
        ("unknown coding", head("HTTP/1.1 200 OK\nTransfer-Encoding: snappy\n\n"), None),
        // Statuses.
        ("100 and then 200", head("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 21\n\n"), None),
        ("100 and then nothing", raw("HTTP/1.1 100 Continue\n\n", b""), Some(Cut)),
        (
            "many 103",
            head(&format!("{}HTTP/1.1 200 OK\nContent-Length: 21\n\n", "HTTP/1.1 103 Hints\n\n".repeat(500))),
            None,
        ),
        ("101", head("HTTP/1.1 101 Switching Protocols\nUpgrade: x\nConnection: upgrade\n\n"), Some(Malformed)),
        ("204 with a body", head("HTTP/1.1 204 No Content\nContent-Length: 21\n\n"), Some(Malformed)),
        ("205", head("HTTP/1.1 205 Reset\nContent-Length: 0\n\n"), Some(Malformed)),
        ("206", head("HTTP/1.1 206 Partial\nContent-Length: 21\n\n"), None),
        ("304 unasked", raw("HTTP/1.1 304 Not Modified\n\n", b""), Some(Redirected)),
        ("302 to nowhere", raw("HTTP/1.1 302 Found\nLocation: http://\nContent-Length: 0\n\n", b""), Some(Redirected)),
        ("300", raw("HTTP/1.1 300 Choices\nContent-Length: 0\n\n", b""), Some(Redirected)),
        ("404 of a proxy", raw("HTTP/1.1 404 Not Found\nContent-Length: 6\n\n", b"<html>"), Some(NotFound)),
        ("405 empty", raw("HTTP/1.1 405 No\nContent-Length: 0\n\n", b""), Some(Unsupported)),
        (
            "422 odd",
            raw("HTTP/1.1 422 No\n\n", br#"{"detail": [[[]], {"loc": 5, "msg": []}], "error_code": {}}"#),
            Some(Rejected),
        ),
        ("500 binary", raw("HTTP/1.1 500 Oops\n\n", &[0xff; 100]), Some(Server)),
        ("403 cut off", raw("HTTP/1.1 403 No\nContent-Length: 80\n\n", br#"{"auth_success": fal"#), Some(Cut)),
        ("404 cut off", raw("HTTP/1.1 404 No\nContent-Length: 80\n\n", br#"{"error_code": "ses"#), Some(Cut)),
        ("500 cut off", raw("HTTP/1.1 500 Oops\nContent-Length: 50\n\n", b"{"), Some(Server)),
        ("500 with bad chunks", raw("HTTP/1.1 500 Oops\nTransfer-Encoding: chunked\n\n", b"zz\r\n"), Some(Server)),
        ("an answer nobody asked for", vec![Step::Send([ok(session), ok("{}")].concat()), Step::Close], None),
        (
            "503 and silence",
            vec![Step::Send(answer("503 Busy", "Retry-After: soon\r\n", "")), Step::Hang],
            Some(Server),
        ),
    ]
}

#[tokio::test]
async fn every_answer_to_every_call_is_a_typed_outcome_in_time() {
    const LIMIT: Duration = Duration::from_secs(1);
    let corpus = corpus();
    assert!(corpus.len() >= 60, "{}", corpus.len());
    let mut surprises = Vec::new();
    for (name, steps, expected) in corpus {
        let script = steps.clone();
        let stub = Stub::start(move |_, _| script.clone()).await;
        let backend = logged_in(&environment(&stub.url), short()).await;
        let session = backend.call(read(), LIMIT).await;
        match (&session, expected) {
            (Ok(Answer::Session { session, .. }), None) => assert_eq!(session.session_id.as_str(), "s-1", "{name}"),
            (Err(failure), Some(kind)) if failure.kind == kind => {}
            _ => surprises.push(format!("{name}: {session:?} where {expected:?} was expected")),
        }

        let mut calls = JoinSet::new();
        for call in every_call().into_iter().chain([audit()]) {
            let backend = backend.clone();
            calls.spawn(async move {
                let begun = clock::now();
                let kind = call.kind();
                let result = backend.call(call, LIMIT).await;
                (kind, result, begun.elapsed())
            });
        }
        while let Some(done) = calls.join_next().await {
            let (kind, result, took) = done.unwrap_or_else(|panic| panic!("{name}: {panic}"));
            assert!(took < LIMIT + Duration::from_secs(5), "{name}: {kind} took {took:?}");
            if let Err(failure) = result {
                assert!(!failure.to_string().chars().any(char::is_control), "{name}: {failure:?}");
                assert!(failure.to_string().chars().count() < 400, "{name}: {failure}");
                assert!(failure.kind != FailureKind::NoToken, "{name}");
            }
        }

        let fresh = HttpBackend::with_limits(&environment(&stub.url), &client_credentials(), short()).unwrap();
        let login = fresh.login(Login::Fresh, Generation(1)).await;
        assert!(login.is_err(), "{name}: no token came with this");
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
}
