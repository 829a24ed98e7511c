//! What an instance shows of itself: a value, made after every step, read by status, metrics and the local API.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::action::Outcome;
use super::allocation::AllocationView;
use super::api::ApiView;
use super::auth::AuthView;
use super::call::CallKind;
use super::durable::SetAside;
use super::event::StoreFault;
use super::ids::{AllocationId, Etag, InstanceId, InstanceName, MatchId, NotificationId, ReportId, SessionId};
use super::instance::{Health, JoinParams, JoinStatus, Notification, Session};
use super::phase::Phase;
use super::process::{Figures, Players};
use super::sdk::SdkView;

/// The state of one instance at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its name in the configuration.
    pub name: InstanceName,
    /// Where in its life it is.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Instant,
    /// Whether the game has said that it is ready.
    pub ready: bool,
    /// The way in which it is allocated.
    pub allocation: AllocationView,
    /// The login of the process.
    pub auth: Arc<AuthView>,
    /// Calls that the backend does not let this client make (a permission is missing), and its error code.
    pub forbidden: BTreeMap<CallKind, Option<Box<str>>>,
    /// What the environment's API has.
    pub api: ApiView,
    /// Health.
    pub health: HealthView,
    /// The game's process and probes.
    pub game: GameView,
    /// What a game that speaks Agones is told.
    pub sdk: Arc<SdkView>,
    /// Notifications.
    pub notifications: NotificationsView,
    /// Reports and events.
    pub outbox: OutboxView,
    /// The store.
    pub store: StoreView,
    /// The session, once found.
    pub session: Option<SessionView>,
    /// The instance, as far as known.
    pub instance: InstanceView,
    /// The drain, once begun.
    pub drain: Option<DrainView>,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// Counters since the start.
    pub counters: Counters,
}

/// Health, seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthView {
    /// What we would post now.
    pub verdict: Health,
    /// Why.
    pub reason: Arc<str>,
    /// How often we post.
    pub cadence: Duration,
    /// When the last post left.
    pub last_sent: Option<Instant>,
    /// What it said.
    pub last_said: Option<Health>,
    /// What the backend last said, and when.
    pub last_answer: Option<(Health, Instant)>,
}

/// The game, seen from outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GameView {
    /// Its process id, while it runs and where we know it.
    pub pid: Option<u32>,
    /// How it ended, in words, once it has.
    pub ended: Option<Arc<str>>,
    /// Players, where a probe or the game has said.
    pub players: Option<Players>,
    /// What it uses of its host.
    pub figures: Figures,
    /// The probes, in the order of the configuration.
    pub probes: Vec<ProbeView>,
}

/// A probe, seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeView {
    /// Kind and target in words.
    pub name: String,
    /// What it found last; `None` before its first run.
    pub health: Option<Health>,
    /// In words.
    pub reason: Arc<str>,
}

/// Notifications, seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationsView {
    /// What the poll is doing.
    pub state: PollState,
    /// What waits for the game, oldest first.
    pub inbox: Arc<VecDeque<Arc<Notification>>>,
    /// The newest that was taken.
    pub cursor: Option<NotificationId>,
    /// Pushing them to the game.
    pub hand_off: HandOffView,
}

/// The push of notifications, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandOffView {
    /// What it is doing.
    pub state: HandOffState,
    /// Why the last try that failed did, in words; `None` once one has succeeded after it.
    pub last_failure: Option<Arc<str>>,
    /// Nobody would take these, oldest first; also those of earlier runs.
    pub set_aside: Arc<VecDeque<SetAside>>,
}

/// What the push is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HandOffState {
    /// There is none: the game asks the local API (`notifications.deliver` is "api"), or the instance is not hosted (any more).
    #[default]
    Off,
    /// Nothing waits.
    Idle,
    /// The taker has one, or has taken it just now.
    Pushing,
    /// The taker refused one; it is asked again soon.
    Retrying,
    /// The taker is not there; it is tried again for as long as that lasts.
    Absent,
}

impl HandOffState {
    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Pushing => "pushing",
            Self::Retrying => "retrying",
            Self::Absent => "absent",
        }
    }
}

/// What the long poll is doing (design.md section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PollState {
    /// Turned off, not begun, or over.
    Off,
    /// At work.
    Polling,
    /// Waiting after a failure.
    BackingOff,
    /// The inbox is full: waiting for the game.
    Paused,
    /// The backend has no such call.
    Unsupported,
}

impl PollState {
    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Polling => "polling",
            Self::BackingOff => "backing_off",
            Self::Paused => "paused",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Reports and events, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxView {
    /// Not delivered yet.
    pub waiting: usize,
    /// Never deliverable, kept.
    pub dead: usize,
    /// Some wait because the client may not send them.
    pub refused: bool,
    /// Why the oldest one waits, if it was tried and failed.
    pub last_failure: Option<String>,
    /// The oldest of those that wait and are on disk, at most [`super::outbox::LISTED`].
    pub oldest: Arc<Vec<OutboxEntry>>,
    /// All dead ones, oldest first.
    pub dead_letters: Arc<Vec<OutboxEntry>>,
}

/// A report, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its id.
    pub id: ReportId,
    /// "fubar", "event" or "duty".
    pub what: &'static str,
    /// The error, the event code, or which duty.
    pub label: String,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Why it is dead, if it is.
    pub reason: Option<String>,
}

/// The store, seen from the core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreView {
    /// What is wrong with it now, if anything.
    pub fault: Option<StoreFault>,
    /// How often a batch was refused.
    pub faults: u64,
    /// What was found in the state directory since the start, in words.
    pub findings: Arc<Vec<String>>,
}

impl StoreView {
    /// The word in status (design.md section 8).
    pub fn state(&self) -> &'static str {
        match self.fault {
            None => "ok",
            Some(StoreFault::Full) => "full",
            Some(StoreFault::ReadOnly) => "read_only",
            Some(StoreFault::Failed) => "failed",
        }
    }
}

/// The session as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// The document and what we read of it.
    pub session: Arc<Session>,
    /// Its version.
    pub etag: Option<Etag>,
    /// When it was last confirmed.
    pub seen: Instant,
}

/// The instance, seen from outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InstanceView {
    /// The session that it hosts, once known.
    pub session_id: Option<SessionId>,
    /// Ours, once known.
    pub instance_id: Option<InstanceId>,
    /// The fence, for an allocated one.
    pub allocation_id: Option<AllocationId>,
    /// What the backend last took from us.
    pub join_status: Option<JoinStatus>,
    /// How players connect.
    pub join_params: JoinParams,
    /// semver of the game build.
    pub version: Option<String>,
    /// The match that the game says it plays.
    pub match_id: Option<MatchId>,
}

/// A drain that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainView {
    /// In words.
    pub reason: String,
    /// When it stops waiting for the game.
    pub deadline: Instant,
}

/// Counters since the start of the process. They never go down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Health posts that left.
    pub health_sent: u64,
    /// Health posts that were answered.
    pub health_answered: u64,
    /// Answers whose health was not what we sent.
    pub health_disputed: u64,
    /// Health posts that failed.
    pub health_failed: u64,
    /// Notifications taken.
    pub notifications_received: u64,
    /// Notifications seen before and dropped.
    pub notifications_repeated: u64,
    /// Entries of a page that could not be used.
    pub notifications_unusable: u64,
    /// Notifications that the game acknowledged.
    pub notifications_acknowledged: u64,
    /// Tries to push a notification that the taker refused.
    pub notifications_refused: u64,
    /// Notifications that nobody would take.
    pub notifications_set_aside: u64,
    /// Reports and events accepted.
    pub reports_accepted: u64,
    /// Reports and events delivered.
    pub reports_sent: u64,
    /// Reports and events set aside for ever.
    pub reports_dead: u64,
    /// Reports and events refused at the door.
    pub reports_refused: u64,
    /// Calls that failed, of any kind.
    pub calls_failed: u64,
}
