//! State directories of other versions: what today's agent wrote must be readable for ever, and what a newer one wrote must not hurt.
//!
//! `tests/data/state/v1` was written by the first release of schema 1. It is never to be written again: a new schema gets a
//! directory of its own, which is made and then written by
//! `RALLYHERE_WRITE_STATE=$PWD/tests/data/state/v2 cargo test --test it the_state_of_today_is_read_whole`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rallyhere_agent::core::durable::{Durable, Record};
use rallyhere_agent::core::ids::InstanceName;
use rallyhere_agent::io::store::{self, Finding, Options};
use rallyhere_agent::ports::Store as _;
use serde_json::{Value, json};

use super::witness::ids;
use crate::process::generations::Reports as _;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage};

const FIXTURE: &str = "tests/data/state/v1";
const FILES: [&str; 2] = ["snapshot", "log"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)
}

fn instance() -> InstanceName {
    InstanceName::parse("default").unwrap()
}

/// A directory as the agent makes it, with the fixture in it.
fn copy_to(dir: &Path) {
    fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
    for name in FILES {
        fs::copy(fixture().join(name), dir.join(name)).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn fubar(number: u32, key: Option<&str>) -> Value {
    json!({"record": "accepted", "id": format!("0199aa00-0000-7000-8000-00000000000{number}"), "key": key,
        "accepted": "2026-11-22T10:15:00Z", "content": {"kind": "fubar", "error": format!("stuck {number}"),
        "source_provider": "sic", "matchmaking_profile_id": "p-1", "region": "us-east"}})
}

fn event(number: u32) -> Value {
    json!({"record": "accepted", "id": format!("0199aa00-0000-7000-8000-00000000000{number}"), "key": null,
        "accepted": "2026-11-22T10:15:00Z", "content": {"kind": "event", "event_code": format!("round {number}"),
        "timestamp": "2026-11-22T10:14:59Z", "description": "text", "custom_data": {"score": "3"}}})
}

fn notification(number: u32) -> Value {
    json!({"notification_id": format!("170{number}-0"), "created": "2026-11-22T10:10:00Z", "message": format!("message {number}"),
        "rh_url": null, "etag": null, "custom_data": {}})
}

/// What the fixture's snapshot sums up, and what its log adds: every kind of record that may stand in a serving instance's state.
fn records() -> [Vec<Value>; 2] {
    let sent = |number: u32| format!("0199aa00-0000-7000-8000-00000000000{number}");
    let before = vec![
        json!({"record": "identity", "session": SESSION, "instance": "server-1", "allocation": null}),
        json!({"record": "attached"}),
        json!({"record": "said", "ready": true, "joinable": null, "public_conn_str": "unreal://192.0.2.9:7777",
            "private_conn_str": null, "version": "1.2.3", "custom_data": {"mode": "ctf"}}),
        json!({"record": "cadence", "millis": 1000}),
        json!({"record": "page", "cursor": "1703-0", "notifications": [notification(1), notification(2), notification(3)]}),
        json!({"record": "acked", "through": "1701-0"}),
        fubar(1, Some("crash-1")),
        fubar(2, None),
        fubar(3, Some("crash-3")),
    ];
    let after = vec![
        json!({"record": "sent", "report": sent(1)}),
        json!({"record": "dead", "report": sent(2), "reason": "422"}),
        event(4),
        json!({"record": "page", "cursor": "1704-0", "notifications": [notification(4)]}),
        json!({"record": "acked", "through": "1702-0"}),
        fubar(5, Some("crash-5")),
    ];
    [before, after]
}

fn read(values: Vec<Value>) -> Vec<Record> {
    values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
}

/// Writes the state of [`records`] with today's code.
async fn write(dir: &Path) {
    let [before, after] = records().map(read);
    for records in [before, after] {
        // The second opening sums up the first in a snapshot, and leaves a log that adds to it, as a kill does.
        let opened = store::open(dir, &Options::default(), |_, _| true).unwrap();
        for record in records {
            opened.store.append(&instance(), vec![record]).await.unwrap();
        }
        for name in FILES {
            fs::copy(dir.join(name), dir.join(format!("{name}.kept"))).unwrap();
        }
        opened.store.close(Duration::from_secs(10)).await.unwrap();
    }
    for name in FILES {
        fs::rename(dir.join(format!("{name}.kept")), dir.join(name)).unwrap();
    }
}

#[tokio::test]
async fn the_state_of_today_is_read_whole() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state");
    write(&dir).await;
    if let Some(wanted) = std::env::var_os("RALLYHERE_WRITE_STATE") {
        for name in FILES {
            fs::copy(dir.join(name), Path::new(&wanted).join(name)).unwrap();
        }
    }
    let opened = store::open(&dir, &Options::default(), |_, _| true).unwrap();
    assert_everything_is_there(&opened.recovered[&instance()]);
}

/// What must be there, whatever the code is by now.
#[track_caller]
fn assert_everything_is_there(durable: &Durable) {
    let now = serde_json::to_value(durable).unwrap();
    let words = |field: &str, name: &str| -> Vec<Value> {
        now[field].as_array().unwrap().iter().map(|entry| entry[name].clone()).collect()
    };
    assert_eq!(
        (&now["session"], &now["instance"], &now["allocation"]),
        (&json!(SESSION), &json!("server-1"), &json!(null))
    );
    assert_eq!((&now["attached"], &now["closed"], &now["superseded"]), (&json!(true), &json!(false), &json!(false)));
    assert_eq!((&now["cadence_millis"], &now["cursor"]), (&json!(1000), &json!("1704-0")));
    assert_eq!(now["said"]["ready"], true);
    assert_eq!(now["said"]["public_conn_str"], "unreal://192.0.2.9:7777");
    assert_eq!((&now["said"]["version"], &now["said"]["custom_data"]), (&json!("1.2.3"), &json!({"mode": "ctf"})));
    assert_eq!(now["seen"], json!(["1701-0", "1702-0", "1703-0", "1704-0"]));
    assert_eq!(words("inbox", "notification_id"), ["1703-0", "1704-0"]);
    assert_eq!(words("inbox", "message"), ["message 3", "message 4"]);
    assert_eq!(words("keys", "key"), ["crash-1", "crash-3", "crash-5"]);
    assert_eq!(words("dead", "reason"), ["422"]);
    let outbox: Vec<_> = durable.outbox.iter().map(|report| (report.content.what(), report.content.label())).collect();
    assert_eq!(outbox, [("fubar", "stuck 3"), ("event", "round 4"), ("fubar", "stuck 5")]);
    assert_eq!(now["outbox"][1]["content"]["custom_data"], json!({"score": "3"}));
}

#[tokio::test]
async fn the_state_of_the_first_schema_is_read_whole() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state");
    copy_to(&dir);
    let opened = store::open(&dir, &Options::default(), |_, _| true).unwrap();
    assert_eq!(opened.findings, []);
    assert_everything_is_there(&opened.recovered[&instance()]);
    opened.store.close(Duration::from_secs(10)).await.unwrap();
    // And once more as today's code writes it.
    let opened = store::open(&dir, &Options::default(), |_, _| true).unwrap();
    assert_everything_is_there(&opened.recovered[&instance()]);
}

/// The agent on such a directory: it goes on where the old one was.
async fn goes_on(home: &Home, stage: &Stage, reports: &[&str], events: usize) {
    let mut agent = home.start();
    agent.until_phase("serving").await;
    stage
        .until("the reports", |ledger| {
            ledger.fubars_told().len() == reports.len() && ledger.events_told().len() == events
        })
        .await;
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    let errors = stage.simulator.read_ledger(|ledger| {
        ledger.fubars_told().iter().map(|report| report.body["error"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(errors, reports);
    let page = agent.get("/v1/notifications").await;
    assert_eq!(ids(&page)[..2], ["1703-0", "1704-0"]);
    stage.until_beats(1).await;
    let shown = stage.until_status(SESSION, "joinable").await;
    assert_eq!((&shown["instance_id"], &shown["custom_data"]), (&json!("server-1"), &json!({"mode": "ctf"})));
    assert_eq!(stage.count("register"), 0);
    assert_eq!(agent.status().await["store"]["state"], "ok");
    agent.kill().await;
}

async fn stage_with_the_instance() -> Stage {
    let stage = Stage::start().await;
    stage.simulator.replace_instance(SESSION, Some("server-1")).unwrap();
    stage
}

#[tokio::test]
async fn the_agent_goes_on_from_the_state_of_the_first_schema() {
    let stage = stage_with_the_instance().await;
    let home = Home::new(&stage).set("log.level", "info");
    copy_to(&home.state());
    goes_on(&home, &stage, &["stuck 3", "stuck 5"], 1).await;
}

/// The length of a frame that begins here, and its number.
fn frame_at(bytes: &[u8]) -> Option<(usize, u64)> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let seq = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    Some((20 + usize::try_from(length).ok()?, seq))
}

/// Adds a frame, as the store writes them: magic, length, number, checksum of length, number and payload, payload.
fn push(log: &mut Vec<u8>, payload: &Value) {
    let (mut at, mut seq) = (0, 0);
    while let Some((length, number)) = frame_at(&log[at..]) {
        (at, seq) = (at + length, number);
    }
    let payload = payload.to_string().into_bytes();
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let seq = (seq + 1).to_le_bytes();
    let sum = crc32fast::hash(&[&length[..], &seq, &payload].concat()).to_le_bytes();
    log.extend([&[0xF7, b'R', b'H', 0xFB][..], &length, &seq, &sum, &payload].concat());
}

/// The log that a newer agent would leave.
fn add_what_is_to_come(dir: &Path) -> Vec<u8> {
    let mut log = fs::read(dir.join("log")).unwrap();
    let mut known = fubar(6, Some("crash-6"));
    known["severity"] = json!(9);
    known["content"]["blame"] = json!({"who": "nobody"});
    let mut strange = fubar(7, None);
    strange["content"]["kind"] = json!("telegram");
    let cadence = json!({"record": "cadence", "millis": 1000, "since": "2031-01-01T00:00:00Z"});
    push(
        &mut log,
        &json!({"v": 1, "instance": "default", "records": [json!({"record": "weather", "sky": "blue"}), known, strange, cadence], "trace": 7}),
    );
    push(&mut log, &json!({"v": 1, "process": {"logins": 3}}));
    push(&mut log, &json!({"v": 2, "instance": "default", "deltas": []}));
    push(&mut log, &json!({"v": 1, "instance": "default", "records": [fubar(8, None)]}));
    fs::write(dir.join("log"), &log).unwrap();
    log
}

#[tokio::test]
async fn what_a_newer_agent_wrote_is_kept_aside_and_the_rest_is_used() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("state");
    copy_to(&dir);
    let log = add_what_is_to_come(&dir);
    let opened = store::open(&dir, &Options::default(), |_, _| true).unwrap();
    let unknown: Vec<_> = opened
        .findings
        .iter()
        .filter_map(
            |finding| if let Finding::Unknown { aside, count, .. } = finding { Some((aside, *count)) } else { None },
        )
        .collect();
    assert!(matches!(unknown[..], [(_, 4)]), "two records and two frames: {:?}", opened.findings);
    assert_eq!(opened.findings.len(), 1, "{:?}", opened.findings);
    assert_eq!(fs::read(dir.join(unknown[0].0)).unwrap(), log, "nothing of it is thrown away");
    let labels: Vec<_> = opened.recovered[&instance()].outbox.iter().map(|report| report.content.label()).collect();
    assert_eq!(labels, ["stuck 3", "round 4", "stuck 5", "stuck 6", "stuck 8"]);
}

#[tokio::test]
async fn the_agent_runs_on_what_a_newer_one_left() {
    let stage = stage_with_the_instance().await;
    let home = Home::new(&stage).set("log.level", "info");
    copy_to(&home.state());
    let _log = add_what_is_to_come(&home.state());
    goes_on(&home, &stage, &["stuck 3", "stuck 5", "stuck 6", "stuck 8"], 1).await;
}
