//! Making snapshot and log anew from the mirror, and reading the old ones.
//!
//! The order is what matters: the new snapshot is whole and synced before it gets its name, the name is synced before the
//! old log goes, and the new log is whole and its name synced before anything is written into it. Killed anywhere, a
//! restart finds either the old pair, or the new snapshot with an old log of which nothing counts any more, or the new pair.

use std::io;

use super::{Engine, Log, write_all};
use crate::clock;
use crate::io::store::disk::Disk;
use crate::io::store::finding::Trouble;
use crate::io::store::frame;
use crate::io::store::payload::{self, Head, Kind};
use crate::io::store::recover::{self, LOG, SNAPSHOT};

/// The next snapshot and log, until they are whole.
const NEW_SNAPSHOT: &str = "snapshot.new";
const NEW_LOG: &str = "log.new";

impl<D: Disk> Engine<D> {
    /// Makes snapshot and log anew. Whatever fails, what was there before is still good for a restart.
    pub(super) fn rewrite(&mut self) -> Result<(), Trouble> {
        self.disk.prepare()?;
        if self.unread {
            // Only now, because the directory was not there at the start: what is in it must not be written over unread.
            self.read();
        }
        if !self.is_within(self.bounds.snapshot, 0) {
            let why = format!("the state has {} bytes, the bound is {}", self.size, self.bounds.snapshot);
            return Err(Trouble { fault: crate::core::event::StoreFault::Full, why });
        }
        let length = self.new_snapshot().map_err(Trouble::during("write snapshot.new"))?;
        self.keep_asides()?;
        self.disk.rename(NEW_SNAPSHOT, SNAPSHOT).map_err(Trouble::during("rename snapshot.new"))?;
        self.disk.sync_names().map_err(Trouble::during("sync the state directory"))?;
        // Everything is on disk, and nothing that was refused counts any more.
        self.due = false;
        self.status.in_doubt = false;
        self.pages_missed.clear();
        self.snapshot_bytes = length;
        let log = self.new_log().map_err(Trouble::during("write log.new"))?;
        // From here until the name is synced, no log may be written to: which one a restart would read is not known.
        self.log = None;
        self.disk.rename(NEW_LOG, LOG).map_err(Trouble::during("rename log.new"))?;
        self.disk.sync_names().map_err(Trouble::during("sync the state directory"))?;
        self.log = Some(log);
        Ok(())
    }

    fn new_snapshot(&mut self) -> io::Result<u64> {
        let mut file = self.disk.create(NEW_SNAPSHOT)?;
        let mut length = 0;
        let written = payload::snapshot(&self.mirror, self.last_seq, self.machine, &mut |bytes| {
            length = write_all(&mut self.disk, &mut file, length, bytes)?;
            Ok(())
        });
        match written.and_then(|()| self.disk.sync(&mut file)) {
            Ok(()) => Ok(length),
            Err(error) => Err(self.give_back(file, error)),
        }
    }

    fn new_log(&mut self) -> io::Result<Log<D::File>> {
        let mut bytes = Vec::new();
        let head = payload::head(Head { kind: Kind::Log, machine: self.machine })?;
        frame::push(&mut bytes, self.last_seq, &head);
        let length = bytes.len() as u64;
        let mut log = Log { file: self.disk.create(NEW_LOG)?, length, start: length, reserved: 0 };
        let written = write_all(&mut self.disk, &mut log.file, 0, &bytes);
        log.reserve(&mut self.disk, self.bounds);
        match written.and_then(|_end| self.disk.sync(&mut log.file)) {
            Ok(()) => Ok(log),
            Err(error) => Err(self.give_back(log.file, error)),
        }
    }

    /// Half a file is of no use, and its space may be the last there is.
    fn give_back(&mut self, mut file: D::File, error: io::Error) -> io::Error {
        let _as_good_as_it_gets = self.disk.truncate(&mut file, 0);
        error
    }

    /// Gives damaged files their second names, durably, before their own names go to new ones.
    fn keep_asides(&mut self) -> Result<(), Trouble> {
        if self.asides.is_empty() {
            return Ok(());
        }
        for index in 0..self.asides.len() {
            self.keep_aside(index).map_err(Trouble::during("keep a damaged file aside"))?;
        }
        self.disk.sync_names().map_err(Trouble::during("sync the state directory"))?;
        self.asides.clear();
        Ok(())
    }

    fn keep_aside(&mut self, index: usize) -> io::Result<()> {
        let Some(aside) = self.asides.get(index) else { return Ok(()) };
        if !self.disk.exists(aside.file) || self.disk.exists(&aside.aside) {
            return Ok(());
        }
        if aside.foreign {
            return self.disk.rename(aside.file, &aside.aside);
        }
        if self.disk.link(aside.file, &aside.aside).is_ok() {
            return Ok(());
        }
        // Not every file system has second names.
        let Some(content) = self.disk.read(aside.file, self.bounds.read)? else { return Ok(()) };
        let mut copy = self.disk.create(NEW_LOG)?;
        write_all(&mut self.disk, &mut copy, 0, &content.bytes)?;
        self.disk.sync(&mut copy)?;
        self.disk.rename(NEW_LOG, &aside.aside)
    }

    /// Reads what an earlier process left; returns the length of its log if that can be continued.
    pub(super) fn read(&mut self) -> Option<u64> {
        let mut found = recover::recover(&mut self.disk, self.bounds.read, self.machine);
        recover::archive(&mut self.disk, &mut found, self.belongs.as_ref());
        recover::merge(&mut self.mirror, found.mirror);
        self.last_seq = self.last_seq.max(found.last_seq);
        self.asides.extend(found.asides);
        self.tell(found.findings);
        self.unread = false;
        self.measured = false;
        self.snapshot_bytes = found.bytes.0;
        found.log
    }

    /// Goes on with the log of an earlier process, because a new one cannot be made: what makes the state smaller may
    /// still be written.
    pub(super) fn go_on(&mut self, length: u64) {
        let Ok(mut file) = self.disk.open(LOG) else { return };
        let whole = self.disk.length(&mut file).is_ok_and(|now| now == length);
        if whole && self.disk.sync(&mut file).is_ok() {
            self.log = Some(Log { file, length, start: 0, reserved: 0 });
        }
    }

    /// The length of a snapshot of the mirror.
    pub(super) fn measure(&mut self) -> u64 {
        if !self.measured {
            self.size = self.count();
            self.measured = true;
        }
        self.size
    }

    /// Whether a snapshot of the mirror and so many bytes more are within a bound. If they are not, keys that have outlived
    /// their day are dropped: else they would bar the very reports that would push them out.
    pub(super) fn is_within(&mut self, bound: u64, growth: u64) -> bool {
        self.measure() + growth <= bound || (self.forget_keys() && self.measure() + growth <= bound)
    }

    fn forget_keys(&mut self) -> bool {
        let now = clock::wall();
        for durable in self.mirror.values_mut() {
            let before = durable.keys.len();
            durable.forget_keys(now);
            self.measured &= durable.keys.len() == before;
        }
        !self.measured
    }

    fn count(&self) -> u64 {
        let mut size = 0;
        let counted = payload::snapshot(&self.mirror, self.last_seq, self.machine, &mut |bytes| {
            size += bytes.len() as u64;
            Ok(())
        });
        if counted.is_ok() { size } else { u64::MAX }
    }
}
