//! Failures in a row: the first is told as it is, a loop is told once with a count, and the rest is silence.
//!
//! ```text
//!   failure   1st        2nd       3rd                    6th, 12th, 24th, ...      the others
//!   told      as itself  nothing   fubar `crash_loop`     an event with the count   nothing
//! ```
//!
//! A failure is of the row if it comes within [`WINDOW`] of the one before, also across restarts of the agent and into another
//! session: a fleet restarts what crashes. A second failure of another kind is news, so it is told as itself. A game that ends
//! well, or as it was asked to, begins a new row.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fault::Fault;
use crate::core::durable::Failures;

/// How long after a failure the next one is still of the same row.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// So many in a row are a loop.
const LOOP: u32 = 3;

/// What the backend is told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// A report of this failure, and an event.
    Itself,
    /// A report of the loop, and an event with the count.
    Loop,
    /// Only an event with the count.
    Count,
    /// Nothing.
    Nothing,
}

/// The row after another failure, and what is told of it.
pub(super) fn next(before: Option<&Failures>, fault: Fault, at: Timestamp) -> (Failures, Telling) {
    let window = SignedDuration::try_from(WINDOW).unwrap_or(SignedDuration::MAX);
    // The wall clock may have been set back in between.
    let before = before.filter(|row| at.duration_since(row.last).abs() <= window);
    let count = before.map_or(0, |row| row.count).saturating_add(1);
    let telling = match count {
        1 => Telling::Itself,
        LOOP => Telling::Loop,
        _ if count < LOOP && before.is_some_and(|row| row.error != fault.as_str()) => Telling::Itself,
        _ if count > LOOP && count.is_multiple_of(LOOP) && (count / LOOP).is_power_of_two() => Telling::Count,
        _ => Telling::Nothing,
    };
    (Failures { error: fault.as_str().to_owned(), count, last: at }, telling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn row(faults: &[(i64, Fault)]) -> Vec<Telling> {
        let mut before: Option<Failures> = None;
        let mut told = Vec::new();
        for (seconds, fault) in faults {
            let (row, telling) = next(before.as_ref(), *fault, at(*seconds));
            before = Some(row);
            told.push(telling);
        }
        told
    }

    #[test]
    fn a_loop_is_told_once_and_then_at_doublings() {
        let faults: Vec<_> = (0..24).map(|turn| (turn * 600, Fault::GameCrashed)).collect();
        let told = row(&faults);
        let loud: Vec<_> = (1..).zip(&told).filter(|(_, telling)| **telling != Telling::Nothing).collect();
        assert_eq!(
            loud,
            [
                (1, &Telling::Itself),
                (3, &Telling::Loop),
                (6, &Telling::Count),
                (12, &Telling::Count),
                (24, &Telling::Count)
            ]
        );
    }

    #[test]
    fn failures_far_apart_are_each_told_as_themselves() {
        let faults: Vec<_> = (0..5).map(|turn| (turn * 601, Fault::GameExited)).collect();
        assert_eq!(row(&faults), [Telling::Itself; 5]);
    }

    #[test]
    fn a_second_failure_of_another_kind_is_news_and_still_of_the_row() {
        let faults =
            [(0, Fault::GameCrashed), (1, Fault::GameOomKilled), (2, Fault::GameCrashed), (3, Fault::GameExited)];
        assert_eq!(row(&faults), [Telling::Itself, Telling::Itself, Telling::Loop, Telling::Nothing]);
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_does_not_break_a_row() {
        assert_eq!(row(&[(100, Fault::GameCrashed), (50, Fault::GameCrashed)]), [Telling::Itself, Telling::Nothing]);
        assert_eq!(row(&[(9000, Fault::GameCrashed), (50, Fault::GameCrashed)]), [Telling::Itself, Telling::Itself]);
    }
}
