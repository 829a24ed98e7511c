//! Becoming the host: POST for an instance that registers itself, and the look that must follow it.
//!
//! An allocated instance is taken by the PATCH that the publisher sends; here it only waits until the backend shows it.

use std::time::{Duration, Instant};

use super::standing::{self, Standing};
use super::{
    CALL_LIMIT, Call, CallKind, Common, Failure, FailureKind, Game, InstanceInfo, JoinStatus, Lifecycle, Region,
    Regions, Registration, Trigger, missing,
};
use crate::core::action::Note;

/// A POST goes out no later than this after the look that showed the session to be free, and what it did is looked at no sooner
/// than this after its answer: then whoever else looked before it has written too, and both see who was last.
const SETTLING: Duration = Duration::from_millis(250);

impl Lifecycle {
    /// The backend took the registration. It carries no fence: somebody who had looked before we wrote may write over it, and we
    /// over him. So nothing else is written before a look, some time after the answer, has shown whose the session is.
    pub(super) fn registered(&mut self, common: &mut Common, info: &InstanceInfo) {
        common.written = Some(common.now);
        self.fence = standing::foreign(common, info);
        self.doubtful = true;
        self.settled = Some(common.now + SETTLING);
    }

    pub(super) fn not_registered(&mut self, common: &mut Common, failure: &Failure) {
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => {
                // Who knows how long the login takes: another look comes before the next POST.
                self.looking = false;
                return;
            }
            FailureKind::Forbidden | FailureKind::Rejected | FailureKind::Unsupported => {
                let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(CallKind::Register, failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(CallKind::Register) });
                }
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => {
                let wait = self.retry.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(CallKind::Register, failure, Some(wait));
            }
        }
        // Never POST again blindly: it may have been carried out, or somebody else may be there by now.
        self.doubtful |= failure.is_ambiguous();
        common.written = Some(common.now);
    }

    pub(super) fn register(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        if let Some(reason) = regions.drain.wanted() {
            return Some((Trigger::Stop, reason.to_owned()));
        }
        let allocated = common.allocation_id().is_some();
        if self.attached {
            return Some((Trigger::Attached, "the backend took us as the host".to_owned()));
        }
        match self.standing.take() {
            Some(Standing::Foreign(why)) => return Some((Trigger::Fenced, why)),
            // Somebody may still write over it.
            Some(Standing::Ours { .. }) if self.settled > regions.reader.begun() => {}
            Some(Standing::Ours { status }) => match status {
                JoinStatus::Closed => {
                    return Some((Trigger::Fenced, "somebody else closed the instance".to_owned()));
                }
                JoinStatus::Pending | JoinStatus::Joinable | JoinStatus::Unjoinable => {
                    self.attached = true;
                    self.shown_joinable = status == JoinStatus::Joinable;
                    return Some((Trigger::Attached, "the session shows us as its host".to_owned()));
                }
                // A provider's word: nobody has spoken for it yet. The PATCH that the publisher sends is the first.
                JoinStatus::Requested | JoinStatus::Allocated | JoinStatus::Other(_) if allocated => {}
                JoinStatus::Requested | JoinStatus::Allocated | JoinStatus::Other(_) => {
                    self.attached = true;
                    return Some((Trigger::Attached, "the session shows us as its host".to_owned()));
                }
            },
            Some(Standing::Free | Standing::NotBound) if allocated && common.durable.attached => {
                return Some((Trigger::Fenced, "the session has lost our allocation".to_owned()));
            }
            Some(Standing::SessionGone) if common.durable.attached => {
                return Some((Trigger::Fenced, "the session is gone".to_owned()));
            }
            Some(Standing::Free) => {
                let seen = common.session.as_ref().map(|view| view.seen);
                self.free = seen.filter(|_| !allocated);
            }
            Some(Standing::NotBound | Standing::SessionGone) | None => {}
        }
        let settled = self.settled.is_none_or(|at| at <= common.now);
        let patient = settled && self.retry.is_ready(common.now) && self.refused.is_ready(common.now);
        if !allocated && self.register.is_none() && patient && common.may_send() {
            // A disk that took its time over who we are, or a stopped process: by now somebody else may be there.
            let young = |at: Instant| common.now.saturating_duration_since(at) < SETTLING;
            if self.free.is_some_and(young) {
                self.post(common);
            } else if !self.looking {
                self.looking = true;
                regions.reader.look(common.now);
            }
        }
        None
    }

    fn post(&mut self, common: &mut Common) {
        let (Some(session), Some(instance_id)) = (common.session_id().cloned(), common.instance_id().cloned()) else {
            return;
        };
        self.free = None;
        self.settled = None;
        let registration = Registration {
            instance_id,
            host_type: common.params.host_type.clone(),
            startup_params: common.params.startup_params.clone(),
            custom_data: Game::custom_data(common),
        };
        let call = Call::Register { session, registration: Box::new(registration) };
        self.register = Some(common.send(Region::Lifecycle, call, CALL_LIMIT));
    }
}
