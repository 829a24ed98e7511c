//! What a game that was built for Agones costs the agent: a heartbeat, and somebody who watches.

use crate::Bench;
use crate::door::Door;
use crate::environment::Environment;
use crate::proc::{self, Activity};
use crate::program::Over;
use crate::start::is_joinable;
use crate::stats::Sample;
use crate::table::{Table, figure};

/// Watches at a time: below what one instance lets in.
const WATCHES: usize = 100;

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(10, bench.dir.path());
    let (place, session) = (bench.place(), environment.new_session());
    place.configure(&environment, Over::Http, &session);
    let mut watch = environment.watch();
    let agent = place.agent(&bench.programs.agent);
    let (_, mut door) = place.ready().await;
    door.call("POST", "/ready", "{}").await;
    watch.until("joinable", |what| is_joinable(what, &session)).await;

    let (mut cpu, mut memory) = (Sample::default(), Sample::default());
    let count = bench.size(2000, 200);
    for _ in 0..bench.size(5, 2) {
        let before = Activity::read(agent.pid());
        for _ in 0..count {
            door.call("POST", "/health", "{}").await;
        }
        cpu.push(Activity::read(agent.pid()).since(&before).cpu * 1000.0 / count as f64);

        let before = proc::memory(agent.pid()).anonymous;
        let mut watches = Vec::new();
        for _ in 0..WATCHES {
            let mut door = Door::open(&place.socket()).await;
            door.watch().await;
            watches.push(door);
        }
        memory.push((proc::memory(agent.pid()).anonymous - before) / WATCHES as f64);
        // What they leave behind is used again in the next round, so the first one tells the most.
        drop(watches);
    }
    table.title("Agones SDK over REST on the Unix socket");
    table.runs(figure("CPU time of a heartbeat", "us"), &cpu, None);
    table.runs(figure("memory of a watch, at most", "KiB"), &[memory.spread().1].into_iter().collect(), None);
}
