//! The print of a state: the same for two states that can only do the same.
//!
//! It is made of the `Debug` text of the production types, piece by piece as the formatter hands them over: instants become
//! distances from now, ids of calls and tickets become the order of their first mention, and what only counts or is only
//! shown is left out.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

/// Fields that are left out: from the first word up to the second. Counters never decide anything; `owners` repeats what the
/// regions hold; `wall`, `phase_since`, `born` and `last_answer`, and what the SDK tells, are shown, or belong to limits that the checks do not reach; a
/// `policy` is a constant.
const LEFT_OUT: [(&str, &str); 10] = [
    ("params", "now"),
    ("wall", "rng"),
    ("phase_since", "auth"),
    ("counters", "replies"),
    ("readers", "outbox"),
    ("born", "heartbeat"),
    ("policy", "ceiling"),
    ("last_answer", "refused"),
    ("last_failure", "game"),
    ("since_wall", "drain"),
];
/// Words whose next number only counts.
const COUNTS: [&str; 7] = ["attempts", "dead_version", "faults", "inbox_version", "outbox_version", "quiet", "Counter"];

/// Whether a piece of this length and first byte may be one of the words above, an id, or part of an instant.
static MARKED: [bool; 32 * 128] = {
    let mut marked = [false; 32 * 128];
    let mut at = 0;
    while at < LEFT_OUT.len() {
        marked[mark(LEFT_OUT[at].0)] = true;
        at += 1;
    }
    at = 0;
    while at < COUNTS.len() {
        marked[mark(COUNTS[at])] = true;
        at += 1;
    }
    at = 0;
    let others = ["tv_sec", "tv_nsec", "CallId", "Ticket"];
    while at < others.len() {
        marked[mark(others[at])] = true;
        at += 1;
    }
    marked
};

const fn mark(piece: &str) -> usize {
    let bytes = piece.as_bytes();
    match bytes {
        [first, ..] => (bytes.len() & 31) * 128 + (*first & 127) as usize,
        [] => 0,
    }
}

/// Collects a text that two equal states share.
pub(super) struct Print {
    text: String,
    now: i128,
    /// Ids by the order of their first mention.
    names: Vec<u64>,
    /// The names are settled: any other id is one that nobody waits for.
    settled: bool,
    until: Option<&'static str>,
    next: Next,
    seconds: i128,
}

enum Next {
    Word,
    Seconds,
    Nanos,
    Count,
    Id,
}

struct Moment(Option<i128>, i128);

impl Write for Moment {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if let Ok(number) = piece.parse::<i128>() {
            match self.0 {
                None => self.0 = Some(number),
                Some(_) => self.1 = number,
            }
        }
        Ok(())
    }
}

fn nanos(moment: Instant) -> i128 {
    let mut text = Moment(None, 0);
    write!(text, "{moment:?}").unwrap();
    text.0.unwrap() * 1_000_000_000 + text.1
}

impl Print {
    pub(super) fn new(now: Instant, names: Option<Vec<u64>>) -> Self {
        let settled = names.is_some();
        let names = names.unwrap_or_default();
        let text = String::with_capacity(4096);
        Self { text, now: nanos(now), names, settled, until: None, next: Next::Word, seconds: 0 }
    }

    pub(super) fn add(&mut self, value: &impl Debug) -> &mut Self {
        write!(self, "{value:?};").unwrap();
        self
    }

    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub(super) fn names(self) -> Vec<u64> {
        self.names
    }

    pub(super) fn hash(&self) -> u64 {
        hash(&self.text)
    }

    fn name(&mut self, id: u64) {
        let name = self.names.iter().position(|known| *known == id);
        let name = match name {
            Some(name) => name,
            None if self.settled => usize::MAX,
            None => {
                self.names.push(id);
                self.names.len() - 1
            }
        };
        self.number(i128::try_from(name).unwrap());
    }

    fn number(&mut self, number: i128) {
        write!(self.text, "{number}").unwrap();
    }
}

impl Write for Print {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if let Some(until) = self.until {
            if piece.len() != until.len() || piece != until {
                return Ok(());
            }
            self.until = None;
        }
        if matches!(piece.as_bytes(), [b'0'..=b'9', ..]) {
            if matches!(self.next, Next::Word) {
                self.text.push_str(piece);
                return Ok(());
            }
            let number = || piece.parse::<i128>().unwrap_or_default();
            match std::mem::replace(&mut self.next, Next::Word) {
                Next::Word => {}
                Next::Seconds => self.seconds = number() * 1_000_000_000,
                Next::Nanos => {
                    let away = self.seconds + number() - self.now;
                    self.number(away);
                }
                Next::Count => {}
                Next::Id => self.name(piece.parse().unwrap_or_default()),
            }
            return Ok(());
        }
        if !MARKED[mark(piece)] {
            self.text.push_str(piece);
            return Ok(());
        }
        match piece {
            "tv_sec" => self.next = Next::Seconds,
            "tv_nsec" => self.next = Next::Nanos,
            "CallId" | "Ticket" => self.next = Next::Id,
            word if COUNTS.contains(&word) => self.next = Next::Count,
            word => {
                if let Some((_, until)) = LEFT_OUT.iter().find(|(from, _)| *from == word) {
                    self.until = Some(until);
                } else {
                    self.text.push_str(piece);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
