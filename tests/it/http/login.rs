//! Logins: where they go, what they show, and what becomes of the answer.

use std::time::Duration;

use rallyhere_agent::config::secret::{Secret, SecretOrigin};
use rallyhere_agent::config::settings::Auth;
use rallyhere_agent::core::call::{CallKind, FailureKind, Login};
use rallyhere_agent::core::ids::Generation;
use rallyhere_agent::io::http::{HttpBackend, Limits};
use rallyhere_agent::ports::{Authenticator as _, Backend as _};
use serde_json::{Value, json};

use super::stub::{Request, Step, Stub, answer, ok};
use super::{LONG, client_credentials, environment, read, secret, short};

const TOKEN_LINE: &str = "POST /users/v2/oauth/token";
const LOGIN_LINE: &str = "POST /users/v1/login";
/// base64 of "client:client-secret-0123456789".
const BASIC: &str = "Basic Y2xpZW50OmNsaWVudC1zZWNyZXQtMDEyMzQ1Njc4OQ==";

fn basic() -> Auth {
    Auth::Basic {
        client_id: "client".to_owned(),
        client_secret: secret("client-secret-0123456789"),
        username: "user".to_owned(),
        password: secret("pass:word"),
    }
}

fn backend(stub: &Stub, auth: &Auth) -> HttpBackend {
    HttpBackend::with_limits(&environment(&stub.url), auth, short()).unwrap()
}

fn refused(code: &str) -> Vec<u8> {
    answer("403 Forbidden", "", &json!({"error_code": code, "desc": "d", "auth_success": false}).to_string())
}

fn bearer(request: &Request) -> &str {
    request.header("authorization").unwrap()
}

fn sent(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn client_credentials_give_a_token_for_every_call_from_then_on() {
    let stub = Stub::start(|number, request| {
        vec![Step::Send(match request.line() {
            TOKEN_LINE => ok(&json!({"access_token": format!("t-{number}"), "expires_in": 300}).to_string()),
            _ => ok(r#"{"session_id": "s-1"}"#),
        })]
    })
    .await;
    let backend = backend(&stub, &client_credentials());
    let logged_in = backend.login(Login::Fresh, Generation(1)).await.unwrap();
    assert_eq!(logged_in.lifetime, Some(Duration::from_secs(300)));
    assert!(!logged_in.can_refresh);
    backend.call(read(), LONG).await.unwrap();
    backend.login(Login::Fresh, Generation(2)).await.unwrap();
    backend.clone().call(read(), LONG).await.unwrap();
    let requests = stub.requests();
    assert_eq!(bearer(&requests[0]), BASIC);
    assert_eq!(sent(&requests[0]), json!({"grant_type": "client_credentials"}));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(bearer(&requests[1]), "Bearer t-0");
    assert_eq!(bearer(&requests[3]), "Bearer t-2");
    assert_eq!(backend.requests().count(CallKind::Login, "2xx"), 2);
}

#[tokio::test]
async fn an_overtaken_login_does_not_replace_a_newer_token() {
    let stub = Stub::start(|number, request| {
        vec![Step::Send(match request.line() {
            TOKEN_LINE => ok(&json!({"access_token": format!("t-{number}")}).to_string()),
            _ => answer("401 Unauthorized", "", "{}"),
        })]
    })
    .await;
    let backend = backend(&stub, &client_credentials());
    backend.login(Login::Fresh, Generation(5)).await.unwrap();
    backend.login(Login::Fresh, Generation(4)).await.unwrap();
    assert_eq!(backend.call(read(), LONG).await.unwrap_err().token, Some(Generation(5)));
    assert_eq!(bearer(&stub.requests()[2]), "Bearer t-0");
}

#[tokio::test]
async fn a_login_without_a_token_in_it_has_failed() {
    for body in [r#"{"access_token": ""}"#, "{}", r#"{"access_token": "a b"}"#, "<html>"] {
        let stub = Stub::always(ok(body)).await;
        let backend = backend(&stub, &client_credentials());
        assert_eq!(
            backend.login(Login::Fresh, Generation(1)).await.unwrap_err().kind,
            FailureKind::Malformed,
            "{body}"
        );
        assert_eq!(backend.call(read(), LONG).await.unwrap_err().kind, FailureKind::NoToken);
        assert_eq!(stub.requests().len(), 1, "one attempt");
    }
}

#[tokio::test]
async fn a_login_that_hangs_ends_at_its_limit() {
    let stub = Stub::start(|_, _| vec![Step::Hang]).await;
    let limits = Limits { header: LONG, login: Duration::from_millis(200), ..Limits::default() };
    let backend = HttpBackend::with_limits(&environment(&stub.url), &client_credentials(), limits).unwrap();
    assert_eq!(backend.login(Login::Fresh, Generation(1)).await.unwrap_err().kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn where_the_token_endpoint_is_gone_the_login_endpoint_is_asked_and_remembered() {
    // {"iat":1000,"exp":4600}
    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjEwMDAsImV4cCI6NDYwMH0.c2ln";
    for gone in ["404 Not Found", "405 Method Not Allowed", "410 Gone", "501 Not Implemented"] {
        let stub = Stub::start(move |_, request| {
            vec![Step::Send(match request.line() {
                TOKEN_LINE => answer(gone, "", "{}"),
                _ => ok(&json!({"access_token": JWT, "refresh_token": "r"}).to_string()),
            })]
        })
        .await;
        let backend = backend(&stub, &client_credentials());
        let logged_in = backend.login(Login::Fresh, Generation(1)).await.unwrap();
        assert_eq!(logged_in.lifetime, Some(Duration::from_secs(3600)), "by the token's own account");
        assert!(logged_in.can_refresh);
        backend.login(Login::Fresh, Generation(2)).await.unwrap();
        assert_eq!(stub.lines(), [TOKEN_LINE, LOGIN_LINE, LOGIN_LINE], "{gone}");
        let fallback = &stub.requests()[1];
        assert_eq!(bearer(fallback), BASIC);
        assert_eq!(sent(fallback), json!({"grant_type": "client_credentials", "include_refresh": true}));
        // New credentials begin from the start.
        backend.replace_secrets(&client_credentials());
        backend.login(Login::Fresh, Generation(3)).await.unwrap();
        assert_eq!(stub.lines()[3..], [TOKEN_LINE, LOGIN_LINE]);
    }
}

#[tokio::test]
async fn a_refusal_is_one_request_and_the_other_endpoint_gets_one_try_with_the_next() {
    let stub = Stub::always(refused("basic_invalid")).await;
    let backend = backend(&stub, &client_credentials());
    for generation in 1..=4 {
        let no = backend.login(Login::Fresh, Generation(generation)).await.unwrap_err();
        assert_eq!(no.kind, FailureKind::Unauthorised);
        assert_eq!(no.code.as_deref(), Some("basic_invalid"));
        assert!(no.detail.contains("/users/v"), "it says where: {no}");
    }
    assert_eq!(stub.lines(), [TOKEN_LINE, LOGIN_LINE, TOKEN_LINE, TOKEN_LINE]);
}

#[tokio::test]
async fn an_environment_that_only_takes_the_login_endpoint_is_found_after_a_refusal() {
    let stub = Stub::start(|_, request| {
        vec![Step::Send(if request.line() == TOKEN_LINE { refused("x") } else { ok(r#"{"access_token": "t"}"#) })]
    })
    .await;
    let backend = backend(&stub, &client_credentials());
    backend.login(Login::Fresh, Generation(1)).await.unwrap_err();
    backend.login(Login::Fresh, Generation(2)).await.unwrap();
    backend.login(Login::Fresh, Generation(3)).await.unwrap();
    assert_eq!(stub.lines(), [TOKEN_LINE, LOGIN_LINE, LOGIN_LINE]);
}

#[tokio::test]
async fn an_environment_whose_login_endpoint_knows_no_client_credentials_is_asked_there_once() {
    let stub = Stub::start(|_, request| {
        vec![Step::Send(if request.line() == TOKEN_LINE {
            refused("basic_invalid")
        } else {
            answer("422 Unprocessable", "", r#"{"detail": "grant_type"}"#)
        })]
    })
    .await;
    let backend = backend(&stub, &client_credentials());
    for generation in 1..=4 {
        let no = backend.login(Login::Fresh, Generation(generation)).await.unwrap_err();
        assert_eq!(no.kind, FailureKind::Unauthorised, "the refusal is what the operator sees");
    }
    assert_eq!(stub.lines(), [TOKEN_LINE, LOGIN_LINE, TOKEN_LINE, TOKEN_LINE, TOKEN_LINE]);
}

#[tokio::test]
async fn an_outage_of_the_login_is_one_request_and_teaches_nothing() {
    for status in ["500 Oops", "503 Busy", "429 Slow"] {
        let stub = Stub::always(answer(status, "Retry-After: 4\r\n", "{}")).await;
        let backend = backend(&stub, &client_credentials());
        for generation in 1..=2 {
            let down = backend.login(Login::Fresh, Generation(generation)).await.unwrap_err();
            assert_eq!(down.retry_after, Some(Duration::from_secs(4)));
        }
        assert_eq!(stub.lines(), [TOKEN_LINE, TOKEN_LINE], "{status}");
    }
}

#[tokio::test]
async fn a_user_logs_in_and_refreshes_with_what_came_of_it() {
    let stub = Stub::start(|number, _| {
        vec![Step::Send(ok(&json!({"access_token": "t", "refresh_token": format!("refresh-{number}")}).to_string()))]
    })
    .await;
    let backend = backend(&stub, &basic());
    assert!(backend.login(Login::Refresh, Generation(1)).await.unwrap().can_refresh, "without one, a fresh login");
    backend.login(Login::Refresh, Generation(2)).await.unwrap();
    backend.login(Login::Refresh, Generation(3)).await.unwrap();
    backend.login(Login::Fresh, Generation(4)).await.unwrap();
    assert_eq!(stub.lines(), [LOGIN_LINE; 4]);
    let shown: Vec<(String, String)> = stub
        .requests()
        .iter()
        .map(|request| {
            assert_eq!(bearer(request), BASIC);
            let body = sent(request);
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            (text("grant_type"), text("portal_access_token"))
        })
        .collect();
    let pair = |grant: &str, token: &str| (grant.to_owned(), token.to_owned());
    assert_eq!(
        shown,
        [
            pair("basic", "user:pass:word"),
            pair("refresh", "refresh-0"),
            pair("refresh", "refresh-1"),
            pair("basic", "user:pass:word"),
        ]
    );
    let body = sent(&stub.requests()[0]);
    for consent in ["include_refresh", "accept_eula", "accept_tos", "accept_privacy_policy"] {
        assert_eq!(body[consent], true, "{consent}");
    }
}

#[tokio::test]
async fn a_refused_refresh_token_is_not_shown_again() {
    let stub = Stub::start(|number, _| {
        vec![Step::Send(if number == 1 {
            refused("refresh_invalid")
        } else {
            ok(r#"{"access_token": "t", "refresh_token": "r"}"#)
        })]
    })
    .await;
    let backend = backend(&stub, &basic());
    backend.login(Login::Fresh, Generation(1)).await.unwrap();
    backend.login(Login::Refresh, Generation(2)).await.unwrap_err();
    backend.login(Login::Refresh, Generation(3)).await.unwrap();
    let grants: Vec<Value> = stub.requests().iter().map(|request| sent(request)["grant_type"].clone()).collect();
    assert_eq!(grants, ["basic", "refresh", "basic"]);
}

#[tokio::test]
async fn new_secrets_count_from_the_next_login() {
    let stub = Stub::always(ok(r#"{"access_token": "t", "refresh_token": "r"}"#)).await;
    let backend = backend(&stub, &client_credentials());
    backend.login(Login::Fresh, Generation(1)).await.unwrap();
    backend.replace_secrets(&Auth::ClientCredentials { client_id: "client".to_owned(), client_secret: secret("new") });
    backend.login(Login::Refresh, Generation(2)).await.unwrap();
    let requests = stub.requests();
    assert_eq!(requests[1].line(), TOKEN_LINE, "the refresh token went with the old secrets");
    assert_eq!(bearer(&requests[1]), "Basic Y2xpZW50Om5ldw==");
}

#[tokio::test]
async fn a_token_file_is_read_again_and_a_refused_token_is_not_taken_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first-token\n").unwrap();
    let stub = Stub::start(|_, request| {
        vec![Step::Send(match bearer(request) {
            "Bearer second-token" => ok(r#"{"session_id": "s-1"}"#),
            _ => answer("401 Unauthorized", "", "{}"),
        })]
    })
    .await;
    let token = Secret::new("as it was at start".to_owned(), SecretOrigin::File(path.clone()));
    let backend = backend(&stub, &Auth::AccessToken { token });
    let logged_in = backend.login(Login::Fresh, Generation(1)).await.unwrap();
    assert!(!logged_in.can_refresh && logged_in.lifetime.is_none());
    // Read again while it is good: nothing to complain about.
    backend.login(Login::Refresh, Generation(2)).await.unwrap();
    assert_eq!(backend.call(read(), LONG).await.unwrap_err().token, Some(Generation(2)));
    let same = backend.login(Login::Fresh, Generation(3)).await.unwrap_err();
    assert_eq!(same.kind, FailureKind::Unauthorised);
    assert!(same.detail.contains("has not changed") && !same.detail.contains("first-token"), "{same}");

    std::fs::write(&path, "second-token").unwrap();
    backend.login(Login::Fresh, Generation(4)).await.unwrap();
    backend.call(read(), LONG).await.unwrap();
    assert_eq!(stub.lines().len(), 2, "logging in with a token asks nobody");

    std::fs::write(&path, "\n").unwrap();
    assert_eq!(backend.login(Login::Fresh, Generation(5)).await.unwrap_err().kind, FailureKind::Malformed);
    std::fs::remove_file(&path).unwrap();
    let gone = backend.login(Login::Fresh, Generation(6)).await.unwrap_err();
    assert_eq!(gone.kind, FailureKind::Unreachable);
    assert!(gone.detail.contains("token"), "{gone}");
    backend.call(read(), LONG).await.expect("the token in use stays");
}
