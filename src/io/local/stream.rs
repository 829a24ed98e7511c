//! GET /v1/notifications/stream: Server-Sent Events.
//!
//! Each notification is one event: `id:` is its notification_id (which has no control characters, so never a line break),
//! `data:` its JSON in one line. `Last-Event-ID`, which every event-stream client sends when it comes back, or `after=ID`
//! resumes behind that one. A silent stream sends a comment every 15 s.
//!
//! The game is told of its end in the same stream: `event: phase` with `{"phase":"draining"}`, `superseded` or `ended`.
//!
//! Nothing is queued for a reader: the next events are made from the inbox when the last ones have left, so a slow one costs
//! a buffer of a few kilobytes and holds nobody else. Acknowledging is a call of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::notifications::{Inbox, RawQuery, after, fresh, write};
use super::refusal::Refusal;
use super::routes::{Api, Game, given};
use super::server::closed;
use super::steps::{Step, Steps};
use crate::clock;
use crate::core::phase::Phase;
use crate::core::snapshot::Snapshot;
use crate::telemetry::metrics::InstanceMeter;

/// Once a frame has so many bytes it takes no more events.
const FRAME_BYTES: usize = 8 * 1024;
/// What opens a stream: how long a client should wait before it comes back, in milliseconds.
const OPENING: &[u8] = b"retry: 1000\n\n";
/// A comment: nobody reads it, but both ends learn that the other is there.
const KEEPALIVE: &[u8] = b":\n\n";

/// GET /v1/notifications/stream
pub(super) async fn open(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Refusal> {
    let Query(pairs) = query.map_err(|error| Refusal::field("query", error.body_text()))?;
    // An id that is not UTF-8 is none of ours: then the stream begins with all that waits.
    let mut last =
        headers.get("last-event-id").and_then(|id| String::from_utf8(id.as_bytes().to_vec()).ok()).and_then(after);
    for (name, value) in pairs {
        match name.as_str() {
            "after" => last = last.or_else(|| after(value)),
            other => return Err(Refusal::field(other, "is not a parameter of this call; it takes after")),
        }
    }
    let reader = Reader {
        snapshots: api.handle().snapshots.clone(),
        closing: api.closing(),
        keepalive: api.limits().keepalive,
        meter: api.meter().cloned(),
        last,
        opened: false,
        told: None,
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Steps::of(reader))).into_response())
}

/// Where one reader is.
#[derive(Debug)]
struct Reader {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    closing: watch::Receiver<bool>,
    keepalive: Duration,
    meter: Option<Arc<InstanceMeter>>,
    /// The last one that it got, or says that it has.
    last: Option<String>,
    opened: bool,
    /// The last phase that it was told of.
    told: Option<Phase>,
}

impl Step for Reader {
    /// `None` when the instance or the server has ended.
    async fn step(mut self) -> Option<(Bytes, Self)> {
        if !self.opened {
            self.opened = true;
            return Some((Bytes::from_static(OPENING), self));
        }
        let deadline = clock::now() + self.keepalive;
        loop {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            if is_news(snapshot.phase) && self.told != Some(snapshot.phase) {
                self.told = Some(snapshot.phase);
                let phase = snapshot.phase.as_str();
                let event = format!("event: phase\ndata: {{\"phase\":\"{phase}\"}}\n\n");
                return Some((event.into(), self));
            }
            if *self.closing.borrow() {
                return None;
            }
            if let Some((events, last, count)) = frame(&snapshot.notifications.inbox, self.last.as_deref()) {
                let inbox = fresh(&snapshot.notifications.inbox, self.last.as_deref());
                given(self.meter.as_ref(), snapshot.instance.instance_id.as_ref(), inbox.take(count));
                self.last = Some(last);
                return Some((events.into(), self));
            }
            tokio::select! {
                biased;
                changed = self.snapshots.changed() => if changed.is_err() {
                    return None;
                },
                () = closed(&mut self.closing) => return None,
                () = clock::sleep_until(Some(deadline)) => return Some((Bytes::from_static(KEEPALIVE), self)),
            }
        }
    }
}

/// Whether a game wants to hear of it.
fn is_news(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Superseded | Phase::Ended => true,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving | Phase::Closing => false,
    }
}

/// The events behind `last`, as many as fit a frame, the id of the last of them, and how many they are.
pub(super) fn frame(inbox: &Inbox, last: Option<&str>) -> Option<(Vec<u8>, String, usize)> {
    let mut frame = Vec::new();
    let mut reached = None;
    let mut count = 0;
    for notification in fresh(inbox, last) {
        let id = notification.notification_id.as_str();
        frame.extend_from_slice(b"id: ");
        frame.extend_from_slice(id.as_bytes());
        frame.extend_from_slice(b"\ndata: ");
        write(&mut frame, notification).ok()?;
        frame.extend_from_slice(b"\n\n");
        reached = Some(id);
        count += 1;
        if frame.len() >= FRAME_BYTES {
            break;
        }
    }
    reached.map(|id| (frame, id.to_owned(), count))
}
