//! Dead letters: an operator lists them, puts one back, forgets one.

use rallyhere_agent::simulator::Fault;
use serde_json::{Value, json};

use crate::process::home::Home;
use crate::process::stage::Stage;

async fn listed(home: &Home) -> Value {
    let (code, text) = home.command(&["outbox", "--json"]).await;
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_listed_put_back_and_delivered_and_another_is_forgotten() {
    let stage = Stage::start().await;
    stage.inject(Fault::status(418).on("fubar").times(2));
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    for error in ["crash", "stuck"] {
        agent.post("/v1/fubar", json!({"error": error})).await;
    }
    agent.until("two dead letters", |status| status["outbox"]["dead"] == 2).await;
    let outbox = listed(&home).await;
    assert_eq!((&outbox["waiting_total"], &outbox["waiting"]), (&json!(0), &json!([])));
    let labels: Vec<_> =
        outbox["dead"].as_array().unwrap().iter().map(|dead| (&dead["kind"], &dead["label"])).collect();
    assert_eq!(labels, [(&json!("fubar"), &json!("crash")), (&json!("fubar"), &json!("stuck"))]);
    assert!(outbox["dead"][0]["reason"].as_str().unwrap().contains("418"), "{outbox}");

    let (_, text) = home.command(&["outbox"]).await;
    assert!(text.contains("fubar crash, accepted ") && text.ends_with("0 waiting, 2 dead\n"), "{text}");

    let id = |at: usize| outbox["dead"][at]["report_id"].as_str().unwrap();
    let (code, text) = home.command(&["outbox", "retry", id(0)]).await;
    assert_eq!(code, 0, "{text}");
    agent
        .until("one dead letter, none waits", |status| {
            status["outbox"]["dead"] == 1 && status["outbox"]["waiting"] == 0
        })
        .await;
    stage.until_count("fubar", 3).await;
    let (code, text) = home.command(&["outbox", "drop", id(1)]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(listed(&home).await["dead"], json!([]));
    let (code, text) = home.command(&["outbox", "retry", id(1)]).await;
    assert!(code == 1 && text.contains("unknown_report"), "{code} {text}");
    for body in [json!({}), json!({"report_id": id(1), "force": true}), json!({"report_id": 3})] {
        let (status, answer) = agent.call("POST", "/v1/outbox/drop", Some(body)).await;
        assert!([400, 422].contains(&status), "{status} {answer}");
    }
    agent.finish().await;
}
