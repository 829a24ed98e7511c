//! An answer, piece by piece: a host of a thousand instances has 11 MB to say, and whoever writes that needs no more room than for
//! what is on its way.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::format::{self, Format};
use super::page::{CHAPTERS, Page, Part};
use crate::clock;

/// A piece is sent once it has so many bytes.
const ENOUGH: usize = 32 * 1024;
/// How many instances are written in one go. A family has up to 6 KiB of each.
const SOME: usize = 8;
/// How long an answer may take. Prometheus itself waits for 10 s unless it is told otherwise; what was seen at the beginning is kept
/// until then.
const LONGEST: Duration = Duration::from_secs(60);

/// Why an answer was not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// Its reader is too slow.
    #[error("an answer that takes longer than {} s is not finished", LONGEST.as_secs())]
    Overdue,
    /// None that is known: the encoder could refuse, and does not.
    #[error("the encoder refused")]
    Encoder(#[from] fmt::Error),
}

/// The rest of an answer. It shows one moment, that of its beginning.
#[derive(Debug)]
pub struct Pieces {
    page: Arc<Page>,
    format: Format,
    until: Instant,
    chapter: usize,
    /// The next instance of the chapter.
    next: usize,
    /// Kept for its room.
    part: String,
    over: bool,
}

impl Pieces {
    pub(super) fn of(page: Page, format: Format) -> Self {
        let until = clock::now() + LONGEST;
        Self { page: Arc::new(page), format, until, chapter: 0, next: 0, part: String::new(), over: false }
    }

    /// The next piece, of some ten KiB; `None` at the end. All others have had a turn before.
    ///
    /// # Errors
    /// If the answer cannot be finished: the reader must not take it for whole.
    pub async fn next(&mut self) -> Result<Option<String>, Unfinished> {
        tokio::task::yield_now().await;
        if clock::now() > self.until {
            return Err(Unfinished::Overdue);
        }
        let mut piece = String::new();
        while piece.len() < ENOUGH && !self.over {
            if self.chapter < CHAPTERS.len() {
                self.write_some(&mut piece)?;
            } else {
                self.over = true;
                if self.format == Format::OpenMetrics {
                    encode_eof(&mut piece)?;
                }
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Some instances of a family, or a family of the process.
    fn write_some(&mut self, piece: &mut String) -> fmt::Result {
        let Some(&chapter) = CHAPTERS.get(self.chapter) else { return Ok(()) };
        let first = self.next;
        self.next += SOME;
        if self.next >= chapter.instances(&self.page) {
            (self.chapter, self.next) = (self.chapter + 1, 0);
        }
        let instances = first..(first + SOME).min(chapter.instances(&self.page));
        let part = Part { page: Arc::clone(&self.page), chapter, instances };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(part));
        self.part.clear();
        encode_registry(&mut self.part, &registry)?;
        // A family has one head.
        let part = if first == 0 { self.part.as_str() } else { format::samples(&self.part) };
        match self.format {
            Format::OpenMetrics => piece.push_str(part),
            Format::Prometheus => format::to_prometheus(part, piece),
        }
        Ok(())
    }
}
