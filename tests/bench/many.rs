//! What one more instance costs: 1, 10, 100 and 1,000 in one agent.

use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::What;

use crate::Bench;
use crate::environment::{Environment, within};
use crate::proc::{self, Activity};
use crate::start::millis;
use crate::stats::Sample;
use crate::table::{Table, figure};

const COUNTS: [usize; 4] = [1, 10, 100, 1000];

/// What one agent with so many instances was seen to use.
#[derive(Clone, Copy)]
struct Used {
    instances: usize,
    /// Until all were joinable, in milliseconds.
    start: f64,
    /// In KiB.
    rss: f64,
    anonymous: f64,
    threads: f64,
    /// In milliseconds a minute.
    cpu: f64,
    wakes: f64,
}

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    table.title("Many instances in one agent, cadence 10 s, each with its long poll");
    let mut all = Vec::new();
    for instances in COUNTS {
        if bench.quick && instances > 100 {
            continue;
        }
        match one(bench, instances).await {
            Ok(used) => all.push(used),
            Err(why) => {
                table.note(&format!("{instances} instances: not measured: {why}"));
                return;
            }
        }
    }
    for used in &all {
        let Used { instances, start, rss, anonymous, threads, cpu, wakes } = *used;
        let mut row = |name: &str, unit, value: f64, most: Option<f64>| {
            let name = format!("{instances}: {name}");
            let figure = figure(&name, unit);
            let figure = if let Some(most) = most { figure.at_most(most) } else { figure };
            table.runs(figure, &Sample::from_iter([value]), None);
        };
        // 64 MiB, and 5 % of a core.
        let (most_rss, most_cpu) = if instances == 1000 { (Some(65536.0), Some(3000.0)) } else { (None, None) };
        row("start to all joinable", "ms", start, None);
        row("RSS", "KiB", rss, most_rss);
        row("anonymous", "KiB", anonymous, None);
        row("CPU time", "ms/min", cpu, most_cpu);
        row("wake-ups", "/s", wakes, None);
        row("threads", "", threads, None);
    }
    if let (Some(few), Some(many)) = (all.first(), all.last().filter(|last| last.instances > 1)) {
        let more = (many.instances - few.instances) as f64;
        let (memory, cpu) = ((many.anonymous - few.anonymous) / more, (many.cpu - few.cpu) / more);
        table.runs(figure("one more instance: memory of its own", "KiB"), &Sample::from_iter([memory]), None);
        table.runs(figure("one more instance: CPU time", "ms/min"), &Sample::from_iter([cpu]), None);
    }
}

async fn one(bench: &Bench, instances: usize) -> Result<Used, String> {
    let environment = Environment::start(10, bench.dir.path());
    let place = bench.place();
    let sessions: Vec<String> = (0..instances).map(|_| environment.new_session()).collect();
    place.configure_many(&environment, &sessions);
    place.check(&bench.programs.agent)?;
    let mut watch = environment.watch();
    let agent = place.agent(&place.own_copy(&bench.programs.agent));
    for _ in 0..instances {
        let joinable = |what: &What| matches!(what, What::Updated { join_status, .. } if join_status == "joinable");
        watch.until("joinable", joinable).await;
    }
    let start = millis(agent.spawned, clock::now());
    let (settle, window) = if bench.quick { (3, 5) } else { (15, 30) };
    within("an idle minute", clock::sleep(Duration::from_secs(settle))).await;
    let before = Activity::read(agent.pid());
    let begun = clock::now();
    clock::sleep(Duration::from_secs(window)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let spent = Activity::read(agent.pid()).since(&before);
    let memory = proc::memory(agent.pid());
    Ok(Used {
        instances,
        start,
        rss: memory.rss,
        anonymous: memory.anonymous,
        threads: proc::threads(agent.pid()),
        cpu: spent.cpu / seconds * 60.0,
        wakes: spent.wakes / seconds,
    })
}
