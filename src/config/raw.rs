//! What may be written: every key, its type and its default, once.
//!
//! Everything else is derived from here: the strict pass ([`super::shape`]), the layer of built-in defaults
//! ([`super::merge`]) and the printed settings. What a key means and which values are good stands in `config/agent.toml`,
//! which a test holds to this file. Nothing in here is checked yet: durations, addresses and words are still text, because
//! only [`super::validate`] can tell all that is wrong with them at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole of it, as it would stand in one file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) environment: Environment,
    pub(super) auth: Auth,
    pub(super) instance: Instance,
    pub(super) allocation: Allocation,
    pub(super) game: Game,
    pub(super) health: Health,
    pub(super) notifications: Notifications,
    pub(super) fubar: Fubar,
    pub(super) local_api: LocalApi,
    pub(super) proxy: Proxy,
    pub(super) admin: Admin,
    pub(super) state: State,
    pub(super) shutdown: Shutdown,
    pub(super) log: Log,
    pub(super) instances: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Environment {
    pub(super) url: String,
    pub(super) api: String,
    pub(super) ca_file: String,
    pub(super) connect_timeout: String,
    pub(super) http2: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            url: String::new(),
            api: "auto".into(),
            ca_file: String::new(),
            connect_timeout: "5s".into(),
            http2: true,
        }
    }
}

/// `client_secret` and `password` are never filled from what was written: secrets travel beside (see
/// [`super::layer::Layer`]). They are here because they are keys, and to be printed as `[redacted]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) grant: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) client_secret_file: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) password_file: String,
    pub(super) access_token_file: String,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            grant: "client_credentials".into(),
            client_id: String::new(),
            client_secret: String::new(),
            client_secret_file: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            access_token_file: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Instance {
    pub(super) source: String,
    pub(super) session_id: String,
    pub(super) allocation_id: String,
    pub(super) instance_id: String,
    pub(super) host_type: String,
    pub(super) region: String,
    pub(super) version: String,
    pub(super) public_conn_str: String,
    pub(super) private_conn_str: String,
    pub(super) matchmaking_profile_id: String,
    pub(super) source_provider: String,
    pub(super) publish_players: String,
    pub(super) publish_labels: Vec<String>,
    pub(super) recycle: bool,
    pub(super) custom_data: BTreeMap<String, String>,
    pub(super) startup_params: StartupParams,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            source: "fixed".into(),
            session_id: String::new(),
            allocation_id: String::new(),
            instance_id: String::new(),
            host_type: "dedicated".into(),
            region: String::new(),
            version: String::new(),
            public_conn_str: String::new(),
            private_conn_str: String::new(),
            matchmaking_profile_id: String::new(),
            source_provider: String::new(),
            publish_players: String::new(),
            publish_labels: Vec::new(),
            recycle: false,
            custom_data: BTreeMap::new(),
            startup_params: StartupParams::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Allocation {
    pub(super) file: String,
    pub(super) public_host: String,
    pub(super) public_port: i64,
    pub(super) conn_str: String,
    pub(super) sic_profile_id: String,
    pub(super) sic_server_id: String,
    pub(super) sic_hostname: String,
    pub(super) sic_id: String,
    pub(super) session_type: String,
    pub(super) client_version: String,
    pub(super) platform: String,
    pub(super) input: String,
}

impl Default for Allocation {
    fn default() -> Self {
        Self {
            file: String::new(),
            public_host: String::new(),
            public_port: 0,
            conn_str: "unreal://{host}:{port}".into(),
            sic_profile_id: String::new(),
            sic_server_id: String::new(),
            sic_hostname: String::new(),
            sic_id: String::new(),
            session_type: String::new(),
            client_version: String::new(),
            platform: "Basic".into(),
            input: "keyboardandmouse".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StartupParams {
    pub(super) map: String,
    pub(super) mode: String,
    pub(super) misc_params: String,
    pub(super) custom_data: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Game {
    pub(super) command: Vec<String>,
    pub(super) start: String,
    pub(super) working_dir: String,
    pub(super) pid_file: String,
    pub(super) unit: String,
    pub(super) process_name: String,
    pub(super) ready: String,
    pub(super) ready_log: String,
    pub(super) ready_timeout: String,
    pub(super) stop_signal: String,
    pub(super) stop_timeout: String,
    pub(super) log_tail: i64,
    pub(super) env: BTreeMap<String, String>,
}

impl Default for Game {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            start: "allocated".into(),
            working_dir: String::new(),
            pid_file: String::new(),
            unit: String::new(),
            process_name: String::new(),
            ready: "sdk".into(),
            ready_log: String::new(),
            ready_timeout: "5m".into(),
            stop_signal: "SIGTERM".into(),
            stop_timeout: "30s".into(),
            log_tail: 50,
            env: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub(super) default_cadence: String,
    pub(super) startup_grace: String,
    pub(super) heartbeat_timeout: String,
    pub(super) unhealthy_after: i64,
    pub(super) healthy_after: i64,
    pub(super) probes: Vec<toml::Value>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            default_cadence: "10s".into(),
            startup_grace: "60s".into(),
            heartbeat_timeout: "15s".into(),
            unhealthy_after: 3,
            healthy_after: 1,
            probes: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Notifications {
    pub(super) enabled: bool,
    pub(super) page_size: i64,
    pub(super) deadline: String,
    pub(super) deliver: String,
    pub(super) exec: Vec<String>,
    pub(super) webhook: String,
    pub(super) deliver_timeout: String,
    pub(super) inbox_limit: i64,
    pub(super) session_interval: String,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            enabled: true,
            page_size: 100,
            deadline: "25s".into(),
            deliver: "api".into(),
            exec: Vec::new(),
            webhook: String::new(),
            deliver_timeout: "5s".into(),
            inbox_limit: 1000,
            session_interval: "5s".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fubar {
    pub(super) automatic: bool,
}

impl Default for Fubar {
    fn default() -> Self {
        Self { automatic: true }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LocalApi {
    pub(super) socket: String,
    pub(super) listen: String,
    pub(super) allow_remote: bool,
    pub(super) grpc_listen: String,
    pub(super) token_file: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Proxy {
    pub(super) allow: Vec<String>,
    pub(super) body_limit: i64,
    pub(super) timeout: String,
    pub(super) concurrency: i64,
}

impl Default for Proxy {
    fn default() -> Self {
        Self { allow: Vec::new(), body_limit: 1024 * 1024, timeout: "15s".into(), concurrency: 8 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9359".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct State {
    pub(super) dir: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Shutdown {
    pub(super) drain_timeout: String,
    pub(super) trigger_file: String,
    pub(super) inhibit: String,
    pub(super) notice: Vec<String>,
    pub(super) notice_interval: String,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain_timeout: "60s".into(),
            trigger_file: String::new(),
            inhibit: "auto".into(),
            notice: Vec::new(),
            notice_interval: "5s".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: String,
    pub(super) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "auto".into(), level: "info".into() }
    }
}
