//! A session that we make ourselves, for a server that nobody allocates.
//!
//! The call has no key against repeats. Where its outcome is ambiguous (no answer, a 5xx), the next try may make a second session;
//! the first one has no host, is in nobody's hands, and runs out by its time to live. What is answered is on disk before it is used,
//! so that a restart hosts the same session again.

use std::time::Instant;

use super::{Allocation, SessionWish, Word};
use crate::core::action::Note;
use crate::core::backoff::{Policy, Retry};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::common::{CALL_LIMIT, Common, Region};
use crate::core::ids::CallId;
use crate::core::session::missing;

/// Slower than other calls: each try may leave a session behind.
const FAILED: Policy = Policy::secs(5, 120);
/// The backend said no to the call itself.
const REFUSED: Policy = Policy::secs(60, 900);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Made {
    wish: SessionWish,
    in_flight: Option<CallId>,
    due: Instant,
    retry: Retry,
    refused: Retry,
}

impl Made {
    pub(super) fn new(wish: SessionWish, now: Instant) -> Self {
        Self { wish, in_flight: None, due: now, retry: Retry::new(FAILED), refused: Retry::new(REFUSED) }
    }

    pub(super) fn detail(&self) -> String {
        format!("a session of type {} that the backend is asked to make", self.wish.session_type)
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if self.in_flight.is_none() && self.due <= common.now && common.may_send() {
            let call = Call::CreateSession { wish: Box::new(self.wish.clone()) };
            self.in_flight = Some(common.send(Region::Allocation, call, CALL_LIMIT));
        }
    }

    pub(super) fn handle_answer(
        &mut self,
        common: &mut Common,
        id: &CallId,
        result: Result<Answer, Failure>,
    ) -> Option<Word> {
        self.in_flight.take_if(|wanted| wanted == id)?;
        // Whatever becomes of this one: the next begins no sooner.
        self.due = common.now + FAILED.base;
        match result {
            Ok(Answer::SessionMade(session_id)) => {
                Some(Word::Given(Allocation { session_id: Some(session_id), ..Allocation::default() }))
            }
            Ok(_) => {
                self.failed(common, &Failure::local(FailureKind::Malformed, "the answer of another call"));
                None
            }
            Err(failure) => {
                self.failed(common, &failure);
                None
            }
        }
    }

    fn failed(&mut self, common: &mut Common, failure: &Failure) {
        let kind = CallKind::CreateSession;
        let wait = match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => {
                self.due = common.now;
                return;
            }
            FailureKind::Forbidden | FailureKind::Rejected | FailureKind::Unsupported | FailureKind::NotFound => {
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(kind) });
                }
                self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base)
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => self.retry.failed(common.now, &mut common.rng, failure.retry_after),
        };
        self.due = common.now + wait;
        common.call_failed(kind, failure, Some(wait));
    }

    /// What was refused may be tried again.
    pub(super) fn reloaded(&mut self, now: Instant) {
        if self.refused.failures() > 0 {
            self.refused.reset();
            self.due = now;
        }
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        (self.in_flight.is_none() && common.may_send()).then_some(self.due)
    }
}
