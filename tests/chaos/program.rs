//! The agent as a process: a directory of its own, a configuration, a log that is kept, and what the kernel says of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};

use crate::run::free_address;

/// Who logs in.
pub(crate) const CLIENT: &str = "agent";
/// With what. Long and odd enough to be found wherever it should not be.
pub(crate) const SECRET: &str = "S3cret+of/the=client~4711";
/// Everything, also of the crates that are quiet otherwise.
pub(crate) const TRACE: &str = "trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,rustls=trace";

/// What nobody may say, and what to call it. Every token of the simulator is a JWT, and nothing else here begins like one.
pub(crate) fn secrets() -> [(&'static str, String); 3] {
    let basic = STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    [("the client's secret", SECRET.to_owned()), ("HTTP Basic", basic), ("a token", "eyJ".to_owned())]
}

/// A directory with one configuration, which outlives the agents that run on it.
pub(crate) struct Home {
    dir: PathBuf,
    keys: BTreeMap<String, toml::Value>,
    pub(crate) env: BTreeMap<String, String>,
    /// What stands before the agent on its command line, and becomes it.
    pub(crate) words: Vec<String>,
    pub(crate) args: Vec<String>,
}

impl Home {
    pub(crate) fn new(dir: &Path, url: &str, session: &str) -> Self {
        let mut home = Self {
            dir: dir.to_owned(),
            keys: BTreeMap::new(),
            env: BTreeMap::new(),
            words: Vec::new(),
            args: Vec::new(),
        };
        for (name, variable) in [("r", "XDG_RUNTIME_DIR"), ("state", "XDG_STATE_HOME"), ("home", "HOME")] {
            let path = home.path(name);
            fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
            home.env.insert(variable.to_owned(), path.display().to_string());
        }
        let secret = home.path("client-secret");
        fs::write(&secret, format!("{SECRET}\n")).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        home.set("environment.url", url);
        home.set("auth.client_id", CLIENT);
        home.set("auth.client_secret_file", secret.display().to_string());
        home.set("instance.session_id", session);
        home.set("instance.public_conn_str", "192.0.2.1:7777");
        home.set("instance.region", "nowhere");
        home.set("game.ready", "immediate");
        home.set("admin.listen", free_address().to_string());
        home.set("log.level", TRACE);
        home.set("log.format", "text");
        home
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.keys.insert(key.to_owned(), value.into());
        self.write();
    }

    pub(crate) fn unset(&mut self, key: &str) {
        self.keys.remove(key);
        self.write();
    }

    fn write(&self) {
        let lines: Vec<String> = self.keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        fs::write(self.path("agent.toml"), lines.concat()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("r/rallyhere-agent/agent.sock")
    }

    /// Where the metrics are, if they are served.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.keys.get("admin.listen")?.as_str()?.parse().ok()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// Starts `run`.
    pub(crate) fn start(&self, binary: &Path) -> Process {
        let config = self.path("agent.toml");
        let mut line = self.words.clone();
        line.extend([binary, Path::new("run"), Path::new("--config"), &config].map(|word| word.display().to_string()));
        line.extend(self.args.iter().cloned());
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().envs(&self.env).current_dir(self.path("home"));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Process { child: command.spawn().expect("the agent can be started") }
    }
}

/// A running agent; it is gone with the value.
pub(crate) struct Process {
    child: Child,
}

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) descriptors: u64,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may be gone already, which the next look finds out.
        let _gone = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// kill -9, and wait for the end.
    pub(crate) fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// `None` once it is gone, or where it is not the agent yet.
    pub(crate) fn uses(&self) -> Option<Use> {
        uses(self.pid()).filter(|_| is_agent(self.pid()))
    }
}

/// Whether the process is the agent by now, and not what stands before it on its command line, or still a copy of this program.
pub(crate) fn is_agent(pid: u32) -> bool {
    let before_it = ["sh", "dash", "unshare", "prlimit", "ip"].map(std::ffi::OsStr::new);
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let ours = std::env::current_exe().is_ok_and(|ours| ours == program);
    !ours && program.file_name().is_some_and(|name| !before_it.contains(&name))
}

/// What any process uses.
pub(crate) fn uses(pid: u32) -> Option<Use> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Use { rss_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")?, descriptors: u64::try_from(descriptors).ok()? })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
