//! What the program uses: every value present, typed and checked. Made by [`super::load`] only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;
use crate::core::ids::InstanceName;
use crate::core::instance::Health;
use crate::core::ordered;
use crate::core::params::Params;
use crate::core::proxy::Pattern;

/// The whole configuration, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `environment.*`
    pub environment: Environment,
    /// `auth.*`
    pub auth: Auth,
    /// The instances: one named "default", or those of `[instances.NAME]`.
    /// Whoever holds one for as long as it runs holds this one.
    pub instances: Vec<Arc<Instance>>,
    /// Whether there is a table of instances: they may then come and go, and the agent ends only when told.
    pub host: bool,
    /// `proxy.*`
    pub proxy: Proxy,
    /// `admin.*`
    pub admin: Admin,
    /// `state.*`
    pub state: State,
    /// `shutdown.*`, but for the time that players have, which is the core's.
    pub shutdown: Shutdown,
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
    /// environment.http2: whether HTTP/2 is spoken where the server offers it (ALPN, over TLS only).
    pub http2: bool,
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

impl Auth {
    /// What must not be repeated in any words.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::ClientCredentials { client_secret, .. } => vec![client_secret.expose()],
            Self::Basic { client_secret, password, .. } => vec![client_secret.expose(), password.expose()],
            Self::AccessToken { token } => vec![token.expose()],
        }
    }
}

/// One instance: the core's parameters, and what its adapters need.
#[derive(Debug, Clone)]
pub struct Instance {
    /// What the core needs.
    pub params: Arc<Params>,
    /// `local_api.*`
    pub local_api: LocalApi,
    /// `game.*`
    pub game: Game,
    /// `health.probes`, in the order of [`Params::probes`].
    pub probes: Vec<Probe>,
    /// `notifications.deliver` and what belongs to it.
    pub hand_off: HandOff,
    /// instance.recycle: after its end it waits for the next allocation.
    pub recycle: bool,
    /// Its keys as they were written, but for what stands in files.
    pub written: Written,
    /// allocation.file; there where instance.source is "multiplay" or "file".
    pub allocation_file: Option<PathBuf>,
}

/// The keys of an instance that are not the default, by dotted name, each with a number made of what it says: another number is
/// another value. Kept for as long as the instance runs, to say later what was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written(pub BTreeMap<String, u64>);

impl Written {
    /// The keys that do not say the same in both, in order.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let differ = |key: &&String| self.0.get(*key) != other.0.get(*key);
        ordered::set(self.0.keys().chain(other.0.keys()).filter(differ)).into_iter().cloned().collect()
    }
}

/// `game.*`: the process of the game.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Game {
    /// Where it comes from.
    pub source: GameSource,
    /// game.ready_log, a valid regular expression.
    pub ready_log: Option<String>,
    /// game.log_tail: how many of its last lines are kept.
    pub log_tail: usize,
}

/// Where the game's process comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GameSource {
    /// Nobody has said.
    #[default]
    Unknown,
    /// We start it.
    Command(Command),
    /// game.pid_file: its process id stands there.
    PidFile(PathBuf),
    /// game.unit: it is the main process of this systemd unit.
    Unit(String),
    /// game.process_name: the one process that we can see with this name.
    ProcessName(String),
}

/// A game that we start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// game.command: program and arguments; never empty.
    pub command: Vec<String>,
    /// game.working_dir
    pub working_dir: Option<PathBuf>,
    /// game.env
    pub env: BTreeMap<String, String>,
    /// game.stop_signal, as its number.
    pub stop_signal: i32,
}

/// One of `health.probes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// How often.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// What its failure means: `Degraded` or `Unhealthy`.
    pub failure: Health,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// A2S_INFO, the query that Source engines answer over UDP.
    A2s(SocketAddr),
    /// Whether a TCP connection can be made.
    Tcp(SocketAddr),
    /// An HTTP GET to an `http://` URL, and the status that is expected. Its host is an IP address or localhost.
    Http {
        /// Where.
        url: String,
        /// 100..599
        status: u16,
    },
    /// A command: exit code 0 is healthy, 1 degraded, 2 unhealthy.
    Exec(Vec<String>),
    /// Whether the game's process is there.
    Process,
    /// Whether the game's cgroup waits for processor or memory (pressure stall information).
    Pressure {
        /// "cpu" or "memory".
        resource: PressureKind,
        /// Per cent of the last ten seconds in which something waited, from 1 to 100, above which it is degraded.
        percent: u8,
    },
}

/// What a cgroup may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureKind {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
}

/// How the game gets its notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HandOff {
    /// It asks the local API.
    #[default]
    Api,
    /// This command gets each one as JSON on its standard input.
    Exec {
        /// notifications.exec: program and arguments; never empty.
        command: Vec<String>,
        /// notifications.deliver_timeout
        timeout: Duration,
    },
    /// Each one is POSTed there.
    Webhook {
        /// notifications.webhook: `http://` to a loopback address.
        url: String,
        /// notifications.deliver_timeout
        timeout: Duration,
    },
    /// Each one is written to the agent's own log.
    Log,
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
    /// local_api.grpc_listen; loopback unless local_api.allow_remote.
    pub grpc_listen: Option<SocketAddr>,
    /// local_api.allow_remote
    pub allow_remote: bool,
    /// local_api.token_file, as it was at start: then TCP needs `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// `proxy.*`: what games may ask of the environment through the agent. One for the process, as the token is; the bounds count for
/// each instance by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// proxy.allow; empty turns it off.
    pub allow: Vec<Pattern>,
    /// proxy.body_limit: bytes of a request's body, and of an answer's.
    pub body_limit: usize,
    /// proxy.timeout: from the whole request to the whole answer.
    pub timeout: Duration,
    /// proxy.concurrency: calls of one instance at a time.
    pub concurrency: usize,
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

/// `shutdown.*`: how the host asks for a drain of all instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// shutdown.trigger_file: while it is there, nothing is served. An absolute path.
    pub trigger_file: Option<PathBuf>,
    /// shutdown.inhibit
    pub inhibit: Inhibit,
    /// shutdown.notice and notice_interval.
    pub notice: Option<NoticeCommand>,
}

/// Whether a shutdown of the host waits for the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inhibit {
    /// Where logind is there and lets us.
    Auto,
    /// As `Auto`, and it is a warning where it cannot be.
    On,
    /// No.
    Off,
}

/// The command that knows when the machine is going to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeCommand {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// From the start of one run to that of the next.
    pub interval: Duration,
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

impl Surroundings {
    /// Of these variables.
    pub fn of(env: impl Iterator<Item = (String, String)>) -> Self {
        Self { env: ordered::map(env) }
    }
}

impl fmt::Debug for Surroundings {
    /// Only the names: the values may be secrets, and not only ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.env.keys()).finish()
    }
}
