//! What was measured, and on what.

use std::path::Path;
use std::process::Command;

/// A few lines that a figure means nothing without.
pub(crate) fn describe(agent: &Path, state: &Path) -> String {
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    format!(
        "machine  {}, {cores} cores, {} {}\nload     {} (1, 5 and 15 minutes; its own share included)\ncommit   {commit}{}\nagent    {}\nstate    {}\n",
        model.unwrap_or("unknown CPU"),
        read("/proc/sys/kernel/ostype").trim(),
        kernel.trim(),
        read("/proc/loadavg").splitn(4, ' ').take(3).collect::<Vec<_>>().join(" "),
        if changed { ", with changes" } else { "" },
        agent.display(),
        file_system(state),
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn git(arguments: &[&str]) -> Option<String> {
    let out = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_owned())
}

/// The kind of disk below a directory: durable figures on a tmpfs say nothing.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/self/mounts");
    let below = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(place).then_some((place.len(), format!("on {kind} ({device})")))
    });
    below.max_by_key(|(length, _)| *length).map_or_else(|| "on an unknown file system".to_owned(), |(_, words)| words)
}
