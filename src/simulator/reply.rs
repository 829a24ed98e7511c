//! Answers, before they become HTTP: the contract's documents and its error models.

use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::rules::Complaint;

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// A JSON answer.
    pub(super) fn json(status: StatusCode, document: &Value) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { status, headers, body: document.to_string().into_bytes() }
    }

    /// 200 with a document.
    pub(super) fn ok(document: &Value) -> Self {
        Self::json(StatusCode::OK, document)
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Vec::new() }
    }

    /// The answer with its version; 304 without a body if that is the version the client has.
    pub(super) fn tagged(mut self, etag: &str, if_none_match: Option<&str>) -> Self {
        if self.status == StatusCode::OK && if_none_match.is_some_and(|known| names(known, etag)) {
            self = Self { status: StatusCode::NOT_MODIFIED, headers: Vec::new(), body: Vec::new() };
        }
        if let Ok(value) = HeaderValue::from_str(etag) {
            self.headers.push((ETAG, value));
        }
        self
    }

    /// HzApiErrorModel.
    pub(super) fn error(status: StatusCode, auth_success: bool, code: &str, description: impl AsRef<str>) -> Self {
        let document = json!({"auth_success": auth_success, "error_code": code, "desc": description.as_ref()});
        Self::json(status, &document)
    }

    /// 403 of the authentication.
    pub(super) fn not_authenticated(code: &str, description: impl AsRef<str>) -> Self {
        Self::error(StatusCode::FORBIDDEN, false, code, description)
    }

    /// 403 of somebody who is known and may not.
    pub(super) fn forbidden(code: &str, description: impl AsRef<str>) -> Self {
        Self::error(StatusCode::FORBIDDEN, true, code, description)
    }

    /// 404 of a resource.
    pub(super) fn not_found(code: &str, description: impl AsRef<str>) -> Self {
        Self::error(StatusCode::NOT_FOUND, true, code, description)
    }

    /// 404 of a session.
    pub(super) fn no_session() -> Self {
        Self::not_found("session_not_found", "Session not found")
    }

    /// 404 of an instance. Not in the contract; see backend.md, trap 13.
    pub(super) fn no_instance() -> Self {
        Self::not_found("instance_not_found", "The session has no such instance")
    }

    /// 422.
    pub(super) fn invalid(complaints: &[Complaint]) -> Self {
        let detail: Vec<Value> = complaints.iter().map(Complaint::document).collect();
        Self::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({"detail": detail}))
    }

    /// FastAPI's own errors: no such path, and the like.
    pub(super) fn bare(status: StatusCode) -> Self {
        Self::json(status, &json!({"detail": status.canonical_reason().unwrap_or_default()}))
    }

    /// 405.
    pub(super) fn wrong_method(allowed: &[&str]) -> Self {
        let mut reply = Self::bare(StatusCode::METHOD_NOT_ALLOWED);
        if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
            reply.headers.push((ALLOW, value));
        }
        reply
    }

    /// The HTTP response around a body.
    pub(super) fn response<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }
}

/// Whether If-None-Match names a version: `*`, or a list; a weak tag is as good as a strong one for a read.
fn names(if_none_match: &str, etag: &str) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if_none_match.trim() == "*" || if_none_match.split(',').any(|tag| plain(tag) == plain(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_version_is_not_sent_again() {
        let reply = || Reply::ok(&json!({"a": 1}));
        for known in ["\"v1\"", "W/\"v1\"", "\"x\", \"v1\"", "*"] {
            let reply = reply().tagged("\"v1\"", Some(known));
            assert_eq!((reply.status, reply.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert!(reply.headers.iter().any(|(name, _)| name == ETAG));
        }
        for other in [None, Some("\"v2\""), Some("v1"), Some("")] {
            assert_eq!(reply().tagged("\"v1\"", other).status, StatusCode::OK, "{other:?}");
        }
    }
}
