//! The shape that all machines share, so that one loop can drive each of them.

use std::time::Instant;

/// A state machine without a clock.
///
/// The caller hands in one event or time-out, then drains [`Machine::poll_action`] to `None`, then reads
/// [`Machine::poll_timeout`] and waits.
pub trait Machine {
    /// What can happen to it.
    type Event;
    /// What it wants done.
    type Action;
    /// What it shows of itself.
    type Snapshot;

    /// Something happened. `now` never goes backwards.
    fn handle_event(&mut self, event: Self::Event, now: Instant);
    /// Time passed. Early, late or repeated calls change nothing that is not due.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do, in order.
    fn poll_action(&mut self) -> Option<Self::Action>;
    /// When [`Machine::handle_timeout`] is wanted next.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Its state as a value.
    fn snapshot(&self) -> Self::Snapshot;
    /// Whether it is over: it wants nothing any more.
    fn is_over(&self) -> bool;
}
