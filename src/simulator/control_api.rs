//! The control API under `/_sim/`: JSON, no login, never part of the contract.
//!
//! | call | body -> answer |
//! |---|---|
//! | GET state | a summary |
//! | GET ledger, DELETE ledger | everything that was asked; forget it |
//! | POST sessions | `{session_id, session_type?, region_id?}` -> 201 |
//! | GET, DELETE sessions/ID | the whole document; take it away |
//! | PUT sessions/ID/instance | `{instance_id?}`: somebody else's instance -> `{instance_id}` |
//! | DELETE sessions/ID/instance | the instance is gone |
//! | POST allocations | `{allocation_id, session_id?, instance_id?}`: make or bind -> 201 `{instance_id}` |
//! | DELETE allocations/ID | forget it, with its instance |
//! | POST sic | `{id, state: deallocated, allocating, allocated or forgotten, allocation_id?, session_id?}`: what SIC makes of a server |
//! | POST notifications | `{instance_id or session_id, notifications: […]}` -> 201 `{notification_ids}` |
//! | POST notifications/trim | `{instance_id?, keep}`: one stream now, or all from now on |
//! | POST tokens | `{expire?, expire_refresh?, lifetime_seconds?}` |
//! | POST health | `{cadence_seconds}` |
//! | POST permissions | `{client_id, grant?: […], revoke?: […]}` |
//! | GET, POST, DELETE faults | a rule or a list of them (see `FaultRule`) |
//! | POST outage | `{mode: none, refuse or unavailable}` |

use std::time::Duration;

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arrived::Arrived;
use super::fault::FaultRule;
use super::options::{AllocationSpec, SessionSpec};
use super::reply::Reply;
use super::world::{ControlError, SicSpec};
use super::{Outage, Simulator};

const PREFIX: &str = "/_sim";
const NO_SUCH_CALL: &str = "the control API has no such call; under /_sim/ there are state, ledger, sessions, \
                            allocations, sic, notifications, tokens, health, permissions, faults and outage";

/// Whether a path belongs to the control API.
pub(super) fn is_control(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ReplaceBody {
    instance_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    #[serde(default)]
    instance_id: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    notifications: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    custom_data: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrimBody {
    #[serde(default)]
    instance_id: Option<String>,
    keep: usize,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct TokensBody {
    expire: bool,
    expire_refresh: bool,
    lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthBody {
    cadence_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionsBody {
    client_id: String,
    #[serde(default)]
    grant: Vec<String>,
    #[serde(default)]
    revoke: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageBody {
    mode: Outage,
}

/// Answers a control request.
pub(super) fn answer(simulator: &Simulator, arrived: &Arrived) -> Reply {
    let rest = arrived.path.strip_prefix(PREFIX).unwrap_or_default();
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let parts: Vec<String> = rest.split('/').skip(1).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    dispatch(simulator, arrived, &parts).unwrap_or_else(|refused| refused)
}

fn dispatch(simulator: &Simulator, arrived: &Arrived, parts: &[&str]) -> Result<Reply, Reply> {
    let body = arrived.body.as_ref();
    match (arrived.method.as_str(), parts) {
        ("GET", ["state"]) => Ok(Reply::ok(&simulator.state())),
        ("GET", ["ledger"]) => Ok(Reply::ok(&document(&simulator.ledger())?)),
        ("DELETE", ["ledger"]) => {
            simulator.clear_ledger();
            Ok(Reply::no_content())
        }
        ("POST", ["sessions"]) => done(simulator.create_session(&parse::<SessionSpec>(body)?), StatusCode::CREATED),
        ("GET", ["sessions", id]) => {
            let session = simulator.session(id).ok_or_else(|| refuse(&ControlError::NoSession((*id).to_owned())))?;
            Ok(Reply::ok(&session))
        }
        ("PATCH", ["sessions", id]) => {
            done(simulator.change_session(id, &parse::<ChangeBody>(body)?.custom_data), StatusCode::NO_CONTENT)
        }
        ("DELETE", ["sessions", id]) => done(simulator.delete_session(id), StatusCode::NO_CONTENT),
        ("PUT", ["sessions", id, "instance"]) => {
            let wanted = if body.is_empty() { ReplaceBody::default() } else { parse(body)? };
            let instance_id = simulator.replace_instance(id, wanted.instance_id.as_deref());
            Ok(Reply::ok(&json!({"instance_id": instance_id.map_err(|error| refuse(&error))?})))
        }
        ("DELETE", ["sessions", id, "instance"]) => done(simulator.remove_instance(id), StatusCode::NO_CONTENT),
        ("POST", ["allocations"]) => {
            let made = simulator.allocate(&parse::<AllocationSpec>(body)?).map_err(|error| refuse(&error))?;
            Ok(Reply::json(StatusCode::CREATED, &json!({"instance_id": made})))
        }
        ("DELETE", ["allocations", id]) => done(simulator.deallocate(id), StatusCode::NO_CONTENT),
        ("POST", ["sic"]) => done(simulator.set_sic(&parse::<SicSpec>(body)?), StatusCode::NO_CONTENT),
        ("POST", ["notifications"]) => publish(simulator, &parse(body)?),
        ("POST", ["notifications", "trim"]) => {
            let wanted: TrimBody = parse(body)?;
            match wanted.instance_id {
                Some(instance) => simulator.trim_notifications(&instance, wanted.keep),
                None => simulator.keep_notifications(wanted.keep),
            }
            Ok(Reply::no_content())
        }
        ("POST", ["tokens"]) => {
            let wanted: TokensBody = parse(body)?;
            if let Some(seconds) = wanted.lifetime_seconds {
                simulator.set_token_lifetime(Duration::from_secs(seconds));
            }
            if wanted.expire || wanted.expire_refresh {
                simulator.expire_tokens(wanted.expire_refresh);
            }
            Ok(Reply::no_content())
        }
        ("POST", ["health"]) => {
            simulator.set_health_cadence(parse::<HealthBody>(body)?.cadence_seconds);
            Ok(Reply::no_content())
        }
        ("POST", ["permissions"]) => {
            let wanted: PermissionsBody = parse(body)?;
            wanted.revoke.iter().for_each(|permission| simulator.revoke(&wanted.client_id, permission));
            wanted.grant.iter().for_each(|permission| simulator.grant(&wanted.client_id, permission));
            Ok(Reply::no_content())
        }
        ("GET", ["faults"]) => Ok(Reply::ok(&document(&simulator.world().faults.list())?)),
        ("POST", ["faults"]) => done(simulator.inject(rules(body)?), StatusCode::NO_CONTENT),
        ("DELETE", ["faults"]) => {
            simulator.clear_faults();
            Ok(Reply::no_content())
        }
        ("POST", ["outage"]) => {
            simulator.set_outage(parse::<OutageBody>(body)?.mode);
            Ok(Reply::no_content())
        }
        _ => Err(error(StatusCode::NOT_FOUND, "not_found", NO_SUCH_CALL)),
    }
}

fn publish(simulator: &Simulator, wanted: &PublishBody) -> Result<Reply, Reply> {
    let ids = match (&wanted.instance_id, &wanted.session_id) {
        (Some(instance), None) => simulator.publish(instance, &wanted.notifications),
        (None, Some(session)) => simulator.publish_to_session(session, &wanted.notifications),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("name either instance_id or session_id"));
        }
    };
    let ids = ids.map_err(|error| refuse(&error))?;
    Ok(Reply::json(StatusCode::CREATED, &json!({"notification_ids": ids})))
}

fn rules(body: &[u8]) -> Result<Vec<FaultRule>, Reply> {
    if body.trim_ascii_start().starts_with(b"[") { parse(body) } else { parse(body).map(|rule| vec![rule]) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))
}

fn document(value: &impl serde::Serialize) -> Result<Value, Reply> {
    serde_json::to_value(value)
        .map_err(|failure| error(StatusCode::INTERNAL_SERVER_ERROR, "not_json", &failure.to_string()))
}

fn done(result: Result<(), ControlError>, status: StatusCode) -> Result<Reply, Reply> {
    result.map_err(|error| refuse(&error))?;
    Ok(if status == StatusCode::NO_CONTENT { Reply::no_content() } else { Reply::json(status, &json!({})) })
}

fn refuse(failure: &ControlError) -> Reply {
    let (status, code) = match failure {
        ControlError::NoSession(_) => (StatusCode::NOT_FOUND, "no_session"),
        ControlError::NoInstance(_) => (StatusCode::CONFLICT, "no_instance"),
        ControlError::NoAllocation(_) => (StatusCode::NOT_FOUND, "no_allocation"),
        ControlError::Exists(_) => (StatusCode::CONFLICT, "exists"),
        ControlError::NoNotifications => (StatusCode::CONFLICT, "no_notifications"),
        ControlError::Id(_) | ControlError::Notifications(_) | ControlError::Data(_) | ControlError::Fault(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
        }
    };
    error(status, code, &failure.to_string())
}

fn invalid(message: &str) -> Reply {
    error(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
}

fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": message}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_under_the_prefix_are_control() {
        for path in ["/_sim", "/_sim/", "/_sim/state", "/_sim?x"] {
            assert!(is_control(path), "{path}");
        }
        for path in ["/_simulator", "/", "/session/_sim/", ""] {
            assert!(!is_control(path), "{path}");
        }
    }
}
