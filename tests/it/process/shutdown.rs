//! The host asks for the end: by a file, by a command that watches over the machine, by logind. All end in the same drain.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rallyhere_agent::core::shutdown::TERMINATE;
use serde_json::json;

use super::agent::Agent;
use super::home::Home;
use super::stage::{SESSION, Stage};

mod cloud;
pub(crate) mod logind;
mod real;

use logind::{FakeLogind, Heard};

/// Somebody is connected: the drain waits for it.
async fn with_a_game(home: &Home) -> Agent {
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("serving").await;
    agent
}

/// An agent for which the system bus is on the test's own disk.
fn on_its_bus(home: Home) -> Home {
    let bus = format!("unix:path={}", home.path("bus").display());
    home.env("DBUS_SYSTEM_BUS_ADDRESS", bus)
}

async fn drains_for(agent: &mut Agent, stage: &Stage, reason: &str) {
    let status = agent.until_phase("draining").await;
    assert_eq!(status["drain"]["reason"], reason);
    stage.until_status(SESSION, "closed").await;
    agent.until_says(reason).await;
}

#[tokio::test]
async fn a_trigger_file_drains_with_its_first_line_as_the_reason() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let file = home.path("drain");
    let home = home.set("shutdown.trigger_file", file.to_str().unwrap());
    let mut agent = with_a_game(&home).await;
    fs::write(&file, "a new kernel\nand more\n").unwrap();
    drains_for(&mut agent, &stage, "trigger file: a new kernel").await;
    agent.finish().await;
    assert!(stage.instance(SESSION).is_null());
}

#[tokio::test]
async fn a_host_whose_trigger_file_is_there_at_the_start_serves_nobody() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let file = home.path("drain");
    fs::write(&file, "").unwrap();
    let home = home.set("shutdown.trigger_file", file.to_str().unwrap());
    let mut agent = home.start();
    assert_eq!(agent.exit_code().await, 0);
    let said = agent.output();
    assert!(said.contains("WARN  the trigger file was there at the start"), "{said}");
    assert!(stage.instance(SESSION).is_null());
}

#[tokio::test]
async fn a_directory_in_place_of_the_trigger_file_drains_nobody_and_is_told() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let folder = home.path("drain");
    fs::create_dir(&folder).unwrap();
    let home = home.set("shutdown.trigger_file", folder.to_str().unwrap());
    let mut agent = with_a_game(&home).await;
    agent.until_says("the trigger file cannot be looked at: it is no file").await;
    fs::remove_dir(&folder).unwrap();
    assert_eq!(agent.status().await["phase"], "serving");
    fs::write(&folder, "now it is one").unwrap();
    drains_for(&mut agent, &stage, "trigger file: now it is one").await;
    agent.finish().await;
}

#[tokio::test]
async fn a_termination_notice_drains_and_a_broken_script_does_not() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let (script, fresh) = (home.path("notice"), home.path("notice.new"));
    let write = |body: &str| {
        fs::write(&fresh, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &script).unwrap();
    };
    write("echo terminate; exit 1");
    let command: Vec<toml::Value> = vec![script.to_str().unwrap().into()];
    let home = home.set("shutdown.notice", command).set("shutdown.notice_interval", "1s");
    let mut agent = with_a_game(&home).await;
    agent.until_says("WARN  the command of shutdown.notice does not work: exit code 1: terminate").await;
    assert_eq!(agent.status().await["phase"], "serving");
    write(&format!("echo 'spot interruption'; exit {TERMINATE}"));
    drains_for(&mut agent, &stage, "termination notice: spot interruption").await;
    agent.finish().await;
}

#[tokio::test]
async fn a_reboot_waits_for_the_match() {
    let stage = Stage::start().await;
    let home =
        Home::new(&stage).set("shutdown.inhibit", "on").set("instance.public_conn_str", "unreal://192.0.2.1:7777");
    let logind = FakeLogind::on(home.path("bus"));
    let home = on_its_bus(home);
    let mut agent = home.start();
    agent.post("/v1/health", json!({"status": "healthy"})).await;
    agent.until_phase("loading").await;
    // Nobody is served yet: only the news is listened to.
    assert_eq!(logind.next().await, Heard::Listens);
    agent.post("/v1/ready", json!({})).await;
    assert_eq!(logind.next().await, Heard::Inhibits("shutdown rallyhere-agent delay".to_owned()));
    assert!(logind.is_held());
    logind.shuts_down();
    drains_for(&mut agent, &stage, "the host shuts down").await;
    assert!(logind.is_held(), "players are still there");
    agent.finish().await;
    logind.until_released().await;
}

#[tokio::test]
async fn a_lock_that_is_refused_is_told_and_stops_nothing() {
    let stage = Stage::start().await;
    for (inhibit, level) in [("on", "WARN "), ("auto", "INFO ")] {
        let home = Home::new(&stage).alone().set("shutdown.inhibit", inhibit);
        let logind = FakeLogind::refusing(home.path("bus"));
        let home = on_its_bus(home);
        let mut agent = with_a_game(&home).await;
        agent
            .until_says(&format!(
                "{level} a shutdown of the host does not wait for the match: \
                 org.freedesktop.DBus.Error.AccessDenied: Permission denied"
            ))
            .await;
        // The drain needs no lock.
        logind.shuts_down();
        drains_for(&mut agent, &stage, "the host shuts down").await;
        agent.finish().await;
    }
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_a_warning_only_where_it_must_be() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("shutdown.inhibit", "on");
    let home = on_its_bus(home);
    let agent = home.start();
    agent.until_says("WARN  a shutdown of the host does not wait for the match").await;
    agent.stop().await;
    let home = Home::new(&stage).alone().set("shutdown.inhibit", "auto");
    let home = on_its_bus(home);
    let agent = home.start();
    agent.until_says("DEBUG there is no system bus").await;
    agent.stop().await;
}
