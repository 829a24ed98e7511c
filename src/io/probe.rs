//! Probes: the game, looked at from outside. Each runs by itself, again and again, and tells what it found; what that means
//! for the instance's health is judged in the core.
//!
//! | kind | asks | good | else |
//! |---|---|---|---|
//! | `a2s` | A2S_INFO over UDP | an answer; it also says how many players there are | `failure` |
//! | `tcp` | a connection | it is accepted | `failure` |
//! | `http` | GET | the status that is expected, and a body that ends; a redirect is not followed | `failure` |
//! | `exec` | a command | exit code 0 | 1 degraded, 2 unhealthy, else `failure` |
//! | `process` | /proc | the game's process is there and no zombie | `failure` |
//! | `pressure` | the game's cgroup | it waited for `percent` of the last 10 s at most, or nobody can say | degraded |
//!
//! A run is one thing from its start to its deadline: connecting, asking, reading and being challenged share one time limit,
//! and a run that is out of time is dropped with all that it holds, which closes sockets and kills commands. The next run
//! begins one interval after the start of this one. A probe that was held up catches up with one run, never with several.
//!
//! **Architecture invariant:** no peer can make a run longer than its time limit, larger than a few kilobytes, or two at once.

mod a2s;
pub(super) mod exec;
mod host;
mod http;
mod tcp;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::clock;
use crate::config::settings::{Probe, ProbeKind};
use crate::core::instance::Health;
use crate::core::process::{GameEvent, Players, ProbeResult};
use crate::ports::boxed;
use crate::wire;

/// The most characters of a reason.
pub const REASON_LIMIT: usize = 256;
/// The first runs are spread over this time, or over the interval where that is shorter.
const SPREAD: Duration = Duration::from_secs(1);

/// Runs probes until `stopped` is over; then runs in progress are dropped, commands killed. Ends earlier if nobody listens
/// to `events` any more; waits where they are full.
///
/// `pid` is the process id of the game while it runs: probes begin with it, pause without it, and begin anew with another
/// one. `None` where nobody knows the process: then probes run all the time.
pub async fn run(
    probes: Vec<Probe>,
    pid: Option<watch::Receiver<Option<u32>>>,
    events: mpsc::Sender<Box<GameEvent>>,
    stopped: impl Future<Output = ()>,
) {
    let count = u32::try_from(probes.len()).unwrap_or(u32::MAX);
    let mut tasks = JoinSet::new();
    for (place, probe) in (0..count).zip(probes) {
        let delay = SPREAD.min(probe.interval) / count * place;
        let asker = Asker::new(&probe.kind);
        let turn = Turn { place: place as usize, probe, delay };
        tasks.spawn(boxed(keep(turn, asker, pid.clone(), events.clone())));
    }
    drop(events);
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a probe ended in an unexpected way: {error}");
            }
        }
    };
    tokio::select! {
        biased;
        () = stopped => {}
        () = all => {}
    }
    tasks.shutdown().await;
}

/// What a good run found.
#[derive(Debug, PartialEq)]
struct Finding {
    health: Health,
    reason: String,
    players: Option<Players>,
}

impl Finding {
    fn healthy(reason: impl Into<String>) -> Self {
        Self { health: Health::Healthy, reason: reason.into(), players: None }
    }
}

/// What a run found, or in words why it failed.
type Found = Result<Finding, String>;

/// How far a run has come: what is told of it if its time is over.
#[derive(Debug, Default)]
struct Progress(String);

impl Progress {
    fn is(&mut self, words: impl Into<String>) {
        self.0 = words.into();
    }
}

/// What can be asked again and again. Dropping the future ends the run, with all that belongs to it.
trait Asks: Send {
    fn ask(&mut self, pid: Option<u32>, progress: &mut Progress) -> impl Future<Output = Found> + Send;
}

/// A probe of any kind, made ready once.
#[derive(Debug)]
enum Asker {
    A2s(SocketAddr),
    Tcp(SocketAddr),
    Http(Result<http::Page, String>),
    Exec(Vec<String>),
    Process(host::Host),
    Pressure(host::Pressure),
}

impl Asker {
    fn new(kind: &ProbeKind) -> Self {
        match kind {
            ProbeKind::A2s(address) => Self::A2s(*address),
            ProbeKind::Tcp(address) => Self::Tcp(*address),
            ProbeKind::Http { url, status } => Self::Http(http::Page::new(url, *status)),
            ProbeKind::Exec(command) => Self::Exec(command.clone()),
            ProbeKind::Process => Self::Process(host::Host::default()),
            ProbeKind::Pressure { resource, percent } => {
                Self::Pressure(host::Pressure::new(host::Host::default(), *resource, *percent))
            }
        }
    }
}

impl Asks for Asker {
    async fn ask(&mut self, pid: Option<u32>, progress: &mut Progress) -> Found {
        match self {
            Self::A2s(address) => a2s::ask(*address, progress).await,
            Self::Tcp(address) => tcp::ask(*address, progress).await,
            Self::Http(Ok(page)) => page.ask(progress).await,
            Self::Http(Err(why)) => Err(why.clone()),
            Self::Exec(command) => exec::ask(command, pid, progress).await,
            Self::Process(host) => host.is_alive(pid),
            Self::Pressure(pressure) => pressure.ask(pid),
        }
    }
}

/// A probe, and when it comes first.
struct Turn {
    place: usize,
    probe: Probe,
    delay: Duration,
}

/// One probe's life.
async fn keep(
    turn: Turn,
    mut asker: impl Asks,
    pid: Option<watch::Receiver<Option<u32>>>,
    events: mpsc::Sender<Box<GameEvent>>,
) {
    let Some(mut pids) = pid else { return series(&turn, &mut asker, None, &events).await };
    loop {
        let Ok(pid) = pids.wait_for(Option::is_some).await.map(|pid| *pid) else { return };
        // The run in progress is dropped with its series: what it would find is of a process that is gone.
        tokio::select! {
            biased;
            listening = is_replaced(&mut pids, pid) => if !listening { return },
            () = series(&turn, &mut asker, pid, &events) => return,
        }
    }
}

/// Waits until there is no process, or another one; `false` if nobody will ever say.
async fn is_replaced(pids: &mut watch::Receiver<Option<u32>>, pid: Option<u32>) -> bool {
    pids.wait_for(|now| *now != pid).await.is_ok()
}

/// Run after run, until nobody listens.
async fn series(turn: &Turn, asker: &mut impl Asks, pid: Option<u32>, events: &mpsc::Sender<Box<GameEvent>>) {
    let mut due = clock::now() + turn.delay;
    loop {
        clock::sleep_until(Some(due)).await;
        due = next(due, turn.probe.interval, clock::now());
        let result = once(&turn.probe, asker, pid).await;
        if events.send(Box::new(GameEvent::Probed { probe: turn.place, result })).await.is_err() {
            return;
        }
    }
}

/// When the run after that of `due` comes, which began at `start`: a whole number of intervals later, and after `start`.
fn next(due: Instant, interval: Duration, start: Instant) -> Instant {
    let late = start.saturating_duration_since(due).as_nanos();
    let missed = late.checked_div(interval.as_nanos()).and_then(|missed| u32::try_from(missed).ok());
    let ahead = missed.and_then(|missed| interval.checked_mul(missed.checked_add(1)?));
    ahead.map_or(start + interval, |ahead| due + ahead)
}

/// One run.
async fn once(probe: &Probe, asker: &mut impl Asks, pid: Option<u32>) -> ProbeResult {
    let mut progress = Progress::default();
    let found = within(probe.timeout, asker.ask(pid, &mut progress)).await;
    let (health, reason, players) = match found {
        Some(Ok(Finding { health, reason, players })) => (health, reason, players),
        Some(Err(why)) => (probe.failure, why, None),
        None => (probe.failure, format!("no result within {:?}: {}", probe.timeout, progress.0), None),
    };
    ProbeResult { health, reason: wire::one_line(&reason, REASON_LIMIT), players }
}

/// The result of some work, or `None` if its time is over first. The clock is looked at before the work each time: a peer
/// that never lets the work rest would otherwise use up the task's budget, and the deadline would never be seen.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = clock::sleep(limit) => None,
        done = work => Some(done),
    }
}

#[cfg(test)]
mod tests;
