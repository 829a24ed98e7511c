//! Two agents that both want a session, with pauses where they hurt: neither ever changes what is the other's.
//!
//! One thing cannot be helped: a POST has no fence, so of two that look before either writes, the second
//! writes over the first. That is counted. The first must then see it, write nothing more, and withdraw.
//!
//! `RALLYHERE_SCHEDULES` sets how many schedules are played, `RALLYHERE_SEED` repeats them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use rallyhere_agent::clock;
use rallyhere_agent::simulator::{AllocationSpec, ClientSpec, Options, RequestRecord};
use rustix::process::Signal;
use tokio::runtime::Builder;

use super::tools::{number, tell};
use crate::process::agent::Agent;
use crate::process::home::Home;
use crate::process::stage::{SECRET, SESSION, Stage, options, until};

const SUPERSEDED: i32 = 76;
/// Each logs in as somebody else, so that the ledger can tell them apart; the ids of their instances are the same words.
const NAMES: [&str; 2] = ["one", "two"];
const WORKERS: usize = 8;

async fn stage() -> Stage {
    Stage::with(Options { clients: NAMES.map(|name| ClientSpec::new(name, SECRET)).to_vec(), ..options() }).await
}

fn home(stage: &Stage, name: &str) -> Home {
    Home::new(stage).alone().set("auth.client_id", name).set("log.level", "info")
}

/// A random pause, at a random moment, for as long as it runs.
async fn pauses(agent: &Agent, rng: &mut Rng, longest: u64) {
    clock::sleep(Duration::from_micros(rng.u64(..longest))).await;
    agent.signal(Signal::STOP);
    clock::sleep(Duration::from_micros(rng.u64(..longest))).await;
    agent.signal(Signal::CONT);
}

/// What a schedule came to.
#[derive(Debug, Default)]
struct Tally {
    schedules: usize,
    /// The first was the host of the allocation before it moved away.
    hosted: usize,
    /// A POST over a POST: both had looked before either wrote.
    replaced: usize,
    /// Writes that changed the other's instance otherwise.
    trespasses: Vec<String>,
    /// Writes after the writer could know.
    late: Vec<String>,
}

impl Tally {
    /// Reads a self-registered schedule's ledger: `holder` is whose instance was there when a request came.
    fn read(&mut self, stage: &Stage) {
        self.schedules += 1;
        self.replaced += stage.simulator.read_ledger(|ledger| ledger.replacements.len());
        let requests = stage.requests();
        let mut holder: Option<&str> = None;
        // When each was last shown the other's instance.
        let mut knows: [Option<u64>; 2] = [None; 2];
        for request in &requests {
            let Some(place) = NAMES.iter().position(|name| request.client.as_deref() == Some(*name)) else { continue };
            let done = request.processed && request.status.is_none_or(|status| status < 300);
            let write = request.method != "GET" && request.call != Some("login");
            if write && knows[place].is_some_and(|since| request.at_ms > since) {
                self.late.push(told(request));
            }
            match request.call {
                Some("register") if done => holder = Some(NAMES[place]),
                Some("update" | "unregister") if done && holder != Some(NAMES[place]) => {
                    self.trespasses.push(told(request));
                }
                _ => {}
            }
            let shows = matches!(request.call, Some("read_session" | "update")) && request.status == Some(200);
            if shows && holder.is_some_and(|holder| holder != NAMES[place]) && knows[place].is_none() {
                // A moment for what was on its way already.
                knows[place] = request.ended_ms.map(|ended| ended + 100);
            }
        }
        for name in NAMES {
            let mine =
                requests.iter().filter(|r| r.call == Some("register") && r.client.as_deref() == Some(name)).count();
            assert!(mine <= 1, "{name} registered {mine} times");
        }
    }
}

fn told(request: &RequestRecord) -> String {
    format!(
        "{} {} {:?} at {} ms",
        request.client.as_deref().unwrap_or("?"),
        request.method,
        request.call,
        request.at_ms
    )
}

/// Waits until one has lost; gives its place.
async fn one_loses(agents: &mut [Agent; 2]) -> usize {
    until("a loser", async || (0..2).find(|&place| !agents[place].is_running())).await
}

async fn one_session(mut rng: Rng, tally: &Mutex<Tally>) {
    let stage = stage().await;
    let homes = NAMES.map(|name| home(&stage, name).set("instance.instance_id", name));
    let first = rng.usize(..2);
    let start = |place: usize| homes[place].start();
    let a = start(first);
    clock::sleep(Duration::from_micros(rng.u64(..30_000))).await;
    let b = start(1 - first);
    let mut agents = if first == 0 { [a, b] } else { [b, a] };
    let (mut left, mut right) = (rng.fork(), rng.fork());
    tokio::join!(pauses(&agents[0], &mut left, 60_000), pauses(&agents[1], &mut right, 60_000));
    let loser = one_loses(&mut agents).await;
    let winner = 1 - loser;
    assert_eq!(agents[loser].exit_code().await, SUPERSEDED);
    agents[winner].until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    stage.until_beats(2).await;
    assert_eq!(stage.instance(SESSION)["instance_id"], NAMES[winner]);
    assert!(agents[winner].is_running());
    tally.lock().unwrap().read(&stage);
    // Judged here; what the stage itself asserts is for those who are alone.
    stage.simulator.clear_ledger();
}

/// The allocation moves from the first to the second in the middle of it all.
async fn one_allocation(mut rng: Rng, tally: &Mutex<Tally>) {
    let stage = stage().await;
    let bind = |place: usize| stage.simulator.allocate(&AllocationSpec::bound(NAMES[place], SESSION)).unwrap();
    bind(0);
    let homes = NAMES.map(|name| home(&stage, name).allocated(name));
    let mut agents = [homes[0].start(), homes[1].start()];
    let (mut left, mut right) = (rng.fork(), rng.fork());
    let attaching = rng.bool();
    let moved = async {
        // Anywhere, or around the moment in which the first has become the host, however late that is on this machine.
        if attaching {
            stage.until_count("update", 1).await;
        }
        let most = if attaching { 20_000 } else { 300_000 };
        clock::sleep(Duration::from_micros(rng.u64(..most))).await;
        bind(1);
        stage.simulator.read_ledger(|ledger| ledger.requests_total)
    };
    let (moved, (), ()) =
        tokio::join!(moved, pauses(&agents[0], &mut left, 60_000), pauses(&agents[1], &mut right, 60_000));
    agents[1].until_phase("serving").await;
    stage.until_status(SESSION, "joinable").await;
    let attached = stage.simulator.read_ledger(|ledger| {
        ledger.of("update").any(|r| r.client.as_deref() == Some(NAMES[0]) && r.status == Some(200))
    });
    // One that never was the host waits for its allocation, for ever.
    if attached {
        assert_eq!(one_loses(&mut agents).await, 0);
        assert_eq!(agents[0].exit_code().await, SUPERSEDED);
    }
    assert_eq!(stage.instance(SESSION)["allocation_id"], NAMES[1]);
    let theirs = stage.requests().into_iter().filter(|r| r.number > moved && r.client.as_deref() == Some(NAMES[0]));
    let changed: Vec<_> = theirs
        .filter(|r| r.method != "GET" && r.call != Some("login") && r.status == Some(200))
        .map(|r| told(&r))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!((stage.count("register"), stage.count("unregister")), (0, 0), "an allocated instance is only patched");
    let mut tally = tally.lock().unwrap();
    tally.schedules += 1;
    tally.hosted += usize::from(attached);
}

fn play(schedules: usize, schedule: impl AsyncFn(Rng, &Mutex<Tally>) + Sync) -> (Tally, String) {
    let seed = number("RALLYHERE_SEED", fastrand::usize(..));
    let (tally, next, began) = (Mutex::new(Tally::default()), AtomicUsize::new(0), clock::now());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= schedules {
                        break;
                    }
                    runtime.block_on(schedule(Rng::with_seed(seed.wrapping_add(place) as u64), &tally));
                }
            });
        }
    });
    (tally.into_inner().unwrap(), format!("seed {seed}, {:?}", clock::now() - began))
}

#[test]
fn two_agents_on_one_session_never_touch_each_other() {
    let (tally, how) = play(number("RALLYHERE_SCHEDULES", 40), one_session);
    tell(&format!("one session: {tally:?} ({how})"));
    assert!(tally.schedules > 0);
    assert_eq!(tally.trespasses, Vec::<String>::new());
    assert_eq!(tally.late, Vec::<String>::new());
}

#[test]
fn two_agents_on_one_allocation_never_touch_each_other() {
    let (tally, how) = play(number("RALLYHERE_SCHEDULES", 40), one_allocation);
    tell(&format!(
        "one allocation: {} schedules, {} with a host that had to go ({how})",
        tally.schedules, tally.hosted
    ));
    // In a few schedules it may be by chance.
    assert!(tally.hosted > 0 || tally.schedules < 20, "never in the middle of it");
}
