//! One request, one reply, within limits.

use std::error::Error;
use std::fmt::Write as _;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER,
};
use reqwest::{Body, Method, Response, Url};
use uuid::Uuid;

use super::departure::{Departure, Outgoing};
use super::lane::Lane;
use crate::clock;
use crate::core::call::{Failure, FailureKind, Trail};
use crate::wire::{self, Reply};

/// A request, ready to go.
pub(super) struct Outbound {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Marked sensitive.
    pub(super) authorization: HeaderValue,
    pub(super) if_none_match: Option<HeaderValue>,
    /// JSON, unless the headers are somebody else's.
    pub(super) body: Option<Bytes>,
    /// The headers of a request that is passed on, in place of ours. Then its answer is wanted whole, whatever its status.
    pub(super) foreign: Option<HeaderMap>,
    /// How many bytes of a success to read.
    pub(super) response_limit: usize,
    /// Whether it may be repeated at once on a closed reused connection.
    pub(super) is_safe: bool,
    /// From leaving to the head of the answer; `None` for the long poll.
    pub(super) header_limit: Option<Duration>,
    /// From one piece of the body to the next.
    pub(super) body_idle: Duration,
    /// When to give up in any case.
    pub(super) deadline: Instant,
}

/// Under which names a backend, or a proxy before it, tells the id under which it has written down a request. The first that
/// is there counts.
const BACKEND_IDS: [&str; 9] = [
    "x-request-id",
    "x-correlation-id",
    "request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "traceparent",
    "x-amz-cf-id",
    "cf-ray",
];
/// Under which name ours goes out. OpenAPI allows headers that it does not name, and proxies pass this one on.
const OUR_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A reply; of a failure perhaps only the beginning of its body.
pub(super) struct Inbound {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    request_id: String,
}

impl Inbound {
    /// Where the call is found in the logs of both sides. `secrets` are what it must not repeat.
    pub(super) fn trail(&self, secrets: &[&str]) -> Trail {
        trail(&self.request_id, &self.headers, secrets)
    }

    /// All of it, to pass it on.
    pub(super) fn into_parts(self) -> (u16, HeaderMap, Vec<u8>) {
        (self.status, self.headers, self.body)
    }

    /// The reply for `wire` to read; `secrets` are what its words must not repeat.
    pub(super) fn reply<'a>(&'a self, secrets: &'a [&'a str]) -> Reply<'a> {
        let header = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        Reply {
            status: self.status,
            etag: header(ETAG),
            retry_after: header(RETRY_AFTER),
            date: header(DATE),
            body: &self.body,
            secrets,
        }
    }
}

/// Why an attempt gave no reply.
struct Lost {
    failure: Failure,
    /// The connection had been used before, and it was closed without a word.
    stale: bool,
}

/// Sends a request and reads the reply. Dropping the future takes it back: the connection is then closed.
pub(super) async fn exchange(lane: &Lane, request: &Outbound) -> Result<Inbound, Failure> {
    let request_id = Uuid::new_v4().to_string();
    let begun = clock::now();
    let result = match attempt(lane, request, &request_id).await {
        Err(lost) if lost.stale && request.is_safe => attempt(lane, request, &request_id).await,
        result => result,
    };
    let result = result.map_err(|lost| {
        let trail = Trail { request_id: request_id.as_str().into(), backend_request_id: None };
        if lost.failure.trail.is_some() { lost.failure } else { lost.failure.found_at(&trail) }
    });
    let (status, failure) = match &result {
        Ok(inbound) => (Some(inbound.status), None),
        Err(failure) => (failure.status, Some(failure.kind.as_str())),
    };
    let seconds = clock::now().saturating_duration_since(begun).as_secs_f32();
    // Without the query: the path says which call it was.
    tracing::debug!(request_id, method = %request.method, path = request.url.path(), status, failure, seconds, "asked the backend");
    result
}

fn trail(request_id: &str, headers: &HeaderMap, secrets: &[&str]) -> Trail {
    let told = |name: &&str| headers.get(*name).and_then(|id| wire::id_of_the_backend(id.to_str().ok()?, secrets));
    let backend_request_id = BACKEND_IDS.iter().find_map(told).filter(|id| **id != *request_id);
    Trail { request_id: request_id.into(), backend_request_id }
}

async fn attempt(lane: &Lane, request: &Outbound, request_id: &str) -> Result<Inbound, Lost> {
    let (body, departure) = Outgoing::new(request.body.clone(), lane.seen());
    let turn = lane.turn();
    let http = turn.client.request(request.method.clone(), request.url.clone()).headers(headers(request));
    let http = http.header(OUR_ID, request_id);
    let answer = {
        let answer = pin!(http.body(Body::wrap(body)).send());
        let late = pin!(too_late(request, &departure));
        let answer = pin!(first(answer, late));
        first(answer, pin!(clock::sleep_until(Some(request.deadline)))).await
    };
    let mut response = match answer {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(error))) => return Err(broken(&error, &departure)),
        Ok(Err(limit)) => {
            lane.doubt(&turn);
            return Err(lost(FailureKind::TimedOut, format!("no answer within {limit:?} after the request was sent")));
        }
        Err(()) if departure.has_left() => {
            lane.doubt(&turn);
            return Err(lost(FailureKind::TimedOut, "no answer within the time limit of the call".to_owned()));
        }
        Err(()) => {
            lane.doubt(&turn);
            return Err(lost(FailureKind::Unreachable, "no connection within the time limit of the call".to_owned()));
        }
    };
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    match body_of(&mut response, request).await {
        Ok(body) => Ok(Inbound { status, headers, body, request_id: request_id.to_owned() }),
        Err(failure) => {
            if failure.kind == FailureKind::TimedOut {
                lane.doubt(&turn);
            }
            let sent = request.authorization.to_str().unwrap_or_default();
            let trail = trail(request_id, &headers, &[sent.split(' ').next_back().unwrap_or_default()]);
            let failure = Failure { status: Some(status), ..failure }.found_at(&trail);
            Err(Lost { failure, stale: false })
        }
    }
}

fn headers(request: &Outbound) -> HeaderMap {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut headers = request.foreign.clone().unwrap_or_else(|| {
        let mut ours = HeaderMap::from_iter([(ACCEPT, JSON)]);
        if request.body.is_some() {
            ours.insert(CONTENT_TYPE, JSON);
        }
        ours
    });
    if let Some(etag) = &request.if_none_match {
        headers.insert(IF_NONE_MATCH, etag.clone());
    }
    headers.insert(AUTHORIZATION, request.authorization.clone());
    headers
}

/// Ends when the head of the answer is overdue, and says how long was waited.
async fn too_late(request: &Outbound, departure: &Departure) -> Duration {
    match request.header_limit {
        Some(limit) => {
            departure.leaves().await;
            clock::sleep(limit).await;
            limit
        }
        None => pending().await,
    }
}

/// Reads a body. That of a failure is taken as far as it comes, where its status alone says what to do. A 403 may be a dead token or
/// a missing permission, and a 404 a session that is over or a call that is not there: half of their words would say the wrong one.
async fn body_of(response: &mut Response, request: &Outbound) -> Result<Vec<u8>, Failure> {
    // A failure that is passed on must be as whole as a success.
    let success = response.status().is_success() || request.foreign.is_some();
    let speaks_for_itself = !success && !matches!(response.status().as_u16(), 403 | 404);
    let limit = if success { request.response_limit } else { wire::ERROR_BODY_LIMIT };
    let too_large = || Failure::local(FailureKind::Malformed, format!("the answer is larger than {limit} bytes"));
    if success && response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        // A poll's answer may begin long before there is something to say.
        let waiting = request.header_limit.is_none() && body.is_empty();
        let idle = if waiting { request.deadline } else { clock::now() + request.body_idle };
        let until = idle.min(request.deadline);
        match first(pin!(response.chunk()), pin!(clock::sleep_until(Some(until)))).await {
            Ok(Ok(Some(piece))) if body.len() + piece.len() <= limit => body.extend_from_slice(&piece),
            Ok(Ok(Some(_))) if success => return Err(too_large()),
            Ok(Ok(Some(piece))) => {
                body.extend(piece.iter().take(limit - body.len()));
                return Ok(body);
            }
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(_)) | Err(()) if speaks_for_itself => return Ok(body),
            Ok(Err(error)) => {
                let kind = if is_garbage(&error) { FailureKind::Malformed } else { FailureKind::Cut };
                return Err(Failure::local(kind, words("the answer broke off", &error)));
            }
            Err(()) => return Err(Failure::local(FailureKind::TimedOut, "the answer began, but did not end in time")),
        }
    }
}

/// A request that got no answer, or none in HTTP.
fn broken(error: &reqwest::Error, departure: &Departure) -> Lost {
    if error.is_builder() {
        return lost(FailureKind::Rejected, words("the request cannot be made", error));
    }
    if !departure.has_left() {
        return lost(FailureKind::Unreachable, words("cannot connect", error));
    }
    if chain(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)) {
        return lost(FailureKind::Malformed, words("the answer is not HTTP", error));
    }
    let failure = Failure::local(FailureKind::Cut, words("the connection ended before an answer came", error));
    Lost { failure, stale: departure.met_a_closed_connection() }
}

fn lost(kind: FailureKind, words: String) -> Lost {
    Lost { failure: Failure::local(kind, words), stale: false }
}

/// Whether a body is cut into pieces wrongly, as opposed to cut short.
fn is_garbage(error: &reqwest::Error) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
            || cause.downcast_ref::<std::io::Error>().is_some_and(|io| {
                matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput)
            })
    })
}

/// What happened, with its causes. reqwest's own words come first and say nothing; they also hold the URL.
fn words(what: &str, error: &reqwest::Error) -> String {
    let mut words = what.to_owned();
    for cause in chain(error).skip(1).map(ToString::to_string).filter(|cause| !cause.starts_with("client error (")) {
        let _ = write!(words, ": {cause}");
    }
    wire::for_people(&words, &[])
}

fn chain<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error as &'a (dyn Error + 'static)), |error| (*error).source())
}

/// What ends first: `Ok` the work, `Err` the limit. At the same moment, the work. Both are pinned by who asks: a future that is
/// handed another has room for it twice, and every poll in flight holds these.
pub(super) async fn first<A, B>(
    mut work: Pin<&mut impl Future<Output = A>>,
    mut limit: Pin<&mut impl Future<Output = B>>,
) -> Result<A, B> {
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        limit.as_mut().poll(context).map(Err)
    })
    .await
}
