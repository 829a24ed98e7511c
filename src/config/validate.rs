//! From [`Raw`] to [`Settings`]: every value checked, every mistake collected.
//!
//! A check never stops the others. A mistake that only follows from another is not told: where a file could not be read, or a
//! key was misspelt, nobody is told as well that its value is missing.

mod allocation;
mod auth;
mod game;
mod hand_off;
mod host;
mod instance;
mod instances;
mod places;
mod probes;
mod proxy;
mod shutdown;
mod values;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use self::auth::REDACTED;
use self::values::Checked;
use super::error::Mistake;
use super::files::{self, named};
use super::layer::Written;
use super::merge::Merged;
use super::raw::Raw;
use super::settings::{Environment, GameSource, Instance, Settings, Surroundings};
use crate::core::ids::InstanceName;

/// The longest file of trusted roots, in bytes. A whole system's bundle has about 250 kB.
const CA_LIMIT: u64 = 4 * 1024 * 1024;

/// What came out of it.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The settings, unless there is a mistake.
    pub(super) settings: Option<Settings>,
    /// The values, as they are printed.
    pub(super) raw: Raw,
    /// All mistakes.
    pub(super) mistakes: Vec<Mistake>,
    /// What is allowed but was probably not meant.
    pub(super) warnings: Vec<String>,
}

/// Checks everything. `lost` are keys that were meant but did not get here; `incomplete` says that a whole file did not.
pub(super) fn validate(merged: Merged, surroundings: &Surroundings, lost: Vec<String>, incomplete: bool) -> Verdict {
    let Merged { mut raw, origins, secrets, host } = merged;
    for (key, shown) in [("auth.client_secret", &mut raw.auth.client_secret), ("auth.password", &mut raw.auth.password)]
    {
        if secrets.get(key).is_some_and(|secret| !secret.value.is_empty()) {
            *shown = REDACTED.to_owned();
        }
    }
    let mut checker = Checker {
        raw: &raw,
        origins: &origins,
        secrets: &secrets,
        surroundings,
        lost,
        incomplete,
        of: None,
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let settings = checker.settings(host);
    let Checker { mistakes, warnings, .. } = checker;
    Verdict { settings: settings.filter(|_| mistakes.is_empty()), raw, mistakes, warnings }
}

struct Checker<'a> {
    raw: &'a Raw,
    origins: &'a BTreeMap<String, String>,
    secrets: &'a BTreeMap<String, Written>,
    surroundings: &'a Surroundings,
    lost: Vec<String>,
    incomplete: bool,
    /// The table that the instance comes from which is being checked: its keys are looked for there first.
    of: Option<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Checker<'_> {
    /// Where a key was written, and how it is called there: in the instance's own table, or for all.
    fn written(&self, key: &str) -> (String, Option<String>) {
        let own = self.of.as_ref().map(|of| format!("{of}.{key}"));
        match own.and_then(|own| self.place(&own).map(|place| (own, place))) {
            Some((own, place)) => (own, Some(place)),
            None => (key.to_owned(), self.place(key)),
        }
    }

    /// Where a key was written; for a section or a map, where its first entry was.
    fn place(&self, key: &str) -> Option<String> {
        let below = format!("{key}.");
        self.origins
            .get(key)
            .or_else(|| {
                self.origins
                    .range(below.clone()..)
                    .next()
                    .filter(|(name, _)| name.starts_with(&below))
                    .map(|(_, at)| at)
            })
            .cloned()
    }

    fn refuse_at(&mut self, key: &str, origin: Option<String>, reason: String) {
        let mistake = Mistake { key: key.to_owned(), origin, reason };
        // What many instances inherit is wrong once.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    fn refuse(&mut self, key: &str, reason: String) {
        let (key, origin) = self.written(key);
        self.refuse_at(&key, origin, reason);
    }

    fn warn(&mut self, key: &str, what: &str) {
        let (key, origin) = self.written(key);
        let origin = origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
        let warning = format!("{key} {what}{origin}");
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Refuses a key that has no value, unless its value, or that of a key that would do as well, got lost on the way.
    fn missing(&mut self, key: &str, alternatives: &[&str], reason: &str) {
        let own = |key: &str| self.of.as_ref().map_or_else(|| key.to_owned(), |of| format!("{of}.{key}"));
        let is_lost = |key: &str| {
            self.lost.iter().any(|lost| {
                key.strip_prefix(lost.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let is_lost = |key: &str| is_lost(key) || is_lost(&own(key));
        if !self.incomplete && !is_lost(key) && !alternatives.iter().any(|key| is_lost(key)) {
            let place = self.place(key).or_else(|| self.of.as_deref().and_then(|of| self.place(of)));
            self.refuse_at(&own(key), place, reason.to_owned());
        }
    }

    fn check<T>(&mut self, key: &str, checked: Checked<T>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            // Told already, with a better reason.
            Err(_) if self.is_told(key) => None,
            Err(reason) => {
                self.refuse(key, reason);
                None
            }
        }
    }

    fn is_told(&self, key: &str) -> bool {
        let (key, _) = self.written(key);
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    fn duration(&mut self, key: &str, text: &str, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        self.check(key, values::duration(text, bounds))
    }

    fn number<T: TryFrom<i64>>(&mut self, key: &str, value: i64, bounds: &RangeInclusive<i64>) -> Option<T> {
        self.check(key, values::number(value, bounds))
    }

    fn settings(&mut self, host: bool) -> Option<Settings> {
        let environment = self.environment();
        let auth = self.auth();
        let instances = if host { self.instances() } else { self.only().map(|instance| vec![Arc::new(instance)]) };
        let proxy = self.proxy(instances.as_deref().unwrap_or_default());
        let admin = self.admin(instances.as_deref().unwrap_or_default());
        let state = self.state();
        let shutdown = self.shutdown();
        let log = self.log();
        Some(Settings {
            environment: environment?,
            auth: auth?,
            host,
            instances: instances?,
            proxy: proxy?,
            admin: admin?,
            state: state?,
            shutdown: shutdown?,
            log: log?,
        })
    }

    /// One instance, from the keys that are its own or inherited.
    fn instance(&mut self, name: &InstanceName, socket: &str) -> Option<Instance> {
        let mut params = self.params(name);
        let game = self.game();
        // Where game.* has mistakes, a process is meant to be known.
        let probes = self.probes(game.as_ref().is_none_or(|game| game.source != GameSource::Unknown));
        if let (Some(params), Some(probes)) = (&mut params, &probes) {
            params.probes = probes.iter().map(probes::told).collect();
        }
        let hand_off = self.hand_off();
        let local_api = self.local_api(socket);
        Some(Instance {
            params: Arc::new(params?),
            local_api: local_api?,
            game: game?,
            probes: probes?,
            hand_off: hand_off?,
            allocation_file: values::path(&self.raw.allocation.file),
            recycle: self.recycle()?,
            written: instances::written(self.raw),
        })
    }

    fn environment(&mut self) -> Option<Environment> {
        let raw = &self.raw.environment;
        let url = if raw.url.is_empty() {
            self.missing(
                "environment.url",
                &[],
                "is required: the base URL of the environment, such as \"https://demo.example.org\"",
            );
            None
        } else {
            self.check("environment.url", values::url(&raw.url))
        };
        let ca_file = values::path(&raw.ca_file);
        if let Some(path) = &ca_file {
            let read = files::read(path, CA_LIMIT).map_err(|error| error.told()).and_then(|content| {
                if content.text.contains("-----BEGIN CERTIFICATE-----") {
                    Ok(())
                } else {
                    Err(format!("{} has no certificate in PEM form", named(path)))
                }
            });
            self.check("environment.ca_file", read);
        }
        let connect_timeout = self.duration(
            "environment.connect_timeout",
            &raw.connect_timeout,
            &(Duration::from_millis(100)..=Duration::from_secs(60)),
        );
        Some(Environment { url: url?, ca_file, connect_timeout: connect_timeout?, http2: raw.http2 })
    }
}
