//! The durable store: what instances must remember, in one directory, owned by one process.
//!
//! The state is small (below 4 MiB), so it is kept in a way that can be understood under failure: a **log** of batches,
//! each synced before it is answered, and a **snapshot** that sums up everything before the log. Records are framed with
//! number and checksum, so that a reader finds every whole one in a damaged file (`frame`). One thread owns the files;
//! it takes all batches that wait, writes them in the order of the calls, syncs once, and answers each (`worker`). What
//! happens when the disk fails is in `engine`, what is kept of a damaged directory in `recover`.
//!
//! In the directory (mode 0700, files 0600; nothing in it is followed as a symbolic link): `lock`, `snapshot`, `log`, for
//! moments `snapshot.new` and `log.new`, and for ever `*.damaged-TIME`: files that were damaged, kept for people.

mod disk;
mod engine;
mod finding;
mod frame;
mod memory;
mod payload;
mod queue;
mod recover;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

pub use self::disk::{Content, Disk, holder_of, process_of};
pub use self::engine::{Belongs, Engine};
pub use self::finding::{Finding, OpenError, StoreStatus};
pub use self::memory::MemoryStore;
pub use self::queue::Batch;

use self::disk::RealDisk;
use self::queue::Queue;
use crate::clock;
use crate::core::durable::{Durable, Record};
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;
use crate::ports::Store;
use crate::telemetry::metrics::Writes;

/// Sizes and times of a store. The default is right for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of snapshot and log together, at rest; while a new pair replaces the old one, twice that.
    /// Beyond it batches that grow the state are refused with [`StoreFault::Full`].
    pub limit: u64,
    /// How long the log may get before it is summed up in a snapshot; also the most that one batch may have. At most a
    /// quarter of `limit` is sensible.
    pub compact_at: u64,
    /// How many batches may wait for the disk; one more is refused with [`StoreFault::Full`].
    pub queue: usize,
    /// How often a store that failed is tried again.
    pub heal_every: Duration,
    /// Which machine this is ([`machine_marker`]), 0 if unknown: a state of another one is told of, and used.
    pub machine: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: 4 << 20, compact_at: 1 << 20, queue: 1024, heal_every: Duration::from_secs(1), machine: 0 }
    }
}

/// The limits that follow from [`Options`], in bytes. Log, its reserve and snapshot together make the limit.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Of the log.
    log: u64,
    /// What the log may have beyond, for records that make the state smaller.
    reserve: u64,
    /// Of a snapshot, whatever happens.
    snapshot: u64,
    /// Of a snapshot, for more to be taken.
    state: u64,
    /// Of a file that is read at start: a longer one is not ours.
    read: u64,
}

impl Options {
    fn bounds(&self) -> Bounds {
        let reserve = self.limit / 64;
        let snapshot = self.limit.saturating_sub(self.compact_at + reserve);
        let state = snapshot.saturating_sub(reserve);
        Bounds { log: self.compact_at, reserve, snapshot, state, read: self.limit.saturating_mul(4) }
    }
}

/// A number for this machine, from /etc/machine-id; 0 where there is none, as in many containers.
pub fn machine_marker() -> u32 {
    std::fs::read_to_string("/etc/machine-id").map_or(0, |id| crc32fast::hash(id.trim().as_bytes()))
}

/// An opened store.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub store: DiskStore,
    /// What was remembered, of every instance that ever was in this directory.
    pub recovered: BTreeMap<InstanceName, Durable>,
    /// What was found that an operator should know; also in `status`.
    pub findings: Vec<Finding>,
    /// How the store is, from now on.
    pub status: watch::Receiver<StoreStatus>,
}

/// Opens the store in a directory, which is made if it is missing. Blocks for as long as the disk takes to read and write
/// the state once.
///
/// A directory that cannot be made, read or written is no error: the store then takes nothing, says so in `findings` and
/// `status`, and tries again every [`Options::heal_every`].
///
/// What was remembered of an instance counts only if `belongs` says that it is of the instance that is configured under this
/// name; else, and if another machine wrote it, the files are kept aside and it is forgotten.
///
/// # Errors
/// [`OpenError::Locked`] if another process has it: decided before anything is looked at or touched.
/// [`OpenError::NotOwned`], [`OpenError::TooOpen`] if it is not ours alone. [`OpenError::Io`] if the system gives no thread.
pub fn open(
    dir: &Path,
    options: &Options,
    belongs: impl Fn(&InstanceName, &Durable) -> bool + Send + 'static,
) -> Result<Opened, OpenError> {
    start(RealDisk::new(dir), options, Box::new(belongs))
}

fn start<D: Disk>(disk: D, options: &Options, belongs: Box<Belongs>) -> Result<Opened, OpenError> {
    let engine = Engine::open(disk, options, belongs)?;
    let recovered = engine.mirror().clone();
    let (sender, status) = watch::channel(engine.status());
    let findings = status.borrow().findings.as_ref().clone();
    let queue = Arc::new(Queue::new(options.queue));
    let (theirs, heal_every) = (Arc::clone(&queue), options.heal_every);
    std::thread::Builder::new()
        .name("store".to_owned())
        .stack_size(512 << 10)
        .spawn(move || worker::run(engine, theirs, heal_every, &sender))
        .map_err(|source: io::Error| OpenError::Io { what: "start the thread of the store".to_owned(), source })?;
    Ok(Opened {
        store: DiskStore { handle: Arc::new(Handle { queue }), writes: Arc::default() },
        recovered,
        findings,
        status,
    })
}

/// The handle of an open store. When the last clone is gone, the store closes by itself; [`Self::close`] waits for it.
#[derive(Debug, Clone)]
pub struct DiskStore {
    handle: Arc<Handle>,
    writes: Arc<Writes>,
}

#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _nobody_waits = self.queue.close();
    }
}

impl DiskStore {
    /// How long batches take to be synced, for metrics.
    pub fn writes(&self) -> Arc<Writes> {
        Arc::clone(&self.writes)
    }

    /// Writes what waits, sums everything up in a snapshot, lets go of the directory. Batches that come later, through
    /// whichever clone, are refused with [`StoreFault::Failed`].
    ///
    /// # Errors
    /// If something that was not refused is not on disk, or if that took longer than `limit`; it then goes on behind.
    pub async fn close(&self, limit: Duration) -> Result<(), StoreFault> {
        let ended = self.handle.queue.close();
        tokio::select! {
            ended = ended => ended.unwrap_or(Err(StoreFault::Failed)),
            () = clock::sleep(limit) => Err(StoreFault::Failed),
        }
    }
}

impl Store for DiskStore {
    fn append(
        &self,
        instance: &InstanceName,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + 'static {
        let (reply, verdict) = oneshot::channel();
        let (begun, writes) = (clock::now(), Arc::clone(&self.writes));
        let taken = self.handle.queue.push(instance, records, reply);
        async move {
            taken?;
            let verdict = verdict.await.unwrap_or(Err(StoreFault::Failed));
            if verdict.is_ok() {
                writes.synced(clock::now().saturating_duration_since(begun));
            }
            verdict
        }
    }

    fn recall(&self, instance: &InstanceName) -> impl Future<Output = Result<Durable, StoreFault>> + Send + 'static {
        let (reply, remembered) = oneshot::channel();
        self.handle.queue.recall(instance, reply);
        async move { remembered.await.map_err(|_ended| StoreFault::Failed) }
    }
}
