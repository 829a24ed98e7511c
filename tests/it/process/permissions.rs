//! A role that is missing: 403 for one call. It is named, the call is slowed down, nothing else changes, and nobody logs in
//! again because of it. Once the role is there a SIGHUP is enough.

use rallyhere_agent::simulator::Authorization;
use rustix::process::Signal;
use serde_json::json;

use super::agent::Agent;
use super::generations::{Reports as _, is_new, not_today, permissions, way};
use super::home::Home;
use super::stage::{CLIENT, SESSION, Stage};

/// An environment where the client lacks permissions.
async fn without(permissions: &[&str]) -> Stage {
    let stage = Stage::start().await;
    for permission in permissions {
        stage.simulator.revoke(CLIENT, permission);
    }
    stage
}

/// Waits until a call was refused, and its permission named. Gives how often it was refused.
async fn refused(stage: &Stage, agent: &Agent, call: &str, permission: &str) {
    let forbidden = |ledger: &rallyhere_agent::simulator::Ledger| {
        ledger.of(call).any(|request| request.authorization == Authorization::Forbidden)
    };
    stage.until(&format!("a refused {call}"), forbidden).await;
    agent.until_says(&format!("grant it the permission {permission}")).await;
}

/// How often a call was refused.
fn refusals(stage: &Stage, call: &str) -> usize {
    let forbidden = |ledger: &rallyhere_agent::simulator::Ledger| {
        ledger.of(call).filter(|request| request.authorization == Authorization::Forbidden).count()
    };
    stage.simulator.read_ledger(forbidden)
}

/// The role is there from now on, and the agent told.
fn mend(stage: &Stage, agent: &Agent, permissions: &[&str]) {
    for permission in permissions {
        stage.simulator.grant(CLIENT, permission);
    }
    agent.signal(Signal::HUP);
}

/// The end of every test here: no loop, and one login. The wait after a refusal is random and grows, so a second one may
/// have come.
async fn end(stage: &Stage, agent: Agent, call: &str) {
    assert!((1..=3).contains(&refusals(stage, call)), "{call}: {}", refusals(stage, call));
    assert_eq!(stage.logins(), 1);
    agent.finish().await;
}

#[tokio::test]
async fn finding_the_session() {
    let stage = without(&["session:read:allocation"]).await;
    stage.simulator.allocate(&rallyhere_agent::simulator::AllocationSpec::bound("alloc-1", SESSION)).unwrap();
    let home = Home::new(&stage).allocated("alloc-1");
    let mut agent = home.start();
    refused(&stage, &agent, "find_session", "session:read:allocation").await;
    mend(&stage, &agent, &["session:read:allocation"]);
    agent.until_phase("serving").await;
    end(&stage, agent, "find_session").await;
}

#[tokio::test]
async fn reading_the_session() {
    let stage = without(&["session:read:any", "session:read:self"]).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    refused(&stage, &agent, "read_session", "session:read:any").await;
    mend(&stage, &agent, &["session:read:any"]);
    agent.until_phase("serving").await;
    end(&stage, agent, "read_session").await;
}

#[tokio::test]
async fn registering() {
    let stage = without(&["session:update:any", "session:update:self"]).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    refused(&stage, &agent, "register", "session:update:any").await;
    assert_eq!(agent.status().await["phase"], "registering");
    mend(&stage, &agent, &["session:update:any"]);
    agent.until_phase("serving").await;
    end(&stage, agent, "register").await;
}

#[tokio::test]
async fn updating() {
    let stage = Stage::start().await;
    let home = Home::new(&stage);
    let mut agent = home.start();
    agent.until_phase("loading").await;
    stage.simulator.revoke(CLIENT, "session:update:any");
    stage.simulator.revoke(CLIENT, "session:update:self");
    agent.post("/v1/ready", json!({"public_conn_str": "unreal://192.0.2.7:7777"})).await;
    refused(&stage, &agent, "update", "session:update:any").await;
    stage.until_beats(2).await;
    mend(&stage, &agent, &["session:update:any"]);
    stage.until_status(SESSION, "joinable").await;
    end(&stage, agent, "update").await;
}

#[tokio::test]
async fn the_rules_of_health() {
    let stage = without(&["session:read:config"]).await;
    let home = Home::new(&stage).alone().set("health.default_cadence", "1s");
    let agent = home.start();
    refused(&stage, &agent, "health_config", "session:read:config").await;
    stage.until_beats(3).await;
    end(&stage, agent, "health_config").await;
}

#[tokio::test]
async fn health_itself() {
    let stage = without(&["session:instance:health"]).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    refused(&stage, &agent, "health", "session:instance:health").await;
    stage.until_status(SESSION, "joinable").await;
    stage.notify("the rest works");
    let page = agent.get("/v1/notifications?wait=25").await;
    let message = if is_new() { "session_changed" } else { "the rest works" };
    assert_eq!(page["notifications"][0]["message"], message);
    mend(&stage, &agent, &["session:instance:health"]);
    stage.until_beats(2).await;
    end(&stage, agent, "health").await;
}

#[tokio::test]
async fn reporting() {
    let stage = without(permissions("fubar")).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    refused(&stage, &agent, way("fubar"), permissions("fubar")[0].trim_end_matches('*')).await;
    let status = agent.status().await;
    assert_eq!((&status["outbox"]["waiting"], &status["outbox"]["dead"]), (&json!(1), &json!(0)), "kept, not lost");
    stage.until_beats(2).await;
    mend(&stage, &agent, permissions("fubar"));
    stage.until("the report", |ledger| ledger.fubars_told().len() == 1).await;
    end(&stage, agent, way("fubar")).await;
}

#[tokio::test]
async fn telling_events() {
    // "session:update:any" covers it too; registering is allowed by "session:update:self" then.
    let stage = without(permissions("event")).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.post("/v1/events", json!({"event_code": "round_over"})).await;
    refused(&stage, &agent, way("event"), permissions("event")[0].trim_end_matches('*')).await;
    stage.until_beats(2).await;
    mend(&stage, &agent, &permissions("event")[..1]);
    stage.until("the event", |ledger| ledger.events_told().len() == 1).await;
    end(&stage, agent, way("event")).await;
}

#[tokio::test]
async fn polling() {
    if not_today("none: there is no poll") {
        return;
    }
    let stage = without(&["notification:instance:read"]).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    refused(&stage, &agent, "poll", "notification:instance:read").await;
    assert_eq!(agent.status().await["notifications"]["state"], "backing_off");
    stage.until_beats(2).await;
    mend(&stage, &agent, &["notification:instance:read"]);
    stage.notify("after it was mended");
    let page = agent.get("/v1/notifications?wait=25").await;
    assert_eq!(page["notifications"][0]["message"], "after it was mended");
    end(&stage, agent, "poll").await;
}

#[tokio::test]
async fn several_at_once_are_all_named() {
    let missing = ["session:read:config", "notification:instance:read"];
    let stage = without(&[&missing[..], permissions("fubar")].concat()).await;
    let home = Home::new(&stage).alone().set("health.default_cadence", "1s");
    let mut agent = home.start();
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    refused(&stage, &agent, "health_config", "session:read:config").await;
    if !is_new() {
        refused(&stage, &agent, "poll", "notification:instance:read").await;
    }
    refused(&stage, &agent, way("fubar"), permissions("fubar")[0].trim_end_matches('*')).await;
    stage.until_beats(1).await;
    end(&stage, agent, way("fubar")).await;
}

/// What is missing for the browser is no reason to keep the news of a crash.
#[tokio::test]
async fn the_browser() {
    let stage = without(&["session:update:browser"]).await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    agent.post("/v1/browser", json!({"custom_data": {"map": "canyon"}})).await;
    refused(&stage, &agent, "add_browser", "session:update:browser").await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    stage.until("the report", |ledger| ledger.fubars_told().len() == 1).await;
    mend(&stage, &agent, &["session:update:browser"]);
    stage.until("the listing", |ledger| ledger.duties.len() == 1).await;
    end(&stage, agent, "add_browser").await;
}
