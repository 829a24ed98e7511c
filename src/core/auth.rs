//! The login of the process: one machine for all instances, one login in flight.
//!
//! ```text
//!   None ──► LoggingIn ──► Valid ──► Refreshing ──► Valid
//!    ▲           │           │            │
//!    └─ failed ──┤           └─ rejected ─┴──► LoggingIn
//!                └─ refused ──► Denied ── later, or on a new secret ──► LoggingIn
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::api::{Feature, Finding, Findings};
use super::backoff::{Policy, Retry};
use super::call::{CallKind, Failure, FailureKind, LoggedIn, Login};
use super::ids::{CallId, Counter, Generation};
use super::machine::Machine;

/// After a login that failed for now (backend.md, "Numbers").
const FAILED: Policy = Policy::secs(15, 60);
/// A refused login is tried again after this, plus up to [`DENIED_JITTER`], for [`DENIED_SOON_FOR`].
const DENIED_SOON: Duration = Duration::from_secs(60);
const DENIED_JITTER: Duration = Duration::from_secs(15);
const DENIED_SOON_FOR: Duration = Duration::from_secs(600);
/// Later, every 5 to 15 minutes (design.md section 8).
const DENIED_LATE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(900));
/// A token rejected so soon after its login is not an expiry: doing that twice in a row would be a storm.
const TOO_FRESH: Duration = Duration::from_secs(10);
/// The shortest wait between logins that succeed and do not help.
const FUTILE: Duration = Duration::from_secs(30);
/// No refresh comes sooner than this, however short the lifetime.
const REFRESH_FLOOR: Duration = Duration::from_secs(1);
/// A refresh happens at a random point of this part of the lifetime (backend.md, trap 2).
const REFRESH_AT: (f64, f64) = (0.6, 0.9);
/// A lifetime beyond this is not believed; the token is refreshed all the same.
const LIFETIME_CAP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Logins that a process may make at once when it is restarted again and again.
const RESTART_BURST: f64 = 3.0;
/// Beyond the burst, one login in this time on average, however often the process begins anew (design.md section 8).
const RESTART_REFILL: Duration = Duration::from_secs(60);
/// And a little later, so that a fleet in a crash loop does not log in as one.
const RESTART_JITTER: Duration = Duration::from_secs(10);

/// Attempts that are worth remembering: a longer history tells nothing more.
pub const PAST_ATTEMPTS: usize = 8;

/// What is known of the logins of earlier processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// How long ago logins were tried, oldest first; at most the last [`PAST_ATTEMPTS`].
    pub attempts: Vec<Duration>,
    /// A token that is good for generation 1, if one was kept.
    pub token: Option<LoggedIn>,
}

impl Past {
    /// How long the first login has to wait: not at all, unless the process is in a crash loop.
    fn restraint(&self) -> Duration {
        let refill = |elapsed: Duration| elapsed.as_secs_f64() / RESTART_REFILL.as_secs_f64();
        // A full history says nothing of what was before it: then the burst is taken as spent.
        let mut level = if self.attempts.len() < PAST_ATTEMPTS { RESTART_BURST } else { 1.0 };
        let mut before: Option<Duration> = None;
        for ago in &self.attempts {
            if let Some(before) = before {
                level = (level + refill(before.saturating_sub(*ago))).min(RESTART_BURST);
            }
            level = (level - 1.0).max(0.0);
            before = Some(*ago);
        }
        level = (level + refill(before.unwrap_or_default())).min(RESTART_BURST);
        RESTART_REFILL.mul_f64((1.0 - level).max(0.0))
    }
}

/// The login, seen from the instances and from outside. It never holds a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthView {
    /// Where it stands.
    pub state: AuthState,
    /// The login whose token is in use, if there is one.
    pub generation: Option<Generation>,
    /// What is wrong, in words, with the backend's error code; what to do.
    pub detail: Option<String>,
    /// When it is tried again, if it is waiting.
    pub retry_at: Option<Instant>,
    /// Logins that were tried since the start.
    pub attempts: u64,
    /// What any instance has found out about the environment's API ([`super::api`]).
    pub api: Arc<Findings>,
}

/// Where the login stands (design.md section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthState {
    /// Not begun, or failed for now.
    None,
    /// At work on the first token, or on one after a rejection.
    LoggingIn,
    /// There is a token.
    Valid,
    /// There is a token, and a newer one is on its way.
    Refreshing,
    /// The credentials were refused.
    Denied,
}

impl AuthState {
    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LoggingIn => "logging_in",
            Self::Valid => "valid",
            Self::Refreshing => "refreshing",
            Self::Denied => "denied",
        }
    }

    /// Whether a call may be sent.
    pub fn has_token(self) -> bool {
        match self {
            Self::Valid | Self::Refreshing => true,
            Self::None | Self::LoggingIn | Self::Denied => false,
        }
    }
}

impl Default for AuthView {
    fn default() -> Self {
        Self {
            state: AuthState::None,
            generation: None,
            detail: None,
            retry_at: None,
            attempts: 0,
            api: Arc::default(),
        }
    }
}

/// What can happen to the login.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthEvent {
    /// A login came back.
    Answered {
        /// Which.
        id: CallId,
        /// How.
        result: Result<LoggedIn, Failure>,
    },
    /// The backend refused the token of this generation for an authentication reason.
    Rejected(Generation),
    /// An instance found something out about the environment's API, which the others should know.
    Learnt {
        /// About what.
        feature: Feature,
        /// What.
        finding: Finding,
    },
    /// A secret changed, or the operator asked: what was refused may be tried at once.
    Reloaded,
    /// The process ends: no login any more.
    Stop,
}

/// What the login wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthAction {
    /// Log in; the token, if one comes, belongs to this generation.
    Login {
        /// Answered by exactly one `Answered` with this id.
        id: CallId,
        /// Which way.
        login: Login,
        /// The generation of what comes.
        generation: Generation,
    },
    /// Tell the operator that a login failed.
    Failed {
        /// How.
        failure: Failure,
        /// Whether the credentials were refused.
        denied: bool,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Tell the operator that a login succeeded.
    Succeeded {
        /// How long the token lives, if known.
        lifetime: Option<Duration>,
    },
    /// Tell the operator that a part of the API is gone, or there again.
    Learnt {
        /// Which part.
        feature: Feature,
        /// Whether it is gone.
        gone: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    generation: Generation,
    fresh_until: Instant,
    can_refresh: bool,
}

/// The machine. See the module's drawing.
#[derive(Debug, Clone)]
pub struct Auth {
    rng: Rng,
    ids: Counter,
    actions: VecDeque<AuthAction>,
    token: Option<Token>,
    in_flight: Option<(CallId, Login, Generation)>,
    newest: Generation,
    failed: Retry,
    /// When the next login is wanted; `None` while a token is good and its lifetime unknown.
    due: Option<Instant>,
    denied_since: Option<Instant>,
    /// A login failed, and the next one is not to come before this, whatever happens to the token.
    patience: Option<Instant>,
    /// The last token was rejected while it was new.
    was_fresh: bool,
    /// Logins that succeed and do not help.
    futile: Retry,
    detail: Option<String>,
    attempts: u64,
    /// Until when the first login of this process waits, if it was restarted again and again.
    restraint: Option<Instant>,
    stopped: bool,
    api: Arc<Findings>,
}

impl Auth {
    /// A login that begins at once, unless a kept token makes it needless or a crash loop makes it wait.
    pub fn new(seed: u64, past: &Past, now: Instant) -> Self {
        let mut auth = Self {
            rng: Rng::with_seed(seed),
            ids: Counter::default(),
            actions: VecDeque::new(),
            token: None,
            in_flight: None,
            newest: Generation::default(),
            failed: Retry::new(FAILED),
            due: Some(now),
            denied_since: None,
            patience: None,
            was_fresh: false,
            futile: Retry::new(FAILED),
            detail: None,
            attempts: 0,
            restraint: Some(now + past.restraint()),
            stopped: false,
            api: Arc::default(),
        };
        if let Some(kept) = &past.token {
            auth.newest = Generation(1);
            auth.succeeded(kept, Generation(1), now);
            auth.actions.clear();
            if let Some(token) = &mut auth.token {
                // It may be at its end: its rejection is an expiry, not a riddle.
                token.fresh_until = now;
            }
        } else {
            auth.restrained(now);
        }
        auth.handle_timeout(now);
        auth
    }

    /// Makes the first login of a process in a crash loop wait; says whether it does.
    fn restrained(&mut self, now: Instant) -> bool {
        let Some(until) = self.restraint.take().filter(|until| *until > now) else { return false };
        self.due = Some(until + RESTART_JITTER.mul_f64(self.rng.f64()));
        self.detail = Some("the agent was restarted again and again; the next login waits a little".to_owned());
        true
    }

    /// Fixes the dice, so that the checker's states do not differ by how often they were thrown.
    #[cfg(test)]
    pub(super) fn reseed(&mut self, seed: u64) {
        self.rng.seed(seed);
    }

    fn login(&mut self, login: Login) {
        let id = self.ids.call();
        self.newest = Generation(self.newest.0 + 1);
        self.attempts += 1;
        self.due = None;
        self.in_flight = Some((id.clone(), login, self.newest));
        self.actions.push_back(AuthAction::Login { id, login, generation: self.newest });
    }

    fn succeeded(&mut self, logged_in: &LoggedIn, generation: Generation, now: Instant) {
        let lifetime = logged_in.lifetime.map(|lifetime| lifetime.min(LIFETIME_CAP));
        let refresh_at = lifetime.map(|lifetime| {
            let part = REFRESH_AT.0 + (REFRESH_AT.1 - REFRESH_AT.0) * self.rng.f64();
            // A lifetime of nothing would be a login storm.
            now + lifetime.mul_f64(part).max(REFRESH_FLOOR)
        });
        let fresh_until = now + lifetime.map_or(TOO_FRESH, |lifetime| (lifetime / 2).min(TOO_FRESH));
        self.token = Some(Token { generation, fresh_until, can_refresh: logged_in.can_refresh });
        self.due = refresh_at;
        self.failed.reset();
        self.denied_since = None;
        self.patience = None;
        self.detail = None;
        self.actions.push_back(AuthAction::Succeeded { lifetime });
    }

    fn not_succeeded(&mut self, failure: Failure, login: Login, now: Instant) {
        let denied = is_permanent(&failure);
        if denied && login == Login::Refresh {
            // The refresh token has had its day; the credentials have not been asked yet.
            if let Some(token) = &mut self.token {
                token.can_refresh = false;
            }
            self.login(Login::Fresh);
            return;
        }
        let retry_in = if denied {
            let since = *self.denied_since.get_or_insert(now);
            let wait = if now.saturating_duration_since(since) < DENIED_SOON_FOR {
                DENIED_SOON + DENIED_JITTER.mul_f64(self.rng.f64())
            } else {
                DENIED_LATE.0 + (DENIED_LATE.1 - DENIED_LATE.0).mul_f64(self.rng.f64())
            };
            wait.max(failure.retry_after.unwrap_or_default())
        } else {
            self.failed.failed(now, &mut self.rng, failure.retry_after)
        };
        self.due = Some(now + retry_in);
        self.patience = self.due;
        self.detail = Some(words(&failure, denied));
        self.actions.push_back(AuthAction::Failed { failure, denied, retry_in });
    }

    fn rejected(&mut self, generation: Generation, now: Instant) {
        let Some(token) = self.token.take_if(|token| token.generation == generation) else {
            // An older token: the newer one is there or on its way already.
            return;
        };
        if self.in_flight.is_some() {
            return;
        }
        if self.patience.is_some_and(|until| until > now) {
            // The token died while its refresh was failing: that is no reason to ask again any sooner.
            return;
        }
        // One rejection of a new token may be bad luck; a second one in a row is a loop that must be slow.
        let futile = self.was_fresh && now < token.fresh_until;
        self.was_fresh = now < token.fresh_until;
        if futile {
            let wait = FUTILE + self.futile.failed(now, &mut self.rng, None);
            self.due = Some(now + wait);
            self.detail =
                Some("the backend rejects tokens that it has just given; is a clock of its hosts wrong?".to_owned());
        } else if !self.restrained(now) {
            self.futile.reset();
            self.login(if token.can_refresh { Login::Refresh } else { Login::Fresh });
        }
    }

    /// The newest finding stands. The operator is told once for all instances.
    fn learnt(&mut self, feature: Feature, finding: Finding) {
        let known = self.api.get(&feature);
        if known.is_some_and(|known| known.at >= finding.at) {
            return;
        }
        if known.is_some_and(|known| known.gone) != finding.gone {
            self.actions.push_back(AuthAction::Learnt { feature, gone: finding.gone });
        }
        Arc::make_mut(&mut self.api).insert(feature, finding);
    }

    fn view(&self) -> AuthView {
        let state = match (&self.token, &self.in_flight) {
            (Some(_), Some(_)) => AuthState::Refreshing,
            (Some(_), None) => AuthState::Valid,
            (None, Some(_)) => AuthState::LoggingIn,
            (None, None) if self.denied_since.is_some() => AuthState::Denied,
            (None, None) => AuthState::None,
        };
        let waiting = self.token.is_none() || self.detail.is_some();
        AuthView {
            state,
            generation: self.token.as_ref().map(|token| token.generation),
            detail: self.detail.clone(),
            retry_at: if waiting { self.due } else { None },
            attempts: self.attempts,
            api: Arc::clone(&self.api),
        }
    }
}

impl Machine for Auth {
    type Event = AuthEvent;
    type Action = AuthAction;
    type Snapshot = AuthView;

    fn handle_event(&mut self, event: AuthEvent, now: Instant) {
        if self.stopped {
            return;
        }
        match event {
            AuthEvent::Answered { id, result } => {
                let Some((_, login, generation)) = self.in_flight.take_if(|(wanted, _, _)| *wanted == id) else {
                    return;
                };
                match result {
                    Ok(logged_in) => self.succeeded(&logged_in, generation, now),
                    Err(failure) => self.not_succeeded(failure, login, now),
                }
            }
            AuthEvent::Rejected(generation) => self.rejected(generation, now),
            AuthEvent::Learnt { feature, finding } => self.learnt(feature, finding),
            AuthEvent::Reloaded => {
                if self.in_flight.is_none() && (self.token.is_none() || self.detail.is_some()) {
                    self.denied_since = None;
                    self.patience = None;
                    self.failed.reset();
                    self.login(Login::Fresh);
                }
            }
            AuthEvent::Stop => {
                self.stopped = true;
                self.actions.clear();
            }
        }
        self.handle_timeout(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.stopped && self.in_flight.is_none() && self.due.is_some_and(|due| due <= now) {
            let can_refresh = self.token.as_ref().is_some_and(|token| token.can_refresh);
            self.login(if can_refresh { Login::Refresh } else { Login::Fresh });
        }
    }

    fn poll_action(&mut self) -> Option<AuthAction> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped || self.in_flight.is_some() { None } else { self.due }
    }

    fn snapshot(&self) -> AuthView {
        self.view()
    }

    fn is_over(&self) -> bool {
        self.stopped
    }
}

/// Whether trying again soon is useless: the credentials or their rights are wrong (backend.md, trap 2).
pub fn is_permanent(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Unauthorised | FailureKind::Forbidden | FailureKind::Rejected | FailureKind::Unsupported => {
            failure.code.as_deref() != Some("internal_error")
        }
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::TimedOut
        | FailureKind::NoToken
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::Server
        | FailureKind::Redirected
        | FailureKind::Malformed => false,
    }
}

fn words(failure: &Failure, denied: bool) -> String {
    if denied {
        format!("{} refused: {failure}; check auth.client_id and its secret, then reload", CallKind::Login)
    } else {
        format!("{} failed: {failure}", CallKind::Login)
    }
}

#[cfg(test)]
mod tests;
