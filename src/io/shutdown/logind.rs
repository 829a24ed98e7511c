//! logind: a lock that lets a shutdown of the host wait for us, and the news that one has begun
//! (org.freedesktop.login1(5), systemd-inhibit(1)).
//!
//! The lock is of the mode "delay": the host waits until we give it back, and for InhibitDelayMaxSec at most. It is a file
//! descriptor; whoever closes it has given it back, so a killed agent holds no host.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::NoLock;
use super::bus::{Address, Bus, CallError};
use super::message::{Call, Kind, Message};
use crate::clock;
use crate::telemetry::thin::{Pass, Thinner};

const BUS: &str = "org.freedesktop.DBus";
const LOGIND: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const PATH: &str = "/org/freedesktop/login1";
/// The news that the host goes down, or that it does not after all.
const SIGNAL: &str = "PrepareForShutdown";
/// How long the bus and logind may take for one answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long until a lost connection, or a lock that was refused, is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is told of logind, and how loudly.
struct Teller {
    must: bool,
    thinner: Thinner,
    told: bool,
}

impl Teller {
    /// Nobody holds the host for us. Where it must not be so, that is a warning; else it is told once.
    fn missing(&mut self, why: &dyn std::fmt::Display) {
        if self.must {
            if let Pass::Say { suppressed } = self.thinner.pass("missing", clock::now()) {
                tracing::warn!(suppressed, "a shutdown of the host does not wait for the match: {why}");
            }
        } else if !std::mem::replace(&mut self.told, true) {
            tracing::info!("a shutdown of the host does not wait for the match: {why}");
        }
    }
}

/// Holds the lock while `holds` says so, and says so when the host goes down.
pub(super) async fn run(
    address: Address,
    must: bool,
    drain_timeout: Duration,
    mut holds: watch::Receiver<bool>,
    reasons: mpsc::Sender<String>,
) {
    let mut teller = Teller { must, thinner: Thinner::new(), told: false };
    loop {
        match limited(listen(&address)).await {
            Ok(mut bus) => {
                if let Ok(granted) = limited(patience(&mut bus)).await {
                    compare(granted, drain_timeout);
                }
                if let Err(error) = keep(&mut bus, &mut holds, &reasons, &mut teller).await {
                    teller.missing(&error);
                }
            }
            // A container, or a host without systemd: there is nobody to wait.
            Err(CallError::Broken(error)) if error.kind() == io::ErrorKind::NotFound && !must => {
                tracing::debug!("there is no system bus: a shutdown of the host does not wait for the match");
            }
            Err(error) => teller.missing(&error),
        }
        clock::sleep(AGAIN).await;
    }
}

/// Takes the lock and gives it back.
pub(super) async fn try_once(address: &Address) -> Result<Duration, NoLock> {
    let tried = limited(async {
        let mut bus = listen(address).await?;
        let granted = patience(&mut bus).await?;
        let _given_back = inhibit(&mut bus).await?;
        Ok(granted)
    });
    tried.await.map_err(|error| match error {
        CallError::Broken(error) if error.kind() == io::ErrorKind::NotFound => NoLock::NoBus,
        error @ (CallError::Broken(_) | CallError::Refused { .. }) => NoLock::Refused(error.to_string()),
    })
}

/// Within the limit, or the connection is of no use.
async fn limited<T>(work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::select! {
        biased;
        done = work => done,
        () = clock::sleep(LIMIT) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", LIMIT.as_secs())).into())
        }
    }
}

/// A connection that hears of shutdowns.
async fn listen(address: &Address) -> Result<Bus, CallError> {
    let mut bus = Bus::connect(address).await?;
    let to_the_bus =
        |member, arguments| Call { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member, arguments };
    bus.call(&to_the_bus("Hello", &[])).await?;
    let wanted = format!("type='signal',sender='{LOGIND}',interface='{MANAGER}',member='{SIGNAL}',path='{PATH}'");
    bus.call(&to_the_bus("AddMatch", &[&wanted])).await?;
    Ok(bus)
}

/// For how long logind lets a shutdown wait.
async fn patience(bus: &mut Bus) -> Result<Duration, CallError> {
    let (answer, _none) = bus
        .call(&Call {
            destination: LOGIND,
            path: PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &[MANAGER, "InhibitDelayMaxUSec"],
        })
        .await?;
    let micros = answer.variant_number().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Duration::from_micros(micros))
}

/// A drain that is cut off by the host should surprise nobody.
fn compare(granted: Duration, drain_timeout: Duration) {
    let (granted, wanted) = (granted.as_secs(), drain_timeout.as_secs());
    if granted < wanted {
        tracing::info!(
            "a shutdown of the host waits for {granted} s at most, shutdown.drain_timeout is {wanted} s: raise InhibitDelayMaxSec in logind.conf"
        );
    }
}

/// The lock.
async fn inhibit(bus: &mut Bus) -> Result<OwnedFd, CallError> {
    let (_answer, mut fds) = bus
        .call(&Call {
            destination: LOGIND,
            path: PATH,
            interface: MANAGER,
            member: "Inhibit",
            arguments: &["shutdown", "rallyhere-agent", "a match is played on this host", "delay"],
        })
        .await?;
    let lock = fds.pop().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "logind gave no lock"))?;
    Ok(lock)
}

/// Takes and gives back the lock, for as long as the connection lives.
async fn keep(
    bus: &mut Bus,
    holds: &mut watch::Receiver<bool>,
    reasons: &mpsc::Sender<String>,
    teller: &mut Teller,
) -> io::Result<()> {
    let mut lock = None;
    let mut again = None;
    loop {
        let wanted = *holds.borrow_and_update();
        if !wanted && lock.take().is_some() {
            tracing::info!("a shutdown of the host does not wait any more: nobody is served");
        }
        if wanted && lock.is_none() && again.is_none_or(|again| again <= clock::now()) {
            match limited(inhibit(bus)).await {
                Ok(fd) => {
                    lock = Some(fd);
                    tracing::info!("a shutdown of the host waits for the match now");
                }
                Err(CallError::Broken(error)) => return Err(error),
                // Also where logind is not there: it may come.
                Err(refused @ CallError::Refused { .. }) => {
                    teller.missing(&refused);
                    again = Some(clock::now() + AGAIN);
                }
            }
        }
        let retry = again.filter(|_| wanted && lock.is_none());
        tokio::select! {
            biased;
            signal = bus.signal() => {
                if let Some(down) = is_down(&signal?) {
                    say(down, reasons).await;
                }
            }
            changed = holds.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
            () = clock::sleep_until(retry) => {}
        }
    }
}

/// Whether the host goes down, or does not after all; `None` for another signal.
fn is_down(signal: &Message) -> Option<bool> {
    match &signal.kind {
        Kind::Signal { interface, member } if interface == MANAGER && member == SIGNAL => signal.boolean(),
        Kind::Signal { .. } | Kind::Return { .. } | Kind::Error { .. } | Kind::Other => None,
    }
}

async fn say(down: bool, reasons: &mpsc::Sender<String>) {
    if down {
        // Nobody listens any more: the agent ends.
        let _over = reasons.send("the host shuts down".to_owned()).await;
    } else {
        tracing::info!("the shutdown of the host was called off; a drain that has begun goes on");
    }
}
