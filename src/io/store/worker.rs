//! The owner thread: takes everything that waits, writes it in one go, answers each.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::disk::Disk;
use super::engine::Engine;
use super::finding::StoreStatus;
use super::queue::{Queue, Taken};
use crate::core::event::StoreFault;

/// Runs until the queue is closed. Whatever happens in here, nobody waits for ever: see [`Ending`].
pub(super) fn run<D: Disk>(
    mut engine: Engine<D>,
    queue: Arc<Queue>,
    heal_every: Duration,
    status: &watch::Sender<StoreStatus>,
) {
    let ending = Ending(queue);
    let queue = &ending.0;
    loop {
        let Taken { batches, refused, recalls, closing } = queue.take(engine.is_ailing().then_some(heal_every));
        engine.count_refused(refused);
        if batches.is_empty() && recalls.is_empty() && closing.is_none() {
            engine.tick();
        }
        let verdicts = engine.commit(&batches);
        for (instance, reply) in recalls {
            let _who_left = reply.send(engine.mirror().get(&instance).cloned().unwrap_or_default());
        }
        // First the state, then the answers: who has an answer and looks sees no older state.
        let closed = closing.map(|replies| (replies, engine.close()));
        publish(status, engine.status());
        for (batch, verdict) in batches.into_iter().zip(verdicts) {
            if let Some(reply) = batch.reply {
                let _who_left = reply.send(verdict);
            }
        }
        if let Some((replies, verdict)) = closed {
            // The lock goes before the answer: who waits for the end may open the directory again.
            drop(engine);
            for reply in replies.into_iter().chain(queue.end()) {
                let _who_left = reply.send(verdict);
            }
            return;
        }
    }
}

fn publish(status: &watch::Sender<StoreStatus>, now: StoreStatus) {
    status.send_if_modified(|shown| {
        let changed = *shown != now;
        *shown = now;
        changed
    });
}

/// Answers everybody when the thread ends, even by a panic: batches are dropped, which their futures take as failed.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        for reply in self.0.end() {
            let _who_left = reply.send(Err(StoreFault::Failed));
        }
    }
}
