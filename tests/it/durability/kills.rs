//! kill -9 at random moments under load: writers, a reader that acknowledges, and a backend that keeps publishing.
//!
//! Several agents at once, each with its own environment and disk, each killed again and again. `RALLYHERE_KILLS` sets how often
//! in all, `RALLYHERE_SEED` repeats the moments of a run.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use rallyhere_agent::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::tools::{number, strace, tell};
use super::witness::{Sums, Told, Witness, judge_instance, said};
use crate::process::agent::Agent;
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::socket;
use crate::process::stage::{Stage, until};

/// Agents at a time.
const CHAINS: usize = 6;
const WRITERS: usize = 3;
/// Writers hold back when so many wait: a backlog goes out at one report a second, and the end has to wait for it.
const BACKLOG: u64 = 4;
/// The longest life.
const LIFE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(2);

/// One life: everybody talks to the agent until it is gone.
struct Life<'a> {
    stage: &'a Stage,
    socket: &'a Path,
    witness: &'a RefCell<Witness>,
    /// What each writer writes next.
    next: &'a [Cell<usize>; WRITERS],
    over: Cell<bool>,
}

impl Life<'_> {
    /// One try; `None` if there was no answer.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        match socket::call(self.socket, method, path, body.as_ref()).await {
            Ok((status, text)) => Some((status, serde_json::from_str(&text).unwrap())),
            Err(_gone_or_not_there_yet) => {
                clock::sleep(PAUSE).await;
                None
            }
        }
    }

    /// Posts one report after the other, each with its key until it is accepted; every fourth is an event, which has none.
    async fn writes(&self, writer: usize) {
        while !self.over.get() {
            let waiting =
                self.ask("GET", "/v1/status", None).await.and_then(|(_, status)| status["outbox"]["waiting"].as_u64());
            if waiting.is_none_or(|waiting| waiting >= BACKLOG) {
                clock::sleep(PAUSE).await;
                continue;
            }
            let told = Told { writer, number: self.next[writer].get() };
            let event = told.number % 4 == 3;
            let (path, body) = if event {
                ("/v1/events", json!({"event_code": told.words()}))
            } else {
                ("/v1/fubar", json!({"error": told.words(), "key": told.words()}))
            };
            let answer = self.ask("POST", path, Some(body)).await;
            if let Some((status, answer)) = &answer {
                assert_eq!(*status, 202, "{answer}");
                self.witness.borrow_mut().accepted(&told, answer);
            }
            if answer.is_some() || event {
                self.next[writer].set(told.number + 1);
            }
        }
    }

    async fn reads(&self) {
        while !self.over.get() {
            let Some((_, page)) = self.ask("GET", "/v1/notifications?wait=1", None).await else { continue };
            let Some(newest) = self.witness.borrow_mut().read(&page) else { continue };
            self.witness.borrow_mut().acknowledging(&newest);
            let body = json!({"notification_id": newest});
            if let Some((status, answer)) = self.ask("POST", "/v1/notifications/ack", Some(body)).await {
                assert_eq!(status, 200, "{answer}");
                self.witness.borrow_mut().acknowledged();
            }
        }
    }

    async fn publishes(&self) {
        while !self.over.get() {
            let id = self.stage.notify("news");
            self.witness.borrow_mut().published.push(id);
            clock::sleep(PAUSE * 10).await;
        }
    }

    async fn ends(&self, pid: i32, after: Duration) {
        clock::sleep(after).await;
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        self.over.set(true);
    }
}

/// An agent that is killed so many times.
async fn chain(kills: usize, mut rng: Rng, slow: Option<&[&str]>) -> Sums {
    let stage = Stage::start().await;
    let home = Home::new(&stage).set("log.level", "info");
    let socket = home.socket();
    let witness = RefCell::new(Witness::default());
    let next = [const { Cell::new(0) }; WRITERS];
    let mut agent = home.start();
    agent.post("/v1/ready", said()).await;
    stage.until_status(crate::process::stage::SESSION, "joinable").await;
    agent.kill().await;
    let mut longest = LIFE;
    for _ in 0..kills {
        let before = witness.borrow().accepted_so_far();
        let mut agent = home.start_under(slow.unwrap_or_default());
        agent.until_itself().await;
        let life = Life { stage: &stage, socket: &socket, witness: &witness, next: &next, over: Cell::new(false) };
        let after = longest.mul_f64(rng.f64().powi(2));
        tokio::join!(
            life.writes(0),
            life.writes(1),
            life.writes(2),
            life.reads(),
            life.publishes(),
            life.ends(agent.pid(), after)
        );
        until("the end", async || (!agent.is_running()).then_some(())).await;
        witness.borrow_mut().killed(&stage);
        if witness.borrow().accepted_so_far() == before {
            // On a slow machine a life begins slowly.
            longest = (longest * 2).min(LIFE * 20);
        }
    }
    let mut witness = witness.into_inner();
    settle(&stage, &mut home.start(), &mut witness).await;
    assert_eq!(stage.logins(), 1, "the token was good all the time");
    judge_instance(&stage);
    witness.judge(&stage)
}

/// Undisturbed at last: everything goes out, everything comes in.
async fn settle(stage: &Stage, agent: &mut Agent, witness: &mut Witness) {
    while !witness.is_done() {
        let page = agent.get("/v1/notifications?wait=1").await;
        let Some(newest) = witness.read(&page) else { continue };
        witness.acknowledging(&newest);
        agent.post("/v1/notifications/ack", json!({"notification_id": newest})).await;
        witness.acknowledged();
    }
    agent.until("an empty outbox", |status| status["outbox"]["waiting"] == 0).await;
    stage.until_beats(1).await;
}

#[test]
fn kills_at_random_moments_under_load_lose_nothing() {
    if not_today("generations::today_reports_and_events_are_audit_events_and_none_is_lost_or_doubled") {
        return;
    }
    let (kills, seed) = (number("RALLYHERE_KILLS", 60), number("RALLYHERE_SEED", fastrand::usize(..)));
    let began = clock::now();
    let strace = strace();
    // A slow disk for every other one, where that can be had: what is on its way then is more.
    let slow = strace.as_deref().map(|strace| {
        [
            strace,
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync",
            "-e",
            "inject=fdatasync:delay_enter=20000",
        ]
    });
    let mut sums = Sums::default();
    std::thread::scope(|scope| {
        let slow = slow.as_ref().map(|words| &words[..]);
        let chains: Vec<_> = (0..CHAINS)
            .map(|place| {
                let rng = Rng::with_seed((seed + place) as u64);
                let slow = slow.filter(|_| place % 2 == 1);
                let kills = kills / CHAINS + usize::from(place < kills % CHAINS);
                scope.spawn(move || {
                    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(chain(kills, rng, slow))
                })
            })
            .collect();
        for chain in chains {
            sums += chain.join().unwrap();
        }
    });
    tell(&format!("{kills} kills at random moments (seed {seed}) in {:?}: {sums:?}", clock::now() - began));
    assert!(sums.accepted >= kills / 5, "too little load to prove anything");
}
