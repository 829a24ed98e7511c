//! What brings the trouble, and whether it is there.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Says something to whoever reads the output of the tests.
#[expect(clippy::print_stderr, reason = "the counts of a run are worth reading, and the runner shows them on request")]
pub(super) fn tell(words: &str) {
    eprintln!("durability: {words}");
}

/// A number from the environment.
pub(super) fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where a program is.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn works(program: &PathBuf, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Where `strace` is, if it is there and may trace. CI has it; elsewhere the test is told to pass, and why.
pub(super) fn strace() -> Option<String> {
    let Some(program) = find("strace") else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must have strace");
        tell("there is no strace here: nothing was proved");
        return None;
    };
    let line = ["-f", "-o", "/dev/null", "-e", "inject=fdatasync:signal=SIGKILL:when=9", "/bin/true"];
    if !works(&program, &line) {
        tell("strace may not trace here: nothing was proved");
        return None;
    }
    Some(program.into_os_string().into_string().unwrap())
}

/// The words before a program that give it mounts of its own, if that is allowed here.
pub(super) fn own_mounts() -> Option<Vec<String>> {
    let (unshare, _mount, _nsenter) = (find("unshare")?, find("mount")?, find("nsenter")?);
    let words = ["-m", "--propagation", "private"];
    let probe = [&words[..], &["mount", "-t", "tmpfs", "none", "/tmp"]].concat();
    if !works(&unshare, &probe) {
        tell("no mounts of one's own here: nothing was proved");
        return None;
    }
    let unshare = unshare.into_os_string().into_string().unwrap();
    Some([unshare].into_iter().chain(words.map(str::to_owned)).collect())
}
