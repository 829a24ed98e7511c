//! What happened, from three sides, in one order: the backend, the agent, the game.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::broadcast;
use tokio::sync::watch;

use std::sync::Arc;

use crate::clock;
use crate::core::Snapshot;
use crate::ports::InstanceHandle;
use crate::simulator::{Happening, What};

/// One line of the story.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Who speaks.
    pub(super) who: &'static str,
    /// What.
    pub(super) words: String,
    /// What a script may wait for.
    pub(super) sign: Option<Sign>,
}

/// What a script may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The backend shows the instance as joinable.
    Joinable,
    /// The backend has accepted a health post.
    Health,
    /// The game has acknowledged a notification.
    Acknowledged,
    /// The backend has a fubar report.
    Fubar,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Timeline {
    began: Instant,
    happenings: broadcast::Receiver<Happening>,
    snapshots: Option<watch::Receiver<Arc<Snapshot>>>,
    seen: Option<Arc<Snapshot>>,
    game: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    /// Lines that are ready; one snapshot may be several.
    ready: std::collections::VecDeque<Line>,
    healthy: u32,
}

impl Timeline {
    pub(super) fn new(happenings: broadcast::Receiver<Happening>) -> Self {
        Self {
            began: clock::now(),
            happenings,
            snapshots: None,
            seen: None,
            game: None,
            ready: std::collections::VecDeque::new(),
            healthy: 0,
        }
    }

    pub(super) fn age(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    pub(super) fn follow(&mut self, handle: Option<&InstanceHandle>) {
        self.snapshots = handle.map(|handle| handle.snapshots.clone());
    }

    pub(super) fn listen_to(&mut self, mut game: Child) {
        if let Some(out) = game.stdout.take() {
            self.game = Some((game, BufReader::new(out).lines()));
        }
    }

    /// The next line. Every future in here may be dropped: `recv`, `changed` and `next_line` lose nothing.
    pub(super) async fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return line;
            }
            let game: Pin<Box<dyn Future<Output = _> + Send>> = match &mut self.game {
                Some((_, lines)) => Box::pin(lines.next_line()),
                None => Box::pin(std::future::pending()),
            };
            tokio::select! {
                biased;
                happening = self.happenings.recv() => {
                    if let Ok(happening) = happening {
                        self.ready.extend(backend(&happening.what, &mut self.healthy));
                    }
                }
                snapshot = changed(&mut self.snapshots) => {
                    let lines = agent(self.seen.as_deref(), &snapshot);
                    self.seen = Some(snapshot);
                    self.ready.extend(lines);
                }
                words = game => match words {
                    Ok(Some(words)) => self.ready.push_back(plain("game", words)),
                    // It has ended; what it had to say is said.
                    Ok(None) | Err(_) => self.game = None,
                },
            }
        }
    }
}

async fn changed(snapshots: &mut Option<watch::Receiver<Arc<Snapshot>>>) -> Arc<Snapshot> {
    if let Some(receiver) = snapshots
        && receiver.changed().await.is_ok()
    {
        return Arc::clone(&receiver.borrow_and_update());
    }
    std::future::pending().await
}

fn plain(who: &'static str, words: String) -> Line {
    Line { who, words, sign: None }
}

fn sign(who: &'static str, words: String, sign: Sign) -> Line {
    Line { who, words, sign: Some(sign) }
}

/// The backend's side. Health comes every second: the first few are told, then only changes.
fn backend(what: &What, healthy: &mut u32) -> Option<Line> {
    let who = "backend";
    Some(match what {
        What::Login { client, accepted: true } => plain(who, format!("{client} logged in")),
        What::Login { client, accepted: false } => plain(who, format!("{client} was refused")),
        What::Registered { session_id, instance_id } => {
            plain(who, format!("session {session_id} has a host now: instance {}", short(instance_id)))
        }
        What::Updated { join_status, .. } if join_status == "joinable" => {
            sign(who, "the instance is joinable: players may come".to_owned(), Sign::Joinable)
        }
        What::Updated { join_status, .. } => plain(who, format!("the instance is {join_status}")),
        What::Unregistered { session_id, .. } => plain(who, format!("session {session_id} has no host any more")),
        What::Health { sent, answered, .. } => {
            *healthy += 1;
            let words = format!("health post {healthy}: {sent}, answered {answered}");
            sign(who, words, Sign::Health)
        }
        What::Fubar { error, .. } => sign(who, format!("fubar report: {error}"), Sign::Fubar),
        What::Audit { event_name, .. } if event_name == "instance_fubar" => {
            sign(who, "fubar report, as an audit event".to_owned(), Sign::Fubar)
        }
        What::Changed { session_id } => plain(who, format!("session {session_id} has changed")),
        What::Audit { event_name, .. } => plain(who, format!("audit event: {event_name}")),
        What::Event { event_code, .. } if event_code == "instance_fubar" => {
            sign(who, "fubar report, as a session event".to_owned(), Sign::Fubar)
        }
        What::Event { event_code, .. } => plain(who, format!("session event: {event_code}")),
        What::Published { message, .. } => plain(who, format!("published the notification \"{message}\"")),
        What::Fault { call, fault } => plain(who, format!("injected {fault} into {call}")),
        What::TokensExpired => plain(who, "all tokens have expired".to_owned()),
        What::Replaced { .. } | What::Resolved { .. } | What::Polled { .. } => return None,
    })
}

/// The agent's side: what changed between two snapshots.
fn agent(before: Option<&Snapshot>, now: &Snapshot) -> Vec<Line> {
    let who = "agent";
    let mut lines = Vec::new();
    if before.is_none_or(|before| before.phase != now.phase) {
        lines.push(plain(who, format!("phase {}", now.phase.as_str())));
    }
    let count = |view: &Snapshot| (view.counters.notifications_received, view.counters.notifications_acknowledged);
    let (received, acknowledged) = before.map_or((0, 0), count);
    let (received_now, acknowledged_now) = count(now);
    if received_now > received {
        lines.push(plain(who, "handed it to the game, after writing it to disk".to_owned()));
    }
    if acknowledged_now > acknowledged {
        lines.push(sign(who, "the game has acknowledged it".to_owned(), Sign::Acknowledged));
    }
    lines
}

/// The beginning of a UUID is enough for a story.
fn short(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}
