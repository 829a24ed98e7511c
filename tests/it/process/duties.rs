//! A host's other duties: the match, the public browser, the session, its players. Durable, in one order with reports and events,
//! and never left behind by a server that closed.

use rallyhere_agent::simulator::{Fault, Outage, Outcome};
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::{as_told, not_today};
use super::home::Home;
use super::socket;
use super::stage::{CLIENT, SECRET, SESSION, Stage, until};

const PLAYER: &str = "0199aa00-0000-7000-8000-0000000000ab";

/// Something that was accepted: on disk, with an id.
async fn accepted(agent: &mut Agent, method: &str, path: &str, body: Option<Value>) {
    let (status, answer) = agent.call(method, path, body).await;
    assert_eq!(status, 202, "{method} {path}: {answer}");
    let ids = ["duty_id", "event_id", "report_id"].iter().filter(|name| answer[**name].is_string());
    assert_eq!(ids.count(), 1, "{method} {path}: {answer}");
}

/// What the backend was told of all that goes through the outbox and did, in order.
fn told(stage: &Stage) -> Vec<String> {
    let requests = stage.requests();
    let through_the_outbox = |call: &str| {
        ["fubar", "event", "audit", "remove_player", "update_session"].contains(&call)
            || call.ends_with("_match")
            || call.ends_with("_browser")
    };
    let done = requests.iter().filter(|request| request.processed && request.outcome == Outcome::Answered);
    let named = done.filter_map(|request| {
        let call = request.call.filter(|call| through_the_outbox(call))?;
        let report = request.body.as_ref().and_then(|body| as_told(call, body));
        Some(report.map_or(call, |(what, _)| what).to_owned())
    });
    named.filter(|call| call != "audit").collect()
}

/// A player joins the session, as a game client would have it.
async fn join(stage: &Stage) {
    let address = stage.url.strip_prefix("http://").unwrap();
    let login = json!({"grant_type": "client_credentials"});
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{CLIENT}:{SECRET}"));
    let basic = format!("Basic {basic}");
    let line = "POST /users/v2/oauth/token";
    let (_, text) = socket::call_tcp(address, line, &[("authorization", &basic)], Some(&login)).await.unwrap();
    let token: Value = serde_json::from_str(&text).unwrap();
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let line = format!("POST /session/v1/session/{SESSION}/player/{PLAYER}");
    let player = json!({"team_id": 0});
    let (status, text) = socket::call_tcp(address, &line, &[("authorization", &bearer)], Some(&player)).await.unwrap();
    assert_eq!(status, 200, "{text}");
}

async fn serving(home: &Home, stage: &Stage) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent
}

async fn until_told(stage: &Stage, count: usize) {
    until(&format!("{count} calls"), async || (told(stage).len() >= count).then_some(())).await;
}

#[tokio::test]
async fn all_of_them_arrive_in_order_across_an_outage_and_a_kill() {
    if not_today("generations::today_matches_are_named_by_the_instance_and_a_drain_shows_unjoinable_before_closed") {
        return;
    }
    let stage = Stage::start().await;
    join(&stage).await;
    let home = Home::new(&stage).alone().with_quick_logins();
    let mut agent = serving(&home, &stage).await;
    accepted(&mut agent, "POST", "/v1/match", Some(json!({"match_id": "m-1", "custom_data": {"map": "canyon"}}))).await;
    until_told(&stage, 1).await;

    stage.outage(Outage::Refuse);
    accepted(&mut agent, "POST", "/v1/events", Some(json!({"event_code": "kick_off"}))).await;
    accepted(&mut agent, "POST", "/v1/browser", Some(json!({"custom_data": {"map": "canyon"}}))).await;
    let closed = json!({"custom_data": {"stage": "final"}, "joinable": false});
    accepted(&mut agent, "PATCH", "/v1/session", Some(closed)).await;
    agent.until("three that wait", |status| status["outbox"]["waiting"] == 3).await;
    agent.kill().await;

    let mut agent = home.start();
    accepted(&mut agent, "PATCH", "/v1/match", Some(json!({"match_id": "m-1", "custom_data": {"map": "harbour"}})))
        .await;
    accepted(&mut agent, "POST", "/v1/fubar", Some(json!({"error": "stuck"}))).await;
    let keyed = format!("/v1/players/{PLAYER}?key=kick-1");
    accepted(&mut agent, "DELETE", &keyed, None).await;
    accepted(&mut agent, "DELETE", &keyed, None).await;
    accepted(&mut agent, "PATCH", "/v1/browser", Some(json!({"custom_data": {"map": "harbour"}}))).await;
    assert_eq!(agent.status().await["outbox"]["waiting"], 7, "the same key is the same duty");
    stage.outage(Outage::None);
    until_told(&stage, 8).await;
    let session = stage.simulator.session(SESSION).unwrap();
    assert_eq!(
        (&session["match"]["match_id"], &session["match"]["custom_data"]["map"]),
        (&json!("m-1"), &json!("harbour"))
    );
    assert_eq!(session["browser"], json!({"custom_data": {"map": "harbour"}}));
    assert_eq!((&session["custom_data"], &session["joinable"]), (&json!({"stage": "final"}), &json!(false)));
    assert_eq!(session["teams"][0]["players"], json!([]));

    accepted(&mut agent, "DELETE", "/v1/browser", None).await;
    accepted(&mut agent, "DELETE", "/v1/match", None).await;
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    assert_eq!(agent.status().await["outbox"]["dead"], 0);
    let once_each_in_order = [
        "start_match",
        "event",
        "add_browser",
        "update_session",
        "update_match",
        "fubar",
        "remove_player",
        "update_browser",
        "delete_browser",
        "end_match",
    ];
    assert_eq!(told(&stage), once_each_in_order);
    let session = stage.simulator.session(SESSION).unwrap();
    assert!(session["match"].is_null() && session["browser"].is_null(), "{session}");
    agent.finish().await;
    assert_eq!(told(&stage).len(), once_each_in_order.len(), "nothing was listed any more");
}

#[tokio::test]
async fn a_beginning_that_nobody_answered_is_known_for_our_own_after_a_kill() {
    if not_today("generations::today_matches_are_named_by_the_instance_and_a_drain_shows_unjoinable_before_closed") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    stage.inject(Fault::Hang {}.on("start_match").processed(true).times(1));
    accepted(&mut agent, "POST", "/v1/match", Some(json!({"match_id": "m-1"}))).await;
    accepted(&mut agent, "DELETE", "/v1/match", None).await;
    stage.until_count("start_match", 1).await;
    agent.kill().await;
    // A backend that does not begin a match twice.
    let conflict = json!({"auth_success": true, "error_code": "match_exists", "desc": "There is a match"});
    let refused = Fault::Status { code: 409, body: Some(conflict), headers: Vec::new() };
    stage.inject(refused.on("start_match").times(1));
    let mut agent = serving(&home, &stage).await;
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    assert_eq!(agent.status().await["outbox"]["dead"], 0);
    assert_eq!((stage.count("start_match"), stage.count("end_match")), (2, 1));
    assert!(stage.simulator.session(SESSION).unwrap()["match"].is_null());
    agent.finish().await;
}

#[tokio::test]
async fn a_server_that_closes_is_listed_no_more() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    accepted(&mut agent, "POST", "/v1/browser", Some(json!({"custom_data": {"map": "canyon"}}))).await;
    // The next one leaves only once the disk knows of this one: the kill puts nothing of it in doubt.
    accepted(&mut agent, "POST", "/v1/events", Some(json!({"event_code": "listed"}))).await;
    until_told(&stage, 2).await;
    agent.kill().await;
    // Another process, and it knows all the same.
    let mut agent = serving(&home, &stage).await;
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.terminate();
    agent.until_phase("draining").await;
    stage.until_count("delete_browser", 1).await;
    let (status, refusal) = agent.call("POST", "/v1/browser", Some(json!({}))).await;
    assert_eq!((status, &refusal["error"]["code"]), (409, &json!("wrong_phase")));
    agent.finish().await;
    let listings: Vec<String> = told(&stage).into_iter().filter(|call| call.ends_with("_browser")).collect();
    assert_eq!(listings, ["add_browser", "delete_browser"]);
    assert!(stage.simulator.session(SESSION).unwrap()["browser"].is_null());
    let requests = stage.requests();
    let number = |call| requests.iter().find(|request| request.call == Some(call)).unwrap().number;
    assert!(number("delete_browser") < number("unregister"));
}

#[tokio::test]
async fn a_session_that_is_somebody_elses_by_now_is_told_nothing() {
    if not_today("generations::today_matches_are_named_by_the_instance_and_a_drain_shows_unjoinable_before_closed") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = serving(&home, &stage).await;
    stage.inject(Fault::status(503).on("start_match"));
    accepted(&mut agent, "POST", "/v1/match", Some(json!({"match_id": "m-1"}))).await;
    stage.until_count("start_match", 1).await;
    agent.kill().await;
    stage.simulator.clear_faults();
    stage.simulator.replace_instance(SESSION, Some("somebody-else")).unwrap();
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 76);
    assert_eq!((told(&stage), stage.count("start_match")), (vec![], 1));
}
