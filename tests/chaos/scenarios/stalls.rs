//! The agent does not run for a while.

use std::time::Duration;

use rustix::process::Signal;

use super::Scenario;
use crate::run::{Plan, Run};

pub(super) fn scenarios() -> Vec<Scenario> {
    let idle = Plan { publish: None, report: None, ..Plan::default() };
    vec![
        Scenario::new("stop and go on", Plan::default(), |run| Box::pin(stopped(run))).quick(),
        Scenario::new("stop and go on idle", idle, |run| Box::pin(stopped(run))),
        Scenario::new("stop for longer than a poll", Plan::default(), |run| Box::pin(stopped_for_long(run))),
        Scenario::new("kill and start", Plan::default(), |run| Box::pin(killed(run))).quick(),
    ]
}

/// SIGSTOP and SIGCONT: nothing that was missed is made up for.
async fn stopped(run: &mut Run) {
    run.serve().await;
    for seconds in [3, 8, 1] {
        run.pass(Duration::from_secs(3)).await;
        run.outage(&format!("SIGSTOP for {seconds} s"));
        run.signal(Signal::STOP);
        run.pass(Duration::from_secs(seconds)).await;
        run.signal(Signal::CONT);
        run.calm();
        run.until_beats(2).await;
    }
    run.recover().await;
    run.stop().await;
}

async fn stopped_for_long(run: &mut Run) {
    run.serve().await;
    run.outage("SIGSTOP for 45 s");
    run.signal(Signal::STOP);
    run.pass(Duration::from_secs(45)).await;
    run.signal(Signal::CONT);
    run.calm();
    run.until_beats(2).await;
    run.recover().await;
    run.stop().await;
}

/// kill -9 in good weather: health again within a second, nothing asked twice.
async fn killed(run: &mut Run) {
    run.serve().await;
    for pause in [1500, 3100, 700, 2300, 1900] {
        run.pass(Duration::from_millis(pause)).await;
        run.kill_and_start();
        run.until_beats(1).await;
    }
    run.recover().await;
    run.stop().await;
}
