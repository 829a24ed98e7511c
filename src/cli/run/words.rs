//! The one line in which the service manager shows how the agent is.

use std::sync::Arc;

use crate::core::allocation::AllocationState;
use crate::core::auth::AuthState;
use crate::core::phase::Phase;
use crate::core::roll;
use crate::core::snapshot::Snapshot;

/// `STATUS=` for all instances.
pub(super) fn status(snapshots: &[Arc<Snapshot>]) -> String {
    match snapshots {
        [] => "no instance".to_owned(),
        [one] => instance(one),
        many => {
            let roll = roll::call(many.iter().map(|snapshot| &**snapshot));
            let count = |word| roll.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count);
            let serving = format!("{} of {} instances serving", count(Phase::Serving.as_str()), many.len());
            match count(roll::WAITING) {
                0 => serving,
                waiting => format!("{serving}, {waiting} waiting for an allocation"),
            }
        }
    }
}

fn instance(snapshot: &Snapshot) -> String {
    let session =
        snapshot.instance.session_id.as_ref().map_or_else(|| "its session".to_owned(), |id| format!("session {id}"));
    let waits =
        snapshot.allocation.detail.as_deref().filter(|_| snapshot.allocation.state != AllocationState::Allocated);
    let doing = match snapshot.phase {
        Phase::Resolving if waits.is_some() => waits.unwrap_or_default().to_owned(),
        Phase::Resolving => format!("looking for {session}"),
        Phase::Registering => format!("registering with {session}"),
        Phase::Loading => format!("{session}: the game is loading"),
        Phase::Serving => format!("{session}: serving"),
        Phase::Draining => match &snapshot.drain {
            Some(drain) => format!("{session}: draining ({})", drain.reason),
            None => format!("{session}: draining"),
        },
        Phase::Closing => format!("{session}: closing"),
        Phase::Ended => format!("{session}: ended"),
        Phase::Superseded => format!("{session}: superseded, somebody else has it"),
    };
    match snapshot.auth.state {
        AuthState::Denied => format!("{doing}; the login was refused"),
        AuthState::None => format!("{doing}; no login yet"),
        AuthState::LoggingIn => format!("{doing}; logging in"),
        AuthState::Valid | AuthState::Refreshing => format!("{doing}, {}", snapshot.health.verdict.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_instance_is_said() {
        assert_eq!(status(&[]), "no instance");
    }
}
