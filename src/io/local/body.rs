//! Reading a request's body: bounded in size and time, strictly JSON, strictly the fields that the call has.
//!
//! The type that is announced (`Content-Type`) does not matter: games send what their HTTP library likes, and pages in
//! browsers do not get this far.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::refusal::Refusal;
use super::routes::Api;
use super::server::Limits;
use crate::clock;
use crate::wire::reader::{self, Misfit};

/// The largest body, in bytes: an event with dozens of the largest custom_data values, far below what would hurt.
pub(super) const BODY_LIMIT: usize = 256 * 1024;
/// How often the limit is read and thrown away of a body that is too large, so that its sender gets to read the refusal.
const DRAIN_FACTOR: usize = 4;

/// The body of a call.
pub(super) trait Shape: DeserializeOwned {
    /// Stands for no body at all; `None` where a field is required.
    fn empty() -> Option<Self>;
}

/// A body that has the right shape. Its values are checked by the call.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

impl<T: Shape> FromRequest<()> for Strict<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &()) -> Result<Self, Refusal> {
        let limit =
            request.extensions().get::<Arc<Api>>().map_or_else(|| Limits::default().body, |api| api.limits().body);
        let bytes = read(request, limit).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads the whole body.
pub(crate) async fn read(request: Request, limit: Duration) -> Result<Bytes, Refusal> {
    read_within(request, limit, BODY_LIMIT).await
}

/// Reads the whole body, of at most so many bytes.
pub(super) async fn read_within(request: Request, limit: Duration, size: usize) -> Result<Bytes, Refusal> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    let waits = request.headers().contains_key(header::EXPECT);
    let too_large = announced.is_some_and(|length| length > size as u64);
    if too_large && waits {
        // The sender asks first: it has sent nothing yet.
        return Err(too_large_refusal(size));
    }
    let mut body = request.into_body();
    let reading = async {
        if !too_large && let Some(bytes) = collect(&mut body, size).await? {
            return Ok(bytes);
        }
        drain(&mut body, size).await;
        Err(too_large_refusal(size))
    };
    // Dropping the read half-way is fine: the connection is closed after this answer.
    tokio::select! {
        biased;
        read = reading => read,
        () = clock::sleep(limit) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            format!("the body did not arrive within {} s", limit.as_secs_f64()),
        )
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))),
    }
}

/// The body, or `None` if it is larger than the limit.
async fn collect(body: &mut Body, size: usize) -> Result<Option<Bytes>, Refusal> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "broken_body", format!("the body broke off: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > size {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.into()))
}

async fn drain(body: &mut Body, size: usize) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_FACTOR * size {
            return;
        }
    }
}

fn too_large_refusal(size: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body has more than {size} bytes; say it in several calls"),
    )
}

/// Takes bytes as the body of a call.
pub(super) fn parse<T: Shape>(bytes: &[u8]) -> Result<T, Refusal> {
    let not_json = |error: &dyn std::fmt::Display| {
        Refusal::new(StatusCode::BAD_REQUEST, "not_json", format!("the body is not JSON: {error}"))
    };
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() {
        return T::empty().ok_or_else(|| not_json(&"it is empty"));
    }
    // First that it is JSON to its end, then what it says: a wrong field must not hide that the rest is broken.
    serde_json::from_slice::<IgnoredAny>(trimmed).map_err(|error| not_json(&error))?;
    if trimmed.first() != Some(&b'{') {
        return Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_field",
            "the body must be a JSON object, {…}",
        ));
    }
    reader::read(trimmed).map_err(|Misfit { path, error }| {
        let reason = without_position(&error);
        if !error.is_data() {
            return not_json(&reason);
        }
        match path.as_str() {
            // The reason itself names the field: it is missing, or there twice.
            "." => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", reason),
            path => Refusal::field(path, reason),
        }
    })
}

/// What serde says, without line and column: bodies are written by programs in one line.
fn without_position(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rfind(" at line ") {
        Some(end) => words.get(..end).unwrap_or(&words).to_owned(),
        None => words,
    }
}
