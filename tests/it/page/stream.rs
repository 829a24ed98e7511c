//! What the page is told.

use serde_json::json;

use super::{Events, MESSAGE, REASON, eventful, home, serving};
use crate::process::generations::not_today;
use crate::process::stage::Stage;

#[tokio::test]
async fn it_is_told_the_present_and_the_near_past_at_once() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let stage = Stage::start().await;
    let (agent, address) = eventful(&stage, &home(&stage)).await;
    let mut events = Events::open(&address).await;
    let event = events.next().await;
    assert_eq!(event["version"], env!("CARGO_PKG_VERSION"));
    assert!(event["now"].is_string(), "{event}");
    let instance = &event["instances"][0];
    assert_eq!((&instance["name"], &instance["phase"]), (&json!("default"), &json!("serving")), "{instance}");
    assert_eq!(instance["health"]["verdict"], "degraded");
    assert!(instance["health"]["reason"].as_str().unwrap().contains(REASON), "{instance}");
    let history = &instance["history"];
    let posts = history["health"].as_array().unwrap();
    assert!(posts.iter().any(|post| post["sent"] == "degraded" && post["answered"] == "degraded"), "{history}");
    let notifications = history["notifications"].as_array().unwrap();
    assert_eq!(notifications.len(), 2, "{history}");
    assert_eq!((&notifications[0]["by"], &notifications[1]["by"]), (&json!("api"), &json!(null)), "{history}");
    assert!(notifications[0]["taken"].is_string() && notifications[1]["taken"].is_null(), "{history}");
    assert_eq!(notifications[1]["message"], MESSAGE);
    let phases = history["phases"].as_array().unwrap();
    assert_eq!(phases.last().unwrap()["phase"], "serving");
    let dead = &history["dead"][0];
    assert_eq!((&dead["what"], &dead["label"]), (&json!("fubar"), &json!("physics_stuck")), "{dead}");
    assert!(!dead["why"].as_str().unwrap().is_empty());
    agent.finish().await;
}

#[tokio::test]
async fn it_is_told_of_changes_and_of_the_end() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let stage = Stage::start().await;
    let (mut agent, address) = serving(&home(&stage)).await;
    let (mut events, mut others) = (Events::open(&address).await, Events::open(&address).await);
    events.next().await;
    agent.post("/v1/health", json!({"status": "degraded", "reason": REASON})).await;
    for events in [&mut events, &mut others] {
        events.until_shows(|instance| instance["health"]["verdict"] == "degraded").await;
    }
    let id = stage.notify("one");
    events.until_shows(|instance| instance["history"]["notifications"][0]["taken"].is_null()).await;
    agent.post("/v1/notifications/ack", json!({"notification_id": id})).await;
    events.until_shows(|instance| instance["history"]["notifications"][0]["by"] == "api").await;
    // A reader that is still there holds nobody.
    agent.finish().await;
}

#[tokio::test]
async fn who_was_pushed_a_notification_is_named() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let stage = Stage::start().await;
    let (agent, address) = serving(&home(&stage).set("notifications.deliver", "log")).await;
    let mut events = Events::open(&address).await;
    stage.notify("one");
    events.until_shows(|instance| instance["history"]["notifications"][0]["by"] == "log").await;
    agent.stop().await;
}

#[tokio::test]
async fn events_are_no_closer_than_a_quarter_of_a_second() {
    if not_today("2023-11: what the page shows of a notification, it shows of every one") {
        return;
    }
    let stage = Stage::start().await;
    let (mut agent, address) = serving(&home(&stage)).await;
    let mut events = Events::open(&address).await;
    let mut last = events.next().await["now"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for turn in 0..6 {
        agent.post("/v1/health", json!({"status": "degraded", "reason": format!("turn {turn}")})).await;
        let now = events.next().await["now"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(now.duration_since(last).as_millis() >= 240, "{last} {now}");
        last = now;
    }
    agent.finish().await;
}
