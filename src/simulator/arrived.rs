//! A request as it came in, before anybody judged it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, IF_NONE_MATCH};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::rules::Complaint;

/// A request.
pub(super) struct Arrived {
    pub(super) method: String,
    /// Without the query, not decoded.
    pub(super) path: String,
    /// Not decoded.
    pub(super) query: String,
    pub(super) authorization: Option<String>,
    pub(super) if_none_match: Option<String>,
    content_type: Option<String>,
    forwarded_for: Option<String>,
    peer: SocketAddr,
    pub(super) body: Bytes,
}

impl Arrived {
    /// The head of a request; the body comes later.
    pub(super) fn head(parts: &Parts, peer: SocketAddr) -> Self {
        let text = |name: HeaderName| header(&parts.headers, &name);
        Self {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            authorization: text(AUTHORIZATION),
            if_none_match: text(IF_NONE_MATCH),
            content_type: text(CONTENT_TYPE),
            forwarded_for: text(HeaderName::from_static("x-forwarded-for")),
            peer,
            body: Bytes::new(),
        }
    }

    /// The query's pairs, decoded; the last of a name counts.
    pub(super) fn query_pairs(&self) -> BTreeMap<String, String> {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Complaint> {
        if self.body.is_empty() {
            return Err(Complaint::new(vec![json!("body")], "field required", "value_error.missing"));
        }
        if !self.content_type.as_deref().is_none_or(is_json) {
            // FastAPI takes a body of another type for bytes.
            return Err(Complaint::new(vec![json!("body")], "value is not a valid dict", "type_error.dict"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Complaint::new(vec![json!("body"), json!(error.column())], error.to_string(), "value_error.jsondecode")
        })
    }

    /// The client's address, as GET connection-info tells it.
    pub(super) fn address(&self) -> String {
        let first = self.forwarded_for.as_deref().and_then(|list| list.split(',').next()).map(str::trim);
        first.filter(|first| !first.is_empty()).map_or_else(|| self.peer.ip().to_string(), str::to_owned)
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(uri: &str, content_type: Option<&str>, body: &'static str) -> Arrived {
        let mut request = hyper::Request::builder().uri(uri);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut arrived = Arrived::head(&parts, SocketAddr::from(([127, 0, 0, 1], 1)));
        arrived.body = Bytes::from_static(body.as_bytes());
        arrived
    }

    #[test]
    fn the_query_is_decoded_as_a_form() {
        let pairs = arrived("/p?a=1%2B2&b=x+y&c&a=3%3D", None, "").query_pairs();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "3="), ("b", "x y"), ("c", "")]);
    }

    #[test]
    fn a_body_must_be_json_and_say_so() {
        assert_eq!(arrived("/", Some("application/json; charset=utf-8"), "{}").json(), Ok(json!({})));
        assert_eq!(arrived("/", None, "[1]").json(), Ok(json!([1])));
        for (content_type, body, kind) in [
            (None, "", "value_error.missing"),
            (Some("application/json"), "{", "value_error.jsondecode"),
            (Some("text/plain"), "{}", "type_error.dict"),
        ] {
            let words = arrived("/", content_type, body).json().unwrap_err().words();
            assert!(words.ends_with(&format!("({kind})")), "{words}");
        }
    }
}
