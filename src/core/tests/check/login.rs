//! One login for a process with two agents, and no login without a reason.

use std::time::Duration;

use super::explore;
use super::world::{Budget, Scope, World};
use crate::core::call::CallKind;
use crate::core::params::{Params, Readiness};
use crate::core::tests::rig::{allocated, params};
use crate::core::{Machine as _, Phase};

const CALLS: &[CallKind] = &[CallKind::ReadSession, CallKind::FindSession, CallKind::Poll, CallKind::Fubar];

fn quiet(params: Params) -> Params {
    Params {
        readiness: Readiness::Immediate,
        default_cadence: Duration::from_secs(3600),
        notifications: false,
        version: None,
        ..params
    }
}

fn check(name: &str, budget: Budget) {
    let scope = Scope {
        slow: CALLS,
        answers_travel: true,
        slow_store: false,
        slow_login: true,
        lifetime: Some(Duration::from_secs(100)),
    };
    // The second agent waits for an allocation that never comes: it asks about once a second.
    let agents = vec![("a", 0, quiet(params())), ("b", 0, quiet(allocated()))];
    explore(name, World::new(scope, budget, agents), |world| {
        let phases: Vec<Phase> = world.hosts.iter().map(|host| host.agent.snapshot().phase).collect();
        let token = world.processes[0].view.state.has_token()
            && world.processes[0].view.generation > Some(world.processes[0].dead);
        let waiting = !world.hosts[0].disk.synced.outbox.is_empty();
        if phases == [Phase::Serving, Phase::Resolving] && token && !waiting {
            return Ok(());
        }
        Err(format!("{phases:?} {:?}", world.processes[0].view))
    });
}

#[test]
fn tokens_that_die() {
    check("two tokens die", Budget { token_deaths: 2, ticks: 6, reports: 1, ..Budget::default() });
}

#[test]
fn tokens_that_die_while_logins_fail() {
    check("logins fail", Budget { token_deaths: 1, login_failures: 2, delays: 1, ticks: 5, ..Budget::default() });
}

#[test]
fn a_missing_permission_is_no_reason() {
    check("forbidden", Budget { forbidden: 1, token_deaths: 1, reports: 1, ticks: 4, ..Budget::default() });
}
