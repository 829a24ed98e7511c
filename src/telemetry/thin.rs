//! Thins repeated words: at most one line per cause and minute, and each says how many were left out before it.
//!
//! Pure: time is an argument.

use std::time::{Duration, Instant};

/// How often one cause may be told.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// How many causes are told apart. All others share one line per [`INTERVAL`].
pub const CAUSES: usize = 64;

/// Decides what is said.
#[derive(Debug, Default)]
pub struct Thinner {
    /// At most [`CAUSES`].
    causes: Vec<(String, Told)>,
    /// The causes for which there is no room.
    others: Option<Told>,
}

/// Whether to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Say it.
    Say {
        /// How many of the same cause were left out since it was last said.
        suppressed: u64,
    },
    /// Leave it out.
    Silent,
}

/// When a cause was last told, and how often it was left out since.
#[derive(Debug)]
struct Told {
    at: Instant,
    suppressed: u64,
}

impl Told {
    fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= INTERVAL
    }

    fn pass(&mut self, now: Instant) -> Pass {
        if self.is_due(now) {
            let told = std::mem::replace(self, Self { at: now, suppressed: 0 });
            Pass::Say { suppressed: told.suppressed }
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
            Pass::Silent
        }
    }
}

impl Thinner {
    /// Has told nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether something of this cause is said now. `cause` is a stable word, or a few: the instance and the kind, say.
    pub fn pass(&mut self, cause: &str, now: Instant) -> Pass {
        if let Some((_, told)) = self.causes.iter_mut().find(|(known, _)| known == cause) {
            return told.pass(now);
        }
        if self.causes.len() >= CAUSES {
            // What was last told longer ago than the interval may be forgotten: it would be told at once anyway.
            self.causes.retain(|(_, told)| !told.is_due(now));
        }
        let first = Told { at: now, suppressed: 0 };
        if self.causes.len() < CAUSES {
            self.causes.push((cause.to_owned(), first));
            return Pass::Say { suppressed: 0 };
        }
        match &mut self.others {
            Some(told) => told.pass(now),
            None => {
                self.others = Some(first);
                Pass::Say { suppressed: 0 }
            }
        }
    }
}

#[cfg(test)]
mod tests;
