//! A stop at any moment ends in time: also when the network falls silent, or was never there.

use super::explore;
use super::world::{Budget, Scope, World};
use crate::core::call::CallKind;
use crate::core::ids::AllocationId;
use crate::core::params::{Params, Readiness, Target};
use crate::core::tests::rig::params;

const CALLS: &[CallKind] = &[
    CallKind::FindSession,
    CallKind::ReadSession,
    CallKind::Register,
    CallKind::Update,
    CallKind::Unregister,
    CallKind::Fubar,
];

fn check(name: &str, allocated: bool, budget: Budget) {
    let slow_store = budget.crashes > 0;
    let scope =
        Scope { slow: CALLS, answers_travel: false, slow_store, slow_login: budget.login_failures > 0, lifetime: None };
    let target = Target::Allocation(AllocationId::parse("a-1").unwrap());
    let own = Params {
        readiness: Readiness::Immediate,
        notifications: false,
        default_cadence: std::time::Duration::from_secs(3600),
        version: None,
        ..params()
    };
    let own = if allocated { Params { target, ..own } } else { own };
    let budget = Budget { stops: 1, ..budget };
    let mut world = World::new(scope, budget, vec![("a", 0, own)]);
    if allocated {
        world.backend.allocate("a-1", "i-a-1");
    }
    // That the end comes in time is a rule of every state; here: that it comes, wherever the stop was.
    explore(name, world, |world| {
        let ended = world.hosts.iter().all(|host| host.stopped.is_none() || host.over.is_some());
        if ended { Ok(()) } else { Err(format!("the stop has not led to the end: {}", world.standing())) }
    });
}

#[test]
fn a_self_registered_one_in_a_bad_network() {
    check("stop, self-registered", false, Budget { losses: 1, delays: 1, ticks: 5, ..Budget::default() });
}

#[test]
fn a_self_registered_one_whose_token_dies() {
    let budget = Budget { token_deaths: 1, login_failures: 1, reports: 1, ticks: 5, ..Budget::default() };
    check("stop and a dead token", false, budget);
}

#[test]
fn an_allocated_one_in_a_bad_network() {
    check("stop, allocated", true, Budget { losses: 1, reports: 1, delays: 1, ticks: 4, ..Budget::default() });
}

#[test]
fn a_self_registered_one_in_silence() {
    check("stop in silence", false, Budget { silences: 1, reports: 1, ticks: 20, ..Budget::default() });
}

#[test]
fn one_that_is_killed_while_it_ends() {
    check("stop and crash", false, Budget { crashes: 1, reports: 1, ticks: 3, ..Budget::default() });
}
