//! Faults: what the client sees, and what the ledger knows.

use rallyhere_agent::simulator::{Fault, FaultRule, Outcome, RequestRecord};

use super::*;

async fn health(stage: &Stage) -> reqwest::Result<Answer> {
    stage.ask(Method::POST, HEALTH, &json!({"instance_health": "healthy", "instance_id": "me"})).await
}

fn last(stage: &Stage, call: &str) -> RequestRecord {
    stage.simulator.read_ledger(|ledger| ledger.of(call).last().cloned().unwrap())
}

async fn with(rule: FaultRule) -> Stage {
    let stage = Stage::registered().await;
    stage.simulator.inject(vec![rule]).unwrap();
    stage
}

#[tokio::test]
async fn a_status_is_answered_in_place_of_the_call() {
    let fault = Fault::Status {
        code: 503,
        body: Some(json!({"error": "x"})),
        headers: vec![("Retry-After".into(), "7".into())],
    };
    let stage = with(fault.on("health").times(2)).await;
    for _ in 0..2 {
        let answer = health(&stage).await.unwrap();
        assert_eq!((answer.status, answer.json()), (503, json!({"error": "x"})));
        assert_eq!(answer.headers["retry-after"], "7");
        let seen = last(&stage, "health");
        assert_eq!((seen.processed, seen.fault, seen.status), (false, Some("status"), Some(503)));
    }
    assert_eq!(health(&stage).await.unwrap().status, 200, "the rule is spent");
    assert_eq!(stage.simulator.ledger().count("health"), 3);
    assert_eq!(stage.simulator.ledger().health.len(), 1);
}

#[tokio::test]
async fn a_call_may_be_carried_out_although_the_answer_is_an_error() {
    let stage = with(Fault::status(500).on("health").processed(true)).await;
    assert_eq!(health(&stage).await.unwrap().status, 500);
    assert!(last(&stage, "health").processed);
    assert_eq!(stage.simulator.ledger().health.len(), 1);
}

#[tokio::test]
async fn a_cut_gives_no_answer_and_only_the_ledger_knows_whether_it_was_processed() {
    for processed in [false, true] {
        let stage = with(Fault::Cut {}.on("health").times(1).processed(processed)).await;
        let error = health(&stage).await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        let seen = last(&stage, "health");
        assert_eq!((seen.processed, seen.outcome, seen.status), (processed, Outcome::Cut, None));
        assert_eq!(stage.simulator.ledger().health.len(), usize::from(processed));
        assert_eq!(health(&stage).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_body_may_end_too_early() {
    let stage = with(Fault::CutBody { after: 5 }.on("health").times(1)).await;
    let request = stage.http.post(format!("{}{HEALTH}", stage.base));
    let request = request.header("authorization", format!("Bearer {}", stage.token));
    let body = json!({"instance_health": "healthy", "instance_id": "me"}).to_string();
    let mut response = request.body(body).send().await.expect("the head comes");
    assert_eq!(response.status(), 200);
    assert_eq!(response.chunk().await.unwrap().unwrap().as_ref(), b"{\"upd");
    assert!(response.chunk().await.is_err(), "and then the connection ends");
    assert_eq!(last(&stage, "health").outcome, Outcome::Cut);
}

#[tokio::test]
async fn a_hanging_call_is_never_answered() {
    let stage = with(Fault::Hang {}.on("health").times(1)).await;
    let mut waiting = std::pin::pin!(health(&stage));
    let hanging =
        stage.until("a health post that hangs", |ledger| ledger.of("health").any(|seen| seen.fault.is_some()));
    tokio::select! {
        answered = &mut waiting => panic!("answered: {answered:?}"),
        () = hanging => {}
    }
    assert_eq!(health(&stage).await.unwrap().status, 200, "others go on beside it");
    let first = stage.simulator.read_ledger(|ledger| ledger.of("health").next().cloned().unwrap());
    assert_eq!((first.outcome, first.processed), (Outcome::Open, false));
}

#[tokio::test]
async fn a_delayed_call_is_answered_right_but_late() {
    let stage = with(Fault::Delay { ms: 300 }.on("health")).await;
    let begun = clock::now();
    assert_eq!(health(&stage).await.unwrap().json()["updated_instance_health"], "healthy");
    assert!(clock::now() - begun >= Duration::from_millis(300));
}

#[tokio::test]
async fn garbage_an_endless_body_and_a_slow_one_come_as_asked() {
    let garbage = Fault::Garbage { body: "<html>".into(), code: 200, content_type: "text/html".into() };
    let stage = with(garbage.on("health").times(1)).await;
    let answer = health(&stage).await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (200, "<html>"));
    assert_eq!(answer.headers["content-type"], "text/html");
    assert!(last(&stage, "health").processed);

    stage.simulator.inject(vec![Fault::Oversize { bytes: 100_000 }.on("health").times(1)]).unwrap();
    let answer = health(&stage).await.unwrap();
    assert!(answer.text.len() > 100_000);
    assert_eq!(answer.json()["updated_instance_health"], "healthy", "white space before it is still JSON");

    stage.simulator.inject(vec![Fault::SlowBody { chunk: 4, every_ms: 10 }.on("health").times(1)]).unwrap();
    let begun = clock::now();
    assert_eq!(health(&stage).await.unwrap().json()["updated_instance_health"], "healthy");
    assert!(clock::now() - begun >= Duration::from_millis(80), "37 bytes are ten parts");
}

#[tokio::test]
async fn a_redirect_points_elsewhere() {
    let stage = with(Fault::Redirect { location: "http://127.0.0.1:1/x".into(), code: 307 }.on("login")).await;
    let body = json!({"grant_type": "client_credentials"});
    let authorization = basic("a", "b");
    let answer = stage.send(Method::POST, "/users/v2/oauth/token", Some(&authorization), None, &body).await.unwrap();
    assert_eq!((answer.status, &answer.headers["location"]), (307, &"http://127.0.0.1:1/x".parse().unwrap()));
    assert_eq!(stage.simulator.ledger().logins.len(), 1, "only the stage's own");
    assert_eq!(stage.simulator.ledger().count("login"), 2);
}

#[tokio::test]
async fn what_was_wrong_with_a_request_is_known_although_a_fault_answered_it() {
    let stage = with(Fault::status(500).always()).await;
    let answer = stage.send(Method::POST, HEALTH, Some("Bearer x"), None, &json!({})).await.unwrap();
    assert_eq!(answer.status, 500);
    assert_eq!(last(&stage, "health").authorization, rallyhere_agent::simulator::Authorization::Unknown);
    stage.post(HEALTH, json!({"instance_id": 5})).await;
    let why = stage.simulator.ledger().rejections.back().unwrap().why.clone();
    assert_eq!(why.len(), 2, "{why:?}");
}
