//! kill -9 at every step of an allocation by a file, and while a restart asks whether it still holds: the same allocation is taken up
//! again, and nobody is registered twice.

use std::fs;

use rallyhere_agent::simulator::{Fault, Ledger, SicStatus};
use serde_json::{Value, json};

use super::{ALLOCATION, from_file, replace, set_sic, sic, stage, until_waiting};
use crate::process::agent::Agent;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage};

async fn until_confirming(agent: &mut Agent) {
    agent.until("confirming", |status| status["allocation"]["state"] == "confirming").await;
}

/// How many of a call were carried out.
fn done(ledger: &Ledger, call: &str) -> usize {
    ledger.of(call).filter(|request| request.processed).count()
}

/// Kills an agent whose write is carried out, and never answered.
async fn killed_over(stage: &Stage, home: &Home, write: &str, before: usize) {
    let agent = home.start();
    stage.until(&format!("a {write} that is carried out"), |ledger| done(ledger, write) > before).await;
    agent.kill().await;
    stage.simulator.clear_faults();
}

/// `write` makes it the host: a POST where it registers itself, a PATCH where it was allocated.
async fn lives_through_every_kill(source: &str, content: &Value, session: &str, write: &str) {
    let stage = stage().await;
    let home = from_file(&stage, source);
    let path = home.path("server.json");
    // Before there is anything.
    let mut agent = home.start();
    until_waiting(&mut agent, if source == "file" { "allocation.file" } else { "server.json" }).await;
    agent.kill().await;
    // As soon as it asks for the session: the allocation is on disk, and who we are perhaps.
    replace(&path, content);
    stage.inject(Fault::Hang {}.on(write).processed(true));
    let looks = |ledger: &Ledger| ledger.count("find_session") + ledger.count("read_session");
    for looked in 0..2 {
        let seen = stage.simulator.read_ledger(looks);
        let agent = home.start();
        stage.until(&format!("look {looked}"), |ledger| looks(ledger) > seen).await;
        agent.kill().await;
    }
    killed_over(&stage, &home, write, 0).await;
    // Asking whether it still holds, of a file that somebody is writing.
    let whole = content.to_string();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..2 {
        let mut agent = home.start();
        until_confirming(&mut agent).await;
        agent.kill().await;
    }
    replace(&path, content);
    // Pending, on its way to joinable.
    stage.inject(Fault::Hang {}.on("update").processed(true));
    let before = stage.simulator.read_ledger(|ledger| done(ledger, "update"));
    killed_over(&stage, &home, "update", before).await;
    // Serving, twice.
    let mut held = None;
    for _ in 0..2 {
        let mut agent = home.start();
        let status = agent.until_phase("serving").await;
        let instance = stage.until_status(session, "joinable").await;
        stage.until_beats(1).await;
        assert_eq!(status["instance"]["instance_id"], instance["instance_id"]);
        assert_eq!(*held.get_or_insert_with(|| instance["instance_id"].clone()), instance["instance_id"]);
        agent.kill().await;
    }
    let posts = usize::from(write == "register");
    assert_eq!(stage.simulator.read_ledger(|ledger| done(ledger, "register")), posts, "{source}: registered twice");
    let foreign = |request: &&rallyhere_agent::simulator::RequestRecord| {
        request.method != "GET" && request.path.starts_with("/session/") && !request.path.contains(session)
    };
    let requests = stage.requests();
    assert_eq!(requests.iter().filter(foreign).map(|request| request.path.clone()).collect::<Vec<_>>(), [""; 0]);
    // A kill may come before the token is on disk.
    assert!(stage.logins() <= 3, "{} logins", stage.logins());
    // Killed as it was taken back: a restart closes it.
    fs::remove_file(&path).unwrap();
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 0);
    let instance = stage.instance(session);
    assert!(instance.is_null() || instance["join_status"] == "closed", "{instance}");
}

#[tokio::test]
async fn multiplays_allocation() {
    let content = json!({"AllocationUUID": ALLOCATION, "SessionId": "s-1", "ConnectionIP": "203.0.113.9", "ConnectionPort": 40000});
    lives_through_every_kill("multiplay", &content, "s-1", "update").await;
}

#[tokio::test]
async fn multiplays_session_without_an_allocation() {
    let content = json!({"SessionId": SESSION, "ConnectionIP": "203.0.113.9", "ConnectionPort": 40000});
    lives_through_every_kill("multiplay", &content, SESSION, "register").await;
}

#[tokio::test]
async fn an_allocation_in_a_file() {
    let content = json!({"allocation_id": ALLOCATION, "public_host": "10.0.0.4", "public_port": 7777});
    lives_through_every_kill("file", &content, "s-1", "update").await;
}

#[tokio::test]
async fn a_session_in_a_file() {
    let content = json!({"session_id": SESSION, "public_host": "10.0.0.4", "public_port": 7777});
    lives_through_every_kill("file", &content, SESSION, "register").await;
}

#[tokio::test]
async fn sic_while_a_restart_asks_it() {
    let stage = stage().await;
    let home = sic(&stage);
    set_sic(&stage, SicStatus::Allocated, Some(ALLOCATION));
    let agent = home.start();
    stage.until_status("s-1", "joinable").await;
    agent.kill().await;
    // It gives no answer: the match is taken up all the same, if the agent lives so long.
    stage.inject(Fault::Hang {}.on("sic_register"));
    stage.inject(Fault::Hang {}.on("sic_state"));
    for _ in 0..2 {
        let mut agent = home.start();
        until_confirming(&mut agent).await;
        agent.kill().await;
    }
    let mut agent = home.start();
    until_confirming(&mut agent).await;
    agent.until_phase("serving").await;
    stage.until_beats(1).await;
    agent.kill().await;
    stage.simulator.clear_faults();
    // While it asks, it is told to stop: what is remembered is closed.
    stage.inject(Fault::Hang {}.on("sic_state"));
    stage.inject(Fault::Hang {}.on("sic_register"));
    let mut agent = home.start();
    until_confirming(&mut agent).await;
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
    assert_eq!(stage.instance("s-1")["join_status"], "closed");
    assert_eq!(stage.count("register"), 0);
}
