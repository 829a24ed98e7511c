//! A host of many: instances that come, change and go, and none that holds up another.

use std::fs;
use std::path::PathBuf;

use rallyhere_agent::simulator::{AllocationSpec, Fault, Options, SessionSpec};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent::Agent;
use super::generations::is_new;
use super::home::Home;
use super::socket;
use super::stage::{SESSION, Stage, options, until};

/// A host of nobody; sessions a, b, c and d are there.
async fn stage_and_home() -> (Stage, Home) {
    let sessions = ["a", "b", "c", "d"].map(SessionSpec::new).into();
    let stage = Stage::with(Options { sessions, ..options() }).await;
    let home = Home::new(&stage).alone().without("instance.session_id").env("RALLYHERE_AGENT_INSTANCES", "{}");
    fs::create_dir(home.path("agent.d")).unwrap();
    (stage, home)
}

fn say(home: &Home, name: &str, keys: &str) {
    fs::write(home.path(&format!("agent.d/{name}.toml")), format!("[instances.{name}]\n{keys}\n")).unwrap();
}

fn hosted(home: &Home, name: &str) {
    say(home, name, &format!("instance.session_id = \"{name}\""));
}

fn taken_out(home: &Home, name: &str) {
    fs::remove_file(home.path(&format!("agent.d/{name}.toml"))).unwrap();
}

fn door(home: &Home, name: &str) -> PathBuf {
    home.path(&format!("run/rallyhere-agent/{name}.sock"))
}

async fn status(home: &Home, name: &str) -> Option<Value> {
    let (_, text) = socket::call(&door(home, name), "GET", "/v1/status", None).await.ok()?;
    serde_json::from_str(&text).ok()
}

async fn until_phase(home: &Home, name: &str, phase: &str) {
    let shown = async || status(home, name).await.filter(|status| status["phase"] == *phase);
    until(&format!("{name} in phase {phase}"), shown).await;
}

fn beats(stage: &Stage, session: &str) -> usize {
    stage.simulator.read_ledger(|ledger| ledger.health.iter().filter(|post| post.session_id == session).count())
}

async fn until_beats(stage: &Stage, session: &str, more: usize) {
    let wanted = beats(stage, session) + more;
    stage
        .until(&format!("{more} health posts more of {session}"), |ledger| {
            ledger.health.iter().filter(|post| post.session_id == session).count() >= wanted
        })
        .await;
}

/// Which instance is registered with a session.
fn instance_of(stage: &Stage, session: &str) -> Value {
    stage.simulator.session(session).map(|session| session["instance"]["instance_id"].clone()).unwrap_or_default()
}

async fn reload(agent: &Agent) {
    let read = "secrets and log level were read again";
    let before = agent.output().matches(read).count();
    agent.signal(Signal::HUP);
    until("the reload", async || (agent.output().matches(read).count() > before).then_some(())).await;
}

#[tokio::test]
async fn instances_come_and_go_by_reload_and_the_others_do_not_notice() {
    let (stage, home) = stage_and_home().await;
    hosted(&home, "a");
    hosted(&home, "b");
    let mut agent = home.start();
    for name in ["a", "b"] {
        until_phase(&home, name, "serving").await;
        until_beats(&stage, name, 1).await;
    }
    assert_eq!(stage.logins(), 1, "one login for all");
    let b = instance_of(&stage, "b");

    hosted(&home, "c");
    taken_out(&home, "a");
    reload(&agent).await;
    until_phase(&home, "c", "serving").await;
    until("a to be unregistered", async || instance_of(&stage, "a").is_null().then_some(())).await;
    until("the socket of a to be gone", async || (!door(&home, "a").exists()).then_some(())).await;
    until_beats(&stage, "b", 2).await;
    assert_eq!((instance_of(&stage, "b"), stage.logins()), (b, 1), "nobody touched it");
    assert_eq!(stage.count("register"), 3);

    // The last one may go as well; the agent is there for others.
    taken_out(&home, "b");
    taken_out(&home, "c");
    reload(&agent).await;
    until("c to be unregistered", async || instance_of(&stage, "c").is_null().then_some(())).await;
    until("the socket of c to be gone", async || (!door(&home, "c").exists()).then_some(())).await;
    assert!(agent.is_running());
    hosted(&home, "d");
    reload(&agent).await;
    until_phase(&home, "d", "serving").await;
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
    assert!(instance_of(&stage, "d").is_null());
}

#[tokio::test]
async fn a_host_can_begin_empty_and_ends_when_it_is_told() {
    let (_stage, home) = stage_and_home().await;
    let mut agent = home.start();
    agent.until_says("rallyhere-agent is there").await;
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
}

#[tokio::test]
async fn a_mistake_in_one_file_costs_the_reload_and_no_instance() {
    let (stage, home) = stage_and_home().await;
    hosted(&home, "a");
    let agent = home.start();
    until_phase(&home, "a", "serving").await;
    say(&home, "b", "instance.sesion_id = \"b\"");
    taken_out(&home, "a");
    reload(&agent).await;
    agent.until_says("instances.b.instance.sesion_id: there is no such key").await;
    until_beats(&stage, "a", 2).await;
    assert_eq!(status(&home, "a").await.unwrap()["phase"], "serving");
    agent.stop().await;
}

#[tokio::test]
async fn one_that_cannot_open_its_door_is_told_of_and_the_others_serve() {
    let (stage, home) = stage_and_home().await;
    hosted(&home, "a");
    let agent = home.start();
    until_phase(&home, "a", "serving").await;
    // Somebody else's file where its socket should be.
    fs::write(door(&home, "b"), "a file").unwrap();
    hosted(&home, "b");
    hosted(&home, "c");
    reload(&agent).await;
    agent.until_says("the instance was not added").await;
    until_phase(&home, "c", "serving").await;
    until_beats(&stage, "a", 1).await;
    assert_eq!(instance_of(&stage, "b"), Value::Null, "nothing of it has happened");
    agent.stop().await;
}

#[tokio::test]
async fn other_settings_are_taken_up_when_the_instance_has_ended() {
    let (stage, home) = stage_and_home().await;
    hosted(&home, "a");
    hosted(&home, "b");
    let agent = home.start();
    until_phase(&home, "a", "serving").await;
    assert_eq!(status(&home, "a").await.unwrap()["settings_waiting"], Value::Null);
    say(&home, "a", "instance.session_id = \"c\"\nhealth.default_cadence = \"7s\"");
    reload(&agent).await;
    agent.until_says("other settings for a running instance").await;
    let waiting = json!(["health.default_cadence", "instance.session_id"]);
    assert_eq!(status(&home, "a").await.unwrap()["settings_waiting"], waiting);
    assert_eq!(status(&home, "b").await.unwrap()["settings_waiting"], Value::Null);
    let socket = door(&home, "a").display().to_string();
    let (_, shown) = home.command(&["status", "--socket", &socket]).await;
    assert!(shown.contains("waiting for its next life: health.default_cadence, instance.session_id"), "{shown}");
    agent.until_says("keys=\"health.default_cadence, instance.session_id\"").await;
    until_beats(&stage, "a", 1).await;
    socket::call(&door(&home, "a"), "POST", "/v1/shutdown", Some(&json!({}))).await.unwrap();
    stage.until_status("c", "joinable").await;
    until_phase(&home, "a", "serving").await;
    let taken_up = status(&home, "a").await.unwrap();
    assert_eq!((&taken_up["session"]["session_id"], &taken_up["settings_waiting"]), (&json!("c"), &Value::Null));
    agent.stop().await;
}

#[tokio::test]
async fn one_that_was_superseded_or_has_ended_stays_to_be_seen_and_the_others_go_on() {
    let (stage, home) = stage_and_home().await;
    for name in ["a", "b", "c"] {
        hosted(&home, name);
    }
    let mut agent = home.start();
    for name in ["a", "b", "c"] {
        until_phase(&home, name, "serving").await;
    }
    stage.simulator.replace_instance("a", Some("somebody-else")).unwrap();
    socket::call(&door(&home, "b"), "POST", "/v1/shutdown", Some(&json!({}))).await.unwrap();
    until_phase(&home, "a", "superseded").await;
    until_phase(&home, "b", "ended").await;
    until_beats(&stage, "c", 2).await;
    assert!(agent.is_running());
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0, "a host does not end as one of its instances did");
}

#[tokio::test]
async fn a_killed_host_takes_up_all_of_its_instances() {
    let (stage, home) = stage_and_home().await;
    for name in ["a", "b"] {
        hosted(&home, name);
    }
    let agent = home.start();
    for name in ["a", "b"] {
        until_phase(&home, name, "serving").await;
    }
    let before = ["a", "b"].map(|name| instance_of(&stage, name));
    agent.kill().await;
    let agent = home.start();
    for name in ["a", "b"] {
        until_phase(&home, name, "serving").await;
        until_beats(&stage, name, 1).await;
    }
    assert_eq!(["a", "b"].map(|name| instance_of(&stage, name)), before);
    assert_eq!((stage.logins(), stage.count("register")), (1, 2), "neither login nor registration is repeated");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_of_one_says_that_a_table_of_instances_waits_for_the_next_start() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    fs::create_dir(home.path("agent.d")).unwrap();
    let agent = home.start();
    stage.until_status(SESSION, "joinable").await;
    hosted(&home, "a");
    reload(&agent).await;
    agent.until_says("the next start takes this change up: a table of [instances]").await;
    stage.until_beats(1).await;
    agent.stop().await;
}

#[tokio::test]
async fn instances_are_listed_added_and_taken_away_by_command() {
    let (stage, home) = stage_and_home().await;
    let mut agent = home.start();
    agent.until_says("rallyhere-agent is there").await;
    let file = home.config().display().to_string();
    let add = [
        "instance",
        "--config",
        &file,
        "add",
        "a",
        "--set",
        "instance.session_id=a",
        "--set",
        "health.unhealthy_after=7",
    ];
    let (code, said) = home.command(&add).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("hosts it"), "{said}");
    until_phase(&home, "a", "serving").await;
    let (code, said) = home.command(&add).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is an instance a already"), "{said}");
    let bad = ["instance", "--config", &file, "add", "b", "--set", "instance.sesion_id=b"];
    let (code, said) = home.command(&bad).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("did you mean instances.b.instance.session_id?"), "{said}");
    assert!(!home.path("agent.d/instance-b.toml").exists());
    let (code, said) = home.command(&["instance", "--config", &file, "list"]).await;
    assert!(code == 0 && said.contains("serving"), "{said}");
    let (code, said) = home.command(&["status", "--instance", "a"]).await;
    assert!(code == 0 && said.contains("serving"), "{said}");
    let (code, said) = home.command(&["instance", "--config", &file, "remove", "a"]).await;
    assert_eq!(code, 0, "{said}");
    until("a to be unregistered", async || instance_of(&stage, "a").is_null().then_some(())).await;
    let (code, said) = home.command(&["instance", "--config", &file, "remove", "a"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(agent.is_running());
    agent.stop().await;
}

/// Allocates an instance of the host.
async fn allocate(home: &Home, name: &str, allocation: &str) {
    let body = json!({"allocation_id": allocation, "public_host": "192.0.2.9", "public_port": 7777});
    let (status, text) = socket::call(&door(home, name), "POST", "/v1/allocate", Some(&body)).await.unwrap();
    assert!([200, 202].contains(&status), "{status} {text}");
}

async fn until_warm(home: &Home, name: &str) -> u64 {
    until(&format!("a warm game of {name}"), async || {
        let status = status(home, name).await?;
        let waits = status["phase"] == "resolving" && status["allocation"]["state"] == "waiting";
        status["game"]["pid"].as_u64().filter(|_| waits)
    })
    .await
}

#[tokio::test]
async fn a_warm_pool_is_allocated_one_by_one_and_refilled() {
    let bound = |n: u32| AllocationSpec {
        allocation_id: format!("alloc-{n}"),
        session_id: Some(format!("s-{n}")),
        instance_id: None,
    };
    let stage = Stage::with(Options { allocations: (1..=3).map(bound).collect(), ..options() }).await;
    let home = Home::new(&stage).without("instance.session_id").set("instance.source", "local");
    let home = home
        .set("game.stop_timeout", "1s")
        .set("instance.recycle", true)
        .set("game.start", "waiting")
        .set("game.ready", "immediate");
    fs::create_dir(home.path("agent.d")).unwrap();
    say(&home, "pool", "count = 3\ngame.command = [\"sleep\", \"600{n}\"]");
    let agent = home.start();
    let mut warm = Vec::new();
    for name in ["pool-1", "pool-2", "pool-3"] {
        warm.push(until_warm(&home, name).await);
    }
    allocate(&home, "pool-2", "alloc-1").await;
    stage.until_status("s-1", "joinable").await;
    until_phase(&home, "pool-2", "serving").await;
    assert_eq!(status(&home, "pool-2").await.unwrap()["game"]["pid"], warm[1], "it was warm");
    allocate(&home, "pool-1", "alloc-2").await;
    until_phase(&home, "pool-1", "serving").await;

    // The match is over: the place is filled again, with another game, and allocated again.
    socket::call(&door(&home, "pool-2"), "POST", "/v1/shutdown", Some(&json!({}))).await.unwrap();
    stage.until_status("s-1", "closed").await;
    assert_ne!(until_warm(&home, "pool-2").await, warm[1]);
    allocate(&home, "pool-2", "alloc-3").await;
    stage.until_status("s-3", "joinable").await;
    until_beats(&stage, "s-2", 1).await;
    assert_eq!(until_warm(&home, "pool-3").await, warm[2], "nobody has touched it");

    // A game that falls over while it waits is replaced as well, and what it left is told.
    let fallen = i32::try_from(warm[2]).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(fallen).unwrap(), Signal::KILL).unwrap();
    until("another warm game", async || Some(until_warm(&home, "pool-3").await).filter(|pid| *pid != warm[2])).await;
    agent.stop().await;
    stage.until_status("s-3", "closed").await;
}

#[tokio::test]
async fn troubles_of_some_are_nobody_elses() {
    // Today's notifications are changes of the session, which nobody can publish for one instance.
    if is_new() {
        return;
    }
    let names = ["well", "hooked", "poisoned", "full", "dark", "taken"];
    let stage = Stage::with(Options { sessions: names.map(SessionSpec::new).into(), ..options() }).await;
    let home = Home::new(&stage).alone().without("instance.session_id").env("RALLYHERE_AGENT_INSTANCES", "{}");
    fs::create_dir(home.path("agent.d")).unwrap();
    for name in names {
        let hook = |command: &str| format!("notifications.deliver = \"exec\"\nnotifications.exec = {command}\n");
        let more = match name {
            "hooked" => hook("[\"sleep\", \"600\"]"),
            "poisoned" => hook("[\"false\"]"),
            "full" => "notifications.inbox_limit = 1".to_owned(),
            _ => String::new(),
        };
        say(&home, name, &format!("instance.session_id = \"{name}\"\n{more}"));
    }
    let agent = home.start();
    for name in names {
        until_phase(&home, name, "serving").await;
    }
    let dark = instance_of(&stage, "dark").as_str().unwrap().to_owned();
    let mut unanswered = Fault::Hang {}.on("poll");
    unanswered.matching.path_contains = Some(dark);
    stage.inject(unanswered);
    stage.simulator.replace_instance("taken", Some("somebody-else")).unwrap();
    for name in ["hooked", "poisoned", "full"] {
        let some = ["one", "two", "three"].map(|message| json!({"message": message}));
        stage.simulator.publish_to_session(name, &some).unwrap();
    }
    until_phase(&home, "taken", "superseded").await;
    let shows = async |name: &str, pointer: &str, wanted: &str| {
        let shown = async || status(&home, name).await.filter(|status| status.pointer(pointer) == Some(&json!(wanted)));
        until(&format!("{name} with {pointer} {wanted}"), shown).await;
    };
    shows("full", "/notifications/state", "paused").await;
    for message in ["a", "b", "c"] {
        let ids = stage.simulator.publish_to_session("well", &[json!({"message": message})]).unwrap();
        let (_, page) = socket::call(&door(&home, "well"), "GET", "/v1/notifications?wait=25", None).await.unwrap();
        let page: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["notifications"][0]["message"], message, "each once, in order: {page}");
        let done = json!({"notification_id": ids[0]});
        socket::call(&door(&home, "well"), "POST", "/v1/notifications/ack", Some(&done)).await.unwrap();
        for name in ["well", "hooked", "poisoned", "full", "dark"] {
            until_beats(&stage, name, 1).await;
        }
    }
    assert_eq!(stage.logins(), 1);
    // A drain would wait for the game that has asked.
    agent.kill().await;
}
