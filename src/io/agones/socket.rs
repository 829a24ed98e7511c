//! The watch as a WebSocket (RFC 6455): one JSON a text message.
//!
//! Written by hand, because what we need of it is little: we send short messages, and of a client's we want pings and the close.
//! Everything else that it sends is read and thrown away, up to a limit a message. The digest is that of `ring`, which TLS has
//! brought along.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tonic::Code;

use self::frame::{Arrived, Opcode, Reader, frame};
use super::engine::Engine;
use super::failure::Failure;
use super::rest::result;
use super::watcher::Watcher;
use crate::io::local::server::Afterwards;

mod frame;

/// What every key is hashed with (RFC 6455, 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How much is read at a time, in bytes.
const CHUNK: usize = 1024;
/// The close code of somebody who ends (RFC 6455, 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Whether a request wants to become a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    has_word(headers, &header::UPGRADE, "websocket")
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// Answers the handshake, and watches on the connection from then on.
pub(super) async fn open(engine: Arc<Engine>, mut request: Request) -> Result<Response, Failure> {
    let bad = |why: &str| Failure::new(Code::InvalidArgument, format!("this is no WebSocket handshake: {why}"));
    let headers = request.headers();
    if !has_word(headers, &header::CONNECTION, "upgrade") {
        return Err(bad("the Connection header does not say Upgrade"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(bad("Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| bad("Sec-WebSocket-Key is missing"))?;
    if STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16) {
        let accept = HeaderValue::from_str(&accept(key.as_bytes())).map_err(|error| bad(&error.to_string()))?;
        let upgraded = hyper::upgrade::on(&mut request);
        let watcher = engine.watch().await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response.extensions_mut().insert(Afterwards::new(async move {
            if let Ok(upgraded) = upgraded.await {
                // How it ended is the peer's business.
                let _ended = serve(TokioIo::new(upgraded), watcher).await;
            }
        }));
        return Ok(response);
    }
    Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"))
}

/// The answer to a key (RFC 6455, 4.2.2).
fn accept(key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat());
    STANDARD.encode(digest)
}

/// Sends each document, answers pings and the close.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, mut watcher: Watcher) -> io::Result<()> {
    let mut reader = Reader::default();
    let mut chunk = [0; CHUNK];
    loop {
        // Both may be dropped half-way: a watcher loses nothing, and `read` has read nothing until it is done.
        tokio::select! {
            biased;
            read = socket.read(&mut chunk) => {
                let read = read?;
                let mut fresh = chunk.get(..read).unwrap_or_default();
                if fresh.is_empty() {
                    return Ok(());
                }
                while let Some(arrived) = reader.take(&mut fresh) {
                    match arrived {
                        Arrived::Ping(data) => socket.write_all(&frame(Opcode::Pong, &data)).await?,
                        Arrived::Close(code) => {
                            let code = code.map(u16::to_be_bytes);
                            let said = code.as_ref().map(<[u8; 2]>::as_slice).unwrap_or_default();
                            socket.write_all(&frame(Opcode::Close, said)).await?;
                            return socket.shutdown().await;
                        }
                    }
                }
                socket.flush().await?;
            }
            document = watcher.next() => match document {
                Some(document) => {
                    socket.write_all(&frame(Opcode::Text, &result(&document.json))).await?;
                    socket.flush().await?;
                }
                None => {
                    socket.write_all(&frame(Opcode::Close, &GOING_AWAY.to_be_bytes())).await?;
                    return socket.shutdown().await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        assert_eq!(super::accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
