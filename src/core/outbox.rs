//! Fubar reports, session events and a host's other duties on their way to the backend: in order of acceptance, one sender, no
//! end.
//!
//! ```text
//!   offered ── stored ──► waiting ── sent ──► delivered (forgotten; its key stays for a day)
//!      │                    │  ▲
//!      │ disk refused       │  └─ failed: 2..60 s with full jitter, for ever
//!      ▼                    └─ can never succeed ──► dead (kept, shown, counted)
//!    denied
//! ```
//!
//! Fubar has no idempotency key in the backend: a copy is sent only where an outcome was ambiguous (backend.md, trap 12). A duty
//! writes to the session, and no fence keeps it from somebody else's (trap 7): it goes out only once we have been the host, and
//! after a look at most five seconds old that showed nobody else. What a refused duty comes to is [`super::duty::Duty::ruling`]'s to
//! say; while one is refused for want of a permission, reports and events overtake it (other duties do not). Which call a report
//! goes out by where some of them are gone, is in `outbox/way.rs`.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::action::Note;
use super::api::{Feature, Judgement};
use super::backoff::{Policy, Retry};
use super::call::{Answer, CallKind, Failure, FailureKind};
use super::common::{CALL_LIMIT, Common, Region};
use super::durable::{Content, Record, Report};
use super::duty::Ruling;
use super::event::{Denied, Granted, StoreFault};
use super::ids::{CallId, ReportId, RequestId, Ticket};
use super::listing;
use super::phase::Phase;
use super::publisher::SIGHTING_LIFETIME;
use super::session::missing;
use super::snapshot::OutboxView;

mod dead;
mod way;

pub use dead::LISTED;
use dead::{Listed, Mending};

/// Reports that may wait for the backend; more are refused.
pub const LIMIT: usize = 1000;
const FAILED: Policy = Policy::secs(2, 60);
/// The backend said no to the call itself: an operator may mend that, so the report is kept.
const REFUSED: Policy = Policy::secs(60, 900);
/// A bare 404 may be the end of a call: it is tried again after a look at the session, jittered.
const SUSPECTED_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// How long a delivery waits for the record of the one before: a disk that hangs keeps no report back.
const RECORD_PATIENCE: Duration = Duration::from_secs(1);
/// While there is a backlog, one report a second at most (design.md section 8, "After an outage").
const BACKLOG_GAP: Duration = Duration::from_secs(1);
/// A failure and its event wait together without being one.
const NO_BACKLOG: usize = 2;

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
    in_flight: Option<(CallId, ReportId, CallKind)>,
    retry: Retry,
    refused: Retry,
    /// The same for duties: the permissions are others.
    barred: Retry,
    /// Until then a call that may be gone is left alone: the session is looked at meanwhile.
    suspected: Option<Instant>,
    /// Something has failed, or was left from before, or had to wait until there was a host or a token, and the queue is not empty
    /// yet.
    backlog: bool,
    /// A try of this duty may have been carried out although we have no answer; after a restart the oldest is such a one.
    doubtful: Option<ReportId>,
    /// The record of the last delivery is on its way to the disk, and how long the next one waits for that.
    recording: Option<(Ticket, Instant)>,
    last_sent: Option<Instant>,
    last_failure: Option<String>,
    mending: Vec<Mending>,
    listed: Listed,
}

impl Outbox {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            offered: Vec::new(),
            in_flight: None,
            retry: Retry::new(FAILED),
            refused: Retry::new(REFUSED),
            barred: Retry::new(REFUSED),
            suspected: None,
            backlog: !common.durable.outbox.is_empty(),
            doubtful: common.durable.outbox.front().filter(|oldest| is_duty(oldest)).map(|oldest| oldest.id.clone()),
            recording: None,
            last_sent: None,
            last_failure: None,
            mending: Vec::new(),
            listed: Listed::of(common),
        }
    }

    pub(super) fn reloaded(&mut self) {
        self.refused.reset();
        self.barred.reset();
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
        if !self.has_room(common) {
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
            if common.durable.outbox.len() + self.offered.len() + self.mending.len() + fresh.len() >= LIMIT {
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
            (
                Content::Fubar { .. } | Content::Event(_) | Content::Duty(_),
                Content::Fubar { .. } | Content::Event(_) | Content::Duty(_),
            ) => false,
        };
        common.durable.outbox.iter().any(like) || self.offered.iter().any(|offered| like(&offered.report))
    }

    /// Whether one more is taken.
    pub(super) fn has_room(&self, common: &Common) -> bool {
        common.durable.outbox.len() + self.offered.len() + self.mending.len() < LIMIT
    }

    /// Whether a duty of the browser is on its way to the disk: what is listed is not settled yet.
    pub(super) fn is_storing_browser(&self) -> bool {
        self.offered.iter().any(|offered| is_browser(&offered.report))
    }

    /// Whether a duty of the browser waits for the backend.
    pub(super) fn has_waiting_browser(common: &Common) -> bool {
        common.durable.outbox.iter().any(is_browser)
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
        self.recording.take_if(|(recording, _)| recording == ticket);
        self.mended(common, ticket, result);
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
            && self.mending.is_empty()
            && self.in_flight.is_none()
            && (common.durable.outbox.is_empty()
                || common.session_id().is_none()
                || (!is_duty_next(common) && common.durable.outbox.front().is_some_and(|next| is_lost(common, next)))
                || match (self.is_barred(common), oldest_report(common)) {
                    (true, None) => true,
                    (true, Some(_)) => self.refused.failures() > 0,
                    (false, _) => self.refused.failures() > 0 && !is_duty_next(common),
                })
    }

    /// Whether the oldest is a duty that cannot go for a while: refused, or we have never been the host.
    fn is_barred(&self, common: &Common) -> bool {
        is_duty_next(common) && (self.barred.failures() > 0 || !common.durable.attached)
    }

    /// Whether a duty is due, and only a young look at the session is missing.
    pub(super) fn wants_sighting(&self, common: &Common) -> bool {
        self.next(common).is_some_and(|(next, ready)| is_duty(next) && ready <= common.now && !is_unopposed(common))
    }

    fn is_wanted(common: &Common) -> bool {
        match common.phase {
            Phase::Loading | Phase::Serving | Phase::Draining | Phase::Closing => true,
            Phase::Resolving | Phase::Registering | Phase::Ended | Phase::Superseded => false,
        }
    }

    /// Whether there is anybody to send to, for anything.
    fn can_send(common: &Common) -> bool {
        let known = common.session_id().is_some() && common.instance_id().is_some();
        known && Self::is_wanted(common) && common.may_send()
    }

    /// What goes next, and when it may as far as the backend's patience is concerned: the oldest, or for as long as that is
    /// barred the oldest report. A missing permission for the browser must not hold up the news of a crash.
    fn next<'a>(&self, common: &'a Common) -> Option<(&'a Report, Instant)> {
        if self.in_flight.is_some() || !Self::can_send(common) {
            return None;
        }
        let gap = if self.backlog { self.last_sent.map(|last| last + BACKLOG_GAP) } else { None };
        let recorded = self.recording.as_ref().map(|(_, until)| *until);
        let ready = |refused: &Retry| {
            [gap, recorded, self.suspected, self.retry.until(), refused.until()]
                .into_iter()
                .flatten()
                .fold(common.now, Instant::max)
        };
        let report = || {
            let report = oldest_report(common)?;
            Some((
                report,
                way::opens(common, &report.content)
                    .map_or_else(|| ready(&self.refused), |at| at.max(ready(&self.refused))),
            ))
        };
        let oldest = common.durable.outbox.front()?;
        if !is_duty(oldest) {
            return report();
        }
        let duty = common.durable.attached.then(|| (oldest, ready(&self.barred)));
        if !self.is_barred(common) {
            return duty;
        }
        let soonest = duty.into_iter().chain(report());
        soonest.min_by_key(|(_, ready)| *ready)
    }

    /// When the next may go; `None` also for a duty while the reader is on its way to look.
    fn due(&self, common: &Common) -> Option<Instant> {
        let (next, ready) = self.next(common)?;
        let held = is_duty(next) && ready <= common.now && !is_unopposed(common);
        (!held).then_some(ready)
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        self.backlog |= common.durable.outbox.len() > NO_BACKLOG && !Self::can_send(common);
        if self.due(common).is_none_or(|due| due > common.now) {
            return;
        }
        let (Some(session), Some(instance_id)) = (common.session_id().cloned(), common.instance_id().cloned()) else {
            return;
        };
        let Some(report) = self.next(common).map(|(next, _)| next.clone()) else { return };
        let call = way::call(common, session, instance_id, &report);
        let kind = call.kind();
        let id = common.send(Region::Outbox, call, CALL_LIMIT);
        self.last_sent = Some(common.now);
        self.in_flight = Some((id, report.id, kind));
    }

    pub(super) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: Result<Answer, Failure>) {
        let Some((_, report_id, kind)) = self.in_flight.take_if(|(wanted, ..)| wanted == id) else { return };
        let Some(report) = common.durable.outbox.iter().find(|report| report.id == report_id).cloned() else { return };
        let (what, label) = (report.content.what(), report.content.label().to_owned());
        let Err(failure) = result else {
            if let Some(feature) = Feature::of(kind) {
                common.works(feature);
            }
            return self.delivered(common, &report, what, label);
        };
        if matches!(failure.kind, FailureKind::Unauthorised | FailureKind::NoToken) {
            return;
        }
        let doubtful = self.doubtful.as_ref() == Some(&report_id);
        let ruling = match &report.content {
            Content::Fubar { .. } | Content::Event(_) => Ruling::of(&failure),
            Content::Duty(duty) => duty.ruling(&failure, doubtful),
        };
        if let Some(feature) = Feature::of(kind).filter(|_| ruling != Ruling::Done) {
            match common.refused(feature, &failure) {
                Judgement::Nothing => {}
                Judgement::Suspected => {
                    let wait = SUSPECTED_WAIT.0 + (SUSPECTED_WAIT.1 - SUSPECTED_WAIT.0).mul_f64(common.rng.f64());
                    self.suspected = Some(common.now + wait.max(failure.retry_after.unwrap_or_default()));
                    self.last_failure = Some(failure.to_string());
                    return;
                }
                Judgement::Gone if is_duty(&report) => {
                    return self.set_aside(common, report_id, what, label, listing::no_match());
                }
                // Another way is taken at once, if there is one.
                Judgement::Gone => {
                    self.suspected = None;
                    self.last_failure = Some(failure.to_string());
                    return;
                }
            }
        }
        if failure.is_ambiguous() && is_duty(&report) {
            self.doubtful = Some(report_id.clone());
        }
        match ruling {
            Ruling::Done => return self.delivered(common, &report, what, label),
            Ruling::Dead => return self.set_aside(common, report_id, what, label, failure.to_string()),
            Ruling::Slow => {
                let refused = if is_duty(&report) { &mut self.barred } else { &mut self.refused };
                let wait = refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base / 4);
                refused.not_before(common.now + wait);
                common.call_failed(kind, &failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(kind) });
                }
            }
            Ruling::Soon => {
                let wait = self.retry.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(kind, &failure, Some(wait));
            }
        }
        self.backlog = true;
        self.last_failure = Some(failure.to_string());
    }

    fn delivered(&mut self, common: &mut Common, report: &Report, what: &'static str, label: String) {
        self.retry.succeeded();
        if is_duty(report) {
            self.barred.reset();
        } else {
            self.refused.reset();
        }
        if self.barred.failures() == 0 {
            self.last_failure = None;
        }
        self.doubtful.take_if(|doubtful| *doubtful == report.id);
        let ticket = common.remember(vec![Record::Sent { report: report.id.clone() }]);
        // After a crash only this one may be in doubt: the next does not leave before.
        self.recording = Some((ticket, common.now + RECORD_PATIENCE));
        common.counters.reports_sent += 1;
        self.backlog &= !common.durable.outbox.is_empty();
        common.note(Note::ReportSent { what, label });
    }

    fn set_aside(&mut self, common: &mut Common, report: ReportId, what: &'static str, label: String, reason: String) {
        if is_duty_next(common) {
            // The next one is another matter.
            self.barred.reset();
        }
        self.doubtful.take_if(|doubtful| *doubtful == report);
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
            refused: !common.durable.outbox.is_empty() && (self.refused.failures() > 0 || self.barred.failures() > 0),
            last_failure: self.last_failure.clone(),
            oldest: self.listed.oldest(),
            dead_letters: self.listed.dead(),
        }
    }
}

fn is_duty(report: &Report) -> bool {
    matches!(report.content, Content::Duty(_))
}

/// Whether the oldest that waits is a duty.
fn is_duty_next(common: &Common) -> bool {
    common.durable.outbox.front().is_some_and(is_duty)
}

/// The oldest that is no duty.
fn oldest_report(common: &Common) -> Option<&Report> {
    common.durable.outbox.iter().find(|report| !is_duty(report))
}

/// Whether the environment has no way for it now.
fn is_lost(common: &Common, report: &Report) -> bool {
    way::opens(common, &report.content).is_some_and(|opens| opens > common.now)
}

fn is_browser(report: &Report) -> bool {
    matches!(&report.content, Content::Duty(duty) if duty.listed().is_some())
}

/// Whether a look not long ago showed nobody else in the session.
fn is_unopposed(common: &Common) -> bool {
    common
        .confirmed
        .max(common.unclaimed)
        .is_some_and(|at| common.now.saturating_duration_since(at) <= SIGHTING_LIFETIME)
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
