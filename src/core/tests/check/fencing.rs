//! Two agents and one session: nobody changes what is somebody else's.

use super::host::Host;
use super::rules::{DELETE, NOBODY, PATCH, POST};
use super::world::{Budget, Scope, World};
use super::{Seen, explore};
use crate::core::call::CallKind;
use crate::core::ids::AllocationId;
use crate::core::instance::JoinStatus;
use crate::core::params::{Params, Readiness, Target};
use crate::core::tests::rig::params;
use crate::core::{Machine as _, Outcome, Phase};

const WRITES: &[CallKind] =
    &[CallKind::FindSession, CallKind::ReadSession, CallKind::Register, CallKind::Update, CallKind::Unregister];

fn scope() -> Scope {
    Scope { slow: WRITES, answers_travel: true, slow_store: false, slow_login: false, lifetime: None }
}

fn quiet() -> Params {
    Params {
        readiness: Readiness::Immediate,
        notifications: false,
        default_cadence: std::time::Duration::from_secs(3600),
        version: None,
        ..params()
    }
}

fn bound(allocation: &str) -> Params {
    Params { target: Target::Allocation(AllocationId::parse(allocation).unwrap()), ..quiet() }
}

fn serving(world: &World) -> Vec<&'static str> {
    let serves = |phase| phase == Phase::Serving;
    world.hosts.iter().filter(|host| serves(host.agent.snapshot().phase)).map(|host| host.name).collect()
}

/// One agent serves and the session shows it, or none does; every other one is over.
fn one_serves(world: &World) -> Result<(), String> {
    let serving = serving(world);
    let others_over = world.hosts.iter().all(|host| host.over.is_some() || serving.contains(&host.name));
    let joinable = world.backend.instance.as_ref().is_some_and(|shown| shown.join_status == JoinStatus::Joinable);
    let shown = serving.iter().all(|name| world.backend.owner().starts_with(&format!("i-{name}-")) && joinable);
    // Where a write came late, both may have given way to each other.
    let nobody = serving.is_empty() && !world.raced && world.hosts.iter().all(|host| host.stopped.is_none());
    if serving.len() > 1 || !others_over || !shown || nobody {
        return Err(format!("one agent serves, or all are over: {}", world.standing()));
    }
    Ok(())
}

fn register_themselves(name: &str, budget: Budget) -> Seen {
    let world = World::new(scope(), budget, vec![("a", 0, quiet()), ("b", 1, quiet())]);
    explore(name, world, one_serves)
}

fn reassigned(name: &str, budget: Budget) {
    let budget = Budget { reassignments: 1, ..budget };
    let mut world = World::new(scope(), budget, vec![("a", 0, bound("a-1")), ("b", 1, bound("a-2"))]);
    world.backend.allocate("a-1", "i-a-1");
    world.next_allocation = Some(("a-2", "i-b-1"));
    let seen = explore(name, world, |world| {
        let want = if world.next_allocation.is_none() { "b" } else { "a" };
        let out = |host: &Host| {
            let stopped = host.stopped.is_some() && host.over.is_some();
            let waits = host.agent.snapshot().phase == Phase::Resolving;
            stopped || host.over == Some(Outcome::Superseded) || (waits && host.name != want)
        };
        let serving = serving(world);
        if world.hosts.iter().all(|host| out(host) || serving == [host.name] && host.name == want) {
            return Ok(());
        }
        Err(format!("only {want} serves: {}", world.standing()))
    });
    assert!(seen.races.is_empty(), "a fence leaves no race");
}

#[test]
fn two_that_register_themselves_in_a_bad_network() {
    let budget = Budget { losses: 1, delays: 1, ticks: 3, ..Budget::default() };
    let seen = register_themselves("self-registered, one loss", budget);
    let races: Vec<_> = seen.races.keys().copied().collect();
    assert_eq!(races, [PATCH, POST, NOBODY], "what no look can prevent, and nothing else");
}

#[test]
fn two_that_register_themselves_and_a_crash() {
    let seen = register_themselves(
        "self-registered, one crash",
        Budget { crashes: 1, losses: 1, ticks: 2, ..Budget::default() },
    );
    let races: Vec<_> = seen.races.keys().copied().collect();
    assert_eq!(races, [PATCH, POST, NOBODY]);
}

#[test]
fn two_that_register_themselves_and_a_stop() {
    let budget = Budget { stops: 1, losses: 1, ticks: 2, ..Budget::default() };
    let seen = register_themselves("self-registered, one stop", budget);
    let races: Vec<_> = seen.races.keys().copied().collect();
    assert_eq!(races, [DELETE, PATCH, POST, NOBODY], "GET, then somebody else's POST, then DELETE: the known race");
}

#[test]
fn two_that_register_themselves_and_a_token_that_dies() {
    let budget = Budget { token_deaths: 1, login_failures: 1, ticks: 3, ..Budget::default() };
    register_themselves("self-registered, one token", budget);
}

#[test]
fn twins_of_one_allocation() {
    // Nothing tells them apart, the backend neither: both serve. Who closes it, closes it for both.
    let budget = Budget { stops: 1, losses: 1, ticks: 2, ..Budget::default() };
    let mut world = World::new(scope(), budget, vec![("a", 0, bound("a-1")), ("b", 1, bound("a-1"))]);
    world.backend.allocate("a-1", "i-a-1");
    let seen = explore("twins", world, |world| {
        let done = |host: &Host| host.over.is_some() || host.agent.snapshot().phase == Phase::Serving;
        if world.hosts.iter().all(|host| done(host) && (host.stopped.is_none() || host.over.is_some())) {
            return Ok(());
        }
        Err(format!("each serves or is over: {}", world.standing()))
    });
    assert!(seen.races.is_empty());
}

#[test]
fn a_session_that_is_given_to_another_allocation_in_a_bad_network() {
    reassigned("reassigned, two losses", Budget { losses: 2, ticks: 3, ..Budget::default() });
}

#[test]
fn a_session_that_is_given_to_another_allocation_and_a_crash() {
    reassigned("reassigned, one crash, one loss", Budget { crashes: 1, losses: 1, ticks: 1, ..Budget::default() });
}

#[test]
fn a_session_that_is_given_to_another_allocation_and_a_stop() {
    reassigned("reassigned, one stop, one loss", Budget { stops: 1, losses: 1, ticks: 2, ..Budget::default() });
}
