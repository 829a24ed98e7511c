//! What a reply means that is not a success (backend.md, traps 1, 11, 13 and 14).

use jiff::Timestamp;
use serde_json::Value;

use super::json::Unreadable;
use super::{Reply, retry_after, text};
use crate::core::call::{Failure, FailureKind};

/// What the backend says about a failure (2023-11 contract, HzApiErrorModel and HTTPValidationError), as far as it can be read.
#[derive(Default)]
struct Said {
    /// `auth_success`; the contract's default is true.
    auth_failed: bool,
    code: Option<String>,
    words: String,
}

/// Sorts a reply whose status is not a success.
pub(super) fn refused(reply: &Reply<'_>, wall: Timestamp) -> Failure {
    let said = said(reply.body);
    Failure {
        kind: kind(reply.status, &said),
        status: Some(reply.status),
        code: said.code.as_deref().and_then(|code| text::code(code, reply.secrets)),
        detail: text::for_people(&said.words, reply.secrets).into(),
        retry_after: retry_after::parse(reply.retry_after, reply.date, wall),
        token: None,
        trail: None,
    }
}

/// A success that cannot be used.
pub(super) fn malformed(reply: &Reply<'_>, wall: Timestamp, why: &Unreadable) -> Failure {
    let detail = match why {
        Unreadable::Id { source, .. } => format!("{why}: it {source}"),
        Unreadable::Empty
        | Unreadable::NotJson { .. }
        | Unreadable::NotObject
        | Unreadable::Shape { .. }
        | Unreadable::Missing(_)
        | Unreadable::Token => why.to_string(),
    };
    Failure {
        kind: FailureKind::Malformed,
        status: Some(reply.status),
        code: None,
        detail: text::for_people(&detail, reply.secrets).into(),
        retry_after: retry_after::parse(reply.retry_after, reply.date, wall),
        token: None,
        trail: None,
    }
}

fn kind(status: u16, said: &Said) -> FailureKind {
    match status {
        // The login was refused, and not just this call: only then may the core log in again (trap 1).
        401 => FailureKind::Unauthorised,
        403 if said.auth_failed || said.code.as_deref().is_some_and(|code| code.starts_with("auth_")) => {
            FailureKind::Unauthorised
        }
        403 => FailureKind::Forbidden,
        404 | 410 => FailureKind::NotFound,
        405 | 501 => FailureKind::Unsupported,
        409 => FailureKind::Conflict,
        408 | 425 | 429 => FailureKind::Throttled,
        300..=399 => FailureKind::Redirected,
        400..=499 => FailureKind::Rejected,
        500..=599 => FailureKind::Server,
        // HTTP knows no other final status: 1xx, and numbers that nobody gave a meaning.
        _ => FailureKind::Malformed,
    }
}

fn said(body: &[u8]) -> Said {
    let Ok(Value::Object(document)) = serde_json::from_slice(body) else {
        // Mostly the page of a proxy; its first words often say whose.
        return Said {
            words: String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).into_owned(),
            ..Said::default()
        };
    };
    let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    Said {
        auth_failed: document.get("auth_success") == Some(&Value::Bool(false)),
        code: text("error_code"),
        words: text("desc").or_else(|| document.get("detail").map(validation)).unwrap_or_default(),
    }
}

/// `{"detail": [{"loc": ["body", "error"], "msg": "field required"}]}`, or `{"detail": "Not Found"}`.
fn validation(detail: &Value) -> String {
    match detail {
        Value::String(words) => words.clone(),
        Value::Array(mistakes) => mistakes.iter().take(5).map(mistake).collect::<Vec<_>>().join("; "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn mistake(mistake: &Value) -> String {
    let place = mistake.get("loc").and_then(Value::as_array).map(|steps| {
        steps
            .iter()
            .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(".")
    });
    let words = mistake.get("msg").and_then(Value::as_str).unwrap_or("invalid");
    place.map_or_else(|| words.to_owned(), |place| format!("{place}: {words}"))
}
