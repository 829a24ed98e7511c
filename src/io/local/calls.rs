//! The calls that change something, and the two that only look.
//!
//! A call checks what it can without knowing the instance, then asks the core; only the core decides what the phase allows.

use std::sync::Arc;

use axum::Extension;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::body::{Shape, Strict};
use super::check;
use super::refusal::{Refusal, json, json_of};
use super::routes::{Api, Game};
use super::status::Status;
use crate::core::event::{Granted, Request, Said};
use crate::core::ids::{MatchId, ReportId};
use crate::core::instance::{CustomData, Health};

/// `{}`: done, nothing more to say.
fn plain(status: StatusCode) -> Response {
    json(status, "{}")
}

/// GET /v1/status
pub(super) async fn status(Extension(api): Extension<Arc<Api>>) -> Response {
    json_of(StatusCode::OK, &Status::now(api.handle()))
}

/// GET /v1/session: the document as the backend wrote it, fields that we do not know included.
pub(super) async fn session(_game: Game, Extension(api): Extension<Arc<Api>>) -> Result<Response, Refusal> {
    let snapshot = api.handle().snapshot();
    let Some(view) = &snapshot.session else {
        let phase = snapshot.phase.as_str();
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "no_session",
            format!("the session has not been seen yet (phase {phase}); GET /v1/status says what is in the way"),
        ));
    };
    let mut response = json(StatusCode::OK, view.session.document.to_string());
    if let Some(etag) = view.etag.as_ref().and_then(|etag| HeaderValue::from_str(etag.as_str()).ok()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// The body of POST /v1/ready.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyBody {
    public_conn_str: Option<String>,
    private_conn_str: Option<String>,
    custom_data: Option<CustomData>,
}

impl Shape for ReadyBody {
    fn empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// POST /v1/ready
pub(super) async fn ready(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<ReadyBody>,
) -> Result<Response, Refusal> {
    let ReadyBody { public_conn_str, private_conn_str, custom_data } = body;
    let said = Said { joinable: None, public_conn_str, private_conn_str, version: None, custom_data, match_id: None };
    check_said(&said)?;
    api.ask(Request::Ready(said)).await?;
    Ok(plain(StatusCode::OK))
}

/// The body of PATCH /v1/instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceBody {
    joinable: Option<bool>,
    public_conn_str: Option<String>,
    private_conn_str: Option<String>,
    version: Option<String>,
    custom_data: Option<CustomData>,
    /// "": none any more.
    match_id: Option<String>,
}

impl Shape for InstanceBody {
    fn empty() -> Option<Self> {
        None
    }
}

/// PATCH /v1/instance
pub(super) async fn instance(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<InstanceBody>,
) -> Result<Response, Refusal> {
    let InstanceBody { joinable, public_conn_str, private_conn_str, version, custom_data, match_id } = body;
    let match_id = match match_id.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(id) => Some(Some(MatchId::parse(id).map_err(|error| Refusal::field("match_id", error))?)),
    };
    let said = Said { joinable, public_conn_str, private_conn_str, version, custom_data, match_id };
    check_said(&said)?;
    api.ask(Request::Instance(said)).await?;
    Ok(plain(StatusCode::OK))
}

fn check_said(said: &Said) -> Result<(), Refusal> {
    if let Some(text) = &said.public_conn_str {
        check::conn_str("public_conn_str", text)?;
    }
    if let Some(text) = &said.private_conn_str {
        check::conn_str("private_conn_str", text)?;
    }
    if let Some(text) = &said.version {
        check::version("version", text)?;
    }
    said.custom_data.as_ref().map_or(Ok(()), check::custom_data)
}

/// What a game may say of its health: `unknown` is the backend's word only.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SaidHealth {
    Healthy,
    Degraded,
    Unhealthy,
}

/// The body of POST /v1/health.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthBody {
    status: SaidHealth,
    reason: Option<String>,
}

impl Shape for HealthBody {
    fn empty() -> Option<Self> {
        None
    }
}

/// POST /v1/health
pub(super) async fn health(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<HealthBody>,
) -> Result<Response, Refusal> {
    let HealthBody { status, reason } = body;
    check_reason(reason.as_deref())?;
    let status = match status {
        SaidHealth::Healthy => Health::Healthy,
        SaidHealth::Degraded => Health::Degraded,
        SaidHealth::Unhealthy => Health::Unhealthy,
    };
    api.ask(Request::Health { status, reason }).await?;
    Ok(plain(StatusCode::OK))
}

fn check_reason(reason: Option<&str>) -> Result<(), Refusal> {
    reason.map_or(Ok(()), |reason| check::short("reason", reason, check::REASON))
}

/// The body of POST /v1/fubar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FubarBody {
    error: String,
    key: Option<String>,
}

impl Shape for FubarBody {
    fn empty() -> Option<Self> {
        None
    }
}

#[derive(Debug, Serialize)]
struct FubarAnswer {
    report_id: ReportId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// POST /v1/fubar: a long error is cut rather than refused, because a report of a failure must not fail on its length.
pub(super) async fn fubar(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<FubarBody>,
) -> Result<Response, Refusal> {
    let FubarBody { error, key } = body;
    let (error, truncated) = check::cut(error, check::ERROR);
    check::filled("error", &error, check::ERROR)?;
    if let Some(key) = &key {
        check::filled("key", key, check::KEY)?;
    }
    let report_id = accepted(api.ask(Request::Fubar { error, key }).await?)?;
    Ok(json_of(StatusCode::ACCEPTED, &FubarAnswer { report_id, truncated }))
}

/// The body of POST /v1/events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventBody {
    event_code: String,
    description: Option<String>,
    custom_data: Option<CustomData>,
}

impl Shape for EventBody {
    fn empty() -> Option<Self> {
        None
    }
}

#[derive(Debug, Serialize)]
struct EventAnswer {
    event_id: ReportId,
}

/// POST /v1/events
pub(super) async fn event(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<EventBody>,
) -> Result<Response, Refusal> {
    let EventBody { event_code, description, custom_data } = body;
    let custom_data = custom_data.unwrap_or_default();
    check::filled("event_code", &event_code, check::EVENT_CODE)?;
    if let Some(description) = &description {
        check::short("description", description, check::DESCRIPTION)?;
    }
    check::custom_data(&custom_data)?;
    let event_id = accepted(api.ask(Request::Event { event_code, description, custom_data }).await?)?;
    Ok(json_of(StatusCode::ACCEPTED, &EventAnswer { event_id }))
}

/// Only an id says that something is on disk; anything else must not look like it.
pub(super) fn accepted(granted: Granted) -> Result<ReportId, Refusal> {
    match granted {
        Granted::Accepted(id) => Ok(id),
        Granted::Done | Granted::Acknowledged(_) | Granted::Draining | Granted::Allocated { .. } => {
            Err(Refusal::internal("the report got no id; do not count on it: please report this"))
        }
    }
}

/// The body of POST /v1/drain and POST /v1/shutdown.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    reason: Option<String>,
}

impl Shape for ReasonBody {
    fn empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// POST /v1/drain: by an operator or a game.
pub(super) async fn drain(
    Extension(api): Extension<Arc<Api>>,
    Strict(ReasonBody { reason }): Strict<ReasonBody>,
) -> Result<Response, Refusal> {
    check_reason(reason.as_deref())?;
    api.ask(Request::Drain { reason }).await?;
    Ok(plain(StatusCode::ACCEPTED))
}

/// POST /v1/shutdown: the game is done.
pub(super) async fn shutdown(
    Extension(api): Extension<Arc<Api>>,
    Strict(ReasonBody { reason }): Strict<ReasonBody>,
) -> Result<Response, Refusal> {
    check_reason(reason.as_deref())?;
    api.ask(Request::Shutdown { reason }).await?;
    Ok(plain(StatusCode::ACCEPTED))
}
