//! What the program uses: every value present, typed and checked. Made by [`super::load`] only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use crate::core::ids::InstanceName;
use crate::core::params::Params;

/// The whole configuration, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `environment.*`
    pub environment: Environment,
    /// `auth.*`
    pub auth: Auth,
    /// The instances: one named "default", or those of `[instances.NAME]`.
    pub instances: Vec<Instance>,
    /// `admin.*`
    pub admin: Admin,
    /// `state.*`
    pub state: State,
    /// `log.*`
    pub log: Log,
}

/// `environment.*`: the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// environment.url: scheme, host, port and an optional path prefix, without a slash at the end.
    /// `https`, or `http` to a loopback address.
    pub url: String,
    /// environment.ca_file
    pub ca_file: Option<PathBuf>,
    /// environment.connect_timeout
    pub connect_timeout: Duration,
}

/// `auth.*`: how to log in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// POST /users/v2/oauth/token with HTTP Basic.
    ClientCredentials {
        /// auth.client_id
        client_id: String,
        /// auth.client_secret
        client_secret: Secret,
    },
    /// POST /users/v1/login with grant type basic.
    Basic {
        /// auth.client_id
        client_id: String,
        /// auth.client_secret
        client_secret: Secret,
        /// auth.username
        username: String,
        /// auth.password
        password: Secret,
    },
    /// A token that somebody else keeps fresh in a file.
    AccessToken {
        /// The token as it was at start.
        token: Secret,
    },
}

/// One instance: the core's parameters, and what its adapters need.
#[derive(Debug, Clone)]
pub struct Instance {
    /// What the core needs.
    pub params: Params,
    /// `local_api.*`
    pub local_api: LocalApi,
}

impl Instance {
    /// Its name.
    pub fn name(&self) -> &InstanceName {
        &self.params.name
    }
}

/// `local_api.*`: how the game and the operator reach the agent.
#[derive(Debug, Clone, Default)]
pub struct LocalApi {
    /// local_api.socket, resolved; `None` if turned off.
    pub socket: Option<PathBuf>,
    /// local_api.listen; loopback unless local_api.allow_remote.
    pub listen: Option<SocketAddr>,
    /// local_api.allow_remote
    pub allow_remote: bool,
    /// local_api.token_file, as it was at start: then TCP needs `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// `admin.*`: the listener of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// admin.listen; `None` if turned off.
    pub listen: Option<SocketAddr>,
}

/// `state.*`: what is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// state.dir, resolved.
    pub dir: PathBuf,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// log.format
    pub format: LogFormat,
    /// log.level: a level, or `target=level` pairs, comma-separated, as tracing-subscriber's `Targets` reads them.
    pub level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's own protocol; falls back to text with the journal's level prefixes.
    Journald,
}

/// The environment that a configuration is read in. Passed down from `main`; nothing below reads `std::env`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Environment variables.
    pub env: BTreeMap<String, String>,
}

impl fmt::Debug for Surroundings {
    /// Only the names: the values may be secrets, and not only ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.env.keys()).finish()
    }
}
