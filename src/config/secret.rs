//! Secrets: where they come from, and a type that never prints them.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

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
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
