//! The proxy of the whole program: the game asks, the token stays; every agent is searched for secrets when it goes.

use serde_json::json;

use super::home::Home;
use super::stage::{SESSION, Stage, until};

#[tokio::test]
async fn a_game_reads_its_session_through_the_agent_and_never_sees_a_token() {
    let stage = Stage::start().await;
    let allow: toml::Value = vec!["GET /session/v1/session/*", "POST /session/**"].into();
    let mut agent = Home::new(&stage).alone().set("proxy.allow", allow).start();
    agent.until_phase("serving").await;
    let path = format!("/rallyhere/session/v1/session/{SESSION}");
    let session = agent.get(&path).await;
    assert_eq!(session["session_id"], SESSION);
    let (status, refused) = agent.call("POST", &format!("{path}/instance/health"), Some(json!({}))).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("agents_own")));

    let logins = stage.logins();
    stage.simulator.expire_tokens(false);
    // Whoever finds out first; the game sees nothing of it.
    assert_eq!(agent.get(&path).await["session_id"], SESSION);
    assert_eq!(stage.logins(), logins + 1);
    stage.until_beats(2).await;
    assert_eq!(stage.logins(), logins + 1, "one login per expiry");

    agent.get(&format!("{path}?refresh_ttl=false")).await;
    let passed = || -> Vec<String> {
        agent.output().lines().filter(|line| line.contains("passed on for the game")).map(str::to_owned).collect()
    };
    until("a line for each", async || (passed().len() == 3).then_some(())).await;
    assert!(passed().iter().all(|line| !line.contains("refresh_ttl")), "{:?}", passed());
    agent.finish().await;
}
