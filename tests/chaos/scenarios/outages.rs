//! The backend is away, slow, or strange for everybody.

use std::net::TcpListener;
use std::time::Duration;

use rallyhere_agent::simulator::{Fault, Outage};
use serde_json::json;

use super::{CALLS, Scenario};
use crate::ills::{End, Gate, Ill, Step};
use crate::run::{Plan, Run};
use crate::timeline::What;

const WHILE: Duration = Duration::from_secs(25);

pub(super) fn scenarios() -> Vec<Scenario> {
    let plan = Plan::default;
    // Nothing to hear and nothing to say: what is sent then is the agent's own doing.
    let idle = || Plan { publish: None, report: None, ..Plan::default() };
    vec![
        Scenario::new("outage refused", plan(), |run| Box::pin(refused(run, WHILE))).quick(),
        Scenario::new("outage refused idle", idle(), |run| Box::pin(refused(run, WHILE))).quick(),
        Scenario::new("outage refused for two minutes", plan(), |run| Box::pin(refused(run, 5 * WHILE))),
        Scenario::new("outage 503", plan(), |run| Box::pin(unavailable(run))).quick(),
        Scenario::new("outage 503 idle", idle(), |run| Box::pin(unavailable(run))),
        Scenario::new("outage 503 with retry-after", plan(), |run| Box::pin(retry_after(run))).quick(),
        Scenario::new("outage black hole", plan(), |run| Box::pin(black_hole(run))).quick(),
        Scenario::new("outage black hole idle", idle(), |run| Box::pin(black_hole(run))),
        Scenario::new("blips", plan(), |run| Box::pin(blips(run))).quick(),
        Scenario::new("errors on every second call", plan(), |run| Box::pin(every_second(run))),
        Scenario::new("dead tokens", plan(), |run| Box::pin(dead_tokens(run))).quick(),
        Scenario::new("redirects", plan(), |run| Box::pin(redirects(run))).quick(),
        Scenario::new("slow bodies", plan(), |run| Box::pin(slow_bodies(run))).quick(),
        Scenario::new("slow heads", Plan { tls: true, ..plan() }, |run| Box::pin(slow_heads(run))),
        Scenario::new("late answers", plan(), |run| Box::pin(late_answers(run))),
        Scenario::new("oversize answers", plan(), |run| Box::pin(oversize(run))).quick(),
        Scenario::new("a poll that hangs holds nobody else", plan(), |run| Box::pin(hung_poll(run))).quick(),
    ]
}

async fn refused(run: &mut Run, time: Duration) {
    run.serve().await;
    run.pass(Duration::from_secs(5)).await;
    run.outage("every connection refused");
    run.simulator.set_outage(Outage::Refuse);
    run.pass(time).await;
    run.simulator.set_outage(Outage::None);
    run.calm();
    run.recover().await;
    run.stop().await;
}

async fn unavailable(run: &mut Run) {
    run.serve().await;
    run.pass(Duration::from_secs(5)).await;
    run.outage("503 for everything");
    run.simulator.set_outage(Outage::Unavailable);
    run.pass(WHILE).await;
    run.kill_and_start();
    run.pass(Duration::from_secs(5)).await;
    run.simulator.set_outage(Outage::None);
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// Nobody comes before the time is over.
async fn retry_after(run: &mut Run) {
    const PATIENCE_MS: u64 = 8000;
    run.serve().await;
    run.outage("503 with Retry-After: 8");
    let asked = run.recorder.now_ms();
    let headers = vec![("retry-after".to_owned(), "8".to_owned())];
    run.simulator.inject(vec![Fault::Status { code: 503, body: None, headers }.always()]).unwrap();
    run.pass(Duration::from_secs(20)).await;
    run.simulator.clear_faults();
    // What was asked last is still waited for.
    run.pass(Duration::from_millis(PATIENCE_MS + 1000)).await;
    run.calm();
    let told = run.simulator.ledger();
    for call in ["health", "poll", "fubar"] {
        let times: Vec<u64> =
            told.of(call).filter(|request| request.status == Some(503)).map(|request| request.at_ms).collect();
        for pair in times.windows(2).filter(|pair| pair[0] >= asked && pair[1] - pair[0] < PATIENCE_MS) {
            run.note(What::Broken {
                words: format!("{call} came again after {} ms, asked for 8 s", pair[1] - pair[0]),
            });
        }
        run.note(What::Note { words: format!("{} x {call}", times.len()) });
    }
    run.recover().await;
    run.stop().await;
}

async fn black_hole(run: &mut Run) {
    run.serve().await;
    run.pass(Duration::from_secs(5)).await;
    // What was on its way when it began may have arrived, and the answer not.
    run.blind("a black hole");
    run.ills.set_gate(Gate::BlackHole);
    run.pass(WHILE).await;
    run.ills.set_gate(Gate::Open);
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// Every connection at once, for two seconds, again and again.
async fn blips(run: &mut Run) {
    run.serve().await;
    for _ in 0..3 {
        run.pass(Duration::from_secs(6)).await;
        run.outage("a blip of 2 s");
        run.simulator.set_outage(Outage::Refuse);
        run.pass(Duration::from_secs(2)).await;
        run.simulator.set_outage(Outage::None);
        run.calm();
        run.until_beats(1).await;
    }
    run.recover().await;
    run.stop().await;
}

async fn every_second(run: &mut Run) {
    run.serve().await;
    run.outage("every second call fails");
    for _ in 0..60 {
        run.simulator.clear_faults();
        let codes = [500, 502, 504, 408, 425, 429];
        let rules = codes
            .iter()
            .flat_map(|code| ["health", "poll", "fubar"].map(|call| Fault::status(*code).on(call).times(1)));
        run.simulator.inject(rules.collect()).unwrap();
        run.pass(Duration::from_millis(350)).await;
        run.simulator.clear_faults();
        run.pass(Duration::from_millis(350)).await;
    }
    run.simulator.clear_faults();
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// All tokens die at once, in the middle of a poll. One login for each time, and no health post is missing.
async fn dead_tokens(run: &mut Run) {
    run.serve().await;
    for _ in 0..3 {
        // One that dies younger than ten seconds is no expiry, and twice in a row a reason to slow down.
        run.pass(Duration::from_secs(12)).await;
        run.note(What::Expired);
        run.simulator.expire_tokens(true);
        run.until_beats(2).await;
    }
    run.recover().await;
    run.stop().await;
}

/// Credentials go to nobody else, wherever the backend points.
async fn redirects(run: &mut Run) {
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    run.outage("redirects");
    for (call, code) in CALLS.iter().zip([307, 308, 307, 302, 301, 307, 308, 303]) {
        let location = format!("http://{}/users/v2/oauth/token", elsewhere.local_addr().unwrap());
        run.simulator.inject(vec![Fault::Redirect { location, code }.on(call).times(1)]).unwrap();
    }
    run.start();
    let simulator = run.simulator.clone();
    let all = || simulator.state()["faults"].as_array().is_none_or(Vec::is_empty);
    run.until("a redirect of every call", Duration::from_secs(200), all).await;
    run.calm();
    run.recover().await;
    run.stop().await;
    if elsewhere.accept().is_ok() {
        run.note(What::Broken { words: "a redirect was followed".to_owned() });
    }
}

/// A few bytes now and then: every call ends at its limit.
async fn slow_bodies(run: &mut Run) {
    run.serve().await;
    run.outage("bodies of a byte every 400 ms");
    run.simulator.inject(vec![Fault::SlowBody { chunk: 1, every_ms: 400 }.always()]).unwrap();
    run.pass(Duration::from_secs(20)).await;
    // Also from the very beginning.
    run.kill_and_start();
    run.pass(Duration::from_secs(15)).await;
    run.simulator.clear_faults();
    run.calm();
    run.recover().await;
    run.stop().await;
}

async fn slow_heads(run: &mut Run) {
    run.serve().await;
    run.outage("a byte every 150 ms, from the first one on");
    run.ills.add(None, None, Ill::new(Step::Drip(150), End::Close));
    run.pass(Duration::from_secs(30)).await;
    run.ills.clear();
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// Every answer comes, and none in time.
async fn late_answers(run: &mut Run) {
    run.serve().await;
    run.outage("answers 12 s late");
    run.simulator.inject(vec![Fault::Delay { ms: 12_000 }.always()]).unwrap();
    run.pass(Duration::from_secs(40)).await;
    run.simulator.clear_faults();
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// Far too long, for everything at once: what is kept of it is bounded.
async fn oversize(run: &mut Run) {
    run.serve().await;
    run.outage("64 MiB in every answer");
    run.simulator.inject(vec![Fault::Oversize { bytes: 64 << 20 }.always()]).unwrap();
    run.pass(Duration::from_secs(15)).await;
    run.simulator.clear_faults();
    run.calm();
    run.recover().await;
    run.stop().await;
}

async fn hung_poll(run: &mut Run) {
    run.serve().await;
    run.trouble("a poll that hangs");
    run.simulator.inject(vec![Fault::Hang {}.on("poll").times(2)]).unwrap();
    let body = json!({"auth_success": true, "error_code": "x", "desc": "not now"});
    run.simulator
        .inject(vec![Fault::Status { code: 500, body: Some(body), headers: Vec::new() }.on("fubar").times(2)])
        .unwrap();
    run.pass(Duration::from_secs(20)).await;
    run.calm();
    run.recover().await;
    run.stop().await;
}
