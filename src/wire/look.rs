//! Questions that change nothing, with which the doctor finds out what a client may do.
//!
//! They are the agent's own reads but for two: the session is read without refreshing its life, and of the notifications the
//! paged list is asked for instead of the long poll, which would wait.

use jiff::Timestamp;

use super::request::{part, session_path};
use super::{Reply, failure, json, session};
use crate::core::call::{CallKind, Failure};
use crate::core::ids::{AllocationId, InstanceId, SessionId};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// GET the session that an allocation is bound to.
    Allocation(AllocationId),
    /// GET the session.
    Session(SessionId),
    /// GET the rules for health posts.
    HealthConfig,
    /// GET the newest notification of an instance.
    Notifications(InstanceId),
}

/// What a good answer told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The instance of the session, if it has one.
    pub instance: Option<InstanceId>,
}

impl Look {
    /// The permission that the backend wants for it.
    pub fn permission(&self) -> &'static str {
        match self {
            Self::Allocation(_) => CallKind::FindSession,
            Self::Session(_) => CallKind::ReadSession,
            Self::HealthConfig => CallKind::HealthConfig,
            Self::Notifications(_) => CallKind::Poll,
        }
        .permission()
    }

    /// Path and query of the GET.
    pub fn path_and_query(&self) -> String {
        match self {
            Self::Allocation(id) => format!("/session/v1/session/allocation/{}", part(id.as_str())),
            Self::Session(id) => session_path(id.as_str(), ""),
            Self::HealthConfig => "/session/v1/instance/health/config".to_owned(),
            Self::Notifications(id) => {
                format!("/notification/v1/instance/{}/notification?page_size=1", part(id.as_str()))
            }
        }
    }

    /// Reads the reply. `wall` is the wall clock, for a `Retry-After` that names a date.
    ///
    /// # Errors
    /// Everything that is not a usable success, sorted as by [`super::decode`].
    pub fn decode(&self, reply: &Reply<'_>, wall: Timestamp) -> Result<Seen, Failure> {
        if !matches!(reply.status, 200..=299) {
            return Err(failure::refused(reply, wall));
        }
        let seen = match self {
            Self::Allocation(_) | Self::Session(_) => session::session(reply.body)
                .map(|session| Seen { instance: session.instance.and_then(|instance| instance.instance_id) }),
            Self::HealthConfig | Self::Notifications(_) => json::checked(reply.body).map(|_kind| Seen::default()),
        };
        seen.map_err(|why| failure::malformed(reply, wall, &why))
    }
}
