//! `[instances.NAME]`: what is the instance's own laid over what is said for all, and one section made into many.
//!
//! An instance inherits every key of its sections from the top level; a table such as `instance.custom_data` is merged entry by
//! entry, everything else is replaced. With `count = N` a section makes the instances NAME-1 to NAME-N; in its own texts `{n}` then
//! stands for that number, `{name}` for the name, and `{7776+n}` for a sum, so that each can have its own ports.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock};

use super::Checker;
use crate::config::error::dotted;
use crate::config::form;
use crate::config::raw::Raw;
use crate::config::settings::{Instance, Written};
use crate::config::shape::{COUNT, OWN};
use crate::core::allocation::Source;
use crate::core::ids::InstanceName;
use crate::wire::reader::Misfit;

/// The name of the one instance where there is no table of them.
const ONLY: &str = "default";

/// The socket's file name, where there is one instance.
const SOCKET: &str = "agent.sock";

/// The most instances of one agent. Ours: beyond a few hundred games no host goes.
const LIMIT: usize = 2000;

impl Checker<'_> {
    /// The one instance of an agent without a table of instances.
    pub(super) fn only(&mut self) -> Option<Instance> {
        let name = self.check("instances", InstanceName::parse(ONLY).map_err(|error| error.to_string()))?;
        self.instance(&name, SOCKET)
    }

    /// All of `[instances]`, which may be none.
    pub(super) fn instances(&mut self) -> Option<Vec<Arc<Instance>>> {
        let mut instances: Vec<Arc<Instance>> = Vec::new();
        let mut good = true;
        for (section, own) in &self.raw.instances {
            let of = format!("instances.{}", dotted(&[section]));
            for (name, raw) in self.made(section, &of, own) {
                if instances.len() == LIMIT {
                    self.refuse(&of, format!("is too much: one agent takes at most {LIMIT} instances"));
                    return None;
                }
                match self.one(&of, &name, &raw) {
                    Some(instance) => instances.push(Arc::new(instance)),
                    None => good = false,
                }
            }
        }
        if self.raw.instances.is_empty() {
            self.inherited();
        }
        self.clashes(&instances);
        (good && self.mistakes.is_empty()).then_some(instances)
    }

    /// What is said for all is checked even where nobody inherits it yet; that something is missing is then no mistake.
    fn inherited(&mut self) {
        let incomplete = std::mem::replace(&mut self.incomplete, true);
        let _of_nobody = self.only();
        self.incomplete = incomplete;
    }

    /// The names that a section stands for, with their keys.
    fn made(&mut self, section: &str, of: &str, own: &toml::Value) -> Vec<(InstanceName, Raw)> {
        let count = match own.get(COUNT).and_then(toml::Value::as_integer) {
            None => None,
            Some(count) => {
                let counted: Option<usize> = self.number(&format!("{of}.{COUNT}"), count, &(1..=1000));
                let Some(counted) = counted else { return Vec::new() };
                Some(counted)
            }
        };
        let names: Vec<(usize, String)> = match count {
            None => vec![(0, section.to_owned())],
            Some(count) => (1..=count).map(|number| (number, format!("{section}-{number}"))).collect(),
        };
        let mut made = Vec::new();
        for (number, name) in names {
            let parsed = match InstanceName::parse(&name) {
                Ok(parsed) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') => Ok(parsed),
                // It becomes the name of a file, a label and a key.
                Ok(_) => Err("cannot be the name of an instance: letters, digits, '-' and '_' can".to_owned()),
                Err(error) => Err(format!("cannot be the name of an instance: {error}")),
            };
            let Some(name) = self.check(of, parsed) else { break };
            let mut own = own.clone();
            if count.is_some() {
                fill_in(&mut own, number, name.as_str());
            }
            match overlaid(self.raw, own) {
                Ok(raw) => made.push((name, raw)),
                Err(error) => {
                    self.refuse(of, error);
                    break;
                }
            }
        }
        made
    }

    fn one(&mut self, of: &str, name: &InstanceName, raw: &Raw) -> Option<Instance> {
        let mut checker = Checker {
            raw,
            origins: self.origins,
            secrets: self.secrets,
            surroundings: self.surroundings,
            lost: self.lost.clone(),
            incomplete: self.incomplete,
            of: Some(of.to_owned()),
            mistakes: std::mem::take(&mut self.mistakes),
            warnings: std::mem::take(&mut self.warnings),
        };
        let instance = checker.instance(name, &format!("{name}.sock"));
        (self.mistakes, self.warnings) = (checker.mistakes, checker.warnings);
        instance
    }

    /// What two instances must not share.
    fn clashes(&mut self, instances: &[Arc<Instance>]) {
        let mut taken: BTreeMap<(&str, String), &InstanceName> = BTreeMap::new();
        let mut clashes = Vec::new();
        for instance in instances {
            let name = instance.name();
            let local = &instance.local_api;
            let socket = local.socket.as_ref().map(|path| path.display().to_string());
            let target = &instance.params.target;
            let sic_id = match &instance.params.allocation.source {
                Source::Sic(entry) => entry.own_id.clone(),
                Source::Fixed | Source::Made(_) | Source::Told(_) => None,
            };
            let places = [
                ("its name", Some(name.to_string())),
                ("local_api.socket", socket),
                ("local_api.listen", local.listen.filter(|at| at.port() != 0).map(|at| at.to_string())),
                ("local_api.listen", local.grpc_listen.filter(|at| at.port() != 0).map(|at| at.to_string())),
                ("instance.allocation_id", target.allocation().map(ToString::to_string)),
                ("instance.session_id", target.session().map(ToString::to_string)),
                ("allocation.sic_id", sic_id),
            ];
            for (key, value) in places {
                let Some(value) = value else { continue };
                if let Some(other) = taken.insert((key, value), name) {
                    clashes.push((name, key, other));
                }
            }
        }
        for (name, key, other) in clashes {
            let at = format!("instances.{}", dotted(&[name.as_str()]));
            self.refuse(&at, format!("has the {key} of instance {other} too; each instance needs its own"));
        }
    }
}

/// The keys of an instance: its own over those of all.
fn overlaid(all: &Raw, own: toml::Value) -> Result<Raw, String> {
    let mut keys = toml::Table::try_from(all).map_err(|error| error.to_string())?;
    keys.remove("instances");
    if let toml::Value::Table(own) = own {
        for (section, value) in own {
            if OWN.contains(&section.as_str()) {
                lay_over(keys.entry(section).or_insert_with(|| toml::Table::new().into()), value);
            }
        }
    }
    form::read(&keys).map_err(|Misfit { path, error }| format!("{path}: {error}"))
}

fn lay_over(below: &mut toml::Value, above: toml::Value) {
    match (below, above) {
        (toml::Value::Table(below), toml::Value::Table(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(below) => lay_over(below, value),
                    None => {
                        below.insert(name, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// Puts number and name into every text.
fn fill_in(value: &mut toml::Value, number: usize, name: &str) {
    match value {
        toml::Value::String(text) => *text = filled(text, number, name),
        toml::Value::Array(list) => list.iter_mut().for_each(|value| fill_in(value, number, name)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| fill_in(value, number, name)),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => {}
    }
}

/// Braces with anything else in them stay as they are: they may be JSON or a regular expression.
fn filled(text: &str, number: usize, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('{') {
        out.push_str(before);
        let word = inside.split_once('}').map(|(word, after)| (meant(word, number, name), after));
        if let Some((Some(word), after)) = word {
            out.push_str(&word);
            rest = after;
        } else {
            out.push('{');
            rest = inside;
        }
    }
    out.push_str(rest);
    out
}

fn meant(word: &str, number: usize, name: &str) -> Option<String> {
    match word {
        "n" => Some(number.to_string()),
        "name" => Some(name.to_owned()),
        sum => {
            let base: usize = sum.strip_suffix("+n")?.parse().ok()?;
            base.checked_add(number).map(|sum| sum.to_string())
        }
    }
}

/// See [`Instance::written`].
pub(super) fn written(raw: &Raw) -> Written {
    static DEFAULTS: LazyLock<BTreeMap<String, u64>> = LazyLock::new(|| numbers(&Raw::default()));
    let mut keys = numbers(raw);
    keys.retain(|key, number| DEFAULTS.get(key) != Some(number));
    Written(keys)
}

/// Each key of an instance's sections, with the number of its value.
fn numbers(raw: &Raw) -> BTreeMap<String, u64> {
    let mut numbers = BTreeMap::new();
    let sections = toml::Table::try_from(raw).unwrap_or_default();
    for (section, keys) in sections.iter().filter(|(section, _)| OWN.contains(&section.as_str())) {
        for (key, value) in keys.as_table().into_iter().flatten() {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            numbers.insert(format!("{section}.{key}"), hasher.finish());
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_name_and_sums_are_filled_in_and_other_braces_stay() {
        for (text, expected) in [
            ("-port={7776+n} {name}#{n}", "-port=7779 blue-3#3"),
            (r#"{"a": {n}}"#, r#"{"a": 3}"#),
            (r"\d{3} {} {x+n} {", r"\d{3} {} {x+n} {"),
            ("{{n}}", "{3}"),
            ("{99999999999999999999+n}", "{99999999999999999999+n}"),
        ] {
            assert_eq!(filled(text, 3, "blue-3"), expected, "{text}");
        }
    }
}
