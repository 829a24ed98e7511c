//! The life of the game's process: started once, told to stop in good time, ended by force if it must be.
//!
//! ```text
//!              Start              Started            Ended
//!   Unstarted ───────► Starting ──────────► Running ─────────► Over
//!                          └── NotStarted ───────────────────►   ▲
//!                                    SIGKILL was of no use ──────┘
//! ```
//!
//! # When a game of ours is told to stop
//!
//! | the agent | the stop signal | SIGKILL after |
//! |---|---|---|
//! | drains, and the game has used the local API: there it reads of it, and the time is for its players | after shutdown.drain_timeout | game.stop_timeout more |
//! | drains, and the game never spoke to us: its signal is the only way to tell it | at once | the longer of both time-outs, from the signal |
//! | drains, because the game said that it is done | after game.stop_timeout | game.stop_timeout more |
//! | drains, because the game did not become ready | at once | game.stop_timeout |
//! | closes without a drain: it was never the host, so there are no players | at once | game.stop_timeout |
//! | is superseded | at once | game.stop_timeout |
//!
//! The end of the game at any of these points ends the waiting. What SIGKILL does not end within [`PATIENCE`] hangs in the
//! kernel, and nobody waits for it. A game that somebody else started is never told anything by signal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ending::Asked;
use crate::core::action::Outcome;
use crate::core::params::{Params, Process};
use crate::core::phase::Phase;
use crate::core::process::Order;

/// How long SIGKILL may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Not wanted yet, or nobody has told us where it is.
    Unstarted,
    /// Ordered, and not answered.
    Starting,
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It is gone, could not be started, or is given up.
    Over(Box<Over>),
}

/// What is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    /// Its end in words.
    pub(super) words: Arc<str>,
    /// What the agent ends with.
    pub(super) outcome: Outcome,
    /// It was a failure.
    pub(super) failed: bool,
    /// When.
    pub(super) at: Instant,
}

/// Why a game of ours is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occasion {
    pub(super) phase: Phase,
    /// Since when.
    pub(super) since: Instant,
    /// It has used the local API.
    pub(super) heard: bool,
    /// It did not become ready.
    pub(super) late: bool,
}

/// The machine of the process.
#[derive(Debug, Clone)]
pub(super) struct Life {
    process: Process,
    state: State,
    /// When the game said that it is done.
    done: Option<Instant>,
    /// When SIGKILL is due; set with the stop signal.
    kill_at: Option<Instant>,
    /// When it is given up; set with SIGKILL.
    give_up_at: Option<Instant>,
}

impl Life {
    pub(super) fn new(process: Process) -> Self {
        Self { process, state: State::Unstarted, done: None, kill_at: None, give_up_at: None }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn over(&self) -> Option<&Over> {
        match &self.state {
            State::Over(over) => Some(over),
            State::Unstarted | State::Starting | State::Running { .. } => None,
        }
    }

    /// Whether somebody has told us where the process is.
    pub(super) fn is_known(&self) -> bool {
        match self.process {
            Process::Unknown => false,
            Process::Ours | Process::Watched => true,
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.process == Process::Ours
    }

    /// Whether it is to be started, as soon as it is known for whom.
    pub(super) fn is_unstarted(&self) -> bool {
        self.is_known() && self.state == State::Unstarted
    }

    /// Whether it runs, or may run by now.
    pub(super) fn is_expected(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    /// Whether it was found, or started, and not ended.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether the end of the agent must wait for it: one that we started and that is not gone.
    pub(super) fn is_held(&self) -> bool {
        self.is_ours() && self.is_expected()
    }

    /// The order to start has gone out.
    pub(super) fn starting(&mut self) {
        self.state = State::Starting;
    }

    /// It is there; says whether that is news.
    pub(super) fn started(&mut self, pid: u32) -> bool {
        let news = self.state == State::Starting;
        if self.is_expected() {
            self.state = State::Running { pid };
        }
        news
    }

    /// It says that it is done.
    pub(super) fn says_done(&mut self, now: Instant) {
        self.done.get_or_insert(now);
    }

    /// Whether, and how, it was asked to end.
    pub(super) fn asked(&self) -> Option<Asked> {
        if self.give_up_at.is_some() {
            Some(Asked::Kill)
        } else if self.kill_at.is_some() {
            Some(Asked::Stop)
        } else {
            self.done.map(|_| Asked::Itself)
        }
    }

    pub(super) fn ended(&mut self, over: Over) {
        self.state = State::Over(Box::new(over));
    }

    /// When it is told to stop, and how long after that SIGKILL comes.
    fn plan(&self, params: &Params, occasion: &Occasion) -> Option<(Instant, Duration)> {
        let Occasion { phase, since, heard, late } = *occasion;
        let patience = params.stop_timeout;
        match (phase, self.done) {
            (Phase::Superseded, _) => Some((since, patience)),
            (Phase::Draining | Phase::Closing, Some(done)) => Some((done.max(since) + patience, patience)),
            (Phase::Closing, None) => Some((since, patience)),
            (Phase::Draining, None) if late => Some((since, patience)),
            (Phase::Draining, None) if heard => Some((since + params.drain_timeout, patience)),
            (Phase::Draining, None) => Some((since, patience.max(params.drain_timeout))),
            (Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving | Phase::Ended, _) => None,
        }
    }

    /// How long a drain waits before the game is ended by force, or by the signal that tells it.
    pub(super) fn drain_time(&self, params: &Params, heard: bool, late: bool) -> Duration {
        let stop = params.stop_timeout;
        match self.is_held() {
            true if self.done.is_some() || late => stop,
            true if !heard => stop.max(params.drain_timeout),
            true | false => params.drain_timeout,
        }
    }

    /// The next order that is due. One that nothing ends is given up, as the agent's `outcome` then says.
    pub(super) fn advance(
        &mut self,
        params: &Params,
        occasion: &Occasion,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Order> {
        if !self.is_held() {
            return None;
        }
        match (self.kill_due(params, occasion), self.give_up_at) {
            (None, _) => {
                let (_, patience) = self.plan(params, occasion).filter(|(at, _)| *at <= now)?;
                self.kill_at = Some(now + patience);
                Some(Order::Stop)
            }
            (Some(at), None) if at <= now => {
                self.give_up_at = Some(now + PATIENCE);
                Some(Order::Kill)
            }
            (Some(_), Some(at)) if at <= now => {
                let words = Arc::from("the game does not end, not even by SIGKILL; it is left behind");
                self.ended(Over { words, outcome, failed: false, at: now });
                None
            }
            (Some(_), _) => None,
        }
    }

    pub(super) fn poll_timeout(&self, params: &Params, occasion: &Occasion) -> Option<Instant> {
        if !self.is_held() {
            return None;
        }
        match (self.kill_due(params, occasion), self.give_up_at) {
            (None, _) => self.plan(params, occasion).map(|(at, _)| at),
            (Some(kill), give_up) => Some(give_up.unwrap_or(kill)),
        }
    }

    /// When SIGKILL is due. Whoever is superseded in the middle of a drain has no players to wait for.
    fn kill_due(&self, params: &Params, occasion: &Occasion) -> Option<Instant> {
        let at = self.kill_at?;
        Some(if occasion.phase == Phase::Superseded { at.min(occasion.since + params.stop_timeout) } else { at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::rig::params;

    const SECOND: Duration = Duration::from_secs(1);

    fn running(process: Process, done: Option<Instant>) -> Life {
        Life { state: State::Running { pid: 1 }, done, ..Life::new(process) }
    }

    fn times(stop: u32, drain: u32) -> Params {
        Params { stop_timeout: stop * SECOND, drain_timeout: drain * SECOND, ..params() }
    }

    #[test]
    fn a_drain_waits_for_players_of_a_game_that_was_told_and_for_the_stop_of_any_other() {
        let now = crate::clock::now();
        for (stop, drain) in [(30, 60), (90, 60)] {
            let seconds = |life: Life, heard, late| life.drain_time(&times(stop, drain), heard, late).as_secs();
            let ours = |done| running(Process::Ours, done);
            assert_eq!(seconds(ours(None), true, false), 60, "it was told, and its players have the drain time");
            assert_eq!(seconds(ours(None), false, false), u64::from(stop.max(drain)), "its signal tells it");
            assert_eq!(seconds(ours(None), true, true), u64::from(stop), "nobody plays what never got ready");
            assert_eq!(seconds(ours(None), false, true), u64::from(stop));
            assert_eq!(seconds(ours(Some(now)), true, false), u64::from(stop), "it is done");
            assert_eq!(seconds(running(Process::Unknown, None), false, true), 60, "not ours to stop");
        }
    }

    #[test]
    fn when_a_game_is_told_to_stop_depends_on_whether_it_talks_to_us_and_on_whether_it_is_done() {
        let now = crate::clock::now();
        let plan = |phase, done, heard, late| {
            let occasion = Occasion { phase, since: now, heard, late };
            let (at, patience) = running(Process::Ours, done).plan(&times(30, 60), &occasion)?;
            Some(((at - now).as_secs(), patience.as_secs()))
        };
        assert_eq!(plan(Phase::Serving, None, true, false), None);
        assert_eq!(plan(Phase::Draining, None, true, false), Some((60, 30)), "after the time of its players");
        assert_eq!(plan(Phase::Draining, None, false, false), Some((0, 60)), "at once, with all the time");
        assert_eq!(plan(Phase::Draining, None, true, true), Some((0, 30)));
        assert_eq!(plan(Phase::Draining, Some(now + 5 * SECOND), true, false), Some((35, 30)), "it may end by itself");
        assert_eq!(plan(Phase::Closing, None, true, false), Some((0, 30)));
        assert_eq!(plan(Phase::Superseded, Some(now), true, false), Some((0, 30)));
    }
}
