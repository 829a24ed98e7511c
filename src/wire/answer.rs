//! From a reply to an answer or a failure.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::json::{self, Loose, Unreadable};
use super::{Reply, allocation, failure, page, session};
use crate::core::call::{Answer, Call, Failure};
use crate::core::ids::Etag;
use crate::core::instance::{Health, HealthConfig};

/// The shortest and the longest cadence that we follow, in seconds (backend.md, trap 10).
const CADENCE: (f64, f64) = (1.0, 3600.0);

/// Reads the reply to a call. `wall` is the wall clock, for a `Retry-After` that names a date.
///
/// # Errors
/// Everything that is not a usable success, sorted by [`FailureKind`](crate::core::call::FailureKind).
pub fn decode(call: &Call, reply: &Reply<'_>, wall: Timestamp) -> Result<Answer, Failure> {
    match reply.status {
        200..=299 => success(call, reply).map_err(|why| failure::malformed(reply, wall, &why)),
        304 if has_etag(call) => Ok(Answer::NotModified),
        _ => Err(failure::refused(reply, wall)),
    }
}

/// Whether we asked for "only if it changed"; else a 304 is a redirect like any other.
fn has_etag(call: &Call) -> bool {
    matches!(call, Call::ReadSession { etag: Some(_), .. })
}

fn success(call: &Call, reply: &Reply<'_>) -> Result<Answer, Unreadable> {
    match call {
        Call::FindSession { .. } | Call::ReadSession { .. } => Ok(Answer::Session {
            session: Box::new(session::session(reply.body)?),
            etag: reply.etag.and_then(|etag| Etag::parse(etag).ok()),
        }),
        Call::Register { .. } | Call::Update { .. } => Ok(Answer::Instance(Box::new(session::instance(reply.body)?))),
        Call::Unregister { .. } => acknowledged(reply).map(|()| Answer::Unregistered),
        Call::CreateSession { .. } => allocation::session_made(reply.body).map(Answer::SessionMade),
        Call::SicRegister { .. } | Call::SicState { .. } => {
            allocation::sic(reply.body, reply.secrets).map(|answer| Answer::Sic(Box::new(answer)))
        }
        Call::HealthConfig => health_config(reply.body).map(Answer::HealthConfig),
        Call::PostHealth { .. } => health(reply.body).map(Answer::HealthAccepted),
        Call::Fubar { .. } | Call::PostEvent { .. } | Call::Audit { .. } | Call::Duty { .. } => {
            acknowledged(reply).map(|()| Answer::Accepted)
        }
        Call::Poll { .. } if reply.status == 204 => Ok(Answer::Page(crate::core::call::Page::default())),
        Call::Poll { page_size, .. } => page::page(reply.body, usize::from((*page_size).max(1))).map(Answer::Page),
    }
}

/// The contract promises nothing of the body, but JSON or no body at all it must be: a page of a proxy in front of a dead backend
/// also says 200, and a report must not count as delivered by it.
fn acknowledged(reply: &Reply<'_>) -> Result<(), Unreadable> {
    if reply.body.is_empty() { Ok(()) } else { json::checked(reply.body).map(|_kind| ()) }
}

#[derive(Deserialize)]
struct HealthConfigDto {
    #[serde(default)]
    cadence_seconds: Loose,
}

fn health_config(body: &[u8]) -> Result<HealthConfig, Unreadable> {
    let dto: HealthConfigDto = json::object(body)?;
    let seconds = dto.cadence_seconds.number().ok_or(Unreadable::Missing("cadence_seconds"))?;
    let (shortest, longest) = CADENCE;
    Ok(HealthConfig { cadence: Duration::from_secs_f64(seconds.clamp(shortest, longest)) })
}

#[derive(Deserialize)]
struct HealthDto {
    #[serde(default)]
    updated_instance_health: Loose,
}

fn health(body: &[u8]) -> Result<Health, Unreadable> {
    let dto: HealthDto = json::object(body)?;
    let word = dto.updated_instance_health.text().ok_or(Unreadable::Missing("updated_instance_health"))?;
    Ok(Health::from_wire(&word))
}
