//! Which calls of the API the environment still has.
//!
//! The service has lost calls over the years (backend.md): fubar in March 2024, then session events, the session's match and
//! every notification of an instance. What it is today is not asked for, it is learnt from the calls that we make anyway:
//!
//! ```text
//!              405, 501 ──────────────────────────────────────┐
//!   there ──── bare 404, 410 ──► suspected ── a look at the session that began after it is answered,
//!     ▲                              │         and the call gives a bare 404 again ──► gone
//!     │                              └─ the call succeeds ──► there                      │
//!     └────── the time limit is over, and the call succeeds ◄── tried again ─────────────┘
//! ```
//!
//! A 404 is *bare* without an `error_code` of RallyHere. One with a code is about a resource. A bare 404 alone may be a proxy in
//! front of a dead backend, which says 404 to everything; so the session must be readable meanwhile. Where its document has
//! fields that came with 2026-08, one bare 404 of a call that was lost by then is enough.
//!
//! Words that only the newer generation knows ([`Feature::Unjoinable`] and its like) are used where the newer generation was
//! met, and forgotten again where one of them is refused (422).
//!
//! What is gone is looked at again after 10 minutes, then after 20, 40 and every 60. The finding of one instance is told to all
//! others of the process through the login ([`super::auth`]), and kept in the store.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{CallKind, Failure, FailureKind};
use super::ordered;

/// How long something is taken for gone before it is tried again: at first, and at most.
const LIMIT: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(3600));
/// Where the generation is configured, nothing is looked at again; loops wake up all the same.
const FIXED: Duration = Duration::from_secs(3600);

/// What the operator says of the environment (`environment.api`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// "auto": learn it.
    #[default]
    Auto,
    /// "2023-11": all calls of that contract are there, and nothing newer.
    V2023_11,
    /// "2026-08": what was lost by then is not tried.
    V2026_08,
}

impl Choice {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::V2023_11 => "2023-11",
            Self::V2026_08 => "2026-08",
        }
    }
}

/// A part of the API that an environment may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// The long poll for an instance's notifications.
    Notifications,
    /// POST …/instance/fubar
    Fubar,
    /// POST …/event
    Events,
    /// POST, PATCH and DELETE …/match
    Match,
    /// POST /session/v1/audit; new in 2026-08.
    Audit,
    /// The join status `unjoinable`; new in 2026-08.
    Unjoinable,
    /// `match_id` in the PATCH of the instance; new in 2026-08.
    MatchId,
    /// `refresh_ttl` of a health post; new in 2026-08.
    RefreshTtl,
}

impl Feature {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Notifications,
        Self::Fubar,
        Self::Events,
        Self::Match,
        Self::Audit,
        Self::Unjoinable,
        Self::MatchId,
        Self::RefreshTtl,
    ];

    /// The word in status, metrics, logs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notifications => "notifications",
            Self::Fubar => "fubar",
            Self::Events => "event",
            Self::Match => "match",
            Self::Audit => "audit",
            Self::Unjoinable => "unjoinable",
            Self::MatchId => "match_id",
            Self::RefreshTtl => "refresh_ttl",
        }
    }

    /// The one of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == word)
    }

    /// What the agent does where it is gone, for an operator.
    pub fn instead(self) -> &'static str {
        match self {
            Self::Notifications => "the session is polled for changes instead",
            Self::Fubar => "reports go out as audit or session events instead",
            Self::Events => "events go out as audit events instead",
            Self::Match => "matches can only be named by match_id of PATCH /v1/instance",
            Self::Audit => "reports and events wait until one of the ways is there again",
            Self::Unjoinable => "a draining instance is shown as closed",
            Self::MatchId => "the match is not shown",
            Self::RefreshTtl => "the session is kept alive by reading it",
        }
    }

    /// What a call needs, where that is something that may be gone.
    pub fn of(kind: CallKind) -> Option<Self> {
        match kind {
            CallKind::Poll => Some(Self::Notifications),
            CallKind::Fubar => Some(Self::Fubar),
            CallKind::PostEvent => Some(Self::Events),
            CallKind::Match => Some(Self::Match),
            CallKind::Audit => Some(Self::Audit),
            CallKind::FindSession
            | CallKind::ReadSession
            | CallKind::Register
            | CallKind::Update
            | CallKind::Unregister
            | CallKind::HealthConfig
            | CallKind::PostHealth
            | CallKind::Browser
            | CallKind::UpdateSession
            | CallKind::RemovePlayer
            | CallKind::CreateSession
            | CallKind::SicRegister
            | CallKind::SicState
            | CallKind::Login => None,
        }
    }

    /// Whether it came with 2026-08; the others had gone by then.
    fn is_newer(self) -> bool {
        match self {
            Self::Audit | Self::Unjoinable | Self::MatchId | Self::RefreshTtl => true,
            Self::Notifications | Self::Fubar | Self::Events | Self::Match => false,
        }
    }
}

/// What was found out about a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is gone.
    pub gone: bool,
    /// When this was found; the newer finding stands.
    pub at: Instant,
    /// The same by the wall clock; of something that stays gone, when that was found first.
    pub since: Timestamp,
    /// When it is looked at again.
    pub until: Instant,
    /// How often in a row it was found to be gone.
    pub times: u32,
}

/// What was found out, by feature.
pub type Findings = BTreeMap<Feature, Finding>;

/// A finding as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// See [`Finding::since`].
    pub since: Timestamp,
    /// See [`Finding::until`].
    pub until: Timestamp,
    /// See [`Finding::times`].
    pub times: u32,
}

/// The API, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiView {
    /// What is configured.
    pub choice: Choice,
    /// Whether the newer generation was met or is configured.
    pub is_new: bool,
    /// What is gone, and when that was found and is looked at again; `None` where it is configured.
    pub gone: BTreeMap<Feature, Option<(Timestamp, Instant)>>,
}

impl ApiView {
    /// The generation, as far as anything tells: "2023-11", "between" (something is gone, notifications are not) or "2026-08".
    pub fn generation(&self) -> &'static str {
        let old = |feature: &Feature| !feature.is_newer();
        if self.choice == Choice::V2026_08 || self.gone.contains_key(&Feature::Notifications) {
            "2026-08"
        } else if self.gone.keys().any(old) {
            "between"
        } else if self.is_new {
            "2026-08"
        } else {
            "2023-11"
        }
    }
}

/// What a failure says about a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing: it is about this one request, or the weather.
    Nothing,
    /// It may be gone: try again soon, the session is looked at meanwhile.
    Suspected,
    /// It is gone.
    Gone,
}

#[derive(Debug, Clone)]
struct Suspicion {
    since: Instant,
    /// The session was read since.
    cleared: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Api {
    choice: Choice,
    findings: Findings,
    suspicions: BTreeMap<Feature, Suspicion>,
    /// The session's document has fields that came with 2026-08.
    hinted: bool,
}

impl Api {
    pub(super) fn new(choice: Choice) -> Self {
        Self { choice, findings: Findings::new(), suspicions: BTreeMap::new(), hinted: false }
    }

    /// Whether there is no use in trying it now.
    pub(super) fn is_gone(&self, feature: Feature, now: Instant) -> bool {
        self.is_fixed(feature) || self.findings.get(&feature).is_some_and(|found| found.gone && now < found.until)
    }

    /// Whether the configuration alone says that it is gone.
    fn is_fixed(&self, feature: Feature) -> bool {
        match self.choice {
            Choice::Auto => false,
            Choice::V2023_11 => feature.is_newer(),
            Choice::V2026_08 => !feature.is_newer(),
        }
    }

    /// When something that is gone is looked at again.
    pub(super) fn until(&self, feature: Feature, now: Instant) -> Option<Instant> {
        if self.is_fixed(feature) {
            return Some(now + FIXED);
        }
        self.findings.get(&feature).filter(|found| found.gone && now < found.until).map(|found| found.until)
    }

    /// Whether it was last found to be gone, also where it is about to be looked at again, or may be by what was seen just now.
    pub(super) fn is_doubtful(&self, feature: Feature) -> bool {
        self.is_fixed(feature)
            || self.suspicions.contains_key(&feature)
            || self.findings.get(&feature).is_some_and(|found| found.gone)
    }

    /// Whether the newer generation was met.
    pub(super) fn is_new(&self) -> bool {
        match self.choice {
            Choice::Auto => self.hinted || self.findings.get(&Feature::Notifications).is_some_and(|found| found.gone),
            Choice::V2023_11 => false,
            Choice::V2026_08 => true,
        }
    }

    /// Whether a word of the newer generation is understood.
    pub(super) fn understands(&self, feature: Feature, now: Instant) -> bool {
        self.is_new() && !self.is_gone(feature, now)
    }

    /// The session was read, by a look that began then.
    pub(super) fn session_read(&mut self, begun: Instant) {
        for suspicion in self.suspicions.values_mut() {
            suspicion.cleared |= suspicion.since <= begun;
        }
    }

    /// The session's document shows of which generation it is.
    pub(super) fn session_seen(&mut self, is_new: bool) {
        self.hinted = is_new;
    }

    /// A call failed.
    pub(super) fn judge(&self, feature: Feature, failure: &Failure) -> Judgement {
        if self.choice != Choice::Auto {
            return Judgement::Nothing;
        }
        match failure.kind {
            FailureKind::Unsupported => Judgement::Gone,
            FailureKind::NotFound if is_bare(failure) => {
                let known = self.findings.get(&feature).is_some_and(|found| found.gone);
                let expected = self.hinted && !feature.is_newer();
                let twice = self.suspicions.get(&feature).is_some_and(|suspicion| suspicion.cleared);
                if known || expected || twice { Judgement::Gone } else { Judgement::Suspected }
            }
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NoToken
            | FailureKind::Unauthorised
            | FailureKind::Forbidden
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Rejected
            | FailureKind::Redirected
            | FailureKind::Malformed => Judgement::Nothing,
        }
    }

    /// It may be gone.
    pub(super) fn suspect(&mut self, feature: Feature, now: Instant) {
        self.suspicions.entry(feature).or_insert(Suspicion { since: now, cleared: false });
    }

    /// It is gone: gives the finding to tell others of.
    pub(super) fn lose(&mut self, feature: Feature, now: Instant, wall: Timestamp, rng: &mut Rng) -> Finding {
        self.suspicions.remove(&feature);
        let before = self.findings.get(&feature).filter(|found| found.gone);
        let times = before.map_or(0, |found| found.times).saturating_add(1);
        let since = before.map_or(wall, |found| found.since);
        let limit = LIMIT.0.saturating_mul(1 << (times - 1).min(8)).min(LIMIT.1);
        let until = now + limit.mul_f64(0.9 + 0.2 * rng.f64());
        let found = Finding { gone: true, at: now, since, until, times };
        self.findings.insert(feature, found.clone());
        found
    }

    /// A call succeeded: gives the finding to tell others of, if that is news.
    pub(super) fn find(&mut self, feature: Feature, now: Instant, wall: Timestamp) -> Option<Finding> {
        self.suspicions.remove(&feature);
        let found = self.findings.get_mut(&feature).filter(|found| found.gone)?;
        *found = Finding { gone: false, at: now, since: wall, until: now, times: 0 };
        Some(found.clone())
    }

    /// What others have found out.
    pub(super) fn hear(&mut self, others: &Findings) {
        for (feature, theirs) in others {
            if self.findings.get(feature).is_none_or(|ours| ours.at < theirs.at) {
                self.findings.insert(*feature, theirs.clone());
            }
        }
    }

    /// What an earlier process has found out and kept.
    pub(super) fn recall(&mut self, kept: &BTreeMap<String, Kept>, wall: Timestamp, now: Instant) {
        for (word, kept) in kept {
            let left = Duration::try_from(kept.until.duration_since(wall)).unwrap_or_default();
            let Some(feature) = Feature::parse(word).filter(|_| !left.is_zero()) else { continue };
            // A clock that was put back must not make it last for ever.
            let until = now + left.min(LIMIT.1.mul_f64(1.1));
            let found = Finding { gone: true, at: now, since: kept.since, until, times: kept.times };
            self.findings.insert(feature, found);
        }
    }

    /// What is to be tried again at once: an operator asks for it.
    pub(super) fn reload(&mut self, now: Instant) {
        for found in self.findings.values_mut() {
            found.until = found.until.min(now);
        }
    }

    pub(super) fn findings(&self) -> &Findings {
        &self.findings
    }

    pub(super) fn view(&self) -> ApiView {
        let fixed = |feature: &Feature| self.is_fixed(*feature) && self.choice == Choice::V2026_08;
        let fixed = Feature::ALL.into_iter().filter(fixed).map(|feature| (feature, None));
        let found = self.findings.iter().filter(|(feature, found)| found.gone && !self.is_fixed(**feature));
        let found = found.map(|(feature, found)| (*feature, Some((found.since, found.until))));
        ApiView { choice: self.choice, is_new: self.is_new(), gone: ordered::map(fixed.chain(found)) }
    }
}

/// Whether a 404 or 410 is about the call and not about a resource: RallyHere's own have an `error_code`.
fn is_bare(failure: &Failure) -> bool {
    match failure.status {
        Some(404) => failure.code.is_none(),
        Some(410) => !failure.is_session_gone(),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests;
