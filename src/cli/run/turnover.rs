//! Instances that come, change and go while the agent runs.
//!
//! A reload brings the host to what the configuration says now, and touches nobody who is in it as before. Whoever is not in it any
//! more drains, as on a stop of the agent, and goes. Whoever has other settings takes them up at the next life: one whose game
//! we started, and one that serves, is not disturbed for a changed key.

use super::running::{Running, ended, worse};
use super::station::{Fate, Station};
use crate::config::settings::{Auth, Instance, Settings};
use crate::core::action::Outcome;
use crate::core::ids::InstanceName;
use crate::exit::Exit;

/// Why an instance drains that is not configured any more.
const TAKEN_OUT: &str = "it was taken out of the configuration";

/// Brings the instances to what was read again.
pub(super) async fn take_up(running: &mut Running, fresh: Settings) {
    for what in fixed(&running.settings, &fresh) {
        tracing::warn!("the next start takes this change up: {what}");
    }
    if !running.settings.host {
        if let Some((station, fresh)) = running.stations.first().zip(fresh.instances.first()) {
            let keys = wait(station, fresh);
            if !keys.is_empty() {
                tracing::warn!("the next start takes this change up: {}", keys.join(", "));
            }
        }
        return;
    }
    let wanted = fresh.instances;
    let gone: Vec<InstanceName> = running
        .stations
        .iter()
        .map(|station| station.name().clone())
        .filter(|name| wanted.iter().all(|instance| instance.name() != name))
        .collect();
    for name in gone {
        go(running, &name).await;
    }
    for instance in wanted {
        match running.stations.iter_mut().find(|station| station.name() == instance.name()) {
            None => running.add(instance).await,
            Some(station) if station.settings.written == instance.written => {
                wait(station, &instance);
                // Taken out, and put back before it had drained: it begins anew once it has ended.
                if !matches!(station.fate, Fate::Stay) {
                    station.fate = Fate::Replace(instance);
                }
            }
            Some(station) if station.over => {
                let name = instance.name().clone();
                running.remove(&name).await;
                running.add(instance).await;
            }
            Some(station) => {
                tracing::info!(
                    instance = instance.name().as_str(),
                    keys = wait(station, &instance).join(", "),
                    "other settings for a running instance: they are taken up when it has ended"
                );
                running.host.last_life(instance.name());
                station.fate = Fate::Replace(instance);
            }
        }
    }
}

/// Shows which keys of a running instance say something else by now.
fn wait(station: &Station, fresh: &Instance) -> Vec<String> {
    let keys = station.settings.written.changed(&fresh.written);
    station.member.handle.settings_wait(keys.clone());
    keys
}

async fn go(running: &mut Running, name: &InstanceName) {
    let Some(station) = running.stations.iter_mut().find(|station| station.name() == name) else { return };
    if station.over {
        running.remove(name).await;
        return;
    }
    station.fate = Fate::Go;
    tracing::info!(instance = name.as_str(), "draining: {TAKEN_OUT}");
    running.host.drain_one(name, TAKEN_OUT);
}

/// An instance has ended for good: what becomes of it.
pub(super) async fn has_ended(
    running: &mut Running,
    name: &InstanceName,
    outcome: Option<Outcome>,
    so_far: Exit,
    draining: bool,
) -> Exit {
    let one = ended(name, outcome);
    let Some(station) = running.stations.iter_mut().find(|station| station.name() == name) else {
        return worse(so_far, one);
    };
    station.over = true;
    if running.settings.host && !draining {
        match std::mem::replace(&mut station.fate, Fate::Stay) {
            Fate::Stay => {}
            Fate::Go => running.remove(name).await,
            Fate::Replace(settings) => {
                running.remove(name).await;
                running.add(settings).await;
            }
        }
    }
    // A host of many does not end as one of its instances did.
    if running.settings.host && outcome.is_some() { so_far } else { worse(so_far, one) }
}

/// What is said for all, and was said differently before.
fn fixed(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let mut changed = Vec::new();
    if before.environment != after.environment {
        changed.push("[environment]");
    }
    if who(&before.auth) != who(&after.auth) {
        changed.push("[auth]");
    }
    if before.admin != after.admin {
        changed.push("[admin]");
    }
    if before.state != after.state {
        changed.push("[state]");
    }
    if before.log.format != after.log.format {
        changed.push("log.format");
    }
    if before.host != after.host {
        changed.push("a table of [instances]");
    }
    changed
}

/// Who logs in, without the secrets.
fn who(auth: &Auth) -> (&'static str, &str, &str) {
    match auth {
        Auth::ClientCredentials { client_id, .. } => ("client_credentials", client_id, ""),
        Auth::Basic { client_id, username, .. } => ("basic", client_id, username),
        Auth::AccessToken { .. } => ("access_token", "", ""),
    }
}
