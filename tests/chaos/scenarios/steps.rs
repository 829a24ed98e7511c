//! A fault at every step of a connection, on every call; and a kill -9 in the middle of each.

use std::time::Duration;

use super::{CALLS, Scenario};
use crate::ills::{End, Ill, Step};
use crate::run::{Plan, Run};

/// A hang on the way up costs its own limit, and then the back-off; there are five calls on the way.
const PATIENCE: Duration = Duration::from_secs(400);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![Scenario::new("calm", Plan::default(), |run| Box::pin(calm(run))).quick()];
    for step in [Step::Accept, Step::Tls, Step::NotTls, Step::Stranger] {
        for end in ends(&step) {
            let ill = Ill::new(step.clone(), *end);
            let name = name(&ill);
            let scenario = Scenario::new(name, plan(), move |run| Box::pin(early(run, ill)));
            all.push(if *end == End::Close { scenario.quick() } else { scenario });
        }
    }
    for step in [Step::Head, Step::Body, Step::Processed, Step::AnswerHead, Step::AnswerBody] {
        for end in ends(&step) {
            let ill = Ill::new(step.clone(), *end);
            let (name, quick) = (name(&ill), *end == End::Reset);
            let scenario = Scenario::new(name, plan(), move |run| Box::pin(late(run, ill)));
            all.push(if quick { scenario.quick() } else { scenario });
        }
    }
    all
}

fn plan() -> Plan {
    Plan { tls: true, ..Plan::default() }
}

fn ends(step: &Step) -> &'static [End] {
    match step {
        Step::NotTls | Step::Stranger => &[End::Close],
        _ => &[End::Close, End::Reset, End::Hang],
    }
}

fn name(ill: &Ill) -> String {
    format!("step {:?} {:?}", ill.step, ill.end).to_lowercase()
}

/// Nothing goes wrong: what the others are compared with.
async fn calm(run: &mut Run) {
    run.serve().await;
    run.pass(Duration::from_secs(20)).await;
    run.recover().await;
    run.stop().await;
}

/// Connections that come to nothing, on the way up and while it serves: every call needs one of its own.
async fn early(run: &mut Run, ill: Ill) {
    run.ills.close_each(true);
    run.outage(&ill.words());
    run.ills.add(None, Some(2), ill.clone());
    run.start();
    run.until_no_ill_waits(PATIENCE).await;
    run.calm();
    run.until_serving().await;
    run.outage(&ill.words());
    run.ills.add(None, Some(4), ill.clone());
    run.until_no_ill_waits(PATIENCE).await;
    run.calm();
    run.until_beats(2).await;
    during(run, ill, None).await;
    run.recover().await;
    run.stop().await;
}

/// Every call meets it once, on the way up and while it serves.
async fn late(run: &mut Run, ill: Ill) {
    run.outage(&ill.words());
    for call in CALLS {
        run.ills.add(Some(call), Some(1), ill.clone());
    }
    run.start();
    run.until_no_ill_waits(PATIENCE).await;
    run.calm();
    run.until_serving().await;
    during(run, ill.clone(), Some("fubar")).await;
    during(run, ill.clone(), Some("health")).await;
    run.recover().await;
    // The last call of all.
    run.ills.add(Some("unregister"), Some(1), ill);
    run.stop().await;
}

/// kill -9 while a call, or any connection, is in it.
async fn during(run: &mut Run, ill: Ill, call: Option<&'static str>) {
    run.until_serving().await;
    run.outage("the same, and kill -9");
    run.ills.add(call, Some(1), ill);
    run.until_no_ill_waits(PATIENCE).await;
    run.kill_and_start();
    run.calm();
    run.until_beats(1).await;
}
