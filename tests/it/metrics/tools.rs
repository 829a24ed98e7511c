//! The tools of Prometheus, and whether they are there.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program of Debian's package `prometheus` is. CI has it; elsewhere the test is told to pass, and why.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must have {name}");
        skip(name);
    }
    found
}

#[expect(clippy::print_stderr, reason = "who runs the tests should know what was not tried")]
fn skip(name: &str) {
    eprintln!("metrics: there is no {name} here (Debian's package prometheus has it): nothing was proved");
}

/// A file of `container/`.
pub(super) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("container").join(name)
}

/// Runs a tool to its end; gives whether it was content, and all that it said.
pub(super) fn run(program: &Path, args: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end before it has read everything; then it has said why.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// `promtool check metrics` is content only if it has nothing to say, not even a remark.
pub(super) fn check_metrics(text: &str) {
    if let Some(promtool) = find("promtool") {
        let (content, said) = run(&promtool, &["check", "metrics"], text);
        assert!(content && said.is_empty(), "promtool check metrics: {said}");
    }
}
