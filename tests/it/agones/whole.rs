//! The real program, as a game that was built for Agones meets it.

use std::fs;
use std::net::SocketAddr;

use rallyhere_agent::simulator::Outage;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::rpc::{Duration, Empty, KeyValue, Rpc, beat};
use crate::local::raw::{Via, request};
use crate::process::agent::Agent;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage, Stopwatch, until};

/// An agent that speaks Agones, with how players connect.
fn home(stage: &Stage) -> Home {
    Home::new(stage)
        .set("local_api.listen", "127.0.0.1:0")
        .set("local_api.grpc_listen", "127.0.0.1:0")
        .set("instance.public_conn_str", "unreal://203.0.113.7:7777")
        .set("health.startup_grace", "0s")
}

/// Where it says that it listens.
async fn addresses(agent: &Agent) -> (SocketAddr, SocketAddr) {
    let find = |output: &str, name: &str| {
        let line = output.lines().find(|line| line.contains("the local API is open"))?.to_owned();
        let value = line.split_once(&format!("{name}="))?.1.split_whitespace().next()?.trim_matches('"').to_owned();
        value.parse().ok()
    };
    until("the addresses of the SDK", async || {
        let output = agent.output();
        Some((find(&output, "listen")?, find(&output, "grpc")?))
    })
    .await
}

async fn start(home: &Home) -> (Agent, Via, Rpc) {
    let agent = home.start();
    let (rest, grpc) = addresses(&agent).await;
    (agent, Via::Tcp(rest), Rpc::connect(grpc).await)
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

#[tokio::test]
async fn a_life_as_agones_tells_it() {
    let stage = Stage::start().await;
    let home = home(&stage).set("instance.publish_labels", vec!["mode"]);
    let (mut agent, rest, mut rpc) = start(&home).await;
    let mut watch = rpc.watch().await;
    let mut seen = vec![watch.state().await];
    while seen.last().unwrap() != "Scheduled" {
        seen.push(watch.state().await);
    }
    assert_eq!(rpc.call("Ready", &Empty {}).await.0, 0);
    assert_eq!((watch.state().await.as_str(), watch.state().await.as_str()), ("RequestReady", "Ready"));
    let shown = stage.until_status(SESSION, "joinable").await;
    let told = rpc.game_server().await;
    assert_eq!(json!(told.meta().name), shown["instance_id"]);

    assert_eq!(rpc.call("SetLabel", &pair("mode", "ctf")).await.0, 0);
    assert_eq!(rpc.call("SetAnnotation", &pair("token", "j01n")).await.0, 0);
    until("the label at the backend", async || {
        (stage.instance(SESSION)["custom_data"] == json!({"mode": "ctf"})).then_some(())
    })
    .await;
    assert_eq!(rest.post("/allocate", "{}").await.status, 200);
    let answer = rest.get("/gameserver").await.json();
    assert_eq!(answer["status"]["state"], "Allocated");
    assert_eq!(answer["object_meta"]["labels"], json!({"agones.dev/sdk-mode": "ctf"}));
    assert_eq!(answer["object_meta"]["annotations"]["agones.dev/sdk-token"], "j01n");
    assert_eq!(answer["object_meta"]["annotations"]["rallyhere/session_id"], SESSION);
    assert_eq!(rpc.call("Reserve", &Duration { seconds: 1 }).await.0, 0);
    let mut state = String::new();
    while state != "Reserved" {
        state = watch.state().await;
    }
    assert_eq!((watch.state().await.as_str(), watch.state().await.as_str()), ("RequestReady", "Ready"), "by itself");

    assert_eq!(rpc.call("Shutdown", &Empty {}).await.0, 0);
    assert_eq!(watch.state().await, "Shutdown");
    assert_eq!(agent.exit_code().await, 0);
    assert_eq!(stage.instance(SESSION), Value::Null);
}

#[tokio::test]
async fn the_ports_are_open_before_the_backend_is_there() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let home = home(&stage);
    let watch = Stopwatch::start();
    let (mut agent, rest, mut rpc) = start(&home).await;
    assert_eq!(rpc.game_server().await.state(), "Starting");
    assert_eq!(rest.get("/gameserver").await.json()["object_meta"]["annotations"]["rallyhere/session_id"], SESSION);
    watch.at_most(5, "the first answer of the SDK");
    assert_eq!(rpc.call("Ready", &Empty {}).await.0, 0);
    assert_eq!(rpc.game_server().await.state(), "RequestReady");
    let (beats, _health) = rpc.sdk("Health").await;
    beats.send(beat()).await.unwrap();
    stage.outage(Outage::None);
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent.finish().await;
}

#[tokio::test]
async fn what_was_accepted_outlives_a_kill() {
    let stage = Stage::start().await;
    let home = home(&stage);
    for turn in 0..4 {
        let (agent, rest, mut rpc) = start(&home).await;
        // Over either way, and killed in the moment of the answer.
        let value = format!("v{turn}");
        assert_eq!(rpc.call("SetLabel", &pair("turn", &value)).await.0, 0);
        let body = format!(r#"{{"key":"turn","value":"{value}"}}"#);
        assert_eq!(rest.call("PUT", "/metadata/annotation", &body).await.status, 200);
        assert_eq!(rpc.call("Allocate", &Empty {}).await.0, 0);
        agent.kill().await;
        let (agent, _, mut rpc) = start(&home).await;
        let told = rpc.game_server().await;
        assert_eq!(told.state(), "Allocated");
        assert_eq!(told.meta().labels["agones.dev/sdk-turn"], value);
        assert_eq!(told.meta().annotations["agones.dev/sdk-turn"], value);
        agent.kill().await;
    }
    start(&home).await.0.finish().await;
}

#[tokio::test]
async fn a_stream_of_heartbeats_that_falls_silent_is_unhealthy_but_not_after_a_restart_of_ours() {
    let stage = Stage::start().await;
    let home = home(&stage).set("health.heartbeat_timeout", "1s");
    let (agent, _, mut rpc) = start(&home).await;
    assert_eq!(rpc.call("Ready", &Empty {}).await.0, 0);
    let (beats, _health) = rpc.sdk("Health").await;
    beats.send(beat()).await.unwrap();
    let mut watch = rpc.watch().await;
    let mut state = String::new();
    while state != "Unhealthy" {
        state = watch.state().await;
    }
    // Also one that is unhealthy may go on, and may end.
    beats.send(beat()).await.unwrap();
    while state != "Ready" {
        state = watch.state().await;
    }
    agent.kill().await;
    let (mut agent, _, mut rpc) = start(&home).await;
    stage.until_beats(3).await;
    assert_ne!(rpc.game_server().await.state(), "Unhealthy", "nobody has sent a heartbeat to this one");
    let (beats, _health) = rpc.sdk("Health").await;
    beats.send(beat()).await.unwrap();
    agent.until("silence", |status| status["health"]["verdict"] == "unhealthy").await;
    assert_eq!(rpc.call("Shutdown", &Empty {}).await.0, 0);
    assert_eq!(agent.exit_code().await, 0);
}

/// Resident memory, in KiB.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn watches(rest: &Via, grpc: SocketAddr, count: usize) {
    for _ in 0..count.div_ceil(100) {
        let mut watchers = JoinSet::new();
        for turn in 0..100 {
            let rest = rest.clone();
            watchers.spawn(async move {
                if turn % 2 == 0 {
                    let mut connection = rest.connect().await;
                    connection.send(&request("GET", "/watch/gameserver", &[], b"")).await;
                    connection.until("}}}").await;
                } else {
                    let mut rpc = Rpc::connect(grpc).await;
                    let mut watch = rpc.watch().await;
                    watch.game_server().await;
                }
            });
        }
        while let Some(watched) = watchers.join_next().await {
            watched.unwrap();
        }
    }
}

#[tokio::test]
async fn three_thousand_watches_leave_no_memory_behind() {
    let stage = Stage::start().await;
    // A log of everything would be the most of what is measured.
    let home = home(&stage).set("log.level", "info");
    let (mut agent, rest, mut rpc) = start(&home).await;
    agent.until_phase("loading").await;
    let (_, grpc) = addresses(&agent).await;
    watches(&rest, grpc, 300).await;
    let before = resident(agent.pid());
    watches(&rest, grpc, 3000).await;
    let after = resident(agent.pid());
    assert!(after < before + 2048, "{before} KiB before, {after} KiB after");
    assert_eq!(rpc.call("Shutdown", &Empty {}).await.0, 0);
    assert_eq!(agent.exit_code().await, 0);
}
