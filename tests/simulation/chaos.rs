//! What happens in a simulated world besides the calls: tasks come and go, and things go wrong.

use std::time::Duration;

use rallyhere_agent::core::auth::AuthEvent;
use rallyhere_agent::core::event::{Command, Event, Request};
use rallyhere_agent::core::ids::{AllocationId, InstanceId, SessionId};
use rallyhere_agent::core::instance::{InstanceInfo, JoinStatus};
use rallyhere_agent::core::params::{Process, Target};

use crate::disk::Ailment;
use crate::node::{Game, Waiter, params};
use crate::options::Fault;
use crate::world::{GameStep, Outage, What, World};

/// What comes again and again to each host, and how many minutes lie between two on average, in a world of normal intensity.
const RHYTHM: [(Fault, f64); 14] = [
    (Fault::Kill, 240.0),
    (Fault::PowerCut, 420.0),
    (Fault::Disk, 400.0),
    (Fault::SlowDisk, 500.0),
    (Fault::WallJump, 600.0),
    (Fault::Stall, 300.0),
    (Fault::TokenDeath, 240.0),
    (Fault::Reassign, 900.0),
    (Fault::Vanish, 1200.0),
    (Fault::Trim, 700.0),
    (Fault::GameCrash, 900.0),
    (Fault::Stop, 900.0),
    (Fault::Reload, 500.0),
    (Fault::Outage, 2400.0),
];
/// The same for what is no fault.
const REPORTS: f64 = 25.0;
const PUBLISHES: f64 = 9.0;

fn foreign(name: &str) -> InstanceInfo {
    InstanceInfo {
        instance_id: InstanceId::parse(&format!("x-{name}")).ok(),
        allocation_id: AllocationId::parse(&format!("ax-{name}")).ok(),
        join_status: JoinStatus::Joinable,
        health: None,
    }
}

impl World {
    fn in_about(&mut self, at: usize, minutes: f64) -> Duration {
        let dice = self.nodes[at].dice.f64();
        Duration::from_secs_f64(60.0 * minutes * -(1.0 - dice).max(1e-9).ln())
    }

    pub(crate) fn begin_chaos(&mut self, at: usize) {
        for (fault, _) in RHYTHM {
            self.again_chaos(at, fault);
        }
        let (report, publish) = (self.in_about(at, REPORTS), self.in_about(at, PUBLISHES));
        self.later(report, at, 0, What::Report);
        self.later(publish, at, 0, What::Publish);
    }

    pub(crate) fn report_later(&mut self, at: usize) {
        let wait = self.in_about(at, REPORTS);
        self.later(wait, at, 0, What::Report);
    }

    fn again_chaos(&mut self, at: usize, fault: Fault) {
        let mean = RHYTHM.iter().find(|(other, _)| *other == fault).map_or(1e6, |(_, minutes)| *minutes);
        let wait = self.in_about(at, mean);
        self.later(wait, at, 0, What::Chaos(fault));
    }

    /// A host gets another task: a session of its own, one that somebody else has too, or an allocation.
    pub(crate) fn assign(&mut self, at: usize) {
        self.names += 1;
        let name = format!("{}", self.names);
        let other = self.dice.usize(..self.nodes.len());
        let theirs = self.nodes[other].session.clone();
        let shared = other != at && self.backend.seats.contains_key(&theirs);
        let node = &mut self.nodes[at];
        node.tasks += 1;
        node.over = None;
        (node.again, node.ends_as) = (false, None);
        node.game = Game::default();
        node.watch.stopped = None;
        let own = SessionId::parse(&format!("s-{name}")).unwrap();
        let allocation = AllocationId::parse(&format!("a-{name}")).unwrap();
        let (session, target) = match node.dice.u8(..20) {
            // Two hosts for one session: a mistake that happens.
            0 | 1 if shared => (theirs.clone(), Target::Session { session: theirs, allocation: None }),
            0..9 => (own.clone(), Target::Session { session: own, allocation: None }),
            // The session changes hands.
            9 | 10 if shared => (theirs, Target::Allocation(allocation)),
            11 => (own.clone(), Target::Session { session: own, allocation: Some(allocation) }),
            _ => (own, Target::Allocation(allocation)),
        };
        node.params = params(&mut node.dice, &node.name, target);
        node.session = session.clone();
        self.backend.seats.entry(session).or_default();
        if self.nodes[at].params.target.allocation().is_some() {
            let wait = Duration::from_millis(self.nodes[at].dice.u64(1..90_000));
            self.later(wait, at, 0, What::Bind);
        }
    }

    pub(crate) fn bind(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(allocation) = node.params.target.allocation().cloned() else { return };
        let Some(seat) = self.backend.seats.get_mut(&node.session) else { return };
        seat.give(Some(InstanceInfo {
            instance_id: InstanceId::parse(&node.id_prefix()).ok(),
            allocation_id: Some(allocation),
            join_status: JoinStatus::Allocated,
            health: None,
        }));
    }

    /// Whether the host's session shows an instance of this host.
    pub(crate) fn holds_its_seat(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let seat = self.backend.seats.get(&node.session);
        let shown = seat.filter(|seat| !seat.gone).and_then(|seat| seat.instance.as_ref());
        shown.is_some_and(|shown| node.is_ours(shown.instance_id.as_ref(), shown.allocation_id.as_ref()))
    }

    pub(crate) fn chaos(&mut self, at: usize, fault: Fault) {
        if self.calm {
            return;
        }
        self.again_chaos(at, fault);
        if self.fault(at, fault, 1.0 / 3.0) {
            self.strike(at, fault);
        }
    }

    fn strike(&mut self, at: usize, fault: Fault) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let while_secs = |secs: u64| now + Duration::from_secs(secs);
        match fault {
            Fault::Kill | Fault::PowerCut => {
                let power = fault == Fault::PowerCut;
                if node.dice.bool() {
                    return self.crash(at, power);
                }
                // In the middle of what it does with the disk, or soon after.
                node.disk.dies_in(node.dice.u32(..14));
                let wait = Duration::from_millis(node.dice.u64(1..90_000));
                let life = node.life;
                self.later(wait, at, life, What::Die(power));
            }
            Fault::Disk => {
                let all = [Ailment::Full, Ailment::ReadOnly, Ailment::NoSync, Ailment::Flaky];
                let secs = if node.dice.bool() { node.dice.u64(1..30) } else { node.dice.u64(30..3600) };
                node.disk.ail(Some(all[node.dice.usize(..4)]));
                node.watch.ailing_until = Some(while_secs(secs + 15));
                self.later(Duration::from_secs(secs), at, 0, What::Heal);
            }
            Fault::SlowDisk => {
                let secs = node.dice.u64(10..1800);
                node.slow_disk = Some(while_secs(secs));
                node.watch.ailing_until = Some(while_secs(secs + 15)).max(node.watch.ailing_until);
            }
            Fault::WallJump => {
                let seconds = [-86_400 * 30, -3600, -5, 5, 3600, 86_400 * 30][node.dice.usize(..6)];
                node.wall += jiff::SignedDuration::from_secs(seconds);
                // The attempts of the login are told by the wall clock.
                node.watch.first_logins.clear();
            }
            Fault::Stall if node.running.is_some() => {
                let until = now + Duration::from_millis(node.dice.u64(100..120_000));
                let until = node.stalled.map_or(until, |already| already.max(until));
                node.stalled = Some(until);
                node.watch.resumed(until);
            }
            Fault::TokenDeath => {
                if let Some((_, token)) = node.running.as_ref().and_then(|running| running.vault) {
                    self.tokens[token].dead = true;
                }
            }
            Fault::Reassign => {
                self.names += 1;
                let name = self.names.to_string();
                let instance = node.running.as_ref().map(|_| node.session.clone());
                if node.dice.bool() {
                    self.publish_some(at, 1);
                }
                if let Some(seat) = instance.and_then(|session| self.backend.seats.get_mut(&session)) {
                    seat.give(Some(foreign(&name)));
                }
            }
            Fault::Vanish => {
                let gone = node.dice.u8(..4) == 0;
                if let Some(seat) = self.backend.seats.get_mut(&node.session) {
                    seat.give(None);
                    seat.gone |= gone;
                }
            }
            Fault::Trim => {
                let running = node.running.as_ref();
                let instance = running.and_then(|_| node.watch.readers.keys().next_back().cloned());
                if let Some(stream) = instance.and_then(|instance| self.backend.streams.get_mut(&instance)) {
                    stream.first = stream.published.saturating_sub(self.nodes[at].dice.usize(..4));
                }
            }
            Fault::GameCrash if node.params.process == Process::Ours => {
                let life = node.life;
                self.later(Duration::ZERO, at, life, What::Game(GameStep::Is(crate::game::ended(11, true))));
            }
            Fault::Stop => {
                node.watch.stopped.get_or_insert_with(|| now.max(node.stalled.unwrap_or(now)));
                if node.running.is_none() {
                    node.watch.stopped = None;
                } else if node.dice.bool() {
                    self.tell(at, Event::Command(Command::Drain { reason: "simulated".to_owned() }));
                } else {
                    self.ask(at, Waiter::Other, Request::Shutdown { reason: None });
                }
            }
            // A process that stands still takes no signal.
            Fault::Reload if node.running.is_some() && node.stalled.is_none_or(|until| until <= now) => {
                node.watch.reloaded();
                self.tell_auth(at, AuthEvent::Reloaded);
                self.tell(at, Event::Command(Command::Reloaded));
            }
            Fault::Outage => {
                let dice = &mut self.dice;
                let secs = if dice.bool() { dice.u64(1..20) } else { dice.u64(20..2400) };
                let after = dice.bool().then(|| Duration::from_secs(dice.u64(1..300)));
                let all = [Outage::Refused, Outage::BlackHole, Outage::Unavailable(after)];
                if self.outage.is_none() {
                    self.outage = Some(all[self.dice.usize(..3)]);
                    self.later(Duration::from_secs(secs), 0, 0, What::Lull);
                    self.cut_polls();
                }
            }
            _ => {}
        }
    }

    /// Whoever holds a poll when an outage begins loses it.
    fn cut_polls(&mut self) {
        let mut held: Vec<u64> = self.flights.iter().filter(|(_, flight)| flight.held).map(|(at, _)| *at).collect();
        held.sort_unstable();
        for at in held {
            self.cut(at);
        }
    }

    pub(crate) fn heal(&mut self, at: usize) {
        self.nodes[at].disk.ail(None);
    }

    pub(crate) fn publish(&mut self, at: usize) {
        if self.calm {
            return;
        }
        let wait = self.in_about(at, PUBLISHES);
        self.later(wait, at, 0, What::Publish);
        let dice = &mut self.nodes[at].dice;
        let count = if dice.u8(..20) == 0 { dice.usize(50..300) } else { dice.usize(1..5) };
        self.publish_some(at, count);
    }

    /// The backend writes to the instance that this host's session shows, if it is this host's.
    fn publish_some(&mut self, at: usize, count: usize) {
        let node = &self.nodes[at];
        let seat = self.backend.seats.get(&node.session);
        let shown = seat.and_then(|seat| seat.instance.as_ref());
        let id = shown.filter(|shown| node.is_ours(shown.instance_id.as_ref(), shown.allocation_id.as_ref()));
        let Some(id) = id.and_then(|shown| shown.instance_id.clone()) else { return };
        let stream = self.backend.streams.entry(id.clone()).or_default();
        stream.published += count;
        self.nodes[at].watch.readers.entry(id.clone()).or_default();
        let polls: Vec<u64> =
            self.nodes[at].running.iter().flat_map(|running| running.flights.iter().copied()).collect();
        for flight in polls {
            self.release(flight, Some(&id));
        }
    }
}
