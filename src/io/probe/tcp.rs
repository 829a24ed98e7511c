//! Whether somebody accepts TCP connections.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{Finding, Found, Progress};

pub(super) async fn ask(address: SocketAddr, progress: &mut Progress) -> Found {
    connect(address, progress).await.map(|_closed_at_once| Finding::healthy("a connection was accepted"))
}

/// Connects, or says in words why not.
pub(super) async fn connect(address: SocketAddr, progress: &mut Progress) -> Result<TcpStream, String> {
    progress.is("connecting");
    TcpStream::connect(address).await.map_err(|error| refused(&error))
}

fn refused(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        "the connection was refused: nobody listens there".to_owned()
    } else {
        format!("cannot connect: {error}")
    }
}
