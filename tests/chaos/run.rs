//! One run: an environment, an agent on it, a game that listens and reports, and whoever watches. Everything that happens is in its
//! time line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::{ClientSpec, Ledger, Options, SessionSpec, Simulator};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::door::Door;
use crate::front::{self, Tls};
use crate::game;
use crate::ills::Ills;
use crate::program::{CLIENT, Home, Process, SECRET};
use crate::scan;
use crate::timeline::{Bounds, Entry, Recorder, What};
use crate::wires::Wires;

/// The session of every run.
pub(crate) const SESSION: &str = "arena";
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long everything may take to be well again: the longest back-off of a poll or a report is a minute.
const RECOVERY: Duration = Duration::from_secs(130);
/// promises.md 21, where the last call may fail.
const STOP: Duration = Duration::from_secs(11);

/// What a run begins with.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Whether the agent reaches the environment over TLS.
    pub(crate) tls: bool,
    /// The number of the network between agent and environment that can swallow everything; `None`: loopback.
    pub(crate) wires: Option<u32>,
    /// Seconds between two health posts.
    pub(crate) cadence: u32,
    /// How often something is published, and how often the game reports something; `None`: never.
    pub(crate) publish: Option<Duration>,
    pub(crate) report: Option<Duration>,
    /// How many descriptors it may have.
    pub(crate) descriptors: u64,
    /// How long a token lives.
    pub(crate) token_lifetime: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            tls: false,
            wires: None,
            cadence: 1,
            publish: Some(Duration::from_millis(400)),
            report: Some(Duration::from_millis(1500)),
            descriptors: 48,
            token_lifetime: Duration::from_secs(3600),
        }
    }
}

/// What every run is given.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// The agent's binary, and whether it is a release build.
    pub(crate) agent: PathBuf,
    pub(crate) release: bool,
    /// Where a run keeps its files.
    pub(crate) dir: PathBuf,
}

/// What the tasks of a run share.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) recorder: Recorder,
    pub(crate) socket: PathBuf,
    /// The process that runs now; 0 if none does.
    pub(crate) pid: Arc<AtomicU32>,
    /// Which of the agents of this run it is.
    pub(crate) generation: Arc<AtomicU32>,
    /// Whether publisher and reporter go on.
    pub(crate) working: Arc<AtomicBool>,
    /// What a report and a notification were called last.
    pub(crate) reports: Arc<AtomicU32>,
}

pub(crate) struct Run {
    pub(crate) recorder: Recorder,
    pub(crate) simulator: Simulator,
    pub(crate) ills: Ills,
    pub(crate) home: Home,
    pub(crate) live: Live,
    pub(crate) wires: Option<Wires>,
    ground: Ground,
    process: Option<Process>,
    served: bool,
    tasks: JoinSet<()>,
}

impl Run {
    /// Puts everything in place; the agent is not started yet.
    pub(crate) async fn prepare(ground: &Ground, plan: &Plan) -> Self {
        let recorder = Recorder::start();
        let simulator = Simulator::new(&Options {
            clients: vec![ClientSpec::new(CLIENT, SECRET)],
            sessions: vec![SessionSpec::new(SESSION)],
            health_cadence_seconds: plan.cadence,
            token_lifetime: plan.token_lifetime,
            undocumented_login: true,
            ..Options::default()
        });
        // A debug build is three times as large, and its code is resident too.
        let memory_kib = if ground.release { 12 * 1024 } else { 40 * 1024 };
        let cadence_ms = u64::from(plan.cadence) * 1000;
        let slack_ms = if ground.release { 100 } else { 200 };
        let restart_ms = if ground.release { 1000 } else { 2000 };
        recorder.note(What::Bounds(Bounds {
            cadence_ms,
            memory_kib,
            descriptors: plan.descriptors,
            restart_ms,
            slack_ms,
        }));

        let wires = plan.wires.map(Wires::lay);
        let outside: IpAddr = plan.wires.map_or_else(|| Ipv4Addr::LOCALHOST.into(), Wires::address);
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let before = TcpListener::bind((outside, 0)).await.expect("the address of the environment");
        let (backend, address) = (behind.local_addr().unwrap(), before.local_addr().unwrap());
        let ills = Ills::new(recorder.clone());
        let tls = plan.tls.then(|| Tls::new(outside));
        let scheme = if plan.tls { "https" } else { "http" };
        let mut home = Home::new(&ground.dir, &format!("{scheme}://{address}"), SESSION);
        // As long as it does not know what the backend expects.
        home.set("health.default_cadence", format!("{}s", plan.cadence));
        if let Some(tls) = &tls {
            let ca = home.path("ca.pem");
            std::fs::write(&ca, &tls.certificate).unwrap();
            home.set("environment.ca_file", ca.display().to_string());
        }
        if let Some(wires) = &wires {
            home.words = wires.words();
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(simulator.serve(behind, std::future::pending()));
        tasks.spawn(front::serve(before, backend, tls, ills.clone(), recorder.clone()));
        let live = Live {
            recorder: recorder.clone(),
            socket: home.socket(),
            pid: Arc::default(),
            generation: Arc::default(),
            working: Arc::new(AtomicBool::new(true)),
            reports: Arc::default(),
        };
        tasks.spawn(game::listen(live.clone()));
        tasks.spawn(game::watch(live.clone(), simulator.clone()));
        tasks.spawn(game::sample(live.clone()));
        if let Some(every) = plan.publish {
            tasks.spawn(game::publish(live.clone(), simulator.clone(), every));
        }
        if let Some(every) = plan.report {
            tasks.spawn(game::report(live.clone(), every));
        }
        let (ground, process) = (ground.clone(), None);
        Self { recorder, simulator, ills, home, live, wires, ground, process, served: false, tasks }
    }

    pub(crate) fn note(&self, what: What) {
        self.recorder.note(what);
    }

    pub(crate) fn start(&mut self) {
        self.live.generation.fetch_add(1, Ordering::Relaxed);
        self.note(What::Started { serving: self.served });
        let process = self.home.start(&self.ground.agent);
        self.live.pid.store(process.pid(), Ordering::Relaxed);
        self.process = Some(process);
    }

    /// Starts it and waits until players may come.
    pub(crate) async fn serve(&mut self) {
        // The first post may come before the instance is joinable, and the next one an hour later.
        let before = self.simulator.read_ledger(|ledger| ledger.health.len());
        self.start();
        self.until_joinable().await;
        let simulator = self.simulator.clone();
        let begun = move || simulator.read_ledger(|ledger| ledger.health.len() > before);
        self.until("a health post", RECOVERY, begun).await;
    }

    pub(crate) async fn until_serving(&mut self) {
        self.until_joinable().await;
        self.until_beats(1).await;
    }

    async fn until_joinable(&mut self) {
        let simulator = self.simulator.clone();
        self.until("an instance that is joinable", RECOVERY, || join_status(&simulator) == "joinable").await;
        self.served = true;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.live.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.live.pid.store(0, Ordering::Relaxed);
            self.note(What::Killed);
        }
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start();
    }

    /// From now on something is wrong; health posts go on all the same.
    pub(crate) fn trouble(&self, words: &str) {
        self.note(What::Trouble { words: words.to_owned(), silent: false, blind: false });
    }

    /// From now on something is wrong, and health posts may be missing.
    pub(crate) fn outage(&self, words: &str) {
        self.note(What::Trouble { words: words.to_owned(), silent: true, blind: false });
    }

    /// The same, and what the agent got of an answer is unknown.
    pub(crate) fn blind(&self, words: &str) {
        self.note(What::Trouble { words: words.to_owned(), silent: true, blind: true });
    }

    pub(crate) fn calm(&self) {
        self.note(What::Calm);
    }

    pub(crate) async fn pass(&mut self, time: Duration) {
        let until = clock::now() + time;
        while clock::now() < until && self.is_alive() {
            clock::sleep(LOOK).await;
        }
    }

    /// Whether the agent still runs; its end is noted once.
    fn is_alive(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some(status) = process.ended() else { return true };
        self.note(What::Exited { code: status.code() });
        self.process = None;
        self.live.pid.store(0, Ordering::Relaxed);
        false
    }

    /// Waits until something is so; false, and an entry, if it never is.
    pub(crate) async fn until(&mut self, what: &str, patience: Duration, mut seen: impl FnMut() -> bool) -> bool {
        let deadline = clock::now() + patience;
        loop {
            if seen() {
                return true;
            }
            if clock::now() > deadline || !self.is_alive() {
                self.note(What::Never { what: what.to_owned() });
                return false;
            }
            clock::sleep(LOOK).await;
        }
    }

    /// Waits until so many health posts more were taken.
    pub(crate) async fn until_beats(&mut self, more: usize) {
        let simulator = self.simulator.clone();
        let beats = move || simulator.read_ledger(|ledger| ledger.health.len());
        let wanted = beats() + more;
        self.until(&format!("{more} health posts more"), RECOVERY, || beats() >= wanted).await;
    }

    /// Waits until a call was struck so often by what is wrong.
    pub(crate) async fn until_no_ill_waits(&mut self, patience: Duration) {
        let ills = self.ills.clone();
        self.until("all that should go wrong", patience, || ills.waiting() == 0).await;
    }

    /// All that was accepted and published has come to where it belongs.
    pub(crate) async fn recover(&mut self) {
        self.live.working.store(false, Ordering::Relaxed);
        self.until_serving().await;
        self.until_beats(2).await;
        let (recorder, simulator) = (self.recorder.clone(), self.simulator.clone());
        let delivered = move || {
            let arrived = simulator.read_ledger(|ledger| {
                ledger
                    .fubars
                    .iter()
                    .map(|report| report.body["error"].to_string())
                    .collect::<std::collections::HashSet<_>>()
            });
            recorder.read(|entries| {
                entries.iter().all(|entry| match &entry.what {
                    What::Accepted { report } => arrived.contains(&json!(report).to_string()),
                    _ => true,
                })
            })
        };
        self.until("every accepted report at the backend", RECOVERY, delivered).await;
        let recorder = self.recorder.clone();
        let handed = move || {
            recorder.read(|entries| {
                let got: std::collections::HashSet<&str> = entries
                    .iter()
                    .filter_map(
                        |entry| if let What::Handed { id, .. } = &entry.what { Some(id.as_str()) } else { None },
                    )
                    .collect();
                entries.iter().all(|entry| match &entry.what {
                    What::Published { id } => got.contains(id.as_str()),
                    _ => true,
                })
            })
        };
        self.until("every notification at the game", RECOVERY, handed).await;
    }

    /// The game is done, and the agent ends in good order.
    pub(crate) async fn stop(&mut self) {
        self.live.working.store(false, Ordering::Relaxed);
        if let Some(text) = scan::metrics(&self.home).await {
            scan::look(&self.recorder, "metrics", &text);
        }
        self.note(What::Told);
        let mut door = Door::new(self.home.socket());
        if door.call("POST", "/v1/shutdown", Some(&json!({}))).await.is_err() {
            self.signal(Signal::TERM);
        }
        let deadline = clock::now() + STOP;
        while self.is_alive() {
            if clock::now() > deadline {
                self.note(What::Never { what: "an end in good order".to_owned() });
                self.kill();
            }
            clock::sleep(LOOK).await;
        }
    }

    /// The whole time line.
    pub(crate) fn finish(mut self) -> Vec<Entry> {
        self.kill_quietly();
        self.tasks.abort_all();
        let ledger = self.simulator.ledger();
        collect(&self.recorder, &ledger);
        let log = std::fs::read(self.home.log()).unwrap_or_default();
        scan::look(&self.recorder, "log", &String::from_utf8_lossy(&log));
        self.recorder.finish()
    }

    fn kill_quietly(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }
}

/// The backend's word for the session's instance; empty if there is none.
pub(crate) fn join_status(simulator: &Simulator) -> String {
    let session: Value = simulator.session(SESSION).unwrap_or_default();
    session["instance"]["join_status"].as_str().unwrap_or_default().to_owned()
}

/// What the simulator saw, as entries.
fn collect(recorder: &Recorder, ledger: &Ledger) {
    for request in &ledger.requests {
        recorder.note_at(
            request.at_ms,
            What::Request {
                call: request.call.unwrap_or_default().to_owned(),
                ended_ms: request.ended_ms,
                status: request.status,
                processed: request.processed,
                struck: request.fault.is_some(),
            },
        );
        if request.call.is_none() {
            let words = format!("there is no {} {}", request.method, request.path);
            recorder.note_at(request.at_ms, What::Complaint { words });
        }
    }
    for beat in &ledger.health {
        recorder.note_at(beat.at_ms, What::Beat { status: beat.sent.clone() });
    }
    for report in &ledger.fubars {
        let name = report.body["error"].as_str().unwrap_or_default().to_owned();
        recorder.note_at(report.at_ms, What::Arrived { report: name });
    }
    for login in ledger.logins.iter().filter(|login| login.error_code.is_none()) {
        recorder.note_at(login.at_ms, What::LoggedIn);
    }
    for refused in &ledger.rejections {
        let words = format!("{} {}: {}", refused.method, refused.path, refused.why.join("; "));
        recorder.note_at(refused.at_ms, What::Complaint { words });
    }
    for odd in &ledger.oddities {
        recorder.note_at(odd.at_ms, What::Complaint { words: odd.what.clone() });
    }
    for taken in &ledger.replacements {
        recorder.note_at(taken.at_ms, What::Complaint { words: "an instance was taken from somebody else".to_owned() });
    }
}

/// An address on which nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A fresh directory for the files of a run; what an earlier run has left there is removed.
pub(crate) fn fresh_dir(parent: &Path, name: &str) -> PathBuf {
    let dir = parent.join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
