//! `POST` and `DELETE /v1/allocate`: a fleet manager allocates this server, and takes it back (`instance.source` is "local").
//!
//! 202: it is on disk and holds from now on. 200: it held already. 409: another one does, or the instance is not allocated by this
//! call at all. Neither call counts as one of the game.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::body::{Shape, Strict};
use super::duties::Nothing;
use super::refusal::{Refusal, json};
use super::routes::Api;
use crate::core::allocation::Allocation;
use crate::core::event::{Granted, Request};

/// The body of POST /v1/allocate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllocateBody {
    session_id: Option<String>,
    allocation_id: Option<String>,
    public_host: Option<String>,
    public_port: Option<u16>,
}

impl Shape for AllocateBody {
    fn empty() -> Option<Self> {
        None
    }
}

/// POST /v1/allocate
pub(super) async fn allocate(
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<AllocateBody>,
) -> Result<Response, Refusal> {
    let AllocateBody { session_id, allocation_id, public_host, public_port } = body;
    let allocation =
        Allocation::read(session_id.as_deref(), allocation_id.as_deref(), public_host.as_deref(), public_port)
            .map_err(|invalid| Refusal::field(invalid.field, invalid.reason))?;
    let status = match api.ask(Request::Give(allocation)).await? {
        Granted::Allocated { fresh: false } => StatusCode::OK,
        Granted::Allocated { fresh: true }
        | Granted::Done
        | Granted::Accepted(_)
        | Granted::Acknowledged(_)
        | Granted::Draining => StatusCode::ACCEPTED,
    };
    Ok(json(status, "{}"))
}

/// DELETE /v1/allocate
pub(super) async fn deallocate(
    Extension(api): Extension<Arc<Api>>,
    Strict(Nothing {}): Strict<Nothing>,
) -> Result<Response, Refusal> {
    api.ask(Request::TakeBack).await?;
    Ok(json(StatusCode::ACCEPTED, "{}"))
}
