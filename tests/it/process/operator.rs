//! What an operator and a service manager see: mistakes, levels, readiness, a log that nobody reads, and the commands.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rallyhere_agent::simulator::Outage;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::{Reports as _, not_today};
use super::home::Home;
use super::stage::{SESSION, Stage, until};

#[tokio::test]
async fn every_mistake_of_a_configuration_is_named_and_nothing_is_started() {
    let stage = Stage::start().await;
    let home = Home::new(&stage)
        .set("health.default_cadence", "soon")
        .set("notifications.page_size", 1000)
        .set("instance.sesion_id", "demo")
        .set("environment.connect_timeout", true)
        .without("instance.session_id")
        .without("auth.client_id")
        .env("RALLYHERE_AGENT_LOG__LEVL", "info");
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 78);
    let output = agent.output();
    for key in [
        "health.default_cadence",
        "notifications.page_size",
        "instance.sesion_id",
        "environment.connect_timeout",
        "instance.session_id",
        "auth.client_id",
        "RALLYHERE_AGENT_LOG__LEVL",
    ] {
        assert!(output.contains(key), "{key} is not named:\n{output}");
    }
    assert_eq!(stage.requests().len(), 0);
    assert!(!home.state().exists() && !home.socket().exists());
}

#[tokio::test]
async fn the_log_level_changes_on_sighup() {
    let stage = Stage::start().await;
    let mut home = Home::new(&stage).alone().set("log.level", "info");
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_beats(1).await;
    assert!(!agent.output().contains("DEBUG"), "{}", agent.output());
    home.change("log.level", "debug");
    agent.signal(Signal::HUP);
    agent.until_says("secrets and log level were read again").await;
    agent.until_says("DEBUG health accepted").await;
    // A mistake in the file costs the change and nothing else.
    home.change("log.level", "loud");
    agent.signal(Signal::HUP);
    agent.until_says("the configuration was not taken").await;
    stage.until_beats(1).await;
    agent.stop().await;
}

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    /// The lines that nobody has asked for yet.
    heard: VecDeque<String>,
    /// How many status words have come.
    statuses: u32,
}

impl Manager {
    fn on(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: VecDeque::new(), statuses: 0 }
    }

    /// Waits for a line that begins so, behind the one that was waited for before; gives the rest of it.
    async fn until(&mut self, begin: &str) -> String {
        until(&format!("{begin} at the service manager"), async || {
            let mut datagram = [0; 4096];
            while let Ok(count) = self.socket.recv(&mut datagram) {
                self.heard.extend(String::from_utf8_lossy(&datagram[..count]).lines().map(str::to_owned));
            }
            while let Some(line) = self.heard.pop_front() {
                self.statuses += u32::from(line.starts_with("STATUS="));
                if let Some(rest) = line.strip_prefix(begin) {
                    return Some(rest.to_owned());
                }
            }
            None
        })
        .await
    }
}

#[tokio::test]
async fn a_service_manager_is_told_everything() {
    let stage = Stage::start().await;
    stage.outage(Outage::Refuse);
    let home = Home::new(&stage).alone().with_quick_logins();
    let mut manager = Manager::on(&home);
    let notify = home.path("notify").display().to_string();
    let home = home.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "1000000");
    let mut agent = home.start();
    // Ready for the game, whatever the backend does.
    manager.until("READY=1").await;
    assert_eq!(agent.status().await["phase"], "resolving");
    manager.until("WATCHDOG=1").await;
    stage.outage(Outage::None);
    let status = manager.until("STATUS=session demo: serving").await;
    assert_eq!(status, ", healthy");
    manager.until("WATCHDOG=1").await;
    agent.signal(Signal::HUP);
    manager.until("RELOADING=1").await;
    manager.until("MONOTONIC_USEC=").await;
    manager.until("READY=1").await;
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.terminate();
    manager.until("STOPPING=1").await;
    manager.until("EXTEND_TIMEOUT_USEC=").await;
    agent.finish().await;
}

#[tokio::test]
async fn a_service_manager_hears_of_changes_soon_but_not_of_all() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut manager = Manager::on(&home);
    let notify = home.path("notify").display().to_string();
    let home = home.env("NOTIFY_SOCKET", notify);
    let mut agent = home.start();
    agent.until_phase("serving").await;
    manager.until("STATUS=session demo: serving, healthy").await;
    let watch = super::stage::Stopwatch::start();
    agent.post("/v1/health", json!({"status": "degraded"})).await;
    manager.until("STATUS=session demo: serving, degraded").await;
    // A second between two looks, and the rest for a machine that is busy.
    watch.at_most_millis(3000, "the news");
    let before = manager.statuses;
    for _ in 0..50 {
        agent.post("/v1/health", json!({"status": "healthy"})).await;
        agent.post("/v1/health", json!({"status": "degraded"})).await;
    }
    agent.post("/v1/health", json!({"status": "unhealthy"})).await;
    manager.until("STATUS=session demo: serving, unhealthy").await;
    let (told, seconds) = (manager.statuses - before, watch.seconds());
    assert!(f64::from(told) <= seconds + 1.0, "{told} times in {seconds} s");
    agent.finish().await;
}

#[tokio::test]
async fn the_watchdog_is_fed_in_time_however_short_it_is() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let mut manager = Manager::on(&home);
    let notify = home.path("notify").display().to_string();
    // The manager kills what is silent for half a second.
    let home = home.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "500000");
    let agent = home.start();
    manager.until("WATCHDOG=1").await;
    for _ in 0..4 {
        let watch = super::stage::Stopwatch::start();
        manager.until("WATCHDOG=1").await;
        watch.at_most_millis(500, "the watchdog's food");
    }
    agent.stop().await;
}

/// Fills a pipe to the brim.
fn fill(mut pipe: &io::PipeWriter) {
    let flags = fcntl_getfl(pipe).unwrap();
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    for chunk in [4096, 1] {
        while pipe.write(&vec![b'.'; chunk]).is_ok() {}
    }
    fcntl_setfl(pipe, flags).unwrap();
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let (unread, out) = io::pipe().unwrap();
    fill(&out);
    let config = home.config().display().to_string();
    let mut agent = Agent::spawn(&home, &["run", "--config", &config], out.try_clone().unwrap().into(), out.into());
    agent.until_phase("serving").await;
    // More lines than the queue of the log holds.
    for _ in 0..600 {
        agent.post("/v1/health", json!({"status": "healthy"})).await;
        agent.post("/v1/health", json!({"status": "degraded"})).await;
    }
    let failed = agent.status().await["counters"]["health_failed"].clone();
    stage.until_beats(2).await;
    assert_eq!(failed, 0);
    agent.finish().await;
    drop(unread);
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_stops_nothing() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let (reader, out) = io::pipe().unwrap();
    let config = home.config().display().to_string();
    let mut agent = Agent::spawn(&home, &["run", "--config", &config], Stdio::null(), out.into());
    agent.until_phase("serving").await;
    drop(reader);
    stage.until_beats(2).await;
    agent.finish().await;
}

#[tokio::test]
async fn the_commands_speak_to_a_running_agent() {
    if not_today("2023-11: the commands are of the local API, which is the same") {
        return;
    }
    let stage = Stage::start().await;
    let home = Home::new(&stage);
    let mut agent = home.start();
    agent.until_phase("loading").await;
    let socket = home.socket().display().to_string();
    let (code, _) =
        home.command(&["ready", "--public-conn-str", "unreal://192.0.2.7:7777", "--data", "mode=ctf"]).await;
    assert_eq!(code, 0);
    assert_eq!(stage.until_status(SESSION, "joinable").await["custom_data"]["mode"], "ctf");

    let (code, text) = home.command(&["status", "--json", "--socket", &socket]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &status["phase"], &status["ready"]), (0, &json!("serving"), &json!(true)));
    let (code, text) = home.command(&["status"]).await;
    assert!(code == 0 && text.contains("serving"), "{text}");

    assert_eq!(home.command(&["health", "degraded", "--reason", "slow disk"]).await.0, 0);
    stage.until("the game's word", |ledger| ledger.health.iter().any(|post| post.sent == "degraded")).await;

    let (code, report) = home.command(&["fubar", "stuck", "--key", "k1"]).await;
    assert_eq!(home.command(&["fubar", "stuck", "--key", "k1"]).await, (code, report));
    let (code, event) = home.command(&["event", "round_over", "--data", "round=2"]).await;
    assert_eq!(code, 0);
    stage.until("both", |ledger| ledger.fubars_told().len() + ledger.events_told().len() == 2).await;
    let ledger = stage.simulator.ledger();
    assert_eq!(ledger.events_told()[0].body["custom_data"], json!({"round": "2", "report_id": event.trim()}));

    let id = stage.notify("hello");
    agent.until("it", |status| status["notifications"]["inbox"] == 1).await;
    let (code, line) = home.command(&["notifications", "--ack"]).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((code, &line["notification_id"]), (0, &json!(id)));
    assert_eq!(home.command(&["notifications"]).await, (0, String::new()));

    assert_eq!(home.command(&["drain", "--reason", "patch day"]).await.0, 0);
    let status = agent.until_phase("draining").await;
    assert_eq!(status["drain"]["reason"], "patch day");
    stage.until_status(SESSION, "closed").await;
    agent.finish().await;
    let (code, words) = home.command(&["status"]).await;
    assert!(code == 1 && words.contains(&socket), "{code} {words}");
}

#[tokio::test]
async fn check_prints_the_configuration_without_its_secrets() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).without("auth.client_secret_file").set("auth.client_secret", super::stage::SECRET);
    let config = home.config().display().to_string();
    let (code, text) = home.command(&["check", "--config", &config]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("[redacted]") && text.contains("session_id = \"demo\""), "{text}");
    fs::write(home.config(), "instance.session_id = 7\n").unwrap();
    let (code, text) = home.command(&["check", "--config", &config]).await;
    assert!(code == 78 && text.contains("instance.session_id") && text.contains("environment.url"), "{text}");
    assert_eq!(stage.requests().len(), 0);
}
