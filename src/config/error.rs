//! What is wrong with a configuration: a list, never only the first mistake.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The dotted key; empty where a whole file or argument is meant.
    pub key: String,
    /// Where the value was written: `FILE:LINE:COLUMN`, `environment variable NAME` or `--set`.
    /// `None` where nothing was written.
    pub origin: Option<String>,
    /// What is wrong, and what to do. Never holds a secret.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// The configuration is wrong; the caller exits with [`crate::exit::Exit::Config`]. Printing it gives one line for each
/// mistake under a headline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Listed(.mistakes))]
pub struct ConfigError {
    /// All that is wrong; at least one.
    pub mistakes: Vec<Mistake>,
}

struct Listed<'a>(&'a [Mistake]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [_] => write!(f, "the configuration has a mistake:")?,
            mistakes => write!(f, "the configuration has {} mistakes:", mistakes.len())?,
        }
        for mistake in self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

/// A text of the configuration for a message: quoted, escaped and cut, so that it can neither break a line nor a terminal.
pub(super) fn shown(text: &str) -> String {
    const LIMIT: usize = 80;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// A path of keys as one dotted key. What is not a bare key of TOML is quoted and escaped.
pub(super) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let segments: Vec<String> = path
        .iter()
        .map(|segment| {
            let segment = segment.as_ref();
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !segment.is_empty() && segment.len() <= 128 && segment.chars().all(bare) {
                segment.to_owned()
            } else {
                shown(segment)
            }
        })
        .collect();
    segments.join(".")
}
