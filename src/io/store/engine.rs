//! The owner of the files: writes batches, repairs what failed, keeps what must be remembered.
//!
//! # What holds at every moment
//!
//! 1. **An answered batch stays.** `Ok` is said only after its frame is synced in the log that a restart will read; a
//!    new snapshot has it before the old log goes. Names are synced before the next step relies on them.
//! 2. **A refused report stays away.** After a failed write or sync the log is cut back to its last good length and
//!    synced; where that works, the refused frames are gone. After a failed *sync* the file is not trusted any more (the
//!    kernel may have dropped the pages and says so once only): a new snapshot and a new log are made from the mirror, and
//!    until that has worked nothing more is written. Numbers that may have reached the disk are not used again, and the
//!    new snapshot carries the highest of them, below which no record of any log counts.
//!    Only if cutting back *and* rewriting fail is the refused frame in doubt; then the first thing done, again and again,
//!    is the rewriting. Should the process die before the disk is well, then whether the frame comes back depends on what
//!    the disk did with it, and no order of operations could change that: a disk that takes nothing takes no retraction
//!    either. [`StoreStatus::in_doubt`] shows it.
//! 3. **The mirror is what a restart should find**: all answered batches, and of refused ones everything but reports and
//!    what the Agones SDK said ([`is_refusable`]): those records tell of things that have happened anyway. A snapshot of the mirror is right at any
//!    moment, so a rewriting may be killed anywhere.

mod rewrite;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::durable::Durable;

use super::disk::Disk;
use super::finding::{Finding, OpenError, StoreStatus, Trouble, fault_of};
use super::frame;
use super::payload::{self, Mirror};
use super::queue::Batch;
use super::recover::Aside;
use super::{Bounds, Options};
use crate::clock;
use crate::core::durable::Record;
use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;

/// Frames are written together up to about so many bytes.
const STROKE: u64 = 256 << 10;
/// Space that the disk must have promised beyond what makes the state larger: some hundred deliveries or acknowledgements.
const HEADROOM: u64 = 16 << 10;
/// Of the time, at most one part in so many goes into rewritings that fail.
const PATIENCE: u32 = 10;

/// Whether a record of a refused batch is forgotten: what the caller was told did not happen. All others tell of what
/// has happened, and are kept for the next snapshot.
pub(super) fn is_refusable(record: &Record) -> bool {
    match record {
        Record::Accepted(_) | Record::Revived { .. } | Record::Dropped { .. } | Record::Given(_) => true,
        Record::Sdk(change) => change.is_refusable(),
        Record::Identity { .. }
        | Record::Freed
        | Record::Attached
        | Record::Said(_)
        | Record::Cadence { .. }
        | Record::Page { .. }
        | Record::Acked { .. }
        | Record::SetAside { .. }
        | Record::Sent { .. }
        | Record::Dead { .. }
        | Record::Failures { .. }
        | Record::Noticed { .. }
        | Record::Gone { .. }
        | Record::Back { .. }
        | Record::Closed
        | Record::Superseded => false,
    }
}

/// Whether a record makes the state smaller, or ends it: such ones may use the reserve.
fn shrinks(record: &Record) -> bool {
    match record {
        Record::Acked { .. }
        | Record::SetAside { .. }
        | Record::Sent { .. }
        | Record::Dead { .. }
        | Record::Dropped { .. }
        | Record::Back { .. }
        | Record::Freed
        | Record::Closed
        | Record::Superseded => true,
        Record::Identity { .. }
        | Record::Given(_)
        | Record::Attached
        | Record::Said(_)
        | Record::Sdk(_)
        | Record::Cadence { .. }
        | Record::Page { .. }
        | Record::Failures { .. }
        | Record::Noticed { .. }
        | Record::Gone { .. }
        | Record::Accepted(_)
        | Record::Revived { .. } => false,
    }
}

/// The log in use.
struct Log<F> {
    file: F,
    /// Up to here it is whole and synced.
    length: u64,
    /// Its length when it was new.
    start: u64,
    /// Up to here the disk has promised space.
    reserved: u64,
}

impl<F: Send> Log<F> {
    /// Asks for all the space that the log may ever need, so that a disk that others fill does not stop us at once. Where
    /// that is too much, or the file system cannot promise, [`promise`] asks for less, later.
    fn reserve<D: Disk<File = F>>(&mut self, disk: &mut D, bounds: Bounds) {
        let all = bounds.log + bounds.reserve;
        self.reserved = if disk.reserve(&mut self.file, 0, all).is_ok() { all } else { 0 };
    }
}

/// Makes sure that the disk has promised space up to `end`; fails only if it has none.
fn promise<D: Disk>(disk: &mut D, log: &mut Log<D::File>, end: u64) -> io::Result<()> {
    if log.reserved < end {
        match disk.reserve(&mut log.file, 0, end) {
            Ok(()) => log.reserved = end,
            Err(error) if fault_of(&error) == StoreFault::Full => return Err(error),
            Err(_cannot_promise) => log.reserved = u64::MAX,
        }
    }
    Ok(())
}

/// A batch on its way.
struct Draft {
    /// `None`: nothing to write.
    payload: Option<Vec<u8>>,
    shrinks: bool,
    /// It brings notifications.
    pages: bool,
    /// It acknowledges some, or sets one aside.
    acks: bool,
    /// The disk does not have what it acknowledges: a restart could make nothing of it.
    dangling: bool,
    /// There is room for it.
    admitted: bool,
    verdict: Result<(), StoreFault>,
}

impl Draft {
    fn new(batch: &Batch, pages_missed: &BTreeSet<InstanceName>) -> Self {
        let shrinks = batch.records.iter().all(shrinks);
        let pages = batch.records.iter().any(|record| matches!(record, Record::Page { .. }));
        let acks = batch.records.iter().any(|record| matches!(record, Record::Acked { .. } | Record::SetAside { .. }));
        let dangling = acks && pages_missed.contains(&batch.instance);
        let (payload, verdict) = match payload::batch(&batch.instance, &batch.records) {
            _ if batch.records.is_empty() => (None, Ok(())),
            Ok(payload) => (Some(payload), Err(StoreFault::Failed)),
            Err(_unwritable) => (None, Err(StoreFault::Failed)),
        };
        Self { payload, shrinks, pages, acks, dangling, admitted: false, verdict }
    }

    /// Bytes in the log.
    fn size(&self) -> u64 {
        self.payload.as_ref().map_or(0, |payload| (frame::HEADER + payload.len()) as u64)
    }

    /// The most by which it makes a snapshot longer: an accepted report is in there with its key beside it, a
    /// notification with its id; no record is in there more than twice.
    fn growth(&self) -> u64 {
        self.size() * 2
    }
}

/// See the module.
pub struct Engine<D: Disk> {
    disk: D,
    bounds: Bounds,
    machine: u32,
    mirror: Mirror,
    /// `None`: there is none that may be trusted.
    log: Option<Log<D::File>>,
    /// The highest number that may be on disk.
    last_seq: u64,
    /// Snapshot and log must be made anew before anything that grows is taken.
    due: bool,
    /// Not before this; `None`: at once.
    not_before: Option<Instant>,
    /// Whose inbox on disk lacks a page that was refused.
    pages_missed: BTreeSet<InstanceName>,
    /// The directory could not be read yet.
    unread: bool,
    /// Whether a state is of the instance that is configured under its name.
    belongs: Box<Belongs>,
    asides: Vec<Aside>,
    snapshot_bytes: u64,
    /// The most that a snapshot would take now.
    size: u64,
    /// `size` is exact.
    measured: bool,
    status: StoreStatus,
}

impl<D: Disk> fmt::Debug for Engine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("status", &self.status).finish_non_exhaustive()
    }
}

/// See [`super::open`].
pub type Belongs = dyn Fn(&InstanceName, &Durable) -> bool + Send;

impl<D: Disk> Engine<D> {
    /// Reads what is there, and puts it in order as far as the disk lets it.
    ///
    /// # Errors
    /// If the directory is another agent's, or not ours alone. A disk that fails is no error.
    pub fn open(disk: D, options: &Options, belongs: Box<Belongs>) -> Result<Self, OpenError> {
        let mut engine = Self {
            disk,
            bounds: options.bounds(),
            machine: options.machine,
            mirror: Mirror::new(),
            log: None,
            last_seq: 0,
            due: true,
            not_before: None,
            pages_missed: BTreeSet::new(),
            unread: true,
            belongs,
            asides: Vec::new(),
            snapshot_bytes: 0,
            size: 0,
            measured: false,
            status: StoreStatus::default(),
        };
        let locked = match engine.disk.prepare() {
            Ok(()) => true,
            Err(error @ OpenError::Io { .. }) => {
                engine.tell(vec![Finding::Unusable { why: Trouble::from(error).why }]);
                false
            }
            Err(refused) => return Err(refused),
        };
        let log = if engine.disk.is_there() { engine.read() } else { None };
        if engine.repair().is_err()
            && locked
            && engine.log.is_none()
            && let Some(length) = log
        {
            engine.go_on(length);
        }
        Ok(engine)
    }

    /// What is remembered now.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// How things are.
    pub fn status(&self) -> StoreStatus {
        let log = self.log.as_ref().map_or(0, |log| log.length);
        StoreStatus { bytes: self.snapshot_bytes + log, ..self.status.clone() }
    }

    /// Whether [`Self::tick`] is wanted.
    pub fn is_ailing(&self) -> bool {
        self.due || self.status.fault.is_some()
    }

    /// Counts batches that were refused before they came here.
    pub(super) fn count_refused(&mut self, count: u64) {
        self.status.faults += count;
    }

    /// Writes batches in their order, and syncs them together. The verdicts are final when this returns.
    pub fn commit(&mut self, batches: &[Batch]) -> Vec<Result<(), StoreFault>> {
        let mut verdicts = Vec::with_capacity(batches.len());
        while let Some(rest) = batches.get(verdicts.len()..).filter(|rest| !rest.is_empty()) {
            verdicts.extend(self.stroke(rest));
        }
        verdicts
    }

    /// Tries to get well again. To be called about once a second while [`Self::is_ailing`].
    pub fn tick(&mut self) {
        if self.due {
            let _shown_in_status = self.repair();
        } else if self.is_within(self.bounds.state, self.bounds.reserve) {
            self.well();
        }
    }

    /// Leaves everything in a fresh snapshot.
    ///
    /// # Errors
    /// If something of the mirror is not on disk.
    pub fn close(&mut self) -> Result<(), StoreFault> {
        let idle = self.log.as_ref().is_some_and(|log| log.length == log.start);
        if self.due || !idle { self.repair() } else { Ok(()) }
    }

    /// Writes as many of the batches as go in one stroke, at least one; returns their verdicts.
    fn stroke(&mut self, batches: &[Batch]) -> Vec<Result<(), StoreFault>> {
        let mut drafts: Vec<Draft> = Vec::new();
        let mut bytes = 0;
        for batch in batches {
            let draft = Draft::new(batch, &self.pages_missed);
            // Whether an acknowledgement dangles is known only once the page is written.
            let waits = draft.acks && drafts.iter().any(|draft| draft.pages);
            let too_much = !drafts.is_empty() && bytes + draft.size() > STROKE.min(self.bounds.log / 4);
            if waits || too_much {
                break;
            }
            bytes += draft.size();
            drafts.push(draft);
        }
        let full = |log: &Log<_>| log.length > log.start && log.length + bytes > self.bounds.log;
        if self.due || self.log.as_ref().is_some_and(full) {
            self.repair_unless_just_tried();
        }
        self.admit(&mut drafts);
        self.write(drafts.iter_mut().filter(|draft| draft.admitted));
        // What did not go with the others, for lack of space, may go alone.
        let left = |draft: &&mut Draft| draft.admitted && draft.shrinks && draft.verdict == Err(StoreFault::Full);
        self.write(drafts.iter_mut().filter(left));
        for (batch, draft) in batches.iter().zip(&drafts) {
            self.settle(batch, draft);
        }
        if self.log.is_none() {
            // Before the verdicts are told: this is what makes refused frames void if cutting back did not.
            self.repair_unless_just_tried();
        }
        drafts.into_iter().map(|draft| draft.verdict).collect()
    }

    /// Refuses what does not fit.
    fn admit(&mut self, drafts: &mut [Draft]) {
        let (mut log_bytes, mut growth) = (0, 0);
        for draft in drafts.iter_mut().filter(|draft| draft.payload.is_some()) {
            let log = self.log.as_ref().map(|log| log.length + log_bytes + draft.size());
            let refused = match log {
                None => Some(self.status.fault.unwrap_or(StoreFault::Failed)),
                Some(_) if draft.dangling => Some(self.status.fault.unwrap_or(StoreFault::Failed)),
                Some(log) if draft.shrinks => (log > self.bounds.log + self.bounds.reserve).then_some(StoreFault::Full),
                Some(_) if self.due => Some(self.status.fault.unwrap_or(StoreFault::Failed)),
                Some(log) => (log > self.bounds.log || !self.fits(growth + draft.growth())).then_some(StoreFault::Full),
            };
            if let Some(fault) = refused {
                draft.verdict = Err(fault);
                if self.status.fault.is_none() {
                    self.status.fault = Some(fault);
                    self.status.why = Some("the bound of the store is reached".to_owned());
                }
            } else {
                draft.admitted = true;
                log_bytes += draft.size();
                growth += draft.growth();
            }
        }
    }

    fn fits(&mut self, growth: u64) -> bool {
        self.size + growth <= self.bounds.state || self.is_within(self.bounds.state, growth)
    }

    /// Writes and syncs frames in one go: all or none. Their verdicts are set.
    fn write<'a>(&mut self, drafts: impl Iterator<Item = &'a mut Draft>) {
        let drafts: Vec<&mut Draft> = drafts.collect();
        let mut bytes = Vec::new();
        let mut seq = self.last_seq;
        for payload in drafts.iter().filter_map(|draft| draft.payload.as_deref()) {
            seq += 1;
            frame::push(&mut bytes, seq, payload);
        }
        let verdict = match self.log.as_mut() {
            _ if bytes.is_empty() => return,
            None => Err(self.status.fault.unwrap_or(StoreFault::Failed)),
            Some(log) => {
                let start = log.length;
                let end = start + bytes.len() as u64;
                let written = if drafts.iter().all(|draft| draft.shrinks) {
                    Ok(())
                } else {
                    promise(&mut self.disk, log, end + HEADROOM.min(self.bounds.reserve))
                };
                let written = written
                    .and_then(|()| write_all(&mut self.disk, &mut log.file, start, &bytes))
                    .map_err(|error| (Trouble::during("write the log")(error), true));
                let synced = written.and_then(|end| match self.disk.sync(&mut log.file) {
                    Ok(()) => Ok(end),
                    Err(error) => Err((Trouble::during("sync the log")(error), false)),
                });
                match synced {
                    Ok(end) => {
                        log.length = end;
                        self.last_seq = seq;
                        Ok(())
                    }
                    Err((trouble, trusted)) => {
                        self.take_back(start, trusted, seq);
                        Err(self.ail(trouble))
                    }
                }
            }
        };
        if verdict.is_ok() {
            self.size += drafts.iter().map(|draft| draft.growth()).sum::<u64>();
            self.measured = false;
            if !self.due && drafts.iter().any(|draft| !draft.shrinks) {
                self.well();
            }
        }
        for draft in drafts {
            draft.verdict = verdict;
        }
    }

    /// Cuts frames off again that failed. The log stays in use only if it was the writing that failed, not the syncing,
    /// and the cut is known to be on disk. Else the numbers of the frames, up to `seq`, are burnt.
    fn take_back(&mut self, start: u64, trusted: bool, seq: u64) {
        let Some(log) = self.log.as_mut() else { return };
        let untouched = trusted && self.disk.length(&mut log.file).is_ok_and(|length| length == start);
        let gone =
            untouched || self.disk.truncate(&mut log.file, start).and_then(|()| self.disk.sync(&mut log.file)).is_ok();
        if gone && trusted {
            if !untouched {
                // The cut gave the promised space back.
                log.reserve(&mut self.disk, self.bounds);
            }
        } else {
            self.log = None;
            self.last_seq = seq;
        }
        self.status.in_doubt |= !gone;
    }

    /// Puts a batch where its verdict says.
    fn settle(&mut self, batch: &Batch, draft: &Draft) {
        if batch.records.is_empty() {
            return;
        }
        let refused = draft.verdict.is_err();
        if refused {
            self.status.faults += 1;
            if batch.records.iter().all(is_refusable) {
                return;
            }
            // The mirror is now ahead of the disk.
            if draft.pages {
                self.pages_missed.insert(batch.instance.clone());
            }
            self.due = true;
            self.size += draft.growth();
            self.measured = false;
        }
        let durable = self.mirror.entry(batch.instance.clone()).or_default();
        batch
            .records
            .iter()
            .filter(|record| !(refused && is_refusable(record)))
            .for_each(|record| durable.apply(record));
    }

    /// Something did not work: all is to be made anew.
    fn ail(&mut self, trouble: Trouble) -> StoreFault {
        self.due = true;
        self.status.fault = Some(trouble.fault);
        self.status.why = Some(trouble.why);
        trouble.fault
    }

    fn well(&mut self) {
        self.status.fault = None;
        self.status.why = None;
    }

    fn tell(&mut self, findings: Vec<Finding>) {
        if !findings.is_empty() {
            Arc::make_mut(&mut self.status.findings).extend(findings);
        }
    }

    /// Makes snapshot and log anew, now.
    fn repair(&mut self) -> Result<(), StoreFault> {
        let began = clock::now();
        match self.rewrite() {
            Ok(()) => {
                self.not_before = None;
                self.well();
                Ok(())
            }
            Err(trouble) => {
                let now = clock::now();
                let pause = (now.saturating_duration_since(began) * PATIENCE).min(Duration::from_secs(1));
                self.not_before = Some(now + pause);
                Err(self.ail(trouble))
            }
        }
    }

    /// The same, but a disk that fails slowly is not asked by every batch.
    fn repair_unless_just_tried(&mut self) {
        if self.not_before.is_none_or(|moment| clock::now() >= moment) {
            let _shown_in_status = self.repair();
        }
    }
}

/// Writes all bytes; returns where they end.
fn write_all<D: Disk>(disk: &mut D, file: &mut D::File, mut at: u64, mut bytes: &[u8]) -> io::Result<u64> {
    while !bytes.is_empty() {
        let taken = disk.write(file, at, bytes)?;
        bytes = match bytes.get(taken..) {
            Some(rest) if taken > 0 => rest,
            _ => return Err(io::ErrorKind::WriteZero.into()),
        };
        at += taken as u64;
    }
    Ok(at)
}
