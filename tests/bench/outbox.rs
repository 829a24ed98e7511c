//! The outbox: how fast it empties, and what a full one costs at the start.

use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::Outage;
use serde_json::json;

use crate::Bench;
use crate::calls::{delivered, report};
use crate::environment::Environment;
use crate::proc;
use crate::program::Over;
use crate::start::{is_joinable, millis};
use crate::stats::Sample;
use crate::table::{Table, figure};

/// Reports of one throughput run.
const BATCH: usize = 200;
/// As many as the outbox takes.
const FULL: usize = 1000;
/// Games that report at once.
const CONNECTIONS: usize = 8;

pub(crate) async fn throughput(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(10, bench.dir.path());
    let token = environment.token().await;
    let (mut accepted, mut arrived, mut direct) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..bench.size(5, 2) {
        // A new agent each time: keys are remembered for a day.
        let (place, session) = (bench.place(), environment.new_session());
        place.configure(&environment, Over::Http, &session);
        let mut watch = environment.watch();
        let _agent = place.agent(&bench.programs.agent);
        let (_, mut door) = place.ready().await;
        door.call("POST", "/v1/ready", "").await;
        watch.until("joinable", |what| is_joinable(what, &session)).await;

        let begun = clock::now();
        let reporting = async {
            report(&place.socket(), CONNECTIONS, BATCH / CONNECTIONS).await;
            clock::now()
        };
        let (last_accepted, last_arrived) = tokio::join!(reporting, delivered(&mut watch, BATCH));
        accepted.push(rate(millis(begun, last_accepted)));
        arrived.push(rate(millis(begun, last_arrived)));

        let body = json!({"instance_id": "floor", "error": "out_of_memory", "region": "us-east"});
        let session = environment.new_session();
        environment.register(&token, &session, "floor").await;
        let path = format!("/session/v1/session/{session}/instance/fubar");
        let begun = clock::now();
        for _ in 0..BATCH {
            environment.call(&path, &format!("Bearer {token}"), &body).await;
        }
        direct.push(rate(millis(begun, clock::now())));
    }
    table.title(&format!(
        "Outbox: {BATCH} reports over {CONNECTIONS} connections (the floor: posted directly, one by one)"
    ));
    table.runs(figure("accepted, each on disk", "/s"), &accepted, None);
    table.runs(figure("accepted and delivered to the backend", "/s"), &arrived, Some(direct.median()));
}

fn rate(millis: f64) -> f64 {
    BATCH as f64 / millis * 1e3
}

pub(crate) async fn full(bench: &Bench, table: &mut Table) {
    let environment = Environment::start(1, bench.dir.path());
    let (place, session) = (bench.place(), environment.new_session());
    place.configure(&environment, Over::Http, &session);
    let mut watch = environment.watch();
    let agent = place.agent(&bench.programs.agent);
    let (_, mut door) = place.ready().await;
    door.call("POST", "/v1/ready", "").await;
    watch.until("joinable", |what| is_joinable(what, &session)).await;
    environment.simulator.set_outage(Outage::Refuse);
    report(&place.socket(), CONNECTIONS, FULL / CONNECTIONS).await;
    drop((agent, door));

    let (mut ready, mut rss) = (Sample::default(), Sample::default());
    for _ in 0..bench.size(10, 3) {
        let agent = place.agent(&bench.programs.agent);
        let (when, mut door) = place.ready().await;
        ready.push(millis(agent.spawned, when));
        let status = door.call("GET", "/v1/status", "").await;
        assert_eq!(status["outbox"]["waiting"], FULL, "{status}");
        clock::sleep(Duration::from_millis(if bench.quick { 200 } else { 2000 })).await;
        rss.push(proc::memory(agent.pid()).rss);
    }
    table.title(&format!("A full outbox: {FULL} reports wait while the backend refuses every connection"));
    table.runs(figure("after kill -9: start to READY and a first local answer", "ms").at_most(2000.0), &ready, None);
    table.runs(figure("RSS", "KiB").at_most(12288.0), &rss, None);
}
