//! The way to a running agent: its socket or its address, one HTTP/1.1 call on a connection of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::clock;
use crate::config::secret::{Secret, SecretOrigin};
use crate::config::settings::Surroundings;
use crate::wire::reader;

mod error;
mod target;

pub(super) use error::ClientError;
use target::Target;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take: above the agent's own limit on a verdict, so that its words arrive.
const PATIENCE: Duration = Duration::from_secs(40);
/// The largest answer, in bytes: a session's document is at most 8 MiB.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// The token for `--url`.
const TOKEN: &str = "RALLYHERE_AGENT_TOKEN";

/// Where the agent is.
#[derive(Debug, clap::Args)]
pub(super) struct Connect {
    /// The agent's socket; without it and --url, RALLYHERE_AGENT_SOCKET, RALLYHERE_AGENT_URL and the usual places.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The instance of a host that is meant, by its name: NAME.sock in the usual places.
    #[arg(long, global = true, value_name = "NAME", conflicts_with_all = ["url", "socket"])]
    instance: Option<String>,
    /// The agent's address, as in local_api.listen: http://127.0.0.1:9358
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// For --url: a file with the token of local_api.token_file; without it the environment variable RALLYHERE_AGENT_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Client {
    target: Target,
    /// Only for an address; a socket asks for none.
    token: Option<Secret>,
}

/// What the agent says when it says no.
#[derive(Debug, Deserialize)]
struct RefusalShape {
    error: RefusalWords,
}

#[derive(Debug, Deserialize)]
struct RefusalWords {
    code: String,
    message: String,
}

impl Client {
    /// Finds the agent that is meant.
    pub(super) fn find(connect: &Connect, surroundings: &Surroundings) -> Result<Self, ClientError> {
        let target = match (&connect.socket, &connect.url) {
            (Some(path), _) => Target::Socket(path.clone()),
            (None, Some(url)) => Target::parse(url)?,
            (None, None) => match &connect.instance {
                Some(name) => Target::of_instance(name, surroundings)?,
                None => Target::usual(surroundings)?,
            },
        };
        let token = match &target {
            Target::Socket(_) => None,
            Target::Tcp { .. } => read_token(connect.token_file.as_deref(), surroundings)?,
        };
        Ok(Self { target, token })
    }

    /// The agent behind a socket.
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { target: Target::Socket(socket), token: None }
    }

    /// Whether it is an address, which leaves nothing behind that could be looked at.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.target, Target::Tcp { .. })
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None, PATIENCE).await
    }

    /// Reads something that the agent may hold for a while.
    pub(super) async fn wait<T: DeserializeOwned>(&self, path: &str, held: Duration) -> Result<T, ClientError> {
        self.call(Method::GET, path, None, PATIENCE + held).await
    }

    /// Asks for something.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ClientError> {
        self.call(Method::POST, path, Some(body), PATIENCE).await
    }

    /// Takes something back.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, None, PATIENCE).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let call = format!("{method} {path}");
        let target = self.target.to_string();
        let request =
            self.request(method, path, body).map_err(|source| ClientError::Request { call: call.clone(), source })?;
        // Dropping the exchange closes the connection; what was asked may still be carried out, and the message says so.
        let (status, bytes) = tokio::select! {
            biased;
            exchanged = self.exchange(request, &call) => exchanged?,
            () = clock::sleep(patience) => {
                return Err(ClientError::NoAnswer { target, call, seconds: patience.as_secs() });
            }
        };
        let not_understood = |source| ClientError::NotUnderstood { target: target.clone(), call: call.clone(), source };
        if status.is_success() {
            return reader::document(&bytes).map_err(not_understood);
        }
        let RefusalShape { error } = reader::document(&bytes).map_err(not_understood)?;
        Err(ClientError::Refused {
            call,
            status: status.as_u16(),
            code: super::clean(&error.code),
            message: super::clean(&error.message),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.target.authority());
        if let Some(token) = &self.token {
            let value = header::HeaderValue::try_from(format!("Bearer {}", token.expose())).map(|mut value| {
                value.set_sensitive(true);
                value
            })?;
            request = request.header(header::AUTHORIZATION, value);
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::from(body))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, call: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let connecting = async {
            match &self.target {
                Target::Socket(path) => UnixStream::connect(path).await.map(Way::Socket),
                Target::Tcp { host, port, .. } => TcpStream::connect((host.as_str(), *port)).await.map(Way::Tcp),
            }
        };
        let connected = tokio::select! {
            biased;
            connected = connecting => connected.map_err(|source| self.target.refused(source))?,
            () = clock::sleep(CONNECT) => {
                return Err(ClientError::NoConnection { target: self.target.to_string(), seconds: CONNECT.as_secs() });
            }
        };
        match connected {
            Way::Socket(stream) => self.speak(stream, request, call).await,
            Way::Tcp(stream) => self.speak(stream, request, call).await,
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        request: Request<Full<Bytes>>,
        call: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |source| ClientError::Broken { target: self.target.to_string(), call: call.to_owned(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
        let mut answering = std::pin::pin!(async {
            let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            read(response).await.map_err(broken)
        });
        tokio::select! {
            biased;
            answer = answering.as_mut() => return answer,
            // The connection is over; what it has brought is with the answer, and what went wrong too.
            _ended = connection => {}
        }
        answering.await
    }
}

enum Way {
    Socket(UnixStream),
    Tcp(TcpStream),
}

async fn read(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await?;
    Ok((status, body.to_bytes()))
}

/// A token is a word: what is around it in a file is not part of it.
fn read_token(file: Option<&Path>, surroundings: &Surroundings) -> Result<Option<Secret>, ClientError> {
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ClientError::TokenFile { path: path.to_owned(), source })?;
        return Ok(Some(Secret::new(text.trim().to_owned(), SecretOrigin::File(path.to_owned()))));
    }
    let token = surroundings.env.get(TOKEN).map(|token| token.trim()).filter(|token| !token.is_empty());
    Ok(token.map(|token| Secret::new(token.to_owned(), SecretOrigin::Value)))
}
