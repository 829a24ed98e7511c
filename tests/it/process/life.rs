//! Whole lives in which nothing goes wrong.

use rallyhere_agent::simulator::{AllocationSpec, Options, UserSpec};
use serde_json::json;

use super::generations::{Reports as _, is_new};
use super::home::Home;
use super::stage::{SECRET, SESSION, Stage, options};

const PASSWORD: &str = "p4ss+of/the=robot~0815";

#[tokio::test]
async fn a_self_registered_instance_lives_from_registration_to_its_end() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("instance.version", "1.2.0+7").set("instance.region", "eu-west");
    let mut agent = home.start();
    agent.until_phase("loading").await;
    let pending = stage.until_status(SESSION, "pending").await;
    stage.until_beats(1).await;
    agent.until("the backend's cadence", |status| status["health"]["cadence_seconds"] == 1.0).await;
    assert_eq!((stage.logins(), stage.count("register")), (1, 1));

    let said = json!({"public_conn_str": "unreal://192.0.2.7:7777", "custom_data": {"mode": "ctf"}});
    agent.post("/v1/ready", said).await;
    let joinable = stage.until_status(SESSION, "joinable").await;
    assert_eq!(joinable["join_params"]["public_conn_str"], "unreal://192.0.2.7:7777");
    assert_eq!((&joinable["version"], &joinable["custom_data"]["mode"]), (&json!("1.2.0+7"), &json!("ctf")));
    assert_eq!(joinable["instance_id"], pending["instance_id"]);
    agent.until_phase("serving").await;

    let id = stage.notify("a player comes");
    let page = agent.get("/v1/notifications?wait=25").await;
    assert_eq!(
        (&page["notifications"][0]["message"], page["notifications"][1].is_null()),
        (&json!(if is_new() { "session_changed" } else { "a player comes" }), true)
    );
    let id = if is_new() { page["notifications"][0]["notification_id"].clone() } else { json!(id) };
    let acknowledged = agent.post("/v1/notifications/ack", json!({"notification_id": id})).await;
    assert_eq!(acknowledged, json!({"acknowledged": 1}));
    assert_eq!(agent.get("/v1/notifications").await, json!({"notifications": []}));

    let report = agent.post("/v1/fubar", json!({"error": "physics_stuck"})).await;
    assert!(report["report_id"].is_string(), "{report}");
    let event = agent.post("/v1/events", json!({"event_code": "round_over", "custom_data": {"round": "2"}})).await;
    stage.until("report and event", |ledger| ledger.fubars_told().len() + ledger.events_told().len() == 2).await;
    let ledger = stage.simulator.ledger();
    let expected = json!({"instance_id": joinable["instance_id"], "error": "physics_stuck", "region": "us-east"});
    assert_eq!(ledger.fubars_told()[0].body, expected, "the session's region comes before ours");
    let sent = &ledger.events_told()[0].body;
    assert_eq!((&sent["event_code"], &sent["custom_data"]["round"]), (&json!("round_over"), &json!("2")));
    assert_eq!(sent["custom_data"]["report_id"], event["event_id"]);

    agent.terminate();
    stage.until_status(SESSION, "closed").await;
    let draining = agent.until_phase("draining").await;
    assert_eq!(draining["drain"]["reason"], "SIGTERM");
    stage.until_beats(1).await;
    agent.post("/v1/shutdown", json!({"reason": "the last player has left"})).await;
    assert_eq!(agent.exit_code().await, 0);

    let calls: Vec<_> = stage.requests().into_iter().filter_map(|request| request.call).collect();
    let last = |wanted: &str| calls.iter().rposition(|call| *call == wanted).unwrap();
    assert!(last("update") < last("read_session") && last("read_session") < last("unregister"), "{calls:?}");
    assert_eq!(last("unregister"), calls.len() - 1, "{calls:?}");
    assert!(stage.instance(SESSION).is_null());
    assert_eq!((stage.logins(), stage.count("register"), stage.count("unregister")), (1, 1, 1));
}

/// What is promised of an instance that somebody else allocated: PATCH, always behind its fence, and nothing else.
fn assert_only_fenced_writes(stage: &Stage, allocation: &str) {
    let updates: Vec<_> = stage.requests().into_iter().filter(|request| request.call == Some("update")).collect();
    let body = |request: &rallyhere_agent::simulator::RequestRecord, field: &str| {
        request.body.as_ref().and_then(|body| body[field].as_str().map(str::to_owned)).unwrap_or_default()
    };
    assert!(updates.iter().all(|update| body(update, "allocation_id") == allocation), "{updates:?}");
    assert_eq!(updates.first().map(|update| body(update, "join_status")).as_deref(), Some("pending"));
    assert_eq!(updates.last().map(|update| body(update, "join_status")).as_deref(), Some("closed"));
    assert_eq!((stage.count("register"), stage.count("unregister")), (0, 0));
}

#[tokio::test]
async fn an_allocated_instance_is_only_ever_written_behind_its_fence() {
    let allocations = vec![AllocationSpec::bound("alloc-1", "s1")];
    let stage = Stage::with(Options { allocations, ..options() }).await;
    let mut agent = Home::new(&stage).allocated("alloc-1").start();
    agent.until_phase("serving").await;
    let instance = stage.until_status("s1", "joinable").await;
    let status = agent.status().await;
    assert_eq!(status["instance"]["instance_id"], instance["instance_id"]);
    stage.until_beats(1).await;
    agent.stop().await;
    assert_eq!(stage.instance("s1")["join_status"], "closed");
    assert_only_fenced_writes(&stage, "alloc-1");
}

#[tokio::test]
async fn an_allocation_that_is_bound_late_is_waited_for() {
    let allocations = vec![AllocationSpec::unbound("alloc-1")];
    let stage = Stage::with(Options { allocations, ..options() }).await;
    let mut agent = Home::new(&stage).allocated("alloc-1").start();
    stage.until_count("find_session", 2).await;
    assert_eq!(agent.status().await["phase"], "resolving");
    let id = stage.simulator.allocate(&AllocationSpec::bound("alloc-1", SESSION)).unwrap();
    let instance = stage.until_status(SESSION, "joinable").await;
    assert_eq!(instance["instance_id"].as_str(), id.as_deref());
    agent.stop().await;
    assert_only_fenced_writes(&stage, "alloc-1");
}

#[tokio::test]
async fn a_user_and_a_password_log_in_too() {
    let stage = Stage::with(Options { users: vec![UserSpec::new("robot", PASSWORD)], ..options() }).await;
    let mut home = Home::new(&stage)
        .alone()
        .set("auth.grant", "basic")
        .set("auth.username", "robot")
        .env("RALLYHERE_AGENT_AUTH__PASSWORD", PASSWORD);
    home.keep_secret(PASSWORD);
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let ledger = stage.simulator.ledger();
    assert_eq!(ledger.logins.len(), 1);
    assert_eq!(ledger.logins[0].grant.as_deref(), Some("basic"));
    agent.stop().await;
}

#[tokio::test]
async fn a_secret_comes_from_the_environment_or_as_a_systemd_credential() {
    let stage = Stage::start().await;
    let from_env =
        Home::new(&stage).alone().without("auth.client_secret_file").env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", SECRET);
    let credentials = Home::new(&stage).alone().without("auth.client_secret_file");
    let directory = credentials.path("").display().to_string();
    let credentials = credentials.env("CREDENTIALS_DIRECTORY", directory);
    for home in [from_env, credentials] {
        let mut agent = home.start();
        agent.until_phase("serving").await;
        agent.stop().await;
    }
}
