//! Reports and notifications: nothing that was accepted is lost, whatever fails.

use super::explore;
use super::world::{Budget, Scope, World};
use crate::core::call::CallKind;
use crate::core::params::{Params, Readiness};
use crate::core::tests::rig::params;
use crate::core::{Machine as _, Phase};

fn quiet() -> Params {
    Params {
        readiness: Readiness::Immediate,
        default_cadence: std::time::Duration::from_secs(3600),
        version: None,
        page_size: 1,
        ..params()
    }
}

fn scope(slow: &'static [CallKind]) -> Scope {
    Scope { slow, answers_travel: false, slow_store: true, slow_login: false, lifetime: None }
}

/// Whatever was accepted is delivered, whatever was published is in the inbox or done, and the login is good.
fn all_is_delivered(world: &World) -> Result<(), String> {
    for host in &world.hosts {
        let snapshot = host.agent.snapshot();
        let in_inbox = |id: &str| snapshot.notifications.inbox.iter().any(|n| n.notification_id.as_str() == id);
        for id in (0..world.backend.published).map(|at| format!("n{at}")) {
            if host.params.notifications && !host.asked.contains(&id) && !in_inbox(&id) {
                return Err(format!("{id} has not reached the game"));
            }
        }
        if !host.disk.synced.outbox.is_empty() || snapshot.outbox.waiting > 0 {
            return Err(format!("reports wait: {:?}", snapshot.outbox));
        }
        if snapshot.phase != Phase::Serving || !snapshot.auth.state.has_token() {
            return Err(format!("{:?}, {:?}", snapshot.phase, snapshot.auth));
        }
    }
    match world.accepted.iter().find(|(_, label)| !world.backend.copies.contains_key(label)) {
        Some((_, label)) => Err(format!("{label} was accepted and is not delivered")),
        None => Ok(()),
    }
}

fn reports(name: &str, budget: Budget) {
    let params = Params { notifications: false, ..quiet() };
    let world = World::new(scope(&[CallKind::Fubar]), budget, vec![("a", 0, params)]);
    explore(name, world, all_is_delivered);
}

fn notifications(name: &str, budget: Budget) {
    let world = World::new(scope(&[CallKind::Poll]), budget, vec![("a", 0, quiet())]);
    explore(name, world, all_is_delivered);
}

#[test]
fn reports_with_crashes_and_losses() {
    reports("reports", Budget { reports: 2, crashes: 2, losses: 1, ticks: 4, ..Budget::default() });
}

#[test]
fn reports_with_a_dying_token_and_a_delay() {
    let budget =
        Budget { reports: 1, losses: 1, token_deaths: 1, delays: 1, forbidden: 1, ticks: 4, ..Budget::default() };
    reports("reports, token and delay", budget);
}

#[test]
fn reports_with_a_disk_that_fails() {
    let budget = Budget { reports: 2, crashes: 1, disk_faults: 2, losses: 1, ticks: 3, ..Budget::default() };
    reports("reports, failing disk", budget);
}

#[test]
fn notifications_with_crashes_and_losses() {
    notifications("notifications", Budget { publishes: 2, crashes: 2, losses: 1, ticks: 4, ..Budget::default() });
}

#[test]
fn notifications_with_a_dying_token_and_a_delay() {
    let budget = Budget { publishes: 2, losses: 1, token_deaths: 1, delays: 1, ticks: 3, ..Budget::default() };
    notifications("notifications, token and delay", budget);
}

#[test]
fn notifications_with_a_disk_that_fails() {
    let budget = Budget { publishes: 2, crashes: 1, disk_faults: 2, ticks: 3, ..Budget::default() };
    notifications("notifications, failing disk", budget);
}
