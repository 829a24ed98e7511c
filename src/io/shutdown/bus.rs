//! A connection to the system's message bus (D-Bus Specification 0.43): the handshake, one call at a time, and the signals
//! that were asked for.
//!
//! It is our own because all that is needed is one call that gives a file descriptor, one property and one signal, and the
//! usual library makes the agent a tenth larger (design: 6 MiB for the whole program). A `systemd-inhibit` child can hold a
//! lock, but nobody tells us through it that the host goes down.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net as std_net;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use super::message::{Call, HEAD, Kind, Message, rest};
use crate::config::settings::Surroundings;

/// Where the system bus is, if nobody says otherwise.
const USUAL: &str = "/run/dbus/system_bus_socket";
/// Who says otherwise.
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// The longest line of the handshake.
const LINE_LIMIT: usize = 4096;
/// Signals that came while an answer was waited for. There is one kind of them, and it is rare.
const SIGNALS: usize = 16;
/// File descriptors that may come with one message (SCM_MAX_FD of Linux is 253; we ask for one).
const FDS: usize = 4;

/// Where a bus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Path(PathBuf),
    /// An abstract name.
    Abstract(Vec<u8>),
    /// It is said in a way that we do not know.
    Unknown(String),
}

impl Address {
    /// The system bus.
    pub fn of(surroundings: &Surroundings) -> Self {
        match surroundings.env.get(VARIABLE).filter(|address| !address.is_empty()) {
            Some(address) => Self::parse(address),
            None => Self::Path(PathBuf::from(USUAL)),
        }
    }

    /// Reads `unix:path=...` or `unix:abstract=...`; the first of several that is one of these.
    fn parse(list: &str) -> Self {
        let one = |address: &str| {
            let keys = address.strip_prefix("unix:")?;
            keys.split(',').find_map(|pair| match pair.split_once('=')? {
                ("path", path) => Some(Self::Path(PathBuf::from(String::from_utf8(plain(path)?).ok()?))),
                ("abstract", name) => Some(Self::Abstract(plain(name)?)),
                _ => None,
            })
        };
        list.split(';').find_map(one).unwrap_or_else(|| Self::Unknown(list.to_owned()))
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(path).await,
            Self::Abstract(name) => {
                // Connecting to a Unix socket does not wait for the other side to accept.
                let stream = std_net::UnixStream::connect_addr(&std_net::SocketAddr::from_abstract_name(name)?)?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            }
            Self::Unknown(address) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{VARIABLE} is {address:?}, and only unix:path= and unix:abstract= are understood"),
            )),
        }
    }
}

/// A value of an address: `%20` is a byte.
fn plain(value: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            plain.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            plain.push(byte);
        }
    }
    Some(plain)
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The connection is of no use any more.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The other side said no.
    #[error("{name}: {words}")]
    Refused {
        /// The name of the error.
        name: String,
        /// Its words.
        words: String,
    },
}

/// A connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Bytes that were read and are not a whole message yet.
    read: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects and says who we are.
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let stream = address.connect().await?;
        let mut bus = Self { stream, serial: 0, read: Vec::new(), fds: VecDeque::new(), signals: VecDeque::new() };
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        bus.handshake(&format!("\0AUTH EXTERNAL {hex}\r\n"), "OK").await?;
        bus.handshake("NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD").await?;
        bus.stream.write_all(b"BEGIN\r\n").await?;
        Ok(bus)
    }

    async fn handshake(&mut self, said: &str, wanted: &str) -> io::Result<()> {
        self.stream.write_all(said.as_bytes()).await?;
        let end = loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.read.len() > LINE_LIMIT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what is there is no message bus"));
            }
            self.receive().await?;
        };
        let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..=end);
        if line.split([' ', '\r']).next() == Some(wanted) {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the message bus answered {:?}", line.trim_end()),
            ))
        }
    }

    /// Calls a method and waits for its answer. Not cancel-safe: a call that was given up makes the connection useless.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> Result<(Message, Vec<OwnedFd>), CallError> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call.encode(serial)).await?;
        loop {
            let (message, fds) = self.message().await?;
            match &message.kind {
                Kind::Return { to } if *to == serial => return Ok((message, fds)),
                Kind::Error { to, name } if *to == serial => {
                    let words = message.text().unwrap_or_default();
                    return Err(CallError::Refused { name: name.clone(), words });
                }
                Kind::Signal { .. } if self.signals.len() < SIGNALS => self.signals.push_back(message),
                Kind::Return { .. } | Kind::Error { .. } | Kind::Signal { .. } | Kind::Other => {}
            }
        }
    }

    /// The next signal. Cancelling loses nothing.
    pub(super) async fn signal(&mut self) -> io::Result<Message> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let (message, _fds) = self.message().await?;
            if matches!(message.kind, Kind::Signal { .. }) {
                return Ok(message);
            }
        }
    }

    /// The next message. Cancelling loses nothing: what was read stays.
    async fn message(&mut self) -> io::Result<(Message, Vec<OwnedFd>)> {
        loop {
            if let Some(head) = self.read.first_chunk::<HEAD>() {
                let whole = HEAD + rest(head)?;
                if self.read.len() >= whole {
                    let message = Message::decode(head, &self.read[HEAD..whole])?;
                    self.read.drain(..whole);
                    let count = usize::try_from(message.fds).unwrap_or(usize::MAX).min(self.fds.len());
                    let fds = self.fds.drain(..count).collect();
                    return Ok((message, fds));
                }
            }
            self.receive().await?;
        }
    }

    /// Reads what is there, and the file descriptors that come with it.
    async fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut fds = Vec::new();
        let count = loop {
            self.stream.readable().await?;
            let received = self.stream.try_io(Interest::READABLE, || {
                let mut control = RecvAncillaryBuffer::new(&mut space);
                // Close on exec: a game that we start must not hold the host.
                let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
                let received = recvmsg(&self.stream, &mut [IoSliceMut::new(&mut piece)], &mut control, flags)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        fds.extend(rights);
                    }
                }
                Ok(received.bytes)
            });
            match received {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        self.fds.extend(fds);
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the message bus has ended the connection"));
        }
        self.read.extend_from_slice(&piece[..count]);
        Ok(())
    }
}
