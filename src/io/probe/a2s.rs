//! A2S_INFO over UDP.
//!
//! Each run has a socket of its own that is connected to the server: answers from elsewhere and answers to a run before
//! never arrive.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::{Finding, Found, Progress};
use crate::core::process::Players;
use crate::wire::a2s::{self, A2sError, Answer, Info};

/// The most challenges in one run. One is usual; a second comes where the server changed its secret in between.
const CHALLENGES: u32 = 3;
/// Longer than any message: they fit 1400 bytes, or are split.
const LONGEST: usize = 8 * 1024;

pub(super) async fn ask(server: SocketAddr, progress: &mut Progress) -> Found {
    progress.is("asking");
    let socket = connected(server).await.map_err(|error| format!("cannot open a UDP socket: {error}"))?;
    let mut seen = Seen::default();
    let mut challenges = 0;
    let mut datagram = vec![0; LONGEST];
    send(&socket, None).await?;
    loop {
        progress.is(seen.waiting(challenges));
        let length = socket.recv(&mut datagram).await.map_err(|error| lost(&error))?;
        // One that fills the buffer may have been cut to it.
        let answer = match datagram.get(..length) {
            Some(whole) if length < LONGEST => a2s::decode(whole).map_err(Odd::Unread),
            _ => Err(Odd::TooLong),
        };
        match answer {
            Ok(Answer::Info(info)) => return Ok(found(&info)),
            Ok(Answer::Challenge(_)) if challenges == CHALLENGES => {
                return Err(format!("it answered each of {} questions with a challenge", CHALLENGES + 1));
            }
            Ok(Answer::Challenge(challenge)) => {
                challenges += 1;
                send(&socket, Some(challenge)).await?;
            }
            Err(Odd::Unread(error @ A2sError::Split)) => return Err(error.to_string()),
            Err(odd) => seen.add(odd),
        }
    }
}

async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn send(socket: &UdpSocket, challenge: Option<u32>) -> Result<(), String> {
    socket.send(&a2s::request(challenge)).await.map(drop).map_err(|error| lost(&error))
}

fn lost(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        "nobody listens on that port".to_owned()
    } else {
        format!("the question or its answer was lost: {error}")
    }
}

fn found(info: &Info) -> Finding {
    let Info { name, map, players, max_players, bots, .. } = info;
    let players = Players { count: u32::from(*players), capacity: u32::from(*max_players) };
    let Players { count, capacity } = players;
    Finding {
        players: Some(players),
        ..Finding::healthy(format!("{count} of {capacity} players, {bots} bots, map {map}, name {name}"))
    }
}

/// Why a datagram is no answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Odd {
    #[error(transparent)]
    Unread(A2sError),
    #[error("it is too long")]
    TooLong,
}

/// What came that was no answer.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    last: Option<Odd>,
}

impl Seen {
    fn add(&mut self, odd: Odd) {
        self.count += 1;
        self.last = Some(odd);
    }

    fn waiting(&self, challenges: u32) -> String {
        let mut words = "waiting for the answer".to_owned();
        if challenges > 0 {
            words += " to the challenged question";
        }
        if let Some(last) = &self.last {
            let _ = write!(words, " ({} datagrams came that are none; the last: {last})", self.count);
        }
        words
    }
}
