//! `/rallyhere/...`: a call of the game, passed on to the environment with the agent's token (`proxy.*`).
//!
//! What may be called is decided in [`crate::wire::proxy`]; the token stays in the HTTP adapter. Here is the door: whose turn it is,
//! how much and how long, and in which words a call is refused. An answer of the backend is the game's as it came, whatever its
//! status; what the agent says itself has the shape of the local API's errors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::sync::Semaphore;

use super::body;
use super::refusal::Refusal;
use super::routes::{Api, Game};
use crate::clock;
use crate::config::settings;
use crate::core::call::{Failure, FailureKind};
use crate::core::phase::Phase;
use crate::core::proxy::{Pattern, Verb};
use crate::io::http::{HttpBackend, Passage, Passed};
use crate::ports::LoginHandle;
use crate::telemetry::metrics::ProxyClass;
use crate::wire::proxy::{Hops, Target, Unfit};

/// Below which paths.
pub(super) const PREFIX: &str = "/rallyhere";

/// The proxy of one instance: its game has places of its own, and takes none of anybody else's.
#[derive(Debug)]
pub struct Proxy {
    backend: HttpBackend,
    login: LoginHandle,
    allow: Vec<Pattern>,
    body_limit: usize,
    timeout: Duration,
    places: Semaphore,
}

impl Proxy {
    /// A proxy to this backend; `None` if nothing is allowed.
    pub fn new(settings: &settings::Proxy, backend: HttpBackend, login: LoginHandle) -> Option<Self> {
        (!settings.allow.is_empty()).then(|| Self {
            backend,
            login,
            allow: settings.allow.clone(),
            body_limit: settings.body_limit,
            timeout: settings.timeout,
            places: Semaphore::new(settings.concurrency),
        })
    }

    /// Passes it on; with a token that was refused meanwhile, once more with the next one.
    async fn pass(&self, passage: &Passage) -> Result<Passed, Failure> {
        let passed = self.backend.pass(passage).await?;
        let Some(refused) = passed.refused else { return Ok(passed) };
        let renewed = async {
            self.backend.is_refused_elsewhere(refused, passage.deadline).await && self.login.renewed(refused).await
        };
        let renewed = tokio::select! {
            biased;
            renewed = renewed => renewed,
            // The login goes on without us.
            () = clock::sleep_until(Some(passage.deadline)) => false,
        };
        // A refused call was not carried out, so that it may be repeated whatever it is.
        if renewed { self.backend.pass(passage).await } else { Ok(passed) }
    }
}

/// The call.
pub(super) async fn pass(
    Extension(api): Extension<Arc<Api>>,
    _game: Game,
    request: Request,
) -> Result<Response, Refusal> {
    let begun = clock::now();
    let (class, answer) = match answer(&api, request, begun).await {
        Ok(response) => (ProxyClass::of_status(response.status().as_u16()), Ok(response)),
        Err((class, refusal)) => (class, Err(refusal)),
    };
    if let Some(meter) = api.meter() {
        meter.proxied(class, clock::now().saturating_duration_since(begun));
    }
    answer
}

type Refused = (ProxyClass, Refusal);

async fn answer(api: &Api, request: Request, begun: Instant) -> Result<Response, Refused> {
    let refuse = |refusal| (ProxyClass::Refused, refusal);
    let Some(proxy) = api.proxy() else {
        let words = "the proxy is off: name in proxy.allow what the game may call";
        return Err(refuse(Refusal::new(StatusCode::NOT_FOUND, "proxy_off", words)));
    };
    let (verb, target) = checked(&request, &proxy.allow).map_err(|refusal| {
        tracing::debug!(method = %request.method(), path = request.uri().path(), reason = refusal.message(), "not passed on");
        refuse(refusal)
    })?;
    // After the first doubt whose the instance is, nothing is sent any more, for the game neither.
    let phase = api.handle().snapshot().phase;
    if matches!(phase, Phase::Superseded | Phase::Ended) {
        let words = format!("the instance is {}: nothing is sent in its name any more", phase.as_str());
        return Err(refuse(Refusal::new(StatusCode::CONFLICT, "wrong_phase", words)));
    }
    let Ok(_place) = proxy.places.try_acquire() else {
        let words = "as many calls as proxy.concurrency allows are on their way; try again when one has ended";
        let refusal =
            Refusal::unavailable("proxy_busy", words).with_header(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return Err((ProxyClass::Busy, refusal));
    };
    let headers = request.headers().clone();
    let body = body::read_within(request, api.limits().body, proxy.body_limit).await.map_err(refuse)?;
    let body = (!body.is_empty()).then_some(body);
    // The time is the backend's: what the game took for its body does not count.
    let deadline = clock::now() + proxy.timeout;
    let passage = Passage { verb, target, headers, body, answer_limit: proxy.body_limit, deadline };
    let passed = proxy.pass(&passage).await;
    let took_ms = clock::now().saturating_duration_since(begun).as_millis();
    let (method, path) = (verb.as_str(), passage.target.path());
    match passed {
        Ok(passed) => {
            tracing::debug!(method, path, status = passed.status, took_ms, "passed on for the game");
            Ok(response(verb, passed))
        }
        Err(failure) => {
            tracing::debug!(method, path, %failure, took_ms, "a call of the game could not be passed on");
            Err(failed(&failure))
        }
    }
}

/// Takes the request line apart.
fn checked(request: &Request, allow: &[Pattern]) -> Result<(Verb, Target), Refusal> {
    let bad = |code, words: &str| Refusal::new(StatusCode::BAD_REQUEST, code, words);
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        return Err(bad("bad_path", "name the path alone, /rallyhere/..., and no other host"));
    }
    let connection = request.headers().get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    if request.headers().contains_key(header::UPGRADE) || Hops::of(connection).upgrades() {
        return Err(bad("no_upgrade", "a connection cannot become another one through the proxy"));
    }
    let verb = Verb::parse(request.method().as_str()).ok_or_else(|| {
        let words = "the proxy takes GET, HEAD, POST, PUT, PATCH and DELETE";
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words)
            .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"))
    })?;
    let whole = request.uri().path_and_query().map_or("", |whole| whole.as_str());
    let refused = |unfit: Unfit| {
        let (status, code) = match unfit {
            Unfit::Path => (StatusCode::BAD_REQUEST, "bad_path"),
            Unfit::Reserved(_) => (StatusCode::FORBIDDEN, "agents_own"),
            Unfit::NotAllowed => (StatusCode::FORBIDDEN, "not_allowed"),
        };
        Refusal::new(status, code, unfit.to_string())
    };
    let target = Target::parse(whole.strip_prefix(PREFIX).unwrap_or_default()).map_err(refused)?;
    target.permit(verb, allow).map_err(refused)?;
    Ok((verb, target))
}

/// The backend's answer, for the game.
fn response(verb: Verb, passed: Passed) -> Response {
    let Passed { status, mut headers, body, refused: _ } = passed;
    if verb != Verb::Head {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut response = Response::new(Body::from(body));
    // A status that came over HTTP is one.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers;
    response
}

/// No answer of the backend, in the shape of ours.
fn failed(failure: &Failure) -> Refused {
    let (status, code) = match failure.kind {
        FailureKind::NoToken => {
            let words = "the agent is not logged in (yet); GET /v1/status says why, under auth";
            let refusal =
                Refusal::unavailable("no_token", words).with_header(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return (ProxyClass::NoToken, refusal);
        }
        FailureKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "backend_timeout"),
        FailureKind::Malformed => (StatusCode::BAD_GATEWAY, "backend_answer"),
        FailureKind::Rejected => (StatusCode::BAD_REQUEST, "bad_path"),
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::Unauthorised
        | FailureKind::Forbidden
        | FailureKind::NotFound
        | FailureKind::Unsupported
        | FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::Server
        | FailureKind::Redirected => (StatusCode::BAD_GATEWAY, "backend_unreachable"),
    };
    let class = if status == StatusCode::BAD_REQUEST { ProxyClass::Refused } else { ProxyClass::Failed };
    (class, Refusal::new(status, code, failure.detail.to_string()))
}
