//! How many instances of a host do what: for a warm pool, above all how many wait.

use super::allocation::AllocationState;
use super::phase::Phase;
use super::snapshot::Snapshot;

/// The word for instances that wait for an allocation. The others are counted by their phase.
pub const WAITING: &str = "waiting";

/// Counts instances: first those that wait, then every phase in its order, also those that nobody is in.
pub fn call<'a>(snapshots: impl Iterator<Item = &'a Snapshot>) -> Vec<(&'static str, u64)> {
    let mut counts: Vec<(&'static str, u64)> =
        std::iter::once(WAITING).chain(Phase::ALL.map(Phase::as_str)).map(|word| (word, 0)).collect();
    for snapshot in snapshots {
        let word = word(snapshot);
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == word) {
            *count += 1;
        }
    }
    counts
}

fn word(snapshot: &Snapshot) -> &'static str {
    match (snapshot.phase, snapshot.allocation.state) {
        (Phase::Resolving, AllocationState::Waiting) => WAITING,
        (phase, _) => phase.as_str(),
    }
}
