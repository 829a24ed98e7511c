//! How many streams a server takes at a time on an HTTP/2 connection. It says so in its first frame (RFC 9113, 3.4 and 6.5.2);
//! the client that we use keeps it to itself. So it is asked on a connection on which nothing else is said, and no request is made.

use std::io::{self, Read as _, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::exchange::first;
use crate::clock;

/// What a client begins with, and its settings, of which there are none.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The end of the connection, without an error.
const GOODBYE: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// A frame's head, in bytes.
const HEAD: usize = 9;
/// The kind of frame that holds settings.
const SETTINGS: u8 = 4;
/// The setting that we look for.
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// More settings than there are. What is larger is none of them.
const LONGEST: usize = 1024;

/// How many it takes; `u32::MAX` where it names no number, 0 if it does not speak HTTP/2.
///
/// # Errors
/// If it cannot be reached, or does not answer within `limit`.
pub(super) async fn ask(tls: &ClientConfig, host: &str, port: u16, limit: Duration) -> io::Result<u32> {
    let asked = first(pin!(look(tls, host, port)), pin!(clock::sleep(limit))).await;
    let streams = asked.unwrap_or_else(|()| Err(io::Error::from(io::ErrorKind::TimedOut)));
    match &streams {
        Ok(streams) => tracing::debug!(?streams, "asked how many polls may share a connection"),
        Err(error) => tracing::debug!(%error, "could not ask how many polls may share a connection"),
    }
    streams
}

async fn look(tls: &ClientConfig, host: &str, port: u16) -> io::Result<u32> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(tls), name).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut come = Vec::new();
    let mut said_hello = false;
    loop {
        if !said_hello && !connection.is_handshaking() {
            if connection.alpn_protocol() != Some(b"h2") {
                return Ok(0);
            }
            connection.writer().write_all(HELLO)?;
            said_hello = true;
        }
        if let Some(streams) = streams(&come)? {
            connection.writer().write_all(GOODBYE)?;
            connection.send_close_notify();
            send(&mut connection, &mut stream).await?;
            return Ok(streams);
        }
        send(&mut connection, &mut stream).await?;
        let mut buffer = vec![0; 4096];
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let mut encrypted = buffer.get(..count).unwrap_or_default();
        while !encrypted.is_empty() {
            connection.read_tls(&mut encrypted)?;
            let clear = connection.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
            let mut part = vec![0; clear];
            connection.reader().read_exact(&mut part)?;
            come.extend(part);
        }
    }
}

async fn send(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    let mut out = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut out)?;
    }
    stream.write_all(&out).await
}

/// What the first frame says, once it is there.
fn streams(come: &[u8]) -> io::Result<Option<u32>> {
    let Some((&[high, middle, low, kind, ..], rest)) = come.split_first_chunk::<HEAD>() else { return Ok(None) };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if kind != SETTINGS || length > LONGEST {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let Some(settings) = rest.get(..length) else { return Ok(None) };
    let mut streams = u32::MAX;
    for setting in settings.chunks_exact(6) {
        if let &[k1, k2, a, b, c, d] = setting
            && u16::from_be_bytes([k1, k2]) == MAX_CONCURRENT_STREAMS
        {
            streams = u32::from_be_bytes([a, b, c, d]);
        }
    }
    Ok(Some(streams))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, settings: &[(u16, u32)]) -> Vec<u8> {
        let body: Vec<u8> =
            settings.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        let length = u8::try_from(body.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 0][..], &body].concat()
    }

    #[test]
    fn the_number_of_streams_is_found_among_the_settings_of_the_first_frame() {
        let whole = frame(SETTINGS, &[(4, 65_535), (3, 128), (6, 16_384)]);
        for end in 0..whole.len() {
            assert_eq!(streams(&whole[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(streams(&whole).unwrap(), Some(128));
        assert_eq!(streams(&[whole, vec![0; 40]].concat()).unwrap(), Some(128), "what comes after is not looked at");
        assert_eq!(streams(&frame(SETTINGS, &[])).unwrap(), Some(u32::MAX), "a server need not bound it");
        assert!(streams(&frame(0, &[(3, 128)])).is_err(), "another frame");
        assert!(streams(b"HTTP/1.1 400 Bad Request\r\n").is_err());
        assert!(streams(&[0xff, 0xff, 0xff, SETTINGS, 0, 0, 0, 0, 0]).is_err(), "longer than any");
    }
}
