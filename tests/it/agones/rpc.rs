//! A gRPC client made of hyper and prost, with messages written once more from the published sdk.proto.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::local::raw::within;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GameServer {
    #[prost(message, optional, tag = "1")]
    pub(crate) object_meta: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(crate) spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    pub(crate) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) uid: String,
    #[prost(string, tag = "4")]
    pub(crate) resource_version: String,
    #[prost(int64, tag = "5")]
    pub(crate) generation: i64,
    #[prost(int64, tag = "6")]
    pub(crate) creation_timestamp: i64,
    #[prost(int64, tag = "7")]
    pub(crate) deletion_timestamp: i64,
    #[prost(btree_map = "string, string", tag = "8")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Spec {
    #[prost(message, optional, tag = "1")]
    pub(crate) health: Option<Health>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Health {
    #[prost(bool, tag = "1")]
    pub(crate) disabled: bool,
    #[prost(int32, tag = "2")]
    pub(crate) period_seconds: i32,
    #[prost(int32, tag = "3")]
    pub(crate) failure_threshold: i32,
    #[prost(int32, tag = "4")]
    pub(crate) initial_delay_seconds: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "1")]
    pub(crate) state: String,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) ports: Vec<Port>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) addresses: Vec<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Port {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) port: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    #[prost(string, tag = "1")]
    pub(crate) r#type: String,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

impl GameServer {
    pub(crate) fn state(&self) -> &str {
        &self.status.as_ref().unwrap().state
    }

    pub(crate) fn meta(&self) -> &ObjectMeta {
        self.object_meta.as_ref().unwrap()
    }
}

/// The status of a call: code and words.
pub(crate) type Ended = (i32, String);

/// What a request carries: messages, as they are sent.
struct Pipe(mpsc::Receiver<Bytes>);

impl Body for Pipe {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&encoded);
    framed.into()
}

/// A connection.
pub(crate) struct Rpc {
    sender: http2::SendRequest<Pipe>,
    authority: String,
    token: Option<String>,
    _connection: JoinSet<()>,
}

impl Rpc {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            within(http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream))).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender, authority: format!("localhost:{}", addr.port()), token: None, _connection: tasks }
    }

    pub(crate) fn with_authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Begins a call; what it sends goes through the sender.
    pub(crate) async fn open(&mut self, path: &str) -> (mpsc::Sender<Bytes>, Stream) {
        let (sender, pipe) = mpsc::channel(16);
        let mut request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        within(self.sender.ready()).await.unwrap();
        let answer = self.sender.send_request(request.body(Pipe(pipe)).unwrap());
        (sender, Stream { answer: Some(Box::pin(answer)), body: None, head: HeaderMap::new(), read: Vec::new() })
    }

    pub(crate) async fn sdk(&mut self, method: &str) -> (mpsc::Sender<Bytes>, Stream) {
        self.open(&format!("/agones.dev.sdk.SDK/{method}")).await
    }

    /// A call with one message; its answers and how it ended.
    pub(crate) async fn call_path(&mut self, path: &str, message: &impl Message) -> (Vec<Bytes>, Ended) {
        let (sender, mut stream) = self.open(path).await;
        // A call that is refused at once does not read it.
        let _unread = sender.send(framed(message)).await;
        drop(sender);
        let mut answers = Vec::new();
        loop {
            match stream.message().await {
                Ok(message) => answers.push(message),
                Err(ended) => return (answers, ended),
            }
        }
    }

    /// A call of the SDK whose answer is empty.
    pub(crate) async fn call(&mut self, method: &str, message: &impl Message) -> Ended {
        let (answers, ended) = self.call_path(&format!("/agones.dev.sdk.SDK/{method}"), message).await;
        assert_eq!(answers.len(), usize::from(ended.0 == 0), "{method}: {answers:?} {ended:?}");
        assert!(answers.iter().all(Bytes::is_empty));
        ended
    }

    pub(crate) async fn game_server(&mut self) -> GameServer {
        let (answers, ended) = self.call_path("/agones.dev.sdk.SDK/GetGameServer", &Empty {}).await;
        assert_eq!((answers.len(), ended.0), (1, 0), "{ended:?}");
        GameServer::decode(answers[0].clone()).unwrap()
    }

    pub(crate) async fn watch(&mut self) -> Stream {
        let (sender, stream) = self.sdk("WatchGameServer").await;
        sender.send(framed(&Empty {})).await.unwrap();
        stream
    }
}

pub(crate) fn beat() -> Bytes {
    framed(&Empty {})
}

type Pending = Pin<Box<dyn Future<Output = hyper::Result<hyper::Response<Incoming>>> + Send>>;

/// The answers of a call.
pub(crate) struct Stream {
    answer: Option<Pending>,
    body: Option<Incoming>,
    head: HeaderMap,
    read: Vec<u8>,
}

impl Stream {
    /// The next message, or how the call ended.
    pub(crate) async fn message(&mut self) -> Result<Bytes, Ended> {
        if let Some(answer) = self.answer.take() {
            let response = within(answer).await.map_err(|error| (-1, error.to_string()))?;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/grpc");
            self.head = response.headers().clone();
            self.body = Some(response.into_body());
        }
        loop {
            if let [0, a, b, c, d, rest @ ..] = self.read.as_slice() {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if let Some(message) = rest.get(..length) {
                    let message = Bytes::copy_from_slice(message);
                    self.read.drain(..5 + length);
                    return Ok(message);
                }
            }
            let frame = within(std::future::poll_fn(|cx| Pin::new(self.body.as_mut().unwrap()).poll_frame(cx))).await;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(frame) => return Err(status(&frame.into_trailers().unwrap())),
                },
                Some(Err(error)) => return Err((-1, error.to_string())),
                None => return Err(status(&self.head)),
            }
        }
    }

    pub(crate) async fn game_server(&mut self) -> GameServer {
        GameServer::decode(self.message().await.unwrap()).unwrap()
    }

    pub(crate) async fn state(&mut self) -> String {
        self.game_server().await.state().to_owned()
    }
}

fn status(headers: &HeaderMap) -> Ended {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let words = percent_encoding::percent_decode_str(text("grpc-message")).decode_utf8().unwrap().into_owned();
    (text("grpc-status").parse().unwrap(), words)
}
