//! When a request leaves, and on which connection.
//!
//! reqwest tells neither. Both decide what a failure means: a request that never left was certainly not carried out, and one that
//! met a connection closed long ago says nothing about the backend. So the body of every request takes notes: hyper asks it whether
//! it is empty at the one moment when it begins to write the request, in the task that owns the connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Notify;

use crate::clock;

/// Connections remembered per lane. One that is forgotten counts as new: then its failure is the core's to repeat.
const SEEN_LIMIT: usize = 256;
/// The end of a connection that was closed before is known a round trip after something is sent on it. A poll that is cut while it waits
/// is another matter: a fleet that is cut at once would repeat all of its polls at once.
const STALE: Duration = Duration::from_secs(1);

/// The connections of a lane that have carried a request, by the task that owns each.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<VecDeque<tokio::task::Id>>);

impl Seen {
    /// Whether this connection was seen before; from now on it was.
    fn again(&self, connection: tokio::task::Id) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Newest first, for it is the likeliest to come again.
        if seen.contains(&connection) {
            return true;
        }
        seen.push_front(connection);
        seen.truncate(SEEN_LIMIT);
        false
    }
}

/// What is known of a request on its way.
#[derive(Debug)]
pub(super) struct Departure {
    left: AtomicBool,
    left_at: OnceLock<Instant>,
    reused: AtomicBool,
    leaves: Notify,
    seen: Arc<Seen>,
}

impl Departure {
    /// Whether any of it may have been sent.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Whether it left on a connection that had carried a request before, and that only a moment ago: whoever closes a connection after
    /// having held a request for longer has not closed it before.
    pub(super) fn met_a_closed_connection(&self) -> bool {
        self.reused.load(Ordering::Acquire) && self.left_at.get().is_some_and(|left| left.elapsed() < STALE)
    }

    /// Waits until it leaves. For one waiter.
    pub(super) async fn leaves(&self) {
        self.leaves.notified().await;
    }

    fn note(&self) {
        if !self.left.swap(true, Ordering::AcqRel) {
            let _first = self.left_at.set(clock::now());
            let reused = tokio::task::try_id().is_some_and(|connection| self.seen.again(connection));
            self.reused.store(reused, Ordering::Release);
            self.leaves.notify_one();
        }
    }
}

/// The body of a request, which takes notes.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Option<Bytes>,
    departure: Arc<Departure>,
}

impl Outgoing {
    pub(super) fn new(bytes: Option<Bytes>, seen: Arc<Seen>) -> (Self, Arc<Departure>) {
        let departure = Arc::new(Departure {
            left: AtomicBool::new(false),
            left_at: OnceLock::new(),
            reused: AtomicBool::new(false),
            leaves: Notify::new(),
            seen,
        });
        (Self { bytes, departure: Arc::clone(&departure) }, departure)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.departure.note();
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.departure.note();
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
