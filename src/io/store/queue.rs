//! The way from the handles to the owner thread: bounded, never blocking for those who put in.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::durable::{Durable, Record};
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;

/// How often the queue's bound the records may wait that cannot be refused.
const LEEWAY: usize = 4;

/// Where the verdict on a batch goes.
pub(super) type Reply = oneshot::Sender<Result<(), StoreFault>>;

/// Records of one instance, all or none.
#[derive(Debug)]
pub struct Batch {
    /// Whose.
    pub instance: InstanceName,
    /// The records.
    pub records: Vec<Record>,
    /// Who waits. `None`: the batch was refused at the door, and what is left of it is for the mirror only.
    pub(super) reply: Option<Reply>,
}

impl Batch {
    /// A batch for whoever drives an [`super::Engine`] by himself: its verdict is what `commit` returns.
    pub fn new(instance: InstanceName, records: Vec<Record>) -> Self {
        Self { instance, records, reply: None }
    }
}

/// What the owner thread takes out: everything that waited.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The batches, in the order of the calls.
    pub(super) batches: Vec<Batch>,
    /// How many were refused at the door since the last time.
    pub(super) refused: u64,
    /// Whose memory is asked for, as it is after the batches.
    pub(super) recalls: Vec<(InstanceName, oneshot::Sender<Durable>)>,
    /// Nothing comes after these: end, and tell those here.
    pub(super) closing: Option<Vec<Reply>>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Batch>,
    refused: u64,
    /// Of living instances, so never more than there are.
    recalls: Vec<(InstanceName, oneshot::Sender<Durable>)>,
    closing: Option<Vec<Reply>>,
    ended: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    bound: usize,
}

impl Queue {
    /// An empty one, for so many batches.
    pub(super) fn new(bound: usize) -> Self {
        Self { inner: Mutex::default(), wake: Condvar::new(), bound }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change under this lock is one assignment or one call, so a panic leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch in; its place among the others is decided here.
    ///
    /// # Errors
    /// `Full` if too many wait, `Failed` if nobody takes out any more.
    pub(super) fn push(&self, instance: &InstanceName, records: Vec<Record>, reply: Reply) -> Result<(), StoreFault> {
        let mut inner = self.inner();
        if inner.ended || inner.closing.is_some() {
            return Err(StoreFault::Failed);
        }
        if inner.waiting.len() < self.bound {
            inner.waiting.push_back(Batch { instance: instance.clone(), records, reply: Some(reply) });
            self.wake.notify_one();
            return Ok(());
        }
        // A disk that hangs. What only the caller can repeat is refused; what has happened already is still told to the
        // mirror, within reason, so that the files catch up when the disk comes back.
        inner.refused += 1;
        let records: Vec<Record> = records.into_iter().filter(|record| !super::engine::is_refusable(record)).collect();
        if !records.is_empty() && inner.waiting.len() < self.bound.saturating_mul(LEEWAY) {
            inner.waiting.push_back(Batch { instance: instance.clone(), records, reply: None });
            self.wake.notify_one();
        }
        Err(StoreFault::Full)
    }

    /// Asks what is remembered of an instance. An ended store drops the sender.
    pub(super) fn recall(&self, instance: &InstanceName, reply: oneshot::Sender<Durable>) {
        let mut inner = self.inner();
        if !inner.ended {
            inner.recalls.push((instance.clone(), reply));
            self.wake.notify_one();
        }
    }

    /// Lets the owner thread end after what waits now; the answer comes when it has.
    pub(super) fn close(&self) -> oneshot::Receiver<Result<(), StoreFault>> {
        let (reply, ended) = oneshot::channel();
        let mut inner = self.inner();
        if inner.ended {
            let _nobody = reply.send(Ok(()));
        } else {
            inner.closing.get_or_insert_default().push(reply);
            self.wake.notify_one();
        }
        ended
    }

    /// Waits for batches, at most so long, and takes all of them.
    pub(super) fn take(&self, wait: Option<Duration>) -> Taken {
        let idle = |inner: &mut Inner| inner.waiting.is_empty() && inner.recalls.is_empty() && inner.closing.is_none();
        let inner = self.inner();
        let mut inner = match wait {
            None => self.wake.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => self.wake.wait_timeout_while(inner, wait, idle).unwrap_or_else(PoisonError::into_inner).0,
        };
        // `closing` stays where it is until the end, so that nothing more comes in.
        let closing = inner.closing.as_mut().map(std::mem::take);
        let refused = std::mem::take(&mut inner.refused);
        let recalls = std::mem::take(&mut inner.recalls);
        Taken { batches: std::mem::take(&mut inner.waiting).into(), refused, recalls, closing }
    }

    /// Nobody takes out any more: everything that waits, now or later, is answered as failed.
    pub(super) fn end(&self) -> Vec<Reply> {
        let mut inner = self.inner();
        inner.ended = true;
        inner.waiting.clear();
        inner.recalls.clear();
        inner.closing.take().unwrap_or_default()
    }
}
