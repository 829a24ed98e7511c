//! What a file that is written by somebody else says, look by look: pure, so that any order of writes can be tried.
//!
//! * A word counts only if two looks in a row have found the same content: a writer in the middle of it shows something else at the
//!   next look. A whole document that is replaced by rename or written anew is taken with the second look, a tenth of a second later.
//! * That nothing is there, or nothing in it, counts only after [`SETTLE`]: writers truncate before they write, and some take the old
//!   file away before the new one is there.
//! * What is no document at all is somebody in the middle of writing it. Only if it stays so for [`PATIENCE`] is it told, once a minute.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::core::allocation::{Teller, Word};
use crate::wire;

/// Between two looks, while nothing changes.
pub(super) const SLOW: Duration = Duration::from_secs(1);
/// The same while what was found is not sure yet.
pub(super) const FAST: Duration = Duration::from_millis(100);
/// How long nothing must be there before that counts.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// How long something unreadable is left to its writer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is told.
const AGAIN: Duration = Duration::from_secs(60);

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// There is no file.
    Absent,
    /// Its content, at most one byte more than [`wire::FILE_LIMIT`].
    Content(Vec<u8>),
    /// It cannot be read. In words.
    Failed(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    teller: Teller,
    path: String,
    /// What the last look found, since when, and in how many looks.
    found: Option<(Seen, Instant, u32)>,
    /// The word that was told and stands.
    told: Option<Word>,
    /// Since when it is unreadable.
    bad: Option<Instant>,
    complained: Option<Instant>,
    sure: bool,
}

impl Watch {
    pub(super) fn new(teller: Teller, path: &Path) -> Self {
        let path = path.display().to_string();
        Self { teller, path, found: None, told: None, bad: None, complained: None, sure: false }
    }

    /// A look has found this; gives what is to be told, if it is news.
    pub(super) fn look(&mut self, seen: Seen, now: Instant) -> Option<Word> {
        let (since, looks) = match &mut self.found {
            Some((before, since, looks)) if *before == seen => {
                *looks = looks.saturating_add(1);
                (*since, *looks)
            }
            found => {
                *found = Some((seen.clone(), now, 1));
                (now, 1)
            }
        };
        let word = match seen {
            Seen::Absent => Ok(Word::Nothing),
            Seen::Content(content) => wire::file(self.teller, &content),
            Seen::Failed(why) => Err(why),
        };
        let word = match word {
            Ok(word) => word,
            Err(why) => return self.unreadable(&why, now),
        };
        self.bad = None;
        self.sure = match &word {
            Word::Nothing => now.saturating_duration_since(since) >= SETTLE,
            Word::Given(_) | Word::Unreadable(_) => looks >= 2,
        };
        (self.sure && self.told.as_ref() != Some(&word)).then_some(word)
    }

    fn unreadable(&mut self, why: &str, now: Instant) -> Option<Word> {
        let bad = *self.bad.get_or_insert(now);
        self.sure = now.saturating_duration_since(bad) >= PATIENCE;
        let due = self.complained.is_none_or(|last| now.saturating_duration_since(last) >= AGAIN);
        if !self.sure || !due {
            return None;
        }
        self.complained = Some(now);
        let path = &self.path;
        Some(Word::Unreadable(format!(
            "{path} cannot be read as an allocation: {why}; what it said before stands until it is mended"
        )))
    }

    /// It was taken. What cannot be told is tried again at the next look.
    pub(super) fn told(&mut self, word: Word) {
        match word {
            Word::Given(_) | Word::Nothing => {
                self.told = Some(word);
                self.complained = None;
            }
            Word::Unreadable(_) => {}
        }
    }

    /// How long the next look may wait.
    pub(super) fn pause(&self) -> Duration {
        if self.sure { SLOW } else { FAST }
    }
}

#[cfg(test)]
mod tests;
