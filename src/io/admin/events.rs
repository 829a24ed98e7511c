//! GET /events: what the status page shows, as Server-Sent Events, and the tasks that remember the near past for it.
//!
//! Each event is one line of JSON: `{"version", "now", "instances": [...]}`, an instance being what `GET /status` has of it and
//! its `history`. The first event comes at once, the next ones when something has changed, at most every 250 ms. A silent
//! stream sends a comment now and then.
//!
//! An event is made once for all readers and is the whole truth, so a slow reader misses what lies between and costs nobody
//! anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Takers;
use super::history::{self, History};
use crate::clock;
use crate::core::snapshot::Snapshot;
use crate::io::local::server::closed;
use crate::io::local::status::Status;
use crate::io::local::steps::{Step, Steps};
use crate::ports::InstanceHandle;

/// How far events are apart at least.
const GAP: Duration = Duration::from_millis(250);
/// How long a browser should wait before it comes back, in milliseconds.
const OPENING: &[u8] = b"retry: 1000\n\n";
/// A comment: nobody reads it, but both ends learn that the other is there.
const KEEPALIVE: &[u8] = b":\n\n";

/// All instances, present and near past. Cloned, it is the same.
#[derive(Debug, Clone)]
pub(super) struct Board {
    all: watch::Receiver<All>,
    /// The newest event.
    event: Arc<Mutex<Option<Made>>>,
}

/// What is on the board.
#[derive(Debug)]
struct All {
    /// Counts the changes.
    revision: u64,
    instances: Vec<Seen>,
}

/// An event, ready to be sent.
#[derive(Debug, Clone)]
struct Made {
    at: Instant,
    revision: u64,
    bytes: Bytes,
}

/// One instance.
#[derive(Debug)]
struct Seen {
    snapshot: Arc<Snapshot>,
    history: History,
}

impl Board {
    /// A board, and the tasks that keep it up to date: they wake when a snapshot changes, and end with their instance.
    pub(super) fn start(handles: &[InstanceHandle], takers: &Takers) -> (Self, JoinSet<()>) {
        let first = handles.iter().map(|handle| {
            let (snapshot, mut history) = (handle.snapshot(), History::default());
            history.observe(&snapshot, takers.of(&handle.name), clock::now());
            Seen { snapshot, history }
        });
        let (board, all) = watch::channel(All { revision: 0, instances: first.collect() });
        let board = Arc::new(board);
        let mut watchers = JoinSet::new();
        for (at, handle) in handles.iter().enumerate() {
            watchers.spawn(keep(Arc::clone(&board), at, handle.snapshots.clone(), takers.of(&handle.name)));
        }
        (Self { all, event: Arc::default() }, watchers)
    }

    /// The newest event: one that was made less than [`GAP`] ago, or a new one. If it lacks a change, [`Self::changed`] knows.
    fn event(&mut self) -> Made {
        let now = clock::now();
        // Only ever replaced as a whole.
        let mut event = self.event.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.all.borrow_and_update();
        if let Some(made) = event.as_ref().filter(|made| now.saturating_duration_since(made.at) < GAP).cloned() {
            let lacks = made.revision != all.revision;
            drop(all);
            if lacks {
                self.all.mark_changed();
            }
            return made;
        }
        let made = Made { at: now, revision: all.revision, bytes: write(&all.instances) };
        *event = Some(made.clone());
        made
    }

    /// Waits for a change that was in no event yet. Once all instances are over there is none any more.
    async fn changed(&mut self) {
        if self.all.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn keep(
    board: Arc<watch::Sender<All>>,
    at: usize,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    taker: &'static str,
) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        board.send_if_modified(|all| {
            let Some(seen) = all.instances.get_mut(at).filter(|seen| !Arc::ptr_eq(&seen.snapshot, &snapshot)) else {
                return false;
            };
            seen.history.observe(&snapshot, taker, clock::now());
            seen.snapshot = snapshot;
            all.revision += 1;
            true
        });
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Serialize)]
struct Event {
    version: &'static str,
    now: Timestamp,
    instances: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    history: history::Shown,
}

fn write(instances: &[Seen]) -> Bytes {
    let instances = instances.iter().map(|seen| Shown {
        status: Status::of(&seen.snapshot),
        history: seen.history.show(|at| rough(clock::wall_of(at))),
    });
    let event = Event { version: env!("CARGO_PKG_VERSION"), now: rough(clock::wall()), instances: instances.collect() };
    // JSON has no line breaks of its own.
    match serde_json::to_string(&event) {
        Ok(json) => format!("data: {json}\n\n").into(),
        Err(error) => {
            tracing::error!(%error, "the status page could not be written: please report this");
            Bytes::from_static(KEEPALIVE)
        }
    }
}

/// To the millisecond.
fn rough(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// GET /events
pub(super) fn open(board: &Board, closing: watch::Receiver<bool>, keepalive: Duration) -> Response {
    let reader = Reader { board: board.clone(), closing, keepalive, made: None, opened: false };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::new(Steps::of(reader))).into_response()
}

/// Where one reader is.
#[derive(Debug)]
struct Reader {
    board: Board,
    closing: watch::Receiver<bool>,
    keepalive: Duration,
    /// When its last event was made; `None` before the first.
    made: Option<Instant>,
    opened: bool,
}

impl Step for Reader {
    /// `None` when the server has ended.
    async fn step(mut self) -> Option<(Bytes, Self)> {
        if !self.opened {
            self.opened = true;
            return Some((Bytes::from_static(OPENING), self));
        }
        if let Some(made) = self.made {
            let quiet = clock::now() + self.keepalive;
            tokio::select! {
                biased;
                () = closed(&mut self.closing) => return None,
                () = self.board.changed() => {}
                () = clock::sleep_until(Some(quiet)) => return Some((Bytes::from_static(KEEPALIVE), self)),
            }
            tokio::select! {
                biased;
                () = closed(&mut self.closing) => return None,
                () = clock::sleep_until(Some(made + GAP)) => {}
            }
        }
        let event = self.board.event();
        self.made = Some(event.at);
        Some((event.bytes, self))
    }
}
