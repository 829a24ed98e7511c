//! What the core wants done: the outputs of an instance's machines.

use std::time::Duration;

use super::api::{Feature, Finding};
use super::call::{Call, CallKind, Failure};
use super::durable::Record;
use super::event::Verdict;
use super::ids::{CallId, Generation, NotificationId, RequestId, Ticket};
use super::instance::Health;
use super::phase::{Phase, Trigger};
use super::process::{HandOver, Order};

/// One output of [`super::Machine::poll_action`].
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Call the backend; answered by exactly one `Answered` with this id, or taken back by one `Cancel`.
    Send {
        /// Its id.
        id: CallId,
        /// The call.
        call: Call,
        /// When to give up.
        limit: Duration,
    },
    /// Give up on a call; its answer is not wanted any more.
    Cancel(CallId),
    /// Write records, in this order and all or none; answered by `Stored` with this ticket.
    Store {
        /// Its ticket.
        ticket: Ticket,
        /// The records.
        records: Vec<Record>,
    },
    /// Answer a request of the local API.
    Reply {
        /// Which.
        id: RequestId,
        /// How.
        verdict: Verdict,
    },
    /// The backend did not take the token of this generation.
    TokenRejected(Generation),
    /// Tell the other instances what was found out about the API.
    Learnt {
        /// About what.
        feature: Feature,
        /// What.
        finding: Finding,
    },
    /// Do something with the game's process.
    Game(Order),
    /// Push a notification to the game; answered by exactly one `HandedOver`. Never more than one at a time.
    HandOver(HandOver),
    /// Tell the operator.
    Note(Note),
    /// The instance is over, and a game that it started is gone. Emitted once; nothing comes after it.
    Exit(Outcome),
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// In good order, on command or with its game.
    Ended,
    /// Somebody else holds the session or the allocation.
    Superseded,
    /// In good order, with the game that we started: its exit code, or 128 + signal; 127 where it could not be started, and
    /// never 0 where it failed. Not where we were told to stop before it ended: that is [`Self::Ended`].
    Game(u8),
}

/// Something an operator may want to read. The driver logs and counts it; repeated ones are thinned there.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The phase changed.
    Phase {
        /// From.
        from: Phase,
        /// To.
        to: Phase,
        /// Why.
        trigger: Trigger,
        /// In words.
        why: String,
    },
    /// A call failed.
    CallFailed {
        /// Which.
        kind: CallKind,
        /// How.
        failure: Failure,
        /// When it is tried again; `None` if it is not.
        retry_in: Option<Duration>,
    },
    /// The backend answered a health post.
    HealthAnswered {
        /// What we said.
        sent: Health,
        /// What it now thinks.
        answered: Health,
    },
    /// Our verdict changed.
    Verdict {
        /// To.
        health: Health,
        /// Why.
        reason: String,
    },
    /// Notifications came.
    Notified {
        /// How many are new.
        fresh: usize,
        /// How many were seen before and dropped.
        repeated: usize,
        /// How many entries were unusable.
        unusable: u32,
    },
    /// The game acknowledged.
    Acknowledged {
        /// How many.
        count: usize,
    },
    /// Nobody would take a notification; it is kept aside.
    SetAside {
        /// Which.
        id: NotificationId,
        /// How often it was tried.
        tries: u32,
        /// What came back from the last try, in words.
        reason: String,
    },
    /// A report reached the backend.
    ReportSent {
        /// Its kind: "fubar", "event" or "duty".
        what: &'static str,
        /// The error, the event code, or which duty.
        label: String,
    },
    /// A report can never be delivered; it is kept.
    ReportDead {
        /// Its kind: "fubar", "event" or "duty".
        what: &'static str,
        /// The error, the event code, or which duty.
        label: String,
        /// Why.
        reason: String,
    },
    /// Anything else that somebody may want to know.
    Info {
        /// In words.
        words: String,
    },
    /// Anything else that somebody should look at.
    Warning {
        /// A stable word for thinning and metrics.
        cause: &'static str,
        /// In words, with what to do.
        words: String,
    },
}
