//! Values on the command line, each checked where it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Before the first `=`; never empty.
    pub key: String,
    /// After it; may be empty.
    pub value: String,
}

impl std::fmt::Display for KeyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// In words, if there is no `=` or nothing before it.
pub fn key_value(text: &str) -> Result<KeyValue, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(KeyValue { key: key.to_owned(), value: value.to_owned() }),
        Some(_) => Err("there is no key before the `=`".to_owned()),
        None => Err("write KEY=VALUE".to_owned()),
    }
}

/// The pairs as a map.
///
/// # Errors
/// In words, if a key is there twice.
pub fn map(pairs: &[KeyValue]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for KeyValue { key, value } in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(format!("the key {key:?} is given twice"));
        }
    }
    Ok(map)
}

/// Reads a duration as in the configuration: `25s`, `5m`, `1h 30m`; more than zero.
///
/// # Errors
/// In words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let read = text.parse::<SignedDuration>().map_err(|_unreadable| "write a duration like 25s or 5m".to_owned())?;
    Duration::try_from(read).ok().filter(|read| !read.is_zero()).ok_or_else(|| "it must be more than zero".to_owned())
}

/// Reads a number of seconds, also with decimals; more than zero.
///
/// # Errors
/// In words.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let read = text.parse::<f64>().map_err(|_unreadable| "write a number of seconds like 5 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(read)
        .ok()
        .filter(|read| !read.is_zero())
        .ok_or_else(|| "it must be more than zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused_in_words() {
        assert_eq!(key_value("a=b=c"), Ok(KeyValue { key: "a".to_owned(), value: "b=c".to_owned() }));
        assert_eq!(key_value("a="), Ok(KeyValue { key: "a".to_owned(), value: String::new() }));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
        assert_eq!(duration("25s"), Ok(Duration::from_secs(25)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "25", "0s", "-5s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "-1", "NaN", "inf", "1e300", "5s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
