//! How the local API says no: one JSON shape for every status.

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::desk::NotGranted;
use crate::core::event::Denied;
use crate::ports::AskError;

/// A request that was not carried out, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Shape<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// A refusal: `code` is one stable word for programs, `message` says to people what to do.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    /// Adds a header to the answer.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// 422: a field that is wrong.
    pub(super) fn field(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("{field}: {reason}"))
    }

    /// 503: not now.
    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 500: we are wrong.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What to do, in words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::Field { field, reason } => Self::field(field, reason),
            Denied::Gone(_) => Self::new(StatusCode::GONE, "gone", message),
            Denied::Phase(_) => Self::new(StatusCode::CONFLICT, "wrong_phase", message),
            Denied::Allocated(_) => Self::new(StatusCode::CONFLICT, "already_allocated", message),
            Denied::UnknownNotification => Self::new(StatusCode::NOT_FOUND, "unknown_notification", message),
            Denied::UnknownReport => Self::new(StatusCode::NOT_FOUND, "unknown_report", message),
            Denied::Store(_) => Self::unavailable("not_durable", message),
            Denied::Full { .. } => Self::unavailable("outbox_full", message),
        }
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        let message = error.to_string();
        match error {
            AskError::Busy => {
                Self::unavailable("busy", message).with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            AskError::Ended => Self::unavailable("ended", message),
        }
    }
}

impl From<NotGranted> for Refusal {
    fn from(error: NotGranted) -> Self {
        match error {
            NotGranted::Denied(denied) => denied.into(),
            NotGranted::Unasked(error) => error.into(),
            NotGranted::TooSlow { .. } => Self::unavailable("too_slow", error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let shape = Shape { error: Inner { code: self.code, message: &self.message } };
        // Two strings always serialize; an empty body would still carry the status.
        let body = serde_json::to_vec(&shape).unwrap_or_default();
        let mut response = json(self.status, body);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// An answer of JSON that nobody should keep.
pub(crate) fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.into()).into_response()
}

/// The same, from a value.
pub(crate) fn json_of(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body),
        Err(error) => Refusal::internal(format!("the answer could not be written: {error}")).into_response(),
    }
}

/// Any path that there is not.
pub(crate) async fn not_found(uri: axum::http::Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {}", uri.path()))
}

/// A path that there is, with another verb; axum adds `Allow`.
pub(crate) async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} does not take {method}; the Allow header says what it takes", uri.path()),
    )
}
