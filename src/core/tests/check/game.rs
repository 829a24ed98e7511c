//! A game of ours that may end at any time: it is never left behind, and its crash is never lost.

use super::explore;
use super::world::{Budget, Scope, World};
use crate::core::call::CallKind;
use crate::core::ids::AllocationId;
use crate::core::params::{Params, Process, Readiness, Target};
use crate::core::process::{End, EndStatus, Figures, GameEvent, Order};
use crate::core::tests::rig::params;
use crate::core::{Machine as _, Phase};

/// How the game crashes.
pub(super) const CRASH: EndStatus = EndStatus::Signal(11);
const WELL: EndStatus = EndStatus::Code(0);
const STOPPED: EndStatus = EndStatus::Signal(15);
const KILLED: EndStatus = EndStatus::Signal(9);

/// The process of a game, as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Game {
    /// Not started by this life of the agent; one of the life before has ended with that.
    None,
    /// Its start was ordered.
    Ordered,
    Running,
    /// Its stop signal was sent; it may obey, or not.
    Asked,
    /// SIGKILL was sent.
    Killed,
    Gone,
}

impl Game {
    /// How it may end now.
    pub(super) fn ends(self, by_itself: bool) -> Vec<EndStatus> {
        match self {
            Self::None | Self::Ordered | Self::Gone => Vec::new(),
            Self::Running if by_itself => vec![CRASH, WELL],
            Self::Running => Vec::new(),
            Self::Asked if by_itself => vec![STOPPED, CRASH],
            Self::Asked => vec![STOPPED],
            Self::Killed => vec![KILLED],
        }
    }

    pub(super) fn is_by_itself(self, status: EndStatus) -> bool {
        status == CRASH || status == WELL
    }

    /// Takes an order, or says what is wrong with it.
    pub(super) fn ordered(&mut self, order: &Order) -> Result<(), &'static str> {
        *self = match (order, *self) {
            (Order::Start { .. }, Self::None) => Self::Ordered,
            (Order::Start { .. }, _) => return Err("starts its game twice"),
            (Order::Stop, Self::Ordered | Self::Running) => Self::Asked,
            (Order::Kill, Self::Asked) => Self::Killed,
            (Order::Stop | Order::Kill, _) => return Err("orders what makes no sense now"),
        };
        Ok(())
    }

    /// It runs, and nobody has ordered to kill it.
    pub(super) fn is_left_running(self) -> bool {
        matches!(self, Self::Ordered | Self::Running | Self::Asked)
    }
}

pub(super) fn ended(status: EndStatus) -> GameEvent {
    GameEvent::Ended(Box::new(End {
        status,
        oom_killed: false,
        core: None,
        uptime: std::time::Duration::ZERO,
        figures: Figures::default(),
        tail: Vec::new(),
    }))
}

fn ours() -> Params {
    Params {
        process: Process::Ours,
        readiness: Readiness::Immediate,
        notifications: false,
        default_cadence: std::time::Duration::from_secs(3600),
        version: None,
        drain_timeout: std::time::Duration::from_secs(2),
        stop_timeout: std::time::Duration::from_secs(2),
        ..params()
    }
}

/// It serves with its game, or has ended, or waits for an allocation that somebody else has got, without a game.
fn serves_or_is_over(world: &World) -> Result<(), String> {
    let host = &world.hosts[0];
    let phase = host.agent.snapshot().phase;
    let stands = (phase == Phase::Serving && host.game == Game::Running)
        || (phase == Phase::Resolving && host.game == Game::None && world.next_allocation.is_none());
    if host.over.is_some() || (stands && host.stopped.is_none()) {
        return Ok(());
    }
    Err(format!("{:?}: {}", host.game, world.standing()))
}

fn check(name: &str, allocated: bool, slow: &'static [CallKind], budget: Budget) {
    let scope = Scope { slow, answers_travel: false, slow_store: true, slow_login: false, lifetime: None };
    let target = Target::Allocation(AllocationId::parse("a-1").unwrap());
    let params = if allocated { Params { target, ..ours() } } else { ours() };
    let mut world = World::new(scope, budget, vec![("a", 0, params)]);
    if allocated {
        world.backend.allocate("a-1", "i-a-1");
        world.next_allocation = Some(("a-2", "i-b-1"));
    }
    explore(name, world, serves_or_is_over);
}

#[test]
fn one_that_is_allocated_and_given_to_somebody_else() {
    let budget = Budget { game_ends: 1, stops: 1, reassignments: 1, losses: 1, ticks: 4, ..Budget::default() };
    check("game, allocated", true, &[CallKind::FindSession, CallKind::Update, CallKind::Fubar], budget);
}

#[test]
fn one_that_registers_itself_and_is_killed() {
    let budget = Budget { game_ends: 1, stops: 1, crashes: 1, ticks: 4, ..Budget::default() };
    check("game, self-registered", false, &[CallKind::Register, CallKind::Fubar], budget);
}
