//! The lives of one instance: one, or with `instance.recycle` one after the other until it is told to end.
//!
//! The next life of an instance has the same name, socket and game's side; what it remembers of the one before is what the store
//! does: reports that still wait, what was set aside, how often the game has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::instance::InstanceWorld;
use super::{Inbox, Pulse, drive};
use crate::clock;
use crate::core::action::Outcome;
use crate::core::agent::{Agent, Birth};
use crate::core::event::Event;
use crate::core::ids::{InstanceId, InstanceName};
use crate::core::params::Params;
use crate::core::recycle::Restraint;
use crate::ports::{Backend, Side, Store};

/// What the next lives of an instance begin with.
#[derive(Debug, Clone)]
pub struct Again {
    /// Its settings.
    pub params: Arc<Params>,
    /// The seed of its next life; each has its own.
    pub seed: u64,
    /// Makes an id that nobody else has.
    pub fresh_id: fn() -> InstanceId,
}

pub(super) struct Lives<S> {
    pub(super) name: InstanceName,
    pub(super) store: S,
    pub(super) again: Option<Box<Again>>,
    pub(super) is_last: watch::Receiver<bool>,
    pub(super) begins: Instant,
}

impl<S: Store> Lives<S> {
    /// Lives, and says how the last life ended.
    pub(super) async fn live<B: Backend, G: Side>(
        mut self,
        mut agent: Box<Agent>,
        mut world: Box<InstanceWorld<B, S, G>>,
        mut inbox: Inbox<Event>,
        pulse: Pulse,
    ) -> Option<Outcome> {
        // Its queues hold what comes before.
        clock::sleep_until(Some(self.begins)).await;
        let mut restraint = Restraint::default();
        loop {
            let began = clock::now();
            (world, inbox) = drive(agent, world, inbox, pulse.clone()).await;
            let outcome = world.outcome();
            let Some(again) = self.again.clone().filter(|_| outcome.is_some()) else { return outcome };
            let pause = restraint.pause(clock::now().saturating_duration_since(began));
            tracing::info!(
                instance = self.name.as_str(),
                pause_seconds = pause.as_secs(),
                "the instance has ended and is recycled: it waits for its next allocation"
            );
            if !self.wait(pause, &mut inbox).await {
                return outcome;
            }
            // A store that has ended ends the process too.
            let Ok(durable) = self.store.recall(&self.name).await else { return outcome };
            let Again { params, seed, fresh_id } = *again;
            let birth = Birth { durable, fresh_id: fresh_id(), seed, wall: clock::wall() };
            if let Some(again) = &mut self.again {
                again.seed = seed.wrapping_add(1 << 32);
            }
            agent = Box::new(Agent::recycled(params, birth, world.is_refused(), clock::now()));
            world.begin_again();
            if let Some(auth) = &mut inbox.auth {
                auth.mark_changed();
            }
            pulse.begin_again();
        }
    }

    /// Lets the pause go by. False: there is to be no other life.
    async fn wait(&mut self, pause: Duration, inbox: &mut Inbox<Event>) -> bool {
        let until = clock::now() + pause;
        loop {
            let asked = async {
                match &mut inbox.asked {
                    Some(asked) => asked.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                last = self.is_last.wait_for(|last| *last) => {
                    // Gone: the process ends.
                    drop(last);
                    return false;
                }
                // Between two lives nobody can say yes: the asker is told that the instance has ended.
                Some(asked) = asked => drop(asked),
                // Commands of the life before. The next one asks for itself.
                Some(command) = inbox.commands.recv() => drop(command),
                () = clock::sleep_until(Some(until)) => return true,
            }
        }
    }
}
