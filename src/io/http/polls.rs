//! The connections of the long polls.
//!
//! A poll is held open by design, so that one on a shared connection can be held up by others. Up to [`ALONE`] polls have an
//! HTTP/1.1 connection each and know nothing of this. A host of many would hold as many TLS connections as instances, at more than
//! 60 KiB each: there the others share HTTP/2 connections, at most [`TOGETHER`] on one, and
//! never more than the server takes streams at a time. That is asked before any of them is shared ([`super::streams`]): what has no
//! room would wait behind a poll that waits itself.
//!
//! A poll that got no answer on a shared connection, though the pings of that connection were answered, says that the server
//! takes fewer than it told. Then all go back to connections of their own for [`DOUBT`]: it costs this one poll, and starves nobody.
//! A connection that is stuck is found by the pings, within 15 s; only its own polls wait so long, and each begins again on another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::lane::{Lane, Speaks};
use super::origin::Origin;
use super::{HttpSetupError, Limits, streams};
use crate::clock;
use crate::core::call::{Failure, FailureKind};

/// So many polls at a time have a connection each, whatever the server offers.
const ALONE: usize = 16;
/// The most polls on one connection: what is lost with it, or held up, is bounded. Servers take 100 to 128 streams.
const TOGETHER: usize = 32;
/// Below that a shared connection saves nothing.
const WORTH: usize = 4;
/// How long the number of streams is believed: as long as connections live on average.
const BELIEF: Duration = Duration::from_secs(5 * 60);
/// When it is asked again that could not be reached.
const AGAIN: Duration = Duration::from_secs(10);
/// How long nothing is shared with a server that did not keep its word.
const DOUBT: Duration = Duration::from_secs(30 * 60);

/// See the module.
pub(super) struct Polls {
    alone: Arc<Seats>,
    /// Only where HTTP/2 may be spoken.
    sharing: Option<Sharing>,
}

struct Sharing {
    tls: ClientConfig,
    connect_timeout: Duration,
    limits: Limits,
    place: (String, u16),
    lanes: Mutex<Vec<Arc<Seats>>>,
    /// How many polls a connection takes, and until when that is believed. Whoever finds it outdated asks, and the others wait for
    /// the answer: it takes a few round trips, and has a limit.
    width: tokio::sync::Mutex<(usize, Instant)>,
}

/// A lane, and how many polls are on it.
struct Seats {
    lane: Lane,
    taken: AtomicUsize,
}

impl Seats {
    fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Acquire) == 0
    }
}

/// A place on a lane, until it is dropped.
pub(super) struct Seat(Arc<Seats>);

impl Seat {
    fn take(seats: &Arc<Seats>, room: usize) -> Option<Self> {
        let more = |taken| (taken < room).then_some(taken + 1);
        seats.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(seats)))
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.0.lane
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Polls {
    /// `shares`: whether HTTP/2 may be spoken.
    pub(super) fn new(
        origin: &Origin,
        tls: &ClientConfig,
        connect_timeout: Duration,
        limits: Limits,
        shares: bool,
    ) -> Result<Self, HttpSetupError> {
        let lane = Lane::new(tls.clone(), Speaks::Http1, connect_timeout, limits)?;
        let (host, port) = origin.host_and_port();
        let sharing = shares.then(|| Sharing {
            tls: tls.clone(),
            connect_timeout,
            limits,
            place: (host.to_owned(), port),
            lanes: Mutex::default(),
            width: tokio::sync::Mutex::new((0, clock::now())),
        });
        Ok(Self { alone: Arc::new(Seats { lane, taken: AtomicUsize::new(0) }), sharing })
    }

    /// A place for one poll. Where it must be asked first how many streams the server takes, that takes a moment.
    pub(super) async fn seat(&self) -> Seat {
        let alone = |room| Seat::take(&self.alone, room);
        if let Some(seat) = alone(ALONE) {
            return seat;
        }
        let shared = match &self.sharing {
            Some(sharing) => sharing.seat().await,
            None => None,
        };
        shared.or_else(|| alone(usize::MAX)).unwrap_or_else(|| Seat(Arc::clone(&self.alone)))
    }

    /// How a poll ended, for what is believed of the server.
    pub(super) async fn ended(&self, seat: &Seat, failure: &Failure) {
        let was_shared = !Arc::ptr_eq(&seat.0, &self.alone);
        if let Some(sharing) = self.sharing.as_ref().filter(|_| was_shared && is_silence(failure)) {
            *sharing.width.lock().await = (0, clock::now() + DOUBT);
        }
    }
}

/// Whether not even the head of an answer came.
fn is_silence(failure: &Failure) -> bool {
    failure.kind == FailureKind::TimedOut && failure.status.is_none()
}

impl Sharing {
    async fn seat(&self) -> Option<Seat> {
        let width = self.width().await;
        if width < WORTH {
            // What was shared before ends with its polls.
            self.lanes().clear();
            return None;
        }
        let mut lanes = self.lanes();
        // Where instances have gone, one of those that are left without a poll is enough.
        while matches!(&**lanes, [.., one, other] if one.is_empty() && other.is_empty()) {
            lanes.pop();
        }
        if let Some(seat) = lanes.iter().find_map(|seats| Seat::take(seats, width)) {
            return Some(seat);
        }
        // What could be built once can be built again; if it cannot, there is a connection of one's own.
        let lane = Lane::new(self.tls.clone(), Speaks::Http2IfOffered, self.connect_timeout, self.limits).ok()?;
        let seats = Arc::new(Seats { lane, taken: AtomicUsize::new(0) });
        let seat = Seat::take(&seats, width);
        lanes.push(seats);
        seat
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Seats>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many polls a connection takes.
    async fn width(&self) -> usize {
        let mut width = self.width.lock().await;
        if width.1 <= clock::now() {
            let (host, port) = &self.place;
            let told = streams::ask(&self.tls, host, *port, self.connect_timeout + self.limits.pong).await;
            *width = match told {
                Ok(streams) => {
                    let streams = usize::try_from(streams).unwrap_or(usize::MAX);
                    (streams.min(TOGETHER), clock::now() + BELIEF.mul_f64(0.8 + 0.4 * fastrand::f64()))
                }
                // As in an outage, after which all polls come again: what was known of it holds.
                Err(_) => (width.0, clock::now() + AGAIN),
            };
        }
        width.0
    }
}
