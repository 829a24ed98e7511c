//! A host's other duties: the match, the public browser, the session, its players. Taken like a report: 202 only after it is on
//! disk, sent in one order with reports and events, once each per `key`.
//!
//! A DELETE has no body, so its `key` stands in the query. `duty_id` names the duty in the log of the agent.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::body::{Shape, Strict};
use super::calls::accepted;
use super::check;
use super::notifications::RawQuery;
use super::refusal::{Refusal, json_of};
use super::routes::{Api, Game};
use crate::core::duty::{Duty, Listing, Match};
use crate::core::event::Request;
use crate::core::ids::{MatchId, PlayerId, ReportId};
use crate::core::instance::CustomData;

#[derive(Debug, Serialize)]
struct Answer {
    duty_id: ReportId,
}

async fn take(api: &Api, duty: Duty, key: Option<String>) -> Result<Response, Refusal> {
    if let Some(key) = &key {
        check::filled("key", key, check::KEY)?;
    }
    let duty_id = accepted(api.ask(Request::Duty { duty, key }).await?)?;
    Ok(json_of(StatusCode::ACCEPTED, &Answer { duty_id }))
}

/// The body of a DELETE: none, or an object without anything in it. A `key` that was put there by mistake is not ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl Shape for Nothing {
    fn empty() -> Option<Self> {
        Some(Self {})
    }
}

/// The query of a DELETE: `key`, or nothing.
fn key(query: RawQuery) -> Result<Option<String>, Refusal> {
    let Query(pairs) = query.map_err(|error| Refusal::field("query", error.body_text()))?;
    let mut key = None;
    for (name, value) in pairs {
        match name.as_str() {
            "key" if key.is_some() => return Err(Refusal::field("key", "is there twice")),
            "key" => key = Some(value),
            other => return Err(Refusal::field(other, "is not a parameter of this call; it takes key")),
        }
    }
    Ok(key)
}

/// The query of a call with a body: its key stands there.
fn no_query(query: RawQuery) -> Result<(), Refusal> {
    let Query(pairs) = query.map_err(|error| Refusal::field("query", error.body_text()))?;
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::field(name, "stands in the body of this call, not in its query")),
    }
}

/// The body of POST and PATCH /v1/match.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchBody {
    match_id: String,
    custom_data: Option<CustomData>,
    key: Option<String>,
}

impl Shape for MatchBody {
    fn empty() -> Option<Self> {
        None
    }
}

impl MatchBody {
    fn read(self) -> Result<(Match, Option<String>), Refusal> {
        let Self { match_id, custom_data, key } = self;
        let match_id = MatchId::parse(&match_id).map_err(|error| Refusal::field("match_id", error))?;
        custom_data.as_ref().map_or(Ok(()), check::custom_data)?;
        Ok((Match { match_id, custom_data }, key))
    }
}

/// POST /v1/match
pub(super) async fn begin_match(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(body): Strict<MatchBody>,
) -> Result<Response, Refusal> {
    no_query(query)?;
    let (game_match, key) = body.read()?;
    take(&api, Duty::BeginMatch(game_match), key).await
}

/// PATCH /v1/match
pub(super) async fn update_match(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(body): Strict<MatchBody>,
) -> Result<Response, Refusal> {
    no_query(query)?;
    let (game_match, key) = body.read()?;
    take(&api, Duty::UpdateMatch(game_match), key).await
}

/// DELETE /v1/match
pub(super) async fn end_match(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, Refusal> {
    take(&api, Duty::EndMatch, key(query)?).await
}

/// The body of POST /v1/browser.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListBody {
    custom_data: Option<CustomData>,
    key: Option<String>,
}

impl Shape for ListBody {
    fn empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// POST /v1/browser
pub(super) async fn list(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(ListBody { custom_data, key }): Strict<ListBody>,
) -> Result<Response, Refusal> {
    no_query(query)?;
    let custom_data = custom_data.unwrap_or_default();
    check::custom_data(&custom_data)?;
    take(&api, Duty::ListBrowser(Listing { custom_data }), key).await
}

/// The body of PATCH /v1/browser: custom_data is all that could change, so it has to be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListingBody {
    custom_data: CustomData,
    key: Option<String>,
}

impl Shape for ListingBody {
    fn empty() -> Option<Self> {
        None
    }
}

/// PATCH /v1/browser
pub(super) async fn update_listing(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(ListingBody { custom_data, key }): Strict<ListingBody>,
) -> Result<Response, Refusal> {
    no_query(query)?;
    check::custom_data(&custom_data)?;
    take(&api, Duty::UpdateBrowser(Listing { custom_data }), key).await
}

/// DELETE /v1/browser
pub(super) async fn unlist(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, Refusal> {
    take(&api, Duty::UnlistBrowser, key(query)?).await
}

/// The body of PATCH /v1/session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionBody {
    custom_data: Option<CustomData>,
    joinable: Option<bool>,
    key: Option<String>,
}

impl Shape for SessionBody {
    fn empty() -> Option<Self> {
        None
    }
}

/// PATCH /v1/session
pub(super) async fn session(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    query: RawQuery,
    Strict(SessionBody { custom_data, joinable, key }): Strict<SessionBody>,
) -> Result<Response, Refusal> {
    no_query(query)?;
    custom_data.as_ref().map_or(Ok(()), check::custom_data)?;
    if custom_data.is_none() && joinable.is_none() {
        return Err(Refusal::field("custom_data", "is missing, and so is joinable: say which of them changes"));
    }
    take(&api, Duty::UpdateSession { custom_data, joinable }, key).await
}

/// DELETE /v1/players/{uuid}
pub(super) async fn remove_player(
    _game: Game,
    Extension(api): Extension<Arc<Api>>,
    uuid: Result<Path<String>, PathRejection>,
    query: RawQuery,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, Refusal> {
    let Path(uuid) = uuid.map_err(|error| Refusal::field("uuid", error.body_text()))?;
    let player = PlayerId::parse(&uuid).map_err(|error| Refusal::field("uuid", format!("is not a UUID: {error}")))?;
    take(&api, Duty::RemovePlayer { player }, key(query)?).await
}
