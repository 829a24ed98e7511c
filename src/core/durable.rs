//! What an instance must remember: records, and the state that they add up to.
//!
//! The store writes records in order; [`Durable::apply`] is the one place that says what a record means, so that the
//! running agent and a restarted one agree.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::allocation::Allocation;
use super::api::Kept;
use super::call::SessionEvent;
use super::duty::{Duty, Listing};
use super::ids::{AllocationId, InstanceId, MatchId, NotificationId, ReportId, SessionId};
use super::instance::{CustomData, Notification};
use super::params::Target;
use super::sdk::{SdkChange, SdkState};

/// How many ids of notifications are remembered against repeats.
pub const SEEN_LIMIT: usize = 1000;
/// How long a caller's key stands for its report (design.md section 8).
pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How many keys are remembered at most; the oldest goes first.
pub const KEY_LIMIT: usize = 10_000;
/// How many dead reports are kept; the oldest goes first.
pub const DEAD_LIMIT: usize = 1000;

/// How many notifications that nobody would take are kept; the oldest goes first.
pub const SET_ASIDE_LIMIT: usize = 100;

/// One fact to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// Who we are: written before the first write to the backend. Without a session: nobody any more. The life before is over
    /// and forgotten, but for its reports, what was set aside, and how often the game has failed.
    Identity {
        /// The session, once found.
        session: Option<SessionId>,
        /// Ours; made once for a self-registered instance.
        instance: Option<InstanceId>,
        /// The allocation, for an allocated one.
        allocation: Option<AllocationId>,
    },
    /// The source of allocations gave this one: from here on its life.
    Given(Allocation),
    /// The source has said since the last life that there is no allocation: the same one would be a new one.
    Freed,
    /// The backend has us as its host.
    Attached,
    /// What the game said: the whole of it.
    Said(SaidState),
    /// What the game said in the words of Agones.
    Sdk(SdkChange),
    /// The backend's cadence.
    Cadence {
        /// In milliseconds.
        millis: u64,
    },
    /// A page of notifications and the cursor, in one.
    Page {
        /// The newest of the page.
        cursor: NotificationId,
        /// Those that are new.
        notifications: Vec<Arc<Notification>>,
    },
    /// The game is done with this one and everything older.
    Acked {
        /// The newest acknowledged.
        through: NotificationId,
    },
    /// Nobody would take this notification: it is kept aside, so that the next one is not kept waiting.
    SetAside {
        /// Which.
        id: NotificationId,
        /// What came back from the last try, in words.
        reason: String,
        /// How often it was tried.
        tries: u32,
    },
    /// A report or event was accepted.
    Accepted(Report),
    /// It was delivered.
    Sent {
        /// Which.
        report: ReportId,
    },
    /// It can never be delivered.
    Dead {
        /// Which.
        report: ReportId,
        /// Why.
        reason: String,
    },
    /// An operator put a dead report back: it waits again, behind all others.
    Revived {
        /// Which.
        report: ReportId,
    },
    /// An operator gave a dead report up: it is forgotten.
    Dropped {
        /// Which.
        report: ReportId,
    },
    /// The failures of the game in a row: the whole of it; nothing, once it has ended well.
    Failures {
        /// The row.
        failures: Option<Failures>,
    },
    /// A change of the session was noticed without the backend's notifications; `notification` tells the game of it. Without
    /// one: from here on changes are noticed.
    Noticed {
        /// Of the session as it is now ([`super::instance::Session::print`]).
        print: u64,
        /// For the game.
        #[serde(default)]
        notification: Option<Arc<Notification>>,
    },
    /// A part of the API is gone, for now ([`super::api`]).
    Gone {
        /// [`super::api::Feature::as_str`]
        feature: String,
        /// Since when and how long.
        kept: Kept,
    },
    /// It is there again.
    Back {
        /// [`super::api::Feature::as_str`]
        feature: String,
    },
    /// We closed the instance: after a restart only the outbox is flushed.
    Closed,
    /// Somebody else holds it. Final.
    Superseded,
}

/// What the game has said about itself so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidState {
    /// It said ready.
    pub ready: bool,
    /// It took joinable back, or gave it.
    pub joinable: Option<bool>,
    /// For players outside.
    pub public_conn_str: Option<String>,
    /// For players in the same network.
    pub private_conn_str: Option<String>,
    /// semver.
    pub version: Option<String>,
    /// Its custom_data.
    pub custom_data: Option<CustomData>,
    /// The match that is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_id: Option<MatchId>,
}

/// How far the session was followed without the backend's notifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// See [`Record::Noticed`].
    pub print: u64,
    /// How many changes were noticed.
    pub count: u64,
}

/// Failures of the game in a row. Kept from life to life: a game that crashes is started again elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// The word of the newest.
    pub error: String,
    /// How many.
    pub count: u32,
    /// When the newest was.
    pub last: Timestamp,
}

/// A report or event on its way to the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Ours.
    pub id: ReportId,
    /// The caller's key, if it gave one.
    pub key: Option<String>,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// What it says.
    pub content: Content,
}

/// What a report says. Ids of session and instance are filled in when it is sent: they may not be known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// The instance failed.
    Fubar {
        /// 1..128 characters.
        error: String,
        /// 1..128 characters; player, sic or multiplay.
        source_provider: Option<String>,
        /// 1..128 characters.
        matchmaking_profile_id: Option<String>,
        /// Ours, where the session names none.
        region: String,
    },
    /// Something happened.
    Event(SessionEvent),
    /// The host does one of its other duties.
    Duty(Duty),
}

impl Content {
    /// "fubar", "event" or "duty".
    pub fn what(&self) -> &'static str {
        match self {
            Self::Fubar { .. } => "fubar",
            Self::Event(_) => "event",
            Self::Duty(_) => "duty",
        }
    }

    /// The error, the event code, or which duty.
    pub fn label(&self) -> &str {
        match self {
            Self::Fubar { error, .. } => error,
            Self::Event(event) => &event.event_code,
            Self::Duty(duty) => duty.as_str(),
        }
    }
}

/// A report set aside for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadReport {
    /// The report.
    pub report: Report,
    /// Why.
    pub reason: String,
}

/// A notification that nobody would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The notification.
    pub notification: Arc<Notification>,
    /// What came back from the last try, in words.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
}

/// A caller's key and the report that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub key: String,
    /// Its report.
    pub report: ReportId,
    /// When it was accepted.
    pub accepted: Timestamp,
}

/// All that an instance remembers: the sum of its records, and the content of a snapshot in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Durable {
    /// See [`Record::Identity`].
    pub session: Option<SessionId>,
    /// See [`Record::Identity`].
    pub instance: Option<InstanceId>,
    /// See [`Record::Identity`].
    pub allocation: Option<AllocationId>,
    /// See [`Record::Given`].
    pub given: Option<Allocation>,
    /// The one of the life before, until [`Record::Freed`]: a source that still names it gives nothing new.
    pub spent: Option<Allocation>,
    /// See [`Record::Attached`].
    pub attached: bool,
    /// See [`Record::Said`].
    pub said: SaidState,
    /// See [`Record::Sdk`].
    pub sdk: SdkState,
    /// See [`Record::Cadence`].
    pub cadence_millis: Option<u64>,
    /// The newest notification taken.
    pub cursor: Option<NotificationId>,
    /// Ids lately seen, oldest first; at most [`SEEN_LIMIT`].
    pub seen: VecDeque<NotificationId>,
    /// Waiting for the game, oldest first.
    pub inbox: VecDeque<Arc<Notification>>,
    /// Nobody would take them, oldest first; at most [`SET_ASIDE_LIMIT`].
    pub set_aside: VecDeque<SetAside>,
    /// Waiting for the backend, in order of acceptance.
    pub outbox: VecDeque<Report>,
    /// Set aside for ever; at most [`DEAD_LIMIT`].
    pub dead: VecDeque<DeadReport>,
    /// Callers' keys, oldest first; at most [`KEY_LIMIT`].
    pub keys: VecDeque<Key>,
    /// See [`Record::Noticed`].
    pub noticed: Option<Noticed>,
    /// See [`Record::Gone`]; by [`super::api::Feature::as_str`].
    pub gone: BTreeMap<String, Kept>,
    /// See [`Record::Failures`].
    pub failures: Option<Failures>,
    /// What the public browser is to show of our session, by the last duty that was accepted; `None` if it is not listed.
    pub listing: Option<Listing>,
    /// See [`Record::Closed`].
    pub closed: bool,
    /// See [`Record::Superseded`].
    pub superseded: bool,
}

impl Durable {
    /// Adds one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Identity { session, instance, allocation } => {
                let nobody = session.is_none() && allocation.is_none() && self.given.is_some();
                if session.is_none() && (self.is_somebody() || nobody) {
                    *self = Self {
                        spent: self.given.take().or_else(|| self.spent.take()),
                        cadence_millis: self.cadence_millis,
                        outbox: std::mem::take(&mut self.outbox),
                        dead: std::mem::take(&mut self.dead),
                        set_aside: std::mem::take(&mut self.set_aside),
                        keys: std::mem::take(&mut self.keys),
                        failures: self.failures.take(),
                        ..Self::default()
                    };
                }
                self.session.clone_from(session);
                self.instance.clone_from(instance);
                self.allocation.clone_from(allocation);
            }
            Record::Given(allocation) => self.given = Some(allocation.clone()),
            Record::Freed => self.spent = None,
            Record::Attached => self.attached = true,
            Record::Said(said) => self.said = said.clone(),
            Record::Sdk(change) => {
                self.sdk.apply(change);
                self.said.ready |= *change == SdkChange::Allocated;
            }
            Record::Cadence { millis } => self.cadence_millis = Some(*millis),
            Record::Page { cursor, notifications } => {
                self.cursor = Some(cursor.clone());
                for notification in notifications {
                    // A page that the disk refused may come again after a crash: its ids are not taken twice.
                    if self.seen.contains(&notification.notification_id) {
                        continue;
                    }
                    self.seen.push_back(notification.notification_id.clone());
                    self.inbox.push_back(Arc::clone(notification));
                }
                trim(&mut self.seen, SEEN_LIMIT);
            }
            Record::Noticed { print, notification } => {
                let count = self.noticed.map_or(0, |noticed| noticed.count) + u64::from(notification.is_some());
                self.noticed = Some(Noticed { print: *print, count });
                if let Some(notification) = notification
                    && !self.seen.contains(&notification.notification_id)
                {
                    self.seen.push_back(notification.notification_id.clone());
                    self.inbox.push_back(Arc::clone(notification));
                    trim(&mut self.seen, SEEN_LIMIT);
                }
            }
            Record::Gone { feature, kept } => {
                self.gone.insert(feature.clone(), kept.clone());
            }
            Record::Back { feature } => {
                self.gone.remove(feature);
            }
            Record::Acked { through } => {
                if let Some(last) = self.inbox.iter().position(|n| n.notification_id == *through) {
                    self.inbox.drain(..=last);
                }
            }
            Record::SetAside { id, reason, tries } => {
                if let Some(at) = self.inbox.iter().position(|n| n.notification_id == *id)
                    && let Some(notification) = self.inbox.remove(at)
                {
                    self.set_aside.push_back(SetAside { notification, reason: reason.clone(), tries: *tries });
                    trim(&mut self.set_aside, SET_ASIDE_LIMIT);
                }
            }
            Record::Accepted(report) => {
                if let Some(key) = &report.key {
                    self.keys.push_back(Key { key: key.clone(), report: report.id.clone(), accepted: report.accepted });
                    self.forget_keys(report.accepted);
                }
                self.queue(report.clone());
            }
            Record::Sent { report } => self.outbox.retain(|waiting| waiting.id != *report),
            Record::Dead { report, reason } => {
                if let Some(at) = self.outbox.iter().position(|waiting| waiting.id == *report)
                    && let Some(report) = self.outbox.remove(at)
                {
                    self.dead.push_back(DeadReport { report, reason: reason.clone() });
                    trim(&mut self.dead, DEAD_LIMIT);
                }
            }
            Record::Revived { report } => {
                if let Some(at) = self.dead.iter().position(|dead| dead.report.id == *report)
                    && let Some(dead) = self.dead.remove(at)
                {
                    self.queue(dead.report);
                }
            }
            Record::Dropped { report } => self.dead.retain(|dead| dead.report.id != *report),
            Record::Failures { failures } => self.failures.clone_from(failures),
            Record::Closed => self.closed = true,
            Record::Superseded => self.superseded = true,
        }
    }

    /// Puts a report behind all others. What the browser is to show is what the last one in the row says.
    fn queue(&mut self, report: Report) {
        if let Content::Duty(duty) = &report.content
            && let Some(listed) = duty.listed()
        {
            self.listing = listed.cloned();
        }
        self.outbox.push_back(report);
    }

    /// Whether it is the memory of an instance, and not only of a start.
    pub(super) fn is_somebody(&self) -> bool {
        self.session.is_some() || self.allocation.is_some()
    }

    /// Whether a start for this target, and this instance id if one is configured, takes up what is remembered here. With
    /// another session, allocation or id it is another life, and what is left of this one must not be replayed into it.
    pub fn is_of(&self, target: &Target, instance: Option<&InstanceId>) -> bool {
        let same_session = match target {
            Target::Session { session, .. } => self.session.as_ref() == Some(session),
            Target::Allocation(_) => true,
            Target::Awaited => self.given.is_some(),
        };
        let same_allocation = target.allocation().is_none_or(|wanted| self.allocation.as_ref() == Some(wanted));
        let same_instance = instance.is_none() || self.instance.is_none() || self.instance.as_ref() == instance;
        !self.is_somebody() || (same_session && same_allocation && same_instance)
    }

    /// Drops the keys that are older than a day, and the oldest beyond the limit.
    pub fn forget_keys(&mut self, now: Timestamp) {
        let lifetime = jiff::SignedDuration::try_from(KEY_LIFETIME).unwrap_or(jiff::SignedDuration::MAX);
        while self.keys.front().is_some_and(|key| now.duration_since(key.accepted) > lifetime) {
            self.keys.pop_front();
        }
        trim(&mut self.keys, KEY_LIMIT);
    }
}

fn trim<T>(queue: &mut VecDeque<T>, limit: usize) {
    while queue.len() > limit {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests;
