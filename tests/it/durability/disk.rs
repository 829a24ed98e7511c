//! A disk that is full, read-only, gone or broken under the real program: health goes on, nothing is called durable that is not, and
//! all is well within one cadence of the disk.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::Fault;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::tools::{own_mounts, strace, tell};
use super::witness::ids;
use crate::process::agent::Agent;
use crate::process::generations::{Reports as _, is_new};
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage, until};

/// One cadence: a failing store is tried every second.
const SOON: Duration = Duration::from_millis(1500);

/// What was said to an agent, and whether it was taken.
struct Talk {
    agent: Agent,
    number: usize,
    accepted: Vec<String>,
    refused: Vec<String>,
    notified: Vec<String>,
}

impl Talk {
    async fn begin(stage: &Stage, agent: Agent) -> Self {
        let mut talk = Self { agent, number: 0, accepted: Vec::new(), refused: Vec::new(), notified: Vec::new() };
        talk.agent.until_phase("serving").await;
        stage.until_status(SESSION, "joinable").await;
        talk
    }

    /// Reports something; whether it was taken, and else why not.
    async fn report(&mut self) -> Result<(), String> {
        self.number += 1;
        let words = format!("report {}", self.number);
        let (status, answer) = self.agent.call("POST", "/v1/fubar", Some(json!({"error": words, "key": words}))).await;
        if status == 202 {
            self.accepted.push(words);
            return Ok(());
        }
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("not_durable")), "{answer}");
        self.refused.push(words);
        Err(answer["error"]["message"].as_str().unwrap().to_owned())
    }

    /// While the disk is in trouble: nothing is accepted, and all the rest goes on.
    async fn endures(&mut self, stage: &Stage, reason: &str, state: &str) {
        for _ in 0..3 {
            let why = self.report().await.unwrap_err();
            assert!(why.contains(reason), "{why}");
            // The SDK of Agones says it in its own way, and means it too.
            let (status, answer) = self.agent.call("PUT", "/metadata/label", Some(json!({"key": "k"}))).await;
            assert_eq!((status, &answer["code"]), (503, &json!(14)), "{answer}");
            assert_eq!(self.agent.get("/gameserver").await["object_meta"]["labels"], json!({}));
            stage.until_beats(1).await;
        }
        let status = self.agent.status().await;
        assert_eq!((&status["phase"], &status["store"]["state"]), (&json!("serving"), &json!(state)));
        self.notified.push(stage.notify("in hard times"));
        self.agent.until("the notification", |status| status["notifications"]["inbox"] == self.notified.len()).await;
        let page = self.agent.get("/v1/notifications").await;
        // Where it is a change of the session, only the agent knows the id.
        assert!(ids(&page) == self.notified || is_new(), "{page}");
    }

    /// The disk is well again: so is everything else, soon. Gives how soon.
    async fn recovers(&mut self, stage: &Stage) -> Duration {
        let began = clock::now();
        while self.report().await.is_err() {
            clock::sleep(Duration::from_millis(20)).await;
        }
        let took = clock::now() - began;
        assert!(took <= SOON, "durable again after {took:?}");
        self.agent.until("a store that is well", |status| status["store"]["state"] == "ok").await;
        stage.until_beats(1).await;
        took
    }

    /// What was accepted is delivered, once and in order; what was refused is not.
    async fn delivers(&mut self, stage: &Stage) {
        let wanted = self.accepted.len();
        stage.until("the reports", |ledger| ledger.fubars_told().len() >= wanted).await;
        self.agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
        assert_eq!(delivered(stage), self.accepted, "refused: {:?}", self.refused);
    }
}

fn delivered(stage: &Stage) -> Vec<String> {
    let error = |body: &Value| body["error"].as_str().unwrap().to_owned();
    stage.simulator.read_ledger(|ledger| ledger.fubars_told().iter().map(|report| error(&report.body)).collect())
}

/// A health gap is what the backend sees of all this.
#[track_caller]
fn assert_no_beat_missed(stage: &Stage) {
    let beats: Vec<u64> = stage.simulator.read_ledger(|ledger| ledger.health.iter().map(|beat| beat.at_ms).collect());
    let worst = beats.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    assert!(worst <= 1500, "{worst} ms without a health post");
}

/// A small file system of the agent's own, where its state is to be.
fn on_a_small_disk(home: &Home, and_then: &str) -> Option<Agent> {
    let script = format!("mount -t tmpfs -o size=512k,mode=700 none \"$XDG_STATE_HOME\" && {and_then} exec \"$@\"");
    let words = own_mounts()?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(["/bin/sh", "-c", &script, "sh"]);
    Some(home.start_under(&words))
}

/// The same directory as the agent sees it.
fn as_seen_by(agent: &Agent, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", agent.pid(), path.display()))
}

#[tokio::test]
async fn a_disk_that_others_fill() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let Some(agent) = on_a_small_disk(&home, "") else { return };
    let mut talk = Talk::begin(&stage, agent).await;
    talk.report().await.unwrap();
    let filler = as_seen_by(&talk.agent, &home.path("state/filler"));
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    // What the disk had promised before is still there to be used.
    while talk.report().await.is_ok() {}
    talk.endures(&stage, "full", "full").await;
    drop(file);
    fs::remove_file(filler).unwrap();
    let took = talk.recovers(&stage).await;
    talk.delivers(&stage).await;
    assert_no_beat_missed(&stage);
    tell(&format!(
        "full disk: {} taken, {} refused, durable again after {took:?}",
        talk.accepted.len(),
        talk.refused.len()
    ));
    talk.agent.kill().await;
}

#[tokio::test]
async fn a_disk_that_is_read_only_at_the_start() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let Some(agent) = on_a_small_disk(&home, "mount -o remount,ro \"$XDG_STATE_HOME\" &&") else { return };
    let mut talk = Talk::begin(&stage, agent).await;
    talk.endures(&stage, "read-only", "read_only").await;
    let (pid, state) = (talk.agent.pid().to_string(), home.path("state"));
    let mut remount = Command::new("nsenter");
    remount.args(["-t", &pid, "-m", "mount", "-o", "remount,rw"]).arg(&state);
    assert!(remount.status().unwrap().success());
    let took = talk.recovers(&stage).await;
    talk.delivers(&stage).await;
    assert_no_beat_missed(&stage);
    tell(&format!("read-only at the start: {} refused, durable again after {took:?}", talk.refused.len()));
    talk.agent.kill().await;
}

/// Makes system calls of a running agent fail, until it is let go.
struct Trouble(Child);

impl Trouble {
    async fn begin(strace: &str, agent: &Agent, calls: &str, error: &str) -> Self {
        let (pid, only) = (agent.pid().to_string(), format!("trace={calls}"));
        let inject = format!("inject={calls}:error={error}");
        let mut command = Command::new(strace);
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &only, "-e", &inject, "-p", &pid]);
        let trouble = Self(command.stdin(Stdio::null()).spawn().unwrap());
        until("every thread traced", async || (threads(agent).iter().all(|tracer| *tracer != 0)).then_some(())).await;
        trouble
    }

    async fn end(mut self, agent: &Agent) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        until("no thread traced", async || (threads(agent).iter().all(|tracer| *tracer == 0)).then_some(())).await;
        self.0.wait().unwrap();
    }
}

/// Who traces each thread of an agent.
fn threads(agent: &Agent) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let tracer = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
    };
    tasks.filter_map(|task| tracer(task.ok()?.path())).collect()
}

async fn broken(calls: &str, error: &str, reason: &str, state: &str) {
    let Some(strace) = strace() else { return };
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let mut talk = Talk::begin(&stage, home.start()).await;
    talk.report().await.unwrap();
    let trouble = Trouble::begin(&strace, &talk.agent, calls, error).await;
    talk.endures(&stage, reason, state).await;
    trouble.end(&talk.agent).await;
    let took = talk.recovers(&stage).await;
    talk.delivers(&stage).await;
    assert_no_beat_missed(&stage);
    tell(&format!("{error} on {calls}: {} refused, durable again after {took:?}", talk.refused.len()));
    // And after a kill nothing of what was refused comes up.
    let (accepted, notified) = (talk.accepted.clone(), talk.notified.clone());
    talk.agent.kill().await;
    let mut agent = home.start();
    agent.until_phase("serving").await;
    let page = agent.get("/v1/notifications").await;
    let kept = ids(&page);
    assert!(kept == notified || (is_new() && kept.len() == notified.len()), "{kept:?}");
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    stage.until_beats(1).await;
    assert_eq!(delivered(&stage), accepted);
    agent.kill().await;
}

#[tokio::test]
async fn a_disk_whose_syncs_fail() {
    broken("fdatasync", "EIO", "directory failed", "failed").await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only() {
    broken("pwrite64,openat,unlinkat,renameat,ftruncate,fallocate", "EROFS", "read-only", "read_only").await;
}

#[tokio::test]
async fn a_disk_that_is_full_for_everything() {
    broken("pwrite64,fallocate", "ENOSPC", "full", "full").await;
}

#[tokio::test]
async fn a_state_directory_that_is_removed_is_made_again() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone().set("log.level", "info");
    let mut talk = Talk::begin(&stage, home.start()).await;
    // It waits for a backend that does not take it, and its only copy on disk goes.
    stage.inject(Fault::Hang {}.on("fubar"));
    talk.report().await.unwrap();
    fs::remove_dir_all(home.state()).unwrap();
    let took = talk.recovers(&stage).await;
    tell(&format!("state directory removed: {} refused, durable again after {took:?}", talk.refused.len()));
    assert_no_beat_missed(&stage);
    talk.agent.kill().await;
    stage.simulator.clear_faults();
    talk.agent = home.start();
    talk.delivers(&stage).await;
    stage.until_beats(1).await;
    assert_eq!(stage.count("register"), 1);
    talk.agent.kill().await;
}
