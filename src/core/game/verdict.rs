//! One verdict on the game's health, from all who know something of it. Pure: time is an argument.
//!
//! The worst word wins, and the reason names who says so:
//!
//! * **its process**: once it has ended, the game is unhealthy at once and for good, whatever else is said. A process that we
//!   look for and do not find is unhealthy too, after the start-up grace.
//! * **its heartbeat**: once it has begun, silence of health.heartbeat_timeout is unhealthy.
//! * **what it says** counts at once, good or bad.
//! * **its probes**, damped: fewer than health.unhealthy_after bad results in a row change nothing. Then the verdict is
//!   `degraded`, and for a probe whose failure means `unhealthy` it becomes `unhealthy`: at once where nothing else tells that
//!   the game lives, and after as many bad results again where its process is known to run or its heartbeat is fresh. **A silent
//!   query of a living game is degraded first, not dead**: a server may be too busy to answer a query, and players are on it.
//!   health.healthy_after healthy results in a row bring the verdict back. A probe that has not answered for three of its
//!   intervals and its time limit is stale: what it last found is not used any more, and counts as `degraded`.
//!
//! Silence, probes and a process that is not found count only after the start-up grace, which begins with the game's process, or
//! with the agent where nobody told us of a process. Results are counted during the grace, so that a game that never answered
//! is known when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::instance::Health;
use crate::core::params::{Params, ProbeParams};
use crate::core::process::ProbeResult;
use crate::core::snapshot::ProbeView;
use crate::core::timers::earliest;

/// What is known of the game's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody has told us where it is.
    Nothing,
    /// It is not wanted yet.
    Idle,
    /// It is being started, or looked for.
    Awaited,
    /// It runs.
    Running,
    /// It is gone, in words.
    Gone(Arc<str>),
}

/// Who the verdict is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody has said anything.
    Nobody,
    /// The game said so.
    Said,
    /// Its heartbeat is silent.
    Silence,
    /// A probe.
    Probe,
    /// Its process.
    Process,
}

/// What we vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) health: Health,
    pub(super) reason: Arc<str>,
    pub(super) cause: Cause,
}

/// What is known of one probe.
#[derive(Debug, Clone, Default)]
struct Witness {
    /// Its last result, and when.
    last: Option<(Health, Arc<str>, Instant)>,
    /// Results in a row that were not healthy.
    bad: u32,
    /// Results in a row that were unhealthy.
    dead: u32,
    /// Results in a row that were healthy.
    good: u32,
    /// What it stands for, damped; `None` while it has nothing against the game.
    against: Option<Health>,
    /// It has found the game healthy since its process is there.
    was_healthy: bool,
    /// Its last result was too old when the verdict was made.
    stale: bool,
}

/// The machine of the verdict.
#[derive(Debug, Clone)]
pub(super) struct Fusion {
    /// When the start-up grace began.
    born: Instant,
    /// The last sign of life through the local API; `None` until the first.
    heartbeat: Option<Instant>,
    said: Option<(Health, Arc<str>)>,
    known: Known,
    witnesses: Vec<Witness>,
    verdict: Verdict,
}

impl Fusion {
    pub(super) fn new(params: &Params, known: Known, now: Instant) -> Self {
        Self {
            born: now,
            heartbeat: None,
            said: None,
            known,
            witnesses: params.probes.iter().map(|_| Witness::default()).collect(),
            verdict: Verdict {
                health: Health::Healthy,
                reason: Arc::from("the game has not said anything about its health"),
                cause: Cause::Nobody,
            },
        }
    }

    /// What we vouch for, as of the last [`Self::judge`].
    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The process is being started, is there, or is gone. A process that is new begins the grace anew.
    pub(super) fn process_is(&mut self, known: Known, now: Instant) {
        match known {
            Known::Awaited | Known::Running if known != self.known => self.born = now,
            Known::Nothing | Known::Idle | Known::Awaited | Known::Running | Known::Gone(_) => {}
        }
        self.known = known;
    }

    /// A sign of life, without a word on how it is.
    pub(super) fn beats(&mut self, now: Instant) {
        self.heartbeat = Some(now);
    }

    /// The game says how it is; also a sign of life.
    pub(super) fn says(&mut self, health: Health, reason: Arc<str>, now: Instant) {
        self.beats(now);
        self.said = Some((health, reason));
    }

    /// A probe has ended. What is found before the process is there, or after it is gone, is about something else.
    pub(super) fn probed(&mut self, params: &Params, probe: usize, result: &ProbeResult, now: Instant) {
        let living = self.is_living(params, now);
        if !self.is_probed() {
            return;
        }
        let stale = self.is_stale(params, probe, now);
        let (Some(witness), Some(probe)) = (self.witnesses.get_mut(probe), params.probes.get(probe)) else { return };
        if stale {
            let (against, was_healthy) = (Some(Health::Degraded), witness.was_healthy);
            *witness = Witness { against, was_healthy, ..Witness::default() };
        }
        witness.takes(params, probe, result, living, now);
    }

    /// Whether every probe has found the game healthy since its process is there. No probes know nothing.
    pub(super) fn is_found_healthy(&self) -> bool {
        !self.witnesses.is_empty() && self.witnesses.iter().all(|witness| witness.was_healthy)
    }

    /// Whether no probe has anything against the game.
    pub(super) fn is_well_probed(&self) -> bool {
        self.witnesses.iter().all(|witness| witness.against.is_none())
    }

    /// Brings the verdict up to date; says whether the health changed.
    pub(super) fn judge(&mut self, params: &Params, now: Instant) -> bool {
        let probed = self.is_probed();
        for probe in 0..self.witnesses.len() {
            let stale = probed && self.is_stale(params, probe, now);
            if let Some(witness) = self.witnesses.get_mut(probe) {
                witness.stale = stale;
            }
        }
        let verdict = self.worst(params, now);
        let changed = verdict.health != self.verdict.health;
        if verdict != self.verdict {
            self.verdict = verdict;
        }
        changed
    }

    /// When [`Self::judge`] may come to another verdict although nothing happens.
    pub(super) fn poll_timeout(&self, params: &Params, now: Instant) -> Option<Instant> {
        if matches!(self.known, Known::Gone(_)) {
            return None;
        }
        let grace = self.grace_until(params);
        let waits_for_grace = self.known == Known::Awaited || self.witnesses.iter().any(|w| w.against.is_some());
        let probed = self.is_probed();
        let stale = (0..self.witnesses.len()).filter(|_| probed).map(|probe| self.stale_at(params, probe));
        let ends = [self.silent_at(params), waits_for_grace.then_some(grace)].into_iter().chain(stale);
        earliest(ends.map(|at| at.filter(|at| *at > now)))
    }

    /// Each probe, for people, as of the last [`Self::judge`].
    pub(super) fn probes(&self, params: &Params) -> Vec<ProbeView> {
        let view = |(at, probe): (usize, &ProbeParams)| {
            let witness = self.witnesses.get(at);
            let stale = witness.is_some_and(|witness| witness.stale);
            let (health, reason) = match witness.and_then(|witness| witness.last.as_ref()) {
                Some(_) if stale => (Some(Health::Degraded), Arc::from(stale_words(probe))),
                Some((health, reason, _)) => (Some(*health), Arc::clone(reason)),
                None => (None, Arc::from("it has not answered yet")),
            };
            ProbeView { name: probe.name.clone(), health, reason }
        };
        params.probes.iter().enumerate().map(view).collect()
    }

    fn grace_until(&self, params: &Params) -> Instant {
        self.born + params.startup_grace
    }

    fn silent_at(&self, params: &Params) -> Option<Instant> {
        let silent = self.heartbeat? + params.heartbeat_timeout;
        // A first ping followed by a long load is common.
        Some(silent.max(self.grace_until(params)))
    }

    /// Whether something other than a probe tells that the game lives.
    fn is_living(&self, params: &Params, now: Instant) -> bool {
        let beats = self.heartbeat.is_some_and(|at| now < at + params.heartbeat_timeout);
        self.known == Known::Running || beats
    }

    fn is_probed(&self) -> bool {
        matches!(self.known, Known::Nothing | Known::Running)
    }

    /// When a probe's last word is too old. One that never answered is given the grace as well.
    fn stale_at(&self, params: &Params, probe: usize) -> Option<Instant> {
        let patience = stale_after(params.probes.get(probe)?);
        let last = self.witnesses.get(probe)?.last.as_ref();
        Some(last.map_or(self.born + patience, |(_, _, at)| *at + patience).max(self.grace_until(params)))
    }

    fn is_stale(&self, params: &Params, probe: usize, now: Instant) -> bool {
        self.stale_at(params, probe).is_some_and(|at| at <= now)
    }

    fn worst(&self, params: &Params, now: Instant) -> Verdict {
        if let Known::Gone(words) = &self.known {
            return Verdict { health: Health::Unhealthy, reason: Arc::clone(words), cause: Cause::Process };
        }
        if self.silent_at(params).is_some_and(|at| at <= now) {
            let seconds = params.heartbeat_timeout.as_secs_f32();
            let reason = Arc::from(format!("the game's heartbeat stopped: nothing for {seconds:.0} s"));
            return Verdict { health: Health::Unhealthy, reason, cause: Cause::Silence };
        }
        let past_grace = self.grace_until(params) <= now;
        if self.known == Known::Awaited && past_grace {
            let reason = Arc::from("the game's process is not there");
            return Verdict { health: Health::Unhealthy, reason, cause: Cause::Process };
        }
        let mut worst = match &self.said {
            Some((health, reason)) => Verdict { health: *health, reason: Arc::clone(reason), cause: Cause::Said },
            None => self.best_known(),
        };
        if past_grace && self.is_probed() {
            for (probe, witness) in params.probes.iter().zip(&self.witnesses) {
                let stale = witness.stale;
                let found = if stale { Some(Health::Degraded) } else { witness.against };
                if let Some(health) = found
                    && is_worse(health, worst.health)
                {
                    let words = if stale { stale_words(probe) } else { witness.words(probe) };
                    worst = Verdict { health, reason: Arc::from(words), cause: Cause::Probe };
                }
            }
        }
        worst
    }

    /// Nobody has anything against it: who has something for it?
    fn best_known(&self) -> Verdict {
        let (words, cause) = if self.is_probed() && self.witnesses.iter().any(|witness| witness.good > 0) {
            ("its probes find the game healthy", Cause::Probe)
        } else if self.heartbeat.is_some() {
            ("the game sends heartbeats", Cause::Said)
        } else {
            match self.known {
                Known::Running => ("the game's process runs", Cause::Process),
                Known::Awaited => ("the game is being started", Cause::Process),
                Known::Nothing | Known::Idle | Known::Gone(_) => {
                    ("the game has not said anything about its health", Cause::Nobody)
                }
            }
        };
        Verdict { health: Health::Healthy, reason: Arc::from(words), cause }
    }
}

impl Witness {
    fn takes(&mut self, params: &Params, probe: &ProbeParams, result: &ProbeResult, living: bool, now: Instant) {
        let count = |run: u32, goes_on: bool| if goes_on { run.saturating_add(1) } else { 0 };
        let (healthy, dead) = match result.health {
            Health::Healthy => (true, false),
            Health::Degraded | Health::Unknown => (false, false),
            Health::Unhealthy => (false, true),
        };
        self.bad = count(self.bad, !healthy);
        self.dead = count(self.dead, dead);
        self.good = count(self.good, healthy);
        self.was_healthy |= healthy;
        self.last = Some((result.health, Arc::from(result.reason.as_str()), now));

        let enough = params.unhealthy_after.max(1);
        let deadly = if living { enough.saturating_mul(2) } else { enough };
        let recovered = self.good >= params.healthy_after.max(1);
        self.against = if dead && self.dead >= deadly && probe.failure == Health::Unhealthy {
            Some(Health::Unhealthy)
        } else if dead && self.against == Some(Health::Unhealthy) {
            // Its heartbeat came back; the probe did not.
            self.against
        } else if self.bad >= enough {
            Some(Health::Degraded)
        } else if recovered {
            None
        } else {
            self.against
        };
    }

    fn words(&self, probe: &ProbeParams) -> String {
        match &self.last {
            Some((_, reason, _)) if self.bad > 0 => format!("{}: {reason} ({} times in a row)", probe.name, self.bad),
            Some((_, reason, _)) => format!("{}: {reason}, after it had failed", probe.name),
            None => format!("{}: it has not answered yet", probe.name),
        }
    }
}

fn is_worse(one: Health, other: Health) -> bool {
    let rank = |health: Health| match health {
        Health::Healthy => 0,
        Health::Degraded | Health::Unknown => 1,
        Health::Unhealthy => 2,
    };
    rank(one) > rank(other)
}

/// A result older than this is not used any more.
fn stale_after(probe: &ProbeParams) -> Duration {
    probe.interval.saturating_mul(3).saturating_add(probe.timeout)
}

fn stale_words(probe: &ProbeParams) -> String {
    let seconds = stale_after(probe).as_secs_f32();
    format!("{}: it has not answered for more than {seconds:.0} s", probe.name)
}

#[cfg(test)]
mod tests;
