//! Metrics, for `GET /metrics` on the admin listener (`io::admin`).
//!
#![doc = include_str!("metrics/table.md")]
//!
//! A family has its series from the first scrape on, at 0 before the first event. No label is an id: values come from
//! closed lists, except `instance` and `probe`, which come from the configuration.
//!
//! `instance` is the name of the instance in the configuration, "default" where there is only one. Prometheus has a label of
//! this name of its own, the address of what it scrapes, and shows ours as `exported_instance` (unless told to
//! `honor_labels`, which must not be: all agents of a fleet would be one).
//!
//! # How it works
//!
//! There are no globals. What is counted by the core is in its snapshots. What must be measured where it happens is
//! measured by small meters ([`Requests`], [`Writes`], [`InstanceMeter`]) that the adapters hold by `Arc`: a few atomic additions
//! each. Everything else is looked at when somebody scrapes. An answer is written
//! in small [`Pieces`], with a turn for everybody else between them: it never stands in memory as a whole.

mod families;
mod format;
mod histogram;
mod meters;
mod own;
mod page;
mod pieces;
mod requests;
mod sheet;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use self::families::{ALL, Family, Kind};
pub use self::format::Format;
pub use self::meters::{InstanceMeter, Pending, ProxyClass, Writes};
use self::own::Own;
use self::page::Page;
pub use self::pieces::{Pieces, Unfinished};
pub use self::requests::{Arrivals, Requests};
use crate::clock;
use crate::core::auth::AuthState;
use crate::core::event::StoreFault;
use crate::core::snapshot::Snapshot;

/// What measures for the whole process.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    /// The HTTP client's.
    pub requests: Arc<Requests>,
    /// The store's.
    pub writes: Arc<Writes>,
}

/// What there is to see at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When.
    pub now: Instant,
    /// The instances that are there, and what measures each.
    pub instances: Vec<(Arc<Snapshot>, Arc<InstanceMeter>)>,
    /// The login.
    pub auth: AuthState,
    /// The store.
    pub store: StoreSeen,
    /// Log lines lost since the start.
    pub log_lines_dropped: u64,
    /// How long ago the loop turned that has not turned for longest.
    pub slowest_loop: Duration,
}

/// The store, as metrics see it.
#[derive(Debug, Clone, Default)]
pub struct StoreSeen {
    /// What is wrong with it now, if anything.
    pub fault: Option<StoreFault>,
    /// Batches that it did not take, since the start.
    pub faults: u64,
    /// Snapshot and log.
    pub bytes: u64,
    /// What was found since the start, by kind: every kind there is, once.
    pub findings: Vec<(&'static str, u64)>,
}

/// The metrics of a process.
pub struct Metrics {
    meters: Meters,
    look: Box<dyn Fn() -> Seen + Send + Sync>,
    started: Timestamp,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of a process that starts now. `look` must not block: it is called once for every answer.
    pub fn new(meters: Meters, look: impl Fn() -> Seen + Send + Sync + 'static) -> Self {
        Self { meters, look: Box::new(look), started: clock::wall() }
    }

    /// An answer to somebody who scrapes now.
    pub fn pieces(&self, format: Format) -> Pieces {
        let (meters, seen) = (self.meters.clone(), (self.look)());
        Pieces::of(Page { meters, seen, own: Own::read(), started: self.started }, format)
    }

    /// The whole of it, for whoever has the room.
    ///
    /// # Errors
    /// If it cannot be finished.
    pub async fn text(&self, format: Format) -> Result<String, Unfinished> {
        let (mut pieces, mut text) = (self.pieces(format), String::new());
        while let Some(piece) = pieces.next().await? {
            text.push_str(&piece);
        }
        Ok(text)
    }
}

/// What this program was built for, as rustc calls it.
fn target() -> String {
    let environment = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-unknown-{}-{environment}", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests;
