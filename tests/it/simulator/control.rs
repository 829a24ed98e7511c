//! The control API, outages, and the life of the server itself.

use std::net::SocketAddr;

use rallyhere_agent::simulator::{Outage, Outcome, RunError, run};

use super::*;

#[tokio::test]
async fn sessions_allocations_and_instances_are_made_and_taken() {
    let stage = Stage::plain().await;
    let make = json!({"session_id": "s2", "region_id": null});
    assert_eq!(stage.control(Method::POST, "sessions", make.clone()).await.status, 201);
    assert_eq!(stage.control(Method::POST, "sessions", make).await.status, 409);
    assert!(stage.get("/session/v1/session/s2").await.json().get("region_id").is_none());

    assert_eq!(stage.control(Method::POST, "allocations", json!({"allocation_id": "a"})).await.status, 201);
    assert_eq!(stage.get("/session/v1/session/allocation/a").await.status, 404);
    let bind = json!({"allocation_id": "a", "session_id": "s2", "instance_id": "i"});
    assert_eq!(stage.control(Method::POST, "allocations", bind).await.json(), json!({"instance_id": "i"}));
    assert_eq!(stage.get("/session/v1/session/allocation/a").await.json()["instance"]["instance_id"], "i");

    let other = json!({"allocation_id": "b", "session_id": "s2"});
    let theirs = stage.control(Method::POST, "allocations", other).await.json()["instance_id"].clone();
    assert_eq!(stage.get("/session/v1/session/s2").await.json()["instance"]["instance_id"], theirs);
    assert_eq!(stage.get("/session/v1/session/allocation/a").await.status, 404, "reassigned");

    let put = stage.control(Method::PUT, "sessions/s2/instance", json!({"instance_id": "x"})).await;
    assert_eq!(put.json(), json!({"instance_id": "x"}));
    assert_eq!(stage.control(Method::DELETE, "sessions/s2/instance", Value::Null).await.status, 204);
    assert!(stage.get("/session/v1/session/s2").await.json().get("instance").is_none());
    assert_eq!(stage.control(Method::DELETE, "sessions/s2", Value::Null).await.status, 204);
    assert_eq!(stage.get("/session/v1/session/s2").await.code(), "session_not_found");
    let gone = stage.control(Method::GET, "sessions/s2", Value::Null).await;
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (404, &json!("no_session")));
}

#[tokio::test]
async fn notifications_tokens_permissions_and_health_are_controlled() {
    let stage = Stage::registered().await;
    let publish = json!({"session_id": "demo", "notifications": [{"message": "hello"}]});
    assert_eq!(stage.control(Method::POST, "notifications", publish).await.status, 201);
    assert_eq!(messages(&stage.get(NOTIFICATIONS).await), ["hello"]);
    for bad in [
        json!({"notifications": [{"message": "x"}]}),
        json!({"instance_id": "me", "notifications": []}),
        json!({"instance_id": "me", "notifications": [{"massage": "x"}]}),
    ] {
        let refused = stage.control(Method::POST, "notifications", bad.clone()).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (422, &json!("invalid")), "{bad}");
    }

    stage.control(Method::POST, "health", json!({"cadence_seconds": 2})).await;
    assert_eq!(stage.get("/session/v1/instance/health/config").await.json()["cadence_seconds"], 2);
    let take = json!({"client_id": "agent", "revoke": ["session:read:config"]});
    assert_eq!(stage.control(Method::POST, "permissions", take).await.status, 204);
    assert_eq!(stage.get("/session/v1/instance/health/config").await.code(), "insufficient_role");

    stage.control(Method::POST, "tokens", json!({"expire": true, "lifetime_seconds": 77})).await;
    assert_eq!(stage.get(SESSION).await.code(), "auth_token_expired");
    let state = stage.control(Method::GET, "state", Value::Null).await.json();
    assert_eq!(state["token_lifetime_seconds"], 77);
    assert_eq!((&state["outage"], &state["notifications"]["me"]), (&json!("none"), &json!(1)));
    assert_eq!(state["sessions"]["demo"]["session"]["instance"]["instance_id"], "me");
}

#[tokio::test]
async fn the_ledger_and_the_faults_are_there_over_http_too() {
    let stage = Stage::registered().await;
    let rules = json!([{"match": {"call": "read_session"}, "times": 1, "fault": {"cut": {}}}]);
    assert_eq!(stage.control(Method::POST, "faults", rules).await.status, 204);
    assert_eq!(stage.control(Method::GET, "faults", Value::Null).await.json()[0]["times"], 1);
    assert!(stage.ask(Method::GET, SESSION, &Value::Null).await.is_err());
    assert_eq!(stage.get(SESSION).await.status, 200);
    let bad = stage.control(Method::POST, "faults", json!({"fault": {"cut": {}}, "match": {"call": "x"}})).await;
    assert_eq!(bad.status, 422);
    assert!(bad.json()["error"]["message"].as_str().unwrap().contains("no call named `x`"), "{}", bad.text);
    let unknown = stage.control(Method::POST, "faults", json!({"fault": {"flood": {}}})).await;
    assert!(unknown.text.contains("unknown variant `flood`"), "{}", unknown.text);

    let ledger = stage.control(Method::GET, "ledger", Value::Null).await.json();
    let reads: Vec<&Value> =
        ledger["requests"].as_array().unwrap().iter().filter(|seen| seen["call"] == "read_session").collect();
    assert_eq!((reads.len(), &reads[0]["outcome"], &reads[0]["processed"]), (2, &json!("cut"), &json!(false)));
    assert_eq!(ledger["logins"][0]["client"], "agent");
    assert!(!ledger.to_string().contains(&stage.token), "no token in the ledger");
    assert_eq!(stage.control(Method::DELETE, "ledger", Value::Null).await.status, 204);
    let empty = stage.simulator.ledger();
    assert!(empty.requests.is_empty() && empty.logins.is_empty() && empty.count("login") == 0);
}

#[tokio::test]
async fn an_outage_spares_only_the_control() {
    let stage = Stage::registered().await;
    stage.control(Method::POST, "outage", json!({"mode": "unavailable"})).await;
    assert_eq!(stage.get(SESSION).await.status, 503);
    assert!(!stage.simulator.ledger().requests.back().unwrap().processed);

    stage.control(Method::POST, "outage", json!({"mode": "refuse"})).await;
    // One way over a connection that the control used, one over a new one.
    for http in [stage.http.clone(), client()] {
        assert!(http.get(format!("{}{SESSION}", stage.base)).send().await.is_err());
    }
    let refused = stage
        .simulator
        .read_ledger(|ledger| ledger.of("read_session").filter(|seen| seen.outcome == Outcome::Refused).count());
    assert!(refused >= 2, "{refused}");
    assert_eq!(client().get(format!("{}/_sim/state", stage.base)).send().await.unwrap().status(), 200);
    stage.control(Method::POST, "outage", json!({"mode": "none"})).await;
    assert_eq!(stage.get(SESSION).await.status, 200);
}

#[tokio::test]
async fn an_outage_cuts_the_polls_that_wait() {
    let stage = Stage::plain().await;
    let poll = format!("{POLL}?deadline=900");
    let mut waiting = std::pin::pin!(stage.ask(Method::GET, &poll, &Value::Null));
    let open = stage.until("a poll that waits", |ledger| ledger.of("poll").any(|poll| poll.processed));
    tokio::select! {
        answered = &mut waiting => panic!("answered: {answered:?}"),
        () = open => {}
    }
    stage.simulator.set_outage(Outage::Refuse);
    let cut = waiting.await.unwrap_err();
    assert!(!cut.is_timeout(), "{cut:?}");
}

#[tokio::test]
async fn it_runs_where_it_is_told_and_ends_when_it_is_told() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let mut running = JoinSet::new();
    running.spawn(async move {
        let bound = |address: SocketAddr, _: &Simulator| {
            let _ = tell.send(address);
        };
        let shutdown = async {
            let _ = stopped.await;
        };
        run(&Options::default(), SocketAddr::from(([127, 0, 0, 1], 0)), bound, shutdown).await
    });
    let address = told.await.unwrap();
    let state = client().get(format!("http://{address}/_sim/state")).send().await.unwrap();
    assert!(state.text().await.unwrap().contains("\"demo\""), "the session that is there when none is asked for");

    let taken = run(&Options::default(), address, |_, _| {}, std::future::pending()).await.unwrap_err();
    let RunError::Listen { address: named, .. } = &taken;
    assert_eq!(*named, address);
    assert!(taken.to_string().contains("--listen"), "{taken}");

    stop.send(()).unwrap();
    running.join_next().await.unwrap().unwrap().unwrap();
    assert!(client().get(format!("http://{address}/_sim/state")).send().await.is_err());
}
