//! kill -9 at every system call by which a report is accepted and sent, and by which the state is made and read.
//!
//! One run per system call and number: `strace` kills the agent as it enters its n-th `fdatasync`, say; a plain restart of the
//! same state directory must then keep every promise. Numbers go up until a run comes through unharmed. Calls that only look
//! are left out: a kill before them is a kill before the next that acts. `RALLYHERE_SYSCALL_STRIDE` tries every so many-th number only.

use std::sync::Mutex;
use std::time::Duration;

use rallyhere_agent::clock;
use rallyhere_agent::simulator::Fault;
use serde_json::json;
use tokio::runtime::Builder;

use super::tools::{number, strace, tell};
use super::witness::{Sums, Told, Witness, ask, judge_instance, said};
use crate::process::agent::Agent;
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::stage::{SESSION, Stage, until};

/// Those of the store and the token's file, and those of both ends of the network.
const CALLS: [&str; 14] = [
    "fdatasync",
    "fsync",
    "pwrite64",
    "write",
    "writev",
    "recvfrom",
    "connect",
    "rename",
    "renameat",
    "ftruncate",
    "fallocate",
    "unlinkat",
    "mkdir",
    "flock",
];
/// More calls of a kind than this are not on any path.
const MANY: usize = 60;
/// Runs at a time: most of a run is waiting.
const WORKERS: usize = 6;

/// Which life of the agent is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The first, on an empty disk.
    First,
    /// The one after a kill, which has something to recover and to send.
    Second,
}

/// Where a kind of call stands.
struct Progress {
    life: Life,
    call: &'static str,
    next: usize,
    /// A run came through: there are no more.
    done: bool,
}

#[derive(Default)]
struct Total {
    runs: usize,
    kills: usize,
    sums: Sums,
    slowest_beat: Duration,
}

/// A game that does the same things in every run, and goes on where it was after a restart.
struct Game<'a> {
    stage: &'a Stage,
    home: &'a Home,
    witness: Witness,
    step: usize,
}

impl Game<'_> {
    async fn tells(&mut self, agent: &mut Agent, number: usize) -> Option<()> {
        let told = Told { writer: 0, number };
        let (line, body) = if number == 1 {
            ("POST /v1/events", json!({"event_code": told.words()}))
        } else {
            ("POST /v1/fubar", json!({"error": told.words(), "key": told.words()}))
        };
        let (status, answer) = ask(agent, self.home, line, Some(body)).await?;
        assert_eq!(status, 202, "{answer}");
        self.witness.accepted(&told, &answer);
        Some(())
    }

    /// Takes what waits and acknowledges one.
    async fn reads(&mut self, agent: &mut Agent, until_done: usize) -> Option<()> {
        while self.witness.done() < until_done {
            let (_, page) = ask(agent, self.home, "GET /v1/notifications?wait=1", None).await?;
            self.witness.read(&page);
            if let Some(oldest) = self.witness.oldest().filter(|_| self.witness.done() < until_done) {
                self.witness.acknowledging(&oldest);
                let (status, answer) =
                    ask(agent, self.home, "POST /v1/notifications/ack", Some(json!({"notification_id": oldest})))
                        .await?;
                assert_eq!(status, 200, "{answer}");
                self.witness.acknowledged();
            }
        }
        Some(())
    }

    async fn step(&mut self, agent: &mut Agent) -> Option<()> {
        match self.step {
            0 => {
                let (status, answer) = ask(agent, self.home, "POST /v1/ready", Some(said())).await?;
                assert_eq!(status, 200, "{answer}");
            }
            1 => self.tells(agent, 0).await?,
            2 => {
                let joinable = || self.stage.instance(SESSION)["join_status"] == "joinable";
                until("joinable", async || (joinable() || !agent.is_running()).then_some(())).await;
                joinable().then_some(())?;
                let written = [self.stage.notify("1"), self.stage.notify("2"), self.stage.notify("3")];
                self.witness.published.extend(written);
            }
            3 => self.reads(agent, 1).await?,
            4 => self.tells(agent, 1).await?,
            5 => self.reads(agent, 2).await?,
            6 => self.tells(agent, 2).await?,
            7 => self.reads(agent, 3).await?,
            8 => {
                // Without asking the agent, whose answers are system calls too.
                let there = || self.witness.has_all_arrived(self.stage);
                until("all reports", async || (there() || !agent.is_running()).then_some(())).await;
                let (_, mut status) = ask(agent, self.home, "GET /v1/status", None).await?;
                while status["outbox"]["waiting"] != 0 {
                    clock::sleep(Duration::from_millis(20)).await;
                    (_, status) = ask(agent, self.home, "GET /v1/status", None).await?;
                }
            }
            _ => {
                // The same key, the same report; also when it is delivered.
                self.tells(agent, 0).await?;
                self.tells(agent, 2).await?;
            }
        }
        self.step += 1;
        Some(())
    }

    /// Plays on; whether the agent lived to the end.
    async fn play(&mut self, agent: &mut Agent) -> bool {
        while self.step < 10 {
            if self.step(agent).await.is_none() {
                return false;
            }
        }
        true
    }
}

/// One run; whether it was a kill.
async fn run(strace: &str, life: Life, call: &str, n: usize, total: &Mutex<Total>) -> bool {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("log.level", "info");
    let mut game = Game { stage: &stage, home: &home, witness: Witness::default(), step: 0 };
    if life == Life::Second {
        // A life before it left reports, a notification and a token behind.
        stage.inject(Fault::Hang {}.on("fubar").times(1));
        let mut agent = home.start();
        while game.step < 5 {
            game.step(&mut agent).await.unwrap();
        }
        agent.kill().await;
        game.witness.killed(&stage);
    }
    let (only, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={n}"));
    let mut agent = home.start_under(&[strace, "-D", "-f", "-qq", "-o", "/dev/null", "-e", &only, "-e", &inject]);
    let killed = !game.play(&mut agent).await;
    let mut beat = Duration::ZERO;
    if killed {
        until("the end", async || (!agent.is_running()).then_some(())).await;
        drop(agent);
        game.witness.killed(&stage);
        let served = game.step > 2;
        let before = stage.simulator.read_ledger(|ledger| ledger.health.len());
        let logins = stage.logins();
        let began = clock::now();
        agent = home.start();
        if served {
            stage.until("a health post", |ledger| ledger.health.len() > before).await;
            beat = clock::now() - began;
        }
        assert!(game.play(&mut agent).await, "{call} {n}: the restart fell over\n{}", agent.output());
        if served {
            assert_eq!(stage.logins(), logins, "{call} {n}: the token was still good");
        }
    }
    agent.kill().await;
    let sums = game.witness.judge(&stage);
    judge_instance(&stage);
    let mut total = total.lock().unwrap();
    total.runs += 1;
    total.kills += usize::from(killed);
    total.sums += sums;
    total.slowest_beat = total.slowest_beat.max(beat);
    killed
}

/// The next run that is worth it.
fn pick(progress: &Mutex<Vec<Progress>>, stride: usize) -> Option<(Life, &'static str, usize)> {
    let mut progress = progress.lock().unwrap();
    let open = progress.iter_mut().filter(|entry| !entry.done && entry.next <= MANY).min_by_key(|entry| entry.next)?;
    open.next += stride;
    Some((open.life, open.call, open.next - stride))
}

#[test]
fn a_kill_at_any_system_call_loses_nothing() {
    if not_today("2023-11: a script that is the same each time; the changes of a session come when the agent looks") {
        return;
    }
    let Some(strace) = strace() else { return };
    let lives = [Life::First, Life::Second].into_iter();
    let stride = number("RALLYHERE_SYSCALL_STRIDE", 1);
    let first = if stride > 1 { fastrand::usize(1..=stride) } else { 1 };
    let all = lives.flat_map(|life| CALLS.map(|call| Progress { life, call, next: first, done: false }));
    let progress: Mutex<Vec<Progress>> = Mutex::new(all.collect());
    let total = Mutex::new(Total::default());
    let began = clock::now();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                while let Some((life, call, n)) = pick(&progress, stride) {
                    if !runtime.block_on(run(&strace, life, call, n, &total)) {
                        let mut progress = progress.lock().unwrap();
                        let ours = progress.iter_mut().filter(|entry| entry.life == life && entry.call == call);
                        ours.for_each(|entry| entry.done = true);
                    }
                }
            });
        }
    });
    let Total { runs, kills, sums, slowest_beat } = total.into_inner().unwrap();
    let calls: Vec<_> = progress
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|p| format!("{:?} {} {}", p.life, p.call, p.next - stride))
        .collect();
    tell(&format!(
        "{runs} runs, {kills} kills in {:?}: {sums:?}; slowest first beat {slowest_beat:?}; {calls:?}",
        clock::now() - began
    ));
    assert!(kills >= 50 / stride, "{kills} kills prove little");
}
