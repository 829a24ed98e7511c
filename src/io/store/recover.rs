//! Reading what an earlier process left: every whole record counts, whatever stands around it.

use std::collections::VecDeque;

use super::disk::{Content, Disk};
use super::finding::Finding;
use super::frame::{Found, Scan};
use super::payload::{self, Kind, Mirror, Payload};
use crate::core::durable::Durable;
use crate::core::ids::InstanceName;

/// The file of the last compacted state.
pub(super) const SNAPSHOT: &str = "snapshot";
/// The file of the batches since.
pub(super) const LOG: &str = "log";

/// How often a file is read before an error is believed: what is not read is not in use any more.
const READS: u32 = 3;

/// A file that is to be kept under another name before its own name is given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    /// Its name.
    pub(super) file: &'static str,
    /// The name to keep it under.
    pub(super) aside: String,
    /// It is something else than a file of ours, and is moved; else it stays in use until it is replaced.
    pub(super) foreign: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The state.
    pub(super) mirror: Mirror,
    /// The highest number that was seen.
    pub(super) last_seq: u64,
    /// What to tell.
    pub(super) findings: Vec<Finding>,
    /// What to keep.
    pub(super) asides: Vec<Aside>,
    /// The length of the log, if it is whole and can be continued.
    pub(super) log: Option<u64>,
    /// Bytes of snapshot and log.
    pub(super) bytes: (u64, u64),
}

/// Reads snapshot and log; at most `limit` bytes of each.
///
/// **Invariant:** a record of the log counts only if its number is above that of the snapshot. This is what makes a
/// refused record stay away: after a failed write its number is never used again, and the snapshot that repairs the
/// store carries a number that is at least as high.
pub(super) fn recover<D: Disk>(disk: &mut D, limit: u64, machine: u32) -> Recovered {
    let mut reader = Reader { machine, ..Reader::default() };
    let through = reader.snapshot(disk, limit);
    reader.log(disk, limit, through);
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Recovered,
    machine: u32,
}

/// What was met in one file.
#[derive(Default)]
struct Met {
    frames: u64,
    kept: u64,
    lost: u64,
    places: u64,
    torn: bool,
    unknown: u64,
    cut: Option<String>,
}

impl Met {
    fn bad(&mut self, length: usize, tail: bool) {
        self.lost += length as u64;
        self.places += 1;
        self.torn = tail;
    }
}

impl Reader {
    /// Reads a file; what cannot be read at all is told and set aside here.
    fn content<D: Disk>(&mut self, disk: &mut D, file: &'static str, limit: u64) -> Option<Content> {
        let mut read = disk.read(file, limit);
        for _again in 1..READS {
            if read.as_ref().is_ok_and(|content| content.as_ref().is_none_or(|content| content.cut.is_none())) {
                break;
            }
            read = disk.read(file, limit);
        }
        match read {
            Ok(content) => content,
            Err(error) => {
                self.foreign(disk, file, error.to_string());
                None
            }
        }
    }

    fn foreign<D: Disk>(&mut self, disk: &mut D, file: &'static str, why: String) {
        let aside = free_name(disk, file, "damaged");
        self.found.asides.push(Aside { file, aside: aside.clone(), foreign: true });
        self.found.findings.push(Finding::Foreign { file, aside, why });
    }

    fn head(&mut self, machine: u32) {
        let other = machine != 0 && self.machine != 0 && machine != self.machine;
        if other && !self.found.findings.contains(&Finding::OtherMachine) {
            self.found.findings.push(Finding::OtherMachine);
        }
    }

    /// Returns the number of the snapshot.
    fn snapshot<D: Disk>(&mut self, disk: &mut D, limit: u64) -> u64 {
        let Some(content) = self.content(disk, SNAPSHOT, limit) else {
            return 0;
        };
        let mut met = Met { cut: content.cut, ..Met::default() };
        let mut through = None;
        let mut said = None;
        for found in Scan::new(&content.bytes) {
            let (seq, payload) = match found {
                Found::Frame { seq, payload } => (seq, payload),
                Found::Bad { length, tail } => {
                    met.bad(length, tail);
                    continue;
                }
            };
            met.frames += 1;
            if seq != *through.get_or_insert(seq) {
                met.unknown += 1;
                continue;
            }
            match payload::decode(payload) {
                Some(Payload::File(head)) if head.kind == Kind::Snapshot => self.head(head.machine),
                Some(Payload::Values { instance, values }) => {
                    met.kept += 1;
                    let durable = self.found.mirror.entry(instance).or_default();
                    let queues = std::mem::replace(durable, *values);
                    payload::add(durable, queues);
                }
                Some(Payload::Piece { instance, piece }) => {
                    met.kept += 1;
                    payload::add(self.found.mirror.entry(instance).or_default(), *piece);
                }
                Some(Payload::End { frames }) => said = Some(frames),
                Some(Payload::File(_) | Payload::Batch { .. }) | None => met.unknown += 1,
            }
        }
        // A snapshot that was cut between two frames has no bad byte, only too few frames.
        if met.places == 0 && said != Some(met.frames) {
            met.places = 1;
        }
        met.torn = false;
        self.found.bytes.0 = content.bytes.len() as u64;
        self.judge(disk, SNAPSHOT, met);
        let through = through.unwrap_or(0);
        self.found.last_seq = self.found.last_seq.max(through);
        through
    }

    fn log<D: Disk>(&mut self, disk: &mut D, limit: u64, through: u64) {
        let Some(content) = self.content(disk, LOG, limit) else {
            // Before the first record a kill may leave a snapshot alone; after it, the two are always together.
            if through > 0 && self.found.asides.iter().all(|aside| aside.file != LOG) {
                self.found.findings.push(Finding::Missing { file: LOG });
            }
            return;
        };
        let mut met = Met { cut: content.cut, ..Met::default() };
        let mut last = through;
        let mut headed = false;
        for found in Scan::new(&content.bytes) {
            let (seq, payload) = match found {
                Found::Frame { seq, payload } => (seq, payload),
                Found::Bad { length, tail } => {
                    met.bad(length, tail);
                    continue;
                }
            };
            met.frames += 1;
            match payload::decode(payload) {
                Some(Payload::File(head)) if head.kind == Kind::Log => {
                    headed = true;
                    self.head(head.machine);
                    self.advance(&mut last, seq);
                }
                // In the snapshot already, or refused and void.
                Some(Payload::Batch { .. }) if seq <= last => {}
                Some(Payload::Batch { instance, records, unknown }) => {
                    self.advance(&mut last, seq - 1);
                    last = seq;
                    met.kept += 1;
                    met.unknown += unknown;
                    let durable = self.found.mirror.entry(instance).or_default();
                    records.iter().for_each(|record| durable.apply(record));
                }
                Some(Payload::File(_) | Payload::Values { .. } | Payload::Piece { .. } | Payload::End { .. })
                | None => {
                    met.unknown += 1;
                    last = last.max(seq);
                }
            }
        }
        if met.places == 0 && !headed {
            met.places = 1;
        }
        self.found.bytes.1 = content.bytes.len() as u64;
        if self.judge(disk, LOG, met) {
            self.found.log = Some(self.found.bytes.1);
        }
        self.found.last_seq = self.found.last_seq.max(last);
    }

    /// Everything up to `to` should have been seen by now.
    fn advance(&mut self, last: &mut u64, to: u64) {
        if to > *last {
            self.found.findings.push(Finding::Gap { file: LOG, next: to + 1, missing: to - *last });
            *last = to;
        }
    }

    /// Tells what is wrong with a file and sets it aside; true if nothing is.
    fn judge<D: Disk>(&mut self, disk: &mut D, file: &'static str, met: Met) -> bool {
        if met.places == 0 && met.unknown == 0 && met.cut.is_none() {
            return true;
        }
        if met.frames == 0 {
            let why = met.cut.unwrap_or_else(|| "nothing in it is a record".to_owned());
            self.foreign(disk, file, why);
            return false;
        }
        let aside = free_name(disk, file, "damaged");
        self.found.asides.push(Aside { file, aside: aside.clone(), foreign: false });
        if met.unknown > 0 {
            self.found.findings.push(Finding::Unknown { file, aside: aside.clone(), count: met.unknown });
        }
        let Met { kept, lost, places, torn, cut, .. } = met;
        if torn && places == 1 && cut.is_none() {
            self.found.findings.push(Finding::Torn { file, aside, lost });
        } else if places > 0 || cut.is_some() {
            self.found.findings.push(Finding::Damaged { file, aside, kept, lost, places: places.max(1) });
        }
        false
    }
}

/// Sees to what must not be replayed: the state of another instance, session or allocation, which the core turns into dead
/// letters, and everything that another machine wrote (a cloned disk), which is taken out here. Either way the files are kept
/// under names of their own.
pub(super) fn archive<D: Disk>(disk: &mut D, found: &mut Recovered, belongs: &dyn Fn(&InstanceName, &Durable) -> bool) {
    let foreign = found.findings.contains(&Finding::OtherMachine);
    let strangers: Vec<InstanceName> = found
        .mirror
        .iter()
        .filter(|(name, durable)| foreign || !belongs(name, durable))
        .map(|(name, _)| name.clone())
        .collect();
    if strangers.is_empty() {
        return;
    }
    for file in [SNAPSHOT, LOG] {
        if disk.exists(file) {
            let aside = free_name(disk, file, "archived");
            found.asides.push(Aside { file, aside, foreign: false });
        }
    }
    for instance in strangers {
        if foreign {
            found.mirror.remove(&instance);
        }
        found.findings.push(Finding::Archived { instance });
    }
    // Not to be continued: it holds what was taken out.
    found.log = None;
}

/// A name to keep a file under that nothing has yet.
fn free_name<D: Disk>(disk: &mut D, file: &str, why: &str) -> String {
    let at = format!("{:.0}", crate::clock::wall()).replace(['-', ':'], "");
    let name = format!("{file}.{why}-{at}");
    let mut candidate = name.clone();
    let mut number = 1_u32;
    while disk.exists(&candidate) {
        number += 1;
        candidate = format!("{name}-{number}");
    }
    candidate
}

/// Adds what an earlier process left, and was read late, to what this one has gathered meanwhile: nothing that was owed
/// is forgotten; where both say something, the running one knows better.
pub(super) fn merge(mirror: &mut Mirror, earlier: Mirror) {
    for (instance, earlier) in earlier {
        match mirror.get_mut(&instance) {
            Some(durable) => merge_one(durable, earlier),
            None => {
                mirror.insert(instance, earlier);
            }
        }
    }
}

fn merge_one(now: &mut Durable, mut earlier: Durable) {
    fn before<T>(now: &mut VecDeque<T>, mut earlier: VecDeque<T>) {
        std::mem::swap(now, &mut earlier);
        now.append(&mut earlier);
    }
    earlier.inbox.retain(|old| !now.seen.contains(&old.notification_id));
    earlier.seen.retain(|old| !now.seen.contains(old));
    earlier.outbox.retain(|old| now.outbox.iter().all(|new| new.id != old.id));
    before(&mut now.inbox, earlier.inbox);
    before(&mut now.seen, earlier.seen);
    before(&mut now.outbox, earlier.outbox);
    before(&mut now.set_aside, earlier.set_aside);
    before(&mut now.dead, earlier.dead);
    before(&mut now.keys, earlier.keys);
    if !now.attached {
        (now.attached, now.closed) = (earlier.attached, now.closed || earlier.closed);
        now.superseded |= earlier.superseded;
    }
    if now.said == crate::core::durable::SaidState::default() {
        now.said = earlier.said;
    }
    now.session = now.session.take().or(earlier.session);
    now.instance = now.instance.take().or(earlier.instance);
    now.allocation = now.allocation.take().or(earlier.allocation);
    now.cursor = now.cursor.take().or(earlier.cursor);
    now.cadence_millis = now.cadence_millis.or(earlier.cadence_millis);
}
