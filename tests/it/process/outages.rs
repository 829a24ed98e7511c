//! A backend that is away, slow, strange or out of its mind. None of it ends the agent or a match.

use std::io::ErrorKind;

use rallyhere_agent::simulator::{Fault, Outage, Outcome};
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::{Reports as _, is_new, way};
use super::home::Home;
use super::stage::{SESSION, Stage};

/// What every life here must come to, whatever was in its way: it serves, it beats, its report arrives, it ends well.
async fn comes_through(stage: &Stage, mut agent: Agent) {
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    stage.until("the report", |ledger| !ledger.fubars_told().is_empty()).await;
    stage.until_beats(2).await;
    agent.finish().await;
    assert!(stage.instance(SESSION).is_null());
}

#[tokio::test]
async fn a_backend_that_is_not_there_at_the_start_is_waited_for() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let home = Home::new(&stage).alone().with_quick_logins();
    let mut agent = home.start();
    // The game finds its agent all the same, and what it reports is safe.
    let report = agent.post("/v1/fubar", json!({"error": "early"})).await;
    assert!(report["report_id"].is_string());
    stage.until("a try", |ledger| ledger.refused_connections > 0).await;
    let status = agent.status().await;
    assert_eq!((&status["phase"], &status["outbox"]["waiting"]), (&json!("resolving"), &json!(1)));
    assert_eq!((&status["store"]["state"], &status["auth"]["state"]), (&json!("ok"), &json!("none")));
    assert!(status["auth"]["detail"].is_string() && status["auth"]["retry_at"].is_string(), "{}", status["auth"]);
    stage.outage(Outage::None);
    comes_through(&stage, agent).await;
    assert_eq!((stage.count("register"), stage.logins()), (1, 1));
    let errors = stage.simulator.read_ledger(|ledger| {
        ledger.fubars_told().iter().map(|report| report.body["error"].clone()).collect::<Vec<_>>()
    });
    assert_eq!(errors, ["early", "stuck"]);
}

#[tokio::test]
async fn an_outage_never_closes_a_match() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    for outage in [Outage::Unavailable, Outage::Refuse] {
        let failed = agent.status().await["counters"]["health_failed"].as_u64().unwrap();
        stage.outage(outage);
        let more = |status: &Value| status["counters"]["health_failed"].as_u64() > Some(failed);
        assert_eq!(agent.until("a failed health post", more).await["phase"], "serving");
        stage.outage(Outage::None);
        stage.until_beats(1).await;
    }
    assert_eq!(stage.instance(SESSION)["join_status"], "joinable");
    assert_eq!((stage.count("register"), stage.logins()), (1, 1));
    agent.finish().await;
}

#[tokio::test]
async fn a_404_on_health_is_a_reason_to_look_and_no_more() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.inject(Fault::status(404).on("health").times(1));
    stage.until("a 404", |ledger| ledger.of("health").any(|post| post.status == Some(404))).await;
    let missed = stage.requests().into_iter().find(|request| request.status == Some(404)).unwrap();
    stage.until("a look", |ledger| ledger.of("read_session").any(|read| read.number > missed.number)).await;
    let look = stage.requests().into_iter().find(|r| r.call == Some("read_session") && r.number > missed.number);
    let waited = look.unwrap().at_ms - missed.ended_ms.unwrap();
    assert!(waited <= 1100, "{waited} ms: at once, and not more often than once a second");
    stage.until_beats(1).await;
    assert_eq!(agent.status().await["phase"], "serving");
    agent.stop().await;
}

/// A 404 on health makes it look, and the look meets something that says nothing about the session.
async fn a_look_meets(fault: Fault) {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.inject(fault.on("read_session").times(1));
    stage.inject(Fault::status(404).on("health").times(1));
    stage.until("a look", |ledger| ledger.of("read_session").any(|read| read.fault.is_some())).await;
    stage.until_beats(1).await;
    assert_eq!(agent.status().await["phase"], "serving");
    assert_eq!((stage.count("register"), stage.count("unregister")), (1, 0));
    agent.kill().await;
}

#[tokio::test]
async fn a_look_that_meets_an_outage_decides_nothing() {
    let page_of_a_proxy =
        Fault::Garbage { body: "<html>404</html>".to_owned(), code: 404, content_type: "text/html".to_owned() };
    tokio::join!(a_look_meets(Fault::status(503)), a_look_meets(page_of_a_proxy), a_look_meets(Fault::Cut {}));
}

/// Asserts that a call stayed away for so long after its 429.
#[track_caller]
fn assert_patience(stage: &Stage, call: &str, seconds: u32) {
    let requests: Vec<_> = stage.requests().into_iter().filter(|request| request.call == Some(way(call))).collect();
    let at = requests.iter().position(|request| request.status == Some(429)).unwrap();
    let waited = requests[at + 1].at_ms - requests[at].ended_ms.unwrap();
    assert!(waited >= u64::from(seconds) * 1000, "{call} came again after {waited} ms");
}

#[tokio::test]
async fn retry_after_is_honoured_on_the_way_up() {
    let stage = Stage::start().await;
    let calls = ["login", "read_session", "register"];
    calls.iter().for_each(|call| stage.throttle(call, 1));
    let home = Home::new(&stage).alone().with_quick_logins();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    calls.iter().for_each(|call| assert_patience(&stage, call, 1));
    agent.stop().await;
}

#[tokio::test]
async fn retry_after_is_honoured_while_serving() {
    let stage = Stage::start().await;
    let calls = [("health", 2), ("update", 1), ("fubar", 1)];
    calls.iter().for_each(|(call, seconds)| stage.throttle(call, *seconds));
    let home = Home::new(&stage).alone();
    let mut agent = home.start();
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    stage.until("the report", |ledger| !ledger.fubars_told().is_empty()).await;
    stage.until_status(SESSION, "joinable").await;
    stage.until_beats(1).await;
    calls.iter().for_each(|(call, seconds)| assert_patience(&stage, call, *seconds));
    agent.finish().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let stage = Stage::start().await;
    let calls = ["login", "read_session", "register", "update", "health_config", "health", "poll", "fubar"];
    // There is no poll today that could be redirected.
    let calls: Vec<&str> = calls.into_iter().filter(|call| !is_new() || *call != "poll").collect();
    for (call, code) in calls.iter().zip([307, 308, 307, 302, 301, 307, 308, 307]) {
        let location = format!("http://{}/users/v2/oauth/token", elsewhere.local_addr().unwrap());
        stage.inject(Fault::Redirect { location, code }.on(call).times(1));
    }
    let home = Home::new(&stage).alone().with_quick_logins().set("health.default_cadence", "1s");
    let agent = home.start();
    comes_through(&stage, agent).await;
    for call in calls {
        let redirected =
            stage.simulator.read_ledger(|ledger| ledger.of(way(call)).any(|r| r.fault == Some("redirect")));
        assert!(redirected, "{call} met no redirect: this proves nothing");
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody came");
}

/// What a backend, or a proxy before it, may say instead of an answer.
fn nonsense(kind: usize) -> Fault {
    let garbage =
        |body: &str| Fault::Garbage { body: body.to_owned(), code: 200, content_type: "application/json".to_owned() };
    match kind % 10 {
        0 => garbage("not JSON"),
        1 => garbage(""),
        2 => garbage("[]"),
        3 => garbage("null"),
        4 => garbage(&"[".repeat(100_000)),
        5 => garbage(
            r#"{"access_token": 7, "session_id": [], "instance": "x", "instance_id": {}, "cadence_seconds": "soon",
                "updated_instance_health": 1e999, "notifications": {"a": 1}, "join_status": null}"#,
        ),
        6 => Fault::Garbage { body: "<html>".to_owned(), code: 502, content_type: "text/html".to_owned() },
        7 => Fault::CutBody { after: 5 },
        8 => Fault::Oversize { bytes: 20 << 20 },
        _ => Fault::Cut {},
    }
}

/// Every call meets some nonsense once; which, is another one for each turn.
async fn every_call_meets_nonsense(turn: usize) {
    let stage = Stage::start().await;
    let calls =
        ["login", "read_session", "register", "update", "health_config", "health", "poll", "fubar", "unregister"];
    // There is no poll today that could meet any.
    let calls: Vec<&str> = calls.into_iter().filter(|call| !is_new() || *call != "poll").collect();
    for (place, call) in calls.iter().enumerate() {
        stage.inject(nonsense(place + 3 * turn).on(call).times(1));
    }
    let home = Home::new(&stage).alone().with_quick_logins().set("health.default_cadence", "1s");
    let agent = home.start();
    comes_through(&stage, agent).await;
    for call in calls {
        let struck = stage.simulator.read_ledger(|ledger| ledger.of(way(call)).any(|r| r.fault.is_some()));
        assert!(struck, "{call} met nothing: this proves nothing");
    }
}

#[tokio::test]
async fn nonsense_on_every_call_ends_nothing() {
    tokio::join!(every_call_meets_nonsense(0), every_call_meets_nonsense(1), every_call_meets_nonsense(2));
}

#[tokio::test]
async fn calls_that_hang_hold_nobody_else() {
    let stage = Stage::start().await;
    // There is no poll today that could hang.
    let calls = ["poll", "fubar", "health_config"];
    let calls: Vec<&str> = calls.into_iter().filter(|call| !is_new() || *call != "poll").collect();
    for call in &calls {
        stage.inject(Fault::Hang {}.on(call).times(1));
    }
    let home = Home::new(&stage).alone().set("health.default_cadence", "1s");
    let mut agent = home.start();
    agent.post("/v1/fubar", json!({"error": "stuck"})).await;
    let hung = |ledger: &rallyhere_agent::simulator::Ledger| {
        ledger.requests.iter().filter(|r| r.fault == Some("hang") && r.outcome == Outcome::Open).count() == calls.len()
    };
    stage.until("the calls that hang", &hung).await;
    stage.until_status(SESSION, "joinable").await;
    stage.until_beats(2).await;
    stage.until("no answer yet", &hung).await;
    // An end in good order would wait for the report.
    agent.kill().await;
}
