//! Looking at the running agent from beside: what a scrape sees, and what of an instance's changes is worth a look.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::farewell;
use crate::clock;
use crate::core::allocation::AllocationView;
use crate::core::auth::AuthState;
use crate::core::ids::SessionId;
use crate::core::instance::Health;
use crate::core::phase::Phase;
use crate::core::snapshot::Snapshot;
use crate::driver::host::{Host, Pulses};
use crate::io::admin::Roster;
use crate::io::store::{Finding, StoreStatus};
use crate::ports::InstanceHandle;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::{InstanceMeter, Meters, Metrics, Seen, StoreSeen};

/// What of an instance `STATUS=` and the supervision depend on.
#[derive(PartialEq)]
struct Gist {
    phase: Phase,
    auth: AuthState,
    verdict: Health,
    session: Option<SessionId>,
    ends: bool,
    allocation: AllocationView,
}

impl Gist {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            phase: snapshot.phase,
            auth: snapshot.auth.state,
            verdict: snapshot.health.verdict,
            session: snapshot.instance.session_id.clone(),
            ends: farewell::ends(snapshot),
            allocation: snapshot.allocation.clone(),
        }
    }
}

/// Follows an instance to its end: measures what only its changes tell, and rings when its gist is another.
pub(super) async fn watch(mut handle: InstanceHandle, meter: Arc<InstanceMeter>, news: Arc<Notify>) {
    let mut before = Arc::clone(&handle.snapshots.borrow_and_update());
    while handle.snapshots.changed().await.is_ok() {
        let now = Arc::clone(&handle.snapshots.borrow_and_update());
        meter.changed(&before, &now);
        if Gist::of(&before) != Gist::of(&now) {
            news.notify_one();
        }
        before = now;
    }
    news.notify_one();
}

/// The metrics of a running agent. A scrape looks at values and asks nobody.
pub(super) fn metrics(
    roster: Roster,
    host: &Host,
    meters: Meters,
    store: watch::Receiver<StoreStatus>,
    log: Option<LogHandle>,
) -> Arc<Metrics> {
    let (pulses, auth) = (host.pulses(), host.auth());
    Arc::new(Metrics::new(meters, move || Seen {
        now: clock::now(),
        instances: roster.borrow().iter().map(|one| (one.handle.snapshot(), Arc::clone(&one.meter))).collect(),
        auth: auth.borrow().state,
        store: seen(&store.borrow()),
        log_lines_dropped: log.as_ref().map_or(0, LogHandle::dropped),
        slowest_loop: pulses.slowest(),
    }))
}

fn seen(status: &StoreStatus) -> StoreSeen {
    let count = |kind: &'static str| {
        let found = status.findings.iter().filter(|finding| finding.kind() == kind).count();
        (kind, u64::try_from(found).unwrap_or(u64::MAX))
    };
    StoreSeen {
        fault: status.fault,
        faults: status.faults,
        bytes: status.bytes,
        findings: Finding::KINDS.map(count).into(),
    }
}

/// A loop that has not turned for so long hangs: the watchdog is not fed any more, and `/livez` says so.
const HANG: Duration = Duration::from_secs(15);

/// Whether every loop turns. Turning never needs the network.
pub(super) fn all_turn(pulses: &Pulses) -> bool {
    pulses.slowest() <= HANG
}
