//! An HTTP GET over a connection of its own. The status decides; a redirect is a status like any other.

use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Url;

use super::{Finding, Found, Progress, tcp};

/// The most bytes of an answer's head.
const HEAD_LIMIT: usize = 16 * 1024;
/// The most headers of it.
const HEADERS: usize = 100;
/// How much of the body is read. It does not matter what it says, only that it comes.
const BODY_LIMIT: usize = 64 * 1024;

/// What is fetched, and the status that is expected.
#[derive(Debug)]
pub(super) struct Page {
    address: SocketAddr,
    host: HeaderValue,
    /// Path and query.
    target: String,
    status: u16,
}

impl Page {
    /// Reads the URL, once.
    pub(super) fn new(url: &str, status: u16) -> Result<Self, String> {
        let wrong = || "the URL is not of the form http://ADDRESS:PORT/PATH".to_owned();
        let url = Url::parse(url).map_err(|_parse| wrong())?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or_else(wrong)?;
        let address = match host.trim_start_matches('[').trim_end_matches(']') {
            "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            address => address.parse(),
        };
        let port = url.port_or_known_default().ok_or_else(wrong)?;
        let address = SocketAddr::new(address.map_err(|_parse| wrong())?, port);
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { address, host: HeaderValue::from_str(&host).map_err(|_header| wrong())?, target, status })
    }

    pub(super) async fn ask(&self, progress: &mut Progress) -> Found {
        let stream = tcp::connect(self.address, progress).await?;
        progress.is("waiting for the head of the answer");
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| words("cannot speak HTTP", &error))?;
        let request = self.request()?;
        let exchange = async {
            let response =
                sender.send_request(request).await.map_err(|error| words("there was no answer in HTTP", &error))?;
            self.verdict(response, progress).await
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        let mut open = true;
        loop {
            // The connection is what moves the bytes. Once it has ended, the exchange has all that it will ever get.
            tokio::select! {
                biased;
                found = &mut exchange => return found,
                _ended = &mut connection, if open => open = false,
            }
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        Request::get(&self.target)
            .header(HOST, self.host.clone())
            .header(USER_AGENT, concat!("rallyhere-agent/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| format!("the request cannot be made: {error}"))
    }

    async fn verdict(&self, response: Response<Incoming>, progress: &mut Progress) -> Found {
        let (status, expected) = (response.status().as_u16(), self.status);
        if status != expected {
            return Err(format!("it answered {status}, not {expected}"));
        }
        progress.is(format!("reading the body of the answer {status}"));
        let (mut body, mut length) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| words(&format!("it answered {status}, but the body broke off"), &error))?;
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > BODY_LIMIT {
                break;
            }
        }
        Ok(Finding::healthy(format!("it answered {status}")))
    }
}

/// What happened, with its causes.
fn words(what: &str, error: &hyper::Error) -> String {
    let mut words = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(why) = cause {
        let _ = write!(words, ": {why}");
        cause = why.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_an_address_a_host_and_a_target() {
        for (url, address, host, target) in [
            ("http://127.0.0.1:8080/healthz?full=1", "127.0.0.1:8080", "127.0.0.1:8080", "/healthz?full=1"),
            ("http://localhost", "127.0.0.1:80", "localhost", "/"),
            ("http://[::1]:81/a%20b", "[::1]:81", "[::1]:81", "/a%20b"),
        ] {
            let page = Page::new(url, 200).unwrap();
            assert_eq!((page.address.to_string().as_str(), page.target.as_str()), (address, target));
            assert_eq!(page.host, host);
        }
        for bad in ["", "https://127.0.0.1/", "http://game.example/", "127.0.0.1:80", "http://"] {
            assert!(Page::new(bad, 200).is_err(), "{bad}");
        }
    }
}
