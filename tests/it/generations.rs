//! Tests: generations. The real program against environments that have lost calls since 2023-11, learning so by itself, whatever
//! generation the other tests of this run have. They stand for the tests that need what is gone (`not_today` names them).

use rallyhere_agent::simulator::{Fault, FaultRule, Generation, Match, Options, Outage};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::hand_off::until_lines;
use crate::process::agent::Agent;
use crate::process::generations::Reports as _;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage, options, until};

async fn stage(api: Generation) -> Stage {
    Stage::with(Options { api, ..options() }).await
}

fn home(stage: &Stage) -> Home {
    Home::new(stage).alone().set("notifications.session_interval", "1s")
}

async fn serving(stage: &Stage, home: &Home) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent
}

/// Waits until the status shows that these calls are gone, and no others.
async fn until_gone(agent: &mut Agent, calls: &[&str]) -> Value {
    let wanted = json!(calls);
    let what = format!("{wanted} to be gone");
    agent.until(&what, |status| words(&status["api"]["gone"], "call") == wanted).await
}

fn words(list: &Value, name: &str) -> Value {
    list.as_array().into_iter().flatten().map(|entry| entry[name].clone()).collect()
}

fn news(stage: &Stage, words: &str) {
    stage.simulator.change_session(SESSION, &json!({"news": words})).unwrap();
}

async fn until_inbox(agent: &mut Agent, count: usize) -> Vec<Value> {
    agent.until(&format!("{count} in the inbox"), |status| status["notifications"]["inbox"] == count).await;
    agent.get("/v1/notifications").await["notifications"].as_array().unwrap().clone()
}

#[tokio::test]
async fn today_a_change_of_the_session_is_a_notification_in_order_until_it_is_acknowledged() {
    let stage = stage(Generation::V2026_08).await;
    let home = home(&stage);
    let mut agent = serving(&stage, &home).await;
    let status = until_gone(&mut agent, &["notifications"]).await;
    assert_eq!((&status["api"]["configured"], &status["api"]["generation"]), (&json!("auto"), &json!("2026-08")));
    assert!(status["api"]["gone"][0]["until"].is_string(), "{status}");
    assert_eq!(status["notifications"]["state"], "unsupported");
    for count in 1..=3 {
        news(&stage, &format!("number {count}"));
        until_inbox(&mut agent, count).await;
    }
    let first = until_inbox(&mut agent, 3).await;
    assert!(
        first
            .iter()
            .all(|one| one["message"] == "session_changed" && one["custom_data"]["source"] == "rallyhere-agent")
    );
    assert_eq!(first[0]["rh_url"], format!("session/v1/session/{SESSION}"));
    assert!(first[0]["etag"].is_string() && first[0]["etag"] != first[1]["etag"], "{first:?}");
    assert_eq!(agent.get("/v1/session").await["custom_data"]["news"], "number 3");
    agent.post("/v1/notifications/ack", json!({"notification_id": first[0]["notification_id"]})).await;
    agent.kill().await;

    // What waits is kept under the same ids, what happened meanwhile is noticed, and nothing is asked that is known to be gone.
    news(&stage, "while it was away");
    let polls = stage.count("poll");
    let mut agent = serving(&stage, &home).await;
    let again = until_inbox(&mut agent, 3).await;
    assert_eq!(again[..2], first[1..]);
    assert_eq!(stage.count("poll"), polls);
    agent.until_says("the session is polled for changes instead").await;

    // What the agent itself writes is no news.
    let (status, refusal) = agent.call("PATCH", "/v1/instance", Some(json!({"custom_data": {"k": "v"}}))).await;
    assert_eq!(status, 200, "{refusal}");
    until("our own change", async || (stage.instance(SESSION)["custom_data"]["k"] == "v").then_some(())).await;
    stage.until_beats(3).await;
    assert_eq!(until_inbox(&mut agent, 3).await, again);
    agent.finish().await;
}

#[tokio::test]
async fn today_a_hook_gets_the_changes() {
    let stage = stage(Generation::V2026_08).await;
    let home = home(&stage);
    let hook = home.path("hook");
    std::fs::write(&hook, format!("cat >> '{}'\n", home.path("home/got").display())).unwrap();
    let command = vec!["/bin/sh".into(), toml::Value::from(hook.display().to_string())];
    let home = home.set("notifications.deliver", "exec").set("notifications.exec", command);
    let mut agent = serving(&stage, &home).await;
    until_gone(&mut agent, &["notifications"]).await;
    news(&stage, "for the hook");
    let got = until_lines(&home.path("home/got"), 1).await;
    let got: Value = serde_json::from_str(&got[0]).unwrap();
    assert_eq!(got["message"], "session_changed");
    agent.until("all is taken", |status| status["counters"]["notifications_acknowledged"] == 1).await;
    agent.finish().await;
}

/// Reports and events, through an outage and a kill.
async fn reports_arrive(api: Generation, gone: &[&str]) -> Stage {
    let stage = stage(api).await;
    let home = home(&stage).with_quick_logins();
    let mut agent = serving(&stage, &home).await;
    agent.post("/v1/fubar", json!({"error": "one"})).await;
    stage.until("the first", |ledger| ledger.fubars_told().len() == 1).await;
    until_gone(&mut agent, gone).await;
    stage.outage(Outage::Refuse);
    let event = json!({"event_code": "two", "description": "words", "custom_data": {"round": "2"}});
    agent.post("/v1/events", event).await;
    agent.post("/v1/fubar", json!({"error": "three", "key": "k"})).await;
    agent.kill().await;
    let mut agent = home.start();
    agent.post("/v1/fubar", json!({"error": "three", "key": "k"})).await;
    stage.outage(Outage::None);
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0 && status["phase"] == "serving").await;
    let ledger = stage.simulator.ledger();
    let errors: Vec<Value> = ledger.fubars_told().iter().map(|report| report.body["error"].clone()).collect();
    assert_eq!(errors, ["one", "three"]);
    let event = &ledger.events_told()[0].body;
    assert_eq!((&event["event_code"], &event["description"]), (&json!("two"), &json!("words")));
    assert_eq!(event["custom_data"]["round"], "2");
    assert!(event["custom_data"]["report_id"].is_string() && event["timestamp"].is_string(), "{event}");
    assert_eq!(agent.status().await["outbox"]["dead"], 0);
    stage.until_beats(2).await;
    agent.finish().await;
    stage
}

#[tokio::test]
async fn today_reports_and_events_are_audit_events_and_none_is_lost_or_doubled() {
    let stage = reports_arrive(Generation::V2026_08, &["notifications"]).await;
    let audits = stage.simulator.ledger().audits;
    assert_eq!(audits.len(), 3);
    assert_eq!(audits[0].body["event_name"], "instance_fubar");
    assert_eq!(
        (&audits[0].body["instance_health"], &audits[0].body["session_id"]),
        (&json!("healthy"), &json!(SESSION))
    );
    assert_eq!((stage.count("register"), stage.logins()), (1, 1), "a token outlives the kill");
}

#[tokio::test]
async fn between_reports_are_session_events_and_the_notifications_still_come() {
    let stage = reports_arrive(Generation::Between, &["fubar"]).await;
    let fubars = stage.simulator.read_ledger(|ledger| ledger.of("fubar").count());
    assert_eq!(fubars, 2, "two that were answered with a bare 404, and none after the restart");
    let mut agent = serving_again(&stage).await;
    let written = stage.simulator.publish_to_session(SESSION, &[json!({"message": "hello"})]).unwrap();
    let inbox = until_inbox(&mut agent, 1).await;
    assert_eq!((&inbox[0]["message"], &inbox[0]["notification_id"]), (&json!("hello"), &json!(written[0])));
    assert_eq!(agent.status().await["notifications"]["state"], "polling");
    agent.finish().await;
}

/// Another machine.
async fn serving_again(stage: &Stage) -> Agent {
    serving(stage, &home(stage)).await
}

#[tokio::test]
async fn today_matches_are_named_by_the_instance_and_a_drain_shows_unjoinable_before_closed() {
    let stage = stage(Generation::V2026_08).await;
    let home = home(&stage).set("instance.host_type", "preallocated");
    let mut agent = serving(&stage, &home).await;
    until_gone(&mut agent, &["notifications"]).await;
    agent.post("/v1/match", json!({"match_id": "m-1"})).await;
    let dead = agent.until("a dead letter", |status| status["outbox"]["dead"] == 1).await;
    assert_eq!(words(&dead["api"]["gone"], "call"), json!(["notifications", "match"]));
    let (status, refusal) = agent.call("POST", "/v1/match", Some(json!({"match_id": "m-1"}))).await;
    assert_eq!((status, &refusal["error"]["code"]), (410, &json!("gone")), "{refusal}");
    agent.call("PATCH", "/v1/instance", Some(json!({"match_id": "m-1"}))).await;
    until("the match", async || (stage.instance(SESSION)["match_id"] == "m-1").then_some(())).await;
    assert_eq!(stage.instance(SESSION)["host_type"], "preallocated");
    assert_eq!(agent.status().await["instance"]["match_id"], "m-1");

    // A game that is connected is waited for.
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.terminate();
    agent.until_phase("draining").await;
    until("unjoinable", async || (stage.instance(SESSION)["join_status"] == "unjoinable").then_some(())).await;
    stage.until_beats(1).await;
    agent.post("/v1/shutdown", json!({})).await;
    assert_eq!(agent.exit_code().await, 0);
    let sent = stage.simulator.read_ledger(|ledger| {
        ledger.of("update").filter_map(|update| Some(update.body.as_ref()?["join_status"].clone())).collect::<Vec<_>>()
    });
    assert_eq!(sent[sent.len() - 2..], ["unjoinable", "closed"], "{sent:?}");
    let beats: Vec<String> =
        stage.requests().into_iter().filter(|r| r.call == Some("health")).map(|r| r.query).collect();
    assert!(beats.iter().any(|query| query == "refresh_ttl=true"), "{beats:?}");
}

#[tokio::test]
async fn a_configured_generation_is_taken_at_its_word() {
    let stage = stage(Generation::V2026_08).await;
    let home = home(&stage).set("environment.api", "2026-08");
    let mut agent = serving(&stage, &home).await;
    agent.post("/v1/fubar", json!({"error": "one"})).await;
    stage.until("the report", |ledger| ledger.audits.len() == 1).await;
    news(&stage, "hello");
    until_inbox(&mut agent, 1).await;
    let status = until_gone(&mut agent, &["notifications", "fubar", "event", "match"]).await;
    assert!(status["api"]["gone"][0]["until"].is_null(), "{status}");
    let lost = stage.requests().into_iter().filter(|request| request.status == Some(404)).count();
    assert_eq!(lost, 0, "nothing that is gone is asked");
    agent.finish().await;
}

#[tokio::test]
async fn a_login_that_only_v1_takes_works_today() {
    let stage = stage(Generation::V2026_08).await;
    let matching = Match { path_contains: Some("/oauth/token".to_owned()), ..Match::default() };
    stage.inject(FaultRule { matching, ..Fault::status(404).on("login") });
    let home = home(&stage).with_quick_logins();
    let agent = serving(&stage, &home).await;
    let grants =
        stage.simulator.read_ledger(|ledger| ledger.logins.iter().map(|login| login.grant.clone()).collect::<Vec<_>>());
    assert_eq!(grants, [Some("client_credentials".to_owned())]);
    agent.finish().await;
}

#[tokio::test]
async fn losing_everything_at_once_while_it_serves_costs_no_beat_and_comes_back() {
    let stage = stage(Generation::V2023_11).await;
    let home = home(&stage);
    let mut agent = serving(&stage, &home).await;
    // It waits, and ends with a message.
    stage.until_count("poll", 1).await;
    for call in ["poll", "fubar", "event", "start_match"] {
        let gone = Fault::Status { code: 410, body: None, headers: Vec::new() };
        stage.simulator.inject(vec![gone.on(call)]).unwrap();
    }
    stage.notify_stream("the last one");
    until_inbox(&mut agent, 1).await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    // Where the notifications went, the newer ways are tried first; this environment has none of them.
    until_gone(&mut agent, &["notifications", "fubar", "event", "audit", "refresh_ttl"]).await;
    stage.until_beats(3).await;
    let beats: Vec<u64> = stage.simulator.read_ledger(|ledger| ledger.health.iter().map(|beat| beat.at_ms).collect());
    let worst = beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    assert!(worst <= 1500, "{worst} ms without a health post");
    stage.simulator.clear_faults();
    agent.signal(Signal::HUP);
    stage.until("the report", |ledger| ledger.fubars.len() == 1).await;
    stage.notify_stream("back again");
    until_inbox(&mut agent, 2).await;
    until_gone(&mut agent, &["event", "audit", "refresh_ttl"]).await;
    agent.finish().await;
    // There is no such environment: words of today were tried and refused, once each.
    assert!(stage.simulator.ledger().rejections.len() <= 2, "{:?}", stage.simulator.ledger().rejections);
    stage.simulator.clear_ledger();
}
