//! The games of the simulated hosts: they connect, say ready, report, take their notifications in order, crash and end.

use std::time::Duration;

use rallyhere_agent::core::Machine as _;
use rallyhere_agent::core::Phase;
use rallyhere_agent::core::event::{Event, Request, Said};
use rallyhere_agent::core::ids::{InstanceId, NotificationId};
use rallyhere_agent::core::params::{Process, Readiness};
use rallyhere_agent::core::process::{End, EndStatus, Figures, GameEvent, Untaken};

use crate::backend::place;
use crate::node::Waiter;
use crate::options::Fault;
use crate::world::{GameStep, What, World};

/// A process is gone: an exit code, or a signal.
pub(crate) fn ended(number: i32, signal: bool) -> GameEvent {
    GameEvent::Ended(Box::new(End {
        status: if signal { EndStatus::Signal(number) } else { EndStatus::Code(number) },
        oom_killed: false,
        core: None,
        uptime: Duration::from_secs(60),
        figures: Figures::default(),
        tail: Vec::new(),
    }))
}

/// Whose notification it is.
fn instance_of(id: &NotificationId) -> InstanceId {
    let name = id.as_str().rsplit_once('.').map_or("none", |(name, _)| name);
    InstanceId::parse(name).unwrap()
}

impl World {
    pub(crate) fn game(&mut self, at: usize, step: GameStep) {
        match step {
            GameStep::Connects => {
                self.ask(at, Waiter::Other, Request::ClientSeen);
                if self.nodes[at].params.process == Process::Unknown {
                    self.soon(500..60_000, at, What::Game(GameStep::Ready));
                }
                self.look_soon(at);
            }
            GameStep::Ready => {
                let node = &self.nodes[at];
                if node.params.readiness == Readiness::Sdk && !node.game.ready {
                    self.ask(at, Waiter::Ready, Request::Ready(Said::default()));
                }
            }
            GameStep::Looks => self.looks(at),
            GameStep::Is(event) => {
                if matches!(event, GameEvent::Ended(_)) && !std::mem::replace(&mut self.nodes[at].game.child, false) {
                    return;
                }
                self.tell(at, Event::Game(event));
            }
            GameStep::Took(id) => self.took(at, &id),
        }
    }

    pub(crate) fn report(&mut self, at: usize) {
        if self.calm {
            return;
        }
        self.report_later(at);
        let node = &mut self.nodes[at];
        if node.running.is_none() {
            return;
        }
        node.reports += 1;
        let label = format!("r-{at}-{}", node.reports);
        let key = node.dice.bool().then(|| format!("k-{at}-{}", node.reports));
        let event = node.dice.bool();
        let request = if event && key.is_none() {
            Request::Event { event_code: label.clone(), description: None, custom_data: Default::default() }
        } else {
            Request::Fubar { error: label.clone(), key: key.clone() }
        };
        let twice = key.is_some() && node.dice.u8(..4) == 0;
        if twice {
            self.ask(at, Waiter::Report { label: label.clone(), key: key.clone() }, request.clone());
        }
        self.ask(at, Waiter::Report { label, key }, request);
    }

    pub(crate) fn look_soon(&mut self, at: usize) {
        let Some(running) = &mut self.nodes[at].running else { return };
        if !std::mem::replace(&mut running.looking, true) {
            self.soon(5..3000, at, What::Game(GameStep::Looks));
        }
    }

    /// The game reads its inbox through the local API, and is done with some of it.
    fn looks(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(running) = &mut node.running else { return };
        running.looking = false;
        if running.phase == Phase::Superseded || node.is_pushed_to() {
            return;
        }
        let Some(running) = &node.running else { return };
        let inbox = running.agent.snapshot().notifications.inbox;
        let Some(first) = inbox.front() else { return };
        let instance = instance_of(&first.notification_id);
        let places: Vec<usize> = inbox.iter().map(|waiting| place(&waiting.notification_id)).collect();
        let trimmed = self.backend.streams.get(&instance).map_or(0, |stream| stream.first);
        let reader = node.watch.readers.entry(instance.clone()).or_default();
        let mut broken = None;
        if inbox.len() > node.params.inbox_limit {
            broken = Some(format!("{} notifications wait, {} may", inbox.len(), node.params.inbox_limit));
        }
        if places[0] < reader.settled {
            broken =
                Some(format!("notification {} again, although everything below {} is done", places[0], reader.settled));
        } else if places[0] < reader.next && reader.repeats == 0 {
            broken = Some(format!("notification {} again without a restart", places[0]));
        }
        let mut expected = reader.next;
        for place in &places {
            if *place > expected && expected.max(trimmed) < *place {
                broken = Some(format!(
                    "notification {expected} is missing before {place}; {trimmed} were dropped by the backend"
                ));
            }
            expected = expected.max(place + 1);
        }
        if places.windows(2).any(|pair| pair[0] >= pair[1]) {
            broken = Some(format!("the inbox is out of order: {places:?}"));
        }
        if let Some(words) = broken {
            return self.break_rule(at, words);
        }
        let count = if node.dice.u8(..3) == 0 { node.dice.usize(0..=places.len()) } else { places.len() };
        if count < places.len() {
            self.look_later(at);
        }
        if count == 0 {
            return;
        }
        let through = places[count - 1];
        let reader = self.nodes[at].watch.readers.entry(instance.clone()).or_default();
        reader.next = reader.next.max(through + 1);
        let id = inbox[count - 1].notification_id.clone();
        self.ask(at, Waiter::Ack { instance, through }, Request::Ack(id));
    }

    fn look_later(&mut self, at: usize) {
        let Some(running) = &mut self.nodes[at].running else { return };
        running.looking = true;
        let calm = self.calm;
        self.soon(if calm { 100..2000 } else { 1000..120_000 }, at, What::Game(GameStep::Looks));
    }

    /// A notification is pushed to the game.
    pub(crate) fn pushed(&mut self, at: usize, id: &NotificationId) {
        let (instance, place) = (instance_of(id), place(id));
        let trimmed = self.backend.streams.get(&instance).map_or(0, |stream| stream.first);
        let node = &mut self.nodes[at];
        let reader = node.watch.readers.entry(instance).or_default();
        let mut broken = None;
        if place < reader.next {
            if reader.repeats == 0 || place + reader.repeats < reader.next {
                broken = Some(format!("notification {place} is pushed again, the next one is {}", reader.next));
            }
        } else {
            reader.repeats = 0;
            if place > reader.next && reader.next.max(trimmed) < place {
                broken =
                    Some(format!("notification {} is missing before {place}; {trimmed} were dropped", reader.next));
            }
        }
        if std::mem::replace(&mut node.game.pushing, true) {
            broken = Some("two notifications are pushed at a time".to_owned());
        }
        if let Some(words) = broken {
            return self.break_rule(at, words);
        }
        let id = id.clone();
        self.soon(1..400, at, What::Game(GameStep::Took(id)));
    }

    fn took(&mut self, at: usize, id: &NotificationId) {
        let place = place(id);
        self.nodes[at].game.pushing = false;
        let absent = self.nodes[at].game.absent_until.is_some_and(|until| until > self.now);
        let poison = place % 41 == 13 && !self.options.without.contains(&Fault::Untaken);
        let result = if absent && !self.calm {
            Err(Untaken::Absent("simulated".into()))
        } else if poison || self.fault(at, Fault::Untaken, 0.05) {
            Err(Untaken::Refused("simulated".into()))
        } else {
            let reader = self.nodes[at].watch.readers.entry(instance_of(id)).or_default();
            reader.next = reader.next.max(place + 1);
            Ok(())
        };
        if result.is_ok() && self.fault(at, Fault::Untaken, 0.02) {
            let until = self.now + Duration::from_secs(self.nodes[at].dice.u64(1..600));
            self.nodes[at].game.absent_until = Some(until);
        }
        self.tell(at, Event::HandedOver { id: id.clone(), result });
    }

    /// Nobody would take it: the next one may come.
    pub(crate) fn set_aside(&mut self, at: usize, id: &NotificationId) {
        let place = place(id);
        let node = &mut self.nodes[at];
        if !node.is_pushed_to() {
            return self.break_rule(at, "a notification is set aside that nobody was to be pushed");
        }
        let reader = node.watch.readers.entry(instance_of(id)).or_default();
        reader.next = reader.next.max(place + 1);
    }
}
