//! The long poll, the inbox, and the hand-off to the game.
//!
//! ```text
//!   Polling ── page ──► Committing ── stored ──► inbox ── ack ──► gone
//!      ▲  ▲                                        │
//!      │  └── at once after a full page, ≥ 1 s after an empty one
//!      ├── Waiting (back-off, 15..60 s with full jitter, the first retry too)
//!      ├── Paused (the inbox is full: wait for the game)
//!      └── Unsupported (the call is gone, see [`super::api`]: [`super::watch`] tells the game of changes meanwhile)
//! ```
//!
//! The cursor and the page move in one record. The poll always asks for `earliest` (backend.md, trap 3) and drops what was
//! seen, by id.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Note;
use super::api::{Feature, Judgement};
use super::backoff::{Policy, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind, Page};
use super::common::{Common, Region};
use super::durable::Record;
use super::event::{Denied, Granted, Verdict};
use super::ids::{CallId, NotificationId, RequestId, Ticket};
use super::instance::Notification;
use super::session::missing;
use super::snapshot::{HandOffView, NotificationsView, PollState};

/// After a failure (backend.md, "Numbers"). The first retry is jittered too.
const FAILED: Policy = Policy::secs(15, 60);
/// The backend said no and means it.
const REFUSED: Policy = Policy::secs(300, 900);
/// A bare 404 may be the end of the call: it is tried again after a look at the session, jittered.
const SUSPECTED_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// Beyond the deadline that the backend was given.
const GRACE: Duration = Duration::from_secs(10);
/// After an early empty page: at least one second, jittered (backend.md, trap 4).
const EMPTY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// A poll that was cut after this long may have met an idle limit of a proxy (backend.md, trap 5).
const IDLE_CUT: Duration = Duration::from_secs(8);
/// Two cuts within this of each other are such a limit.
const SAME_CUT: Duration = Duration::from_secs(2);
/// The learned deadline stays this far below the cut, and is never below the floor.
const CUT_MARGIN: Duration = Duration::from_secs(2);
const DEADLINE_FLOOR: Duration = Duration::from_secs(5);
/// After so many quiet polls a learned deadline is forgotten: proxies change.
const QUIET_POLLS: u32 = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Polling { id: CallId, since: Instant, full_at: usize },
    Committing { ticket: Ticket, record: Record, more: bool },
    Waiting { until: Instant, failed: bool },
    Unsupported { until: Instant },
}

/// The machine of the notifications.
#[derive(Debug, Clone)]
pub(super) struct Notifications {
    state: State,
    retry: Retry,
    refused: Retry,
    deadline: Duration,
    /// How long the last poll had lived when it was cut, if it was.
    last_cut: Option<Duration>,
    quiet: u32,
    /// The backend did not like the cursor: it is left out once.
    without_cursor: bool,
    /// The last page could not be read, perhaps for its size: then one at a time, and soon more again.
    page_limit: u8,
    readers: (u64, Arc<VecDeque<Arc<Notification>>>),
}

impl Notifications {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            state: State::Idle,
            retry: Retry::new(FAILED),
            refused: Retry::new(REFUSED),
            deadline: common.params.poll_deadline,
            last_cut: None,
            quiet: 0,
            without_cursor: false,
            page_limit: u8::MAX,
            readers: (common.inbox_version, Arc::new(common.durable.inbox.clone())),
        }
    }

    pub(super) fn reloaded(&mut self) {
        if self.refused.failures() > 0 || matches!(self.state, State::Unsupported { .. }) {
            self.refused.reset();
            // Only a wait is cut short: a poll in flight stays the only one, and a page on its way to the disk lands.
            if matches!(self.state, State::Waiting { .. } | State::Unsupported { .. }) {
                self.state = State::Idle;
            }
        }
    }

    fn room(common: &Common) -> usize {
        common.params.inbox_limit.saturating_sub(common.durable.inbox.len())
    }

    fn is_wanted(common: &Common) -> bool {
        common.params.notifications && common.phase.is_attached() && common.instance_id().is_some()
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if !Self::is_wanted(common) {
            match std::mem::replace(&mut self.state, State::Idle) {
                State::Polling { id, .. } => common.cancel(id),
                // The page is ours already: let it land. And whoever comes back soon has not waited enough by that.
                kept @ (State::Committing { .. } | State::Waiting { .. } | State::Unsupported { .. }) => {
                    self.state = kept;
                }
                State::Idle => {}
            }
            return;
        }
        match &self.state {
            State::Polling { .. } | State::Committing { .. } => return,
            State::Waiting { until, .. } | State::Unsupported { until } if *until > common.now => return,
            State::Waiting { .. } | State::Unsupported { .. } | State::Idle => {}
        }
        if let Some(until) = common.api.until(Feature::Notifications, common.now) {
            self.state = State::Unsupported { until };
            return;
        }
        let room = Self::room(common);
        if room > 0 && common.may_send() {
            self.poll(common, room);
        } else if room == 0 {
            self.state = State::Idle;
        }
    }

    fn poll(&mut self, common: &mut Common, room: usize) {
        let Some(instance) = common.instance_id().cloned() else { return };
        let page_size = common.params.page_size.min(self.page_limit).min(u8::try_from(room).unwrap_or(u8::MAX));
        let after = if self.without_cursor { None } else { common.durable.cursor.clone() };
        let call = Call::Poll { instance, after, page_size, deadline: self.deadline };
        let id = common.send(Region::Notifications, call, self.deadline + GRACE);
        self.state = State::Polling { id, since: common.now, full_at: usize::from(page_size) };
    }

    pub(super) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: Result<Answer, Failure>) {
        let State::Polling { id: wanted, since, full_at } = &self.state else { return };
        if wanted != id {
            return;
        }
        let (since, full_at) = (*since, *full_at);
        self.state = State::Idle;
        match result {
            Ok(Answer::Page(page)) => self.took(common, &page, since, full_at),
            Ok(
                Answer::Session { .. }
                | Answer::NotModified
                | Answer::Instance(_)
                | Answer::Unregistered
                | Answer::HealthConfig(_)
                | Answer::HealthAccepted(_)
                | Answer::Accepted
                | Answer::SessionMade(_)
                | Answer::Sic(_),
            ) => {
                let failure = Failure::local(FailureKind::Malformed, "the answer of another call");
                self.failed(common, &failure, since);
            }
            Err(failure) => self.failed(common, &failure, since),
        }
    }

    fn took(&mut self, common: &mut Common, page: &Page, since: Instant, full_at: usize) {
        common.works(Feature::Notifications);
        self.retry.succeeded();
        self.refused.reset();
        self.last_cut = None;
        self.without_cursor = false;
        self.quiet += 1;
        if self.quiet >= QUIET_POLLS {
            self.quiet = 0;
            self.deadline = common.params.poll_deadline;
        }
        common.counters.notifications_unusable += u64::from(page.unusable);
        let entries = page.notifications.len() + usize::try_from(page.unusable).unwrap_or(usize::MAX);
        let more = entries >= full_at;
        self.page_limit = if more { self.page_limit.saturating_mul(2) } else { u8::MAX };

        // An empty page, which is most of them, is not worth a table of a thousand ids.
        let known = common.durable.seen.iter().take(if page.notifications.is_empty() { 0 } else { usize::MAX });
        let seen: HashSet<&NotificationId> = known.collect();
        let fresh: Vec<Arc<Notification>> =
            page.notifications.iter().filter(|n| !seen.contains(&n.notification_id)).cloned().collect();
        let repeated = page.notifications.len() - fresh.len();
        common.counters.notifications_repeated += u64::try_from(repeated).unwrap_or(u64::MAX);
        if entries > 0 {
            common.note(Note::Notified { fresh: fresh.len(), repeated, unusable: page.unusable });
        }
        self.look_for_hints(common, &fresh);

        let cursor = page.last_id.clone().or_else(|| page.notifications.last().map(|n| n.notification_id.clone()));
        match cursor {
            Some(cursor) if !fresh.is_empty() || Some(&cursor) != common.durable.cursor.as_ref() => {
                let record = Record::Page { cursor, notifications: fresh };
                let ticket = common.store(vec![record.clone()]);
                self.state = State::Committing { ticket, record, more };
            }
            Some(_) | None => self.rest(common, since),
        }
    }

    /// The time before the next poll when the page brought nothing new.
    fn rest(&mut self, common: &mut Common, since: Instant) {
        let early = common.now.saturating_duration_since(since) + EMPTY_WAIT.0 < self.deadline;
        self.state = if early {
            let wait = EMPTY_WAIT.0 + (EMPTY_WAIT.1 - EMPTY_WAIT.0).mul_f64(common.rng.f64());
            State::Waiting { until: common.now + wait, failed: false }
        } else {
            State::Idle
        };
    }

    /// A notification about our session with another version than ours: read it (backend.md, trap 6).
    fn look_for_hints(&self, common: &mut Common, fresh: &[Arc<Notification>]) {
        let Some(session) = common.session_id() else { return };
        let path = format!("session/v1/session/{session}");
        let ours = common.session.as_ref().and_then(|view| view.etag.clone());
        let hint = fresh.iter().any(|notification| {
            notification.rh_url.as_deref().is_some_and(|url| names(url, &path))
                && (notification.etag.is_none() || notification.etag != ours)
        });
        if hint {
            common.look = true;
        }
    }

    /// The store has finished with a page.
    pub(super) fn handle_stored(&mut self, common: &mut Common, ticket: &Ticket) {
        let State::Committing { ticket: wanted, .. } = &self.state else { return };
        if wanted != ticket {
            return;
        }
        let State::Committing { record, more, .. } = std::mem::replace(&mut self.state, State::Idle) else { return };
        // Also when the disk refused: the game gets it all the same, and the store writes it when it can. What is lost by
        // a crash before that comes again from the backend, because the cursor on disk did not move either.
        common.apply(&record);
        if let Record::Page { notifications, .. } = &record {
            common.counters.notifications_received += u64::try_from(notifications.len()).unwrap_or(u64::MAX);
            if !more && notifications.is_empty() {
                self.rest(common, common.now);
            }
        }
    }

    fn failed(&mut self, common: &mut Common, failure: &Failure, since: Instant) {
        self.quiet = 0;
        let lived = common.now.saturating_duration_since(since);
        let cut = match failure.kind {
            FailureKind::Cut => true,
            // A gateway that gives up on an idle upstream answers 504.
            FailureKind::Server => failure.status == Some(504),
            FailureKind::Unreachable
            | FailureKind::TimedOut
            | FailureKind::NoToken
            | FailureKind::Unauthorised
            | FailureKind::Forbidden
            | FailureKind::NotFound
            | FailureKind::Unsupported
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Rejected
            | FailureKind::Redirected
            | FailureKind::Malformed => false,
        };
        if cut && lived >= IDLE_CUT && lived < self.deadline {
            let twice = self.last_cut.is_some_and(|last| last.abs_diff(lived) <= SAME_CUT);
            self.last_cut = Some(lived);
            if twice {
                self.deadline = whole_seconds(lived.saturating_sub(CUT_MARGIN)).max(DEADLINE_FLOOR);
            }
            // Not a failure of the backend; but a whole fleet may have been cut by the same hand.
            let mut once = Retry::new(FAILED);
            let wait = once.failed(common.now, &mut common.rng, failure.retry_after);
            self.state = State::Waiting { until: common.now + wait, failed: false };
            return;
        }
        match common.refused(Feature::Notifications, failure) {
            Judgement::Nothing => {}
            Judgement::Suspected => {
                let wait = SUSPECTED_WAIT.0 + (SUSPECTED_WAIT.1 - SUSPECTED_WAIT.0).mul_f64(common.rng.f64());
                self.state = State::Waiting { until: common.now + wait, failed: true };
                return;
            }
            // What is known of the API says until when.
            Judgement::Gone => return,
        }
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => {}
            FailureKind::Forbidden => {
                let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base / 5);
                common.call_failed(CallKind::Poll, failure, Some(wait));
                common.note(Note::Warning { cause: "permission", words: missing(CallKind::Poll) });
                self.state = State::Waiting { until: common.now + wait, failed: true };
            }
            FailureKind::Unsupported => self.unsupported(common, failure),
            FailureKind::NotFound if failure.code.is_none() => self.unsupported(common, failure),
            FailureKind::Rejected if common.durable.cursor.is_some() && !self.without_cursor => {
                // A cursor that the backend cannot read any more: from the earliest, and what was seen is dropped.
                self.without_cursor = true;
                self.back_off(common, failure);
            }
            FailureKind::Malformed => {
                self.page_limit = 1;
                self.back_off(common, failure);
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Rejected
            | FailureKind::Redirected => self.back_off(common, failure),
        }
    }

    fn back_off(&mut self, common: &mut Common, failure: &Failure) {
        let wait = self.retry.failed(common.now, &mut common.rng, failure.retry_after);
        common.call_failed(CallKind::Poll, failure, Some(wait));
        self.state = State::Waiting { until: common.now + wait, failed: true };
    }

    fn unsupported(&mut self, common: &mut Common, failure: &Failure) {
        let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base);
        common.call_failed(CallKind::Poll, failure, Some(wait));
        self.state = State::Unsupported { until: common.now + wait };
    }

    /// The game is done with a notification and everything older.
    pub(super) fn acknowledge(common: &mut Common, request: RequestId, through: &NotificationId) {
        let verdict: Verdict = match common.acknowledge(through) {
            Some((count, ticket)) => {
                common.reply_after(ticket, request, Ok(Granted::Acknowledged(count)));
                return;
            }
            None if common.durable.seen.contains(through) => Ok(Granted::Acknowledged(0)),
            None => Err(Denied::UnknownNotification),
        };
        common.reply(request, verdict);
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        if !Self::is_wanted(common) {
            return None;
        }
        match &self.state {
            State::Waiting { until, .. } | State::Unsupported { until } if *until > common.now => Some(*until),
            State::Waiting { .. } | State::Unsupported { .. } | State::Idle => {
                (Self::room(common) > 0 && common.may_send()).then_some(common.now)
            }
            State::Polling { .. } | State::Committing { .. } => None,
        }
    }

    /// Makes the copy of the inbox that readers share, if the inbox has changed.
    pub(super) fn refresh(&mut self, common: &Common) {
        if self.readers.0 != common.inbox_version {
            self.readers = (common.inbox_version, Arc::new(common.durable.inbox.clone()));
        }
    }

    pub(super) fn view(&self, common: &Common, hand_off: HandOffView) -> NotificationsView {
        let state = match &self.state {
            State::Unsupported { .. } if Self::is_wanted(common) => PollState::Unsupported,
            State::Unsupported { .. } => PollState::Off,
            State::Waiting { failed: true, .. } => PollState::BackingOff,
            State::Polling { .. } | State::Committing { .. } | State::Waiting { .. } => PollState::Polling,
            State::Idle if !Self::is_wanted(common) => PollState::Off,
            State::Idle if Self::room(common) == 0 => PollState::Paused,
            State::Idle => PollState::BackingOff,
        };
        let (inbox, cursor) = (Arc::clone(&self.readers.1), common.durable.cursor.clone());
        NotificationsView { state, inbox, cursor, hand_off }
    }
}

/// Whether a notification's url names the resource: absolute or relative, with or without a query.
fn names(url: &str, path: &str) -> bool {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let url = url.trim_matches('/');
    url == path || url.strip_suffix(path).is_some_and(|rest| rest.ends_with('/'))
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
