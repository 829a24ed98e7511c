//! What one more instance costs: 1, 10, 100 and 1,000 in one agent, beside a floor with as many.

use std::collections::BTreeMap;
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::What;

use crate::Bench;
use crate::environment::{Environment, within};
use crate::proc::{self, Activity};
use crate::program::{Hosted, Over, Process};
use crate::start::millis;
use crate::stats::Sample;
use crate::table::{Table, figure};

const COUNTS: [usize; 4] = [1, 10, 100, 1000];
/// In seconds.
const CADENCE: u32 = 10;

/// What a process with so many instances was seen to use.
#[derive(Clone, Copy)]
struct Used {
    /// In KiB.
    rss: f64,
    pss: f64,
    anonymous: f64,
    threads: f64,
    descriptors: f64,
    /// In milliseconds a minute.
    cpu: f64,
    wakes: f64,
}

/// A run of the agent.
struct Run {
    /// Until all were joinable, in milliseconds.
    start: f64,
    used: Used,
    /// Between the health posts of each instance, as the backend saw them, in milliseconds.
    gaps: Sample,
}

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    table.title("Many instances in one process, cadence 10 s, each with its long poll (floor: the same calls, and nothing else)");
    let (mut first, mut last) = (None, None);
    let most = if bench.quick { 100 } else { 1000 };
    let plain = COUNTS.into_iter().filter(|instances| *instances <= most).map(|instances| (instances, Over::Http));
    // In production it is always TLS.
    for (instances, over) in plain.chain([(most, Over::Tls), (most, Over::Http2)]) {
        let mut runs = Vec::new();
        for _ in 0..bench.size(2, 1) {
            match agent(bench, instances, over).await {
                Ok(run) => runs.push(run),
                Err(why) => {
                    table.note(&format!("{instances} instances: not measured: {why}"));
                    return;
                }
            }
        }
        let floor = floor(bench, instances, over).await;
        tell(instances, over, &runs, floor, table);
        if over != Over::Http {
            continue;
        }
        let median = |value: fn(&Used) -> f64| runs.iter().map(|run| value(&run.used)).collect::<Sample>().median();
        last = Some((instances, median(|used| used.anonymous), median(|used| used.cpu), floor));
        first = first.or(last);
    }
    let (Some(few), Some(many)) = (first, last) else { return };
    let more = (many.0 - few.0) as f64;
    let both = few.3.zip(many.3);
    let memory = both.map(|(few, many)| (many.anonymous - few.anonymous) / more);
    let cpu = both.map(|(few, many)| (many.cpu - few.cpu) / more);
    let each = |many: f64, few: f64| Sample::from_iter([(many - few) / more]);
    table.runs(figure("one more instance: memory of its own", "KiB"), &each(many.1, few.1), memory);
    table.runs(figure("one more instance: CPU time", "ms/min"), &each(many.2, few.2), cpu);
}

fn tell(instances: usize, over: Over, runs: &[Run], floor: Option<Used>, table: &mut Table) {
    let who = match over {
        Over::Http => instances.to_string(),
        Over::Tls => format!("{instances} over TLS"),
        Over::Http2 => format!("{instances} over TLS, HTTP/2 on offer"),
    };
    let mut row = |name: &str, unit, most: Option<f64>, value: fn(&Used) -> f64| {
        let name = format!("{who}: {name}");
        let figure = figure(&name, unit);
        let figure = if let Some(most) = most { figure.at_most(most) } else { figure };
        table.runs(figure, &runs.iter().map(|run| value(&run.used)).collect(), floor.as_ref().map(value));
    };
    // 64 MiB, and 5 % of a core.
    let (most_rss, most_cpu) = if instances == 1000 { (Some(65536.0), Some(3000.0)) } else { (None, None) };
    row("RSS", "KiB", most_rss, |used| used.rss);
    row("PSS", "KiB", None, |used| used.pss);
    row("anonymous", "KiB", None, |used| used.anonymous);
    row("CPU time", "ms/min", most_cpu, |used| used.cpu);
    row("wake-ups", "/s", None, |used| used.wakes);
    row("threads", "", None, |used| used.threads);
    row("descriptors", "", None, |used| used.descriptors);
    let start = format!("{who}: start to all joinable");
    table.runs(figure(&start, "ms"), &runs.iter().map(|run| run.start).collect(), None);
    // A quick run is over before the third post.
    let gaps: Vec<&Sample> = runs.iter().map(|run| &run.gaps).filter(|gaps| gaps.len() > 0).collect();
    if !gaps.is_empty() {
        tell_gaps(&who, CADENCE, &gaps, table);
    }
}

/// Promise 8: within 5 % of the cadence, and never above 1.25 of it.
pub(crate) fn tell_gaps(who: &str, cadence: u32, runs: &[&Sample], table: &mut Table) {
    let cadence = f64::from(cadence) * 1000.0;
    for (what, part, most) in [("median", 0.5, 1.05), ("p99", 0.99, 1.05), ("longest", 1.0, 1.25)] {
        let name = format!("{who}: gap of health posts, {what}");
        let gaps: Sample = runs.iter().map(|gaps| gaps.quantile(part)).collect();
        table.runs(figure(&name, "ms").at_most(cadence * most), &gaps, None);
    }
}

async fn agent(bench: &Bench, instances: usize, over: Over) -> Result<Run, String> {
    let environment = Environment::start(CADENCE, bench.dir.path());
    let place = bench.place();
    let sessions: Vec<String> = (0..instances).map(|_| environment.new_session()).collect();
    place.configure_many(&environment, over, &sessions);
    place.check(&bench.programs.agent)?;
    let mut watch = environment.watch();
    let agent = place.agent(&place.own_copy(&bench.programs.agent));
    for _ in 0..instances {
        let joinable = |what: &What| matches!(what, What::Updated { join_status, .. } if join_status == "joinable");
        watch.until("joinable", joinable).await;
    }
    let start = millis(agent.spawned, clock::now());
    let used = idle(bench, &agent).await;
    Ok(Run { start, used, gaps: gaps(&environment, |_| true) })
}

/// A floor with as many instances; they are registered by the bench.
async fn floor(bench: &Bench, instances: usize, over: Over) -> Option<Used> {
    let binary = bench.programs.floor.as_ref()?;
    let environment = Environment::start(CADENCE, bench.dir.path());
    let place = bench.place();
    let token = environment.token().await;
    let sessions: Vec<String> = (0..instances).map(|_| environment.new_session()).collect();
    for session in &sessions {
        environment.register(&token, session, session).await;
    }
    let all = sessions.join(",");
    let hosted = Hosted { token: &token, session: &all, instance: &all, cadence: CADENCE, game: false };
    let process = place.floor(&place.own_copy(binary), &environment, over, &hosted);
    Some(idle(bench, &process).await)
}

async fn idle(bench: &Bench, process: &Process) -> Used {
    let (settle, window) = if bench.quick { (3, 5) } else { (12, 25) };
    within("an idle minute", clock::sleep(Duration::from_secs(settle))).await;
    let before = Activity::read(process.pid());
    let begun = clock::now();
    clock::sleep(Duration::from_secs(window)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let spent = Activity::read(process.pid()).since(&before);
    let memory = proc::memory(process.pid());
    Used {
        rss: memory.rss,
        pss: memory.pss,
        anonymous: memory.anonymous,
        threads: proc::threads(process.pid()),
        descriptors: proc::descriptors(process.pid()),
        cpu: spent.cpu / seconds * 60.0,
        wakes: spent.wakes / seconds,
    }
}

/// Without the first of each instance: it is shorter, so that the posts of many are spread over the cadence.
pub(crate) fn gaps(environment: &Environment, of: impl Fn(&str) -> bool) -> Sample {
    environment.simulator.read_ledger(|ledger| {
        let mut posts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for post in ledger.health.iter().filter(|post| of(&post.session_id)) {
            posts.entry(&post.session_id).or_default().push(post.at_ms);
        }
        let between =
            |posts: &Vec<u64>| -> Vec<u64> { posts.windows(2).map(|pair| pair[1] - pair[0]).skip(1).collect() };
        posts.values().flat_map(between).map(|gap| gap as f64).collect()
    })
}
