//! A disk in memory: it fails where told, dies where told, and at a power cut loses or tears what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::{Content, Disk};
use super::super::finding::OpenError;

/// What the store may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Prepare,
    Read,
    Open,
    Create,
    Write,
    Length,
    Truncate,
    Reserve,
    Sync,
    Rename,
    Link,
    SyncNames,
}

/// What goes wrong, by the number of the operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// These fail, with this errno, if they are of these kinds (all, if empty).
    pub(super) fail: Option<(Range<u64>, i32)>,
    pub(super) only: Vec<Op>,
    /// A failing operation has its effect all the same, or a part of it.
    pub(super) after_effect: bool,
    /// Writes take only some of the bytes.
    pub(super) short: bool,
    /// From this one on nothing happens any more: the process is dead.
    pub(super) kill_at: Option<u64>,
    /// Bytes that all files together may have.
    pub(super) space: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What reading gives.
    cache: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What it may leave beyond that.
    pending: Vec<Change>,
    /// Space that is promised.
    reserved: usize,
}

impl Inode {
    fn space(&self) -> u64 {
        self.cache.len().max(self.reserved) as u64
    }
}

#[derive(Debug, Clone)]
enum Naming {
    Set(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
pub(super) struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    rng: fastrand::Rng,
    pub(super) plan: Plan,
    pub(super) ops: Vec<Op>,
    pub(super) absent: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<World>>);

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, written) => {
            let (at, end) = (*at as usize, *at as usize + written.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(written);
        }
        Change::Truncate(length) => bytes.resize(*length as usize, 0),
    }
}

fn rename(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Naming::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
    }
}

/// What a power cut leaves of one change.
fn torn(rng: &mut fastrand::Rng, change: Change) -> Option<Change> {
    match (rng.u8(..5), change) {
        (0, _) => None,
        (1, Change::Write(at, bytes)) => Some(Change::Write(at, bytes[..rng.usize(..bytes.len())].to_vec())),
        // The length grew, the bytes did not come.
        (2, Change::Write(at, bytes)) => Some(Change::Write(at, vec![0; bytes.len()])),
        // The end came, the start did not.
        (3, Change::Write(at, mut bytes)) => {
            let hole = rng.usize(..bytes.len());
            bytes[..hole].fill(0);
            Some(Change::Write(at, bytes))
        }
        (_, change) => Some(change),
    }
}

impl World {
    /// Counts an operation; an error if it is to fail. `Err((error, true))`: but it has its effect.
    fn begin(&mut self, op: Op) -> Result<(), (io::Error, bool)> {
        let number = self.ops.len() as u64;
        self.ops.push(op);
        if self.plan.kill_at.is_some_and(|at| number >= at) {
            // The last one may still have happened.
            let last = self.plan.kill_at == Some(number) && self.rng.bool();
            return Err((io::Error::other("dead"), last));
        }
        match &self.plan.fail {
            Some((range, errno))
                if range.contains(&number) && (self.plan.only.is_empty() || self.plan.only.contains(&op)) =>
            {
                Err((io::Error::from_raw_os_error(*errno), self.plan.after_effect && self.rng.bool()))
            }
            _ => Ok(()),
        }
    }

    fn settle(&mut self, op: Op, effect: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.begin(op) {
            Ok(()) => {
                effect(self);
                Ok(())
            }
            Err((error, happens)) => {
                if happens {
                    effect(self);
                }
                Err(error)
            }
        }
    }

    fn change(&mut self, file: usize, change: Change) {
        if let Change::Truncate(_) = change {
            self.inodes[file].reserved = 0;
        }
        apply(&mut self.inodes[file].cache, &change);
        self.inodes[file].pending.push(change);
    }

    fn naming(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.pending_names.push(naming);
    }

    fn room(&self) -> u64 {
        self.plan.space.map_or(u64::MAX, |space| space.saturating_sub(self.used()))
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].space()).sum()
    }
}

impl FakeDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World { rng: fastrand::Rng::with_seed(seed), ..World::default() })))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// From now on.
    pub(super) fn plan(&self, plan: Plan) {
        let mut world = self.world();
        world.plan = plan;
        world.ops.clear();
    }

    pub(super) fn is_dead(&self) -> bool {
        let world = self.world();
        world.plan.kill_at.is_some_and(|at| world.ops.len() as u64 > at)
    }

    /// What a process finds that starts after this one was killed.
    pub(super) fn killed(&self) -> Self {
        let world = self.world();
        Self(Arc::new(Mutex::new(World {
            inodes: world.inodes.clone(),
            names: world.names.clone(),
            durable_names: world.durable_names.clone(),
            pending_names: world.pending_names.clone(),
            rng: world.rng.clone(),
            ..World::default()
        })))
    }

    /// What a machine finds that starts after the power was cut.
    pub(super) fn unplugged(&self) -> Self {
        let mut world = self.world();
        let mut rng = world.rng.fork();
        let mut after = World { rng: rng.fork(), ..World::default() };
        after.inodes = world
            .inodes
            .iter()
            .map(|inode| {
                let mut bytes = inode.durable.clone();
                let kept = inode.pending.iter().cloned().filter_map(|change| torn(&mut rng, change));
                kept.for_each(|change| apply(&mut bytes, &change));
                Inode { cache: bytes.clone(), durable: bytes, ..Inode::default() }
            })
            .collect();
        let mut names = world.durable_names.clone();
        // Names come in order, as in a journal, or in any order.
        let journal = rng.bool();
        let mut all = true;
        for naming in &world.pending_names {
            let kept = rng.u8(..3) > 0;
            all &= kept;
            if if journal { all } else { kept } {
                rename(&mut names, naming);
            }
        }
        (after.names, after.durable_names) = (names.clone(), names);
        Self(Arc::new(Mutex::new(after)))
    }

    /// A file as it reads.
    pub(super) fn file(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(name).map(|inode| world.inodes[*inode].cache.clone())
    }

    /// Puts a file there, durably.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        world.inodes.push(Inode { cache: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() });
        let inode = world.inodes.len() - 1;
        world.names.insert(name.to_owned(), inode);
        world.durable_names.insert(name.to_owned(), inode);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.world().names.keys().cloned().collect()
    }
}

impl Disk for FakeDisk {
    type File = usize;

    fn prepare(&mut self) -> Result<(), OpenError> {
        let mut world = self.world();
        let begun = world.settle(Op::Prepare, |_| {});
        match begun {
            Ok(()) if world.absent => Err(io::ErrorKind::NotFound.into()),
            begun => begun,
        }
        .map_err(|source| OpenError::Io { what: "prepare".to_owned(), source })
    }

    fn is_there(&self) -> bool {
        !self.world().absent
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Content>> {
        self.world().settle(Op::Read, |_| {})?;
        Ok(self.file(name).map(|mut bytes| {
            let cut = (bytes.len() as u64 > limit).then(|| "longer".to_owned());
            bytes.truncate(limit as usize);
            Content { bytes, cut }
        }))
    }

    fn exists(&mut self, name: &str) -> bool {
        self.world().names.contains_key(name)
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        let mut world = self.world();
        world.settle(Op::Open, |_| {})?;
        world.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        let mut world = self.world();
        world.settle(Op::Create, |world| {
            if world.names.contains_key(name) {
                world.naming(Naming::Remove(name.to_owned()));
            }
            world.inodes.push(Inode::default());
            let inode = world.inodes.len() - 1;
            world.naming(Naming::Set(name.to_owned(), inode));
        })?;
        Ok(world.inodes.len() - 1)
    }

    fn write(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world();
        let file = *file;
        match world.begin(Op::Write) {
            Ok(()) => {
                let promised = world.inodes[file].space().saturating_sub(at);
                let most = (bytes.len() as u64).min(promised.saturating_add(world.room())) as usize;
                if most == 0 {
                    return Err(io::Error::from_raw_os_error(28));
                }
                let taken = if world.plan.short { world.rng.usize(1..=most) } else { most };
                world.change(file, Change::Write(at, bytes[..taken].to_vec()));
                Ok(taken)
            }
            Err((error, happens)) => {
                if happens {
                    let taken = world.rng.usize(1..=bytes.len());
                    world.change(file, Change::Write(at, bytes[..taken].to_vec()));
                }
                Err(error)
            }
        }
    }

    fn length(&mut self, file: &mut usize) -> io::Result<u64> {
        let mut world = self.world();
        world.settle(Op::Length, |_| {})?;
        Ok(world.inodes[*file].cache.len() as u64)
    }

    fn truncate(&mut self, file: &mut usize, length: u64) -> io::Result<()> {
        self.world().settle(Op::Truncate, |world| world.change(*file, Change::Truncate(length)))
    }

    fn reserve(&mut self, file: &mut usize, at: u64, length: u64) -> io::Result<()> {
        let mut world = self.world();
        world.settle(Op::Reserve, |_| {})?;
        if (at + length).saturating_sub(world.inodes[*file].space()) > world.room() {
            return Err(io::Error::from_raw_os_error(28));
        }
        let reserved = &mut world.inodes[*file].reserved;
        *reserved = (*reserved).max((at + length) as usize);
        Ok(())
    }

    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        let mut world = self.world();
        let begun = world.begin(Op::Sync);
        let mut rng = world.rng.fork();
        let inode = &mut world.inodes[*file];
        let pending = std::mem::take(&mut inode.pending);
        match begun {
            Ok(()) => {
                pending.iter().for_each(|change| apply(&mut inode.durable, change));
                Ok(())
            }
            Err((error, _)) => {
                // As Linux does it: some came through, the others are forgotten, and the next sync says nothing of them.
                let kept = pending.into_iter().filter_map(|change| torn(&mut rng, change));
                kept.for_each(|change| apply(&mut inode.durable, &change));
                Err(error)
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let Some(inode) = world.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        world.settle(Op::Rename, |world| world.naming(Naming::Rename(from.to_owned(), to.to_owned(), inode)))
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let Some(inode) = world.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        world.settle(Op::Link, |world| world.naming(Naming::Set(to.to_owned(), inode)))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.world().settle(Op::SyncNames, |world| {
            for naming in std::mem::take(&mut world.pending_names) {
                rename(&mut world.durable_names, &naming);
            }
        })
    }
}
