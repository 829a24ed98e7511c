//! What happened in a run, in one list: what the agent did and said, what the backend saw, what was done to both.
//!
//! It is written beside the scenario's other files as one JSON object a line, and `--judge FILE` reads it again.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rallyhere_agent::clock;
use serde::{Deserialize, Serialize};

/// One thing, and when it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Milliseconds since the run began.
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

/// What the run is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// How often health is expected.
    pub(crate) cadence_ms: u64,
    /// The most memory that was ever resident.
    pub(crate) memory_kib: u64,
    /// The most descriptors that were ever open.
    pub(crate) descriptors: u64,
    /// From a start on a serving instance to its first health post.
    pub(crate) restart_ms: u64,
    /// What a busy machine may add to any time.
    pub(crate) slack_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// The first entry.
    Bounds(Bounds),
    /// The agent was started. `serving`: its instance was joinable, so that health is due at once.
    Started { serving: bool },
    /// kill -9.
    Killed,
    /// It was told to stop.
    Told,
    /// It has ended by itself.
    Exited { code: Option<i32> },
    /// From now on something is wrong. `silent`: health posts may be missing. `blind`: nobody can know what the agent heard.
    Trouble { words: String, silent: bool, blind: bool },
    /// All is well again.
    Calm,
    /// A fault met a call: what went wrong, and where. `call` is empty where nobody could know it.
    Met { call: String, ill: String },
    /// A request that arrived, with what came of it.
    Request { call: String, ended_ms: Option<u64>, status: Option<u16>, processed: bool, struck: bool },
    /// A connection that an outage closed.
    Turned,
    /// What the contract does not take, or a good host does not do.
    Complaint { words: String },
    /// A login that was taken.
    LoggedIn,
    /// All tokens died.
    Expired,
    /// A health post that the backend took.
    Beat { status: String },
    /// A notification in the instance's stream.
    Published { id: String },
    /// The game got it.
    Handed {
        id: String,
        /// The how manieth agent of the run was asked: the last words of one that is killed are heard after its end.
        #[serde(default)]
        by: u32,
    },
    /// A report: answered 202.
    Accepted { report: String },
    /// A report: answered something else, so nobody waits for it.
    Denied { report: String },
    /// The backend has it.
    Arrived { report: String },
    /// The agent was told so; `clean`: by an answer that went out whole and as it should be.
    Delivered { report: String, clean: bool },
    /// A call of the game, from its first byte to the last of the answer.
    Local { micros: u64, durable: bool },
    /// What the agent shows of itself.
    Phase { phase: String },
    /// What the backend shows of the instance.
    Shown { join_status: String },
    /// What the kernel says of the process.
    Sample { rss_kib: u64, peak_kib: u64, descriptors: u64 },
    /// This machine did not get round to something for so long: the agent may not have, either.
    Lag { ms: u64 },
    /// Something that the agent said was looked through for secrets and panics.
    Scanned { place: String, bytes: u64 },
    /// A secret in it. Not the secret itself.
    Leak { place: String, which: String },
    /// A panic, or an apology.
    Fault { line: String },
    /// A wait that was not over in time.
    Never { what: String },
    /// Something that this scenario promises beside the rest.
    Broken { words: String },
    /// A number worth showing.
    Note { words: String },
}

/// Writes the list. A clone writes the same one.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    began: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        Self { began: clock::now(), entries: Arc::default() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn note(&self, what: What) {
        self.note_at(self.now_ms(), what);
    }

    pub(crate) fn note_at(&self, at_ms: u64, what: What) {
        self.entries.lock().unwrap().push(Entry { at_ms, what });
    }

    /// Looks at what there is so far.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        look(&self.entries.lock().unwrap())
    }

    /// Everything, in the order of time.
    pub(crate) fn finish(&self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut *self.entries.lock().unwrap());
        entries.sort_by_key(|entry| entry.at_ms);
        entries
    }
}

pub(crate) fn write(path: &Path, entries: &[Entry]) {
    let mut text = String::new();
    for entry in entries {
        writeln!(text, "{}", serde_json::to_string(entry).unwrap()).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

pub(crate) fn read(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).expect("a time line that an earlier run has written");
    text.lines().map(|line| serde_json::from_str(line).expect("an entry of a time line")).collect()
}
