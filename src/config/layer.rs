//! One layer: what one file, the environment or the command line says, already of the right types and with the place of
//! each value. Secrets lie beside the values, never among them.

use std::fmt;

use config::{Map, Source, Value, ValueKind};

use super::error::{Mistake, dotted};
use super::shape::{Kind, SECRETS, Shape};

/// What one source says.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
    /// The secrets that it gives, in order.
    pub(super) secrets: Vec<Written>,
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
        Some(nearest) => format!("there is no such key; did you mean {nearest}?"),
        None => "there is no such key".to_owned(),
    };
    (Mistake { key: dotted(path), origin: Some(origin.to_owned()), reason }, nearest.map(str::to_owned))
}

/// The mistake of a value of the wrong type. It never shows the value, which may be a secret that slipped.
pub(super) fn wrong_type<S: AsRef<str>>(path: &[S], kind: Kind, found: &str, origin: &str) -> Mistake {
    Mistake {
        key: dotted(path),
        origin: Some(origin.to_owned()),
        reason: format!("must be {}, not {found}", kind.expected()),
    }
}
