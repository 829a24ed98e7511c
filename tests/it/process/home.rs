//! A machine's disk: a configuration, a secret, and the directories of one agent. It outlives the agents that run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::agent::Agent;
use super::stage::{CLIENT, SECRET, SESSION, Stage};

/// Everything, also of the crates that are quiet otherwise.
const TRACE: &str = "trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,rustls=trace";

pub(crate) struct Home {
    dir: Arc<TempDir>,
    keys: BTreeMap<String, toml::Value>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) args: Vec<String>,
    secrets: Vec<String>,
}

impl Home {
    /// A self-registered instance that becomes ready when the game says so.
    pub(crate) fn new(stage: &Stage) -> Self {
        Self::at(&stage.url)
    }

    pub(crate) fn at(url: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut home = Self { dir, keys: BTreeMap::new(), env: BTreeMap::new(), args: Vec::new(), secrets: Vec::new() };
        for (name, variable) in [("run", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME"), ("home", "HOME")] {
            let path = home.path(name);
            fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
            home.env.insert(variable.to_owned(), path.display().to_string());
        }
        home.secret_file("client-secret", SECRET);
        let file = home.path("client-secret").display().to_string();
        home.set("environment.url", url)
            .set("auth.client_id", CLIENT)
            .set("auth.client_secret_file", file)
            .set("instance.session_id", SESSION)
            // Where it stands for notifications, no test is to wait long for it.
            .set("notifications.session_interval", "1s")
            .set("admin.listen", "")
            // The host of the tests is none of their business.
            .set("shutdown.inhibit", "off")
            .set("log.level", TRACE)
    }

    /// A game that needs nobody: ready at once, nothing connected to the agent.
    pub(crate) fn alone(self) -> Self {
        self.set("game.ready", "immediate").set("instance.public_conn_str", "unreal://192.0.2.1:7777")
    }

    /// Found through an allocation, and ready at once.
    pub(crate) fn allocated(self, allocation: &str) -> Self {
        self.without("instance.session_id").set("instance.allocation_id", allocation).alone()
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.change(key, value);
        self
    }

    /// The same, for an agent that runs.
    pub(crate) fn change(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.keys.insert(key.to_owned(), value.into());
        self.write();
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self.write();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// A run whose first waits between logins are short; all else is as it is.
    pub(crate) fn with_quick_logins(self) -> Self {
        let quick = |seed: &u64| {
            let mut rng = fastrand::Rng::with_seed(*seed);
            [0.06, 0.03, 0.015].iter().all(|part| rng.f64() < *part)
        };
        let seed = (0..).find(quick).unwrap();
        self.arg("--rng-seed").arg(&seed.to_string())
    }

    fn write(&self) {
        let lines: Vec<String> = self.keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        fs::write(self.config(), lines.concat()).unwrap();
    }

    /// A file that only its owner reads, put in place as a whole. Its content must never show up anywhere.
    pub(crate) fn secret_file(&mut self, name: &str, content: &str) {
        let fresh = self.path(&format!("{name}.new"));
        fs::write(&fresh, format!("{content}\n")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(fresh, self.path(name)).unwrap();
        self.keep_secret(content);
    }

    /// From now on no agent may say this, in plain or as HTTP Basic sends it.
    pub(crate) fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
        self.secrets.push(STANDARD.encode(format!("{CLIENT}:{secret}")));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The disk itself, for as long as somebody uses it.
    pub(crate) fn disk(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("agent.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/rallyhere-agent/agent.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state/rallyhere-agent")
    }

    /// What no agent may say. Every token of the simulator is a JWT, and nothing else here begins like one.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = self.secrets.clone();
        secrets.push("eyJ".to_owned());
        secrets
    }

    /// Starts `run`.
    pub(crate) fn start(&self) -> Agent {
        self.start_under(&[])
    }

    /// Starts `run` behind the words of a program that becomes it.
    pub(crate) fn start_under(&self, words: &[&str]) -> Agent {
        let config = self.config();
        let mut args = vec!["run", "--config", path_text(&config)];
        args.extend(self.args.iter().map(String::as_str));
        Agent::start_under(self, words, &args)
    }

    /// Starts any command.
    pub(crate) fn start_with(&self, args: &[&str]) -> Agent {
        Agent::start(self, args)
    }

    /// Runs a client command to its end; gives its exit code and standard output.
    pub(crate) async fn command(&self, args: &[&str]) -> (i32, String) {
        let mut command = self.start_with(args);
        let code = command.exit_code().await;
        (code, command.output())
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
