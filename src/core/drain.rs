//! Taking the instance down: how long the game may finish, and how long our last words may take.

use std::time::{Duration, Instant};

use super::snapshot::DrainView;

/// Last words take no longer than this, also when the backend is gone: the whole stop stays below ten seconds.
pub(super) const CLOSING_LIMIT: Duration = Duration::from_secs(9);
/// Of that, this much for the outbox before the instance is taken away.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_secs(4);

/// The machine of the drain.
#[derive(Debug, Clone, Default)]
pub(super) struct Drain {
    wanted: Option<String>,
    begun: Option<DrainView>,
    /// Somebody outside wants it: a signal, or a call of the local API; not only the game by its end.
    told: bool,
    game_done: bool,
    closing_since: Option<Instant>,
}

impl Drain {
    /// Somebody wants it; the first reason stands.
    pub(super) fn want(&mut self, reason: String) {
        self.told = true;
        self.want_for_the_game(reason);
    }

    /// The game has ended, is done, or has failed; the first reason stands.
    pub(super) fn want_for_the_game(&mut self, reason: String) {
        self.wanted.get_or_insert(reason);
    }

    /// Whether somebody other than the game wants it.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// The game says that it is done: there is nothing to wait for.
    pub(super) fn game_is_done(&mut self) {
        self.game_done = true;
    }

    /// Why it is wanted, if it is.
    pub(super) fn wanted(&self) -> Option<&str> {
        self.wanted.as_deref()
    }

    /// Draining begins.
    pub(super) fn begin(&mut self, now: Instant, timeout: Duration) {
        let reason = self.wanted.clone().unwrap_or_default();
        self.begun.get_or_insert(DrainView { reason, deadline: now + timeout });
    }

    /// Why draining is over, if it is. A game that we started is waited for elsewhere.
    pub(super) fn is_drained(&self, now: Instant, client_seen: bool) -> Option<&'static str> {
        let begun = self.begun.as_ref()?;
        if self.game_done {
            Some("the game is done")
        } else if !client_seen {
            Some("no game is connected that could need time")
        } else if begun.deadline <= now {
            Some("the drain time is over")
        } else {
            None
        }
    }

    /// Closing begins.
    pub(super) fn close(&mut self, now: Instant) {
        self.closing_since.get_or_insert(now);
    }

    /// Whether the outbox has had its time.
    pub(super) fn is_flush_over(&self, now: Instant) -> bool {
        self.closing_since.is_some_and(|since| since + FLUSH_LIMIT <= now)
    }

    /// Whether the last words have had their time.
    pub(super) fn is_closing_over(&self, now: Instant) -> bool {
        self.closing_since.is_some_and(|since| since + CLOSING_LIMIT <= now)
    }

    /// The next deadline after `now`.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let deadlines = match self.closing_since {
            Some(since) => [Some(since + FLUSH_LIMIT), Some(since + CLOSING_LIMIT)],
            None => [self.begun.as_ref().map(|begun| begun.deadline), None],
        };
        deadlines.into_iter().flatten().filter(|deadline| *deadline > now).min()
    }

    pub(super) fn view(&self) -> Option<DrainView> {
        self.begun.clone()
    }
}
