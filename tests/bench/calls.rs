//! What a call of the local API takes, in memory and down to the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::What;
use rustix::fs::FallocateFlags;
use serde_json::json;

use crate::Bench;
use crate::door::Door;
use crate::environment::{Environment, Watch};
use crate::program::Over;
use crate::start::{is_joinable, millis};
use crate::stats::{Rounds, Sample};
use crate::table::{Table, figure};

pub(crate) async fn measure(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(10, bench.dir.path());
    let (place, session) = (bench.place(), environment.new_session());
    place.configure(&environment, Over::Http, &session);
    let mut watch = environment.watch();
    let _agent = place.agent(&bench.programs.agent);
    let (_, mut door) = place.ready().await;
    door.call("POST", "/v1/ready", "").await;
    watch.until("joinable", |what| is_joinable(what, &session)).await;

    let (mut health, mut fubar, mut disk) = (Rounds::default(), Rounds::default(), Rounds::default());
    let count = bench.size(200, 50);
    for _ in 0..bench.size(5, 2) {
        health.push(calls(&mut door, "/v1/health", r#"{"status":"healthy"}"#, count).await);
        let mut watch = environment.watch();
        fubar.push(calls(&mut door, "/v1/fubar", r#"{"error":"out_of_memory"}"#, count).await);
        delivered(&mut watch, count).await;
        disk.push(syncs(place.disk(), count));
    }
    table.title("Local API on the Unix socket (the floor: fdatasync of 200 bytes in the same directory)");
    for (part, name, promise) in [(0.5, "p50", ""), (0.99, "p99", "<= 5")] {
        table.quantile(figure(&format!("POST /v1/health to 200, {name}"), "ms").promised(promise), &health, part, None);
    }
    for (part, name, promise) in [(0.5, "p50", ""), (0.99, "p99", "<= 25")] {
        let name = format!("POST /v1/fubar to 202, {name}");
        table.quantile(figure(&name, "ms").promised(promise), &fubar, part, Some(&disk));
    }
}

async fn calls(door: &mut Door, path: &str, body: &str, count: usize) -> Sample {
    let mut sample = Sample::default();
    for _ in 0..count {
        let asked = clock::now();
        door.call("POST", path, body).await;
        sample.push(millis(asked, clock::now()));
    }
    sample
}

/// Waits until so many reports are at the backend.
pub(crate) async fn delivered(watch: &mut Watch, count: usize) -> Instant {
    let mut last = clock::now();
    for _ in 0..count {
        last = watch.until("a report at the backend", |what| matches!(what, What::Fubar { .. })).await;
    }
    last
}

/// Appends as the store does, into space that is reserved for the file.
pub(crate) fn syncs(dir: &Path, count: usize) -> Sample {
    let record = [b'x'; 200];
    let mut file = File::create(dir.join("syncs")).unwrap();
    // Where the file system cannot reserve, it is measured without.
    let _unreserved = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20);
    file.sync_all().unwrap();
    let mut sample = Sample::default();
    for _ in 0..count {
        let begun = clock::now();
        file.write_all(&record).unwrap();
        file.sync_data().unwrap();
        sample.push(millis(begun, clock::now()));
    }
    sample
}

/// Reports from several connections at once; ends when all are accepted.
pub(crate) async fn report(socket: &Path, connections: usize, each: usize) {
    let mut games = tokio::task::JoinSet::new();
    for game in 0..connections {
        let mut door = Door::open(socket).await;
        games.spawn(async move {
            for number in 0..each {
                let body = json!({"error": "out_of_memory", "key": format!("{game}-{number}")});
                door.call("POST", "/v1/fubar", &body.to_string()).await;
            }
        });
    }
    while let Some(ended) = games.join_next().await {
        ended.unwrap();
    }
}
