//! Fubar reports and session events on their way to the backend: in order of acceptance, one sender, no end.
//!
//! ```text
//!   offered ── stored ──► waiting ── sent ──► delivered (forgotten; its key stays for a day)
//!      │                    │  ▲
//!      │ disk refused       │  └─ failed: 2..60 s with full jitter, for ever
//!      ▼                    └─ can never succeed ──► dead (kept, shown, counted)
//!    denied
//! ```
//!
//! Fubar has no idempotency key in the backend: a copy is sent only where an outcome was ambiguous (backend.md, trap 12).

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::action::Note;
use super::backoff::{Policy, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind, FubarReport};
use super::common::{CALL_LIMIT, Common, Region};
use super::durable::{Content, Record, Report};
use super::event::{Denied, Granted, StoreFault};
use super::ids::{CallId, ReportId, RequestId, Ticket};
use super::phase::Phase;
use super::session::missing;
use super::snapshot::OutboxView;

/// Reports that may wait for the backend; more are refused.
pub const LIMIT: usize = 1000;
const FAILED: Policy = Policy::secs(2, 60);
/// The backend said no to the call itself: an operator may mend that, so the report is kept.
const REFUSED: Policy = Policy::secs(60, 900);
/// While there is a backlog, one report a second at most (design.md section 8, "After an outage").
const BACKLOG_GAP: Duration = Duration::from_secs(1);
/// Stands for the region where neither the session nor the configuration names one; the contract wants 1..128 characters.
const NO_REGION: &str = "unknown";

#[derive(Debug, Clone)]
struct Offered {
    ticket: Ticket,
    report: Report,
    /// Who waits for the verdict; empty for a report of our own.
    requests: Vec<RequestId>,
}

/// The machine of the outbox.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    offered: Vec<Offered>,
    in_flight: Option<(CallId, ReportId)>,
    retry: Retry,
    refused: Retry,
    /// Something has failed, or was left from before, and the queue is not empty yet.
    backlog: bool,
    last_sent: Option<Instant>,
    last_failure: Option<String>,
}

impl Outbox {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            offered: Vec::new(),
            in_flight: None,
            retry: Retry::new(FAILED),
            refused: Retry::new(REFUSED),
            backlog: !common.durable.outbox.is_empty(),
            last_sent: None,
            last_failure: None,
        }
    }

    pub(super) fn reloaded(&mut self) {
        self.refused.reset();
    }

    /// Somebody reports something. The verdict comes once it is on disk.
    pub(super) fn offer(
        &mut self,
        common: &mut Common,
        request: Option<RequestId>,
        content: Content,
        key: Option<String>,
        wall: Timestamp,
    ) {
        if let Some(key) = &key
            && let Some(known) = self.known(common, key, wall)
        {
            match (known, request) {
                (Known::Accepted(report), Some(request)) => common.reply(request, Ok(Granted::Accepted(report))),
                (Known::Offered(at), Some(request)) => {
                    if let Some(offered) = self.offered.get_mut(at) {
                        offered.requests.push(request);
                    }
                }
                (Known::Accepted(_) | Known::Offered(_), None) => {}
            }
            return;
        }
        if common.durable.outbox.len() + self.offered.len() >= LIMIT {
            common.counters.reports_refused += 1;
            if let Some(request) = request {
                common.reply(request, Err(Denied::Full { limit: LIMIT }));
            }
            return;
        }
        let report = Report { id: new_id(common, wall), key, accepted: wall, content };
        let ticket = common.store(vec![Record::Accepted(report.clone())]);
        self.offered.push(Offered { ticket, report, requests: request.into_iter().collect() });
    }

    /// Reports of our own, and what is remembered with them: all in one batch. A fubar report whose like still waits for the
    /// backend is left out.
    pub(super) fn offer_own(&mut self, common: &mut Common, contents: Vec<Content>, remembered: Vec<Record>) {
        let wall = common.wall();
        let mut fresh = Vec::new();
        for content in contents {
            if self.is_waiting(common, &content) {
                continue;
            }
            if common.durable.outbox.len() + self.offered.len() + fresh.len() >= LIMIT {
                common.counters.reports_refused += 1;
                continue;
            }
            fresh.push(Report { id: new_id(common, wall), key: None, accepted: wall, content });
        }
        for record in &remembered {
            common.apply(record);
        }
        let mut records: Vec<Record> = fresh.iter().cloned().map(Record::Accepted).collect();
        records.extend(remembered);
        if records.is_empty() {
            return;
        }
        let ticket = common.store(records);
        let offered = |report| Offered { ticket: ticket.clone(), report, requests: Vec::new() };
        self.offered.extend(fresh.into_iter().map(offered));
    }

    fn is_waiting(&self, common: &Common, content: &Content) -> bool {
        let like = |waiting: &Report| match (&waiting.content, content) {
            (Content::Fubar { error: one, .. }, Content::Fubar { error: other, .. }) => one == other,
            (Content::Fubar { .. } | Content::Event(_), Content::Fubar { .. } | Content::Event(_)) => false,
        };
        common.durable.outbox.iter().any(like) || self.offered.iter().any(|offered| like(&offered.report))
    }

    fn known(&self, common: &mut Common, key: &str, wall: Timestamp) -> Option<Known> {
        common.durable.forget_keys(wall);
        if let Some(known) = common.durable.keys.iter().find(|known| known.key == key) {
            return Some(Known::Accepted(known.report.clone()));
        }
        self.offered.iter().position(|offered| offered.report.key.as_deref() == Some(key)).map(Known::Offered)
    }

    /// The store has finished with a batch.
    pub(super) fn handle_stored(&mut self, common: &mut Common, ticket: &Ticket, result: Result<(), StoreFault>) {
        while let Some(at) = self.offered.iter().position(|offered| offered.ticket == *ticket) {
            let offered = self.offered.remove(at);
            Self::take(common, offered, result);
        }
    }

    fn take(common: &mut Common, offered: Offered, result: Result<(), StoreFault>) {
        let Offered { report, requests, .. } = offered;
        let verdict = match result {
            Ok(()) => Ok(Granted::Accepted(report.id.clone())),
            Err(fault) => Err(Denied::Store(fault)),
        };
        // A report of our own has nobody who could try again: it is sent from memory rather than dropped.
        if result.is_ok() || requests.is_empty() {
            common.counters.reports_accepted += 1;
            common.apply(&Record::Accepted(report));
        } else {
            common.counters.reports_refused += 1;
        }
        for request in requests {
            common.reply(request, verdict.clone());
        }
    }

    /// Whether nothing waits, or what waits cannot go now and stays for the next start.
    pub(super) fn is_flushed(&self, common: &Common) -> bool {
        self.offered.is_empty()
            && self.in_flight.is_none()
            && (common.durable.outbox.is_empty() || self.refused.failures() > 0 || common.session_id().is_none())
    }

    fn is_wanted(common: &Common) -> bool {
        match common.phase {
            Phase::Loading | Phase::Serving | Phase::Draining | Phase::Closing => true,
            Phase::Resolving | Phase::Registering | Phase::Ended | Phase::Superseded => false,
        }
    }

    fn due(&self, common: &Common) -> Option<Instant> {
        let known = common.session_id().is_some() && common.instance_id().is_some();
        let free = self.in_flight.is_none() && !common.durable.outbox.is_empty();
        if !free || !known || !Self::is_wanted(common) || !common.may_send() {
            return None;
        }
        let gap = if self.backlog { self.last_sent.map(|last| last + BACKLOG_GAP) } else { None };
        [gap, self.retry.until(), self.refused.until()].into_iter().flatten().max().or(Some(common.now))
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if self.due(common).is_none_or(|due| due > common.now) {
            return;
        }
        let (Some(session), Some(instance_id)) = (common.session_id().cloned(), common.instance_id().cloned()) else {
            return;
        };
        let Some(report) = common.durable.outbox.front().cloned() else { return };
        let call = match report.content {
            Content::Fubar { error, source_provider, matchmaking_profile_id, region } => {
                let ours = if region.is_empty() { NO_REGION.to_owned() } else { region };
                let theirs = common.session.as_ref().and_then(|view| view.session.region_id.clone());
                let report = FubarReport {
                    instance_id,
                    error,
                    region: theirs.filter(|region| !region.is_empty()).unwrap_or(ours),
                    matchmaking_profile_id,
                    source_provider,
                };
                Call::Fubar { session, report: Box::new(report) }
            }
            Content::Event(mut event) => {
                // The report id lets a reader of the event log see that two copies are one.
                event.custom_data.entry("report_id".to_owned()).or_insert_with(|| report.id.to_string());
                Call::PostEvent { session, event: Box::new(event) }
            }
        };
        let id = common.send(Region::Outbox, call, CALL_LIMIT);
        self.last_sent = Some(common.now);
        self.in_flight = Some((id, report.id));
    }

    pub(super) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: Result<Answer, Failure>) {
        let Some((_, report_id)) = self.in_flight.take_if(|(wanted, _)| wanted == id) else { return };
        let Some(report) = common.durable.outbox.iter().find(|report| report.id == report_id).cloned() else { return };
        let (what, label) = (report.content.what(), report.content.label().to_owned());
        let Err(failure) = result else {
            self.retry.succeeded();
            self.refused.reset();
            self.last_failure = None;
            common.remember(vec![Record::Sent { report: report_id }]);
            common.counters.reports_sent += 1;
            self.backlog &= !common.durable.outbox.is_empty();
            common.note(Note::ReportSent { what, label });
            return;
        };
        let kind = match report.content {
            Content::Fubar { .. } => CallKind::Fubar,
            Content::Event(_) => CallKind::PostEvent,
        };
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => return,
            FailureKind::Rejected => return self.set_aside(common, report_id, what, label, &failure),
            FailureKind::NotFound if failure.is_session_gone() => {
                return self.set_aside(common, report_id, what, label, &failure);
            }
            FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Conflict => {
                let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base / 4);
                common.call_failed(kind, &failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(kind) });
                }
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => {
                let wait = self.retry.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(kind, &failure, Some(wait));
            }
        }
        self.backlog = true;
        self.last_failure = Some(failure.to_string());
    }

    fn set_aside(
        &mut self,
        common: &mut Common,
        report: ReportId,
        what: &'static str,
        label: String,
        failure: &Failure,
    ) {
        let reason = failure.to_string();
        common.remember(vec![Record::Dead { report, reason: reason.clone() }]);
        common.counters.reports_dead += 1;
        self.backlog &= !common.durable.outbox.is_empty();
        common.note(Note::ReportDead { what, label, reason });
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        self.due(common)
    }

    pub(super) fn view(&self, common: &Common) -> OutboxView {
        OutboxView {
            waiting: common.durable.outbox.len() + self.offered.len(),
            dead: common.durable.dead.len(),
            last_failure: self.last_failure.clone(),
        }
    }
}

enum Known {
    Accepted(ReportId),
    Offered(usize),
}

/// A version 7 UUID from the wall clock that came with the request and the seeded generator: sortable, and the same in a replay.
fn new_id(common: &mut Common, wall: Timestamp) -> ReportId {
    let millis = u64::try_from(wall.as_millisecond()).unwrap_or_default();
    let random: [u8; 10] = std::array::from_fn(|_| common.rng.u8(..));
    ReportId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
