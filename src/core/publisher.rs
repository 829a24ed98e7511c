//! Keeping the instance as the backend shows it equal to what we want it to show.
//!
//! Level-triggered: the lifecycle says what should be shown, this machine sends the whole of it (backend.md, trap 8), one
//! PATCH in flight, and sends again only if the wish has changed meanwhile. A burst of changes becomes one PATCH.

use std::time::{Duration, Instant};

use super::action::Note;
use super::api::Feature;
use super::backoff::{Policy, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind, InstanceUpdate};
use super::common::{CALL_LIMIT, Common, Region};
use super::ids::CallId;
use super::instance::{InstanceInfo, JoinStatus};
use super::phase::Phase;
use super::session::missing;
use super::timers::earliest;

const FAILED: Policy = Policy::secs(1, 30);
const CLOSING: Policy = Policy::millis(250, 1000);
const REFUSED: Policy = Policy::secs(60, 900);
/// A self-registered instance has no fence: before a write, a sighting of our own id must be this young (backend.md, trap 7).
pub(super) const SIGHTING_LIFETIME: Duration = Duration::from_secs(5);

/// What a PATCH taught us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// It was taken; this is the instance now.
    Taken(Box<InstanceInfo>),
    /// The answer says that things are not as we think: look at the session.
    Doubt,
}

/// The machine that sends PATCHes.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    wish: Option<InstanceUpdate>,
    taken: Option<InstanceUpdate>,
    in_flight: Option<(CallId, InstanceUpdate)>,
    retry: Retry,
    refused: Retry,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self { wish: None, taken: None, in_flight: None, retry: Retry::new(FAILED), refused: Retry::new(REFUSED) }
    }

    /// What the backend should show; `None` for nothing to say yet.
    pub(super) fn wish(&mut self, wish: Option<InstanceUpdate>) {
        if self.wish.as_ref().map(|wish| &wish.join_status) != wish.as_ref().map(|wish| &wish.join_status) {
            // A new status is worth a new try, unless the backend asked for patience.
            if self.refused.failures() > 0 {
                self.refused.reset();
            }
        }
        self.wish = wish;
    }

    /// The backend shows this without a PATCH of ours, because a registration said so.
    pub(super) fn assume(&mut self, shown: InstanceUpdate) {
        self.taken = Some(shown);
    }

    /// The backend does not show what it took from us: send it again.
    pub(super) fn forget(&mut self) {
        self.taken = None;
    }

    /// What the backend last took from us.
    pub(super) fn taken(&self) -> Option<&InstanceUpdate> {
        self.taken.as_ref()
    }

    /// Whether the backend shows what we want.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.wish.is_some() && self.wish == self.taken
    }

    /// Whether a PATCH is wanted and only a young sighting is missing.
    pub(super) fn wants_sighting(&self, common: &Common) -> bool {
        self.is_due(common) && !Self::is_confirmed(common)
    }

    /// What was refused may be tried again.
    pub(super) fn reloaded(&mut self) {
        self.refused.reset();
    }

    fn is_confirmed(common: &Common) -> bool {
        common.allocation_id().is_some() || Self::is_young(common)
    }

    /// Whether the backend has shown us as the host a short while ago.
    pub(super) fn is_young(common: &Common) -> bool {
        common.confirmed.is_some_and(|at| common.now.saturating_duration_since(at) <= SIGHTING_LIFETIME)
    }

    fn is_due(&self, common: &Common) -> bool {
        self.in_flight.is_none()
            && self.wish.is_some()
            && self.wish != self.taken
            && self.retry.is_ready(common.now)
            && self.refused.is_ready(common.now)
            && common.may_send()
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if !self.is_due(common) || !Self::is_confirmed(common) {
            return;
        }
        let (Some(wish), Some(session)) = (self.wish.clone(), common.session_id().cloned()) else { return };
        let call = Call::Update { session, update: Box::new(wish.clone()) };
        let id = common.send(Region::Publisher, call, CALL_LIMIT);
        self.in_flight = Some((id, wish));
    }

    pub(super) fn handle_answer(
        &mut self,
        common: &mut Common,
        id: &CallId,
        result: Result<Answer, Failure>,
    ) -> Option<Published> {
        let (_, sent) = self.in_flight.take_if(|(wanted, _)| wanted == id)?;
        match result {
            Ok(Answer::Instance(info)) => {
                self.retry.succeeded();
                self.refused.reset();
                self.taken = Some(sent);
                common.written = Some(common.now);
                Some(Published::Taken(info))
            }
            Ok(
                Answer::Session { .. }
                | Answer::NotModified
                | Answer::Unregistered
                | Answer::HealthConfig(_)
                | Answer::HealthAccepted(_)
                | Answer::Accepted
                | Answer::SessionMade(_)
                | Answer::Sic(_)
                | Answer::Page(_),
            ) => self.fail(common, &Failure::local(FailureKind::Malformed, "the answer of another call")),
            Err(failure) if failure.kind == FailureKind::Rejected && newer_word(&sent).is_some() => {
                // It may be only a word that this environment does not know: without it, at once. Each is learnt once.
                if let Some(word) = newer_word(&sent) {
                    common.lose(word);
                    common.call_failed(CallKind::Update, &failure, None);
                }
                None
            }
            Err(failure) => self.fail(common, &failure),
        }
    }

    fn fail(&mut self, common: &mut Common, failure: &Failure) -> Option<Published> {
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => None,
            FailureKind::Forbidden
            | FailureKind::Rejected
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Unsupported => {
                // The backend means it. Either we are not the host any more, or the request is dead.
                let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(CallKind::Update, failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(CallKind::Update) });
                }
                Some(Published::Doubt)
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => {
                let wait = if common.phase == Phase::Closing {
                    let mut quick = Retry::new(CLOSING);
                    let wait = quick.failed(common.now, &mut common.rng, failure.retry_after);
                    self.retry = quick;
                    wait
                } else {
                    self.retry.failed(common.now, &mut common.rng, failure.retry_after)
                };
                common.call_failed(CallKind::Update, failure, Some(wait));
                None
            }
        }
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        if self.in_flight.is_some() || self.wish.is_none() || self.wish == self.taken || !common.may_send() {
            return None;
        }
        if !Self::is_confirmed(common) {
            // The reader is on its way to look.
            return None;
        }
        let waits = [self.retry.until(), self.refused.until()];
        earliest([waits.into_iter().flatten().max().or(Some(common.now))])
    }
}

/// What only the newer generation knows in an update.
fn newer_word(update: &InstanceUpdate) -> Option<Feature> {
    if update.join_status == JoinStatus::Unjoinable {
        return Some(Feature::Unjoinable);
    }
    update.match_id.is_some().then_some(Feature::MatchId)
}
