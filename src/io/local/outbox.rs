//! The outbox, for an operator: what waits, what is dead, and what is to become of it. No game is there because of these calls.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::body::{Shape, Strict};
use super::refusal::{Refusal, json, json_of};
use super::routes::Api;
use crate::core::event::Request;
use crate::core::ids::ReportId;
use crate::core::snapshot::OutboxEntry;

#[derive(Serialize)]
struct Entry<'a> {
    report_id: &'a ReportId,
    kind: &'static str,
    label: &'a str,
    accepted: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> From<&'a OutboxEntry> for Entry<'a> {
    fn from(entry: &'a OutboxEntry) -> Self {
        let OutboxEntry { id, what, label, accepted, reason } = entry;
        Self { report_id: id, kind: what, label, accepted: *accepted, reason: reason.as_deref() }
    }
}

/// GET /v1/outbox: of those that wait only the oldest are listed, and `waiting_total` says how many there are.
pub(super) async fn list(Extension(api): Extension<Arc<Api>>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        waiting_total: usize,
        waiting: Vec<Entry<'a>>,
        dead: Vec<Entry<'a>>,
    }
    let snapshot = api.handle().snapshot();
    let outbox = &snapshot.outbox;
    let answer = Answer {
        waiting_total: outbox.waiting,
        waiting: outbox.oldest.iter().map(Entry::from).collect(),
        dead: outbox.dead_letters.iter().map(Entry::from).collect(),
    };
    json_of(StatusCode::OK, &answer)
}

/// The body of POST /v1/outbox/retry and POST /v1/outbox/drop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportBody {
    report_id: String,
}

impl Shape for ReportBody {
    fn empty() -> Option<Self> {
        None
    }
}

impl ReportBody {
    fn id(&self) -> Result<ReportId, Refusal> {
        ReportId::parse(&self.report_id).map_err(|error| Refusal::field("report_id", error))
    }
}

/// POST /v1/outbox/retry: a dead report waits again, behind all others.
pub(super) async fn retry(
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<ReportBody>,
) -> Result<Response, Refusal> {
    api.ask(Request::RetryDead(body.id()?)).await?;
    Ok(json(StatusCode::OK, "{}"))
}

/// POST /v1/outbox/drop: a dead report is forgotten.
pub(super) async fn forget(
    Extension(api): Extension<Arc<Api>>,
    Strict(body): Strict<ReportBody>,
) -> Result<Response, Refusal> {
    api.ask(Request::DropDead(body.id()?)).await?;
    Ok(json(StatusCode::OK, "{}"))
}
