//! A call of the game's own, passed on with our token, on connections of its own. The token never comes back: an answer that holds
//! it is no answer.

use std::time::Instant;

use hyper::body::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderValue};

use super::exchange::{self, Outbound};
use super::{HttpBackend, Shared};
use crate::clock;
use crate::core::call::{Failure, FailureKind};
use crate::core::ids::Generation;
use crate::core::proxy::Verb;
use crate::wire::look::Look;
use crate::wire::proxy::{Hops, Target, holds, refuses_token};

/// A call to pass on.
#[derive(Debug)]
pub(crate) struct Passage {
    /// The method.
    pub(crate) verb: Verb,
    /// Path and query.
    pub(crate) target: Target,
    /// The headers as they came; not all of them go on.
    pub(crate) headers: HeaderMap,
    /// The body, if there is one.
    pub(crate) body: Option<Bytes>,
    /// The most bytes of an answer.
    pub(crate) answer_limit: usize,
    /// When to give up.
    pub(crate) deadline: Instant,
}

/// An answer, as far as the game gets it.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The status.
    pub(crate) status: u16,
    /// The headers that go on.
    pub(crate) headers: HeaderMap,
    /// The body, as it came.
    pub(crate) body: Vec<u8>,
    /// The token was refused, and not just this call: which one. Nobody was told yet.
    pub(crate) refused: Option<Generation>,
}

impl HttpBackend {
    /// Passes a call on, once; one that changes nothing is sent again on a connection that turned out to be closed. Redirects
    /// are answers like any other.
    ///
    /// # Errors
    /// If there is no token or no usable answer. No word of it is the token's.
    pub(crate) async fn pass(&self, passage: &Passage) -> Result<Passed, Failure> {
        let shared = &self.shared;
        let Some(token) = shared.vault.token() else {
            return Err(Failure::local(FailureKind::NoToken, "not logged in yet"));
        };
        let Some(url) = shared.origin.url(&passage.target.path_and_query()) else {
            return Err(Failure::local(FailureKind::Rejected, "the path or query cannot be part of a URL as it is"));
        };
        let mut headers = filtered(&passage.headers, Hops::forwards);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let outbound = Outbound {
            method: method(passage.verb),
            url,
            authorization: token.header.clone(),
            if_none_match: None,
            body: passage.body.clone(),
            foreign: Some(headers),
            response_limit: passage.answer_limit,
            is_safe: passage.verb.is_safe(),
            // The call's own limit is the only one: what is slow by design is for the operator to allow.
            header_limit: None,
            body_idle: shared.limits.body_idle,
            deadline: passage.deadline,
        };
        let (status, headers, body) = exchange::exchange(&shared.passages, &outbound).await?.into_parts();
        if status < 200 {
            return Err(Failure::local(FailureKind::Malformed, "the answer is not final"));
        }
        let secret = token.secret();
        if holds(&body, &secret) || headers.values().any(|value| holds(value.as_bytes(), &secret)) {
            let words = "the answer repeats the agent's own token, so it is not passed on";
            return Err(Failure::local(FailureKind::Malformed, words));
        }
        let refused = refuses_token(status, &body).then_some(token.generation);
        Ok(Passed { status, headers: filtered(&headers, Hops::returns), body, refused })
    }

    /// Whether the token of this generation, or a newer one, is refused for a call of our own too; if it is, it is not kept.
    ///
    /// A game may call what always answers 401. If the login believed that, every such call would cost a login, and the health
    /// posts their token. So the token is shown once more, with a read that changes nothing; no answer is no refusal.
    pub(crate) async fn is_refused_elsewhere(&self, refused: Generation, deadline: Instant) -> bool {
        let shared = &self.shared;
        let Some(token) = shared.vault.token() else { return true };
        if token.generation != refused {
            return true;
        }
        let limit = deadline.saturating_duration_since(clock::now()).min(shared.limits.header);
        let is_refused =
            self.look(&Look::HealthConfig, limit).await.is_err_and(|failure| failure.kind == FailureKind::Unauthorised);
        if is_refused {
            Shared::refused(shared, &token);
        }
        is_refused
    }
}

/// The headers that go on.
fn filtered(headers: &HeaderMap, goes_on: impl Fn(&Hops, &str) -> bool) -> HeaderMap {
    let hops = Hops::of(headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes));
    let kept = headers.iter().filter(|(name, _)| goes_on(&hops, name.as_str()));
    let mut passed = HeaderMap::new();
    for (name, value) in kept {
        passed.append(name.clone(), value.clone());
    }
    passed
}

fn method(verb: Verb) -> reqwest::Method {
    match verb {
        Verb::Get => reqwest::Method::GET,
        Verb::Head => reqwest::Method::HEAD,
        Verb::Post => reqwest::Method::POST,
        Verb::Put => reqwest::Method::PUT,
        Verb::Patch => reqwest::Method::PATCH,
        Verb::Delete => reqwest::Method::DELETE,
    }
}
