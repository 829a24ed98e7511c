//! The end on command, at every point of a life: in good order, in time, and never by halves.

use rallyhere_agent::simulator::{AllocationSpec, Fault, Options, Outage};
use rustix::process::Signal;
use serde_json::json;

use super::agent::Agent;
use super::generations::Reports as _;
use super::home::Home;
use super::stage::{SESSION, Stage, Stopwatch, options};

/// With nothing to drain.
const QUICK: u64 = 5;
/// With the backend gone.
const PATIENT: u64 = 10;
/// On the second signal.
const AT_ONCE: u64 = 1;

/// SIGTERM, and the end in good order.
async fn ends_within(mut agent: Agent, seconds: u64) {
    agent.terminate();
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 0);
    watch.at_most(seconds, "the end");
}

/// Whether the instance was told `closed` before it went.
fn was_closed(stage: &Stage) -> bool {
    let closed = json!("closed");
    stage.simulator.read_ledger(|ledger| {
        ledger
            .of("update")
            .any(|update| update.processed && update.body.as_ref().is_some_and(|b| b["join_status"] == closed))
    })
}

#[tokio::test]
async fn while_the_backend_is_not_there_yet() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let home = Home::new(&stage).alone();
    let agent = home.start();
    stage.until("a try", |ledger| ledger.refused_connections > 0).await;
    ends_within(agent, QUICK).await;
}

#[tokio::test]
async fn while_the_login_hangs() {
    let stage = Stage::start().await;
    stage.inject(Fault::Hang {}.on("login"));
    let home = Home::new(&stage).alone();
    let agent = home.start();
    stage.until_count("login", 1).await;
    ends_within(agent, QUICK).await;
}

#[tokio::test]
async fn while_an_allocation_is_waited_for() {
    let stage = Stage::with(Options { allocations: vec![AllocationSpec::unbound("alloc-1")], ..options() }).await;
    let home = Home::new(&stage).allocated("alloc-1");
    let agent = home.start();
    stage.until_count("find_session", 1).await;
    ends_within(agent, QUICK).await;
    assert_eq!(stage.writes_after(0), Vec::<String>::new());
}

#[tokio::test]
async fn while_the_registration_is_refused() {
    let stage = Stage::start().await;
    stage.inject(Fault::status(503).on("register"));
    let home = Home::new(&stage).alone();
    let agent = home.start();
    stage.until_count("register", 1).await;
    ends_within(agent, QUICK).await;
    assert!(stage.instance(SESSION).is_null());
}

#[tokio::test]
async fn while_the_registration_is_slow() {
    let stage = Stage::start().await;
    stage.inject(Fault::Delay { ms: 1500 }.on("register"));
    let home = Home::new(&stage).alone();
    let agent = home.start();
    stage.until_count("register", 1).await;
    ends_within(agent, QUICK).await;
    assert!(stage.instance(SESSION).is_null() && was_closed(&stage));
    assert_eq!((stage.count("register"), stage.count("unregister")), (1, 1));
}

#[tokio::test]
async fn while_the_game_loads() {
    let stage = Stage::start().await;
    let home = Home::new(&stage);
    let mut agent = home.start();
    agent.until_phase("loading").await;
    ends_within(agent, QUICK).await;
    assert!(stage.instance(SESSION).is_null() && was_closed(&stage));
}

#[tokio::test]
async fn while_it_serves_nobody() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    ends_within(agent, QUICK).await;
    assert!(stage.instance(SESSION).is_null() && was_closed(&stage));
    assert_eq!(stage.count("unregister"), 1);
}

/// The three ends that take their whole time, side by side.
#[tokio::test]
async fn with_a_backend_that_does_not_answer() {
    tokio::join!(without_a_backend(), with_a_backend_that_hangs(), while_the_registration_hangs_and_was_carried_out());
}

async fn without_a_backend() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.outage(Outage::Refuse);
    ends_within(agent, PATIENT).await;
}

async fn with_a_backend_that_hangs() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.inject(Fault::Hang {}.always());
    ends_within(agent, PATIENT).await;
}

async fn while_the_registration_hangs_and_was_carried_out() {
    let stage = Stage::start().await;
    stage.inject(Fault::Hang {}.on("register").processed(true));
    let home = Home::new(&stage).alone();
    let agent = home.start();
    stage.until_status(SESSION, "pending").await;
    ends_within(agent, PATIENT).await;
    assert!(was_closed(&stage), "{:?}", stage.instance(SESSION));
    assert_eq!(stage.count("register"), 1);
}

/// An agent that drains because a game is there which has not ended.
async fn draining(stage: &Stage) -> Agent {
    let home = Home::new(stage).alone();
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("serving").await;
    agent.terminate();
    agent.until_phase("draining").await;
    stage.until_status(SESSION, "closed").await;
    agent
}

#[tokio::test]
async fn a_game_that_is_there_is_waited_for() {
    let stage = Stage::start().await;
    let mut agent = draining(&stage).await;
    stage.until_beats(2).await;
    assert!(agent.is_running());
    let (status, body) = agent.call("POST", "/v1/ready", Some(json!({}))).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("wrong_phase")), "{body}");
    agent.finish().await;
    assert!(stage.instance(SESSION).is_null());
}

#[tokio::test]
async fn the_drain_time_is_a_bound() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("shutdown.drain_timeout", "1s");
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("serving").await;
    agent.terminate();
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 0);
    watch.at_most(1 + QUICK, "the end");
    assert!(agent.output().contains("the drain time is over"));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let stage = Stage::start().await;
        let mut agent = draining(&stage).await;
        agent.signal(second);
        let watch = Stopwatch::start();
        assert_eq!(agent.exit_code().await, code);
        watch.at_most(AT_ONCE, "the second signal");
    }
}

#[tokio::test]
async fn sigint_drains_too_and_twice_ends_at_once() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("serving").await;
    agent.signal(Signal::INT);
    let status = agent.until_phase("draining").await;
    assert_eq!(status["drain"]["reason"], "SIGINT");
    agent.signal(Signal::INT);
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 130);
    watch.at_most(AT_ONCE, "the second signal");
}

#[tokio::test]
async fn what_could_not_be_delivered_stays_for_the_next_start() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.inject(Fault::status(503).on("fubar"));
    agent.post("/v1/fubar", json!({"error": "last_words"})).await;
    agent.post("/v1/shutdown", json!({})).await;
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 0);
    watch.at_most(PATIENT, "the end");
    assert!(stage.instance(SESSION).is_null());
    stage.simulator.clear_faults();
    // On an instance that was closed by us, the next start says what was left to say, and ends.
    let mut again = home.start();
    assert_eq!(again.exit_code().await, 0);
    let ledger = stage.simulator.ledger();
    let errors: Vec<_> = ledger.fubars_told().iter().map(|report| report.body["error"].clone()).collect();
    assert_eq!(errors, ["last_words"]);
    assert_eq!((stage.count("register"), stage.count("unregister")), (1, 1));
}
