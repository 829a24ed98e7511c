//! A crash loop does not become a login storm.

use rallyhere_agent::simulator::Fault;

use crate::process::home::Home;
use crate::process::stage::{Stage, until};

const STARTS: usize = 20;
/// Three at once, and one a minute: the loop takes less than that.
const LOGINS: usize = 4;

/// Starts again and again, killed as soon as a login was seen or the agent says that it waits with the next.
async fn crash_loop(stage: &Stage, home: &Home, mut before: impl FnMut()) -> usize {
    let tried = || stage.simulator.read_ledger(|ledger| ledger.logins.len());
    let mut waited = 0;
    for _ in 0..STARTS {
        before();
        let already = tried();
        let mut agent = home.start();
        let detail = until("a login, or a word of the wait", async || {
            let status = agent.status().await;
            let waits = status["auth"]["detail"].as_str().filter(|detail| detail.contains("again and again"));
            waits.map(|_| true).or_else(|| (tried() > already).then_some(false))
        })
        .await;
        waited += usize::from(detail);
        agent.kill().await;
    }
    assert_eq!(waited + tried(), STARTS, "each start logs in, or says why it does not");
    tried()
}

#[tokio::test]
async fn an_agent_killed_right_after_each_login_soon_waits_with_the_next() {
    let stage = Stage::start().await;
    // It counts as a login there, and no token ever comes.
    stage.inject(Fault::Hang {}.on("login").processed(true));
    let home = Home::new(&stage).alone().set("log.level", "info");
    let logins = crash_loop(&stage, &home, || ()).await;
    assert!(logins <= LOGINS, "{logins} logins in {STARTS} starts");
    let mut agent = home.start();
    let auth = agent.until("the wait", |status| status["auth"]["detail"].is_string()).await["auth"].clone();
    assert!(auth["detail"].as_str().unwrap().contains("again and again") && auth["retry_at"].is_string(), "{auth}");
    agent.kill().await;
}

#[tokio::test]
async fn a_kept_token_that_is_refused_does_not_get_around_the_wait() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let logins = crash_loop(&stage, &home, || stage.simulator.expire_tokens(true)).await;
    assert!(logins <= LOGINS, "{logins} logins in {STARTS} starts");
}

#[tokio::test]
async fn a_normal_restart_waits_for_nothing() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    for logins in [1, 1, 2] {
        if logins == 2 {
            stage.simulator.expire_tokens(true);
        }
        let mut agent = home.start();
        agent.until_phase("serving").await;
        let status = agent.status().await;
        assert!(status["auth"]["detail"].is_null(), "{}", status["auth"]);
        stage.until_beats(1).await;
        agent.kill().await;
        assert_eq!(stage.logins(), logins);
    }
}
