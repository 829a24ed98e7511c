//! Tests: probes, against servers and commands that behave in every way that they can.

mod a2s;
mod agent;
mod corpus;
mod exec;
mod http;
mod tcp;

use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use rallyhere_agent::config::settings::{Probe, ProbeKind};
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::core::process::{GameEvent, ProbeResult};
use rallyhere_agent::io::probe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Nothing in these tests takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// The time limit of a run that does not need it.
const LONG: Duration = Duration::from_secs(15);
/// That of one that does.
const SHORT: Duration = Duration::from_millis(250);

/// A running probe.
struct Probing {
    told: mpsc::Receiver<Box<GameEvent>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinSet<()>,
}

impl Probing {
    /// A probe whose failure is `unhealthy`, with as much time as it wants between its runs.
    fn start(kind: ProbeKind, interval: Duration, timeout: Duration, pid: Option<u32>) -> Self {
        let probe = Probe { kind, interval, timeout, failure: Health::Unhealthy };
        let (events, told) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let pids = pid.map(|pid| watch::channel(Some(pid)));
        let mut running = JoinSet::new();
        running.spawn(async move {
            let (known, pids) = pids.unzip();
            probe::run(vec![probe], pids, events, async { drop(stopped.await) }).await;
            drop(known);
        });
        Self { told, stop: Some(stop), running }
    }

    async fn result(&mut self) -> ProbeResult {
        match within(self.told.recv()).await.map(|event| *event) {
            Some(GameEvent::Probed { probe: 0, result }) => {
                assert!(result.reason.chars().count() <= probe::REASON_LIMIT && !result.reason.contains('\n'));
                result
            }
            other => panic!("{other:?}"),
        }
    }

    /// Tells it to stop, and waits until it has.
    async fn stop(mut self) {
        drop(self.stop.take());
        within(self.running.join_next()).await.unwrap().unwrap();
    }
}

/// One run.
async fn once(kind: ProbeKind, timeout: Duration) -> ProbeResult {
    Probing::start(kind, Duration::from_secs(3600), timeout, None).result().await
}

/// One run that must fail by itself, long before its time is over.
async fn fails_at_once(kind: ProbeKind, why: &str) {
    let result = once(kind, Duration::from_secs(3600)).await;
    assert_eq!(result.health, Health::Unhealthy);
    assert!(result.reason.contains(why), "{}", result.reason);
    assert_eq!(result.players, None);
}

/// One run that must be cut when its time is over.
async fn is_cut(kind: ProbeKind, why: &str) {
    let begun: Instant = clock::now();
    let result = once(kind, SHORT).await;
    assert!(clock::now() - begun >= SHORT, "{}", result.reason);
    assert_eq!(result.health, Health::Unhealthy);
    assert!(result.reason.starts_with("no result within 250ms: ") && result.reason.contains(why), "{}", result.reason);
    assert_eq!(result.players, None);
}
