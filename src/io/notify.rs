//! What the service manager is told (sd_notify(3)): ready, stopping, reloading, alive, and a status in words.
//!
//! Without a manager every call does nothing. With one, no call waits and no failure reaches the agent: the manager's own
//! limits (TimeoutStartSec=, WatchdogSec=) decide what a lost message means.
//!
//! The words and the monotonic clock are those of the sd-notify crate; the sending is ours. The crate reads the process's
//! environment, waits when the manager's queue is full, and takes an abstract address for a file.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::config::settings::Surroundings;

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often it wants to hear from us, in microseconds (sd_watchdog_enabled(3)).
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// From which process.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The variables that speak of us and the manager. A game that we start must not inherit them.
pub const VARIABLES: [&str; 3] = [SOCKET, WATCHDOG_USEC, WATCHDOG_PID];

/// The longest status, in characters; `systemctl status` shows one line of it.
const STATUS_LIMIT: usize = 256;

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    manager: Option<Manager>,
    watchdog: Option<Duration>,
    /// READY=1 did not go out, and goes with the next message.
    owes_ready: AtomicBool,
    /// A failure was logged; the next ones are not, until something goes out again.
    failing: AtomicBool,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Reads who wants to be told. A broken address is logged and taken for none.
    pub fn new(surroundings: &Surroundings) -> Self {
        let manager = surroundings.env.get(SOCKET).filter(|address| !address.is_empty()).and_then(|address| {
            Manager::connect(address)
                .inspect_err(|error| {
                    let error: &dyn std::error::Error = error;
                    tracing::warn!(address, error, "{SOCKET} cannot be used; the service manager is told nothing");
                })
                .ok()
        });
        let watchdog = manager.as_ref().and_then(|_| watchdog(surroundings, std::process::id()));
        Self { manager, watchdog, owes_ready: AtomicBool::new(false), failing: AtomicBool::new(false) }
    }

    /// Whether there is somebody to tell.
    pub fn is_active(&self) -> bool {
        self.manager.is_some()
    }

    /// How often [`Self::watchdog`] wants to be called: half of what the manager waits. `None` without a watchdog.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The agent is up: the end of a start, or of a reload. Said again with the next message if it does not go out.
    pub fn ready(&self, words: &str) {
        self.owes_ready.store(true, Ordering::Relaxed);
        self.status(words);
    }

    /// What the agent is doing, for `systemctl status`.
    pub fn status(&self, words: &str) {
        self.send(&[NotifyState::Status(&one_line(words))]);
    }

    /// The drain has begun.
    pub fn stopping(&self, words: &str) {
        self.owes_ready.store(false, Ordering::Relaxed);
        self.send(&[NotifyState::Stopping, NotifyState::Status(&one_line(words))]);
    }

    /// A reload has begun; it ends with [`Self::ready`]. The time stamp is for Type=notify-reload (systemd 253).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => self.send(&[NotifyState::Reloading, stamp]),
            Err(_no_clock) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// The agent makes progress. Call it every [`Self::watchdog_interval`], and only if that is so.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// The start or the stop goes on for at least this long; the manager's time-out moves accordingly.
    pub fn extend_timeout(&self, by: Duration) {
        self.send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(manager) = &self.manager else { return };
        let owes_ready = self.owes_ready.swap(false, Ordering::Relaxed);
        let ready = if owes_ready { &[NotifyState::Ready][..] } else { &[] };
        let message: String = ready.iter().chain(states).map(|state| format!("{state}\n")).collect();
        match manager.send(&message) {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                self.owes_ready.fetch_or(owes_ready, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the service manager did not take a message; the agent goes on");
                }
            }
        }
    }
}

impl Manager {
    /// `address` is a path, or an abstract name behind `@`.
    fn connect(address: &str) -> io::Result<Self> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if address.starts_with('/') => SocketAddr::from_pathname(address)?,
            None => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Sends, to whoever listens there now: the manager may have been replaced since the last message.
    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(|_whole_datagram| ())
    }
}

/// Half of the time after which the manager takes this process for hung (sd_watchdog_enabled(3) recommends half).
fn watchdog(surroundings: &Surroundings, own_pid: u32) -> Option<Duration> {
    let limit: u64 = surroundings.env.get(WATCHDOG_USEC)?.parse().ok()?;
    let is_ours = surroundings.env.get(WATCHDOG_PID).is_none_or(|pid| pid.parse() == Ok(own_pid));
    (is_ours && limit > 0).then(|| Duration::from_micros(limit) / 2)
}

/// A message is made of lines: a line break in the words would begin another assignment.
fn one_line(words: &str) -> String {
    words.chars().take(STATUS_LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
