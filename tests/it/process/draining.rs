//! `drain --wait`: an operator sees how far it is, and a script learns how it ended.

use serde_json::json;

use super::agent::Agent;
use super::home::Home;
use super::stage::{SESSION, Stage};

/// An agent whose drain waits for a game.
async fn with_a_game(stage: &Stage) -> (Home, Agent) {
    let home = Home::new(stage).alone();
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("serving").await;
    (home, agent)
}

#[tokio::test]
async fn it_shows_how_far_the_drain_is_and_ends_with_the_instance() {
    let stage = Stage::start().await;
    let (home, mut agent) = with_a_game(&stage).await;
    let mut waiting = home.start_with(&["drain", "--wait", "--reason", "patch day"]);
    waiting.until_says("draining (patch day): no report waits, at most ").await;
    stage.until_status(SESSION, "closed").await;
    assert!(waiting.is_running());
    agent.post("/v1/shutdown", json!({})).await;
    assert_eq!(agent.exit_code().await, 0);
    assert_eq!(waiting.exit_code().await, 0, "{}", waiting.output());
    assert_eq!(waiting.output().lines().last(), Some("ended"));
}

#[tokio::test]
async fn it_goes_on_with_the_agent_that_takes_the_drain_up_again() {
    let stage = Stage::start().await;
    let (home, agent) = with_a_game(&stage).await;
    let mut waiting = home.start_with(&["drain", "--wait"]);
    waiting.until_says("draining (asked through the local API)").await;
    stage.until_status(SESSION, "closed").await;
    agent.kill().await;
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 0, "a closed instance is taken down");
    assert_eq!(waiting.exit_code().await, 0, "{}", waiting.output());
}

#[tokio::test]
async fn it_fails_where_the_agent_falls_silent() {
    let stage = Stage::start().await;
    let (home, agent) = with_a_game(&stage).await;
    let mut waiting = home.start_with(&["drain", "--wait"]);
    waiting.until_says("draining (asked through the local API)").await;
    agent.kill().await;
    assert_eq!(waiting.exit_code().await, 1);
    assert!(waiting.output().contains("the agent fell silent before it was done (last seen: draining)"));
}

#[tokio::test]
async fn it_says_so_where_somebody_else_takes_the_session_over() {
    let stage = Stage::start().await;
    let (home, mut agent) = with_a_game(&stage).await;
    let mut waiting = home.start_with(&["drain", "--wait"]);
    waiting.until_says("draining (asked through the local API)").await;
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    assert_eq!(waiting.exit_code().await, 76, "{}", waiting.output());
    assert_eq!(agent.exit_code().await, 76);
}
