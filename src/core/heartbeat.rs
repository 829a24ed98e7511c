//! Health posts: one a cadence on a fixed random phase, at most one retry inside it, and no burst after a stall.
//!
//! ```text
//!   attached ─► post now ─► slot ─► slot ─► slot …          a slot: post, and on failure one retry at 0.25..0.5 of the cadence
//!                  └─ phase ┘ └ cadence ┘                    a changed verdict is posted within a second, beside the slots
//! ```
//!
//! A game that failed takes the instance down with it, and no slot comes any more: then a last post says that it is unhealthy.

use std::time::{Duration, Instant};

use super::action::Note;
use super::api::Feature;
use super::backoff::{Policy, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind};
use super::common::{CALL_LIMIT, Common, Region};
use super::durable::Record;
use super::ids::CallId;
use super::instance::Health;
use super::phase::Phase;
use super::session::missing;
use super::timers::{earlier, earliest};

/// A post gives up before the next is due (backend.md, "Numbers").
const LIMIT_PART: f64 = 0.8;
const LIMIT_CAP: Duration = Duration::from_secs(10);
/// The retry inside a cadence.
const RETRY_PART: (f64, f64) = (0.25, 0.5);
/// What a retry costs, in accepted posts.
const RETRY_COST: u32 = 10;
/// A changed verdict is posted, but not more often than this.
const CHANGE_GAP: Duration = Duration::from_secs(1);
/// The backend's cadence is believed within these bounds (backend.md, trap 10).
const CADENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The backend said no and means it: slow down, never loop.
const REFUSED: Policy = Policy::secs(60, 900);
/// After so many refusals it is believed; a missing permission is at once.
const MEANT: u32 = 2;
const CONFIG_FAILED: Policy = Policy::secs(15, 300);

/// The machine that posts health.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    active: bool,
    cadence: Duration,
    config: Config,
    config_failed: Retry,
    config_refused: Retry,
    /// The next slot; `None` until the first post.
    slot: Option<Instant>,
    /// The retry inside the current slot.
    retry: Option<Instant>,
    /// The current slot has had its retry, or may have none.
    retried: bool,
    /// What may be spent on retries, in tenths: an accepted post earns one, a retry costs [`RETRY_COST`]. So a failing agent
    /// sends at most a tenth more than a healthy one, whatever the share of failures.
    credit: u32,
    in_flight: Option<(CallId, Health)>,
    last_sent: Option<Instant>,
    last_said: Option<Health>,
    last_answer: Option<(Health, Instant)>,
    refused: Retry,
    /// Refusals in a row. One may be the accident of a gateway, and must not cost more beats than itself.
    refusals: u32,
    /// The backend asked for patience.
    hold: Option<Instant>,
    /// The last word on a game that failed was said, or there was nobody to say it to.
    last_word: bool,
    /// The post in flight says `refresh_ttl`.
    spelled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Config {
    Wanted,
    Asked(CallId),
    Known,
    Later(Instant),
}

impl Heartbeat {
    pub(super) fn new(default_cadence: Duration) -> Self {
        Self {
            active: false,
            cadence: default_cadence.clamp(CADENCE.0, CADENCE.1),
            config: Config::Wanted,
            config_failed: Retry::new(CONFIG_FAILED),
            config_refused: Retry::new(REFUSED),
            slot: None,
            retry: None,
            retried: false,
            credit: RETRY_COST,
            in_flight: None,
            last_sent: None,
            last_said: None,
            last_answer: None,
            refused: Retry::new(REFUSED),
            refusals: 0,
            hold: None,
            last_word: false,
            spelled: false,
        }
    }

    pub(super) fn cadence(&self) -> Duration {
        self.cadence
    }

    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    pub(super) fn last_said(&self) -> Option<Health> {
        self.last_said
    }

    pub(super) fn last_answer(&self) -> Option<(Health, Instant)> {
        self.last_answer
    }

    pub(super) fn reloaded(&mut self) {
        self.refused.reset();
        if matches!(self.config, Config::Later(_)) {
            self.config = Config::Wanted;
            self.config_refused.reset();
        }
    }

    /// The game has failed and the instance is being closed: one post more, without a retry, if there were others before.
    pub(super) fn say_last_word(&mut self, common: &mut Common, verdict: Health) {
        if self.last_word || common.phase != Phase::Closing || self.last_said.is_none_or(|said| said == verdict) {
            return;
        }
        self.last_word = true;
        // Also a last word is not for a backend that asked for peace, or that takes none of our posts.
        if [self.hold, self.refused.until()].into_iter().flatten().any(|until| until > common.now) {
            return;
        }
        if let (Some(session), Some(instance), true) =
            (common.session_id().cloned(), common.instance_id().cloned(), common.may_send())
        {
            let refresh_ttl = common.api.understands(Feature::RefreshTtl, common.now);
            let call = Call::PostHealth { session, instance, health: verdict, refresh_ttl };
            let id = common.send(Region::Heartbeat, call, self.limit());
            self.in_flight = Some((id, verdict));
            self.last_sent = Some(common.now);
            self.last_said = Some(verdict);
            common.counters.health_sent += 1;
        }
    }

    pub(super) fn advance(&mut self, common: &mut Common, verdict: Health) {
        let active = common.phase.is_attached() && common.instance_id().is_some();
        if active != self.active {
            self.active = active;
            self.slot = None;
            self.retry = None;
            self.retried = false;
            if let Some((id, _)) = self.in_flight.take() {
                common.cancel(id);
            }
            if let Config::Asked(id) = std::mem::replace(&mut self.config, Config::Wanted) {
                common.cancel(id);
            }
        }
        if !active || !common.may_send() {
            return;
        }
        self.ask_config(common);
        if self.in_flight.is_none() && self.due(common, verdict).is_some_and(|due| due <= common.now) {
            self.post(common, verdict);
        }
    }

    fn ask_config(&mut self, common: &mut Common) {
        let wanted = match &self.config {
            Config::Wanted => true,
            Config::Later(until) => *until <= common.now,
            Config::Asked(_) | Config::Known => false,
        };
        if wanted {
            self.config = Config::Asked(common.send(Region::Heartbeat, Call::HealthConfig, CALL_LIMIT));
        }
    }

    /// When the next post is due: the slot, the retry inside it, or a changed verdict; never before a hold ends.
    fn due(&self, common: &Common, verdict: Health) -> Option<Instant> {
        let slot = self.slot.unwrap_or(common.now);
        let change = self.last_said.filter(|said| *said != verdict).and(self.last_sent).map(|sent| sent + CHANGE_GAP);
        let due = earliest([Some(slot), self.retry, change]);
        [self.hold, self.refused.until()].into_iter().fold(due, |due, until| match (due, until) {
            (Some(due), Some(until)) => Some(due.max(until)),
            (due, _) => due,
        })
    }

    fn post(&mut self, common: &mut Common, verdict: Health) {
        let (Some(session), Some(instance)) = (common.session_id().cloned(), common.instance_id().cloned()) else {
            return;
        };
        let slot_is_due = self.slot.is_none_or(|slot| slot <= common.now);
        if slot_is_due {
            self.next_slot(common);
            self.retried = self.credit < RETRY_COST;
        } else if self.retry.is_some_and(|retry| retry <= common.now) {
            self.retried = true;
            self.credit = self.credit.saturating_sub(RETRY_COST);
        }
        self.retry = None;
        let left = self.slot.map_or(self.cadence, |slot| slot.saturating_duration_since(common.now));
        let limit = self.limit().min(left.max(CADENCE.0.mul_f64(RETRY_PART.0)));
        self.spelled = common.api.understands(Feature::RefreshTtl, common.now);
        let call = Call::PostHealth { session, instance, health: verdict, refresh_ttl: self.spelled };
        let id = common.send(Region::Heartbeat, call, limit);
        self.in_flight = Some((id, verdict));
        self.last_sent = Some(common.now);
        self.last_said = Some(verdict);
        common.counters.health_sent += 1;
    }

    /// The first slot comes a random part of a cadence later, which spreads a fleet; from then on the grid is fixed.
    /// Slots that a stall has eaten are skipped.
    fn next_slot(&mut self, common: &mut Common) {
        self.slot = Some(match self.slot {
            None => common.now + self.cadence.mul_f64(0.5 + 0.5 * common.rng.f64()),
            Some(slot) => {
                let late = common.now.saturating_duration_since(slot);
                let eaten = late.as_nanos() / self.cadence.as_nanos().max(1);
                slot + self.cadence.saturating_mul(u32::try_from(eaten + 1).unwrap_or(u32::MAX))
            }
        });
    }

    fn limit(&self) -> Duration {
        self.cadence.mul_f64(LIMIT_PART).min(LIMIT_CAP)
    }

    pub(super) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: Result<Answer, Failure>) {
        if matches!(&self.config, Config::Asked(asked) if asked == id) {
            self.configured(common, result);
            return;
        }
        let Some((_, sent)) = self.in_flight.take_if(|(wanted, _)| wanted == id) else { return };
        match result {
            Ok(Answer::HealthAccepted(answered)) => {
                common.counters.health_answered += 1;
                if answered != sent {
                    common.counters.health_disputed += 1;
                }
                self.last_answer = Some((answered, common.now));
                self.refused.reset();
                self.refusals = 0;
                self.hold = None;
                self.credit = (self.credit + 1).min(2 * RETRY_COST);
                common.note(Note::HealthAnswered { sent, answered });
            }
            Ok(
                Answer::Session { .. }
                | Answer::NotModified
                | Answer::Instance(_)
                | Answer::Unregistered
                | Answer::HealthConfig(_)
                | Answer::Accepted
                | Answer::SessionMade(_)
                | Answer::Sic(_)
                | Answer::Page(_),
            ) => self.failed(common, &Failure::local(FailureKind::Malformed, "the answer of another call")),
            Err(failure) => self.failed(common, &failure),
        }
    }

    fn failed(&mut self, common: &mut Common, failure: &Failure) {
        common.counters.health_failed += 1;
        match failure.kind {
            FailureKind::Unauthorised | FailureKind::NoToken => {
                // Not the beat's fault: it is owed as soon as there is another token, and the repetition is not charged.
                self.retry = Some(common.now);
                self.credit = self.credit.saturating_add(RETRY_COST);
                return;
            }
            FailureKind::Rejected if self.spelled => {
                // A word that it does not know, and nothing that may cost a beat: at once without it.
                common.lose(Feature::RefreshTtl);
                self.retry = Some(common.now);
                self.credit = self.credit.saturating_add(RETRY_COST);
                return;
            }
            FailureKind::Rejected | FailureKind::Unsupported if self.refusals < MEANT => self.refusals += 1,
            FailureKind::Forbidden | FailureKind::Rejected | FailureKind::Unsupported => {
                let wait = self.refused.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(CallKind::PostHealth, failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(CallKind::PostHealth) });
                }
                return;
            }
            FailureKind::NotFound | FailureKind::Conflict => common.look = true,
            FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Redirected
            | FailureKind::Malformed => {}
        }
        if let Some(after) = failure.retry_after {
            // Slots before that are skipped, whatever they cost: the backend asked.
            self.hold = Some(common.now + after + self.cadence.mul_f64(RETRY_PART.1 * common.rng.f64()));
        } else if !self.retried
            && let Some(slot) = self.slot
        {
            let part = RETRY_PART.0 + (RETRY_PART.1 - RETRY_PART.0) * common.rng.f64();
            // From the post, not from the slot: the first slot is shorter, and a retry at once is what a fleet would do as one.
            let retry = (self.last_sent.unwrap_or(common.now) + self.cadence.mul_f64(part)).max(common.now);
            // Too late inside the slot: the next one is near.
            self.retry = (retry + self.cadence.mul_f64(1.0 - LIMIT_PART) < slot).then_some(retry);
        }
        let next = earlier(self.retry, self.slot).map(|next| next.saturating_duration_since(common.now));
        common.call_failed(CallKind::PostHealth, failure, next);
    }

    fn configured(&mut self, common: &mut Common, result: Result<Answer, Failure>) {
        match result {
            Ok(Answer::HealthConfig(config)) => {
                self.config = Config::Known;
                self.config_failed.reset();
                self.config_refused.reset();
                let cadence = config.cadence.clamp(CADENCE.0, CADENCE.1);
                if cadence != self.cadence {
                    self.cadence = cadence;
                    // The slot in progress ends by the new cadence: sooner, or a little later.
                    self.slot = self.slot.map(|slot| slot.min(common.now + cadence));
                }
                let millis = u64::try_from(cadence.as_millis()).unwrap_or(u64::MAX);
                if common.durable.cadence_millis != Some(millis) {
                    common.remember(vec![Record::Cadence { millis }]);
                }
            }
            Ok(_) | Err(_) => {
                let failure = match result {
                    Err(failure) => failure,
                    Ok(_) => Failure::local(FailureKind::Malformed, "the answer of another call"),
                };
                if matches!(failure.kind, FailureKind::Unauthorised | FailureKind::NoToken) {
                    self.config = Config::Wanted;
                    return;
                }
                let refused =
                    matches!(failure.kind, FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Unsupported);
                let retry = if refused { &mut self.config_refused } else { &mut self.config_failed };
                let wait = retry.failed(common.now, &mut common.rng, failure.retry_after);
                common.call_failed(CallKind::HealthConfig, &failure, Some(wait));
                if failure.kind == FailureKind::Forbidden {
                    common.note(Note::Warning { cause: "permission", words: missing(CallKind::HealthConfig) });
                }
                self.config = Config::Later(common.now + wait);
            }
        }
    }

    pub(super) fn poll_timeout(&self, common: &Common, verdict: Health) -> Option<Instant> {
        if !self.active || !common.may_send() {
            return None;
        }
        let post = if self.in_flight.is_some() { None } else { self.due(common, verdict) };
        let config = match &self.config {
            Config::Later(until) => Some(*until),
            Config::Wanted => Some(common.now),
            Config::Asked(_) | Config::Known => None,
        };
        earlier(post, config)
    }
}
