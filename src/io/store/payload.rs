//! What a frame carries: JSON, of schema version 1.
//!
//! * `{"v":1,"file":{...}}`: the first frame of every file: what the file is and which machine wrote it.
//! * `{"v":1,"instance":"NAME","records":[...]}`: one batch, in the log.
//! * `{"v":1,"instance":"NAME","head":{...}}` and `{"v":1,"instance":"NAME","part":{...}}`: the state of an instance in
//!   a snapshot: its single values, then its queues in pieces of some kilobytes, so that one flipped bit costs one piece.
//! * `{"v":1,"end":{"frames":N}}`: the last frame of a snapshot.
//!
//! Anything else is of a newer version (there is room for `{"v":1,"process":{...}}`): it is not understood, so its file
//! is kept aside.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use serde::{Deserialize, Serialize};

use super::frame;
use crate::core::durable::{Durable, Record};
use crate::core::ids::InstanceName;
use crate::wire::reader;

/// The state of all instances: the sum of what is on disk, or is to be.
pub(super) type Mirror = BTreeMap<InstanceName, Durable>;

/// The version that we write.
const VERSION: u32 = 1;

/// A piece of a snapshot is closed once it has so many bytes.
const PIECE: usize = 8 << 10;

/// Snapshots are handed on in strokes of about so many bytes: a whole one would double the memory of the state.
const STROKE: usize = 64 << 10;

/// The first frame of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// "log" or "snapshot".
    pub(super) kind: Kind,
    /// Which machine wrote it; 0 if unknown.
    pub(super) machine: u32,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Batches, as they came.
    Log,
    /// The state at one moment.
    Snapshot,
}

/// A payload that was understood.
#[derive(Debug, PartialEq)]
pub(super) enum Payload {
    /// The first frame.
    File(Head),
    /// A batch. `unknown` of its records were not understood, the others are here.
    Batch { instance: InstanceName, records: Vec<Record>, unknown: u64 },
    /// The single values of an instance.
    Values { instance: InstanceName, values: Box<Durable> },
    /// A piece of its queues.
    Piece { instance: InstanceName, piece: Box<Durable> },
    /// The end of a snapshot of so many frames, this one included.
    End { frames: u64 },
}

#[derive(Deserialize)]
struct Any {
    v: u32,
    file: Option<Head>,
    instance: Option<InstanceName>,
    records: Option<Vec<serde_json::Value>>,
    head: Option<Box<Durable>>,
    part: Option<Box<Durable>>,
    end: Option<End>,
}

#[derive(Serialize, Deserialize)]
struct End {
    frames: u64,
}

/// Understands a payload; `None` if it is of a newer version or not ours.
pub(super) fn decode(bytes: &[u8]) -> Option<Payload> {
    let any: Any = reader::document(bytes).ok().filter(|any: &Any| any.v == VERSION)?;
    match any {
        Any { file: Some(head), .. } => Some(Payload::File(head)),
        Any { end: Some(End { frames }), .. } => Some(Payload::End { frames }),
        Any { instance: Some(instance), head: Some(values), .. } => Some(Payload::Values { instance, values }),
        Any { instance: Some(instance), part: Some(piece), .. } => Some(Payload::Piece { instance, piece }),
        Any { instance: Some(instance), records: Some(values), .. } => {
            let count = values.len();
            let records: Vec<Record> =
                values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect();
            let unknown = u64::try_from(count - records.len()).unwrap_or(u64::MAX);
            Some(Payload::Batch { instance, records, unknown })
        }
        Any { .. } => None,
    }
}

/// The payload of a batch.
pub(super) fn batch(instance: &InstanceName, records: &[Record]) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Batch<'a> {
        v: u32,
        instance: &'a InstanceName,
        records: &'a [Record],
    }
    Ok(serde_json::to_vec(&Batch { v: VERSION, instance, records })?)
}

/// The payload of a file's first frame.
pub(super) fn head(head: Head) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct File {
        v: u32,
        file: Head,
    }
    Ok(serde_json::to_vec(&File { v: VERSION, file: head })?)
}

/// Writes a snapshot, frame by frame, all with the same number: that of the newest record that is in it or that must
/// never count again.
pub(super) fn snapshot(
    mirror: &Mirror,
    seq: u64,
    machine: u32,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut pen = Pen { sink, seq, frames: 0, out: Vec::new() };
    pen.frame(&head(Head { kind: Kind::Snapshot, machine })?)?;
    for (instance, durable) in mirror {
        pen.instance(instance, durable)?;
    }
    let frames = pen.frames + 1;
    pen.frame(&serde_json::to_vec(&serde_json::json!({ "v": VERSION, "end": End { frames } }))?)?;
    pen.flush()
}

/// Adds a piece of a snapshot to an instance's state.
pub(super) fn add(durable: &mut Durable, piece: Durable) {
    durable.seen.extend(piece.seen);
    durable.inbox.extend(piece.inbox);
    durable.outbox.extend(piece.outbox);
    durable.set_aside.extend(piece.set_aside);
    durable.dead.extend(piece.dead);
    durable.keys.extend(piece.keys);
}

struct Pen<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    seq: u64,
    frames: u64,
    out: Vec<u8>,
}

impl Pen<'_> {
    fn frame(&mut self, payload: &[u8]) -> io::Result<()> {
        frame::push(&mut self.out, self.seq, payload);
        self.frames += 1;
        if self.out.len() >= STROKE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = (self.sink)(&self.out);
        self.out.clear();
        written
    }

    fn instance(&mut self, instance: &InstanceName, durable: &Durable) -> io::Result<()> {
        // Taken apart field by field: a new field of `Durable` must be given its place here, or this does not compile.
        let Durable {
            session,
            instance: instance_id,
            allocation,
            given,
            spent,
            attached,
            said,
            sdk,
            cadence_millis,
            cursor,
            seen,
            inbox,
            set_aside,
            outbox,
            dead,
            keys,
            noticed,
            gone,
            failures,
            listing,
            closed,
            superseded,
        } = durable;
        let values = Durable {
            session: session.clone(),
            instance: instance_id.clone(),
            allocation: allocation.clone(),
            given: given.clone(),
            spent: spent.clone(),
            attached: *attached,
            said: said.clone(),
            sdk: sdk.clone(),
            cadence_millis: *cadence_millis,
            cursor: cursor.clone(),
            noticed: *noticed,
            gone: gone.clone(),
            failures: failures.clone(),
            listing: listing.clone(),
            closed: *closed,
            superseded: *superseded,
            seen: VecDeque::new(),
            inbox: VecDeque::new(),
            set_aside: VecDeque::new(),
            outbox: VecDeque::new(),
            dead: VecDeque::new(),
            keys: VecDeque::new(),
        };
        let name = serde_json::to_string(instance)?;
        let values = serde_json::to_string(&values)?;
        self.frame(format!(r#"{{"v":{VERSION},"instance":{name},"head":{values}}}"#).as_bytes())?;
        self.queue(&name, "seen", seen)?;
        self.queue(&name, "inbox", inbox)?;
        self.queue(&name, "set_aside", set_aside)?;
        self.queue(&name, "outbox", outbox)?;
        self.queue(&name, "dead", dead)?;
        self.queue(&name, "keys", keys)
    }

    fn queue<T: Serialize>(&mut self, name: &str, field: &str, queue: &VecDeque<T>) -> io::Result<()> {
        let start = format!(r#"{{"v":{VERSION},"instance":{name},"part":{{"{field}":["#);
        let mut piece = start.clone().into_bytes();
        for item in queue {
            if piece.len() > start.len() {
                piece.push(b',');
            }
            serde_json::to_writer(&mut piece, item)?;
            if piece.len() >= PIECE {
                self.close(&mut piece, &start)?;
            }
        }
        if piece.len() > start.len() { self.close(&mut piece, &start) } else { Ok(()) }
    }

    fn close(&mut self, piece: &mut Vec<u8>, start: &str) -> io::Result<()> {
        piece.extend_from_slice(b"]}}");
        let framed = self.frame(piece);
        piece.truncate(start.len());
        framed
    }
}
