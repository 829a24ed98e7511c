//! Everything at once, at random, from a seed.

use std::time::Duration;

use fastrand::Rng;
use rallyhere_agent::clock;

use super::Scenario;
use crate::ills::{End, Ill, Step, Storm};
use crate::run::{Plan, Run};

pub(super) fn scenarios() -> Vec<Scenario> {
    let plan = || Plan { tls: true, ..Plan::default() };
    let mut all = Vec::new();
    for seed in 1..=4 {
        let storm = Scenario::new(format!("storm {seed}"), plan(), move |run| Box::pin(storm(run, seed)));
        let kills = Scenario::new(format!("storm and kills {seed}"), plan(), move |run| Box::pin(kills(run, seed)));
        all.push(if seed == 1 { storm.quick() } else { storm });
        all.push(if seed == 1 { kills.quick() } else { kills });
    }
    all
}

fn menu() -> Vec<Ill> {
    let mut menu = Vec::new();
    for end in [End::Close, End::Reset, End::Hang] {
        for step in
            [Step::Accept, Step::Tls, Step::Head, Step::Body, Step::Processed, Step::AnswerHead, Step::AnswerBody]
        {
            menu.push(Ill::new(step, end));
        }
    }
    menu.push(Ill::new(Step::NotTls, End::Close));
    menu.push(Ill::new(Step::Drip(2), End::Close));
    menu
}

async fn storm(run: &mut Run, seed: u64) {
    run.serve().await;
    run.outage(&format!("a storm of seed {seed}"));
    run.ills.close_each(true);
    run.ills.storm(Storm { random: Rng::with_seed(seed), part: 0.3, menu: menu() });
    run.pass(Duration::from_secs(40)).await;
    run.ills.clear();
    run.calm();
    run.recover().await;
    run.stop().await;
}

/// The same, and the agent is killed at random moments: at any step of a start, a post, a page or a report.
async fn kills(run: &mut Run, seed: u64) {
    run.serve().await;
    run.outage(&format!("a storm of seed {seed}, and kills"));
    run.ills.storm(Storm { random: Rng::with_seed(seed), part: 0.15, menu: menu() });
    let mut random = Rng::with_seed(seed + 1000);
    let until = clock::now() + Duration::from_secs(40);
    while clock::now() < until {
        run.pass(Duration::from_millis(random.u64(30..4000))).await;
        run.kill_and_start();
    }
    run.ills.clear();
    run.calm();
    run.recover().await;
    run.stop().await;
}
