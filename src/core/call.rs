//! What the core asks of the backend, and what comes back: values, no I/O.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::allocation::{SessionWish, SicAnswer, SicEntry};
use super::duty::Duty;
use super::ids::{AllocationId, Etag, Generation, InstanceId, MatchId, NotificationId, SessionId};
use super::instance::{
    CustomData, Health, HealthConfig, InstanceInfo, JoinParams, JoinStatus, Notification, Session, StartupParams,
};

/// One call to the backend. `wire` turns it into HTTP; the adapter adds the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// GET the session that an allocation is bound to.
    FindSession {
        /// Our allocation.
        allocation: AllocationId,
    },
    /// GET the session, with `refresh_ttl=true` and If-None-Match where an etag is known.
    ReadSession {
        /// Our session.
        session: SessionId,
        /// The version that we have.
        etag: Option<Etag>,
    },
    /// POST a session of our own.
    CreateSession {
        /// What it should be.
        wish: Box<SessionWish>,
    },
    /// POST this server to SIC.
    SicRegister {
        /// What SIC is told.
        entry: Box<SicEntry>,
    },
    /// POST the question to SIC whether this server is allocated.
    SicState {
        /// Its id with SIC.
        id: String,
    },
    /// POST the instance: a self-registered host takes the session.
    Register {
        /// Our session.
        session: SessionId,
        /// What we say about ourselves.
        registration: Box<Registration>,
    },
    /// PATCH the instance with everything that we own (backend.md, trap 8).
    Update {
        /// Our session.
        session: SessionId,
        /// The full state.
        update: Box<InstanceUpdate>,
    },
    /// DELETE the instance. Only for one that we registered, after a GET that shows it (backend.md, trap 7).
    Unregister {
        /// Our session.
        session: SessionId,
    },
    /// GET the rules for health posts.
    HealthConfig,
    /// POST health.
    PostHealth {
        /// Our session.
        session: SessionId,
        /// Our instance.
        instance: InstanceId,
        /// The verdict.
        health: Health,
        /// Whether to say `refresh_ttl=true`, which only the newer generation knows.
        refresh_ttl: bool,
    },
    /// POST a fubar report.
    Fubar {
        /// Our session.
        session: SessionId,
        /// The report.
        report: Box<FubarReport>,
    },
    /// POST a session event.
    PostEvent {
        /// Our session.
        session: SessionId,
        /// The event.
        event: Box<SessionEvent>,
    },
    /// POST an audit event: what fubar reports and session events become where those calls are gone (2026-08 contract).
    Audit {
        /// Our session.
        session: SessionId,
        /// The event.
        event: Box<AuditEvent>,
    },
    /// A host's other duty: the match, the browser, the session, a player.
    Duty {
        /// Our session.
        session: SessionId,
        /// The duty.
        duty: Box<Duty>,
    },
    /// The long poll for notifications, always with `offset_reset_strategy=earliest` (backend.md, trap 3).
    Poll {
        /// Our instance.
        instance: InstanceId,
        /// The cursor.
        after: Option<NotificationId>,
        /// 1..100 (2023-11 contract).
        page_size: u8,
        /// How long the backend may hold the call; whole seconds, 0..900 (2023-11 contract).
        deadline: Duration,
    },
}

/// The kind of a call: one stable word for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// [`Call::FindSession`]
    FindSession,
    /// [`Call::ReadSession`]
    ReadSession,
    /// [`Call::Register`]
    Register,
    /// [`Call::Update`]
    Update,
    /// [`Call::Unregister`]
    Unregister,
    /// [`Call::HealthConfig`]
    HealthConfig,
    /// [`Call::PostHealth`]
    PostHealth,
    /// [`Call::Fubar`]
    Fubar,
    /// [`Call::PostEvent`]
    PostEvent,
    /// [`Call::Audit`]
    Audit,
    /// [`Call::Duty`]: begin, update or end a match.
    Match,
    /// [`Call::Duty`]: list, update or unlist the session in the public browser.
    Browser,
    /// [`Call::Duty`]: update the session.
    UpdateSession,
    /// [`Call::Duty`]: remove a player.
    RemovePlayer,
    /// [`Call::Poll`]
    Poll,
    /// [`Call::CreateSession`]
    CreateSession,
    /// [`Call::SicRegister`]
    SicRegister,
    /// [`Call::SicState`]
    SicState,
    /// A login or refresh.
    Login,
}

impl CallKind {
    /// Every kind, for tables of metrics.
    pub const ALL: [Self; 19] = [
        Self::FindSession,
        Self::ReadSession,
        Self::Register,
        Self::Update,
        Self::Unregister,
        Self::HealthConfig,
        Self::PostHealth,
        Self::Fubar,
        Self::PostEvent,
        Self::Audit,
        Self::Match,
        Self::Browser,
        Self::UpdateSession,
        Self::RemovePlayer,
        Self::Poll,
        Self::CreateSession,
        Self::SicRegister,
        Self::SicState,
        Self::Login,
    ];

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FindSession => "find_session",
            Self::ReadSession => "read_session",
            Self::Register => "register",
            Self::Update => "update",
            Self::Unregister => "unregister",
            Self::HealthConfig => "health_config",
            Self::PostHealth => "health",
            Self::Fubar => "fubar",
            Self::PostEvent => "event",
            Self::Audit => "audit",
            Self::Match => "match",
            Self::Browser => "browser",
            Self::UpdateSession => "update_session",
            Self::RemovePlayer => "remove_player",
            Self::Poll => "poll",
            Self::CreateSession => "create_session",
            Self::SicRegister => "sic_register",
            Self::SicState => "sic_state",
            Self::Login => "login",
        }
    }

    /// The permission that the backend wants for it (backend.md, table of calls; [`super::duty`] for the duties), for an operator's eyes.
    pub fn permission(self) -> &'static str {
        match self {
            Self::FindSession => "session:read:allocation",
            Self::ReadSession => "session:read:any (or session:read:self)",
            Self::Register | Self::Update | Self::Unregister | Self::Match | Self::UpdateSession => {
                "session:update:any (or session:update:self)"
            }
            Self::HealthConfig => "session:read:config",
            Self::PostHealth => "session:instance:health",
            Self::Fubar => "session:update:fubar",
            Self::PostEvent => "session:update:event",
            Self::Audit => "session-audit:update:all (or session:*)",
            Self::Browser => "session:update:browser",
            Self::RemovePlayer => "session:update-player:any",
            Self::Poll => "notification:instance:read",
            Self::CreateSession => "session:create (or whatever the environment calls the right to make a session)",
            Self::SicRegister | Self::SicState => "SIC registration (RallyHere's hosting grants it)",
            Self::Login => "none: the credentials themselves were refused",
        }
    }

    /// Whether the call may be repeated at once on a closed reused connection: it changes nothing.
    pub fn is_safe(self) -> bool {
        match self {
            // Registering twice with SIC is registering once.
            Self::FindSession
            | Self::ReadSession
            | Self::HealthConfig
            | Self::Poll
            | Self::SicRegister
            | Self::SicState => true,
            Self::Register
            | Self::Update
            | Self::Unregister
            | Self::PostHealth
            | Self::Fubar
            | Self::PostEvent
            | Self::Audit
            | Self::Match
            | Self::Browser
            | Self::UpdateSession
            | Self::RemovePlayer
            | Self::CreateSession
            | Self::Login => false,
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Call {
    /// Its kind.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::FindSession { .. } => CallKind::FindSession,
            Self::ReadSession { .. } => CallKind::ReadSession,
            Self::CreateSession { .. } => CallKind::CreateSession,
            Self::SicRegister { .. } => CallKind::SicRegister,
            Self::SicState { .. } => CallKind::SicState,
            Self::Register { .. } => CallKind::Register,
            Self::Update { .. } => CallKind::Update,
            Self::Unregister { .. } => CallKind::Unregister,
            Self::HealthConfig => CallKind::HealthConfig,
            Self::PostHealth { .. } => CallKind::PostHealth,
            Self::Fubar { .. } => CallKind::Fubar,
            Self::PostEvent { .. } => CallKind::PostEvent,
            Self::Audit { .. } => CallKind::Audit,
            Self::Duty { duty, .. } => duty.call_kind(),
            Self::Poll { .. } => CallKind::Poll,
        }
    }
}

/// A login. The secrets stay with the adapter; the core only says which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Login {
    /// With the configured grant.
    Fresh,
    /// With the refresh token of the last login.
    Refresh,
}

/// What a login gave, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// How long the token lives, if anything said so; otherwise we learn it from a rejection.
    pub lifetime: Option<Duration>,
    /// Whether a refresh token came with it.
    pub can_refresh: bool,
}

/// The POST of a self-registered instance (2023-11 contract, InstanceRequest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Ours, made once.
    pub instance_id: InstanceId,
    /// "dedicated" in the 2023-11 contract.
    pub host_type: String,
    /// What the game was asked to load, if configured.
    pub startup_params: Option<StartupParams>,
    /// Whatever the operator or the game says.
    pub custom_data: CustomData,
}

/// The PATCH of an instance: everything that we own (2023-11 contract, InstanceInfoUpdate).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceUpdate {
    /// The fence; always there for an allocated instance.
    pub allocation_id: Option<AllocationId>,
    /// pending, joinable or closed.
    pub join_status: JoinStatus,
    /// How to connect, once known.
    pub join_params: Option<JoinParams>,
    /// semver of the game build, if known.
    pub version: Option<String>,
    /// Whatever the operator or the game says.
    pub custom_data: CustomData,
    /// The match that is played, where the game has named one and the environment knows the field (2026-08 contract).
    pub match_id: Option<MatchId>,
}

/// A fubar report (2023-11 contract, InstanceFubar).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FubarReport {
    /// Our instance.
    pub instance_id: InstanceId,
    /// 1..128 characters; it becomes a graph label, so a small vocabulary.
    pub error: String,
    /// 1..128 characters.
    pub region: String,
    /// 1..128 characters.
    pub matchmaking_profile_id: Option<String>,
    /// player, sic or multiplay.
    pub source_provider: Option<String>,
}

/// A session event (2023-11 contract, SessionEventCreateRequest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// 1..256 characters.
    pub event_code: String,
    /// When we accepted it.
    pub timestamp: Timestamp,
    /// 0..4096 characters.
    pub description: Option<String>,
    /// Values of 1..4096 characters.
    pub custom_data: CustomData,
}

/// An audit event (2026-08 contract, CreateAuditRequest), as far as we write it. The service puts `customer.` before the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// 1..128 characters.
    pub event_name: String,
    /// Any text.
    pub reason: Option<String>,
    /// Our instance.
    pub instance_id: InstanceId,
    /// The fence, for an allocated instance.
    pub allocation_id: Option<AllocationId>,
    /// Our verdict when it was sent.
    pub instance_health: Option<Health>,
    /// 1..128 characters.
    pub region: Option<String>,
    /// 1..128 characters.
    pub matchmaking_profile_id: Option<String>,
    /// The match, where the game has named one.
    pub match_id: Option<MatchId>,
    /// Values of 1..4096 characters.
    pub custom_data: CustomData,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To [`Call::FindSession`] and [`Call::ReadSession`].
    Session {
        /// The document.
        session: Box<Session>,
        /// Its version, where the backend gave one.
        etag: Option<Etag>,
    },
    /// To [`Call::CreateSession`]: the session that there is now.
    SessionMade(SessionId),
    /// To [`Call::SicRegister`] and [`Call::SicState`].
    Sic(Box<SicAnswer>),
    /// To [`Call::ReadSession`]: nothing new (304).
    NotModified,
    /// To [`Call::Register`] and [`Call::Update`].
    Instance(Box<InstanceInfo>),
    /// To [`Call::Unregister`].
    Unregistered,
    /// To [`Call::HealthConfig`].
    HealthConfig(HealthConfig),
    /// To [`Call::PostHealth`]: what the backend now thinks of us (backend.md, trap 10: it may differ).
    HealthAccepted(Health),
    /// To [`Call::Fubar`], [`Call::PostEvent`], [`Call::Audit`] and [`Call::Duty`].
    Accepted,
    /// To [`Call::Poll`].
    Page(Page),
}

/// A page of the long poll, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// What could be read.
    pub notifications: Vec<Arc<Notification>>,
    /// How many entries were not usable (no id, wrong type): counted, never a reason to stop.
    pub unusable: u32,
    /// The newest id of the page, also where that entry was not usable: the cursor must be able to move past it.
    pub last_id: Option<NotificationId>,
}

/// The sort of a failure, decided by `wire` and the adapter; what it means is the core's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request never left: name, connection or TLS failed.
    Unreachable,
    /// The connection ended after the request was sent, before a whole answer came.
    Cut,
    /// Our own limit ran out.
    TimedOut,
    /// No token to send it with; nothing was sent.
    NoToken,
    /// 401, or a 403 of the authentication (backend.md, trap 1).
    Unauthorised,
    /// 403 for a missing permission.
    Forbidden,
    /// 404 or 410.
    NotFound,
    /// 405 or 501: the call itself is gone.
    Unsupported,
    /// 409.
    Conflict,
    /// 408, 425, 429.
    Throttled,
    /// 5xx.
    Server,
    /// 400, 422 and every other 4xx: this request is dead.
    Rejected,
    /// A redirect, which we never follow (backend.md, trap 14).
    Redirected,
    /// A success that cannot be used: not JSON, too large, a required field missing.
    Malformed,
}

impl FailureKind {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Cut => "cut",
            Self::TimedOut => "timed_out",
            Self::NoToken => "no_token",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Rejected => "rejected",
            Self::Redirected => "redirected",
            Self::Malformed => "malformed",
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Failure {
    /// Its sort.
    pub kind: FailureKind,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// The backend's `error_code`, if one came; cut to 128 characters.
    pub code: Option<Box<str>>,
    /// What happened in words; backend text in it is cut and escaped.
    pub detail: Box<str>,
    /// What Retry-After asked for, at most 15 minutes.
    pub retry_after: Option<Duration>,
    /// Which login's token was refused; only with `Unauthorised`.
    pub token: Option<Generation>,
    /// Where the call is found in the logs of both sides, if it got that far.
    pub trail: Option<Box<Trail>>,
}

/// Where one call to the backend is found in the logs. Not part of a failure's words: those are the same each time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trail {
    /// Ours; it went out as the header X-Request-Id.
    pub request_id: Box<str>,
    /// That of the backend, or of whoever stands before it, if the answer had one; at most 128 characters.
    pub backend_request_id: Option<Box<str>>,
}

impl Failure {
    /// A failure without an HTTP answer.
    pub fn local(kind: FailureKind, detail: impl Into<Box<str>>) -> Self {
        Self { kind, status: None, code: None, detail: detail.into(), retry_after: None, token: None, trail: None }
    }

    /// The failure of the call that is found there.
    #[must_use]
    pub fn found_at(self, trail: &Trail) -> Self {
        Self { trail: Some(Box::new(trail.clone())), ..self }
    }

    /// Our id of the call, for logs.
    pub fn request_id(&self) -> Option<&str> {
        self.trail.as_ref().map(|trail| &*trail.request_id)
    }

    /// The backend's id of the call, for logs.
    pub fn backend_request_id(&self) -> Option<&str> {
        self.trail.as_ref().and_then(|trail| trail.backend_request_id.as_deref())
    }

    /// Whether the backend may have carried out the call although we have no answer.
    pub fn is_ambiguous(&self) -> bool {
        match self.kind {
            FailureKind::Cut | FailureKind::TimedOut | FailureKind::Server | FailureKind::Malformed => true,
            FailureKind::Unreachable
            | FailureKind::NoToken
            | FailureKind::Unauthorised
            | FailureKind::Forbidden
            | FailureKind::NotFound
            | FailureKind::Unsupported
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Rejected
            | FailureKind::Redirected => false,
        }
    }

    /// Whether the session itself is gone, and not just a page of a proxy (backend.md, trap 11).
    pub fn is_session_gone(&self) -> bool {
        self.kind == FailureKind::NotFound && self.code.as_deref() == Some("session_not_found")
    }

    fn words(&self) -> String {
        let mut words = String::from(self.kind.as_str());
        if let Some(status) = self.status {
            let _ = write!(words, " (HTTP {status})");
        }
        if let Some(code) = &self.code {
            let _ = write!(words, " {code}");
        }
        if !self.detail.is_empty() {
            let _ = write!(words, ": {}", self.detail);
        }
        words
    }
}
