//! Who we are, and where: what is written down before the first word to the backend.

use super::standing;
use super::{Common, Lifecycle, Target};
use crate::core::durable::Record;
use crate::core::ids::{InstanceId, SessionId};
use crate::core::process::Order;

impl Lifecycle {
    /// The order to start the game, with what its environment is to tell it; `None` while the allocation is not bound to a
    /// session. Where the session is configured nothing is waited for: the game loads while the backend is asked. An allocated
    /// instance has its id from the backend, so a game that is not waited for does not get it.
    /// With `game.start = "waiting"` nothing is waited for: what is not known yet is left out.
    pub(in crate::core) fn start_order(&self, common: &Common) -> Option<Order> {
        let known = if common.waits { None } else { self.whom(common) };
        if known.is_none() && !common.params.allocation.game_waits {
            return None;
        }
        let (session, instance) = known.unzip();
        let fence = common.params.target.allocation();
        Some(Order::Start {
            session: session.cloned(),
            instance: instance.flatten().cloned(),
            allocation: fence.filter(|_| !common.waits).or_else(|| common.allocation_id()).cloned(),
        })
    }

    /// Session and instance, as far as a game may be started for them.
    fn whom<'a>(&'a self, common: &'a Common) -> Option<(&'a SessionId, Option<&'a InstanceId>)> {
        let fence = common.params.target.allocation();
        let (session, instance) = match &common.params.target {
            Target::Session { session, .. } if fence.is_some() => (session, common.instance_id()),
            Target::Session { session, .. } => (session, standing::own_id(common).or(Some(&self.fresh_id))),
            Target::Allocation(_) => (common.session_id()?, Some(common.instance_id()?)),
            Target::Awaited => return None,
        };
        Some((session, instance))
    }

    /// Who we are, now that the session is known.
    pub(super) fn identity(&self, common: &Common) -> Option<Record> {
        let session = &common.session.as_ref()?.session;
        let shown = session.instance.as_ref();
        let fence = common.params.target.allocation().cloned();
        let instance = if fence.is_some() {
            shown?.instance_id.clone()?
        } else {
            standing::own_id(common).cloned().unwrap_or_else(|| self.fresh_id.clone())
        };
        // An instance with our id that the backend itself allocated: its fence is ours too.
        let allocation = fence.or_else(|| shown.and_then(|shown| shown.allocation_id.clone()));
        Some(Record::Identity { session: Some(session.session_id.clone()), instance: Some(instance), allocation })
    }
}

/// Where we were to be, for an instance that never was.
pub(super) fn place(common: &Common) -> Record {
    let seen = common.session.as_ref().map(|view| view.session.session_id.clone());
    let session = match &common.params.target {
        Target::Session { session, .. } => Some(session.clone()),
        Target::Allocation(_) | Target::Awaited => seen,
    };
    Record::Identity { session, instance: None, allocation: common.params.target.allocation().cloned() }
}
