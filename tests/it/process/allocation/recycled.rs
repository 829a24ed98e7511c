//! `instance.recycle` with a session that the agent makes: one session after the other, each hosted to its end.

use serde_json::{Value, json};

use super::{home, stage};
use crate::process::agent::Agent;
use crate::process::generations::permissions;
use crate::process::home::Home;
use crate::process::stage::{CLIENT, Stage, until};

fn made(stage: &Stage) -> Home {
    home(stage, "session")
        .set("instance.recycle", true)
        .set("allocation.session_type", "deathmatch")
        .set("instance.version", "1.2.3")
        .set("instance.region", "eu")
        .set("allocation.public_host", "203.0.113.9")
        .set("allocation.public_port", 7777)
}

/// Waits until it serves another session than these; gives that.
async fn until_another(stage: &Stage, agent: &mut Agent, before: &[String]) -> String {
    let other = |status: &Value| {
        let session = status["session"]["session_id"].as_str().unwrap_or_default();
        status["phase"] == "serving" && !session.is_empty() && before.iter().all(|one| one != session)
    };
    let status = agent.until("another session", other).await;
    let session = status["session"]["session_id"].as_str().unwrap().to_owned();
    stage.until_status(&session, "joinable").await;
    stage.until_beats(1).await;
    session
}

async fn until_no_instance(stage: &Stage, session: &str) {
    until("the end of its instance", async || stage.instance(session).is_null().then_some(())).await;
}

#[tokio::test]
async fn each_life_makes_and_hosts_a_session_of_its_own() {
    let stage = stage().await;
    let home = made(&stage);
    let mut agent = home.start();
    let (mut sessions, mut instances) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let session = until_another(&stage, &mut agent, &sessions).await;
        let instance = stage.instance(&session);
        assert_eq!(instance["join_params"]["public_conn_str"], "unreal://203.0.113.9:7777");
        assert!(!instances.contains(&instance["instance_id"]), "another instance for another session");
        instances.push(instance["instance_id"].clone());
        agent.post("/v1/shutdown", json!({})).await;
        until_no_instance(&stage, &session).await;
        sessions.push(session);
    }
    // Killed between two lives, or as the next begins: no session is hosted twice, and the next is served.
    agent.kill().await;
    let mut agent = home.start();
    let fourth = until_another(&stage, &mut agent, &sessions).await;
    // Killed while it serves: the same again.
    let made = stage.count("create_session");
    agent.kill().await;
    let mut agent = home.start();
    assert_eq!(until_another(&stage, &mut agent, &sessions).await, fourth);
    assert_eq!((stage.count("create_session"), stage.count("register")), (made, 4));
    assert!((4..=5).contains(&made), "{made} sessions: one may have been made as the agent was killed");
    assert_eq!(stage.logins(), 1);
    // Told to stop: there is no other life.
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
    until_no_instance(&stage, &fourth).await;
}

#[tokio::test]
async fn a_report_that_nobody_may_take_does_not_keep_the_next_session() {
    let stage = stage().await;
    for permission in permissions("fubar") {
        stage.simulator.revoke(CLIENT, permission);
    }
    let home = made(&stage);
    let mut agent = home.start();
    let first = until_another(&stage, &mut agent, &[]).await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    agent.until("the refusal", |status| status["outbox"]["last_failure"].is_string()).await;
    agent.post("/v1/shutdown", json!({})).await;
    until_no_instance(&stage, &first).await;
    until_another(&stage, &mut agent, &[first]).await;
    let status = agent.status().await;
    assert_eq!((&status["outbox"]["waiting"], &status["outbox"]["dead"]), (&json!(0), &json!(1)), "kept to be seen");
    agent.stop().await;
}
