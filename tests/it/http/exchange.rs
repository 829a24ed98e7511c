//! Calls: what is sent, what comes back, and what happens when nothing does.

use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::core::call::{Answer, Call, CallKind, Failure, FailureKind, Login};
use rallyhere_agent::core::ids::{Etag, Generation, SessionId};
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::io::http::{HttpBackend, Limits};
use rallyhere_agent::ports::{Authenticator as _, Backend as _};
use tokio::net::TcpListener;

use super::stub::{Step, Stub, answer, ok};
use super::{LONG, TOKEN, client_credentials, environment, every_call, health, logged_in, poll, read, short};

const SESSION: &str = r#"{"session_id": "s-1"}"#;
const HEALTHY: &str = r#"{"updated_instance_health": "healthy"}"#;

async fn failure(stub: &Stub, call: Call) -> Failure {
    logged_in(&environment(&stub.url), short()).await.call(call, LONG).await.unwrap_err()
}

#[tokio::test]
async fn a_call_carries_the_token_and_the_contracts_bytes() {
    let stub = Stub::always(answer("200 OK", "ETag: \"v2\"\r\n", SESSION)).await;
    let backend = logged_in(&environment(&format!("{}/prefix", stub.url)), Limits::default()).await;
    let odd = Call::ReadSession {
        session: SessionId::parse("a/b c?é").unwrap(),
        etag: Some(Etag::parse("W/\"v1\"").unwrap()),
    };
    let Ok(Answer::Session { etag, .. }) = backend.call(odd, LONG).await else { panic!() };
    assert_eq!(etag, Some(Etag::parse("\"v2\"").unwrap()));
    let request = &stub.requests()[0];
    assert_eq!(request.line(), "GET /prefix/session/v1/session/a%2Fb%20c%3F%C3%A9?refresh_ttl=true");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(request.header("if-none-match"), Some("W/\"v1\""));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("user-agent"), Some(concat!("rallyhere-agent/", env!("CARGO_PKG_VERSION"))));
    for absent in ["content-type", "content-length", "transfer-encoding", "cookie", "referer", "accept-encoding"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_body_is_json_with_its_length() {
    let stub = Stub::always(ok(HEALTHY)).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    assert_eq!(backend.call(health(), LONG).await, Ok(Answer::HealthAccepted(Health::Healthy)));
    let request = &stub.requests()[0];
    assert_eq!(request.line(), "POST /session/v1/session/s-1/instance/health");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.body, br#"{"instance_health":"healthy","instance_id":"i-1"}"#);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let stub = Stub::always(ok(SESSION)).await;
    let backend = HttpBackend::new(&environment(&stub.url), &client_credentials()).unwrap();
    assert_eq!(backend.call(read(), LONG).await.unwrap_err().kind, FailureKind::NoToken);
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn an_id_that_would_climb_out_of_its_path_is_not_sent() {
    let stub = Stub::always(ok(SESSION)).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    for id in [".", ".."] {
        let call = Call::Unregister { session: SessionId::parse(id).unwrap() };
        assert_eq!(backend.call(call, LONG).await.unwrap_err().kind, FailureKind::Rejected);
    }
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn a_refused_token_is_named_by_its_login() {
    let stub = Stub::always(answer("403 Forbidden", "", r#"{"error_code": "auth_token_expired", "desc": "d"}"#)).await;
    let refused = failure(&stub, read()).await;
    assert_eq!((refused.kind, refused.token), (FailureKind::Unauthorised, Some(Generation(7))));
    let stub = Stub::always(answer("403 Forbidden", "", r#"{"error_code": "insufficient_role", "desc": "d"}"#)).await;
    let refused = failure(&stub, read()).await;
    assert_eq!((refused.kind, refused.token), (FailureKind::Forbidden, None));
}

#[tokio::test]
async fn a_redirect_is_reported_and_never_followed() {
    let elsewhere = Stub::always(ok(SESSION)).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let stub = Stub::always(answer(status, &format!("Location: {}/x\r\n", elsewhere.url), "")).await;
        for call in every_call() {
            let kind = call.kind();
            assert_eq!(failure(&stub, call).await.kind, FailureKind::Redirected, "{status} {kind}");
        }
        let backend = HttpBackend::new(&environment(&stub.url), &client_credentials()).unwrap();
        let refused = backend.login(Login::Fresh, Generation(1)).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Redirected, "{status}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn retry_after_is_heard_in_both_forms() {
    for (headers, wait) in [
        ("Retry-After: 7\r\n", 7),
        ("Retry-After: 99999\r\n", 900),
        ("Date: Sun, 22 Nov 2026 10:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2026 10:00:30 GMT\r\n", 30),
    ] {
        let stub = Stub::always(answer("503 Service Unavailable", headers, "busy")).await;
        let busy = failure(&stub, read()).await;
        assert_eq!((busy.kind, busy.retry_after), (FailureKind::Server, Some(Duration::from_secs(wait))), "{headers}");
        assert_eq!(stub.requests().len(), 1, "one attempt: when to try again is the core's business");
    }
}

#[tokio::test]
async fn a_dead_port_is_unreachable_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let backend = logged_in(&environment(&format!("http://{port}")), Limits::default()).await;
    let begun = clock::now();
    for call in every_call() {
        let refused = backend.call(call, LONG).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unreachable);
        assert!(refused.detail.contains("refused") && !refused.is_ambiguous(), "{refused}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_connection_that_never_comes_about_is_unreachable_and_not_ambiguous() {
    // TLS to a server that never speaks: the connection stands, but no request can leave.
    let stub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", stub.local_addr().unwrap());
    let backend = logged_in(&environment(&url), Limits::default()).await;
    let late = backend.call(health(), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::Unreachable, "{late}");
    let mut patient = environment(&url);
    patient.connect_timeout = Duration::from_millis(200);
    let late = logged_in(&patient, Limits::default()).await.call(health(), LONG).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::Unreachable, "{late}");
}

#[tokio::test]
async fn a_late_head_ends_at_the_header_limit_except_for_the_poll() {
    let stub = Stub::start(|_, _| vec![Step::Pause(short().header * 3), Step::Send(ok("{}")), Step::Hang]).await;
    let backend = logged_in(&environment(&stub.url), short()).await;
    let late = backend.call(health(), LONG).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::TimedOut);
    assert!(late.is_ambiguous() && late.detail.contains("after the request was sent"), "{late}");
    assert!(matches!(backend.call(poll(), LONG).await, Ok(Answer::Page(_))));
    assert_eq!(backend.call(poll(), short().header).await.unwrap_err().kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn a_head_that_drips_ends_at_the_header_limit() {
    let stub = Stub::start(|_, _| vec![Step::Drip(ok(SESSION), Duration::from_millis(20))]).await;
    assert_eq!(failure(&stub, read()).await.kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn a_body_that_stops_ends_at_the_idle_limit_and_one_that_drips_at_the_calls_own() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
    let stalled = head.clone();
    let stub = Stub::start(move |_, _| vec![Step::Send(stalled.clone()), Step::Send(b"{".to_vec()), Step::Hang]).await;
    for call in [read(), health(), poll()] {
        let begun = clock::now();
        let late = failure(&stub, call).await;
        assert_eq!((late.kind, late.status), (FailureKind::TimedOut, Some(200)));
        assert!(begun.elapsed() < LONG / 2, "the idle limit, not the call's");
    }
    let stub = Stub::start(move |_, _| {
        vec![Step::Send(head.clone()), Step::Drip(vec![b' '; 1000], Duration::from_millis(20))]
    })
    .await;
    let backend = logged_in(&environment(&stub.url), short()).await;
    let late = backend.call(read(), Duration::from_millis(700)).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn a_poll_may_begin_its_answer_long_before_it_has_one() {
    let stub = Stub::start(|_, _| {
        let mut bytes = ok("{}");
        let body = bytes.split_off(bytes.len() - 2);
        vec![Step::Send(bytes), Step::Pause(short().body_idle * 3), Step::Send(body), Step::Hang]
    })
    .await;
    let backend = logged_in(&environment(&stub.url), short()).await;
    assert!(matches!(backend.call(poll(), LONG).await, Ok(Answer::Page(_))));
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    for (call, limit) in [(read(), 256 << 10), (poll(), 8 << 20)] {
        let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", limit + 1);
        let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
        for head in [announced, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()] {
            let chunk = chunk.clone();
            let stub =
                Stub::start(move |_, _| vec![Step::Send(head.clone().into()), Step::Flood(chunk.clone().into())]).await;
            let large = failure(&stub, call.clone()).await;
            assert_eq!((large.kind, large.status), (FailureKind::Malformed, Some(200)), "{large}");
            stub.ended(1).await;
            // The kernel's buffers on both sides take more than we read; but the flood has ended.
            assert!(stub.sent() < limit + (64 << 20), "sent {}", stub.sent());
        }
    }
    // Of a failure the status counts, however large the rest is.
    let stub = Stub::start(|_, _| {
        vec![Step::Send(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()), Step::Flood(vec![b'x'; 0x4000])]
    })
    .await;
    assert_eq!(failure(&stub, read()).await.kind, FailureKind::NotFound);
}

#[tokio::test]
async fn a_failures_status_counts_even_if_its_body_never_ends() {
    for rest in [Step::Hang, Step::Close] {
        let stub = Stub::start(move |_, _| {
            vec![
                Step::Send(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 50\r\n\r\n{".to_vec()),
                rest.clone(),
            ]
        })
        .await;
        let busy = failure(&stub, read()).await;
        assert_eq!((busy.kind, busy.retry_after), (FailureKind::Server, Some(Duration::from_secs(3))));
    }
}

#[tokio::test]
async fn an_endless_row_of_interim_answers_ends_at_the_limit() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"] {
        let stub = Stub::start(move |_, _| vec![Step::Flood(interim.as_bytes().to_vec())]).await;
        let begun = clock::now();
        assert_eq!(failure(&stub, read()).await.kind, FailureKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_new_connection_that_ends_without_an_answer_is_cut_and_not_repeated() {
    for end in [Step::Close, Step::HalfClose] {
        for call in [read(), health(), poll()] {
            let end = end.clone();
            let stub = Stub::start(move |_, _| vec![end.clone()]).await;
            let cut = failure(&stub, call).await;
            assert_eq!(cut.kind, FailureKind::Cut, "{cut}");
            assert!(cut.is_ambiguous());
            assert_eq!(stub.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_cut_and_not_repeated() {
    let stub =
        Stub::start(|_, _| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_vec()), Step::Close])
            .await;
    let cut = failure(&stub, read()).await;
    assert_eq!((cut.kind, cut.status), (FailureKind::Cut, Some(200)));
    assert_eq!(stub.requests().len(), 1);
}

/// The first request is answered; every later one on the same connection ends it.
async fn closes_what_is_reused(body: &'static str) -> Stub {
    let used = std::sync::Mutex::new(std::collections::BTreeSet::new());
    Stub::start(move |_, request| {
        if used.lock().unwrap().insert(request.connection) { vec![Step::Send(ok(body))] } else { vec![Step::Close] }
    })
    .await
}

#[tokio::test]
async fn a_safe_call_is_sent_once_more_when_a_reused_connection_was_closed() {
    let stub = closes_what_is_reused(SESSION).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    backend.call(read(), LONG).await.unwrap();
    backend.call(read(), LONG).await.unwrap();
    let connections: Vec<usize> = stub.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn a_safe_call_is_sent_once_more_and_not_twice() {
    // Answers the first request only, on whichever connection.
    let stub =
        Stub::start(|number, _| if number == 0 { vec![Step::Send(ok(SESSION))] } else { vec![Step::Close] }).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    backend.call(read(), LONG).await.unwrap();
    assert_eq!(backend.call(read(), LONG).await.unwrap_err().kind, FailureKind::Cut);
    assert_eq!(stub.requests().len(), 3);
}

#[tokio::test]
async fn a_poll_that_is_cut_while_it_waits_is_not_sent_again_at_once() {
    // A fleet that is cut at once must not come back at once.
    let stub = Stub::start(|number, _| {
        if number == 0 {
            vec![Step::Send(ok(r#"{"notifications": []}"#))]
        } else {
            vec![Step::Pause(Duration::from_millis(1100)), Step::Close]
        }
    })
    .await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    backend.call(poll(), LONG).await.unwrap();
    assert_eq!(backend.call(poll(), LONG).await.unwrap_err().kind, FailureKind::Cut);
    assert_eq!(stub.requests().len(), 2);
}

#[tokio::test]
async fn an_unsafe_call_is_never_sent_again() {
    for call in every_call().into_iter().filter(|call| !call.kind().is_safe()) {
        let stub = closes_what_is_reused(SESSION).await;
        let backend = logged_in(&environment(&stub.url), Limits::default()).await;
        backend.call(read(), LONG).await.unwrap();
        let kind = call.kind();
        let cut = backend.call(call, LONG).await.unwrap_err();
        assert_eq!(cut.kind, FailureKind::Cut, "{kind}: {cut}");
        assert!(cut.is_ambiguous());
        let connections: Vec<usize> = stub.requests().iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 0], "{kind}");
    }
}

#[tokio::test]
async fn connections_are_reused_until_they_are_old() {
    let stub = Stub::always(ok(SESSION)).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    for _ in 0..5 {
        backend.call(read(), LONG).await.unwrap();
    }
    assert_eq!(stub.connections(), 1);
    let old = Limits { connection_age: Duration::ZERO, ..Limits::default() };
    let backend = logged_in(&environment(&stub.url), old).await;
    for _ in 0..5 {
        backend.call(read(), LONG).await.unwrap();
    }
    assert_eq!(stub.connections(), 6);
    stub.ended(4).await;
}

#[tokio::test]
async fn a_poll_that_hangs_holds_up_nothing_else_and_can_be_taken_back() {
    let stub =
        Stub::start(
            |_, request| {
                if request.line().contains("/lp?") { vec![Step::Hang] } else { vec![Step::Send(ok(HEALTHY))] }
            },
        )
        .await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    let mut polls = tokio::task::JoinSet::new();
    polls.spawn(backend.call(poll(), LONG));
    stub.received(1).await;
    assert_eq!(backend.call(health(), LONG).await, Ok(Answer::HealthAccepted(Health::Healthy)));
    polls.shutdown().await;
    // The connection of the poll ends, although the server never said a word.
    stub.ended(1).await;
}

#[tokio::test]
async fn the_poll_shares_no_connection_with_the_rest() {
    let stub = Stub::always(ok(r#"{"updated_instance_health": "healthy", "notifications": []}"#)).await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    for call in [poll(), health(), poll(), health()] {
        backend.call(call, LONG).await.unwrap();
    }
    let connections: Vec<usize> = stub.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 0, 1]);
}

#[tokio::test]
async fn calls_are_counted_by_kind_and_class() {
    let stub = Stub::start(|number, _| {
        vec![Step::Send(if number == 0 { ok(SESSION) } else { answer("404 Not Found", "", "{}") })]
    })
    .await;
    let backend = logged_in(&environment(&stub.url), Limits::default()).await;
    backend.call(read(), LONG).await.unwrap();
    backend.call(read(), LONG).await.unwrap_err();
    backend.call(read(), LONG).await.unwrap_err();
    let requests = backend.requests();
    assert_eq!(requests.count(CallKind::ReadSession, "2xx"), 1);
    assert_eq!(requests.count(CallKind::ReadSession, "4xx"), 2);
    assert_eq!(requests.counts().map(|(_, _, count)| count).sum::<u64>(), 3);
}

#[tokio::test]
async fn no_secret_shows_in_any_debug_or_error() {
    // A server that echoes what it was shown.
    let stub = Stub::start(|_, request| {
        let shown = request.header("authorization").unwrap();
        let secret = shown.split(' ').nth(1).unwrap();
        let body = serde_json::json!({"error_code": secret, "desc": format!("cannot take {shown}")}).to_string();
        vec![Step::Send(answer("403 Forbidden", "", &body))]
    })
    .await;
    let auth = client_credentials();
    let backend = HttpBackend::new(&environment(&stub.url), &auth).unwrap();
    let refused = backend.login(Login::Fresh, Generation(1)).await.unwrap_err();
    let basic = stub.requests()[0].header("authorization").unwrap().split(' ').nth(1).unwrap().to_owned();
    let token = logged_in(&environment(&stub.url), Limits::default()).await;
    let forbidden = token.call(read(), LONG).await.unwrap_err();
    let request = rallyhere_agent::wire::encode(&every_call()[3]);
    let shown = format!("{auth:?} {backend:?} {refused:?} {refused} {token:?} {forbidden:?} {forbidden} {request:?}");
    for secret in [TOKEN, "client-secret-0123456789", &basic] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(forbidden.detail.contains("[redacted]"), "{forbidden}");
}

#[tokio::test]
async fn every_request_has_an_id_and_a_failure_is_found_in_the_logs_of_both_sides() {
    let stub = Stub::start(|number, _| match number {
        0 => vec![Step::Send(answer("503 Oops", "X-Amzn-Trace-Id: Root=1-67\r\nX-Request-Id: edge 42\r\n", ""))],
        1 => vec![Step::Send(answer("503 Oops", "", ""))],
        _ => vec![Step::Close],
    })
    .await;
    let backend = logged_in(&environment(&stub.url), short()).await;
    let mut ids = Vec::new();
    for theirs in [Some("edge 42"), None, None] {
        let failure = backend.call(health(), LONG).await.unwrap_err();
        ids.push(failure.request_id().unwrap().to_owned());
        assert_eq!(failure.backend_request_id(), theirs);
        assert!(!failure.to_string().contains(ids.last().unwrap()), "{failure}: the words are the same each time");
    }
    let sent: Vec<_> = stub.requests().iter().map(|sent| sent.header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(sent, ids);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{ids:?}");
}

#[tokio::test]
async fn a_backend_that_repeats_the_token_as_its_id_does_not_bring_it_into_a_log() {
    let stub = Stub::always(answer("500 Oops", &format!("X-Request-Id: id-{TOKEN}\r\n"), "")).await;
    let failure = failure(&stub, health()).await;
    assert_eq!(failure.backend_request_id(), Some("[redacted]"));
}
