//! Secrets: where they come from, and a type that never prints them.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::files::{self, FileError};

/// The longest secret, in bytes: an access token may be long, a mistaken path should not fill the memory.
const LIMIT: u64 = 64 * 1024 - 1;

/// A secret and where it came from. Printing it gives `[redacted]`.
#[derive(Clone)]
pub struct Secret {
    value: SecretString,
    origin: SecretOrigin,
}

/// Where a secret came from; a file can be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretOrigin {
    /// A systemd credential: fixed at start.
    Credential(PathBuf),
    /// A `*_file` key: read again on SIGHUP and when it changes.
    File(PathBuf),
    /// The configuration or the environment.
    Value,
}

impl Secret {
    /// Wraps a secret.
    pub fn new(value: String, origin: SecretOrigin) -> Self {
        Self { value: SecretString::from(value), origin }
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Where it came from.
    pub fn origin(&self) -> &SecretOrigin {
        &self.origin
    }

    /// The secret as its file has it now; a copy of itself where it did not come from a `*_file` key, because a systemd
    /// credential and the environment are fixed at start.
    ///
    /// Blocks for as long as reading a small file takes.
    ///
    /// # Errors
    /// If the file is gone, unreadable, or no longer a secret (half-written, say): then the old one is still the best there is.
    pub fn reload(&self) -> Result<Self, FileError> {
        match &self.origin {
            SecretOrigin::File(path) => Ok(Self::new(read(path)?.text, self.origin.clone())),
            SecretOrigin::Credential(_) | SecretOrigin::Value => Ok(self.clone()),
        }
    }
}

/// Reads a file with a secret in it: one line of UTF-8, without the line break at its end.
pub(super) fn read(path: &Path) -> Result<files::Content, FileError> {
    let mut content = files::read(path, LIMIT)?;
    content.text.truncate(content.text.trim_end_matches(['\r', '\n']).len());
    if content.text.is_empty() {
        return Err(FileError::Empty { path: path.to_owned() });
    }
    if content.text.chars().any(char::is_control) {
        return Err(FileError::Control { path: path.to_owned() });
    }
    Ok(content)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
