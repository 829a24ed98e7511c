//! A booted machine: its own processes, files and network; gone with the value.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rallyhere_agent::clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::until;

/// Makes the root and becomes systemd.
const BOOT: &str = include_str!("boot.sh");
/// Where the simulated environment listens.
const ENVIRONMENT: &str = "127.0.0.1:8080";
/// Who may log in there.
const CLIENT: &str = "agent";
/// With what. Long and odd enough to be found wherever it should not be.
pub(crate) const SECRET: &str = "S3cret+of/the=client~4711";
/// The unit of most tests.
pub(crate) const UNIT: &str = "rallyhere-agent.service";

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A booted machine.
#[derive(Debug)]
pub(crate) struct Machine {
    place: TempDir,
    cgroup: PathBuf,
    /// unshare(1), which waits for systemd.
    outer: Child,
    /// systemd, as this host counts.
    init: u32,
}

/// The package to test, if somebody named one.
fn package(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file())
}

/// Why there can be no machine here.
fn obstacle() -> Option<String> {
    for variable in ["RALLYHERE_DEB", "RALLYHERE_DEB_NEXT"] {
        if package(variable).is_none() {
            return Some(format!("{variable} names no package; `.ci/run package systemd` makes them"));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Some("this needs root".to_owned());
    }
    let tried = Command::new("unshare")
        .args(["--pid", "--fork", "--mount", "--cgroup", "--net", "--ipc", "--uts", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Some(format!("no namespaces here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => return Some(format!("no unshare(1) here: {error}")),
    }
    let version = Command::new("systemctl").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version).split_whitespace().nth(1).and_then(|word| word.parse().ok());
    if version.is_none_or(|version: u32| version < 252) {
        return Some("systemd 252 or newer is needed".to_owned());
    }
    None
}

/// This process's place in the hierarchy of cgroup v2, wherever that is mounted.
fn own_cgroup() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mount.into_iter().find(|words| words.get(2) == Some(&"cgroup2")).unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    Path::new(mount[1]).join(own)
}

impl Machine {
    /// Boots one; `None`, and a word about it, where that cannot be and need not be.
    pub(crate) async fn boot() -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            assert!(std::env::var("RALLYHERE_SYSTEMD").as_deref() != Ok("must"), "{obstacle}");
            eprintln!("skipped: {obstacle}");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let name = format!("rallyhere-{}", place.path().file_name().unwrap().to_str().unwrap().trim_matches('.'));
        let cgroup = own_cgroup().join(name);
        fs::create_dir(&cgroup).unwrap();
        fs::write(place.path().join("boot.sh"), BOOT).unwrap();
        // Into the cgroup first: a cgroup namespace begins where its maker is.
        let script = r#"echo $$ >"$1/cgroup.procs"
            exec unshare --pid --fork --kill-child --mount --cgroup --net --ipc --uts sh "$2/boot.sh" "$2""#;
        let console = fs::File::create(place.path().join("console")).unwrap();
        let outer = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&cgroup, &place.path().to_owned()])
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let mut machine = Self { place, cgroup, outer, init: 0 };
        let id = machine.outer.id();
        let children = format!("/proc/{id}/task/{id}/children");
        machine.init =
            until("systemd", &machine, || fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok())
                .await;
        until("the end of the boot", &machine, || {
            let said = machine.try_run("systemctl is-system-running");
            ["running", "degraded"].contains(&said.out.trim()).then_some(())
        })
        .await;
        Some(machine)
    }

    /// Boots one with the package, a configuration for the simulated environment, and that environment.
    pub(crate) async fn with_agent() -> Option<Self> {
        let machine = Self::boot().await?;
        machine.install("RALLYHERE_DEB");
        machine.configure();
        machine.simulate("").await;
        Some(machine)
    }

    /// Its root directory, from outside. What is mounted in it is not there.
    pub(crate) fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    /// Runs a shell script in it, as root.
    pub(crate) fn try_run(&self, script: &str) -> Said {
        let output = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "--", "env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "sh", "-c"])
            .arg(script)
            .stdin(Stdio::null())
            .output();
        let Output { status, stdout, stderr } = output.unwrap();
        Said {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Runs a shell script in it that must succeed; what it said.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let said = self.try_run(script);
        assert_eq!(said.code, 0, "{script}\n{}{}\n{}", said.out, said.err, self.story());
        said.out + &said.err
    }

    /// Writes a file of it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Adds a drop-in to a unit.
    pub(crate) fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), text);
        self.run("systemctl daemon-reload");
    }

    /// Brings a package in and says where it is.
    pub(crate) fn bring(&self, variable: &str) -> String {
        let package = package(variable).unwrap();
        let name = package.file_name().unwrap().to_str().unwrap();
        fs::copy(&package, self.root().join("root").join(name)).unwrap();
        format!("/root/{name}")
    }

    /// Installs a package; what dpkg said.
    pub(crate) fn install(&self, variable: &str) -> String {
        let package = self.bring(variable);
        self.run(&format!("dpkg --install {package}"))
    }

    /// Fills in what must be filled in.
    pub(crate) fn configure(&self) {
        self.run(&format!(
            "{} /etc/rallyhere-agent/agent.toml && install -m 600 /dev/null /etc/rallyhere-agent/client-secret",
            Self::edit()
        ));
        self.write("/etc/rallyhere-agent/client-secret", &format!("{SECRET}\n"));
    }

    /// A command that fills in what must be filled in, in the file behind it.
    pub(crate) fn edit() -> String {
        format!(
            r#"sed -i -e 's|^url = .*|url = "http://{ENVIRONMENT}"|' -e 's|^client_id = .*|client_id = "{CLIENT}"|' \
            -e 's|^session_id = .*|session_id = "demo"|'"#
        )
    }

    /// Starts the environment: one client, and health once a second.
    pub(crate) async fn simulate(&self, more: &str) {
        // Cargo's own build: what the package brings has no simulator.
        fs::copy(env!("CARGO_BIN_EXE_rallyhere-agent"), self.root().join("root/simulator")).unwrap();
        self.run(&format!(
            "systemd-run --quiet --unit=simulator /root/simulator simulate --listen {ENVIRONMENT} --cadence 1 \
             --client '{CLIENT}:{SECRET}' {more}"
        ));
        until("the environment", self, || {
            (self.try_run(&format!("curl -sf http://{ENVIRONMENT}/_sim/state")).code == 0).then_some(())
        })
        .await;
    }

    /// Calls the environment's control API.
    #[track_caller]
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let said =
            self.run(&format!("curl -sS --fail-with-body -X {method} http://{ENVIRONMENT}/_sim/{path} -d '{body}'"));
        if said.is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
    }

    /// What the environment has seen.
    #[track_caller]
    pub(crate) fn ledger(&self) -> Value {
        self.control("GET", "ledger", &json!({}))
    }

    /// How many health posts it has seen.
    pub(crate) fn beats(&self) -> usize {
        self.ledger()["health"].as_array().map_or(0, Vec::len)
    }

    /// How often a call was made.
    pub(crate) fn calls(&self, call: &str) -> u64 {
        self.ledger()["calls"][call].as_u64().unwrap_or_default()
    }

    /// The session's instance, as the environment shows it.
    pub(crate) fn instance(&self, session: &str) -> Value {
        self.control("GET", &format!("sessions/{session}"), &json!({}))["instance"].clone()
    }

    /// The join statuses that were written, oldest first.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let ledger = self.ledger();
        let bodies = ledger["requests"].as_array().unwrap().iter().map(|request| &request["body"]["join_status"]);
        bodies.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Waits for more health posts.
    pub(crate) async fn until_beats(&self, more: usize) {
        let wanted = self.beats() + more;
        until("health posts", self, || (self.beats() >= wanted).then_some(())).await;
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.run(&format!("systemctl show --property={property} --value {unit}")).trim().to_owned()
    }

    /// A property of a unit that is a number.
    #[track_caller]
    pub(crate) fn number(&self, unit: &str, property: &str) -> u64 {
        let shown = self.show(unit, property);
        shown.parse().unwrap_or_else(|_| panic!("{property} of {unit} is {shown:?}"))
    }

    /// Waits until a property of a unit is as wanted.
    pub(crate) async fn until_shown(&self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = clock::now() + crate::PATIENCE;
        loop {
            let shown = self.show(unit, property);
            if wanted(&shown) {
                return;
            }
            assert!(clock::now() < deadline, "{property} of {unit} stays {shown:?}\n{}", self.story());
            clock::sleep(crate::LOOK).await;
        }
    }

    /// Starts a unit, and waits until its agent has posted health.
    pub(crate) async fn start(&self, unit: &str) {
        self.run(&format!("systemctl start {unit}"));
        self.until_beats(1).await;
    }

    /// The log of a unit.
    pub(crate) fn log(&self, unit: &str) -> String {
        self.run(&format!("journalctl --sync; journalctl --no-pager --output=cat --unit={unit}"))
    }

    /// All that may explain a failure.
    pub(crate) fn story(&self) -> String {
        let mut story = fs::read_to_string(self.place.path().join("console")).unwrap_or_default();
        if self.init != 0 {
            let said = self.try_run("journalctl --no-pager --output=short-monotonic | tail -n 60; systemctl --failed");
            let _infallible = write!(story, "{}{}", said.out, said.err);
        }
        story
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process all others end, and their mounts and network with them.
        let _gone = self.outer.kill();
        let _gone = self.outer.wait();
        let deadline = clock::now() + crate::PATIENCE;
        while self.cgroup.exists() && clock::now() < deadline {
            let removed = Command::new("find").arg(&self.cgroup).args(["-depth", "-type", "d", "-delete"]).output();
            drop(removed);
        }
    }
}
