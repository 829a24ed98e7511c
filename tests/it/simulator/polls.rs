//! The long poll: waiting, waking, cursors and their loss.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Instant;

use super::*;

fn encode(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

/// A poll on its way.
fn poll(stage: &Stage, query: &str) -> JoinSet<(Answer, Instant)> {
    let request = stage.http.get(format!("{}{POLL}?{query}", stage.base));
    let request = request.header("authorization", format!("Bearer {}", stage.token));
    let mut flying = JoinSet::new();
    flying.spawn(async move {
        let answer = read(request.send().await.unwrap()).await.unwrap();
        (answer, clock::now())
    });
    flying
}

async fn waiting(stage: &Stage) {
    stage
        .until("a poll that waits", |ledger| ledger.of("poll").any(|poll| poll.processed && poll.status.is_none()))
        .await;
}

async fn landed(mut flying: JoinSet<(Answer, Instant)>) -> (Answer, Instant) {
    flying.join_next().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_poll_waits_and_wakes_at_once_when_something_is_published() {
    let stage = Stage::plain().await;
    let flying = poll(&stage, "deadline=15");
    waiting(&stage).await;
    let published = clock::now();
    stage.simulator.publish("me", &[message("a"), message("b")]).unwrap();
    let (answer, landed) = landed(flying).await;
    assert_eq!((answer.status, messages(&answer)), (200, vec!["a".to_owned(), "b".to_owned()]));
    assert!(landed - published < Duration::from_secs(5), "long before the deadline");
}

#[tokio::test]
async fn a_poll_with_nothing_to_say_is_answered_at_its_deadline() {
    let stage = Stage::plain().await;
    let begun = clock::now();
    let (answer, at) = landed(poll(&stage, "deadline=1")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"notifications": []})));
    assert!(at - begun >= Duration::from_secs(1));
    let begun = clock::now();
    let (_, at) = landed(poll(&stage, "deadline=0")).await;
    assert!(at - begun < Duration::from_secs(1));
}

#[tokio::test]
async fn latest_loses_what_was_published_between_two_polls_and_earliest_does_not() {
    let stage = Stage::plain().await;
    stage.simulator.publish("me", &[message("before")]).unwrap();
    for query in ["deadline=0", "deadline=0&offset_reset_strategy=latest"] {
        assert_eq!(messages(&landed(poll(&stage, query)).await.0), Vec::<String>::new(), "{query}");
    }
    stage.simulator.publish("me", &[message("between")]).unwrap();
    assert_eq!(messages(&landed(poll(&stage, "deadline=0")).await.0), Vec::<String>::new());
    let earliest = landed(poll(&stage, "deadline=0&offset_reset_strategy=earliest")).await.0;
    assert_eq!(messages(&earliest), ["before", "between"]);

    let flying = poll(&stage, "deadline=15&offset_reset_strategy=latest");
    waiting(&stage).await;
    stage.simulator.publish("me", &[message("during")]).unwrap();
    assert_eq!(messages(&landed(flying).await.0), ["during"]);
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_stands_if_it_is_echoed_with_care() {
    let stage = Stage::plain().await;
    let ids = stage.simulator.publish("me", &[message("a"), message("b"), message("c")]).unwrap();
    let from =
        |cursor: &str| format!("deadline=0&offset_reset_strategy=earliest&max_page_size=2&exclude_before={cursor}");
    assert_eq!(messages(&landed(poll(&stage, &from(&encode(&ids[0])))).await.0), ["b", "c"]);
    assert_eq!(messages(&landed(poll(&stage, &from(&encode(&ids[2])))).await.0), Vec::<String>::new());
    assert_eq!(messages(&landed(poll(&stage, &from(""))).await.0), ["a", "b"], "a page of two");
    assert_eq!(messages(&landed(poll(&stage, &from(&ids[0]))).await.0), ["a", "b"], "a bare + is a space: another id");
}

#[tokio::test]
async fn a_trimmed_cursor_falls_back_to_the_strategy() {
    let stage = Stage::plain().await;
    let ids = stage.simulator.publish("me", &[message("a"), message("b"), message("c")]).unwrap();
    let trimmed = stage.control(Method::POST, "notifications/trim", json!({"instance_id": "me", "keep": 1})).await;
    assert_eq!(trimmed.status, 204);
    let from =
        |strategy: &str| format!("deadline=0&offset_reset_strategy={strategy}&exclude_before={}", encode(&ids[0]));
    assert_eq!(messages(&landed(poll(&stage, &from("earliest"))).await.0), ["c"]);
    assert_eq!(messages(&landed(poll(&stage, &from("latest"))).await.0), Vec::<String>::new());
    stage.simulator.keep_notifications(2);
    stage.simulator.publish("me", &[message("d"), message("e")]).unwrap();
    assert_eq!(messages(&landed(poll(&stage, &from("earliest"))).await.0), ["d", "e"]);
}

#[tokio::test]
async fn pages_go_backwards_and_single_ones_can_be_read() {
    let stage = Stage::plain().await;
    let body = json!({"notifications": [
        {"message": "a"}, {"message": "b", "rh_url": "session/v1/session/demo", "etag": "\"x\"", "custom_data": {"k": "v"}}
    ]});
    let last = stage.post(NOTIFICATIONS, body).await.json()["notification_id"].as_str().unwrap().to_owned();
    let page = stage.get(NOTIFICATIONS).await;
    assert_eq!(messages(&page), ["b", "a"]);
    let bearer = format!("Bearer {}", stage.token);
    let again =
        stage.send(Method::GET, NOTIFICATIONS, Some(&bearer), page.etag.as_deref(), &Value::Null).await.unwrap();
    assert_eq!(again.status, 304);
    let older = stage.get(&format!("{NOTIFICATIONS}?page_size=1&start_at={}", encode(&last))).await;
    assert_eq!(messages(&older), ["b"]);
    let one = stage.get(&format!("{NOTIFICATIONS}/{}", encode(&last))).await.json();
    assert_eq!((&one["rh_url"], &one["custom_data"]["k"]), (&json!("session/v1/session/demo"), &json!("v")));
    let none = stage.get(&format!("{NOTIFICATIONS}/nothing")).await;
    assert_eq!((none.status, none.code().as_str()), (404, "resource_not_found"));
    let bad = stage.get(&format!("/notification/v1/instance/{}/notification", "x".repeat(129))).await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "bad_id"));
}

#[tokio::test]
async fn a_poller_that_goes_away_is_noticed() {
    let stage = Stage::plain().await;
    let flying = poll(&stage, "deadline=900");
    waiting(&stage).await;
    drop(flying);
    stage
        .until("an abandoned poll", |ledger| {
            ledger.of("poll").any(|poll| poll.outcome == rallyhere_agent::simulator::Outcome::Abandoned)
        })
        .await;
}
