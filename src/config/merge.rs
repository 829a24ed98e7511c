//! From layers to one: the texts of the environment and of `--set` by the type of their key, then `config` to lay one layer
//! over the other, then back into [`Raw`].

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::error::{Mistake, dotted};
use super::form;
use super::layer::{Layer, Written, unknown, wrong_type};
use super::raw::Raw;
use super::settings::Surroundings;
use super::shape::{Kind, Shape};
use super::strict::{self, Parsed};
use crate::wire::reader::Misfit;

/// What every variable of ours begins with.
const PREFIX: &str = "RALLYHERE_AGENT_";

/// Between the parts of a key in the name of a variable.
const SEPARATOR: &str = "__";

/// All layers in one.
#[derive(Debug)]
pub(super) struct Merged {
    /// The values; the secrets are not in it.
    pub(super) raw: Raw,
    /// Where each value that is not a default was written, by dotted key. Entries of maps have keys of their own.
    pub(super) origins: BTreeMap<String, String>,
    /// The secrets, by key, from the highest layer that names them.
    pub(super) secrets: BTreeMap<String, Written>,
    /// Whether a table of instances was written, if only an empty one.
    pub(super) host: bool,
}

/// Lays the layers over the defaults and over each other, the last on top.
///
/// # Errors
/// If the layers do not fit [`Raw`]. The strict passes exclude that; if they ever fail to, the key is named.
pub(super) fn merge(layers: Vec<Layer>) -> Result<Merged, Mistake> {
    let internal = |key: String, reason: String| Mistake { key, origin: None, reason };
    let defaults = toml::Table::try_from(Raw::default()).map_err(|error| internal(String::new(), error.to_string()))?;
    let mut builder = Config::builder().add_source(Defaults(form::values(defaults)));
    let (mut secrets, mut origins, mut host) = (BTreeMap::new(), BTreeMap::new(), false);
    for mut layer in layers {
        secrets.extend(layer.secrets.drain(..).map(|secret| (secret.key.clone(), secret)));
        origins.extend(std::mem::take(&mut layer.named));
        host |= layer.host;
        builder = builder.add_source(layer);
    }
    let merged = builder.build().map_err(|error| internal(String::new(), error.to_string()))?;
    collect(&mut origins, &mut Vec::new(), &merged.cache);
    origins.extend(secrets.values().map(|secret| (secret.key.clone(), secret.origin.clone())));
    let ValueKind::Table(values) = &merged.cache.kind else {
        return Err(internal(String::new(), "the merged settings are no table".to_owned()));
    };
    let raw = form::read(&form::table(values)).map_err(|Misfit { path, error }| internal(path, error.to_string()))?;
    Ok(Merged { raw, origins, secrets, host })
}

/// The lowest layer.
#[derive(Debug, Clone)]
struct Defaults(Map<String, Value>);

impl Source for Defaults {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn collect(origins: &mut BTreeMap<String, String>, path: &mut Vec<String>, value: &Value) {
    if let ValueKind::Table(table) = &value.kind {
        for (name, value) in table {
            path.push(name.clone());
            collect(origins, path, value);
            path.pop();
        }
    } else if let Some(origin) = value.origin() {
        origins.insert(dotted(path), origin.to_owned());
        if let ValueKind::Array(list) = &value.kind {
            collect_tables(origins, &dotted(path), list);
        }
    }
}

/// Each table of a list and each of its entries: `key[0]`, `key[0].name`.
fn collect_tables(origins: &mut BTreeMap<String, String>, key: &str, list: &[Value]) {
    for (index, item) in list.iter().enumerate() {
        let (ValueKind::Table(table), Some(origin)) = (&item.kind, item.origin()) else { continue };
        let key = format!("{key}[{index}]");
        for (name, value) in table {
            let origin = value.origin().unwrap_or(origin);
            origins.insert(format!("{key}.{}", dotted(&[name])), origin.to_owned());
        }
        origins.insert(key, origin.to_owned());
    }
}

/// The layer of the environment: `RALLYHERE_AGENT_SECTION__KEY`, all in capitals.
pub(super) fn environment(shape: &Shape, surroundings: &Surroundings) -> Parsed {
    let mut out = Parsed::default();
    for (variable, text) in &surroundings.env {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let origin = format!("environment variable {}", variable.escape_debug());
        let parts: Vec<&str> = name.split(SEPARATOR).collect();
        let path: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        if path.len() < 2 && shape.find(&path).is_none() {
            // Kubernetes sets RALLYHERE_AGENT_PORT and its like for a service of that name: not ours, not a mistake.
            if let Some(key) = flattened(shape, name) {
                out.mistakes.push(Mistake {
                    reason: format!("has no effect: the name must be {}", variable_of(&key)),
                    key,
                    origin: Some(origin),
                });
            }
            continue;
        }
        take(shape, &path, text, &origin, &mut out, |taken| {
            parts.get(taken..).map(|rest| rest.join(SEPARATOR)).unwrap_or_default()
        });
    }
    out
}

/// The key whose variable this would be if one underscore did for two.
fn flattened(shape: &Shape, name: &str) -> Option<String> {
    shape.all().find(|key| key.replace('.', "_").eq_ignore_ascii_case(name)).map(str::to_owned)
}

/// The variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_ascii_uppercase())
}

/// The layer of the command line: `section.key=value`.
pub(super) fn command_line(shape: &Shape, set: &[String]) -> Parsed {
    const ORIGIN: &str = "--set";
    let mut out = Parsed::default();
    for (index, argument) in set.iter().enumerate() {
        let Some((key, text)) = argument.split_once('=') else {
            // Not shown: without a `=` nobody knows whether this is a key or a secret.
            out.mistakes.push(Mistake {
                key: String::new(),
                origin: Some(ORIGIN.to_owned()),
                reason: format!("number {} is not of the form section.key=value", index + 1),
            });
            continue;
        };
        let parts: Vec<&str> = key.split('.').collect();
        let path: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        take(shape, &path, text, ORIGIN, &mut out, |taken| {
            parts.get(taken..).map(|rest| rest.join(".")).unwrap_or_default()
        });
    }
    for secret in std::mem::take(&mut out.layer.secrets) {
        out.mistakes.push(Mistake {
            reason: format!(
                "a secret is not taken from the command line, which every user of this host can read; use {}_file, a \
                 systemd credential or the environment variable {}",
                secret.key,
                variable_of(&secret.key)
            ),
            origin: Some(secret.origin),
            key: secret.key.clone(),
        });
        out.lost.push(secret.key);
    }
    out
}

/// Puts one text where its path leads. `entry` gives the path from a part on, as it was written: all that comes after a
/// map is the name of one entry in it.
fn take(shape: &Shape, path: &[String], text: &str, origin: &str, out: &mut Parsed, entry: impl Fn(usize) -> String) {
    let map = (1..path.len()).find(|taken| matches!(shape.find(&path[..*taken]), Some(Kind::Map)));
    out.layer.host |= path.len() > 1 && shape.find(&path[..1]) == Some(Kind::Free);
    if let Some(taken) = map {
        let mut path = path[..taken].to_vec();
        path.push(entry(taken));
        out.layer.put(&path, ValueKind::String(text.to_owned()), origin);
        return;
    }
    let value = match shape.find(path) {
        None => {
            let (mistake, meant) = unknown(shape, path, origin);
            out.mistakes.push(mistake);
            out.lost.extend(meant);
            return;
        }
        Some(kind @ (Kind::Section | Kind::Map | Kind::Free | Kind::Texts | Kind::Tables)) => {
            strict::parse_value(shape, path, kind, text, origin, out);
            return;
        }
        Some(Kind::Text) => Ok(ValueKind::String(text.to_owned())),
        Some(kind @ Kind::Flag) => text.parse().map(ValueKind::Boolean).map_err(|_| kind),
        Some(kind @ Kind::Number) => text.parse().map(ValueKind::I64).map_err(|_| kind),
    };
    match value {
        Ok(value) => out.layer.put(path, value, origin),
        Err(kind) => {
            out.mistakes.push(wrong_type(path, kind, "other text", origin));
            out.lost.push(dotted(path));
        }
    }
}
