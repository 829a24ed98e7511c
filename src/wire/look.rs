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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::call::FailureKind;

    fn looks() -> [Look; 4] {
        [
            Look::Allocation(AllocationId::parse("a/1").unwrap()),
            Look::Session(SessionId::parse("s 1").unwrap()),
            Look::HealthConfig,
            Look::Notifications(InstanceId::parse("i?1").unwrap()),
        ]
    }

    fn decoded(look: &Look, status: u16, body: &[u8]) -> Result<Seen, Failure> {
        look.decode(&Reply { status, body, ..Reply::default() }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_look_asks_for_what_the_agent_reads_and_changes_nothing() {
        let asked = looks().map(|look| look.path_and_query());
        let expected = [
            "/session/v1/session/allocation/a%2F1",
            "/session/v1/session/s%201",
            "/session/v1/instance/health/config",
            "/notification/v1/instance/i%3F1/notification?page_size=1",
        ];
        assert_eq!(asked, expected);
        let permissions = looks().map(|look| look.permission());
        let expected = [CallKind::FindSession, CallKind::ReadSession, CallKind::HealthConfig, CallKind::Poll];
        assert_eq!(permissions, expected.map(CallKind::permission));
    }

    #[test]
    fn only_the_session_names_an_instance() {
        let body = br#"{"session_id":"s","instance":{"instance_id":"i","join_status":"joinable"}}"#;
        let named = Seen { instance: InstanceId::parse("i").ok() };
        let seen = looks().map(|look| decoded(&look, 200, body).unwrap());
        assert_eq!(seen, [named.clone(), named, Seen::default(), Seen::default()]);
        let alone = br#"{"session_id":"s","instance":null}"#;
        assert!(looks().iter().all(|look| decoded(look, 200, alone) == Ok(Seen::default())));
    }

    #[test]
    fn what_is_no_json_or_no_success_is_a_failure() {
        for look in looks() {
            assert_eq!(decoded(&look, 200, b"<html>").unwrap_err().kind, FailureKind::Malformed, "{look:?}");
            assert_eq!(decoded(&look, 404, b"{}").unwrap_err().kind, FailureKind::NotFound, "{look:?}");
            assert_eq!(decoded(&look, 304, b"").unwrap_err().kind, FailureKind::Redirected, "{look:?}");
        }
    }
}
