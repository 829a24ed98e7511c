//! One HTTP call on a connection of its own, byte by byte: to the local API, and to the simulator where a test needs a token.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// A call of the local API. Gives the status, and the body as it came.
pub(crate) async fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, String)> {
    exchange(UnixStream::connect(socket).await?, &format!("{method} {path}"), &[], body).await
}

/// A call over TCP, with headers.
pub(crate) async fn call_tcp(
    address: &str,
    line: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<(u16, String)> {
    exchange(TcpStream::connect(address).await?, line, headers, body).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> io::Result<(u16, String)> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let mut request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in [("content-type", "application/json")].iter().chain(headers) {
        write!(request, "{name}: {value}\r\n").map_err(io::Error::other)?;
    }
    write!(request, "content-length: {}\r\n\r\n{body}", body.len()).map_err(io::Error::other)?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let is_in_pieces = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if is_in_pieces { joined(body).ok_or(io::ErrorKind::InvalidData)? } else { body.to_owned() };
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
}

/// A body that came in pieces; `None` where its end is missing.
fn joined(mut rest: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        let (piece, end) = after.split_at_checked(length)?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(piece);
        rest = end.strip_prefix("\r\n")?;
    }
}
