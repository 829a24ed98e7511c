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
//! in groups of families, with a turn for everybody else between them, one answer at a time.

mod families;
mod format;
mod histogram;
mod meters;
mod own;
mod page;
mod requests;
mod sheet;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

pub use self::families::{ALL, Family, Kind};
pub use self::format::Format;
pub use self::meters::{InstanceMeter, Pending, ProxyClass, Writes};
use self::own::Own;
use self::page::{GROUPS, Page, Part};
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
    /// Writing an answer takes memory: one at a time.
    turn: Semaphore,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of a process that starts now. `look` must not block: it is called once for every answer.
    pub fn new(meters: Meters, look: impl Fn() -> Seen + Send + Sync + 'static) -> Self {
        Self { meters, look: Box::new(look), started: clock::wall(), turn: Semaphore::new(1) }
    }

    /// The whole answer.
    ///
    /// # Errors
    /// None that is known: the encoder could refuse, and does not.
    pub async fn text(&self, format: Format) -> Result<String, fmt::Error> {
        // Never closed. A scraper that hangs up takes its turn back.
        let _turn = self.turn.acquire().await;
        let (meters, seen) = (self.meters.clone(), (self.look)());
        let page = Arc::new(Page { meters, seen, own: Own::read(), started: self.started });
        let (mut text, mut part) = (String::new(), String::new());
        for group in GROUPS {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Part { page: Arc::clone(&page), group }));
            match format {
                Format::OpenMetrics => encode_registry(&mut text, &registry)?,
                Format::Prometheus => {
                    part.clear();
                    encode_registry(&mut part, &registry)?;
                    format::to_prometheus(&part, &mut text);
                }
            }
            tokio::task::yield_now().await;
        }
        if format == Format::OpenMetrics {
            encode_eof(&mut text)?;
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
