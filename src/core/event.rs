//! What can happen to an instance: the inputs of its core.

use std::sync::Arc;

use jiff::Timestamp;

use super::allocation::{Allocation, Word};
use super::auth::AuthView;
use super::call::{Answer, Failure};
use super::duty::Duty;
use super::ids::{CallId, MatchId, NotificationId, ReportId, RequestId, Ticket};
use super::instance::{CustomData, Health};
use super::process::{GameEvent, Untaken};

/// One input of [`super::Machine::handle_event`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A call came back.
    Answered {
        /// Which.
        id: CallId,
        /// How.
        result: Result<Answer, Failure>,
    },
    /// The state of the login changed.
    Auth(Arc<AuthView>),
    /// The store has finished with a batch.
    Stored {
        /// Which.
        ticket: Ticket,
        /// Whether it is on disk.
        result: Result<(), StoreFault>,
    },
    /// Somebody asks something through the local API.
    Request {
        /// Who waits for the reply.
        id: RequestId,
        /// What is asked.
        request: Request,
        /// The wall clock when it was accepted.
        wall: Timestamp,
    },
    /// The agent's owner says something.
    Command(Command),
    /// Something is known of the game: its process or a probe.
    Game(GameEvent),
    /// A notification was pushed to the game; closes one `Action::HandOver`.
    HandedOver {
        /// Which.
        id: NotificationId,
        /// Whether it took it; else why not.
        result: Result<(), Untaken>,
    },
}

/// Why a batch is not on disk. Nothing of it may be called durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreFault {
    /// No space, or our own bound is reached.
    #[error("the state directory is full")]
    Full,
    /// The file system cannot be written.
    #[error("the state directory is read-only")]
    ReadOnly,
    /// The disk gave an error.
    #[error("the state directory failed")]
    Failed,
}

/// From the owner of the process: signals and process-wide drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// No new players, wait for the game, close, end.
    Drain {
        /// In words, for logs and status.
        reason: String,
    },
    /// Secrets or configuration were read again: what was refused may be tried at once.
    Reloaded,
    /// The store has failed, is well again by itself, or has found something in its directory.
    Store {
        /// What is wrong now.
        fault: Option<StoreFault>,
        /// What was found, in words: damaged files that were kept aside, and the like.
        findings: Arc<Vec<String>>,
    },
}

/// A request of the local API that changes something. Reading is answered from the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// POST /v1/ready
    Ready(Said),
    /// POST /v1/health
    Health {
        /// The game's own verdict; never `Unknown`.
        status: Health,
        /// In its own words, at most 256 characters.
        reason: Option<String>,
    },
    /// A sign of life that says nothing about how well the game is: what it said of that by POST /v1/health stays.
    Heartbeat,
    /// A source of allocations on this host says something.
    Source(Word),
    /// POST /v1/allocate: a fleet manager allocates this server.
    Give(Allocation),
    /// DELETE /v1/allocate: it takes the allocation back.
    TakeBack,
    /// Agones: the game is in use, and so is ready.
    Allocate,
    /// Agones: the game keeps itself for somebody.
    Reserve {
        /// For how long; 0: until it says otherwise.
        seconds: u64,
    },
    /// Agones: a label of the game.
    Label {
        /// Without any prefix.
        key: String,
        /// At most 63 characters.
        value: String,
    },
    /// Agones: an annotation of the game.
    Annotation {
        /// Without any prefix.
        key: String,
        /// At most 4096 characters.
        value: String,
    },
    /// PATCH /v1/instance
    Instance(Said),
    /// POST /v1/fubar
    Fubar {
        /// 1..128 characters, already cut.
        error: String,
        /// The caller's key: the same key is the same report for a day. 1..128 characters.
        key: Option<String>,
    },
    /// POST /v1/events
    Event {
        /// 1..256 characters.
        event_code: String,
        /// 0..4096 characters.
        description: Option<String>,
        /// Values of 1..4096 characters.
        custom_data: CustomData,
    },
    /// POST, PATCH and DELETE of /v1/match and /v1/browser, PATCH /v1/session, DELETE /v1/players/{uuid}
    Duty {
        /// What is to be done.
        duty: Duty,
        /// As of a fubar.
        key: Option<String>,
    },
    /// POST /v1/outbox/retry: a dead report waits again, behind all others.
    RetryDead(ReportId),
    /// POST /v1/outbox/drop: a dead report is forgotten.
    DropDead(ReportId),
    /// POST /v1/notifications/ack
    Ack(NotificationId),
    /// POST /v1/drain
    Drain {
        /// In words.
        reason: Option<String>,
    },
    /// POST /v1/shutdown: the game is done.
    Shutdown {
        /// In words.
        reason: Option<String>,
    },
    /// The first local client since the start: draining then waits for it.
    ClientSeen,
}

/// What the game says about itself; absent fields stay as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether players may come; only while serving.
    pub joinable: Option<bool>,
    /// For players outside.
    pub public_conn_str: Option<String>,
    /// For players in the same network.
    pub private_conn_str: Option<String>,
    /// semver.
    pub version: Option<String>,
    /// Replaces what was said before.
    pub custom_data: Option<CustomData>,
    /// The match that is played; the inner `None`: none any more. Shown where the environment knows it (2026-08).
    pub match_id: Option<Option<MatchId>>,
}

/// The verdict on a [`Request`].
pub type Verdict = Result<Granted, Denied>;

/// A request that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// Done, or so already.
    Done,
    /// The report or event is durable under this id.
    Accepted(ReportId),
    /// So many notifications were acknowledged by this.
    Acknowledged(usize),
    /// Draining began, or was on already.
    Draining,
    /// The allocation is durable.
    Allocated {
        /// It is news; else it was so already.
        fresh: bool,
    },
}

/// A request that was not taken; nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A field is wrong (422).
    #[error("{field}: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The environment has no such call any more (410).
    #[error("{0}")]
    Gone(String),
    /// Not in this phase (409).
    #[error("{0}")]
    Phase(String),
    /// Another allocation stands in the way (409).
    #[error("{0}")]
    Allocated(String),
    /// No such notification (404).
    #[error("no notification with this id is waiting or was seen lately")]
    UnknownNotification,
    /// No such dead report (404).
    #[error("no dead report has this id; rallyhere-agent outbox lists those that there are")]
    UnknownReport,
    /// It could not be made durable (503).
    #[error("not durable: {0}; nothing was accepted, try again")]
    Store(StoreFault),
    /// A queue is full (503).
    #[error("the outbox is full ({limit} reports wait for the backend); nothing was accepted, try again later")]
    Full {
        /// How many it holds.
        limit: usize,
    },
}
