//! An instance's loop: what the core's actions mean, and how requests and answers become its events.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::narrate::Narrator;
use super::{Tasks, World};
use crate::clock;
use crate::core::action::{Action, Outcome};
use crate::core::agent::Agent;
use crate::core::api::Findings;
use crate::core::auth::{AuthEvent, AuthView};
use crate::core::call::{Failure, FailureKind};
use crate::core::event::{Event, StoreFault, Verdict};
use crate::core::ids::{CallId, Generation, InstanceName, RequestId};
use crate::core::process::{GameEvent, Untaken};
use crate::core::snapshot::Snapshot;
use crate::ports::{Asked, Backend, Side, Store, boxed};

/// What an instance's actions mean.
#[derive(Debug)]
pub struct InstanceWorld<B, S, G> {
    name: InstanceName,
    backend: B,
    store: S,
    side: G,
    login: mpsc::Sender<Box<AuthEvent>>,
    /// A refused token of which the login has not been told. The newest counts: it is the one in use.
    refused: Option<Generation>,
    /// What was found out about the API, of which the login has not been told either.
    learnt: Findings,
    snapshots: watch::Sender<Arc<Snapshot>>,
    calls: HashMap<CallId, AbortHandle>,
    waiting: HashMap<RequestId, oneshot::Sender<Verdict>>,
    requests: u64,
    narrator: Narrator,
    outcome: Option<Outcome>,
}

impl<B: Backend, S: Store, G: Side> InstanceWorld<B, S, G> {
    /// A world for the instance of this name.
    pub fn new(
        name: InstanceName,
        backend: B,
        store: S,
        side: G,
        login: mpsc::Sender<Box<AuthEvent>>,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        Self {
            narrator: Narrator::new(name.clone()),
            name,
            backend,
            store,
            side,
            login,
            refused: None,
            learnt: Findings::new(),
            snapshots,
            calls: HashMap::new(),
            waiting: HashMap::new(),
            requests: 0,
            outcome: None,
        }
    }

    /// Tells the login of a refused token. Where its queue has no room, the next turn tries again: nobody else will tell it.
    /// The last place is left for a reload.
    fn tell_login(&mut self) {
        if let Some(refused) = self.refused
            && self.login.capacity() > 1
        {
            match self.login.try_send(Box::new(AuthEvent::Rejected(refused))) {
                Err(TrySendError::Full(_)) => {}
                // Closed: the process ends.
                Ok(()) | Err(TrySendError::Closed(_)) => self.refused = None,
            }
        }
        while self.login.capacity() > 1
            && let Some((feature, finding)) = self.learnt.pop_first()
        {
            // There is room; closed: the process ends.
            let _ended = self.login.try_send(Box::new(AuthEvent::Learnt { feature, finding }));
        }
    }

    /// The life is over, another one begins: nothing of it is left but counters of ids, which go on.
    pub(super) fn begin_again(&mut self) {
        self.outcome = None;
        self.refused = None;
        self.calls.clear();
        // Whoever still waits is told that the instance has ended.
        self.waiting.clear();
    }

    /// Whether it has reports that the client may not send.
    pub(super) fn is_refused(&self) -> bool {
        self.snapshots.borrow().outbox.refused
    }

    /// How the instance ended, once its loop has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }
}

impl<B: Backend, S: Store, G: Side> World<Agent> for InstanceWorld<B, S, G> {
    fn perform(&mut self, action: Action, tasks: &mut Tasks<Event>) {
        match action {
            Action::Send { id, call, limit } => {
                // In boxes: a future has room for another twice, where it was made and where it is waited for.
                let work = boxed(self.backend.call(call, limit));
                let lost = Failure::local(FailureKind::Malformed, "the call was lost to a fault of the agent");
                let fallback = Event::Answered { id: id.clone(), result: Err(lost) };
                let key = id.clone();
                let handle = tasks.spawn(async move { Event::Answered { id, result: work.await } }, fallback);
                self.calls.insert(key, handle);
            }
            Action::Cancel(id) => {
                if let Some(call) = self.calls.remove(&id) {
                    call.abort();
                }
            }
            Action::Store { ticket, records } => {
                let work = self.store.append(&self.name, records);
                let fallback = Event::Stored { ticket: ticket.clone(), result: Err(StoreFault::Failed) };
                tasks.spawn(async move { Event::Stored { ticket, result: work.await } }, fallback);
            }
            Action::Reply { id, verdict } => {
                if let Some(waiting) = self.waiting.remove(&id) {
                    // Nobody waits any more: the client has gone, and what was accepted stays accepted.
                    let _gone = waiting.send(verdict);
                }
            }
            Action::TokenRejected(generation) => self.refused = self.refused.max(Some(generation)),
            Action::Learnt { feature, finding } => {
                self.learnt.insert(feature, finding);
            }
            Action::Game(order) => self.side.order(order),
            Action::HandOver(what) => {
                let id = what.notification.notification_id.clone();
                let lost = Err(Untaken::Refused(Box::from("the hand-over was lost to a fault of the agent")));
                let fallback = Event::HandedOver { id: id.clone(), result: lost };
                let work = boxed(self.side.hand_over(what));
                tasks.spawn(async move { Event::HandedOver { id, result: work.await } }, fallback);
            }
            Action::Note(note) => self.narrator.tell(&note, clock::now()),
            Action::Exit(outcome) => self.outcome = Some(outcome),
        }
    }

    fn publish(&mut self, snapshot: Snapshot) {
        self.tell_login();
        // A handle keeps the memory of its call, some KiB, also once that has ended.
        self.calls.retain(|_, call| !call.is_finished());
        self.snapshots.send_if_modified(|shown| {
            let changed = **shown != snapshot;
            if changed {
                *shown = Arc::new(snapshot);
            }
            changed
        });
    }

    fn asked(&mut self, asked: Asked) -> Option<Event> {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.waiting.insert(id.clone(), asked.reply);
        Some(Event::Request { id, request: asked.request, wall: clock::wall() })
    }

    fn auth(&mut self, view: Arc<AuthView>) -> Option<Event> {
        Some(Event::Auth(view))
    }

    fn game(&mut self, event: GameEvent) -> Option<Event> {
        Some(Event::Game(event))
    }
}
