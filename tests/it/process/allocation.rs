//! Ways to be allocated: each source, with the real program; and kill -9 in each of its states.

use std::fs;
use std::path::Path;

use rallyhere_agent::simulator::{AllocationSpec, Fault, Options, SicSpec, SicStatus};
use serde_json::{Value, json};

use super::agent::Agent;
use super::home::Home;
use super::stage::{SESSION, Stage, Stopwatch, options, until};

mod kills;
mod recycled;

const ALLOCATION: &str = "alloc-1";
/// As the simulator and SIC know our server.
const SERVER: &str = "sic_s-7_65535";

/// An environment in which `alloc-1` is bound to a session, and `alloc-2` to another.
async fn stage() -> Stage {
    let bound = |allocation: &str, session: &str| AllocationSpec {
        allocation_id: allocation.to_owned(),
        session_id: Some(session.to_owned()),
        instance_id: None,
    };
    let allocations = vec![bound(ALLOCATION, "s-1"), bound("alloc-2", "s-2")];
    let sessions = vec![rallyhere_agent::simulator::SessionSpec::new(SESSION)];
    Stage::with(Options { allocations, sessions, ..options() }).await
}

/// An agent without a connection string of its own, whose game needs nobody.
fn home(stage: &Stage, source: &str) -> Home {
    Home::new(stage).without("instance.session_id").set("instance.source", source).set("game.ready", "immediate")
}

fn sic(stage: &Stage) -> Home {
    home(stage, "sic")
        .set("allocation.sic_profile_id", "p-1")
        .set("allocation.sic_server_id", "s-7")
        .set("allocation.public_host", "2001:db8::7")
        .set("allocation.public_port", 65535)
}

fn from_file(stage: &Stage, source: &str) -> Home {
    let home = home(stage, source);
    let path = home.path("server.json").display().to_string();
    home.set("allocation.file", path)
}

fn replace(path: &Path, content: &Value) {
    let beside = path.with_extension("new");
    fs::write(&beside, content.to_string()).unwrap();
    fs::rename(beside, path).unwrap();
}

fn set_sic(stage: &Stage, state: SicStatus, allocation: Option<&str>) {
    let allocation_id = allocation.map(str::to_owned);
    stage.simulator.set_sic(&SicSpec { id: SERVER.to_owned(), state, allocation_id, session_id: None }).unwrap();
}

async fn until_waiting(agent: &mut Agent, words: &str) {
    let what = format!("waiting for {words}");
    agent
        .until(&what, |status| {
            status["phase"] == "resolving"
                && status["allocation"]["state"] == "waiting"
                && status["allocation"]["detail"].as_str().is_some_and(|detail| detail.contains(words))
        })
        .await;
}

#[tokio::test]
async fn multiplays_server_json_allocates_and_deallocates() {
    let stage = stage().await;
    let home = from_file(&stage, "multiplay");
    let path = home.path("server.json");
    let mut agent = home.start();
    until_waiting(&mut agent, "server.json").await;
    // Multiplay writes the file before there is an allocation, and somebody writes it in two goes.
    replace(&path, &json!({"AllocationUUID": "", "SessionId": ""}));
    let whole = json!({"AllocationUUID": ALLOCATION, "SessionId": "s-1", "ConnectionIP": "203.0.113.9", "ConnectionPort": 40000}).to_string();
    fs::write(&path, &whole[..40]).unwrap();
    let watch = Stopwatch::start();
    fs::write(&path, &whole).unwrap();
    let instance = stage.until_status("s-1", "joinable").await;
    watch.at_most(10, "from the file to joinable");
    assert_eq!(instance["join_params"]["public_conn_str"], "unreal://203.0.113.9:40000");
    assert_eq!(instance["allocation_id"], ALLOCATION);
    stage.until_beats(2).await;
    fs::remove_file(&path).unwrap();
    stage.until_status("s-1", "closed").await;
    assert_eq!(agent.exit_code().await, 0);
    agent.until_says("server.json names no session any more").await;
}

#[tokio::test]
async fn a_file_of_a_fleet_manager_allocates_and_another_content_ends_it() {
    let stage = stage().await;
    let home = from_file(&stage, "file");
    let path = home.path("server.json");
    replace(&path, &json!({"allocation_id": ALLOCATION, "public_host": "10.0.0.4", "public_port": 7777}));
    let mut agent = home.start();
    let instance = stage.until_status("s-1", "joinable").await;
    assert_eq!(instance["join_params"]["private_conn_str"], "unreal://10.0.0.4:7777");
    assert_eq!(instance["join_params"]["public_conn_str"], "");
    replace(&path, &json!({"allocation_id": "alloc-2", "public_host": "10.0.0.4", "public_port": 7777}));
    stage.until_status("s-1", "closed").await;
    assert_eq!(agent.exit_code().await, 0);
    assert_eq!(stage.instance("s-2")["join_status"], "allocated", "the next life is not begun by this one");
    // The next start serves the next allocation: what was ours is over.
    let mut agent = home.start();
    stage.until_status("s-2", "joinable").await;
    fs::write(&path, "").unwrap();
    assert_eq!(agent.exit_code().await, 0);
}

#[tokio::test]
async fn the_local_api_allocates_durably_and_takes_back() {
    let stage = stage().await;
    let home = home(&stage, "local");
    let mut agent = home.start();
    until_waiting(&mut agent, "POST /v1/allocate").await;
    let mut refused = async |body: Value, status: u16, word: &str| {
        let (found, answer) = agent.call("POST", "/v1/allocate", Some(body.clone())).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.to_string().contains(word), "{body}: {answer}");
    };
    refused(json!({}), 422, "session_id").await;
    refused(json!({"session_id": SESSION, "public_host": "h"}), 422, "public_port").await;
    refused(json!({"session_id": SESSION, "public_port": 65536}), 422, "public_port").await;
    refused(json!({"session_id": SESSION, "host": "h"}), 422, "host").await;
    let wanted = json!({"session_id": SESSION, "public_host": "[2001:db8::9]", "public_port": 65535});
    assert_eq!(agent.call("POST", "/v1/allocate", Some(wanted.clone())).await, (202, json!({})));
    // kill -9 right after the answer: it was durable.
    agent.kill().await;
    let mut agent = home.start();
    let instance = stage.until_status(SESSION, "joinable").await;
    assert_eq!(instance["join_params"]["public_conn_str"], "unreal://[2001:db8::9]:65535");
    assert_eq!(agent.call("POST", "/v1/allocate", Some(wanted)).await, (200, json!({})));
    let (status, answer) = agent.call("POST", "/v1/allocate", Some(json!({"session_id": "s-1"}))).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("already_allocated")));
    assert_eq!(agent.call("DELETE", "/v1/allocate", None).await, (202, json!({})));
    assert_eq!(agent.exit_code().await, 0);
    until("the instance to go", async || stage.instance(SESSION).is_null().then_some(())).await;
}

#[tokio::test]
async fn the_command_line_allocates_too() {
    let stage = stage().await;
    let home = home(&stage, "local");
    let mut agent = home.start();
    until_waiting(&mut agent, "POST /v1/allocate").await;
    let (code, said) =
        home.command(&["allocate", "--allocation", ALLOCATION, "--host", "203.0.113.9", "--port", "7777"]).await;
    assert_eq!((code, said.contains("allocated")), (0, true), "{said}");
    stage.until_status("s-1", "joinable").await;
    let (_, shown) = home.command(&["status"]).await;
    assert!(shown.contains("allocated by local"), "{shown}");
    assert_eq!(home.command(&["allocate", "--end"]).await.0, 0);
    assert_eq!(agent.exit_code().await, 0);
    assert_eq!(home.command(&["allocate"]).await.0, 2, "for which session?");
}

#[tokio::test]
async fn a_session_of_our_own_is_made_once_and_hosted_again_after_a_kill() {
    let stage = stage().await;
    let home = home(&stage, "session")
        .set("allocation.session_type", "deathmatch")
        .set("instance.version", "1.2.3")
        .set("allocation.public_host", "203.0.113.9")
        .set("allocation.public_port", 7777);
    let mut agent = home.start();
    let status = agent.until_phase("serving").await;
    let session = status["session"]["session_id"].as_str().unwrap().to_owned();
    let made = stage.simulator.session(&session).unwrap();
    assert_eq!(made["type"], "deathmatch");
    stage.until_status(&session, "joinable").await;
    agent.kill().await;
    let mut agent = home.start();
    let status = agent.until_phase("serving").await;
    assert_eq!(status["session"]["session_id"], session.as_str());
    assert_eq!((stage.count("create_session"), stage.count("register")), (1, 1));
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
}

#[tokio::test]
async fn sic_allocates_and_deallocates_with_one_login_and_over_few_connections() {
    let stage = stage().await;
    let home = sic(&stage);
    let mut agent = home.start();
    until_waiting(&mut agent, "it says deallocated").await;
    assert_eq!(stage.count("sic_register"), 1);
    set_sic(&stage, SicStatus::Allocating, None);
    until_waiting(&mut agent, "it says allocating").await;
    set_sic(&stage, SicStatus::Allocated, Some(ALLOCATION));
    let instance = stage.until_status("s-1", "joinable").await;
    assert_eq!(instance["join_params"]["public_conn_str"], "unreal://[2001:db8::7]:65535");
    let asked = stage.count("sic_state");
    stage.until_count("sic_state", asked + 3).await;
    set_sic(&stage, SicStatus::Deallocated, None);
    stage.until_status("s-1", "closed").await;
    assert_eq!(agent.exit_code().await, 0);
    agent.until_says("SIC has deallocated this server").await;
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn sic_answers_of_401_and_403_refresh_the_login_once_and_an_outage_ends_nothing() {
    let refusal = |code: u16, body: Option<Value>| Fault::Status { code, body, headers: Vec::new() };
    let expired = json!({"auth_success": false, "error_code": "auth_token_expired"});
    for refused in [refusal(401, None), refusal(403, Some(expired)), refusal(403, None)] {
        let stage = stage().await;
        set_sic(&stage, SicStatus::Allocated, Some(ALLOCATION));
        stage.inject(refused.clone().on("sic_register").times(1));
        let home = sic(&stage);
        let agent = home.start();
        stage.until_status("s-1", "joinable").await;
        assert_eq!(stage.logins(), 2, "one more for {refused:?}");
        // From now on it refuses every token, and the session does not.
        stage.inject(refused.on("sic_state"));
        stage.until_beats(3).await;
        stage.simulator.clear_faults();
        stage.inject(refusal(502, Some(json!("<html>"))).on("sic_state"));
        stage.until_beats(3).await;
        assert_eq!((stage.logins(), &stage.instance("s-1")["join_status"]), (2, &json!("joinable")));
        agent.kill().await;
    }
    let stage = stage().await;
    let missing = json!({"auth_success": true, "error_code": "insufficient_role"});
    stage.inject(refusal(403, Some(missing)).on("sic_register"));
    let home = sic(&stage);
    let mut agent = home.start();
    agent.until("the missing permission", |status| status["auth"]["state"] == "denied").await;
    assert_eq!(stage.logins(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_kill_in_each_waiting_state_of_each_source_is_taken_up_where_it_was() {
    let stage = stage().await;
    // Waiting for SIC: registered, and nothing more.
    let home = sic(&stage);
    let mut agent = home.start();
    until_waiting(&mut agent, "it says deallocated").await;
    agent.kill().await;
    set_sic(&stage, SicStatus::Allocated, Some(ALLOCATION));
    let mut agent = home.start();
    agent.until_phase("serving").await;
    assert_eq!(stage.count("sic_register"), 2);
    agent.kill().await;
    // Killed while it served: the same life, which it asked SIC about first.
    let watch = Stopwatch::start();
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_beats(1).await;
    watch.at_most(10, "back to health after kill -9");
    assert_eq!(stage.instance("s-1")["join_status"], "joinable");
    agent.kill().await;
    // Deallocated meanwhile: closed in good order.
    set_sic(&stage, SicStatus::Deallocated, None);
    let mut agent = home.start();
    stage.until_status("s-1", "closed").await;
    assert_eq!(agent.exit_code().await, 0);

    // Waiting for a file, with the allocation given while nobody looked, and bound to no session yet.
    let home = from_file(&stage, "file");
    let mut agent = home.start();
    until_waiting(&mut agent, "allocation.file").await;
    agent.kill().await;
    replace(&home.path("server.json"), &json!({"allocation_id": "alloc-3", "public_host": "h", "public_port": 1}));
    let mut agent = home.start();
    agent.until("an allocation that is looked for", |status| status["allocation"]["state"] == "allocated").await;
    stage.until_count("find_session", 1).await;
    agent.kill().await;
    let bound =
        AllocationSpec { allocation_id: "alloc-3".to_owned(), session_id: Some(SESSION.to_owned()), instance_id: None };
    stage.simulator.allocate(&bound).unwrap();
    let agent = home.start();
    stage.until_status(SESSION, "joinable").await;
    agent.kill().await;
}

#[tokio::test]
async fn a_game_that_waits_is_warm_when_it_is_allocated() {
    let stage = stage().await;
    let command = toml::Value::Array(["sleep", "600"].map(toml::Value::from).to_vec());
    let home = home(&stage, "local").set("game.command", command).set("game.start", "waiting");
    let mut agent = home.start();
    let status = agent.until("a warm game", |status| status["game"]["pid"].is_u64()).await;
    assert_eq!((&status["phase"], &status["allocation"]["state"]), (&json!("resolving"), &json!("waiting")));
    let allocation = json!({"allocation_id": ALLOCATION, "public_host": "203.0.113.9", "public_port": 7777});
    agent.post("/v1/allocate", allocation).await;
    stage.until_status("s-1", "joinable").await;
    assert_eq!(agent.status().await["game"]["pid"], status["game"]["pid"]);
    agent.call("DELETE", "/v1/allocate", None).await;
    assert_eq!(agent.exit_code().await, 0);
}
