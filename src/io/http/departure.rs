//! When a request leaves, and on which connection.
//!
//! reqwest tells neither. Both decide what a failure means: a request that never left was certainly not carried out, and one that
//! met a connection closed long ago says nothing about the backend. So the body of every request takes notes: hyper asks it whether
//! it is empty at the one moment when it begins to write the request, in the task that owns the connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Notify;

/// Connections remembered per lane. One that is forgotten counts as new: then its failure is the core's to repeat.
const SEEN_LIMIT: usize = 256;

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
    reused: AtomicBool,
    leaves: Notify,
    seen: Arc<Seen>,
}

impl Departure {
    /// Whether any of it may have been sent.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Whether it left on a connection that had carried a request before.
    pub(super) fn was_reused(&self) -> bool {
        self.reused.load(Ordering::Acquire)
    }

    /// Waits until it leaves. For one waiter.
    pub(super) async fn leaves(&self) {
        self.leaves.notified().await;
    }

    fn note(&self) {
        if !self.left.swap(true, Ordering::AcqRel) {
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
