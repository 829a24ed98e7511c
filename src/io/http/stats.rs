//! How many calls there were, by kind and outcome. They never go down.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::call::{CallKind, Failure, FailureKind};

/// The failures, in the order of the table's columns; the column before them is success.
const FAILURES: [FailureKind; 14] = [
    FailureKind::Unreachable,
    FailureKind::Cut,
    FailureKind::TimedOut,
    FailureKind::NoToken,
    FailureKind::Unauthorised,
    FailureKind::Forbidden,
    FailureKind::NotFound,
    FailureKind::Unsupported,
    FailureKind::Conflict,
    FailureKind::Throttled,
    FailureKind::Server,
    FailureKind::Rejected,
    FailureKind::Redirected,
    FailureKind::Malformed,
];

/// Counters of calls that came to an end; one that was taken back is not counted.
#[derive(Debug, Default)]
pub struct HttpStats {
    table: [[AtomicU64; FAILURES.len() + 1]; CallKind::ALL.len()],
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Which call.
    pub kind: CallKind,
    /// `None` for a success.
    pub failure: Option<FailureKind>,
    /// How many.
    pub count: u64,
}

impl Tally {
    /// The outcome as a word for metrics: "ok", or the failure's.
    pub fn outcome(&self) -> &'static str {
        self.failure.map_or("ok", FailureKind::as_str)
    }
}

impl HttpStats {
    pub(super) fn count<T>(&self, kind: CallKind, result: &Result<T, Failure>) {
        if let Some(cell) = self.cell(kind, result.as_ref().err().map(|failure| failure.kind)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many calls of this kind ended so; `None` asks for successes.
    pub fn get(&self, kind: CallKind, failure: Option<FailureKind>) -> u64 {
        self.cell(kind, failure).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// The whole table, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = Tally> {
        CallKind::ALL.into_iter().flat_map(move |kind| {
            std::iter::once(None).chain(FAILURES.into_iter().map(Some)).map(move |failure| Tally {
                kind,
                failure,
                count: self.get(kind, failure),
            })
        })
    }

    fn cell(&self, kind: CallKind, failure: Option<FailureKind>) -> Option<&AtomicU64> {
        let row = CallKind::ALL.iter().position(|known| *known == kind)?;
        let column = match failure {
            None => 0,
            Some(failure) => 1 + FAILURES.iter().position(|known| *known == failure)?,
        };
        self.table.get(row)?.get(column)
    }
}
