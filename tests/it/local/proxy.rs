//! Calls of the game that are passed on: what goes, what comes back, and what never does.

use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::config::settings::{self, Auth};
use rallyhere_agent::core::auth::{AuthEvent, AuthState, AuthView};
use rallyhere_agent::core::call::Login;
use rallyhere_agent::core::ids::Generation;
use rallyhere_agent::core::phase::Phase;
use rallyhere_agent::core::proxy::Pattern;
use rallyhere_agent::io::http::{HttpBackend, Limits as HttpLimits};
use rallyhere_agent::io::local::{Limits, Proxy};
use rallyhere_agent::ports::{Authenticator as _, Backend as _, LoginHandle};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::fake::{Fake, Served};
use super::raw::{Via, request, within};
use crate::http::stub::{Request, Step, Stub, answer, ok};
use crate::http::{LONG, TOKEN, client_credentials, environment, health, logged_in, secret};

const NEXT: &str = "the-next-token-9876543210-abcdef";

fn settings(allow: &[&str]) -> settings::Proxy {
    settings::Proxy {
        allow: allow.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect(),
        body_limit: 4096,
        timeout: Duration::from_secs(10),
        concurrency: 2,
    }
}

fn everything() -> settings::Proxy {
    settings(&["GET /**", "POST /**", "PUT /**", "PATCH /**", "DELETE /**"])
}

/// A login that gives the next token when the one in use was refused, as the driver does.
struct Logins {
    handle: LoginHandle,
    attempts: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Logins {
    fn start(backend: &HttpBackend) -> Self {
        let view =
            |generation, state| Arc::new(AuthView { state, generation: Some(generation), ..AuthView::default() });
        let (views, shown) = watch::channel(view(Generation(7), AuthState::Valid));
        let (events, mut rejections) = mpsc::channel::<Box<AuthEvent>>(8);
        let (counted, attempts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let backend = backend.clone();
        tasks.spawn(async move {
            while let Some(event) = rejections.recv().await {
                assert_eq!(*event, AuthEvent::Rejected(Generation(7)));
                counted.send_modify(|count| *count += 1);
                backend.replace_secrets(&Auth::AccessToken { token: secret(NEXT) });
                backend.login(Login::Fresh, Generation(8)).await.unwrap();
                views.send_replace(view(Generation(8), AuthState::Valid));
            }
        });
        Self { handle: LoginHandle::new(shown, events), attempts, _tasks: tasks }
    }
}

struct Rig {
    stub: Stub,
    served: Served,
    backend: HttpBackend,
    logins: Logins,
}

impl Rig {
    async fn start(
        settings: settings::Proxy,
        script: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::with(settings, None, script).await
    }

    async fn with(
        settings: settings::Proxy,
        token: Option<&str>,
        script: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let stub = Stub::start(script).await;
        let backend = logged_in(&environment(&stub.url), HttpLimits::default()).await;
        let logins = Logins::start(&backend);
        let proxy = Proxy::new(&settings, backend.clone(), logins.handle.clone());
        let served = Served::start_proxied(Fake::start(), Limits::default(), token, proxy);
        Self { stub, served, backend, logins }
    }

    fn game(&self) -> Via {
        self.served.uds()
    }
}

/// Whether a header of any request to the backend has such a value.
fn went(stub: &Stub, text: &str) -> bool {
    stub.requests().iter().any(|request| request.head.contains(text))
}

#[tokio::test]
async fn what_is_allowed_goes_on_and_comes_back_unchanged() {
    let headers = "Content-Encoding: gzip\r\nETag: \"v1\"\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Bearer\r\nX-Kept: yes\r\n\
                   Connection: X-Hop\r\nX-Hop: no\r\nRetry-After: 7\r\n";
    let rig = Rig::start(everything(), move |_, _| vec![Step::Send(answer("418 Teapot", headers, "not json"))]).await;
    for door in rig.served.doors() {
        let sent = [
            ("content-type", "application/x-own"),
            ("idempotency-key", "k-1"),
            ("if-none-match", "\"v0\""),
            ("authorization", "Bearer of-the-game"),
            ("cookie", "c=of-the-game"),
            ("x-forwarded-for", "of-the-game"),
            ("x-http-method-override", "of-the-game"),
            ("connection", "keep-alive, x-named"),
            ("x-named", "of-the-game"),
            ("user-agent", "of-the-game"),
        ];
        let got = door.call_with("POST", "/rallyhere/rank/v2/r%20x/update?a=%2e%2e&b=/", &sent, b"\x00\xffbody").await;
        assert_eq!((got.status, got.body.as_str()), (418, "not json"));
        for (name, value) in [
            ("content-encoding", Some("gzip")),
            ("etag", Some("\"v1\"")),
            ("x-kept", Some("yes")),
            ("retry-after", Some("7")),
            ("set-cookie", None),
            ("www-authenticate", None),
            ("x-hop", None),
        ] {
            assert_eq!(got.header(name), value, "{name}");
        }
    }
    let requests = rig.stub.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.line(), "POST /rank/v2/r%20x/update?a=%2e%2e&b=/");
        assert_eq!(request.body, b"\x00\xffbody");
        for (name, value) in [
            ("authorization", format!("Bearer {TOKEN}")),
            ("content-type", "application/x-own".to_owned()),
            ("idempotency-key", "k-1".to_owned()),
            ("if-none-match", "\"v0\"".to_owned()),
            ("host", rig.stub.url.replace("http://", "")),
        ] {
            assert_eq!(request.header(name), Some(value.as_str()), "{name}");
        }
        assert!(!request.head.contains("of-the-game"), "{}", request.head);
    }
    assert_eq!(rig.served.fake.greetings(), 1, "a game is there");
}

#[tokio::test]
async fn what_is_not_allowed_never_leaves() {
    let allow = ["GET /inventory/v1/**", "POST /**"];
    let rig = Rig::start(settings(&allow), |_, _| vec![Step::Send(ok("{}"))]).await;
    for (method, path, status, code) in [
        ("GET", "/rallyhere/rank/v1/a", 403, "not_allowed"),
        ("DELETE", "/rallyhere/inventory/v1/a", 403, "not_allowed"),
        ("GET", "/rallyhere/inventory/v1/../../rank/v1/a", 400, "bad_path"),
        ("GET", "/rallyhere/inventory/v1/%2e%2e/%2e%2e/rank", 400, "bad_path"),
        ("GET", "/rallyhere/inventory/v1/a%2f..%2fb", 400, "bad_path"),
        ("GET", "/rallyhere/inventory/v1//a", 400, "bad_path"),
        ("GET", "/rallyhere//inventory/v1/a", 400, "bad_path"),
        ("GET", "/rallyhere/inventory/v1/a;b", 400, "bad_path"),
        ("GET", "http://localhost/rallyhere/inventory/v1/a", 400, "bad_path"),
        ("POST", "/rallyhere/session/v1/session/s-1/instance", 403, "agents_own"),
        ("POST", "/rallyhere/session/v1/session/s-1/instance/health", 403, "agents_own"),
        ("POST", "/rallyhere/session/v1/session/s-1/%69nstance", 400, "bad_path"),
        ("POST", "/rallyhere/users/v1/login", 403, "agents_own"),
        ("TRACE", "/rallyhere/inventory/v1/a", 405, "method_not_allowed"),
        ("OPTIONS", "/rallyhere/inventory/v1/a", 405, "method_not_allowed"),
        ("GET", "/rallyhere/", 400, "bad_path"),
        ("GET", "/rallyhere", 400, "bad_path"),
    ] {
        for door in rig.served.doors() {
            let refused = door.call(method, path, "").await;
            assert_eq!((refused.status, refused.refusal().0.as_str()), (status, code), "{method} {path}");
        }
    }
    let path = "/rallyhere/inventory/v1/a";
    for headers in [&[("connection", "Upgrade"), ("upgrade", "websocket")][..], &[("upgrade", "h2c")]] {
        assert_eq!(rig.game().call_with("GET", path, headers, b"").await.refusal().0, "no_upgrade");
    }
    for headers in [("host", "evil.example"), ("origin", "http://localhost")] {
        assert_eq!(rig.served.tcp().call_with("GET", path, &[headers], b"").await.status, 403, "{headers:?}");
    }
    let mut connection = rig.game().connect().await;
    connection.send(b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n").await;
    assert!(connection.answer().await.status >= 400);
    assert!(rig.stub.requests().is_empty(), "{:?}", rig.stub.lines());
    assert_eq!(rig.game().get(path).await.status, 200, "but this is");
}

#[tokio::test]
async fn without_patterns_there_is_no_proxy() {
    let rig = Rig::start(settings(&[]), |_, _| vec![Step::Send(ok("{}"))]).await;
    let refused = rig.game().get("/rallyhere/inventory/v1/a").await;
    assert_eq!((refused.status, refused.refusal().0.as_str()), (404, "proxy_off"));
    assert!(rig.stub.requests().is_empty());
}

#[tokio::test]
async fn on_tcp_the_local_token_is_asked_for_and_stays_here() {
    let rig = Rig::with(everything(), Some("local-token-0815"), |_, _| vec![Step::Send(ok("{}"))]).await;
    let path = "/rallyhere/inventory/v1/a";
    assert_eq!(rig.served.tcp().get(path).await.status, 401);
    let with = [("authorization", "Bearer local-token-0815")];
    assert_eq!(rig.served.tcp().call_with("GET", path, &with, b"").await.status, 200);
    assert_eq!(rig.stub.requests().len(), 1);
    assert!(went(&rig.stub, TOKEN) && !went(&rig.stub, "local-token-0815"));
}

#[tokio::test]
async fn the_token_is_not_in_what_comes_back_even_if_the_backend_says_it() {
    let rig = Rig::start(everything(), |_, request| {
        let token = request.header("authorization").unwrap().to_owned();
        let bytes = match request.line() {
            "GET /in/body" => ok(&format!("{{\"you\": \"sent {token}\"}}")),
            "GET /in/error" => answer("500 Oops", "", &token),
            "GET /in/header" => answer("200 OK", &format!("X-Echo: {token}\r\n"), "{}"),
            "GET /in/location" => answer("307 There", &format!("Location: /x?t={token}\r\n"), ""),
            "GET /in/reason" => answer(&format!("200 {token}"), "", "{}"),
            _ => format!("HTTP/1.1 {token}\r\n\r\n").into_bytes(),
        };
        vec![Step::Send(bytes), Step::Close]
    })
    .await;
    for path in ["body", "error", "header", "location", "reason", "line"] {
        let mut connection = rig.game().connect().await;
        connection.send(&request("GET", &format!("/rallyhere/in/{path}"), &[("connection", "close")], b"")).await;
        let all = connection.rest().await;
        assert!(!all.contains(TOKEN), "{path}: {all}");
        let status = if path == "reason" { "200 OK" } else { "502 Bad Gateway" };
        assert!(all.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {all}");
    }
}

#[tokio::test]
async fn a_game_takes_no_more_than_its_places_and_health_is_not_held_up() {
    let proxy = settings::Proxy { timeout: Duration::from_millis(800), ..everything() };
    let rig = Rig::start(proxy, |_, request| match request.line() {
        "GET /slow" => vec![Step::Hang],
        _ => vec![Step::Send(ok(r#"{"updated_instance_health": "healthy"}"#))],
    })
    .await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let game = rig.game();
        waiting.spawn(async move { game.get("/rallyhere/slow").await });
    }
    rig.stub.received(2).await;
    let refused = rig.game().get("/rallyhere/slow").await;
    assert_eq!((refused.status, refused.refusal().0.as_str()), (503, "proxy_busy"));
    assert!(refused.header("retry-after").is_some());
    rig.backend.call(health(), LONG).await.unwrap();
    assert_eq!(rig.game().get("/v1/status").await.status, 200);
    assert_eq!(waiting.len(), 2, "health and status were answered while both waited");
    while let Some(late) = within(waiting.join_next()).await {
        let late = late.unwrap();
        assert_eq!((late.status, late.refusal().0.as_str()), (504, "backend_timeout"));
    }
    assert_eq!(rig.game().get("/rallyhere/quick").await.status, 200, "the places are free again");
}

#[tokio::test]
async fn sizes_are_limited_each_way() {
    let rig = Rig::start(everything(), |_, request| {
        let size = if request.line() == "GET /large" { 4097 } else { 4096 };
        vec![Step::Send(ok(&"x".repeat(size)))]
    })
    .await;
    let large = rig.game().get("/rallyhere/large").await;
    assert_eq!((large.status, large.refusal().0.as_str()), (502, "backend_answer"));
    assert_eq!(rig.game().get("/rallyhere/fits").await.body.len(), 4096);
    let refused = rig.game().post("/rallyhere/a", &"x".repeat(4097)).await;
    assert_eq!((refused.status, refused.refusal().0.as_str()), (413, "too_large"));
    assert_eq!(rig.stub.requests().len(), 2);
    assert_eq!(rig.game().post("/rallyhere/a", &"x".repeat(4096)).await.status, 200);
}

#[tokio::test]
async fn without_a_token_it_says_so() {
    let stub = Stub::always(ok("{}")).await;
    let backend = HttpBackend::new(&environment(&stub.url), &client_credentials()).unwrap();
    let logins = Logins::start(&backend);
    let proxy = Proxy::new(&everything(), backend, logins.handle.clone());
    let served = Served::start_proxied(Fake::start(), Limits::default(), None, proxy);
    let refused = served.uds().get("/rallyhere/a").await;
    assert_eq!((refused.status, refused.refusal().0.as_str()), (503, "no_token"));
    assert!(stub.requests().is_empty());
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_call_made_once_more() {
    let rig = Rig::start(everything(), |_, request| {
        let good = request.header("authorization").is_some_and(|token| token.ends_with(NEXT));
        let refused = r#"{"auth_success": false, "error_code": "auth_token_expired"}"#;
        vec![Step::Send(if good { ok("[1]") } else { answer("403 Forbidden", "", refused) })]
    })
    .await;
    let got = rig.game().post("/rallyhere/a", "{\"n\":1}").await;
    assert_eq!((got.status, got.body.as_str()), (200, "[1]"));
    assert_eq!(rig.stub.lines(), ["POST /a", "GET /session/v1/instance/health/config", "POST /a"]);
    assert_eq!(rig.stub.requests()[2].body, b"{\"n\":1}");
    assert_eq!(*rig.logins.attempts.borrow(), 1);
    assert_eq!(rig.game().get("/rallyhere/b").await.status, 200);
    assert_eq!(*rig.logins.attempts.borrow(), 1);
}

#[tokio::test]
async fn a_call_that_always_answers_401_costs_no_login() {
    let rig = Rig::start(everything(), |_, request| match request.line() {
        "GET /odd" => vec![Step::Send(answer("401 Unauthorized", "", "{\"why\":\"because\"}"))],
        _ => vec![Step::Send(ok("{}"))],
    })
    .await;
    for _ in 0..3 {
        let got = rig.game().get("/rallyhere/odd").await;
        assert_eq!((got.status, got.body.as_str()), (401, "{\"why\":\"because\"}"));
    }
    assert_eq!(*rig.logins.attempts.borrow(), 0);
}

#[tokio::test]
async fn only_what_is_safe_is_sent_again_and_redirects_are_not_followed() {
    let rig = Rig::start(everything(), |number, request| match (number, request.line()) {
        (0 | 3, _) => vec![Step::Send(ok("{}"))],
        // The connection was used before, and ends without a word.
        (1 | 4, _) => vec![Step::Close],
        (_, "GET /moved") => vec![Step::Send(answer("307 There", "Location: http://127.0.0.1:1/x\r\n", ""))],
        _ => vec![Step::Send(ok("{}"))],
    })
    .await;
    assert_eq!(rig.game().get("/rallyhere/a").await.status, 200);
    assert_eq!(rig.game().get("/rallyhere/b").await.status, 200, "sent again");
    assert_eq!(rig.stub.lines(), ["GET /a", "GET /b", "GET /b"]);
    assert_eq!(rig.game().get("/rallyhere/c").await.status, 200);
    let cut = rig.game().post("/rallyhere/d", "{}").await;
    assert_eq!((cut.status, cut.refusal().0.as_str()), (502, "backend_unreachable"));
    assert_eq!(rig.stub.lines().iter().filter(|line| *line == "POST /d").count(), 1);
    let moved = rig.game().get("/rallyhere/moved").await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("http://127.0.0.1:1/x")));
}

#[tokio::test]
async fn a_head_has_the_length_and_no_body() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec();
    let rig = Rig::start(settings(&["GET /a"]), move |_, _| vec![Step::Send(head.clone())]).await;
    let mut connection = rig.game().connect().await;
    connection.send(b"HEAD /rallyhere/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let all = connection.rest().await;
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.contains("content-length: 1234\r\n"), "{all}");
    assert!(all.ends_with("\r\n\r\n"), "{all}");
    assert_eq!(rig.stub.lines(), ["HEAD /a"]);
}

#[tokio::test]
async fn nothing_is_sent_in_the_name_of_somebody_elses_instance() {
    let rig = Rig::start(everything(), |_, _| vec![Step::Send(ok("{}"))]).await;
    rig.served.fake.show(|snapshot| snapshot.phase = Phase::Superseded);
    let refused = rig.game().get("/rallyhere/a").await;
    assert_eq!((refused.status, refused.refusal().0.as_str()), (409, "wrong_phase"));
    assert!(rig.stub.requests().is_empty());
}
