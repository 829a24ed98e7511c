//! What survives the process: kill -9, a stop, another start, and two at once.

use rallyhere_agent::simulator::{Fault, SessionSpec};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::{Reports as _, not_today};
use super::home::Home;
use super::stage::{SESSION, Stage, Stopwatch};

async fn serving(home: &Home, stage: &Stage) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent
}

#[tokio::test]
async fn a_killed_agent_takes_the_same_instance_up_again() {
    let stage = Stage::start().await;
    let home = Home::new(&stage);
    let mut agent = home.start();
    let said = json!({"public_conn_str": "unreal://192.0.2.7:7777", "custom_data": {"mode": "ctf"}});
    agent.post("/v1/ready", said).await;
    let before = stage.until_status(SESSION, "joinable").await;
    stage.until_beats(1).await;
    agent.kill().await;

    let mut agent = home.start();
    let watch = Stopwatch::start();
    stage.until_beats(1).await;
    // Promised is one second on a machine with time; this is also run on others.
    watch.at_most(2, "the first health post after a restart");
    // Nobody has to say ready again.
    let status = agent.until_phase("serving").await;
    assert_eq!(status["ready"], true);
    stage.until_beats(1).await;
    let after = stage.instance(SESSION);
    for field in ["instance_id", "join_status", "join_params", "custom_data"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(stage.count("register"), 1);
    agent.finish().await;
}

#[tokio::test]
async fn a_registration_that_nobody_answered_is_not_repeated_after_a_kill() {
    let stage = Stage::start().await;
    stage.inject(Fault::Hang {}.on("register").processed(true).times(1));
    let home = Home::new(&stage).alone();
    let agent = home.start();
    let id = stage.until_status(SESSION, "pending").await["instance_id"].clone();
    agent.kill().await;
    let agent = serving(&home, &stage).await;
    assert_eq!(stage.instance(SESSION)["instance_id"], id);
    assert_eq!(stage.count("register"), 1);
    agent.stop().await;
}

fn ids(page: &Value) -> Vec<String> {
    let entries = page["notifications"].as_array().unwrap();
    entries.iter().map(|entry| entry["notification_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn notifications_survive_a_kill_until_they_are_acknowledged() {
    if not_today("generations::today_a_change_of_the_session_is_a_notification_in_order_until_it_is_acknowledged") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    let mut written: Vec<String> = (1..=4).map(|number| stage.notify(&format!("message {number}"))).collect();
    agent.until("four that wait", |status| status["notifications"]["inbox"] == 4).await;
    assert_eq!(ids(&agent.get("/v1/notifications").await), written);
    agent.post("/v1/notifications/ack", json!({"notification_id": written[0]})).await;
    agent.kill().await;
    // Published while nobody polls.
    written.push(stage.notify("message 5"));

    let mut agent = serving(&home, &stage).await;
    assert_eq!(ids(&agent.get("/v1/notifications").await)[..3], written[1..4], "there before the first poll");
    agent.until("the fifth", |status| status["notifications"]["inbox"] == 4).await;
    assert_eq!(ids(&agent.get("/v1/notifications").await), written[1..], "each once, in order");
    agent.finish().await;
}

#[tokio::test]
async fn an_accepted_report_survives_a_kill_and_keeps_its_key() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    stage.inject(Fault::status(503).on("fubar"));
    let report = json!({"error": "stuck", "key": "crash-17"});
    let first = agent.post("/v1/fubar", report.clone()).await;
    assert_eq!(agent.post("/v1/fubar", report.clone()).await, first, "the same key is the same report");
    stage.until_count("fubar", 1).await;
    agent.kill().await;

    stage.simulator.clear_faults();
    let mut agent = serving(&home, &stage).await;
    stage.until("the report", |ledger| ledger.fubars_told().len() == 1).await;
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    assert_eq!(agent.post("/v1/fubar", report).await, first, "also once it is delivered");
    stage.until_beats(1).await;
    assert_eq!(stage.simulator.read_ledger(|ledger| ledger.fubars_told().len()), 1);
    agent.finish().await;
}

#[tokio::test]
async fn an_agent_killed_while_it_drained_goes_on_to_the_end() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.terminate();
    stage.until_status(SESSION, "closed").await;
    agent.kill().await;
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 0);
    assert!(stage.instance(SESSION).is_null());
    assert_eq!(stage.count("register"), 1);
}

#[tokio::test]
async fn a_closed_instance_is_not_opened_again() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    serving(&home, &stage).await.stop().await;
    let mut again = home.start();
    assert_eq!(again.exit_code().await, 0);
    assert_eq!((stage.count("register"), stage.count("unregister")), (1, 1));
    let output = again.output();
    let told = output.lines().find(|line| line.contains("closed_before")).unwrap_or_else(|| panic!("{output}"));
    assert!(told.contains("WARN") && told.contains("instance.recycle"), "{told}");
}

#[tokio::test]
async fn another_session_is_another_life() {
    let stage = Stage::start().await;
    stage.simulator.create_session(&SessionSpec::new("second")).unwrap();
    let mut home = Home::new(&stage).alone();
    serving(&home, &stage).await.stop().await;
    home.change("instance.session_id", "second");
    let agent = home.start();
    let instance = stage.until_status("second", "joinable").await;
    assert_eq!(stage.count("register"), 2);
    assert!(instance["instance_id"].is_string());
    agent.stop().await;
    assert!(stage.instance("second").is_null());
}

#[tokio::test]
async fn a_second_agent_on_the_same_state_is_refused_before_it_does_anything() {
    let (stage, elsewhere) = (Stage::start().await, Stage::start().await);
    let home = Home::new(&stage).alone();
    let first = serving(&home, &stage).await;
    let state = home.state().display().to_string();
    let second_home = Home::new(&elsewhere).alone().set("state.dir", state.as_str());
    let watch = Stopwatch::start();
    let mut second = second_home.start();
    assert_eq!(second.exit_code().await, 75);
    watch.at_most(1, "to see the lock");
    assert!(second.output().contains(&state), "{}", second.output());
    assert_eq!(elsewhere.requests().len(), 0);
    assert!(!second_home.socket().exists());
    stage.until_beats(1).await;
    first.stop().await;
}

/// SIGUSR2: a restart that no match notices, where `systemctl restart` would close the instance.
#[tokio::test]
async fn an_agent_that_leaves_says_nothing_and_the_next_one_goes_on() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    // With its health in it: the posts go on meanwhile.
    stage.until_beats(1).await;
    let before = stage.instance(SESSION);
    // Accepted, and on its way for ever: it must go out after the restart.
    stage.inject(Fault::Hang {}.on("fubar").times(1));
    agent.post("/v1/fubar", json!({"error": "stuck", "key": "k1"})).await;
    stage.until_count("fubar", 1).await;
    let writes = stage.writes_after(0).into_iter().filter(|call| call != "health").count();
    agent.signal(Signal::USR2);
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 79);
    watch.at_most(2, "the end");
    let later = stage.writes_after(0).into_iter().filter(|call| call != "health").count();
    assert_eq!((later, stage.instance(SESSION)), (writes, before.clone()), "nothing was said to the backend");

    let agent = serving(&home, &stage).await;
    stage.until("the report", |ledger| ledger.fubars_told().len() == 1).await;
    assert_eq!(stage.instance(SESSION)["instance_id"], before["instance_id"]);
    assert_eq!(stage.count("register"), 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_has_started_its_game_does_not_leave() {
    let stage = Stage::start().await;
    let command: Vec<toml::Value> = ["sleep", "600"].map(Into::into).into();
    let home = Home::new(&stage).alone().set("game.command", command);
    let mut agent = serving(&home, &stage).await;
    agent.signal(Signal::USR2);
    agent.until_says("SIGUSR2 is not followed").await;
    assert!(agent.is_running());
    assert_eq!(agent.status().await["phase"], "serving");
    agent.stop().await;
}
