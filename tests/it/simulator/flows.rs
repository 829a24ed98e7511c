//! The ways of a well-behaved client.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rallyhere_agent::simulator::{AllocationSpec, ClientSpec};

use super::*;

#[tokio::test]
async fn a_self_registered_host_goes_from_registration_to_its_end() {
    let stage = Stage::plain().await;
    let mut happenings = stage.simulator.subscribe();
    let start = json!({"map": "Arena", "misc_params": ""});
    let registration = json!({
        "host_type": "dedicated", "instance_id": "me", "instance_startup_params": start, "custom_data": {"k": "v"}
    });
    let answer = stage.post(INSTANCE, registration).await;
    assert_eq!((answer.status, &answer.json()["join_status"]), (200, &json!("pending")));
    let config = stage.get("/session/v1/instance/health/config").await.json();
    assert_eq!(config["cadence_seconds"], 10);
    let health = stage.post(HEALTH, json!({"instance_health": "healthy", "instance_id": "me"})).await;
    assert_eq!(health.json(), json!({"updated_instance_health": "healthy"}));
    let update = json!({
        "join_status": "joinable", "version": "1.2.3+4",
        "join_params": {"public_conn_str": "unreal://1.2.3.4:7777", "private_conn_str": ""}
    });
    assert_eq!(stage.patch(INSTANCE, update).await.json()["version"], "1.2.3+4");
    let session = stage.get(SESSION).await.json();
    assert_eq!(session["instance"]["join_params"]["public_conn_str"], "unreal://1.2.3.4:7777");
    assert_eq!(session["instance"]["instance_health"], "healthy");
    assert_eq!(session["instance"]["instance_startup_params"], start);
    let report = json!({"instance_id": "me", "error": "crashed", "region": "us-east"});
    assert_eq!(stage.post(&format!("{INSTANCE}/fubar"), report.clone()).await.json(), json!({}));
    let event = json!({"event_code": "crash", "timestamp": "2023-11-01T00:00:00Z", "custom_data": {"signal": "11"}});
    assert_eq!(stage.post(&format!("{SESSION}/event"), event).await.status, 200);
    let events = stage.get(&format!("{SESSION}/event?page_size=1")).await.json();
    assert_eq!(events["events"][0]["instance"], "me");
    assert_eq!(stage.patch(INSTANCE, json!({"join_status": "closed"})).await.status, 200);
    assert_eq!(stage.delete(INSTANCE).await.status, 204);
    assert!(stage.get(SESSION).await.json().get("instance").is_none());

    let ledger = stage.simulator.ledger();
    assert_eq!(ledger.fubars[0].body, report);
    assert_eq!((ledger.health[0].sent.as_str(), ledger.health[0].answered.as_str()), ("healthy", "healthy"));
    assert!(ledger.rejections.is_empty() && ledger.oddities.is_empty() && ledger.replacements.is_empty());
    assert!(ledger.requests.iter().all(|request| request.processed && request.status.is_some()));

    let mut told = Vec::new();
    while let Ok(happening) = happenings.try_recv() {
        let what = serde_json::to_value(happening.what).unwrap();
        told.push(what.as_object().unwrap().keys().next().unwrap().clone());
    }
    assert_eq!(told, ["registered", "health", "updated", "fubar", "event", "updated", "unregistered"]);
}

#[tokio::test]
async fn an_allocated_host_finds_its_session_and_updates_it_behind_the_fence() {
    let stage =
        Stage::new(Options { allocations: vec![AllocationSpec::bound("alloc-1", "s1")], ..Options::default() }).await;
    let session = stage.get("/session/v1/session/allocation/alloc-1").await;
    let instance = &session.json()["instance"];
    assert_eq!(
        (instance["join_status"].as_str(), session.json()["session_id"].as_str()),
        (Some("allocated"), Some("s1"))
    );
    assert!(instance["instance_id"].is_string() && instance["instance_startup_params"]["map"].is_string());
    let path = "/session/v1/session/s1/instance";
    assert_eq!(stage.patch(path, json!({"allocation_id": "alloc-1", "join_status": "pending"})).await.status, 200);
    let refused = stage.patch(path, json!({"join_status": "joinable"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "instance_allocation_mismatch"));
}

#[tokio::test]
async fn a_session_that_did_not_change_is_not_sent_again() {
    let stage = Stage::registered().await;
    let first = stage.get(SESSION).await;
    let etag = first.etag.expect("an etag");
    let bearer = format!("Bearer {}", stage.token);
    let read = |etag: String| {
        let (stage, bearer) = (&stage, &bearer);
        async move { stage.send(Method::GET, SESSION, Some(bearer), Some(&etag), &Value::Null).await.unwrap() }
    };
    let again = read(etag.clone()).await;
    assert_eq!((again.status, again.text.as_str(), again.etag.as_ref()), (304, "", Some(&etag)));
    let changed = stage.patch(SESSION, json!({"custom_data": {"k": "v"}})).await;
    assert_eq!(changed.json()["custom_data"], json!({"k": "v"}));
    let newer = read(etag.clone()).await;
    assert_eq!(newer.status, 200);
    assert_eq!(newer.etag, changed.etag);
    assert_ne!(newer.etag, Some(etag));
}

#[tokio::test]
async fn a_token_tells_its_own_lifetime() {
    let options = Options {
        clients: vec![ClientSpec::new("a", "s")],
        token_lifetime: Duration::from_secs(90),
        ..Options::default()
    };
    let simulator = Simulator::new(&options);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/users/v1/login", listener.local_addr().unwrap());
    let mut running = JoinSet::new();
    running.spawn(simulator.serve(listener, std::future::pending()));
    let body = json!({"grant_type": "basic", "portal_access_token": "user:password", "include_refresh": true});
    let request =
        client().post(url).header("authorization", basic("a", "s")).header("content-type", "application/json");
    let login = read(request.body(body.to_string()).send().await.unwrap()).await.unwrap().json();
    assert!(login.get("expires_in").is_none() && login["refresh_token"].is_string());
    let token = login["access_token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert_eq!(payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(), 90);
}

#[tokio::test]
async fn the_other_duties_of_a_host_work() {
    let stage = Stage::registered().await;
    let path = format!("{SESSION}/match");
    assert_eq!(stage.post(&path, json!({"match_id": "m1"})).await.json(), json!({"match_id": "m1"}));
    let created = stage.get(SESSION).await.json()["match"]["created"].clone();
    assert_eq!(stage.patch(&path, json!({"match_id": "m1", "custom_data": {"round": "2"}})).await.text, "null");
    let running = stage.get(SESSION).await.json()["match"].clone();
    assert_eq!((&running["created"], &running["custom_data"]["round"]), (&created, &json!("2")));
    assert_eq!(stage.delete(&path).await.status, 200);

    let path = format!("{SESSION}/browser");
    assert_eq!(stage.post(&path, json!({"custom_data": {"name": "n"}})).await.status, 200);
    let browse = "/session/v1/browser?session_type=match";
    assert_eq!(stage.get(browse).await.json()["browser_sessions"][0]["custom_data"]["name"], "n");
    assert_eq!(stage.get(&format!("{browse}&region_id=eu-west")).await.json()["browser_sessions"], json!([]));
    assert_eq!(stage.delete(&path).await.status, 204);
    assert_eq!(stage.get(browse).await.json()["browser_sessions"], json!([]));

    let first = stage.get("/session/v1/regions?page_size=2").await.json();
    assert_eq!((first["regions"].as_array().unwrap().len(), &first["cursor"]), (2, &json!(2)));
    let last = stage.get("/session/v1/regions?cursor=2").await.json();
    assert_eq!((last["regions"].as_array().unwrap().len(), &last["cursor"]), (1, &json!(0)));
    assert_eq!(stage.get("/session/v1/connection-info").await.json(), json!({"ip": "127.0.0.1"}));
}
