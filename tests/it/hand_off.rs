//! Tests: the hand-off of notifications to the game, with the real program: pushed to a command, a web hook or the log, and
//! asked for by a game that comes back.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::process::agent::Agent;
use crate::process::generations::is_new;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage, until};

mod exec;
mod log;
mod stream;
mod webhook;

/// An agent that serves.
async fn serving(home: &Home, stage: &Stage) -> Agent {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    agent
}

/// So many notifications, one after the other, and their ids. Where they are changes of the session, two of them between two looks
/// are one: each is waited for, and none has an id before it is here.
async fn news(stage: &Stage, agent: &mut Agent, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    if is_new() {
        let gone = |status: &Value| status["api"]["gone"].as_array().is_some_and(|gone| !gone.is_empty());
        agent.until("that there is no poll", gone).await;
    }
    for number in 1..=count {
        let received = |status: &Value| status["counters"]["notifications_received"].as_u64().unwrap_or_default();
        let before = if is_new() { received(&agent.status().await) } else { 0 };
        ids.push(stage.notify(&format!("message {number}")));
        if is_new() {
            agent.until("one more", |status| received(status) > before).await;
        }
    }
    ids
}

/// Whether these are they: in order, or where their ids could not be known, so many different ones.
#[track_caller]
fn are(found: &[String], ids: &[String]) {
    if is_new() {
        let different: BTreeSet<&String> = found.iter().collect();
        assert!(
            found.len() == ids.len() && different.len() == ids.len() && !different.contains(&String::new()),
            "{found:?}"
        );
    } else {
        assert_eq!(found, ids);
    }
}

/// Waits until nothing waits for the game any more.
async fn until_all_is_done(agent: &mut Agent) -> Value {
    let done = |status: &Value| {
        let notifications = &status["notifications"];
        notifications["inbox"] == 0 && notifications["hand_off"]["state"] == "idle"
    };
    agent.until("an empty inbox", done).await
}

/// The ids of those set aside, and why.
async fn set_aside(agent: &mut Agent) -> Vec<(String, String, u64)> {
    let kept = agent.get("/v1/notifications/set_aside").await;
    let entry = |entry: &Value| {
        let id = entry["notification"]["notification_id"].as_str().unwrap().to_owned();
        (id, entry["reason"].as_str().unwrap().to_owned(), entry["tries"].as_u64().unwrap())
    };
    kept["set_aside"].as_array().unwrap().iter().map(entry).collect()
}

/// The whole lines of a file; none if there is no file yet.
fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Waits until a file has so many lines.
pub(crate) async fn until_lines(file: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", file.display()), async || {
        Some(lines(file)).filter(|lines| lines.len() >= count)
    })
    .await
}

/// Waits until a process does nothing any more, buried or not.
async fn until_gone(pid: &str) {
    until("the end of a process", async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        state.is_none_or(|state| state == 'Z').then_some(())
    })
    .await;
}
