//! A game of ours, or one that we watch: started, stopped, ended, reported.

mod ends;
mod reports;
mod start;
mod stop;
mod verdict;

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, SessionEvent};
use crate::core::durable::{Durable, Record};
use crate::core::event::{Command, Event, Request, Said};
use crate::core::instance::{Health, JoinStatus};
use crate::core::params::{Params, ProbeParams, Process, Readiness};
use crate::core::process::{End, EndStatus, Figures, GameEvent, Order, Players, ProbeResult};
use crate::core::{Machine as _, Outcome, Phase};

const SECOND: Duration = Duration::from_secs(1);
const PID: u32 = 4242;

/// An allocated instance with a game that we start: 60 s to drain, 30 s to stop, 5 minutes to become ready.
fn ours() -> Params {
    Params { process: Process::Ours, ..allocated() }
}

fn watched() -> Params {
    Params { process: Process::Watched, ..allocated() }
}

fn probes(failures: &[Health]) -> Vec<ProbeParams> {
    let probe = |failure: &Health| ProbeParams {
        name: "a2s".to_owned(),
        interval: 5 * SECOND,
        timeout: SECOND,
        failure: *failure,
    };
    failures.iter().map(probe).collect()
}

fn found(probe: usize, health: Health) -> GameEvent {
    GameEvent::Probed { probe, result: ProbeResult { health, reason: "nothing came back".to_owned(), players: None } }
}

pub(super) fn end(status: EndStatus) -> End {
    End {
        status,
        oom_killed: false,
        core: None,
        uptime: Duration::from_millis(61_500),
        figures: Figures::default(),
        tail: Vec::new(),
    }
}

fn ended(status: EndStatus) -> GameEvent {
    GameEvent::Ended(Box::new(end(status)))
}

fn out_of_memory() -> GameEvent {
    GameEvent::Ended(Box::new(End { oom_killed: true, ..end(EndStatus::Signal(9)) }))
}

const SEGV: EndStatus = EndStatus::Signal(11);

/// What the backend was told of failures.
#[derive(Debug, Default, PartialEq)]
struct Told {
    fubars: Vec<String>,
    events: Vec<SessionEvent>,
    /// The last health post, if there was one.
    health: Option<Health>,
}

impl Told {
    fn codes(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.event_code.as_str()).collect()
    }
}

impl Rig {
    fn game(&mut self, event: GameEvent) {
        self.event(Event::Game(event));
    }

    fn sigterm(&mut self) {
        self.event(Event::Command(Command::Drain { reason: "SIGTERM".to_owned() }));
    }

    /// The orders since the last look.
    fn ordered(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// A backend without faults answers all but the poll, at once, until nothing more is asked.
    fn answer_all(&mut self) -> Told {
        let mut told = Told::default();
        while let Some(kind) = self.kinds().into_iter().find(|kind| *kind != CallKind::Poll) {
            let call = self.call(kind).clone();
            let shown = |status| {
                if matches!(&call, Call::Update { update, .. } if update.allocation_id.is_none()) {
                    info(status)
                } else {
                    allocated_info(status)
                }
            };
            let answer = match &call {
                Call::Fubar { report, .. } => {
                    told.fubars.push(report.error.clone());
                    Answer::Accepted
                }
                Call::PostEvent { event, .. } => {
                    told.events.push((**event).clone());
                    Answer::Accepted
                }
                Call::PostHealth { health, .. } => {
                    told.health = Some(*health);
                    Answer::HealthAccepted(*health)
                }
                Call::Update { update, .. } => instance(shown(update.join_status.clone())),
                Call::ReadSession { .. } => Answer::NotModified,
                Call::HealthConfig => {
                    Answer::HealthConfig(crate::core::instance::HealthConfig { cadence: Duration::from_secs(10) })
                }
                other => panic!("nobody answers {other:?}"),
            };
            self.answer(kind, Ok(answer));
        }
        told
    }

    /// What a restart would find on the disk.
    fn disk(&self, before: &Durable) -> Durable {
        let mut durable = before.clone();
        self.records.iter().for_each(|record| durable.apply(record));
        durable
    }
}

/// It was started, and loads; it has not used the local API.
fn loading(params: Params) -> Rig {
    let mut rig = Rig::loading(params);
    assert!(matches!(rig.ordered()[..], [Order::Start { .. }]));
    rig.game(GameEvent::Started { pid: PID });
    rig.answer_all();
    rig
}

/// It serves, and has used the local API.
fn serving(params: Params) -> Rig {
    let mut rig = Rig::serving(params);
    rig.ordered();
    rig.game(GameEvent::Started { pid: PID });
    rig
}
