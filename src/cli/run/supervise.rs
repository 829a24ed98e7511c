//! Watching over a running agent: signals, the service manager, secrets that change, the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::farewell::Farewell;
use super::running::Running;
use super::{observe, turnover, words};
use crate::clock;
use crate::config::settings::{Auth, Settings, Surroundings};
use crate::config::{self, Sources};
use crate::core::action::Outcome;
use crate::core::auth::AuthState;
use crate::core::ids::InstanceName;
use crate::core::shutdown::holds_the_host;
use crate::driver::host::Host;
use crate::exit::Exit;
use crate::io::notify::Notifier;
use crate::io::signals::{SignalEvent, Signals};
use crate::io::store::StoreStatus;
use crate::telemetry::log::LogHandle;

/// How often everything is looked at where nothing has been announced.
const LOOK: Duration = Duration::from_secs(5);
/// News is looked at once in this time at most: an instance that changes and changes back must not keep the manager busy.
const NEWS: Duration = Duration::from_secs(1);
/// The watchdog is fed at least this often, however patient it says it is.
const FEED_CEILING: Duration = Duration::from_secs(15);
/// A hang is told this often.
const HUNG: Duration = Duration::from_secs(1);
/// While the login is refused, the secret files are read again this often.
const SECRETS: Duration = Duration::from_secs(5);
/// The watchdog is not fed more often than this, however impatient it says it is.
const FEED_FLOOR: Duration = Duration::from_millis(50);
/// What supervision waits for.
enum Turn {
    Signal(SignalEvent),
    /// The host asks for a drain, and why.
    Host(String),
    Ended(InstanceName, Option<Outcome>),
    Store,
    News,
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
    let (mut host, holds) = running.watch_the_host(surroundings);
    let mut shown = String::new();
    let (mut exit, mut draining) = (Exit::Done, false);
    let mut farewell = Farewell::new(running.instances());
    let begun = clock::now();
    let (mut last_look, mut next_look, mut next_feed, mut next_secrets) = (begun, begun, begun, begun + SECRETS);
    loop {
        // The watchdog may want to be fed more often than there is something to look at.
        let wake = if notifier.watchdog_interval().is_some() { next_look.min(next_feed) } else { next_look };
        // Every arm may be dropped at any time: signals, ends, states of the store and news wait until they are taken.
        let turn = tokio::select! {
            biased;
            signal = signals.next() => Turn::Signal(signal),
            reason = host.next() => Turn::Host(reason),
            one = next_end(&mut running.host, running.settings.host && !draining) => match one {
                Some((name, outcome)) => Turn::Ended(name, outcome),
                None => break,
            },
            () = changed(&mut running.store_status) => Turn::Store,
            () = running.ground.news.notified() => Turn::News,
            () = clock::sleep_until(Some(wake)) => Turn::Look,
        };
        match turn {
            Turn::Signal(SignalEvent::Drain(name)) => {
                tracing::info!(signal = name, "draining; a second signal ends at once");
                draining = true;
                farewell = farewell.of(running.instances());
                farewell.begin(&notifier, &format!("draining: {name}"));
                running.host.drain(name);
            }
            // Nobody has told the service manager to stop us: it hears that with the end, and its time-out does not run.
            Turn::Host(reason) => {
                tracing::info!(reason, "draining: the host asks for it");
                draining = true;
                farewell = farewell.of(running.instances());
                running.host.drain(&reason);
            }
            Turn::Signal(SignalEvent::Reload) => {
                notifier.reloading();
                reload(&mut running, sources, surroundings, log).await;
                notifier.ready(&words::status(&snapshots(&running)));
            }
            Turn::Signal(SignalEvent::Leave) if running.has_own_game() => {
                tracing::warn!(
                    "SIGUSR2 is not followed: the game that this agent has started would end with it; drain instead"
                );
            }
            Turn::Signal(SignalEvent::Leave) => {
                tracing::info!("SIGUSR2: ending now, and leaving the instance as it is for the next agent");
                notifier.stopping("ending now; the instance is kept");
                return running.leave().await;
            }
            Turn::Ended(name, outcome) => {
                exit = turnover::has_ended(&mut running, &name, outcome, exit, draining).await;
                next_look = next_look.min(last_look + NEWS);
            }
            Turn::Store if is_old(&running) => {}
            Turn::Store => next_look = next_look.min(last_look + NEWS),
            Turn::News => {
                next_look = next_look.min(last_look + NEWS);
                // At once: who waits for our end, to start us again, must know that it has begun.
                if draining || !running.stays() {
                    farewell.look(&notifier, &snapshots(&running));
                }
            }
            Turn::Look => {
                feed(&running, &notifier, &mut next_feed);
                let now = clock::now();
                if next_look > now {
                    continue;
                }
                (last_look, next_look) = (now, now + LOOK);
                let snapshots = snapshots(&running);
                hold_the_host(&holds, &snapshots);
                let now_shown = words::status(&snapshots);
                if now_shown != shown {
                    notifier.status(&now_shown);
                    shown = now_shown;
                }
                if draining || !running.stays() {
                    farewell.look(&notifier, &snapshots);
                }
                farewell.extend(&notifier);
                look_at_store(&mut running);
                if running.host.auth().borrow().state == AuthState::Denied {
                    if next_secrets <= now {
                        next_secrets = now + SECRETS;
                        new_secrets(&mut running, false).await;
                    }
                    next_look = next_look.min(next_secrets);
                }
            }
        }
    }
    notifier.stopping("ended");
    running.finish(exit).await
}

/// Waits for an instance to end; `None` once nobody is left, and nobody may come.
async fn next_end(host: &mut Host, more_may_come: bool) -> Option<(InstanceName, Option<Outcome>)> {
    match host.ended().await {
        None if more_may_come => std::future::pending().await,
        end => end,
    }
}

/// A shutdown of the host waits from the first instance that serves until none is left that has players.
fn hold_the_host(holds: &watch::Sender<bool>, snapshots: &[Arc<crate::core::Snapshot>]) {
    holds.send_if_modified(|held| {
        let before = *held;
        *held = holds_the_host(before, snapshots.iter().map(|snapshot| snapshot.phase));
        *held != before
    });
}

fn snapshots(running: &Running) -> Vec<Arc<crate::core::Snapshot>> {
    running.stations.iter().map(|station| station.member.handle.snapshot()).collect()
}

/// Feeds the watchdog while every loop turns.
fn feed(running: &Running, notifier: &Notifier, next: &mut std::time::Instant) {
    let Some(interval) = notifier.watchdog_interval() else { return };
    if *next > clock::now() {
        return;
    }
    if observe::all_turn(&running.host.pulses()) {
        notifier.watchdog();
        *next = clock::now() + interval.clamp(FEED_FLOOR, FEED_CEILING);
    } else {
        tracing::error!("a loop hangs: the watchdog is not fed any more");
        *next = clock::now() + HUNG;
    }
}

/// Waits for another state of the store; for ever once it has ended.
async fn changed(status: &mut watch::Receiver<StoreStatus>) {
    if status.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The store tells of every batch; only while there is a fault, or after one, is that more than an instance knows by itself.
fn is_old(running: &Running) -> bool {
    let (status, told) = (running.store_status.borrow(), &running.store_told);
    let is_well = status.fault.is_none() && told.fault.is_none();
    is_well && status.faults == told.faults && status.findings.len() == told.findings.len()
}

/// The store tells of itself when it fails without being asked, and when it has healed.
fn look_at_store(running: &mut Running) {
    if is_old(running) {
        return;
    }
    let status = running.store_status.borrow_and_update().clone();
    if status == running.store_told {
        return;
    }
    match (status.fault, running.store_fault) {
        (Some(fault), before) if before != Some(fault) => tracing::error!(
            why = status.why,
            "reports are refused: {fault}. Health, notifications and the game go on, and it heals by itself once that is mended"
        ),
        (None, Some(_)) => tracing::info!("the state directory is well again; everything is on disk"),
        (Some(_) | None, Some(_) | None) => {}
    }
    running.store_fault = status.fault;
    running.tell_store(&status);
    running.store_told = status;
}

fn announce(running: &Running) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        environment = running.settings.environment.url,
        state = %running.settings.state.dir.display(),
        admin = running.admin.map(tracing::field::display),
        "rallyhere-agent is there"
    );
    for station in &running.stations {
        let local = &station.local;
        tracing::info!(
            instance = station.name().as_str(),
            socket = local.socket.as_ref().map(|path| tracing::field::display(path.display())),
            listen = local.tcp.map(tracing::field::display),
            grpc = local.grpc.map(tracing::field::display),
            "the local API is open"
        );
    }
}

/// SIGHUP: secrets, the log level and the instances of a host are read again; the rest of the configuration is fixed at start.
async fn reload(running: &mut Running, sources: &Sources, surroundings: &Surroundings, log: &LogHandle) {
    let sources = Sources { host: running.settings.host, ..sources.clone() };
    let surroundings = surroundings.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&sources, &surroundings)).await;
    match loaded {
        Ok(Ok(loaded)) => {
            if let Err(error) = log.set_level(&loaded.settings.log.level) {
                tracing::warn!("the log level stays as it is: {}", super::Chain(&error));
            }
            turnover::take_up(running, loaded.settings).await;
        }
        Ok(Err(mistakes)) => {
            tracing::error!("the configuration was not taken, instances and log level stay as they are: {mistakes}");
        }
        Err(lost) => tracing::error!(error = %lost, "the configuration could not be read again"),
    }
    new_secrets(running, true).await;
    tracing::info!("configuration, secrets and log level were read again");
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
        running.ground.backend.replace_secrets(&fresh.auth);
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
