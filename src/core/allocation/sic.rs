//! RallyHere's own hosting (SIC): this server registers with it, and asks once a second whether it is allocated.
//!
//! The questions go on after it is, so that a deallocation is noticed; RallyHere's own adapter stops asking then. What SIC says is
//! judged with care, because a match hangs on it: "deallocated" ends one only if it is said twice in a row, and not at all where SIC
//! had forgotten this server meanwhile and knows it again only from our own registration. Then the session itself is what counts.
//!
//! SIC answers a token that it does not like by 401, by a 403 of the authentication, or by a bare 403; its documents are not published.
//! All of these lead to a new login, but only if the token is the one that was there when this machine began, or is old enough
//! ([`REFUSED_AGE`], [`BARE_AGE`]): a permission that is missing must not make a storm of logins (backend.md, trap 1), and a SIC that
//! refuses every token must not keep those from the session that the session API takes. A refused token stops all calls.

use std::time::{Duration, Instant};

use super::{Allocation, SicAnswer, SicEntry, SicState, Word};
use crate::core::action::Note;
use crate::core::backoff::{Policy, Retry};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::common::{CALL_LIMIT, Common, Region};
use crate::core::ids::{CallId, Generation};
use crate::core::session::missing;

/// Between two questions (backend.md, SIC).
const PERIOD: Duration = Duration::from_secs(1);
const FAILED: Policy = Policy::secs(2, 30);
/// SIC said no to the call itself, or to this server.
const REFUSED: Policy = Policy::secs(15, 300);
/// So old must a token be before a refusal by SIC alone is taken for its end. While the token is good elsewhere, that is at most one
/// login a minute.
const REFUSED_AGE: Duration = Duration::from_secs(60);
/// The same for a bare 403, which may as well be a missing permission.
const BARE_AGE: Duration = Duration::from_secs(5 * 60);
/// "It is being allocated", which is no failure.
const BEING_ALLOCATED: i64 = 6;
/// So often in a row must it be deallocated before a match ends for that.
const CERTAIN: u32 = 2;

/// A call in flight.
#[derive(Debug, Clone)]
struct Asked {
    id: CallId,
    kind: CallKind,
    at: Instant,
    generation: Option<Generation>,
}

/// The token in use.
#[derive(Debug, Clone, Copy)]
struct Token {
    generation: Generation,
    since: Instant,
    /// It was there before us: nobody knows how old it is.
    found: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Sic {
    entry: SicEntry,
    registered: bool,
    /// SIC did not know us any more in the middle of an allocation.
    forgotten: bool,
    deallocated: u32,
    /// What it said last.
    said: &'static str,
    in_flight: Option<Asked>,
    due: Instant,
    retry: Retry,
    refused: Retry,
    token: Option<Token>,
}

impl Sic {
    pub(super) fn new(entry: SicEntry, now: Instant) -> Self {
        Self {
            entry,
            registered: false,
            forgotten: false,
            deallocated: 0,
            said: "nothing yet",
            in_flight: None,
            due: now,
            retry: Retry::new(FAILED),
            refused: Retry::new(REFUSED),
            token: None,
        }
    }

    pub(super) fn detail(&self) -> String {
        let id = self.entry.id();
        match (self.registered, self.refused.failures() + self.retry.failures()) {
            (false, 0) => format!("SIC to register {id}"),
            (false, _) => format!("SIC to register {id}; the last try failed"),
            (true, 0) => format!("SIC to allocate {id}; it says {}", self.said),
            (true, _) => format!("SIC to allocate {id}; it does not answer"),
        }
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        if let Some(generation) = common.auth.generation
            && self.token.is_none_or(|token| token.generation != generation)
        {
            self.token = Some(Token { generation, since: common.now, found: self.token.is_none() });
        }
        if self.in_flight.is_some() || self.due > common.now || !common.may_send() {
            return;
        }
        let call = if self.registered {
            Call::SicState { id: self.entry.id() }
        } else {
            Call::SicRegister { entry: Box::new(self.entry.clone()) }
        };
        let kind = call.kind();
        let id = common.send(Region::Allocation, call, CALL_LIMIT);
        self.in_flight = Some(Asked { id, kind, at: common.now, generation: common.auth.generation });
    }

    /// An answer. `allocated`: the instance lives by an allocation of ours now.
    pub(super) fn handle_answer(
        &mut self,
        common: &mut Common,
        allocated: bool,
        id: &CallId,
        result: Result<Answer, Failure>,
    ) -> Option<Word> {
        let asked = self.in_flight.take_if(|asked| asked.id == *id)?;
        let answer = match result {
            Ok(Answer::Sic(answer)) => answer,
            Ok(_) => {
                let failure = Failure::local(FailureKind::Malformed, "the answer of another call");
                self.failed(common, &asked, &failure);
                return None;
            }
            Err(failure) => {
                self.failed(common, &asked, &failure);
                return None;
            }
        };
        self.retry.succeeded();
        // A steady rhythm, but never two at once.
        self.due = common.now.max(asked.at + PERIOD);
        if answer.success || answer.error_code == BEING_ALLOCATED {
            self.refused.reset();
            return if asked.kind == CallKind::SicRegister {
                self.registered = true;
                self.due = common.now;
                None
            } else {
                self.state(common, allocated, *answer)
            };
        }
        self.refused_by_sic(common, allocated, &asked, &answer);
        None
    }

    /// SIC took the call, but not this server.
    fn refused_by_sic(&mut self, common: &mut Common, allocated: bool, asked: &Asked, answer: &SicAnswer) {
        let code = answer.error_code;
        let said = answer.message.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
        let id = self.entry.id();
        if asked.kind == CallKind::SicRegister {
            let wait = self.refused.failed(common.now, &mut common.rng, None).max(REFUSED.base);
            self.due = common.now + wait;
            let words = format!(
                "SIC does not register {id} (error_code {code}{said}): look at allocation.sic_server_id and \
                 sic_profile_id, and at what is rented; tried again slowly"
            );
            common.note(Note::Warning { cause: "sic", words });
        } else {
            self.registered = false;
            self.forgotten |= allocated;
            let wait = self.retry.failed(common.now, &mut common.rng, None).max(PERIOD);
            self.due = common.now + wait;
            let words = format!("SIC does not know {id} (error_code {code}{said}): it is registered again");
            common.note(Note::Warning { cause: "sic", words });
        }
    }

    fn state(&mut self, common: &mut Common, allocated: bool, answer: SicAnswer) -> Option<Word> {
        let before = std::mem::take(&mut self.deallocated);
        match answer.state {
            Some(SicState::Allocated) if answer.allocation_id.is_none() && answer.session_id.is_none() => {
                self.said = "allocated, but not for what";
                None
            }
            Some(SicState::Allocated) => {
                self.said = "allocated";
                self.forgotten = false;
                let (session_id, allocation_id) = (answer.session_id, answer.allocation_id);
                let address = Some(self.entry.address.clone());
                Some(Word::Given(Allocation { session_id, allocation_id, address }))
            }
            Some(SicState::Deallocated) if allocated && self.forgotten => {
                self.said = "deallocated";
                let words = "SIC has forgotten this server in the middle of its allocation, and calls it deallocated: \
                             the session still counts, and the instance serves on";
                common.note(Note::Warning { cause: "sic", words: words.to_owned() });
                None
            }
            Some(SicState::Deallocated) => {
                self.said = "deallocated";
                self.deallocated = before.saturating_add(1);
                (!allocated && common.durable.given.is_none() || self.deallocated >= CERTAIN).then_some(Word::Nothing)
            }
            Some(SicState::Allocating) | None => {
                self.said = "allocating";
                None
            }
            Some(SicState::Other(_)) => {
                self.said = "something that this agent does not know";
                None
            }
        }
    }

    fn failed(&mut self, common: &mut Common, asked: &Asked, failure: &Failure) {
        self.deallocated = 0;
        let wait = match failure.kind {
            FailureKind::NoToken => {
                self.due = common.now;
                return;
            }
            FailureKind::Unauthorised if self.may_be_the_token(common, asked, REFUSED_AGE) => {
                common.token_refused(failure.token.or(asked.generation));
                self.due = common.now;
                return;
            }
            FailureKind::Unauthorised => {
                let words = "SIC refuses a token that is new: the client may not be known to it; tried again slowly";
                common.note(Note::Warning { cause: "sic", words: words.to_owned() });
                self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base)
            }
            FailureKind::Forbidden if failure.code.is_none() && self.may_be_the_token(common, asked, BARE_AGE) => {
                common.token_refused(asked.generation);
                self.due = common.now;
                return;
            }
            FailureKind::Forbidden => {
                common.note(Note::Warning { cause: "permission", words: missing(asked.kind) });
                self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base)
            }
            FailureKind::Rejected | FailureKind::Unsupported | FailureKind::NotFound | FailureKind::Redirected => {
                self.refused.failed(common.now, &mut common.rng, failure.retry_after).max(REFUSED.base)
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Malformed => self.retry.failed(common.now, &mut common.rng, failure.retry_after).max(PERIOD),
        };
        self.due = common.now + wait;
        common.call_failed(asked.kind, failure, Some(wait));
    }

    /// Whether a refusal may mean that the token is over.
    fn may_be_the_token(&mut self, common: &Common, asked: &Asked, age: Duration) -> bool {
        let Some(token) = &mut self.token else { return false };
        if asked.generation != Some(token.generation) {
            return false;
        }
        std::mem::take(&mut token.found) || common.now.saturating_duration_since(token.since) >= age
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
