//! Watching over a running agent: signals, the service manager, secrets that change, the end.

use std::sync::Arc;
use std::time::Duration;

use super::running::{Running, ended, worse};
use super::words;
use crate::clock;
use crate::config::settings::{Auth, Settings, Surroundings};
use crate::config::{self, Sources};
use crate::core::auth::AuthState;
use crate::core::phase::Phase;
use crate::exit::Exit;
use crate::io::notify::Notifier;
use crate::io::signals::{SignalEvent, Signals};
use crate::telemetry::log::LogHandle;

/// How often things that nobody announces are looked at: status words, a refused secret's file.
const LOOK: Duration = Duration::from_secs(1);
/// A loop that has not turned for so long hangs: the watchdog is not fed any more.
const HANG: Duration = Duration::from_secs(15);
/// While the login is refused, the secret files are read again this often, in looks.
const SECRETS_EVERY: u32 = 5;
/// The watchdog is not fed more often than this, however impatient it says it is.
const FEED_FLOOR: Duration = Duration::from_millis(50);
/// Asked of the service manager at each look while draining, so that a long drain is not cut off.
const EXTENSION: Duration = Duration::from_secs(15);

/// What supervision waits for.
enum Turn {
    Signal(SignalEvent),
    Ended(Exit),
    Look,
}

/// Runs until every instance has ended.
pub(super) async fn supervise(
    mut running: Running,
    mut signals: Signals,
    notifier: Notifier,
    sources: &Sources,
    surroundings: &Surroundings,
    log: &LogHandle,
) -> Exit {
    announce(&running);
    // Not when the backend answers, but when we are there for the game: an outage must not make a start fail.
    notifier.ready(&words::status(&snapshots(&running)));
    let mut shown = String::new();
    let mut exit = Exit::Done;
    let mut next_look = clock::now();
    let mut next_feed = clock::now();
    let mut looks: u32 = 0;
    loop {
        // The watchdog may want to be fed more often than there is something to look at.
        let wake = if notifier.watchdog_interval().is_some() { next_look.min(next_feed) } else { next_look };
        let turn = tokio::select! {
            biased;
            signal = signals.next() => Turn::Signal(signal),
            one = running.host.ended() => match one {
                Some((name, outcome)) => Turn::Ended(ended(&name, outcome)),
                None => break,
            },
            () = clock::sleep_until(Some(wake)) => Turn::Look,
        };
        match turn {
            Turn::Signal(SignalEvent::Drain(name)) => {
                tracing::info!(signal = name, "draining; a second signal ends at once");
                notifier.stopping("draining");
                running.host.drain(name);
            }
            Turn::Signal(SignalEvent::Reload) => {
                notifier.reloading();
                reload(&mut running, sources, surroundings, log).await;
                notifier.ready(&words::status(&snapshots(&running)));
            }
            Turn::Ended(one) => exit = worse(exit, one),
            Turn::Look => {
                feed(&running, &notifier, &mut next_feed);
                if next_look > clock::now() {
                    continue;
                }
                next_look = clock::now() + LOOK;
                looks = looks.wrapping_add(1);
                let snapshots = snapshots(&running);
                let now_shown = words::status(&snapshots);
                if now_shown != shown {
                    notifier.status(&now_shown);
                    shown = now_shown;
                }
                if snapshots.iter().any(|snapshot| snapshot.phase == Phase::Draining) {
                    notifier.extend_timeout(EXTENSION);
                }
                look_at_store(&mut running);
                if looks.is_multiple_of(SECRETS_EVERY) && running.host.auth().borrow().state == AuthState::Denied {
                    new_secrets(&mut running, false).await;
                }
            }
        }
    }
    notifier.stopping("ended");
    running.finish(exit).await
}

fn snapshots(running: &Running) -> Vec<Arc<crate::core::Snapshot>> {
    running.host.handles().iter().map(crate::ports::InstanceHandle::snapshot).collect()
}

/// Feeds the watchdog while every loop turns. Turning never needs the network.
fn feed(running: &Running, notifier: &Notifier, next: &mut std::time::Instant) {
    let Some(interval) = notifier.watchdog_interval() else { return };
    if *next > clock::now() {
        return;
    }
    let hung = running.host.pulses().iter().filter(|pulse| pulse.is_running()).any(|pulse| pulse.age() > HANG);
    if hung {
        tracing::error!("a loop hangs: the watchdog is not fed any more");
        *next = clock::now() + LOOK;
    } else {
        notifier.watchdog();
        *next = clock::now() + interval.clamp(FEED_FLOOR, HANG);
    }
}

/// The store tells of itself when it fails without being asked, and when it has healed.
fn look_at_store(running: &mut Running) {
    if !running.store_status.has_changed().unwrap_or(false) {
        return;
    }
    let status = running.store_status.borrow_and_update().clone();
    match (status.fault, running.store_fault) {
        (Some(fault), before) if before != Some(fault) => tracing::error!(
            why = status.why,
            "{fault}: health, notifications and the game go on, but reports are refused until it is well again"
        ),
        (None, Some(_)) => tracing::info!("the state directory is well again; everything is on disk"),
        (Some(_) | None, Some(_) | None) => {}
    }
    running.store_fault = status.fault;
    running.tell_store(&status);
}

fn announce(running: &Running) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        environment = running.settings.environment.url,
        state = %running.settings.state.dir.display(),
        admin = running.admin.map(tracing::field::display),
        "rallyhere-agent is there"
    );
    for (instance, local) in running.settings.instances.iter().zip(&running.locals) {
        tracing::info!(
            instance = instance.name().as_str(),
            socket = local.socket.as_ref().map(|path| tracing::field::display(path.display())),
            listen = local.tcp.map(tracing::field::display),
            grpc = local.grpc.map(tracing::field::display),
            "the local API is open"
        );
    }
}

/// SIGHUP: secrets and the log level are read again; the rest of the configuration is fixed at start.
async fn reload(running: &mut Running, sources: &Sources, surroundings: &Surroundings, log: &LogHandle) {
    let (sources, surroundings) = (sources.clone(), surroundings.clone());
    let loaded = tokio::task::spawn_blocking(move || config::load(&sources, &surroundings)).await;
    match loaded {
        Ok(Ok(loaded)) => {
            if let Err(error) = log.set_level(&loaded.settings.log.level) {
                tracing::warn!("the log level stays as it is: {}", super::Chain(&error));
            }
        }
        Ok(Err(mistakes)) => {
            tracing::error!("the configuration was not taken, the log level stays as it is: {mistakes}");
        }
        Err(lost) => tracing::error!(error = %lost, "the configuration could not be read again"),
    }
    new_secrets(running, true).await;
    tracing::info!("secrets and log level were read again");
}

/// Reads the secret files again; what was refused is tried at once if they changed, or if somebody asked.
async fn new_secrets(running: &mut Running, asked: bool) {
    let settings = running.settings.clone();
    let Ok((fresh, mistakes)) = tokio::task::spawn_blocking(move || config::reload_secrets(&settings)).await else {
        return;
    };
    if asked {
        for mistake in mistakes {
            tracing::warn!("a secret could not be read again, the old one stays: {mistake}");
        }
    }
    let changed = secrets(&fresh) != secrets(&running.settings);
    if changed {
        running.backend.replace_secrets(&fresh.auth);
        running.settings = fresh;
    }
    if changed || asked {
        running.host.reloaded();
    }
}

fn secrets(settings: &Settings) -> Vec<&str> {
    match &settings.auth {
        Auth::ClientCredentials { client_secret, .. } => vec![client_secret.expose()],
        Auth::Basic { client_secret, password, .. } => vec![client_secret.expose(), password.expose()],
        Auth::AccessToken { token } => vec![token.expose()],
    }
}
