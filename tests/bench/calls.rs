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
use crate::program::{Over, Place};
use crate::start::{is_joinable, millis};
use crate::stats::{Rounds, Sample};
use crate::table::{Table, figure};

/// Connections of the throughput.
const GAMES: usize = 4;

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
    let both = |name, most| [(0.5, figure(name, "ms")), (0.99, figure(name, "ms").at_most(most))];
    for (part, figure) in both("POST /v1/health to 200", 5.0) {
        table.quantile(figure.at(part), &health, part, None);
    }
    for (part, figure) in both("POST /v1/fubar to 202", 25.0) {
        table.quantile(figure.at(part), &fubar, part, Some(&disk));
    }
    throughput(bench, &place, table).await;
}

/// As many calls as a few games get through at once. The floor answers without a look at what was asked.
async fn throughput(bench: &Bench, place: &Place, table: &mut Table) {
    let (mut status, mut health, mut floor) = (Sample::default(), Sample::default(), Sample::default());
    let echo = bench.place();
    let _echo = bench.programs.floor.as_ref().map(|binary| echo.echo(binary));
    let each = bench.size(2000, 200);
    for _ in 0..bench.size(5, 2) {
        status.push(rate(&place.socket(), each, "GET", "/v1/status", "").await);
        health.push(rate(&place.socket(), each, "POST", "/v1/health", r#"{"status":"healthy"}"#).await);
        if bench.programs.floor.is_some() {
            floor.push(rate(&echo.socket(), each, "GET", "/v1/status", "").await);
        }
    }
    let floor = Some(floor.median());
    table.title(&format!(
        "Local API from {GAMES} connections at once (the floor: an answer without a question, same crates)"
    ));
    table.runs(figure("GET /v1/status", "/s"), &status, floor);
    table.runs(figure("POST /v1/health", "/s"), &health, floor);
}

async fn rate(socket: &Path, each: usize, method: &'static str, path: &'static str, body: &'static str) -> f64 {
    let mut doors = Vec::new();
    for _ in 0..GAMES {
        doors.push(Door::open_soon(socket).await);
    }
    let begun = clock::now();
    let mut games = tokio::task::JoinSet::new();
    for mut door in doors {
        games.spawn(async move {
            for _ in 0..each {
                door.call(method, path, body).await;
            }
        });
    }
    while let Some(ended) = games.join_next().await {
        ended.unwrap();
    }
    (GAMES * each) as f64 / begun.elapsed().as_secs_f64()
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
