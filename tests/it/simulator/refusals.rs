//! What is refused: tokens, permissions, things that are not there, and requests that the contract does not take.

use rallyhere_agent::simulator::{Authorization, ClientSpec};

use super::*;

#[tokio::test]
async fn every_way_of_not_being_authenticated_is_a_403_of_its_own() {
    let stage = Stage::plain().await;
    let old = format!("Bearer {}", stage.token);
    stage.simulator.expire_tokens(false);
    for (header, code, verdict) in [
        (None, "auth_not_jwt", Authorization::Missing),
        (Some("Basic YTpi"), "auth_token_format", Authorization::Malformed),
        (Some("Bearer"), "auth_token_format", Authorization::Malformed),
        (Some("Bearer not.a.token"), "auth_token_sig_invalid", Authorization::Unknown),
        (Some(old.as_str()), "auth_token_expired", Authorization::Expired),
    ] {
        let answer = stage.send(Method::GET, SESSION, header, None, &Value::Null).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (403, code), "{header:?}");
        assert_eq!(answer.json()["auth_success"], false);
        let seen = stage.simulator.read_ledger(|ledger| ledger.requests.back().unwrap().authorization);
        assert_eq!(seen, verdict, "{header:?}");
    }
    assert_eq!(stage.simulator.ledger().requests.back().unwrap().client.as_deref(), Some("agent"));
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_says() {
    let stage = Stage::new(Options { token_lifetime: Duration::from_secs(1), ..Options::default() }).await;
    let expired = async {
        while stage.get(SESSION).await.status == 200 {
            clock::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.expect("the token expires");
    assert_eq!(stage.get(SESSION).await.code(), "auth_token_expired");
}

#[tokio::test]
async fn a_missing_permission_is_named_and_is_no_failure_of_the_login() {
    let stage = Stage::plain().await;
    stage.simulator.revoke("agent", "session:update:fubar");
    let report = json!({"instance_id": "me", "error": "e", "region": "r"});
    let path = format!("{INSTANCE}/fubar");
    let answer = stage.post(&path, report.clone()).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "insufficient_role"));
    assert_eq!(answer.json()["auth_success"], true);
    assert!(answer.json()["desc"].as_str().unwrap().contains("session:update:fubar"), "{}", answer.text);
    assert_eq!(stage.get(SESSION).await.status, 200, "the rest goes on");
    stage.simulator.grant("agent", "session:update:fubar");
    assert_eq!(stage.post(&path, report).await.status, 200);
}

#[tokio::test]
async fn a_refused_login_says_why() {
    let clients = vec![ClientSpec::new("agent", "s")];
    let stage = Stage::new(Options { clients, ..Options::default() }).await;
    let body = json!({"grant_type": "client_credentials"});
    for (header, code) in [
        (Some(basic("agent", "wrong")), "basic_auth_credentials_not_found"),
        (Some(basic("nobody", "s")), "basic_auth_credentials_not_found"),
        (Some("Basic !".to_owned()), "basic_auth_incorrect_format"),
        (None, "basic_token_empty"),
    ] {
        for path in ["/users/v2/oauth/token", "/users/v1/login"] {
            let answer = stage.send(Method::POST, path, header.as_deref(), None, &body).await.unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (403, code), "{path} {header:?}");
        }
    }
    let logins = stage.simulator.read_ledger(|ledger| ledger.logins.len());
    assert_eq!(logins, 9, "the good one of the stage, and eight refused");
}

#[tokio::test]
async fn what_is_not_there_is_a_404_and_a_wrong_method_a_405() {
    let stage = Stage::plain().await;
    for (path, code) in [
        ("/session/v1/session/nowhere", "session_not_found"),
        ("/session/v1/session/allocation/none", "session_not_found"),
        ("/session/v1/session/nowhere/event", "session_not_found"),
    ] {
        let answer = stage.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, code), "{path}");
    }
    let health = stage.post(HEALTH, json!({"instance_health": "healthy", "instance_id": "me"})).await;
    assert_eq!((health.status, health.code().as_str()), (404, "instance_not_found"));
    assert_eq!(stage.patch(INSTANCE, json!({})).await.code(), "instance_not_found");
    assert_eq!(stage.delete(INSTANCE).await.code(), "instance_not_found");

    let unknown = stage.get("/session/v2/session/demo").await;
    assert_eq!((unknown.status, unknown.json()), (404, json!({"detail": "Not Found"})));
    let wrong = stage.ask(Method::PUT, INSTANCE, &json!({})).await.unwrap();
    assert_eq!((wrong.status, wrong.json()), (405, json!({"detail": "Method Not Allowed"})));
    assert_eq!(wrong.headers["allow"], "POST, DELETE, PATCH");
}

/// Requests that the contract does not take, and the start of the reason. `None` sends the text as it is.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("POST", "/users/v2/oauth/token", "{}", "body.grant_type: field required"),
    ("POST", "/users/v2/oauth/token", r#"{"grant_type":"password"}"#, "body.grant_type: value is not a valid enum"),
    ("POST", "/users/v2/oauth/token", r#"{"grant_type":"client_credentials","scope":"x"}"#, "body.scope: extra"),
    ("POST", "/users/v2/oauth/token", "grant_type=client_credentials", "body.1: expected value"),
    ("POST", "/users/v1/login", r#"{"grant_type":"basic"}"#, "body.portal_access_token: field required"),
    ("POST", "/users/v1/login", r#"{"grant_type":"client_credentials"}"#, "body.grant_type: value is not a valid"),
    (
        "POST",
        "/users/v1/login",
        r#"{"grant_type":"basic","portal_access_token":"a:b","accept_eula":"yes"}"#,
        "body.accept_eula: value could not",
    ),
    ("PATCH", SESSION, r#"{"joinable":1}"#, "body.joinable: value could not"),
    ("PATCH", SESSION, r#"{"region_id":""}"#, "body.region_id: ensure this value has at least 1"),
    ("PATCH", SESSION, r#"{"custom_data":{"k":""}}"#, "body.custom_data.k: ensure this value has at least 1"),
    ("POST", INSTANCE, "", "body: field required"),
    ("POST", INSTANCE, "[]", "body: value is not a valid dict"),
    ("POST", INSTANCE, "{", "body.1: EOF"),
    ("POST", INSTANCE, "{}", "body.host_type: field required"),
    ("POST", INSTANCE, r#"{"host_type":"standalone"}"#, "body.host_type: value is not a valid enum"),
    ("POST", INSTANCE, r#"{"host_type":"dedicated","instance_id":""}"#, "body.instance_id: ensure"),
    ("POST", INSTANCE, r#"{"host_type":"dedicated","instance_id":null}"#, "body.instance_id: none is not"),
    (
        "POST",
        INSTANCE,
        r#"{"host_type":"dedicated","host_player_uuid":"x"}"#,
        "body.host_player_uuid: value is not a valid uuid",
    ),
    (
        "POST",
        INSTANCE,
        r#"{"host_type":"dedicated","instance_startup_params":{"map":"m"}}"#,
        "body.instance_startup_params.misc_params: field required",
    ),
    ("POST", INSTANCE, r#"{"host_type":"dedicated","allocation_id":"a"}"#, "body.allocation_id: extra"),
    ("PATCH", INSTANCE, r#"{"join_status":"unjoinable"}"#, "body.join_status: value is not a valid enum"),
    (
        "PATCH",
        INSTANCE,
        r#"{"join_params":{"public_conn_str":"x"}}"#,
        "body.join_params.private_conn_str: field required",
    ),
    (
        "PATCH",
        INSTANCE,
        r#"{"join_params":{"public_conn_str":null,"private_conn_str":""}}"#,
        "body.join_params.public_conn_str: none",
    ),
    ("PATCH", INSTANCE, r#"{"version":"1.2"}"#, "body.version: value is not a valid semantic version"),
    ("PATCH", INSTANCE, r#"{"instance_id":"me"}"#, "body.instance_id: extra"),
    ("PATCH", INSTANCE, r#"{"custom_data":{"k":7}}"#, "body.custom_data.k: str type expected"),
    (
        "POST",
        HEALTH,
        r#"{"instance_health":"fine","instance_id":"me"}"#,
        "body.instance_health: value is not a valid enum",
    ),
    ("POST", HEALTH, r#"{"instance_health":"healthy"}"#, "body.instance_id: field required"),
    (
        "POST",
        HEALTH,
        r#"{"instance_health":"healthy","instance_id":"me","refresh_ttl":true}"#,
        "body.refresh_ttl: extra",
    ),
    (
        "POST",
        "/session/v1/session/demo/instance/fubar",
        r#"{"instance_id":"me","error":"","region":"r"}"#,
        "body.error: ensure",
    ),
    (
        "POST",
        "/session/v1/session/demo/instance/fubar",
        r#"{"instance_id":"me","error":"e"}"#,
        "body.region: field required",
    ),
    (
        "POST",
        "/session/v1/session/demo/instance/fubar",
        r#"{"instance_id":"me","error":"e","region":"r","instance_source_provider":"aws"}"#,
        "body.instance_source_provider: value is not",
    ),
    ("POST", "/session/v1/session/demo/event", r#"{"event_code":"e"}"#, "body.timestamp: field required"),
    (
        "POST",
        "/session/v1/session/demo/event",
        r#"{"event_code":"e","timestamp":"2023-11-01T00:00:00"}"#,
        "body.timestamp: invalid datetime",
    ),
    (
        "POST",
        "/session/v1/session/demo/event",
        r#"{"event_code":"e","timestamp":1700000000}"#,
        "body.timestamp: str type expected",
    ),
    ("POST", "/session/v1/session/demo/match", r#"{"match_id":5}"#, "body.match_id: str type expected"),
    ("POST", NOTIFICATIONS, r#"{"notifications":[]}"#, "body.notifications: ensure this value has at least 1"),
    ("POST", NOTIFICATIONS, r#"{"notifications":[{"rh_url":"u"}]}"#, "body.notifications.0.message: field required"),
    (
        "POST",
        NOTIFICATIONS,
        r#"{"notifications":[{"message":"m","rh_url":""}]}"#,
        "body.notifications.0.rh_url: ensure",
    ),
    (
        "POST",
        "/session/v1/session/demo/player/nobody",
        r#"{"team_id":0}"#,
        "path.player_uuid: value is not a valid uuid",
    ),
    (
        "POST",
        "/session/v1/session/demo/player/00000000-0000-0000-0000-000000000001",
        r#"{"team_id":-1}"#,
        "body.team_id: ensure",
    ),
    ("GET", "/notification/v1/instance/me/stream/notification/lp?deadline=901", "", "query.deadline: ensure"),
    ("GET", "/notification/v1/instance/me/stream/notification/lp?deadline=1.5", "", "query.deadline: value is not"),
    ("GET", "/notification/v1/instance/me/stream/notification/lp?max_page_size=0", "", "query.max_page_size: ensure"),
    ("GET", "/notification/v1/instance/me/stream/notification/lp?max_page_size=101", "", "query.max_page_size: ensure"),
    (
        "GET",
        "/notification/v1/instance/me/stream/notification/lp?offset_reset_strategy=newest",
        "",
        "query.offset_reset_strategy: value is not",
    ),
    ("GET", "/notification/v1/instance/me/stream/notification/lp?page_size=5", "", "query.page_size: extra"),
    ("GET", "/session/v1/session/demo?refresh_ttl=maybe", "", "query.refresh_ttl: value could not"),
    ("GET", "/session/v1/browser", "", "query.session_type: field required"),
    ("GET", "/session/v1/session/demo/event?page_size=51", "", "query.page_size: ensure"),
];

#[tokio::test]
async fn bad_requests_are_refused_with_the_reason() {
    let stage = Stage::registered().await;
    assert!(BAD.len() >= 30);
    let mut long: Vec<(String, String, String, String)> = [
        (
            "POST",
            HEALTH,
            json!({"instance_health": "healthy", "instance_id": "x".repeat(129)}),
            "body.instance_id: ensure",
        ),
        ("PATCH", INSTANCE, json!({"custom_data": {"k": "x".repeat(4097)}}), "body.custom_data.k: ensure"),
        (
            "POST",
            "/session/v1/session/demo/instance/fubar",
            json!({"instance_id": "me", "error": "ü".repeat(129), "region": "r"}),
            "body.error: ensure",
        ),
        (
            "POST",
            NOTIFICATIONS,
            json!({"notifications": vec![message("m"); 101]}),
            "body.notifications: ensure this value has at most 100",
        ),
        ("GET", &format!("/session/v1/session/{}", "x".repeat(129)), Value::Null, "path.session_id: ensure"),
    ]
    .into_iter()
    .map(|(method, path, body, why)| (method.to_owned(), path.to_owned(), body.to_string(), why.to_owned()))
    .collect();
    long.extend(BAD.iter().map(|(m, p, b, w)| ((*m).to_owned(), (*p).to_owned(), (*b).to_owned(), (*w).to_owned())));

    let before = stage.get(SESSION).await.etag;
    stage.simulator.clear_ledger();
    for (method, path, body, why) in &long {
        let authorization =
            if path.starts_with("/users") { basic("agent", "s") } else { format!("Bearer {}", stage.token) };
        let request = stage.http.request(method.parse().unwrap(), format!("{}{path}", stage.base));
        let request = request.header("authorization", authorization).header("content-type", "application/json");
        let answer = read(request.body(body.clone()).send().await.unwrap()).await.unwrap();
        assert_eq!(answer.status, 422, "{method} {path} {body}: {}", answer.text);
        let detail = &answer.json()["detail"][0];
        assert!(detail["loc"].is_array() && detail["msg"].is_string() && detail["type"].is_string(), "{detail}");
        let noted = stage.simulator.ledger().rejections.back().unwrap().why[0].clone();
        assert!(noted.starts_with(why), "{method} {path} {body}: {noted}");
    }
    let ledger = stage.simulator.ledger();
    assert_eq!(ledger.rejections.len(), long.len());
    assert!(ledger.requests.iter().all(|request| !request.processed), "nothing was done");
    assert_eq!(stage.get(SESSION).await.etag, before, "and nothing changed");
}

#[tokio::test]
async fn a_body_over_a_megabyte_is_refused() {
    let stage = Stage::plain().await;
    let body = json!({"custom_data": {"k": "x".repeat(2 << 20)}});
    // The answer may meet a client that is still writing; then the connection is all it sees.
    if let Ok(answer) = stage.ask(Method::PATCH, SESSION, &body).await {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(stage.get(SESSION).await.json()["custom_data"], json!({}));
}
