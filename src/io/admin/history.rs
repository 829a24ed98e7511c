//! What the status page shows beside the present: the last health posts, notifications, changes of phase and dead reports of
//! one instance.
//!
//! A fold over snapshots, bounded, and only as good as they are: what came and went between two looks at an instance is not in
//! it. It begins with the process. The agent works nothing out from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::core::ids::NotificationId;
use crate::core::instance::{Health, Notification};
use crate::core::phase::Phase;
use crate::core::snapshot::{Counters, HandOffState, OutboxEntry, Snapshot};

/// How many health posts are kept.
const POSTS: usize = 60;
/// How many notifications are kept.
const NOTIFICATIONS: usize = 20;
/// How many phases are kept.
const PHASES: usize = 20;
/// How many dead reports are shown.
const DEAD: usize = 10;
/// How many characters of a text of somebody else are kept.
const TEXT: usize = 200;

/// The near past of one instance.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    posts: VecDeque<Post>,
    notifications: VecDeque<Delivery>,
    phases: VecDeque<(Phase, Instant)>,
    dead: Arc<Vec<OutboxEntry>>,
    /// Where the last snapshot stood.
    counters: Counters,
    inbox: Option<Arc<VecDeque<Arc<Notification>>>>,
    /// Notifications that were seen to go to the game.
    taken: u64,
}

/// A health post.
#[derive(Debug, Clone, PartialEq)]
struct Post {
    at: Instant,
    sent: Health,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// No answer yet, or never: it was taken back.
    Open,
    Answered(Health),
    Failed,
}

/// A notification that came.
#[derive(Debug, Clone, PartialEq)]
struct Delivery {
    id: NotificationId,
    message: String,
    at: Instant,
    /// When it left the inbox, and by whom.
    taken: Option<(Instant, &'static str)>,
}

impl History {
    /// Takes in the next snapshot, seen at `now`. `taker` is the word for who is pushed the notifications.
    pub(super) fn observe(&mut self, snapshot: &Snapshot, taker: &'static str, now: Instant) {
        self.observe_phase(snapshot);
        self.observe_posts(snapshot);
        self.observe_notifications(snapshot, taker, now);
        self.dead = Arc::clone(&snapshot.outbox.dead_letters);
        self.counters = snapshot.counters.clone();
    }

    fn observe_phase(&mut self, snapshot: &Snapshot) {
        let phase = (snapshot.phase, snapshot.phase_since);
        if self.phases.back() != Some(&phase) {
            push(&mut self.phases, phase, PHASES);
        }
    }

    /// There is at most one post on its way: an answer or a failure belongs to the newest one that left before it.
    fn observe_posts(&mut self, snapshot: &Snapshot) {
        let (health, counters) = (&snapshot.health, &snapshot.counters);
        let mut failed = counters.health_failed > self.counters.health_failed;
        if failed && let Some(post) = self.open_post() {
            post.fate = Fate::Failed;
            failed = false;
        }
        let newest = self.posts.back().map(|post| post.at);
        let earlier = match (counters.health_answered > self.counters.health_answered, health.last_answer) {
            (true, answer) => answer,
            (false, _) => None,
        };
        // The answer to the post that we know of comes before the post that we do not know of yet.
        if let Some((answered, at)) = earlier
            && newest.is_some_and(|newest| newest < at)
            && health.last_sent.is_none_or(|sent| Some(sent) == newest || at <= sent)
            && let Some(post) = self.open_post()
        {
            post.fate = Fate::Answered(answered);
        }
        if let (Some(at), Some(sent)) = (health.last_sent, health.last_said)
            && newest != Some(at)
        {
            let fate = match health.last_answer {
                Some((answered, answer)) if answer > at => Fate::Answered(answered),
                _ if failed => Fate::Failed,
                _ => Fate::Open,
            };
            push(&mut self.posts, Post { at, sent, fate }, POSTS);
        }
    }

    fn open_post(&mut self) -> Option<&mut Post> {
        self.posts.back_mut().filter(|post| post.fate == Fate::Open)
    }

    fn observe_notifications(&mut self, snapshot: &Snapshot, taker: &'static str, now: Instant) {
        let inbox = &snapshot.notifications.inbox;
        if self.inbox.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, inbox)) {
            return;
        }
        let hand_off = &snapshot.notifications.hand_off;
        let taker = if hand_off.state == HandOffState::Off { "api" } else { taker };
        for delivery in self.notifications.iter_mut().filter(|delivery| delivery.taken.is_none()) {
            if inbox.iter().any(|waiting| waiting.notification_id == delivery.id) {
                continue;
            }
            let set_aside = hand_off.set_aside.iter().any(|aside| aside.notification.notification_id == delivery.id);
            let by = if set_aside {
                "set aside"
            } else if self.taken < snapshot.counters.notifications_acknowledged {
                self.taken += 1;
                taker
            } else {
                // The instance that it was for is over.
                "nobody"
            };
            delivery.taken = Some((now, by));
        }
        // A long inbox keeps its newest in sight.
        for waiting in inbox.iter().skip(inbox.len().saturating_sub(NOTIFICATIONS)) {
            if !self.notifications.iter().any(|known| known.id == waiting.notification_id) {
                let (id, message) = (waiting.notification_id.clone(), cut(&waiting.message));
                push(&mut self.notifications, Delivery { id, message, at: now, taken: None }, NOTIFICATIONS);
            }
        }
        self.inbox = Some(Arc::clone(inbox));
    }

    /// The history as the page reads it, all oldest first; `wall` gives a moment its time of day.
    pub(super) fn show(&self, wall: impl Fn(Instant) -> Timestamp) -> Shown {
        let post = |post: &Post| {
            let (answered, failed) = match post.fate {
                Fate::Open => (None, false),
                Fate::Answered(answered) => (Some(answered.as_str()), false),
                Fate::Failed => (None, true),
            };
            ShownPost { at: wall(post.at), sent: post.sent.as_str(), answered, failed }
        };
        let delivery = |delivery: &Delivery| ShownNotification {
            id: cut(delivery.id.as_str()),
            message: delivery.message.clone(),
            at: wall(delivery.at),
            taken: delivery.taken.map(|(at, _)| wall(at)),
            by: delivery.taken.map(|(_, by)| by),
        };
        let dead = |dead: &OutboxEntry| ShownDead {
            at: dead.accepted,
            what: dead.what,
            label: cut(&dead.label),
            why: cut(dead.reason.as_deref().unwrap_or_default()),
        };
        Shown {
            health: self.posts.iter().map(post).collect(),
            notifications: self.notifications.iter().map(delivery).collect(),
            phases: self.phases.iter().map(|(phase, at)| ShownPhase { at: wall(*at), phase: phase.as_str() }).collect(),
            dead: self.dead.iter().rev().take(DEAD).rev().map(dead).collect(),
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, limit: usize) {
    while queue.len() >= limit {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `history`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Shown {
    health: Vec<ShownPost>,
    notifications: Vec<ShownNotification>,
    phases: Vec<ShownPhase>,
    dead: Vec<ShownDead>,
}

/// One of `history.health`: `answered` and `failed` are absent and false while there is no answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ShownPost {
    at: Timestamp,
    sent: &'static str,
    answered: Option<&'static str>,
    failed: bool,
}

/// One of `history.notifications`; `by`: api, exec, webhook, log, "set aside" or "nobody".
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ShownNotification {
    id: String,
    message: String,
    at: Timestamp,
    taken: Option<Timestamp>,
    by: Option<&'static str>,
}

/// One of `history.phases`
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ShownPhase {
    at: Timestamp,
    phase: &'static str,
}

/// One of `history.dead`
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ShownDead {
    at: Timestamp,
    what: &'static str,
    label: String,
    why: String,
}

#[cfg(test)]
mod tests;
