//! What was asked and what came of it: the simulator's memory for tests and for people.
//!
//! Every list is bounded; `requests_total` and `calls` count on when the oldest entries are forgotten.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

/// How many requests are remembered.
const REQUEST_LIMIT: usize = 50_000;
/// How many entries every other list remembers.
const LIST_LIMIT: usize = 20_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not.
    Open,
    /// An answer went out (perhaps a damaged one, if a fault says so).
    Answered,
    /// A fault closed the connection without an answer.
    Cut,
    /// The client went away, or the simulator ended, before the answer.
    Abandoned,
    /// The connection was closed by an outage.
    Refused,
}

/// What the request's credentials were worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// Nobody looked: no such call, or the request never came whole.
    NotChecked,
    /// Good, and allowed to do this.
    Valid,
    /// No Authorization header.
    Missing,
    /// Another scheme, or not readable.
    Malformed,
    /// A token or a login that we do not know.
    Unknown,
    /// A token that was good once.
    Expired,
    /// Good, but without the permission.
    Forbidden,
}

/// One request of the contract's API.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// Counts from 1, in order of arrival.
    pub number: u64,
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// When it was over.
    pub ended_ms: Option<u64>,
    /// The method.
    pub method: String,
    /// The path without the query, as it came.
    pub path: String,
    /// The query, as it came.
    pub query: String,
    /// The call, by its name; `None` for a path or method that is not there.
    pub call: Option<&'static str>,
    /// The status that was sent.
    pub status: Option<u16>,
    /// Who asked, as far as the credentials tell.
    pub client: Option<String>,
    /// What the credentials were worth.
    pub authorization: Authorization,
    /// Whether the simulator acted on it, whatever it answered.
    pub processed: bool,
    /// The fault that was injected.
    pub fault: Option<&'static str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The JSON body; never that of a login.
    pub body: Option<Value>,
}

/// A login that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct LoginRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The client of HTTP Basic, if it could be read.
    pub client: Option<String>,
    /// The grant type, if the request got so far.
    pub grant: Option<String>,
    /// `None` if it was accepted.
    pub error_code: Option<String>,
}

/// A health post that was accepted.
#[derive(Debug, Clone, Serialize)]
pub struct HealthRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The session.
    pub session_id: String,
    /// Its instance.
    pub instance_id: String,
    /// What was posted.
    pub sent: String,
    /// What was answered.
    pub answered: String,
}

/// A fubar report or a session event, as it was posted.
#[derive(Debug, Clone, Serialize)]
pub struct ReportRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The session.
    pub session_id: String,
    /// Who posted it.
    pub client: String,
    /// The body.
    pub body: Value,
}

/// A host's other duty that was carried out: something of the match, the browser, the session or a player.
#[derive(Debug, Clone, Serialize)]
pub struct DutyRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The session.
    pub session_id: String,
    /// Who did it.
    pub client: String,
    /// The call, by its name: `start_match`, `delete_browser`, …
    pub call: &'static str,
    /// The body; for a player who was removed `{"player_uuid"}`; else null.
    pub body: Value,
}

/// A request that was refused with 422.
#[derive(Debug, Clone, Serialize)]
pub struct RejectionRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Everything that was wrong, one line each.
    pub why: Vec<String>,
}

/// Something that the contract allows and that a good host does not do.
#[derive(Debug, Clone, Serialize)]
pub struct OddityRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The session.
    pub session_id: String,
    /// Who did it.
    pub client: String,
    /// What.
    pub what: String,
}

/// An instance that a POST or a DELETE without a fence took from somebody else (backend.md, trap 7).
#[derive(Debug, Clone, Serialize)]
pub struct ReplacementRecord {
    /// Milliseconds since the simulator began.
    pub at_ms: u64,
    /// The session.
    pub session_id: String,
    /// Who did it.
    pub client: String,
    /// The instance that was there.
    pub old_instance_id: String,
    /// The instance that is there now.
    pub new_instance_id: Option<String>,
}

/// Everything that was asked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    /// The requests, oldest first.
    pub requests: VecDeque<RequestRecord>,
    /// How many there ever were, also before the ledger was cleared.
    pub requests_total: u64,
    /// How many of each call there were.
    pub calls: BTreeMap<&'static str, u64>,
    /// Connections that an outage closed before a whole request was seen.
    pub refused_connections: u64,
    /// The logins.
    pub logins: VecDeque<LoginRecord>,
    /// The health posts.
    pub health: VecDeque<HealthRecord>,
    /// The fubar reports.
    pub fubars: VecDeque<ReportRecord>,
    /// The session events.
    pub events: VecDeque<ReportRecord>,
    /// The audit events (2026-08).
    pub audits: VecDeque<ReportRecord>,
    /// The other duties of hosts, in the order in which they were carried out.
    pub duties: VecDeque<DutyRecord>,
    /// Every 422.
    pub rejections: VecDeque<RejectionRecord>,
    /// What a good host does not do.
    pub oddities: VecDeque<OddityRecord>,
    /// Instances that were taken from somebody else.
    pub replacements: VecDeque<ReplacementRecord>,
}

impl Ledger {
    /// How many requests of a call there were.
    pub fn count(&self, call: &str) -> u64 {
        self.calls.get(call).copied().unwrap_or_default()
    }

    /// The remembered requests of a call, oldest first.
    pub fn of<'a>(&'a self, call: &'a str) -> impl Iterator<Item = &'a RequestRecord> {
        self.requests.iter().filter(move |request| request.call == Some(call))
    }

    /// A new request, still open.
    pub(super) fn arrived(&mut self, mut record: RequestRecord) -> u64 {
        self.requests_total += 1;
        record.number = self.requests_total;
        if let Some(call) = record.call {
            *self.calls.entry(call).or_default() += 1;
        }
        let number = record.number;
        remember(&mut self.requests, record, REQUEST_LIMIT);
        number
    }

    /// A remembered request.
    pub(super) fn request(&mut self, number: u64) -> Option<&mut RequestRecord> {
        let index = self.requests.binary_search_by_key(&number, |request| request.number).ok()?;
        self.requests.get_mut(index)
    }

    /// Forgets everything but the numbering and the requests that are still open.
    pub(super) fn clear(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        requests.retain(|request| request.outcome == Outcome::Open);
        *self = Self { requests, requests_total: self.requests_total, ..Self::default() };
    }
}

/// Adds to a bounded list, forgetting the oldest.
fn remember<T>(list: &mut VecDeque<T>, entry: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(entry);
}

/// Adds to one of the lists beside the requests.
pub(super) fn note<T>(list: &mut VecDeque<T>, entry: T) {
    remember(list, entry, LIST_LIMIT);
}
