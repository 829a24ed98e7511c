use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal as Number, getpid, kill_process};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Set for the process that [`in_a_process`] starts; says which signals it sends itself.
const CHILD: &str = "RALLYHERE_AGENT_TEST_SIGNALS_CHILD";

fn raise(number: Number) {
    kill_process(getpid(), number).unwrap();
}

#[tokio::test]
async fn a_hangup_asks_for_a_reload_each_time() {
    let mut signals = Signals::register().unwrap();
    for _ in 0..3 {
        raise(Number::HUP);
        assert_eq!(signals.next().await, SignalEvent::Reload);
    }
}

#[test]
fn the_first_asks_for_a_drain_and_the_second_ends_a_process_whose_runtime_is_stuck() {
    let Ok(plan) = std::env::var(CHILD) else {
        for (plan, code) in [("TERM TERM", 143), ("INT INT", 130), ("TERM INT", 130), ("INT TERM", 143)] {
            let status = in_a_process(plan);
            assert_eq!(status.code(), Some(code), "{plan}: {status}");
        }
        return;
    };
    let (first, second) = plan.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut signals = Signals::register().unwrap();
        raise(number(first));
        let name = if first == "TERM" { "SIGTERM" } else { "SIGINT" };
        assert_eq!(signals.next().await, SignalEvent::Drain(name));
        // Stuck: the runtime's only thread never comes back.
        let second = number(second);
        thread::spawn(move || raise(second));
        loop {
            thread::park();
        }
    });
}

fn number(name: &str) -> Number {
    if name == "TERM" { Number::TERM } else { Number::INT }
}

/// Runs the child's half of the test in a process of its own.
fn in_a_process(plan: &str) -> ExitStatus {
    let name = "the_first_asks_for_a_drain_and_the_second_ends_a_process_whose_runtime_is_stuck";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("io::signals::tests::{name}")])
        .env(CHILD, plan)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || end.send(stdout.read_to_end(&mut Vec::new())));
    if ended.recv_timeout(LIMIT).is_err() {
        child.kill().unwrap();
    }
    child.wait().unwrap()
}
