//! What an agent costs while nothing happens: memory, threads, wake-ups, time on a CPU.

use std::fs;
use std::time::Duration;

use rallyhere_agent::clock;

use crate::Bench;
use crate::environment::Environment;
use crate::proc::{self, Activity, Memory, Spent};
use crate::program::{Hosted, Over, Place, Process};
use crate::start::{is_health, is_joinable};
use crate::stats::Sample;
use crate::table::{Figure, Table, figure};

const WAYS: [(Over, &str); 2] = [(Over::Http, "HTTP"), (Over::Tls, "TLS")];
/// In seconds: the most frequent one that the backend may ask for, and the usual one.
const CADENCES: [u32; 2] = [1, 10];

pub(crate) fn size(bench: &Bench, table: &mut Table) {
    let mebibytes = |path| fs::metadata(path).unwrap().len() as f64 / f64::from(1 << 20);
    let size: Sample = [mebibytes(&bench.programs.agent)].into_iter().collect();
    table.title("Size (as built: optimised, stripped)");
    let target = if bench.programs.is_static {
        figure("binary, static", "MiB").at_most(6.0)
    } else {
        figure("binary, without its libc", "MiB")
    };
    table.runs(target, &size, bench.programs.floor.as_ref().map(mebibytes));
}

/// One process that is left alone.
struct Idle {
    is_floor: bool,
    over: Over,
    cadence: u32,
    process: Process,
    _place: Place,
}

/// What one was seen to use.
struct Used {
    is_floor: bool,
    over: Over,
    cadence: u32,
    memory: Memory,
    threads: f64,
    spent: Spent,
}

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    let (settle, window) = if bench.quick { (3, 5) } else { (10, 30) };
    let mut environments = Vec::new();
    let mut idle = Vec::new();
    for cadence in CADENCES {
        let environment = Environment::start(cadence, bench.dir.path());
        for (over, _) in WAYS {
            for _ in 0..bench.size(3, 1) {
                idle.push(agent(bench, &environment, over, cadence).await);
                idle.extend(floor(bench, &environment, over, cadence).await);
            }
        }
        environments.push(environment);
    }
    // They are idle together: what each does is so little that none is in another's way.
    clock::sleep(Duration::from_secs(settle)).await;
    let before: Vec<Activity> = idle.iter().map(|one| Activity::read(one.process.pid())).collect();
    let begun = clock::now();
    clock::sleep(Duration::from_secs(window)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let used: Vec<Used> = idle
        .iter()
        .zip(&before)
        .map(|(one, before)| {
            let pid = one.process.pid();
            let spent = Activity::read(pid).since(before);
            let spent = Spent { cpu: spent.cpu / seconds * 60.0, wakes: spent.wakes / seconds };
            let Idle { is_floor, over, cadence, .. } = *one;
            Used { is_floor, over, cadence, memory: proc::memory(pid), threads: proc::threads(pid), spent }
        })
        .collect();
    tell(&used, bench.programs.is_static, (settle, window), table);
}

fn tell(used: &[Used], is_static: bool, (settle, window): (u64, u64), table: &mut Table) {
    table.title(&format!("Idle (after {settle} s, over {window} s; a wake-up is a voluntary context switch)"));
    let of = |is_floor, over, cadence, value: fn(&Used) -> f64| -> Sample {
        let those = used.iter().filter(|one| (one.is_floor, one.over, one.cadence) == (is_floor, over, cadence));
        those.map(value).collect()
    };
    let mut row = |figure: Figure<'_>, over, cadence, value: fn(&Used) -> f64| {
        let floor = of(true, over, cadence, value).median();
        table.runs(figure, &of(false, over, cadence, value), Some(floor));
    };
    row(figure("threads", ""), Over::Http, 1, |one| one.threads);
    for (over, way) in WAYS {
        let named = |what: &str| format!("{what}, cadence 1 s, {way}");
        let most = if is_static { 5120.0 } else { 7168.0 };
        let rss = named("RSS");
        row(figure(&rss, "KiB").at_most(most).at_most_of_floor(1.5), over, 1, |one| one.memory.rss);
        row(figure(&named("PSS"), "KiB"), over, 1, |one| one.memory.pss);
        row(figure(&named("anonymous"), "KiB"), over, 1, |one| one.memory.anonymous);
    }
    for cadence in CADENCES {
        for (over, way) in WAYS {
            let (wakes, cpu) =
                (format!("wake-ups, cadence {cadence} s, {way}"), format!("CPU time, cadence {cadence} s, {way}"));
            let (mut wakes, mut cpu) = (figure(&wakes, "/s"), figure(&cpu, "ms/min"));
            if cadence == 10 {
                // 0.1 % of a core.
                (wakes, cpu) = (wakes.at_most(2.0), cpu.at_most(60.0));
            }
            row(wakes, over, cadence, |one| one.spent.wakes);
            row(cpu, over, cadence, |one| one.spent.cpu);
        }
    }
}

async fn agent(bench: &Bench, environment: &Environment, over: Over, cadence: u32) -> Idle {
    let place = bench.place();
    let session = environment.new_session();
    place.configure(environment, over, &session);
    let mut watch = environment.watch();
    let process = place.agent(&place.own_copy(&bench.programs.agent));
    let (_, mut door) = place.ready().await;
    door.call("POST", "/v1/ready", "").await;
    watch.until("joinable", |what| is_joinable(what, &session)).await;
    Idle { is_floor: false, over, cadence, process, _place: place }
}

async fn floor(bench: &Bench, environment: &Environment, over: Over, cadence: u32) -> Option<Idle> {
    let binary = bench.programs.floor.as_ref()?;
    let place = bench.place();
    let (token, session) = (environment.token().await, environment.new_session());
    environment.register(&token, &session, &session).await;
    let mut watch = environment.watch();
    let hosted = Hosted { token: &token, session: &session, instance: &session, cadence, game: false };
    let process = place.floor(&place.own_copy(binary), environment, over, &hosted);
    watch.until("a health post of the floor", |what| is_health(what, &session)).await;
    Some(Idle { is_floor: true, over, cadence, process, _place: place })
}
