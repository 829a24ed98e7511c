//! Reading the session: first to find it, then to see whether it is still ours.
//!
//! Every 60 s with If-None-Match, which also keeps the session alive (backend.md, trap 6), and at once when a
//! notification or a strange answer says that something changed. Where the notifications of an instance are gone, every
//! `notifications.session_interval` (5 s), up to a tenth more or less: then [`super::watch`] tells the game of what changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Note;
use super::api::Feature;
use super::backoff::{Policy, RETRY_AFTER_CAP, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind};
use super::common::{CALL_LIMIT, Common, Region};
use super::ids::{CallId, Etag};
use super::phase::Phase;
use super::snapshot::SessionView;
use super::timers::{earlier, earliest};

/// How often the session is read while nothing hints at a change.
const PERIOD: Duration = Duration::from_secs(60);
/// Hints do not make us read more often than this.
const HINT_GAP: Duration = Duration::from_secs(1);
/// While the session is looked for: once a second at first (backend.md, "How a server gets allocated").
const NOT_BOUND: Duration = Duration::from_secs(1);
const NOT_BOUND_TRIES: u32 = 10;
const FAILED: Policy = Policy::secs(2, 30);
/// While we host, the read is a safety net: in an outage it must not be more traffic than in peace.
const FAILED_HOSTING: Policy = Policy::secs(15, 120);
/// While the instance is being closed there is little time.
const CLOSING: Policy = Policy::millis(250, 1000);
const FORBIDDEN: Policy = Policy::secs(60, 900);

/// What a look at the session gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    /// The session is as [`Common::session`] has it now.
    Seen,
    /// The session is gone: the backend said so itself.
    Gone,
}

/// The machine that reads the session.
#[derive(Debug, Clone)]
pub(super) struct SessionReader {
    in_flight: Option<CallId>,
    /// Somebody asked for a look after the one in flight had begun.
    again: bool,
    due: Option<Instant>,
    /// When the last look began.
    last: Option<Instant>,
    /// When the look began that gave the document we have.
    document: Option<Instant>,
    misses: u32,
    retry: Retry,
    forbidden: Retry,
    /// Retry-After said so: no hint, no reload and no closing makes us look before.
    patience: Option<Instant>,
}

impl SessionReader {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_flight: None,
            again: false,
            due: Some(now),
            last: None,
            document: None,
            misses: 0,
            retry: Retry::new(FAILED),
            forbidden: Retry::new(FORBIDDEN),
            patience: None,
        }
    }

    /// The login changed or a secret was read again: what was forbidden may be tried.
    pub(super) fn reloaded(&mut self, now: Instant) {
        if self.forbidden.failures() > 0 {
            self.forbidden.reset();
            self.due = Some(now);
        }
    }

    /// Wants a look that begins after this call, without the gap between hints.
    pub(super) fn look(&mut self, now: Instant) {
        if self.in_flight.is_some() {
            self.again = true;
        } else if self.retry.failures() == 0 && self.forbidden.failures() == 0 {
            self.due = Some(now);
        }
    }

    /// Whether a look is on its way.
    pub(super) fn is_looking(&self) -> bool {
        self.in_flight.is_some()
    }

    /// When the last look began.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.last
    }

    /// The session was found: from now on the slow rhythm.
    pub(super) fn found(&mut self, common: &mut Common) {
        self.retry = Retry::new(FAILED_HOSTING);
        if self.in_flight.is_none() {
            self.due = Some(common.about(PERIOD));
        }
    }

    fn wanted(phase: Phase) -> bool {
        match phase {
            Phase::Resolving
            | Phase::Registering
            | Phase::Loading
            | Phase::Serving
            | Phase::Draining
            | Phase::Closing => true,
            Phase::Ended | Phase::Superseded => false,
        }
    }

    /// Whether it is known what is looked for.
    fn has_target(common: &Common) -> bool {
        !common.waits && (common.session_id().is_some() || common.params.target != super::params::Target::Awaited)
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if !Self::wanted(common.phase) || !Self::has_target(common) {
            return;
        }
        if std::mem::take(&mut common.look) {
            if self.in_flight.is_some() {
                self.again = true;
            } else if self.retry.failures() == 0 && self.forbidden.failures() == 0 {
                let soonest = self.last.map_or(common.now, |last| common.now.max(last + HINT_GAP));
                self.due = earlier(self.due, Some(soonest));
            }
        }
        if let Some(soonest) = self.quicker(common) {
            self.due = earlier(self.due, Some(soonest));
        }
        let due = self.patiently(self.due);
        if self.in_flight.is_none() && due.is_some_and(|due| due <= common.now) && common.may_send() {
            let call = match (common.session_id(), &common.params.target) {
                (Some(session), _) => Call::ReadSession { session: session.clone(), etag: self.current_etag(common) },
                (None, super::params::Target::Session { session, .. }) => {
                    Call::ReadSession { session: session.clone(), etag: None }
                }
                (None, super::params::Target::Allocation(allocation)) => {
                    Call::FindSession { allocation: allocation.clone() }
                }
                (None, super::params::Target::Awaited) => return,
            };
            self.last = Some(common.now);
            self.due = None;
            self.again = false;
            self.in_flight = Some(common.send(Region::Session, call, CALL_LIMIT));
        }
    }

    /// Not before what Retry-After asked for.
    fn patiently(&self, due: Option<Instant>) -> Option<Instant> {
        due.max(due.and(self.patience))
    }

    /// Whether the reads stand for the notifications.
    fn is_watching(common: &Common) -> bool {
        common.params.notifications
            && common.phase.is_attached()
            && common.api.is_gone(Feature::Notifications, common.now)
    }

    /// When the next look is due at the latest, if the notifications are gone and the slow rhythm was chosen before that was known.
    fn quicker(&self, common: &Common) -> Option<Instant> {
        let calm = self.retry.failures() == 0 && self.forbidden.failures() == 0;
        let latest = self.last? + common.params.session_interval.mul_f64(1.1);
        (Self::is_watching(common) && calm && self.due.is_some_and(|due| due > latest)).then_some(latest)
    }

    /// The version that we have, unless we have written since: then the document is to come whole, whatever its version.
    fn current_etag(&self, common: &Common) -> Option<Etag> {
        if common.written.is_some() && self.document <= common.written {
            return None;
        }
        common.session.as_ref().and_then(|view| view.etag.clone())
    }

    pub(super) fn handle_answer(
        &mut self,
        common: &mut Common,
        id: &CallId,
        result: Result<Answer, Failure>,
    ) -> Option<Sighting> {
        self.in_flight.take_if(|wanted| wanted == id)?;
        let kind =
            if common.session_id().is_none() && matches!(common.params.target, super::params::Target::Allocation(_)) {
                CallKind::FindSession
            } else {
                CallKind::ReadSession
            };
        let sighting = match result {
            Ok(Answer::Session { session, etag }) => {
                common.api.session_seen(session.is_new);
                common.session = Some(SessionView { session: Arc::from(session), etag, seen: common.now });
                self.document = self.last;
                self.succeeded(common);
                Some(Sighting::Seen)
            }
            Ok(Answer::NotModified) => {
                self.succeeded(common);
                common.session.as_mut().map(|view| {
                    view.seen = common.now;
                    Sighting::Seen
                })
            }
            Ok(
                Answer::Instance(_)
                | Answer::Unregistered
                | Answer::HealthConfig(_)
                | Answer::HealthAccepted(_)
                | Answer::Accepted
                | Answer::SessionMade(_)
                | Answer::Sic(_)
                | Answer::Page(_),
            ) => {
                self.retry_later(common, kind, &Failure::local(FailureKind::Malformed, "the answer of another call"));
                None
            }
            Err(failure) => self.failed(common, kind, &failure),
        };
        if self.again {
            self.due = earlier(self.due, Some(common.now));
        }
        sighting
    }

    fn succeeded(&mut self, common: &mut Common) {
        self.misses = 0;
        self.retry.succeeded();
        self.forbidden.reset();
        if let Some(begun) = self.last {
            common.api.session_read(begun);
        }
        let period = if common.phase == Phase::Resolving {
            NOT_BOUND
        } else if Self::is_watching(common) {
            common.params.session_interval
        } else {
            PERIOD
        };
        self.due = Some(common.about(period));
    }

    fn failed(&mut self, common: &mut Common, kind: CallKind, failure: &Failure) -> Option<Sighting> {
        self.patience = failure.retry_after.map(|after| common.now + after.min(RETRY_AFTER_CAP));
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => {
                self.due = Some(common.now);
                None
            }
            FailureKind::NotFound if kind == CallKind::FindSession => {
                // Not bound yet. That is the normal life of a waiting server, not a failure.
                self.misses = self.misses.saturating_add(1);
                if self.misses <= NOT_BOUND_TRIES {
                    self.due = Some(common.about(NOT_BOUND));
                } else {
                    let wait = self.retry.failed(common.now, &mut common.rng, failure.retry_after);
                    self.due = Some(common.now + wait.max(NOT_BOUND));
                }
                None
            }
            FailureKind::NotFound if failure.is_session_gone() => {
                self.retry_later(common, kind, failure);
                Some(Sighting::Gone)
            }
            FailureKind::Forbidden => {
                let wait = self.forbidden.failed(common.now, &mut common.rng, failure.retry_after);
                let wait = wait.max(FORBIDDEN.base);
                self.due = Some(common.now + wait);
                common.call_failed(kind, failure, Some(wait));
                common.note(Note::Warning { cause: "permission", words: missing(kind) });
                None
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NotFound
            | FailureKind::Unsupported
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Rejected
            | FailureKind::Redirected
            | FailureKind::Malformed => {
                self.retry_later(common, kind, failure);
                None
            }
        }
    }

    fn retry_later(&mut self, common: &mut Common, kind: CallKind, failure: &Failure) {
        let wait = if common.phase == Phase::Closing {
            Retry::new(CLOSING).failed(common.now, &mut common.rng, failure.retry_after)
        } else {
            self.retry.failed(common.now, &mut common.rng, failure.retry_after)
        };
        self.due = Some(common.now + wait);
        self.again = false;
        common.call_failed(kind, failure, Some(wait));
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        if self.in_flight.is_some() || !Self::wanted(common.phase) || !Self::has_target(common) || !common.may_send() {
            return None;
        }
        let hint = common.look.then(|| self.last.map_or(common.now, |last| last + HINT_GAP));
        self.patiently(earliest([self.due, hint, self.quicker(common)]))
    }
}

/// The words for a missing permission.
pub(super) fn missing(kind: CallKind) -> String {
    format!(
        "the backend does not let this client call {kind}: grant it the permission {}; tried again slowly",
        kind.permission()
    )
}
