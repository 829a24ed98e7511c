//! A network that swallows packets: nothing is refused and nothing is closed, and nothing comes.

use std::process::Command;
use std::time::Duration;

use rallyhere_agent::clock;
use serde_json::json;

use super::Scenario;
use crate::run::{Plan, Run, SESSION};
use crate::timeline::What;

/// promises.md 13.
const NOTICED: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    let plan = |number| Plan { tls: true, wires: Some(number), ..Plan::default() };
    let idle = |number| Plan { publish: None, report: None, cadence: 3600, ..plan(number) };
    vec![
        Scenario::new("half-open", plan(0), |run| Box::pin(half_open(run))).quick().unless(obstacle()),
        Scenario::new("half-open and kill", plan(1), |run| Box::pin(half_open_and_kill(run))).unless(obstacle()),
        Scenario::new("half-open and nothing but a poll", idle(2), |run| Box::pin(only_a_poll(run)))
            .quick()
            .unless(obstacle()),
    ]
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a network namespace needs root".to_owned());
    }
    let tried =
        Command::new("unshare").args(["-n", "ip", "link", "add", "chaos0", "type", "veth", "peer", "chaos1"]).output();
    match tried {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(format!("no network namespace: {}", String::from_utf8_lossy(&tried.stderr).trim())),
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

fn forward(run: &Run, on: bool) {
    run.wires.as_ref().expect("wires, as the plan has them").forward(on);
}

async fn half_open(run: &mut Run) {
    run.serve().await;
    run.pass(Duration::from_secs(4)).await;
    run.blind("packets are dropped");
    forward(run, false);
    run.pass(Duration::from_secs(25)).await;
    forward(run, true);
    run.calm();
    run.recover().await;
    run.stop().await;
}

async fn half_open_and_kill(run: &mut Run) {
    run.serve().await;
    run.pass(Duration::from_secs(4)).await;
    run.blind("packets are dropped, and kill -9");
    forward(run, false);
    run.pass(Duration::from_secs(3)).await;
    run.kill_and_start();
    run.pass(Duration::from_secs(12)).await;
    forward(run, true);
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// Nothing else is sent that could be missed: only keepalive finds out that nobody is there.
async fn only_a_poll(run: &mut Run) {
    run.serve().await;
    for turn in 1..=2 {
        // A poll that has just begun, so that its own limit is far away.
        let polls = |run: &Run| run.simulator.read_ledger(|ledger| ledger.count("poll"));
        let before = polls(run);
        let simulator = run.simulator.clone();
        let id = simulator.publish_to_session(SESSION, &[json!({"message": "now"})]).unwrap().remove(0);
        run.note(What::Published { id });
        let begun = move || simulator.read_ledger(|ledger| ledger.count("poll") > before);
        run.until("a fresh poll", Duration::from_secs(60), begun).await;
        run.pass(Duration::from_millis(300)).await;
        run.blind("packets are dropped");
        forward(run, false);
        let dropped = clock::now();
        // A poll that is cut is tried again in its own time: noticed is noticed when the connection is given up.
        while is_connected(run.pid()) && dropped.elapsed() < 2 * NOTICED {
            clock::sleep(Duration::from_millis(20)).await;
        }
        let took = dropped.elapsed();
        if took > NOTICED {
            run.note(What::Broken { words: format!("half-open for {took:.1?} before it was noticed") });
        }
        run.note(What::Note { words: format!("noticed after {:.1} s", took.as_secs_f64()) });
        forward(run, true);
        run.calm();
        let polls_now = polls(run);
        let simulator = run.simulator.clone();
        let again = move || simulator.read_ledger(|ledger| ledger.count("poll") > polls_now);
        run.until(&format!("another poll, turn {turn}"), Duration::from_secs(90), again).await;
    }
    run.stop().await;
}

/// Whether a process has a TCP connection, as its network namespace counts, in which it is alone.
fn is_connected(pid: u32) -> bool {
    const ESTABLISHED: &str = "01";
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    sockets.lines().skip(1).any(|line| line.split_whitespace().nth(3) == Some(ESTABLISHED))
}
