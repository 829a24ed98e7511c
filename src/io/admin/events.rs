//! GET /events: what the status page shows, as Server-Sent Events, and the tasks that remember the near past for it.
//!
//! Each event is one line of JSON: `{"version", "now", "instances": [...]}`, an instance being what `GET /status` has of it and
//! its `history`. The first event comes at once, the next ones when something has changed, at most every 250 ms. A silent
//! stream sends a comment now and then.
//!
//! An event is made once for all readers and is the whole truth, so a slow reader misses what lies between and costs nobody
//! anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::history::{self, History};
use super::{Member, Roster};
use crate::clock;
use crate::core::ids::InstanceName;
use crate::core::snapshot::Snapshot;
use crate::io::local::server::closed;
use crate::io::local::status::Status;
use crate::io::local::steps::{Step, Steps};
use crate::ports::boxed;

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
    instances: BTreeMap<InstanceName, Seen>,
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
    /// A board, and what keeps it up to date: it looks when a snapshot changes, or an instance comes or goes, and never ends.
    pub(super) fn start(mut roster: Roster) -> (Self, impl Future<Output = ()>) {
        let (board, all) = watch::channel(All { revision: 0, instances: BTreeMap::new() });
        let (board, mut watchers) = (Arc::new(board), JoinSet::new());
        let mut watched = BTreeMap::new();
        follow(&board, &roster.borrow_and_update().clone(), &mut watched, &mut watchers);
        let following = async move {
            while roster.changed().await.is_ok() {
                let members = Arc::clone(&roster.borrow_and_update());
                follow(&board, &members, &mut watched, &mut watchers);
                while watchers.try_join_next().is_some() {}
            }
            std::future::pending().await
        };
        (Self { all, event: Arc::default() }, following)
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

/// Brings the board to the roster. Whoever stays keeps its near past.
fn follow(
    board: &Arc<watch::Sender<All>>,
    members: &[Member],
    watched: &mut BTreeMap<InstanceName, (watch::Receiver<Arc<Snapshot>>, AbortHandle)>,
    watchers: &mut JoinSet<()>,
) {
    let mut left = std::mem::take(watched);
    for Member { handle, taker, .. } in members {
        let name = handle.name.clone();
        match left.remove(&name) {
            Some(same) if same.0.same_channel(&handle.snapshots) => {
                watched.insert(name, same);
            }
            other => {
                if let Some((_, task)) = other {
                    task.abort();
                }
                let (snapshot, mut history) = (handle.snapshot(), History::default());
                history.observe(&snapshot, taker, clock::now());
                board.send_modify(|all| {
                    all.revision += 1;
                    all.instances.insert(name.clone(), Seen { snapshot, history });
                });
                let keeping = keep(Arc::clone(board), name.clone(), handle.snapshots.clone(), taker);
                watched.insert(name, (handle.snapshots.clone(), watchers.spawn(boxed(keeping))));
            }
        }
    }
    for (name, (_, task)) in left {
        task.abort();
        board.send_modify(|all| {
            all.revision += 1;
            all.instances.remove(&name);
        });
    }
}

async fn keep(
    board: Arc<watch::Sender<All>>,
    name: InstanceName,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    taker: &'static str,
) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        board.send_if_modified(|all| {
            let Some(seen) = all.instances.get_mut(&name).filter(|seen| !Arc::ptr_eq(&seen.snapshot, &snapshot)) else {
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

fn write(instances: &BTreeMap<InstanceName, Seen>) -> Bytes {
    let instances = instances.values().map(|seen| Shown {
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
