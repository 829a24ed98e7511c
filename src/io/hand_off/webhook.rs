//! `notifications.deliver = "webhook"`: each notification is POSTed as JSON to a URL on this host.
//!
//! 2xx takes it. Redirects are never followed, a proxy is never used, and of the answer no more than 64 KiB is read. Each one
//! has a connection of its own: a game that was restarted in between is not met on a dead one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::net::TcpStream;

use crate::clock;
use crate::core::process::{HandOver, Untaken};
use crate::wire::for_people;

/// How many bytes of an answer are read, head and body each; the rest is dropped with the connection.
const ANSWER: usize = 64 * 1024;
/// How much of a refusal's body is worth keeping, in bytes.
const WORDS: usize = 400;
/// How long the body may take once the status is known. It decides nothing.
const TAIL: Duration = Duration::from_millis(250);
/// What cannot stand in a header, and what would make the encoding ambiguous.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// POSTs one notification.
pub(super) async fn post(url: &str, limit: Duration, what: &HandOver) -> Result<(), Untaken> {
    let deadline = clock::now() + limit;
    let place = Place::of(url)?;
    let request = request(&place, what)?;
    let stream = tokio::select! {
        biased;
        stream = place.connect() => stream?,
        () = clock::sleep_until(Some(deadline)) => {
            return Err(absent(format!("{} does not take the connection", place.authority)));
        }
    };
    let (status, words) = speak(stream, request, &place, deadline, limit).await?;
    if status.is_success() {
        return Ok(());
    }
    let hint = if status.is_redirection() { ", and redirects are not followed" } else { "" };
    let words = if words.is_empty() { words } else { format!(": {words}") };
    Err(refused(format!("{} answered {}{hint}{words}", place.authority, status.as_u16())))
}

fn absent(words: String) -> Untaken {
    Untaken::Absent(for_people(&words, &[]).into())
}

fn refused(words: String) -> Untaken {
    Untaken::Refused(for_people(&words, &[]).into())
}

/// An error and its causes.
fn chain(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Where it goes. What is told of it never has the path or the query, where a secret may stand.
struct Place {
    authority: String,
    addresses: Vec<IpAddr>,
    port: u16,
    target: String,
}

impl Place {
    fn of(url: &str) -> Result<Self, Untaken> {
        let wrong = || absent("notifications.webhook is not a URL on this host".to_owned());
        let uri: Uri = url.parse().map_err(|_not_one| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // Not by asking a resolver, which could name any host.
        let addresses = if host.eq_ignore_ascii_case("localhost") {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        } else {
            vec![host.parse().map_err(|_name| wrong())?]
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { authority: authority.to_string(), addresses, port: authority.port_u16().unwrap_or(80), target })
    }

    /// A connection. Whoever does not take it was not asked.
    async fn connect(&self) -> Result<TcpStream, Untaken> {
        let mut words = String::new();
        for address in &self.addresses {
            match TcpStream::connect((*address, self.port)).await {
                Ok(stream) => {
                    let _slower = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => words = error.to_string(),
            }
        }
        Err(absent(format!("{} does not take the connection: {words}", self.authority)))
    }
}

fn request(place: &Place, what: &HandOver) -> Result<Request<Full<Bytes>>, Untaken> {
    let body = super::json(what)?;
    let key = utf8_percent_encode(what.notification.notification_id.as_str(), ENCODED).to_string();
    Request::post(&place.target)
        .header(header::HOST, &place.authority)
        .header(header::USER_AGENT, concat!("rallyhere-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("idempotency-key", key)
        .header("rallyhere-attempt", what.attempt)
        .body(Full::from(body))
        .map_err(|error| refused(format!("the request cannot be made: {error}")))
}

/// Sends the request; gives the status and the beginning of a refusal's body.
async fn speak(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
    place: &Place,
    deadline: Instant,
    limit: Duration,
) -> Result<(StatusCode, String), Untaken> {
    let at = &place.authority;
    let broken = |error: &hyper::Error| refused(format!("{at} gave no answer: {}", chain(error)));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut answering = std::pin::pin!(async {
        let response = tokio::select! {
            biased;
            response = sender.send_request(request) => response.map_err(|error| broken(&error))?,
            () = clock::sleep_until(Some(deadline)) => {
                return Err(refused(format!("{at} did not answer within {limit:?}")));
            }
        };
        let status = response.status();
        Ok((status, beginning(response).await))
    });
    tokio::select! {
        biased;
        answer = answering.as_mut() => return answer,
        // The connection is over; what it has brought is with the answer, and what went wrong too.
        _ended = connection => {}
    }
    answering.await
}

/// Reads the body, as far as that is worth it, and keeps how it begins.
async fn beginning(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let (mut read, mut kept) = (0, Vec::new());
    let reading = async {
        while read < ANSWER
            && let Some(Ok(frame)) = body.frame().await
        {
            let data = frame.data_ref().map_or(&[][..], |data| data.as_ref());
            read += data.len();
            kept.extend(data.iter().take(WORDS - kept.len().min(WORDS)));
        }
    };
    tokio::select! {
        biased;
        () = reading => {}
        () = clock::sleep(TAIL) => {}
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests;
