//! A running program: what it says, how it ends, and the calls of a game on its socket.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rallyhere_agent::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::home::Home;
use super::socket;
use super::stage::until;

/// How long the last lines of a program that has ended may take, and how often it is looked for them.
const LAST_LINES: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);

pub(crate) struct Agent {
    child: Child,
    pid: Pid,
    socket: PathBuf,
    /// Standard output and standard error, in the order of their lines.
    said: Arc<Mutex<Vec<u8>>>,
    /// Reads until the program and everything that it started has closed both.
    reader: Option<JoinHandle<()>>,
    /// What it answered on its socket.
    answered: String,
    cmdline: Vec<u8>,
    secrets: Vec<String>,
    _disk: Arc<TempDir>,
}

impl Agent {
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        Self::start_under(home, &[], args)
    }

    /// Behind the words of a program that becomes it, such as `strace -D`.
    pub(crate) fn start_under(home: &Home, words: &[&str], args: &[&str]) -> Self {
        let (mut from, into) = io::pipe().unwrap();
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                kept.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        let mut agent = Self::spawn_under(home, words, args, into.try_clone().unwrap().into(), into.into());
        agent.said = said;
        agent.reader = Some(reader);
        agent
    }

    /// With other places for standard output and standard error, which nobody reads here.
    pub(crate) fn spawn(home: &Home, args: &[&str], out: Stdio, err: Stdio) -> Self {
        Self::spawn_under(home, &[], args, out, err)
    }

    fn spawn_under(home: &Home, words: &[&str], args: &[&str], out: Stdio, err: Stdio) -> Self {
        let line = [words, &[env!("CARGO_BIN_EXE_rallyhere-agent")], args].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env_clear().envs(&home.env).current_dir(home.path("home"));
        command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true);
        let child = command.spawn().unwrap();
        drop(command);
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        // What any user of the machine may read.
        let cmdline = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        Self {
            child,
            pid,
            socket: home.socket(),
            said: Arc::default(),
            reader: None,
            answered: String::new(),
            cmdline,
            secrets: home.secrets(),
            _disk: home.disk(),
        }
    }

    /// Everything said so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until it has said something.
    pub(crate) async fn until_says(&self, words: &str) {
        until(&format!("{words:?} in the log"), async || self.output().contains(words).then_some(())).await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        let status = until("the end of the program", async || self.child.try_wait().unwrap()).await;
        self.read_to_the_end();
        status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{}", self.output()))
    }

    /// The game says that it is done, and the agent ends in good order.
    pub(crate) async fn finish(mut self) {
        self.post("/v1/shutdown", json!({})).await;
        assert_eq!(self.exit_code().await, 0);
    }

    /// The same on SIGTERM, where no game is there to wait for.
    pub(crate) async fn stop(mut self) {
        self.terminate();
        assert_eq!(self.exit_code().await, 0);
    }

    /// kill -9.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the program before it has become it.
    pub(crate) async fn until_itself(&self) {
        let name = format!("/proc/{}/comm", self.pid());
        until("the agent itself", async || {
            let became = fs::read_to_string(&name).is_ok_and(|name| name.trim() == "rallyhere-agent");
            became.then_some(())
        })
        .await;
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The program has ended; what it said is read, but nobody waits long for those whom it left behind with its output.
    fn read_to_the_end(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        for _ in 0..LAST_LINES.as_millis() / LOOK.as_millis() {
            if reader.is_finished() {
                break;
            }
            clock::pause(LOOK);
        }
    }

    /// Everything that it started and that is still its own.
    fn descendants(&self) -> Vec<Pid> {
        let mut found = vec![self.pid];
        let mut at = 0;
        while let Some(pid) = found.get(at).map(|pid| pid.as_raw_nonzero()) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                found.extend(children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)));
            }
            at += 1;
        }
        found.split_off(1)
    }

    /// A call on the socket, which waits until the socket is there; gives status and body.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (socket, child) = (&self.socket, &mut self.child);
        let (status, text) = until(&format!("an answer to {method} {path}"), async || {
            match socket::call(socket, method, path, body.as_ref()).await {
                Ok(answer) => Some(answer),
                // Not there yet, or the one of a program that is gone.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    assert_eq!(child.try_wait().unwrap(), None, "{method} {path}: nobody will answer any more");
                    None
                }
                Err(error) => panic!("{method} {path}: {error}"),
            }
        })
        .await;
        self.answered.push_str(&text);
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}")))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// A POST that is taken (200 or 202).
    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body)).await;
        assert!([200, 202].contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn status(&mut self) -> Value {
        self.get("/v1/status").await
    }

    /// Waits until the status shows something.
    pub(crate) async fn until(&mut self, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        until(what, async || Some(self.status().await).filter(|status| seen(status))).await
    }

    pub(crate) async fn until_phase(&mut self, phase: &str) -> Value {
        self.until(&format!("phase {phase}"), |status| status["phase"] == *phase).await
    }
}

impl Drop for Agent {
    /// Promise 11: no secret in anything that was said. And no panic, which would be a fault of ours whatever came of it.
    #[expect(clippy::print_stderr, reason = "the test runner shows it with the test that failed")]
    fn drop(&mut self) {
        // Gone already, or gone now, and with it the game of a test that failed: it would hold the output, and a core.
        let left = if matches!(self.child.try_wait(), Ok(None)) { self.descendants() } else { Vec::new() };
        let _gone = self.child.start_kill();
        for pid in left {
            let _gone = kill_process(pid, Signal::KILL);
        }
        self.read_to_the_end();
        let output = self.output();
        if std::thread::panicking() {
            let from = output.len().saturating_sub(20_000);
            eprintln!("--- what the agent said ---\n{}", String::from_utf8_lossy(&output.as_bytes()[from..]));
            return;
        }
        let cmdline = String::from_utf8_lossy(&self.cmdline);
        for secret in &self.secrets {
            for (place, text) in [("its log", &*output), ("its answers", &self.answered), ("its arguments", &cmdline)] {
                assert!(!text.contains(secret), "a secret is in {place}:\n{text}");
            }
        }
        for fault in ["panicked", "please report"] {
            assert!(!output.contains(fault), "a fault of ours:\n{output}");
        }
    }
}
