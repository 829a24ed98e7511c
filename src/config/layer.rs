//! One layer: what one file, the environment or the command line says, already of the right types and with the place of
//! each value. Secrets lie beside the values, never among them.

use std::collections::BTreeMap;
use std::fmt;

use config::{Map, Source, Value, ValueKind};

use super::error::{Mistake, dotted};
use super::shape::{Kind, OWN, SECRETS, Shape};

/// What one source says.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
    /// The secrets that it gives, in order.
    pub(super) secrets: Vec<Written>,
    /// Whether it has a table of instances, if only an empty one.
    pub(super) host: bool,
    /// Where it names an instance, by dotted key: `config` forgets the places of tables.
    pub(super) named: BTreeMap<String, String>,
}

/// A secret as it was written.
#[derive(Clone)]
pub(super) struct Written {
    /// Its key.
    pub(super) key: String,
    /// Where it stands.
    pub(super) origin: String,
    /// The secret; empty takes back what a lower layer says.
    pub(super) value: String,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("key", &self.key).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Layer {
    /// Sets one value, which is of the right type.
    pub(super) fn put(&mut self, path: &[String], value: ValueKind, origin: &str) {
        let key = dotted(path);
        if SECRETS.contains(&key.as_str()) {
            if let ValueKind::String(value) = value {
                self.secrets.push(Written { key, origin: origin.to_owned(), value });
            }
            return;
        }
        let Some((last, sections)) = path.split_last() else { return };
        let mut table = &mut self.values;
        for section in sections {
            let child = table.entry(section.clone()).or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            let ValueKind::Table(inner) = &mut child.kind else { return };
            table = inner;
        }
        table.insert(last.clone(), Value::new(Some(&origin.to_owned()), value));
    }
}

impl Layer {
    /// Its values, without secrets.
    pub(super) fn values(&self) -> &Map<String, Value> {
        &self.values
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    // The keys at the top are ours and simple; `config` reads them as path expressions. Those below it takes as they are.
    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}

/// The mistake of a key that does not exist. With it the key that was probably meant, so that nobody reports that one as
/// missing too.
pub(super) fn unknown<S: AsRef<str>>(shape: &Shape, path: &[S], origin: &str) -> (Mistake, Option<String>) {
    let nearest = shape.nearest(path);
    let reason = match nearest {
        Some(ref nearest) => format!("there is no such key; did you mean {nearest}?"),
        None if is_of_the_process(shape, path) => {
            format!("is not one of an instance's own: it is said once, for all; an instance has {}", OWN.join(", "))
        }
        None => "there is no such key".to_owned(),
    };
    (Mistake { key: dotted(path), origin: Some(origin.to_owned()), reason }, nearest)
}

/// Whether this is a section of the process that stands within an instance.
fn is_of_the_process<S: AsRef<str>>(shape: &Shape, path: &[S]) -> bool {
    let is_instance = path.first().is_some_and(|first| first.as_ref() == "instances");
    let section = path.get(2).map(AsRef::as_ref);
    is_instance && section.is_some_and(|section| !OWN.contains(&section) && shape.find(&[section]).is_some())
}

/// The mistake of a value of the wrong type. It never shows the value, which may be a secret that slipped.
pub(super) fn wrong_type<S: AsRef<str>>(path: &[S], kind: Kind, found: &str, origin: &str) -> Mistake {
    Mistake {
        key: dotted(path),
        origin: Some(origin.to_owned()),
        reason: format!("must be {}, not {found}", kind.expected()),
    }
}
