//! The programs that are measured, as processes of their own: the agent, and the floor.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rallyhere_agent::clock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::door::Door;
use crate::environment::{Environment, within};

/// Where the binaries are.
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    /// `None` if it cannot be built: then there is nothing to compare with.
    pub(crate) floor: Option<PathBuf>,
    /// Whether the agent has its libc in it: it has other targets then. The floor is built as the benchmark is.
    pub(crate) is_static: bool,
}

impl Programs {
    /// The agent of this build unless another is asked for, and the floor, which is built now.
    pub(crate) fn find(agent: Option<PathBuf>) -> Self {
        let built = Path::new(env!("CARGO_BIN_EXE_rallyhere-agent"));
        let agent = agent.unwrap_or_else(|| built.to_owned());
        let agent = agent.canonicalize().expect("the agent's binary");
        let is_static = !needs_loader(&fs::read(&agent).expect("the agent's binary"));
        Self { agent, floor: build_floor(built), is_static }
    }
}

/// The loader's name stands among the first things in a file that needs one.
fn needs_loader(binary: &[u8]) -> bool {
    let head = &binary[..binary.len().min(4096)];
    [b"ld-linux".as_slice(), b"ld-musl"].iter().any(|name| head.windows(name.len()).any(|window| window == *name))
}

/// Cargo builds no example for a benchmark, so it is asked for it: with the same profile, into the same place.
fn build_floor(beside: &Path) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let triple = beside.strip_prefix(target).ok()?.components().next()?.as_os_str();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--profile", "bench", "--example", "floor", "--message-format", "json"]);
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if triple != "release" {
        cargo.arg("--target").arg(triple);
    }
    // What cargo has told us of our own package would make build scripts that look at it run again, here and the next time.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
        if name.to_str().is_some_and(|name| told.iter().any(|begin| name.starts_with(begin))) {
            cargo.env_remove(name);
        }
    }
    let built = cargo.stderr(Stdio::inherit()).output().ok().filter(|built| built.status.success())?;
    let messages = String::from_utf8(built.stdout).ok()?;
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "floor").then(|| Some(PathBuf::from(message["executable"].as_str()?)))?
    })
}

/// A process that ends with its handle.
pub(crate) struct Process {
    child: Child,
    pub(crate) spawned: Instant,
}

impl Process {
    fn spawn(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let spawned = clock::now();
        Self { child: command.spawn().unwrap(), spawned }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    /// kill -9, and wait for the end.
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Over what the backend is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Http,
    Tls,
    /// Over TLS, with HTTP/2 on offer.
    Http2,
}

impl Over {
    /// The URL, and the file of what must be trusted.
    fn of(self, environment: &Environment) -> (&str, String) {
        let ca = environment.ca.display().to_string();
        match self {
            Self::Http => (&environment.url, String::new()),
            Self::Tls => (&environment.tls_url, ca),
            Self::Http2 => (&environment.http2_url, ca),
        }
    }
}

/// A directory for one instance: its state on the disk, and its sockets, whose paths must be short, in /tmp.
pub(crate) struct Place {
    disk: TempDir,
    short: TempDir,
    /// Where a binary may be run, whatever the disk of the state allows.
    programs: TempDir,
    ready: UnixDatagram,
}

impl Place {
    pub(crate) fn new(disk: &Path) -> Self {
        let disk = TempDir::new_in(disk).unwrap();
        let short = TempDir::new().unwrap();
        let programs = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for dir in [disk.path(), &disk.path().join("state")] {
            fs::create_dir_all(dir).unwrap();
            fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
        }
        let ready = UnixDatagram::bind(short.path().join("notify")).unwrap();
        Self { disk, short, programs, ready }
    }

    pub(crate) fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// The socket of the agent, or the one on which the floor hands over.
    pub(crate) fn socket(&self) -> PathBuf {
        self.short.path().join("agent.sock")
    }

    /// Writes the agent's configuration.
    pub(crate) fn configure(&self, environment: &Environment, over: Over, session: &str) {
        let (url, ca) = over.of(environment);
        let one = format!("instance.session_id = \"{session}\"\ninstance.public_conn_str = \"127.0.0.1:7777\"\n");
        self.write(url, &ca, &one);
    }

    /// Writes a configuration with an instance for each session. Their games are there from the start.
    pub(crate) fn configure_many(&self, environment: &Environment, over: Over, sessions: &[String]) {
        let mut all = "game.ready = \"immediate\"\ninstance.public_conn_str = \"127.0.0.1:7777\"\n".to_owned();
        for (number, session) in sessions.iter().enumerate() {
            let _written = writeln!(all, "instances.i{number}.instance.session_id = \"{session}\"");
        }
        let (url, ca) = over.of(environment);
        self.write(url, &ca, &all);
    }

    fn write(&self, url: &str, ca: &str, instances: &str) {
        let disk = self.disk().display();
        let text = format!(
            "environment.url = \"{url}\"\n\
             environment.ca_file = \"{ca}\"\n\
             auth.client_id = \"bench\"\n\
             auth.client_secret_file = \"{disk}/secret\"\n\
             instance.version = \"1.0.0\"\n\
             admin.listen = \"127.0.0.1:0\"\n\
             state.dir = \"{disk}/state\"\n\
             {instances}"
        );
        fs::write(self.disk().join("agent.toml"), text).unwrap();
        fs::write(self.disk().join("secret"), "only-good-for-the-bench").unwrap();
        fs::set_permissions(self.disk().join("secret"), Permissions::from_mode(0o600)).unwrap();
    }

    /// Asks the agent whether it takes the configuration.
    pub(crate) fn check(&self, binary: &Path) -> Result<(), String> {
        let mut command = Command::new(binary);
        command.arg("check").arg("--config").arg(self.disk().join("agent.toml")).env_clear();
        let said = command.env("RUNTIME_DIRECTORY", self.short.path()).output().map_err(|error| error.to_string())?;
        if said.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        Err(words.lines().map(str::trim).find(|line| line.contains("instances")).unwrap_or(&words).to_owned())
    }

    /// A copy of a binary, so that a process that is watched shares its code with no other.
    pub(crate) fn own_copy(&self, binary: &Path) -> PathBuf {
        let copy = self.programs.path().join("program");
        fs::copy(binary, &copy).unwrap();
        copy
    }

    /// Starts the agent as systemd would.
    pub(crate) fn agent(&self, binary: &Path) -> Process {
        self.run(&mut Command::new(binary))
    }

    /// Waits for READY=1 and then for a first answer: when that came, and the connection.
    pub(crate) async fn ready(&self) -> (Instant, Door) {
        let mut message = [0; 4096];
        loop {
            let length = within("READY=1 of the agent", self.ready.recv(&mut message)).await.unwrap();
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().any(|line| line == "READY=1") {
                break;
            }
        }
        let mut door = Door::open(&self.socket()).await;
        door.call("GET", "/v1/status", "").await;
        (clock::now(), door)
    }

    /// Starts the agent so that whatever it syncs takes so much longer, and each sync leaves a line in the file that is given
    /// back. `None` where there is no strace, or it may not look.
    pub(crate) fn agent_on_slow_disk(&self, binary: &Path, more: Duration) -> Option<(Process, PathBuf)> {
        let tried = Command::new("strace").args(["--seccomp-bpf", "-f", "-o", "/dev/null", "true"]).output().ok()?;
        if !tried.status.success() {
            return None;
        }
        let lines = self.disk().join("syncs.strace");
        let mut command = Command::new("strace");
        // -D: the agent is the child, and its end is strace's.
        command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range", "-e"]);
        command.arg(format!("inject=fsync,fdatasync:delay_exit={}", more.as_micros())).arg("-o").arg(&lines);
        command.arg(binary);
        Some((self.run(&mut command), lines))
    }

    fn run(&self, command: &mut Command) -> Process {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.arg("run").arg("--config").arg(self.disk().join("agent.toml")).env_clear().env("PATH", path);
        command.env("RUNTIME_DIRECTORY", self.short.path()).env("NOTIFY_SOCKET", self.short.path().join("notify"));
        Process::spawn(command, &self.disk().join("log"))
    }

    /// Starts the floor as a listener that answers whatever is asked.
    pub(crate) fn echo(&self, binary: &Path) -> Process {
        let mut command = Command::new(binary);
        command.arg("echo").arg(self.socket()).env_clear();
        Process::spawn(&mut command, &self.disk().join("log"))
    }

    /// Starts the floor for an instance that the bench has registered.
    pub(crate) fn floor(&self, binary: &Path, environment: &Environment, over: Over, hosted: &Hosted<'_>) -> Process {
        let (url, ca) = over.of(environment);
        let socket = if hosted.game { self.socket().display().to_string() } else { String::new() };
        let mut command = Command::new(binary);
        command.args([url, hosted.session, hosted.instance, &hosted.cadence.to_string(), &ca, &socket]);
        command.env_clear().env("FLOOR_TOKEN", hosted.token);
        Process::spawn(&mut command, &self.disk().join("log"))
    }
}

/// What the floor is told: it finds out nothing by itself.
pub(crate) struct Hosted<'a> {
    pub(crate) token: &'a str,
    pub(crate) session: &'a str,
    pub(crate) instance: &'a str,
    /// In seconds.
    pub(crate) cadence: u32,
    /// Whether a game comes for the notifications.
    pub(crate) game: bool,
}
