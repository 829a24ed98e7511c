//! The agent's binary, and what it is measured on.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The one that was asked for, else one that is built now, beside this program.
pub(crate) fn agent(asked: Option<&Path>, release: bool) -> PathBuf {
    if let Some(asked) = asked {
        return asked.canonicalize().expect("the agent's binary");
    }
    // …/target/PROFILE/examples/chaos
    let target = std::env::current_exe().unwrap().ancestors().nth(3).map(Path::to_owned).expect("a target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--bin", "rallyhere-agent", "--target-dir"]).arg(&target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if release {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo").success(), "the agent could not be built");
    target.join(if release { "release" } else { "debug" }).join("rallyhere-agent")
}

/// A few lines that a figure means nothing without.
pub(crate) fn describe(agent: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    format!(
        "machine  {}, {cores} cores, Linux {}, load {}\ncommit   {commit}{}\nagent    {}\n",
        model.unwrap_or("unknown CPU"),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        if changed { ", with changes" } else { "" },
        agent.display(),
    )
}

fn git(arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_owned())
}
