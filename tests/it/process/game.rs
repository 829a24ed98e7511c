//! A game that the agent starts, from its start to the agent's exit code, as the backend and the operator see it.

use rallyhere_agent::simulator::Ledger;
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::{as_told, way};
use super::home::Home;
use super::stage::{SESSION, Stage, Stopwatch, until};

/// A home whose game is this shell script; it is ready when it says so in its output.
fn with_game(stage: &Stage, script: &str) -> Home {
    let command: Vec<toml::Value> = ["/bin/sh", "-c", script].map(|word| word.to_owned().into()).into();
    Home::new(stage)
        .set("instance.public_conn_str", "unreal://192.0.2.1:7777")
        .set("game.command", command)
        .set("game.ready", "log")
        .set("game.ready_log", "^ready$")
}

/// The bodies of the calls of one kind that the backend carried out.
fn told(ledger: &Ledger, call: &str) -> Vec<Value> {
    let done = ledger.of(way(call)).filter(|request| request.processed).filter_map(|request| request.body.as_ref());
    let told = done.filter_map(|body| match as_told(way(call), body) {
        Some((what, body)) => (what == call).then_some(body),
        None => Some(body.clone()),
    });
    told.collect()
}

fn fubars(stage: &Stage) -> Vec<String> {
    stage.simulator.read_ledger(|ledger| {
        told(ledger, "fubar").iter().map(|body| body["error"].as_str().unwrap().to_owned()).collect()
    })
}

/// The session event about the end of the game, if there is one.
fn ended(stage: &Stage) -> Option<Value> {
    stage
        .simulator
        .read_ledger(|ledger| told(ledger, "event").into_iter().find(|body| body["event_code"] == "game_ended"))
}

fn was_closed(stage: &Stage) -> bool {
    stage.simulator.read_ledger(|ledger| told(ledger, "update").iter().any(|body| body["join_status"] == "closed"))
}

async fn serving(home: &Home) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    agent
}

#[tokio::test]
async fn every_end_of_a_game_has_its_exit_code_and_only_failures_are_reported() {
    for (script, code, error) in [
        ("echo ready; sleep 0.3; exit 0", 0, None),
        ("echo ready; sleep 0.3; exit 3", 3, Some("game_exited")),
        ("echo ready; sleep 0.3; kill -SEGV $$", 139, Some("game_crashed")),
        ("echo ready; sleep 0.3; kill -ABRT $$", 134, Some("game_crashed")),
        ("echo ready; sleep 0.3; kill -KILL $$", 137, None),
        ("exit 7", 7, Some("game_exited")),
    ] {
        let stage = Stage::start().await;
        let home = with_game(&stage, script);
        let mut agent = home.start();
        assert_eq!(agent.exit_code().await, code, "{script}: {}", agent.output());
        assert_eq!(fubars(&stage), Vec::from_iter(error), "{script}");
        assert!(was_closed(&stage), "{script}: {}", agent.output());
    }
}

#[tokio::test]
async fn a_crash_is_told_with_all_that_is_known_and_no_secret() {
    let stage = Stage::start().await;
    let script = "echo ready; echo 'loading map 7'; echo 'password=hunter2'; sleep 0.3; kill -SEGV $$";
    let home = with_game(&stage, script);
    assert_eq!(home.start().exit_code().await, 139);
    let event = ended(&stage).expect("an event");
    let data = &event["custom_data"];
    assert_eq!((&data["error"], &data["signal"]), (&json!("game_crashed"), &json!("SIGSEGV")), "{event}");
    assert!(data["log"].as_str().unwrap().contains("loading map 7"), "{event}");
    assert!(!event.to_string().contains("hunter2"), "{event}");
    assert!(data["report_id"].is_string() && data["uptime_seconds"].is_string(), "{event}");
}

#[tokio::test]
async fn sigterm_stops_the_game_before_the_agent_ends() {
    let stage = Stage::start().await;
    let home = with_game(&stage, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    let mut agent = serving(&home).await;
    agent.terminate();
    let watch = Stopwatch::start();
    assert_eq!(agent.exit_code().await, 0);
    watch.at_most(5, "the end");
    assert!(agent.output().contains("bye"), "{}", agent.output());
    assert!(was_closed(&stage));
    assert!(fubars(&stage).is_empty(), "it was asked to stop");
}

#[tokio::test]
async fn a_game_that_ignores_its_signal_is_killed_with_its_children() {
    let stage = Stage::start().await;
    let home = with_game(&stage, "trap '' TERM; sleep 600 & echo child $!; echo ready; while :; do sleep 0.05; done")
        .set("game.stop_timeout", "500ms")
        .set("shutdown.drain_timeout", "0s");
    let mut agent = serving(&home).await;
    agent.until_says("child ").await;
    let output = agent.output();
    let child = output.lines().find_map(|line| line.strip_prefix("child ")).expect("its number").to_owned();
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
    let status = format!("/proc/{child}/status");
    until("the child's end", async || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        (text.is_empty() || text.contains("State:\tZ")).then_some(())
    })
    .await;
    assert!(fubars(&stage).is_empty());
}

#[tokio::test]
async fn a_game_that_never_gets_ready_is_reported_and_ended() {
    let stage = Stage::start().await;
    let home = with_game(&stage, "sleep 600").set("game.ready_timeout", "1s").set("game.stop_timeout", "1s");
    let mut agent = home.start();
    assert_ne!(agent.exit_code().await, 0, "{}", agent.output());
    assert_eq!(fubars(&stage), ["never_ready"]);
    assert!(was_closed(&stage));
}

#[tokio::test]
async fn a_game_that_cannot_be_started_is_reported() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("game.command", vec![toml::Value::from("/nonexistent/game")]);
    let mut agent = home.start();
    let code = agent.exit_code().await;
    let output = agent.output();
    assert!(code == 127 || code == 78, "{code}: {output}");
    assert!(output.contains("/nonexistent/game"), "{output}");
}

#[tokio::test]
async fn a_superseded_agent_stops_its_game_and_writes_nothing() {
    let stage = Stage::start().await;
    let home = with_game(&stage, "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    let mut agent = serving(&home).await;
    stage.until_beats(1).await;
    let since = stage.requests().last().map_or(0, |request| request.number);
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    assert_eq!(agent.exit_code().await, 76);
    assert!(agent.output().contains("told"), "{}", agent.output());
    let writes = stage.writes_after(since);
    assert!(writes.is_empty() || writes == ["health"], "{writes:?}");
}
