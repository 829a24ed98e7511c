//! The login: one per expiry, and a refusal that somebody mends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rallyhere_agent::simulator::{Authorization, Ledger, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::not_today;
use super::home::Home;
use super::socket;
use super::stage::{CLIENT, SECRET, Stage, Stopwatch};

const WRONG: &str = "wr0ng+of/the=client~1234";

fn has_open_poll(ledger: &Ledger) -> bool {
    ledger.of("poll").any(|poll| poll.outcome == Outcome::Open && poll.authorization == Authorization::Valid)
}

#[tokio::test]
async fn a_token_that_expires_during_a_poll_costs_one_login() {
    if not_today("none: there is no poll") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until("an open poll", has_open_poll).await;
    stage.simulator.expire_tokens(false);
    // The poll in flight was let in before; what it brings is not lost. The next one and the next health post are refused.
    stage.notify("during the expiry");
    let page = agent.get("/v1/notifications?wait=25").await;
    assert_eq!(page["notifications"][0]["message"], "during the expiry");
    stage.until_beats(2).await;
    stage.until("another open poll", has_open_poll).await;
    let refused = |request: &rallyhere_agent::simulator::RequestRecord| request.authorization == Authorization::Expired;
    assert!(stage.requests().iter().any(refused));
    assert_eq!(stage.logins(), 2, "one at the start, one for the expiry");
    let status = agent.status().await;
    assert_eq!((&status["auth"]["state"], &status["auth"]["attempts"]), (&json!("valid"), &json!(2)));
    assert_eq!(status["phase"], "serving");
    agent.finish().await;
}

/// An agent whose secret is wrong, and which has been told so.
async fn denied(stage: &Stage) -> (Home, Agent) {
    let mut home = Home::new(stage).alone();
    home.secret_file("client-secret", WRONG);
    let mut agent = home.start();
    let status = agent.until("a refused login", |status| status["auth"]["state"] == "denied").await;
    let detail = status["auth"]["detail"].as_str().unwrap();
    assert!(detail.contains("basic_auth_credentials_not_found") && detail.contains("auth.client_id"), "{detail}");
    agent.until_says("refused the login").await;
    assert_eq!((status["phase"].as_str(), stage.count("login")), (Some("resolving"), 1));
    (home, agent)
}

#[tokio::test]
async fn a_corrected_secret_is_taken_on_sighup() {
    let stage = Stage::start().await;
    let (mut home, mut agent) = denied(&stage).await;
    home.secret_file("client-secret", SECRET);
    agent.signal(Signal::HUP);
    agent.until_phase("serving").await;
    assert_eq!((stage.count("login"), stage.logins()), (2, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_corrected_secret_is_found_without_being_told() {
    let stage = Stage::start().await;
    let (mut home, mut agent) = denied(&stage).await;
    home.secret_file("client-secret", SECRET);
    let watch = Stopwatch::start();
    agent.until_phase("serving").await;
    watch.at_most(10, "to find the new secret");
    assert_eq!((stage.count("login"), stage.logins()), (2, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_again_loses_nothing() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    std::fs::remove_file(home.path("client-secret")).unwrap();
    agent.signal(Signal::HUP);
    agent.until_says("a secret could not be read again, the old one stays").await;
    stage.simulator.expire_tokens(false);
    stage.until("a second login", |ledger| ledger.logins.len() == 2).await;
    stage.until_beats(1).await;
    agent.stop().await;
}

/// Logs in, as whoever keeps the token of the grant "access_token" fresh does.
async fn token(stage: &Stage) -> String {
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let address = stage.url.strip_prefix("http://").unwrap();
    let body = json!({"grant_type": "client_credentials"});
    let line = "POST /users/v2/oauth/token";
    let (status, text) = socket::call_tcp(address, line, &[("authorization", &basic)], Some(&body)).await.unwrap();
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_from_a_file_is_read_again_when_it_is_replaced() {
    let stage = Stage::start().await;
    let mut home = Home::new(&stage).alone().set("auth.grant", "access_token");
    let file = home.path("token").display().to_string();
    home = home.without("auth.client_secret_file").without("auth.client_id").set("auth.access_token_file", file);
    home.secret_file("token", &token(&stage).await);
    let mut agent = home.start();
    agent.until_phase("serving").await;

    stage.simulator.expire_tokens(false);
    let status = agent.until("a refused token", |status| status["auth"]["state"] == "denied").await;
    assert!(status["auth"]["detail"].as_str().unwrap().contains("has not changed since"), "{}", status["auth"]);
    assert_eq!(status["phase"], "serving", "a match goes on without a login");
    home.secret_file("token", &token(&stage).await);
    let watch = Stopwatch::start();
    agent.until("the new token", |status| status["auth"]["state"] == "valid").await;
    watch.at_most(10, "to find the new token");
    stage.until_beats(1).await;
    assert_eq!(stage.logins(), 2, "both were the test's own");
    agent.stop().await;
}
