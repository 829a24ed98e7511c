//! What else is measured where it happens: writes of the store, requests on the local API, the gap between health posts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::requests::Requests;
use crate::core::ids::{InstanceId, NotificationId};
use crate::core::snapshot::Snapshot;

/// In seconds; an SSD needs about 0.3 ms.
static WRITES: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// In seconds; a game that waits for news gets them in some milliseconds, one that polls as often as it does.
static HANDOFFS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];
/// In seconds: 1.05 and 1.25 times cadences of 1, 2, 5, 10, 15, 30 and 60 s.
static GAPS: [f64; 15] = [1.05, 1.25, 2.1, 2.5, 5.25, 6.25, 10.5, 12.5, 15.75, 18.75, 31.5, 37.5, 63.0, 75.0, 300.0];

/// In seconds; a call to the backend, with perhaps a login in between.
static PASSAGES: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// How long the store takes.
#[derive(Debug)]
pub struct Writes(Histogram);

impl Default for Writes {
    fn default() -> Self {
        Self(Histogram::new(&WRITES))
    }
}

impl Writes {
    /// A batch is on disk, so long after it was handed over.
    pub fn synced(&self, took: Duration) {
        self.0.observe(took);
    }

    pub(super) fn histogram(&self) -> &Histogram {
        &self.0
    }
}

/// The calls of the local API, by path, and their words.
const ROUTES: [(&str, &str); 13] = [
    ("/v1/status", "status"),
    ("/v1/session", "session"),
    ("/v1/ready", "ready"),
    ("/v1/health", "health"),
    ("/v1/instance", "instance"),
    ("/v1/fubar", "fubar"),
    ("/v1/events", "events"),
    ("/v1/allocate", "allocate"),
    ("/v1/drain", "drain"),
    ("/v1/shutdown", "shutdown"),
    ("/v1/notifications", "notifications"),
    ("/v1/notifications/ack", "ack"),
    ("/v1/notifications/stream", "stream"),
];
/// The first part of the paths that are passed on.
const PROXY: &str = "rallyhere";
/// The first parts of paths that the Agones SDK calls.
const AGONES: [&str; 9] =
    ["ready", "health", "allocate", "reserve", "shutdown", "gameserver", "watch", "metadata", "agones.dev.sdk.SDK"];
/// The words of all that is asked: those of [`ROUTES`], then these.
const MORE: [&str; 3] = ["agones", "other", "proxy"];
/// Classes of a status.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The place in the table of a path.
fn route(path: &str) -> usize {
    if let Some(known) = ROUTES.iter().position(|(known, _)| *known == path) {
        return known;
    }
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let more = if first == PROXY { 2 } else { usize::from(!AGONES.contains(&first)) };
    ROUTES.len() + more
}

/// How a call of the game's own to the backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyClass {
    /// The backend answered 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    Client,
    /// 5xx.
    Server,
    /// The backend gave no usable answer.
    Failed,
    /// Not passed on: not allowed, not well formed, too large.
    Refused,
    /// Not passed on: too many at a time.
    Busy,
    /// Not passed on: not logged in.
    NoToken,
}

impl ProxyClass {
    /// All of them, with their words.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Success, "2xx"),
        (Self::Redirect, "3xx"),
        (Self::Client, "4xx"),
        (Self::Server, "5xx"),
        (Self::Failed, "failed"),
        (Self::Refused, "refused"),
        (Self::Busy, "busy"),
        (Self::NoToken, "no_token"),
    ];

    /// The class of an answer of the backend.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::Client,
            500.. => Self::Server,
        }
    }
}

/// What is measured of one instance.
#[derive(Debug)]
pub struct InstanceMeter {
    requests: Arc<Requests>,
    local: [[AtomicU64; CLASSES.len()]; ROUTES.len() + MORE.len()],
    handoff: Histogram,
    gap: Histogram,
    proxied: [AtomicU64; ProxyClass::ALL.len()],
    passages: Histogram,
}

impl InstanceMeter {
    /// Of an instance whose notifications `requests` sees coming.
    pub fn new(requests: Arc<Requests>) -> Self {
        Self {
            requests,
            local: Default::default(),
            handoff: Histogram::new(&HANDOFFS),
            gap: Histogram::new(&GAPS),
            proxied: Default::default(),
            passages: Histogram::new(&PASSAGES),
        }
    }

    /// The local API has a request for `path`; its answer is counted.
    pub fn request(self: &Arc<Self>, path: &str) -> Pending {
        Pending { meter: Arc::clone(self), route: route(path) }
    }

    /// A notification was written into an answer for the game.
    pub fn given(&self, instance: Option<&InstanceId>, notification: &NotificationId, now: Instant) {
        let came = instance.and_then(|instance| self.requests.arrivals().given(instance, notification));
        if let Some(came) = came {
            self.handoff.observe(now.saturating_duration_since(came));
        }
    }

    /// The instance shows a new state. A gap is measured between two posts that follow each other while we are the host.
    pub fn changed(&self, before: &Snapshot, now: &Snapshot) {
        let (Some(one), Some(next)) = (before.health.last_sent, now.health.last_sent) else { return };
        let followed = now.counters.health_sent == before.counters.health_sent + 1;
        if followed && next > one && before.phase.is_attached() && now.phase.is_attached() {
            self.gap.observe(next - one);
        }
    }

    pub(super) fn local(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let words = ROUTES.iter().map(|(_, word)| *word).chain(MORE);
        words.zip(&self.local).flat_map(|(word, row)| {
            CLASSES.into_iter().zip(row).map(move |(class, cell)| (word, class, cell.load(Ordering::Relaxed)))
        })
    }

    /// A call of the game's own came to its end. Only those that were passed on are timed.
    pub fn proxied(&self, class: ProxyClass, took: Duration) {
        if let Some((_, cell)) = ProxyClass::ALL.iter().zip(&self.proxied).find(|((known, _), _)| *known == class) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(class, ProxyClass::Refused | ProxyClass::Busy | ProxyClass::NoToken) {
            self.passages.observe(took);
        }
    }

    pub(super) fn proxy_calls(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ProxyClass::ALL.iter().zip(&self.proxied).map(|((_, word), cell)| (*word, cell.load(Ordering::Relaxed)))
    }

    pub(super) fn passages(&self) -> &Histogram {
        &self.passages
    }

    pub(super) fn handoff(&self) -> &Histogram {
        &self.handoff
    }

    pub(super) fn gap(&self) -> &Histogram {
        &self.gap
    }
}

/// A request of the local API that is not answered yet.
#[derive(Debug)]
pub struct Pending {
    meter: Arc<InstanceMeter>,
    route: usize,
}

impl Pending {
    /// It was answered with this status.
    pub fn answered(self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        if let Some(cell) = self.meter.local.get(self.route).and_then(|row| row.get(class)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(path: &str) -> &'static str {
        let route = route(path);
        ROUTES.get(route).map_or_else(|| MORE[route - ROUTES.len()], |(_, word)| word)
    }

    #[test]
    fn a_path_is_one_of_few_words() {
        assert_eq!(word("/v1/notifications"), "notifications");
        assert_eq!(word("/v1/notifications/ack"), "ack");
        assert_eq!(word("/gameserver"), "agones");
        assert_eq!(word("/metadata/label"), "agones");
        assert_eq!(word("/agones.dev.sdk.SDK/Ready"), "agones");
        assert_eq!((word("/rallyhere/inventory/v1/x"), word("/rallyhere")), ("proxy", "proxy"));
        for other in ["/", "", "/v1", "/v1/notification", "/v2/status", "/v1/status/", "//", "/etc/passwd"] {
            assert_eq!(word(other), "other", "{other}");
        }
    }

    #[test]
    fn calls_of_the_game_are_counted_by_class_and_timed_if_they_were_passed_on() {
        let meter = InstanceMeter::new(Arc::default());
        for status in [200, 204, 307, 404, 503] {
            meter.proxied(ProxyClass::of_status(status), Duration::ZERO);
        }
        for class in [ProxyClass::Failed, ProxyClass::Refused, ProxyClass::Busy, ProxyClass::NoToken] {
            meter.proxied(class, Duration::ZERO);
        }
        let counts: Vec<_> = meter.proxy_calls().map(|(class, count)| format!("{class} {count}")).collect();
        let wanted = ["2xx 2", "3xx 1", "4xx 1", "5xx 1", "failed 1", "refused 1", "busy 1", "no_token 1"];
        assert_eq!(counts, wanted);
    }

    #[test]
    fn answers_are_counted_by_route_and_class() {
        let meter = InstanceMeter::new(Arc::default());
        let meter = Arc::new(meter);
        for (path, status) in [("/v1/ready", 200), ("/v1/ready", 202), ("/v1/ready", 422), ("/x", 404), ("/x", 999)] {
            meter.request(path).answered(status);
        }
        let seen: Vec<_> = meter.local().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(seen, [("ready", "2xx", 2), ("ready", "4xx", 1), ("other", "4xx", 1), ("other", "5xx", 1)]);
        assert_eq!(meter.local().count(), (ROUTES.len() + MORE.len()) * CLASSES.len());
    }
}
