//! The forms of a value: `config` lays layers of its own form over each other, people read and write TOML's.
//!
//! [`Raw`] is written as TOML and read as JSON, and nothing else. For every form that it can be read from or written to, all of
//! serde's code for it is compiled once more, which is 100 kB.

use config::{Map, Value, ValueKind};

use super::raw::Raw;
use crate::wire::reader::{self, Misfit};

/// Settings out of a table of TOML's, by way of JSON: they are read with the same code as everything else.
pub(super) fn read(table: &toml::Table) -> Result<Raw, Misfit> {
    let text = serde_json::to_vec(table).map_err(|error| Misfit { path: String::new(), error })?;
    reader::read(&text)
}

/// A table of `config`'s as one of TOML's.
pub(super) fn table(values: &Map<String, Value>) -> toml::Table {
    let mut table = toml::Table::new();
    table.extend(values.iter().map(|(name, value)| (name.clone(), to_toml(value))));
    table
}

fn to_toml(value: &Value) -> toml::Value {
    match &value.kind {
        ValueKind::Boolean(flag) => toml::Value::Boolean(*flag),
        ValueKind::I64(number) => toml::Value::Integer(*number),
        ValueKind::Array(list) => toml::Value::Array(list.iter().map(to_toml).collect()),
        ValueKind::Table(entries) => toml::Value::Table(table(entries)),
        other @ (ValueKind::Nil
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)) => toml::Value::String(other.to_string()),
    }
}

/// A table of TOML's as one of `config`'s, which comes from nowhere in particular.
pub(super) fn values(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(name, value)| (name, Value::new(None, from_toml(value)))).collect()
}

fn from_toml(value: toml::Value) -> ValueKind {
    match value {
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Datetime(date) => ValueKind::String(date.to_string()),
        toml::Value::Array(list) => {
            ValueKind::Array(list.into_iter().map(|item| Value::new(None, from_toml(item))).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(values(table)),
    }
}
