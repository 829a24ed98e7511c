//! Somebody else has the session: nothing is written any more, and the process says so with 76.

use rallyhere_agent::simulator::{AllocationSpec, Fault, Options};
use serde_json::json;

use super::agent::Agent;
use super::generations::not_today;
use super::home::Home;
use super::stage::{SESSION, Stage, options};

const SUPERSEDED: i32 = 76;

/// The last request so far.
fn now(stage: &Stage) -> u64 {
    stage.requests().last().map_or(0, |request| request.number)
}

async fn serving(home: &Home, stage: &Stage, session: &str) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(session, "joinable").await;
    stage.until_beats(1).await;
    agent
}

/// Asserts the end, and that the agent wrote nothing but the health post through which it learnt it.
async fn assert_superseded(stage: &Stage, mut agent: Agent, since: u64) {
    assert_eq!(agent.exit_code().await, SUPERSEDED);
    let writes = stage.writes_after(since);
    assert!(writes.is_empty() || writes == ["health"], "{writes:?}");
    assert!(agent.output().contains("superseded"), "{}", agent.output());
}

#[tokio::test]
async fn by_another_instance_in_the_session() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let agent = serving(&home, &stage, SESSION).await;
    let since = now(&stage);
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    assert_superseded(&stage, agent, since).await;
    assert_eq!(stage.instance(SESSION)["instance_id"], "somebody-else");

    // It stays so: a restart does not fight for it, and does not need to ask.
    let since = now(&stage);
    let mut again = home.start();
    assert_eq!(again.exit_code().await, SUPERSEDED);
    assert_eq!(stage.writes_after(since), Vec::<String>::new());
}

#[tokio::test]
async fn by_a_notification_that_names_the_session() {
    if not_today("by_another_instance_in_the_session: the session is read all the time") {
        return;
    }
    // No health post comes in between.
    let stage = Stage::with(Options { health_cadence_seconds: 3600, ..options() }).await;
    let home = Home::new(&stage).alone().set("health.default_cadence", "1h");
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let ours = stage.until_status(SESSION, "joinable").await["instance_id"].as_str().unwrap().to_owned();
    stage.until("the first health post", |ledger| ledger.health.len() == 1).await;
    let since = now(&stage);
    stage.simulator.replace_instance(SESSION, None).unwrap();
    let hint = json!({"message": "changed", "rh_url": format!("session/v1/session/{SESSION}"), "etag": "\"x\""});
    stage.simulator.publish(&ours, &[hint]).unwrap();
    assert_superseded(&stage, agent, since).await;
    assert_eq!(stage.writes_after(since), Vec::<String>::new());
}

#[tokio::test]
async fn by_another_allocation() {
    let allocations = vec![AllocationSpec::bound("alloc-1", SESSION)];
    let stage = Stage::with(Options { allocations, ..options() }).await;
    let home = Home::new(&stage).allocated("alloc-1");
    let agent = serving(&home, &stage, SESSION).await;
    let since = now(&stage);
    stage.simulator.allocate(&AllocationSpec::bound("alloc-2", SESSION)).unwrap();
    assert_superseded(&stage, agent, since).await;
    assert_eq!(stage.instance(SESSION)["allocation_id"], "alloc-2");
    assert_eq!(stage.instance(SESSION)["join_status"], "allocated", "untouched");
}

#[tokio::test]
async fn by_the_end_of_its_allocation() {
    let allocations = vec![AllocationSpec::bound("alloc-1", SESSION)];
    let stage = Stage::with(Options { allocations, ..options() }).await;
    let home = Home::new(&stage).allocated("alloc-1");
    let agent = serving(&home, &stage, SESSION).await;
    let since = now(&stage);
    stage.simulator.deallocate("alloc-1").unwrap();
    assert_superseded(&stage, agent, since).await;
}

#[tokio::test]
async fn by_the_end_of_the_session() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let agent = serving(&home, &stage, SESSION).await;
    let since = now(&stage);
    stage.simulator.delete_session(SESSION).unwrap();
    assert_superseded(&stage, agent, since).await;
}

#[tokio::test]
async fn an_agent_that_comes_second_leaves_the_first_alone() {
    let stage = Stage::start().await;
    let (first_home, second_home) = (Home::new(&stage).alone(), Home::new(&stage).alone());
    let mut first = serving(&first_home, &stage, SESSION).await;
    let shown = stage.instance(SESSION)["instance_id"].clone();
    let mut second = second_home.start();
    assert_eq!(second.exit_code().await, SUPERSEDED);
    stage.until_beats(2).await;
    assert_eq!(first.status().await["phase"], "serving");
    assert_eq!(stage.instance(SESSION)["instance_id"], shown);
    assert_eq!((stage.count("register"), stage.count("unregister")), (1, 0));
    first.stop().await;
}

#[tokio::test]
async fn a_registration_is_never_repeated_over_somebody_else() {
    // The POST fails, and before it can be repeated the session has another host.
    let stage = Stage::start().await;
    stage.inject(Fault::status(503).on("register"));
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    stage.until_count("register", 1).await;
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    stage.simulator.clear_faults();
    assert_eq!(agent.exit_code().await, SUPERSEDED);
    assert_eq!(stage.count("register"), 1);
    assert_eq!(stage.instance(SESSION)["instance_id"], "somebody-else");
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_found_and_not_repeated() {
    let stage = Stage::start().await;
    stage.inject(Fault::Cut {}.on("register").processed(true).times(1));
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    stage.until_status(SESSION, "joinable").await;
    agent.until_phase("serving").await;
    assert_eq!(stage.count("register"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_instance_that_vanished_is_registered_again_under_its_id() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage, SESSION).await;
    let id = stage.instance(SESSION)["instance_id"].clone();
    stage.simulator.remove_instance(SESSION).unwrap();
    let again = stage.until_status(SESSION, "joinable").await;
    assert_eq!(again["instance_id"], id);
    assert_eq!((stage.count("register"), stage.logins()), (2, 1));
    agent.until_phase("serving").await;
    agent.stop().await;
}
