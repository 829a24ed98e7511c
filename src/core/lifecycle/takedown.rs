//! Taking the instance away: `closed` by PATCH, and for one that registered itself a GET that shows it, then DELETE.
//!
//! An allocated instance is only ever closed by PATCH: DELETE has no fence, and could take away somebody else's
//! (backend.md, trap 7).

use std::time::Instant;

use super::{CALL_LIMIT, Common, JoinStatus, Publisher, Region, SessionReader, TAKE_DOWN};
use crate::core::backoff::Retry;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::ids::CallId;

#[derive(Debug, Clone)]
pub(super) struct TakeDown {
    step: Step,
    /// A look was asked for.
    looking: bool,
    /// The backend shows it closed already.
    shown_closed: bool,
    retry: Retry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Not closed yet.
    Open,
    /// Closed; a look must show our id before DELETE.
    Look,
    /// A look after closing has shown our id.
    Seen,
    /// DELETE is in flight.
    Deleting(CallId),
    /// Nothing of ours is left, or nothing that we may touch.
    Done,
}

impl Default for TakeDown {
    fn default() -> Self {
        Self { step: Step::Open, looking: false, shown_closed: false, retry: Retry::new(TAKE_DOWN) }
    }
}

impl TakeDown {
    /// The session shows no instance any more.
    pub(super) fn gone(&mut self) {
        self.step = Step::Done;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.step == Step::Done
    }

    /// The session shows our instance.
    pub(super) fn seen(&mut self, status: JoinStatus) {
        self.looking = false;
        self.shown_closed = status == JoinStatus::Closed;
        if self.step == Step::Look {
            self.step = Step::Seen;
        }
    }

    /// Does the next step; says whether all is done.
    pub(super) fn advance(
        &mut self,
        common: &mut Common,
        reader: &mut SessionReader,
        publisher: &Publisher,
        attached: bool,
        flushed: bool,
    ) -> bool {
        match &self.step {
            Step::Open if !attached => self.look(common, reader),
            Step::Open => {
                if publisher.is_settled() || self.shown_closed {
                    self.step = if common.allocation_id().is_some() { Step::Done } else { Step::Look };
                    return self.advance(common, reader, publisher, attached, flushed);
                }
            }
            // The reports name this instance: they go first.
            Step::Look if flushed => self.look(common, reader),
            // What was seen may have changed hands since: waiting for a token takes longer than a look keeps.
            Step::Seen if !Publisher::is_young(common) => {
                self.step = Step::Look;
                return self.advance(common, reader, publisher, attached, flushed);
            }
            Step::Seen if flushed && self.retry.is_ready(common.now) && common.may_send() => {
                if let Some(session) = common.session_id().cloned() {
                    let id = common.send(Region::Lifecycle, Call::Unregister { session }, CALL_LIMIT);
                    self.step = Step::Deleting(id);
                }
            }
            Step::Look | Step::Seen | Step::Deleting(_) => {}
            Step::Done => return true,
        }
        false
    }

    fn look(&mut self, common: &Common, reader: &mut SessionReader) {
        if !self.looking {
            self.looking = true;
            reader.look(common.now);
        }
    }

    /// Whether the answer was for us.
    pub(super) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: &Result<Answer, Failure>) -> bool {
        if !matches!(&self.step, Step::Deleting(wanted) if wanted == id) {
            return false;
        }
        self.step = match result {
            Ok(_) => Step::Done,
            Err(failure) => {
                let retry = match failure.kind {
                    FailureKind::Unauthorised | FailureKind::NoToken => true,
                    // It is gone, or the backend means no. `closed` has been said; that is enough.
                    FailureKind::NotFound
                    | FailureKind::Forbidden
                    | FailureKind::Unsupported
                    | FailureKind::Conflict
                    | FailureKind::Rejected => false,
                    FailureKind::Unreachable
                    | FailureKind::Cut
                    | FailureKind::TimedOut
                    | FailureKind::Throttled
                    | FailureKind::Server
                    | FailureKind::Redirected
                    | FailureKind::Malformed => {
                        self.retry.failed(common.now, &mut common.rng, failure.retry_after);
                        true
                    }
                };
                common.call_failed(CallKind::Unregister, failure, None);
                self.looking = false;
                // Look again first: between two tries somebody else may have come.
                if retry { Step::Look } else { Step::Done }
            }
        };
        common.written = Some(common.now);
        true
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        if self.step == Step::Seen { self.retry.until().filter(|until| *until > common.now) } else { None }
    }
}
