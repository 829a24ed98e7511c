//! What an operator reads in a bad hour: each cause once, with what is needed to find the call in other logs.

use std::collections::BTreeSet;

use rallyhere_agent::simulator::{Fault, Outage};
use serde_json::json;

use super::home::Home;
use super::stage::Stage;

#[tokio::test]
async fn an_outage_is_one_line_per_cause_and_not_one_per_try() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.outage(Outage::Refuse);
    agent.until("five lost posts", |status| status["counters"]["health_failed"].as_u64() >= Some(5)).await;
    agent.until_says("WARN  health failed: ").await;
    let said = agent.output();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("WARN  health failed: ")).collect();
    // The connection that was open is cut, the next ones too or refused: each cause once.
    let causes: BTreeSet<_> = lines.iter().map(|line| line.split(": ").nth(1)).collect();
    assert!(!lines.is_empty() && causes.len() == lines.len(), "{said}");
    assert!(lines.iter().all(|line| line.contains(" request_id=")), "{said}");
    stage.outage(Outage::None);
    agent.stop().await;
}

#[tokio::test]
async fn a_failure_names_the_call_as_both_sides_know_it() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let headers = vec![("x-correlation-id".to_owned(), "edge-77".to_owned())];
    stage.inject(Fault::Status { code: 503, body: None, headers }.on("health").times(1));
    agent.until_says(" backend_request_id=edge-77").await;
    let said = agent.output();
    let line = said.lines().find(|line| line.contains("backend_request_id=edge-77")).unwrap();
    let id = line.split(" request_id=").nth(1).unwrap().split(' ').next().unwrap();
    let asked = said.lines().find(|line| line.contains("asked the backend") && line.contains(id));
    assert!(asked.is_some_and(|line| line.contains("/health") && line.contains("503")), "{said}");
    agent.post("/v1/shutdown", json!({})).await;
    assert_eq!(agent.exit_code().await, 0);
}
