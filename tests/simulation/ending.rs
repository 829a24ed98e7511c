//! The rules that need no event, and what must be true at the end: once nothing goes wrong any more, everything becomes well.

use std::collections::BTreeSet;
use std::time::Duration;

use rallyhere_agent::core::event::{Command, Event};
use rallyhere_agent::core::instance::JoinStatus;
use rallyhere_agent::core::params::Readiness;
use rallyhere_agent::core::{Machine as _, Outcome, Phase};
use rallyhere_agent::io::store::{Engine, Options as StoreOptions};

use crate::rules;
use crate::world::{What, World};

/// All have ended so long after they were told to.
const ENDED: Duration = Duration::from_secs(240);

impl World {
    pub(crate) fn audit(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.running.is_none() || node.stalled.is_some_and(|until| until > self.now) {
                continue;
            }
            let late = |stopped| self.now.saturating_duration_since(stopped) > rules::stop_limit(node);
            let broken = match node.watch.gap(self.now) {
                None if node.watch.stopped.is_some_and(late) => Some("a stop takes too long".to_owned()),
                gap => gap,
            };
            if let Some(words) = broken {
                return self.break_rule(at, words);
            }
        }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn becalm(&mut self) {
        self.calm = true;
        self.outage = None;
        for node in &mut self.nodes {
            node.disk.spare();
            node.slow_disk = None;
            node.game.absent_until = None;
        }
    }

    /// It has been calm for long enough: what is not well now never will be.
    pub(crate) fn settled(&mut self) {
        for at in 0..self.nodes.len() {
            if let Some(words) = self.not_well(at) {
                let words = format!("{:?} of calm, and {words}", crate::world::CALM);
                return self.break_rule(at, words);
            }
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].running.is_some() {
                self.nodes[at].watch.stopped = Some(self.now);
                self.tell(at, Event::Command(Command::Drain { reason: "the end".to_owned() }));
            }
        }
        self.later(ENDED, 0, 0, What::End);
    }

    fn not_well(&self, at: usize) -> Option<String> {
        let node = &self.nodes[at];
        if node.over.is_some() || self.options.absent.contains(&at) {
            return None;
        }
        let Some(running) = &node.running else { return Some("nobody has started it".to_owned()) };
        let snapshot = running.agent.snapshot();
        let phase = running.phase;
        let seat = self.backend.seats.get(&node.session)?;
        if !running.view.state.has_token() {
            return Some(format!("there is no token: {:?}", running.view));
        }
        if seat.gone {
            return phase.is_attached().then(|| "it hosts a session that is gone".to_owned());
        }
        if !self.holds_its_seat(at) {
            let waits = node.params.target.allocation().is_some() && phase == Phase::Resolving;
            return (!waits).then(|| format!("it is {phase:?} although the session shows {:?}", seat.instance));
        }
        let ready = node.game.ready || node.params.readiness == Readiness::Immediate;
        let wanted = if ready { Phase::Serving } else { Phase::Loading };
        if phase != wanted {
            return Some(format!("it is {phase:?}, not {wanted:?}; the session shows {:?}", seat.instance));
        }
        let status = seat.instance.as_ref().map(|shown| shown.join_status.clone());
        if phase == Phase::Serving && status != Some(JoinStatus::Joinable) {
            return Some(format!("it serves, and the session shows {status:?}"));
        }
        let beat = snapshot.health.last_answer.map(|(_, at)| self.now - at);
        if beat.is_none_or(|age| age > snapshot.health.cadence.mul_f64(1.25) + Duration::from_secs(10)) {
            return Some(format!("the last health post that was taken is {beat:?} old"));
        }
        if let Some(label) = node.watch.order.front() {
            return Some(format!("report {label} is not delivered: {:?}", snapshot.outbox));
        }
        for (label, report) in &node.watch.reports {
            if report.accepted && !report.done && !self.backend.copies.contains_key(label) {
                return Some(format!("report {label} is forgotten"));
            }
        }
        let id = snapshot.instance.instance_id.as_ref()?;
        if let (Some(stream), Some(reader)) = (self.backend.streams.get(id), node.watch.readers.get(id))
            && reader.next.max(stream.first) < stream.published
        {
            let poll = &snapshot.notifications;
            return Some(format!(
                "notification {} of {} has not come: {:?}, {} wait, cursor {:?}",
                reader.next,
                stream.published,
                poll.state,
                poll.inbox.len(),
                poll.cursor
            ));
        }
        None
    }

    /// All were told to stop.
    pub(crate) fn ended(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if self.options.absent.contains(&at) {
                continue;
            }
            if node.running.is_some() {
                return self.break_rule(at, "it has not ended after its stop");
            }
            let outcome = node.over;
            // The power fails after the end: what was promised is on disk.
            node.disk.unplugged();
            let opened = Engine::open(node.disk.clone(), &StoreOptions::default(), Box::new(|_, _| true));
            let Ok(engine) = opened else { return self.break_rule(at, "the store does not open after the end") };
            let found = engine.mirror().get(&node.name).cloned().unwrap_or_default();
            let broken = node.watch.begin(&found, false, &self.backend.copies, &BTreeSet::new(), self.now);
            if let Some(words) = broken.first() {
                return self.break_rule(at, words);
            }
            let shown = self.backend.seats.get(&self.nodes[at].session).and_then(|seat| seat.instance.as_ref());
            let open = shown.is_some_and(|shown| shown.join_status == JoinStatus::Joinable);
            if open && outcome != Some(Outcome::Superseded) && self.holds_its_seat(at) {
                return self.break_rule(at, "it has ended, and the session shows it as joinable");
            }
        }
    }
}
