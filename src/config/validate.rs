//! From [`Raw`] to [`Settings`]: every value checked, every mistake collected.
//!
//! A check never stops the others. A mistake that only follows from another is not told: where a file could not be read, or a
//! key was misspelt, nobody is told as well that its value is missing.

mod auth;
mod game;
mod hand_off;
mod host;
mod instance;
mod places;
mod probes;
mod proxy;
mod values;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use self::auth::REDACTED;
use self::values::Checked;
use super::error::Mistake;
use super::files::{self, named};
use super::layer::Written;
use super::merge::Merged;
use super::raw::Raw;
use super::settings::{Environment, GameSource, Instance, Settings, Surroundings};
use super::shape::LATER;

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
    let Merged { mut raw, origins, secrets } = merged;
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
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    checker.later();
    let settings = checker.settings();
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
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Checker<'_> {
    /// Where a key was written; for a section or a map, where its first entry was.
    fn origin(&self, key: &str) -> Option<String> {
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
        self.mistakes.push(Mistake { key: key.to_owned(), origin, reason });
    }

    fn refuse(&mut self, key: &str, reason: String) {
        let origin = self.origin(key);
        self.refuse_at(key, origin, reason);
    }

    fn warn(&mut self, key: &str, what: &str) {
        let origin = self.origin(key).map(|origin| format!(" ({origin})")).unwrap_or_default();
        self.warnings.push(format!("{key} {what}{origin}"));
    }

    /// Refuses a key that has no value, unless its value, or that of a key that would do as well, got lost on the way.
    fn missing(&mut self, key: &str, alternatives: &[&str], reason: &str) {
        let is_lost = |key: &str| {
            self.lost.iter().any(|lost| {
                key.strip_prefix(lost.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if !self.incomplete && !is_lost(key) && !alternatives.iter().any(|key| is_lost(key)) {
            self.refuse(key, reason.to_owned());
        }
    }

    fn check<T>(&mut self, key: &str, checked: Checked<T>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            // Told already, with a better reason.
            Err(_) if self.mistakes.iter().any(|mistake| mistake.key == key) => None,
            Err(reason) => {
                self.refuse(key, reason);
                None
            }
        }
    }

    fn duration(&mut self, key: &str, text: &str, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        self.check(key, values::duration(text, bounds))
    }

    fn number<T: TryFrom<i64>>(&mut self, key: &str, value: i64, bounds: &RangeInclusive<i64>) -> Option<T> {
        self.check(key, values::number(value, bounds))
    }

    /// Refuses what does nothing yet.
    fn later(&mut self) {
        let as_table = |raw: &Raw| toml::Table::try_from(raw).map(toml::Value::Table);
        let (Ok(written), Ok(defaults)) = (as_table(self.raw), as_table(&Raw::default())) else { return };
        let at = |mut value: &toml::Value, key: &str| {
            for part in key.split('.') {
                value = value.get(part)?;
            }
            Some(value.clone())
        };
        for later in LATER {
            let value = at(&written, later.key);
            if later.words.is_empty() {
                if value != at(&defaults, later.key) {
                    self.refuse(
                        later.key,
                        "is not supported yet by this version of the agent; leave it out".to_owned(),
                    );
                }
            } else if let Some(word) =
                value.as_ref().and_then(|value| value.as_str()).filter(|word| later.words.contains(word))
            {
                self.refuse(later.key, format!("{word:?} is not supported yet by this version of the agent"));
            }
        }
    }

    fn settings(&mut self) -> Option<Settings> {
        let environment = self.environment();
        let auth = self.auth();
        let mut params = self.params();
        let game = self.game();
        // Where game.* has mistakes, a process is meant to be known.
        let probes = self.probes(game.as_ref().is_none_or(|game| game.source != GameSource::Unknown));
        if let (Some(params), Some(probes)) = (&mut params, &probes) {
            params.probes = probes.iter().map(probes::told).collect();
        }
        self.later_words();
        let hand_off = self.hand_off();
        let local_api = self.local_api();
        let proxy = self.proxy(local_api.as_ref());
        let admin = self.admin(local_api.as_ref());
        let state = self.state();
        let log = self.log();
        Some(Settings {
            environment: environment?,
            auth: auth?,
            instances: vec![Instance {
                params: params?,
                local_api: local_api?,
                game: game?,
                probes: probes?,
                hand_off: hand_off?,
            }],
            proxy: proxy?,
            admin: admin?,
            state: state?,
            log: log?,
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

    /// The words of keys for which there is only one answer so far.
    fn later_words(&mut self) {
        self.check("environment.api", values::word(&self.raw.environment.api, &[("auto", ()), ("2023-11", ())]));
    }
}
