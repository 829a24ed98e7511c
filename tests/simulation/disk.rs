//! The disk of a simulated machine: it can fail for a while, die in the middle of an operation, and at a power cut lose or tear
//! what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rallyhere_agent::io::store::{Content, Disk, OpenError};

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => {
                let at = *at as usize;
                if bytes.len() < at + written.len() {
                    bytes.resize(at + written.len(), 0);
                }
                bytes[at..at + written.len()].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(*length as usize, 0),
        }
    }

    /// What a power cut leaves of it.
    fn torn(self, dice: &mut fastrand::Rng) -> Option<Self> {
        match (dice.u8(..5), self) {
            (0, _) => None,
            (1, Self::Write(at, bytes)) => Some(Self::Write(at, bytes[..dice.usize(..bytes.len())].to_vec())),
            // The length grew, the bytes did not come.
            (2, Self::Write(at, bytes)) => Some(Self::Write(at, vec![0; bytes.len()])),
            // The end came, the start did not.
            (3, Self::Write(at, mut bytes)) => {
                let hole = dice.usize(..bytes.len());
                bytes[..hole].fill(0);
                Some(Self::Write(at, bytes))
            }
            (_, change) => Some(change),
        }
    }
}

#[derive(Debug, Default)]
struct File {
    /// What reading gives.
    cache: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Set(String, usize),
    Move(String, String, usize),
    Remove(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// What is wrong with a disk for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ailment {
    /// Nothing more fits: errno 28.
    Full,
    /// errno 30.
    ReadOnly,
    /// Every sync fails: errno 5.
    NoSync,
    /// Every other operation that changes something fails, and may have had its effect.
    Flaky,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    ailment: Option<Ailment>,
    /// The process dies after so many operations more.
    dies_in: Option<u32>,
    dead: bool,
    dice: fastrand::Rng,
}

/// See the module. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

/// What an operation comes to.
enum Fate {
    Well,
    Fails(io::Error),
    /// It fails, and has its effect.
    FailsLate(io::Error),
}

impl State {
    fn begin(&mut self, changes: bool, is_sync: bool) -> Fate {
        if self.dead {
            return Fate::Fails(io::Error::other("dead"));
        }
        if let Some(left) = &mut self.dies_in {
            if *left == 0 {
                self.dead = true;
                let error = io::Error::other("dead");
                // The last one may still have happened.
                return if self.dice.bool() { Fate::FailsLate(error) } else { Fate::Fails(error) };
            }
            *left -= 1;
        }
        let errno = |number| Fate::Fails(io::Error::from_raw_os_error(number));
        match self.ailment {
            Some(Ailment::Full) if changes && !is_sync => errno(28),
            Some(Ailment::ReadOnly) if changes && !is_sync => errno(30),
            Some(Ailment::NoSync) if is_sync => errno(5),
            Some(Ailment::Flaky) if changes && self.dice.bool() => {
                let error = io::Error::from_raw_os_error(5);
                if self.dice.bool() { Fate::FailsLate(error) } else { Fate::Fails(error) }
            }
            _ => Fate::Well,
        }
    }

    fn carry_out(&mut self, effect: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.begin(true, false) {
            Fate::Well => {
                effect(self);
                Ok(())
            }
            Fate::Fails(error) => Err(error),
            Fate::FailsLate(error) => {
                effect(self);
                Err(error)
            }
        }
    }

    fn change(&mut self, file: usize, change: Change) {
        change.apply(&mut self.files[file].cache);
        self.files[file].pending.push(change);
    }

    fn naming(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    /// Files without any name are given back.
    fn sweep(&mut self) {
        let named: BTreeSet<usize> = self.names.values().chain(self.durable_names.values()).copied().collect();
        for (at, file) in self.files.iter_mut().enumerate() {
            if !named.contains(&at) {
                *file = File::default();
            }
        }
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { dice: fastrand::Rng::with_seed(seed), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ail(&self, ailment: Option<Ailment>) {
        self.state().ailment = ailment;
    }

    /// The process that uses it dies after so many operations more.
    pub(crate) fn dies_in(&self, operations: u32) {
        self.state().dies_in = Some(operations);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn spare(&self) {
        let mut state = self.state();
        (state.ailment, state.dies_in) = (None, None);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The process was killed: what it had written stays, synced or not.
    pub(crate) fn killed(&self) {
        let mut state = self.state();
        (state.dies_in, state.dead) = (None, false);
        state.sweep();
    }

    /// The power was cut.
    pub(crate) fn unplugged(&self) {
        let mut state = self.state();
        let state = &mut *state;
        (state.dies_in, state.dead) = (None, false);
        for file in &mut state.files {
            for change in std::mem::take(&mut file.pending) {
                if let Some(change) = change.torn(&mut state.dice) {
                    change.apply(&mut file.durable);
                }
            }
            file.cache.clone_from(&file.durable);
        }
        // Names come in order, as in a journal, or in any order.
        let journal = state.dice.bool();
        let mut all = true;
        for naming in std::mem::take(&mut state.pending_names) {
            let kept = state.dice.u8(..3) > 0;
            all &= kept;
            if if journal { all } else { kept } {
                naming.apply(&mut state.durable_names);
            }
        }
        state.names.clone_from(&state.durable_names);
        state.sweep();
    }
}

impl Disk for SimDisk {
    type File = usize;

    fn prepare(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    fn is_there(&self) -> bool {
        true
    }

    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Content>> {
        let state = self.state();
        Ok(state.names.get(name).map(|file| {
            let mut bytes = state.files[*file].cache.clone();
            let cut = (bytes.len() as u64 > limit).then(|| "longer".to_owned());
            bytes.truncate(limit as usize);
            Content { bytes, cut }
        }))
    }

    fn exists(&mut self, name: &str) -> bool {
        self.state().names.contains_key(name)
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.state().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        let mut state = self.state();
        state.carry_out(|state| {
            if state.names.contains_key(name) {
                state.naming(Naming::Remove(name.to_owned()));
            }
            state.files.push(File::default());
            let file = state.files.len() - 1;
            state.naming(Naming::Set(name.to_owned(), file));
        })?;
        Ok(state.files.len() - 1)
    }

    fn write(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let taken = if state.dice.u8(..) == 0 { state.dice.usize(1..=bytes.len()) } else { bytes.len() };
        let change = Change::Write(at, bytes[..taken].to_vec());
        state.carry_out(|state| state.change(*file, change))?;
        Ok(taken)
    }

    fn length(&mut self, file: &mut usize) -> io::Result<u64> {
        Ok(self.state().files[*file].cache.len() as u64)
    }

    fn truncate(&mut self, file: &mut usize, length: u64) -> io::Result<()> {
        self.state().carry_out(|state| state.change(*file, Change::Truncate(length)))
    }

    fn reserve(&mut self, _file: &mut usize, _at: u64, _length: u64) -> io::Result<()> {
        match self.state().ailment {
            Some(Ailment::Full) => Err(io::Error::from_raw_os_error(28)),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.begin(true, true);
        let state = &mut *state;
        let file = &mut state.files[*file];
        let pending = std::mem::take(&mut file.pending);
        match fate {
            Fate::Well => {
                pending.iter().for_each(|change| change.apply(&mut file.durable));
                Ok(())
            }
            Fate::Fails(error) | Fate::FailsLate(error) => {
                // As Linux does it: some came through, the others are forgotten, and the next sync says nothing of them.
                for change in pending {
                    if let Some(change) = change.torn(&mut state.dice) {
                        change.apply(&mut file.durable);
                    }
                }
                Err(error)
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let Some(file) = state.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        state.carry_out(|state| state.naming(Naming::Move(from.to_owned(), to.to_owned(), file)))
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let Some(file) = state.names.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        state.carry_out(|state| state.naming(Naming::Set(to.to_owned(), file)))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.carry_out(|state| {
            for naming in std::mem::take(&mut state.pending_names) {
                naming.apply(&mut state.durable_names);
            }
            state.sweep();
        })
    }
}
