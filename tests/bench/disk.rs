//! What is durable, on a disk that needs 5 ms for a sync: strace holds each sync of the agent for so long, and counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rallyhere_agent::clock;
use serde_json::json;

use crate::Bench;
use crate::calls::delivered;
use crate::environment::Environment;
use crate::program::Over;
use crate::start::{is_joinable, millis};
use crate::stats::{Rounds, Sample};
use crate::table::{Table, figure};

/// What a sync takes more than on the disk below.
const MORE: Duration = Duration::from_millis(5);

/// Nothing is synced any more when it was quiet for so long.
const QUIET: Duration = Duration::from_millis(30);

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(10, bench.dir.path());
    let (place, session) = (bench.place(), environment.new_session());
    place.configure(&environment, Over::Http, &session);
    table.title(
        "A disk that syncs in 5 ms (each sync of the agent is held for so long by strace, which costs time of its own)",
    );
    let mut watch = environment.watch();
    let Some((_agent, lines)) = place.agent_on_slow_disk(&bench.programs.agent, MORE) else {
        table.note("not measured: there is no strace, or it may not look into processes");
        return;
    };
    let (_, mut door) = place.ready().await;
    door.call("POST", "/v1/ready", "").await;
    watch.until("joinable", |what| is_joinable(what, &session)).await;

    let (mut alone, mut in_a_row, mut syncs) = (Rounds::default(), Rounds::default(), Sample::default());
    let count = bench.size(60, 15);
    for round in 0..bench.size(5, 2) {
        let (mut one, mut row) = (Sample::default(), Sample::default());
        for number in 0..count {
            // Only what the call itself syncs is counted: what the delivery of the one before wrote is on the disk.
            let before = quiet(&lines).await;
            let mut watch = environment.watch();
            let body = json!({"error": "out_of_memory", "key": format!("alone-{round}-{number}")});
            let asked = clock::now();
            door.call("POST", "/v1/fubar", &body.to_string()).await;
            one.push(millis(asked, clock::now()));
            syncs.push((count_lines(&lines) - before) as f64);
            delivered(&mut watch, 1).await;
        }
        let mut watch = environment.watch();
        for number in 0..count {
            let body = json!({"error": "out_of_memory", "key": format!("row-{round}-{number}")});
            let asked = clock::now();
            door.call("POST", "/v1/fubar", &body.to_string()).await;
            row.push(millis(asked, clock::now()));
        }
        delivered(&mut watch, count).await;
        alone.push(one);
        in_a_row.push(row);
    }
    table.runs(figure("syncs before a 202, at most", "").at_most(2.0), &[syncs.spread().1].into_iter().collect(), None);
    for (name, rounds) in [("POST /v1/fubar to 202, alone", alone), ("POST /v1/fubar to 202, in a row", in_a_row)] {
        table.quantile(figure(name, "ms").at(0.5), &rounds, 0.5, None);
        table.quantile(figure(name, "ms").at_most(25.0).at(0.99), &rounds, 0.99, None);
    }
}

fn count_lines(path: &Path) -> usize {
    fs::read(path).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

async fn quiet(lines: &Path) -> usize {
    let mut seen = count_lines(lines);
    loop {
        clock::sleep(QUIET).await;
        let now = count_lines(lines);
        if now == seen {
            return now;
        }
        seen = now;
    }
}
