//! The floor of the benchmarks: the smallest program that does the agent's HTTP work with the same crates.
//!
//! One long poll, one health post a cadence, and what the poll brings goes to the game on a Unix socket, a page a line. What
//! it leaves out is what makes an agent: the login, the state on disk, retries, limits, the local API, the log.
//!
//! `floor URL SESSION INSTANCE CADENCE_SECONDS CA_FILE SOCKET`; the token is in the environment variable `FLOOR_TOKEN`. An
//! empty CA_FILE: plain HTTP. An empty SOCKET: no game. SESSION and INSTANCE may be lists with commas: all of them in one process.
//!
//! `floor echo SOCKET` is the floor of the local API: it answers every request with `{}`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("too few arguments");
    let first = next()?;
    if first == "echo" {
        return echo(&next()?).await;
    }
    let (url, session, instance) = (Url::parse(&first)?, next()?, next()?);
    let (cadence, ca, socket) = (next()?.parse()?, next()?, next()?);
    let (client, token) = (client(&ca)?, std::env::var("FLOOR_TOKEN")?);
    let mut all = tokio::task::JoinSet::new();
    for (session, instance) in session.split(',').zip(instance.split(',')) {
        let (client, url, token, socket) = (client.clone(), url.clone(), token.clone(), socket.clone());
        let backend = Backend { client, url, token, session: session.to_owned(), instance: instance.to_owned() };
        all.spawn(async move {
            tokio::try_join!(backend.post(Duration::from_secs(cadence)), backend.poll(&socket)).map(|_never| ())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

type Failed = Box<dyn Error + Send + Sync>;

async fn echo(socket: &str) -> Result<(), Failed> {
    let listener = UnixListener::bind(socket)?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = service_fn(|request: Request<Incoming>| async {
            request.into_body().collect().await?;
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"{}"))))
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// Trusts what the agent trusts: nobody over plain HTTP, else the machine's roots and the file.
fn client(ca: &str) -> Result<Client, Failed> {
    let mut roots = RootCertStore::empty();
    if !ca.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls).http1_only().no_proxy().build()?)
}

struct Backend {
    client: Client,
    url: Url,
    token: String,
    session: String,
    instance: String,
}

impl Backend {
    async fn post(&self, cadence: Duration) -> Result<(), Failed> {
        let url = self.url.join(&format!("/session/v1/session/{}/instance/health", self.session))?;
        let body = format!(r#"{{"instance_health":"healthy","instance_id":"{}"}}"#, self.instance);
        let mut slots = tokio::time::interval(cadence);
        loop {
            slots.tick().await;
            let post = self.client.post(url.clone()).bearer_auth(&self.token);
            let post = post.header("content-type", "application/json").body(body.clone());
            post.send().await?.error_for_status()?.bytes().await?;
        }
    }

    async fn poll(&self, socket: &str) -> Result<(), Failed> {
        let mut game = match socket {
            "" => None,
            path => Some(UnixListener::bind(path)?.accept().await?.0),
        };
        let stream = format!("/notification/v1/instance/{}/stream/notification/lp", self.instance);
        let mut url = self.url.join(&stream)?;
        let fixed = [("max_page_size", "100"), ("offset_reset_strategy", "earliest"), ("deadline", "25")];
        url.query_pairs_mut().extend_pairs(fixed);
        loop {
            let answer = self.client.get(url.clone()).bearer_auth(&self.token).send().await?.error_for_status()?;
            let page = answer.bytes().await?;
            let read: Value = serde_json::from_slice(&page)?;
            let Some(last) = read["notifications"].as_array().and_then(|list| list.last()) else { continue };
            if let Some(game) = &mut game {
                game.write_all(&[&page, b"\n".as_slice()].concat()).await?;
            }
            let id = last["notification_id"].as_str().unwrap_or_default();
            url.query_pairs_mut().clear().extend_pairs(fixed).append_pair("exclude_before", id);
        }
    }
}
