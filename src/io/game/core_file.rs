//! Where the core file of a game that crashed is: what the kernel's pattern says (core(5)), and whether it is really there.

use std::fs;
use std::path::{Path, PathBuf};

/// What the pattern may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crashed<'a> {
    /// Its pid, as its own PID namespace and the first one have it where both are one.
    pub(super) pid: u32,
    /// The kernel's name of it.
    pub(super) name: &'a str,
    /// What ended it.
    pub(super) signal: i32,
    /// Where it was started.
    pub(super) working_dir: &'a Path,
}

/// Tells where the core file is, in words where only words are known.
pub(super) fn find(crashed: &Crashed<'_>) -> String {
    let read = |file: &str| fs::read_to_string(Path::new("/proc/sys/kernel").join(file)).unwrap_or_default();
    let with_pid = read("core_uses_pid").trim() == "1";
    describe(read("core_pattern").trim_end_matches('\n'), with_pid, read("hostname").trim(), crashed)
}

fn describe(pattern: &str, with_pid: bool, host: &str, crashed: &Crashed<'_>) -> String {
    if let Some(program) = pattern.strip_prefix('|') {
        let program = program.split_whitespace().next().unwrap_or("a program");
        return format!("yes (handled by {program})");
    }
    if pattern.starts_with('@') {
        return "yes (handled by a coredump socket)".to_owned();
    }
    let unknown = || format!("yes (kernel.core_pattern is {pattern:?}, from {})", crashed.working_dir.display());
    let Some(name) = expand(pattern, host, crashed) else { return unknown() };
    let pid = if with_pid && !pattern.contains("%p") { format!(".{}", crashed.pid) } else { String::new() };
    let path: PathBuf = crashed.working_dir.join(name + &pid);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) { path.display().to_string() } else { unknown() }
}

/// The pattern with its values; `None` where it asks for one that we do not know.
fn expand(pattern: &str, host: &str, crashed: &Crashed<'_>) -> Option<String> {
    let mut out = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('%') => out.push('%'),
            Some('p' | 'P' | 'i' | 'I') => out.push_str(&crashed.pid.to_string()),
            // A slash in a name would be a directory: the kernel writes these instead.
            Some('e') => out.push_str(&crashed.name.replace('/', "!")),
            Some('h') => out.push_str(host),
            Some('s') => out.push_str(&crashed.signal.to_string()),
            Some('u') => out.push_str(&rustix::process::getuid().as_raw().to_string()),
            Some('g') => out.push_str(&rustix::process::getgid().as_raw().to_string()),
            // Nothing stands for a % at the end.
            None => {}
            Some(_) => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_only_where_the_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let crashed = Crashed { pid: 42, name: "a/b", signal: 11, working_dir: dir.path() };
        let told = |pattern: &str, with_pid: bool| describe(pattern, with_pid, "host", &crashed);
        let path = |name: &str| dir.path().join(name).display().to_string();
        for (pattern, with_pid, file) in [
            ("core", false, "core"),
            ("core", true, "core.42"),
            ("%e-%p-%s%%", true, "a!b-42-11%"),
            ("core.%h.%P", false, "core.host.42"),
            ("core%", false, "core"),
        ] {
            let _absent = fs::remove_file(path(file));
            assert!(told(pattern, with_pid).starts_with("yes (kernel.core_pattern is "), "{pattern}");
            fs::write(path(file), "x").unwrap();
            assert_eq!(told(pattern, with_pid), path(file));
        }
        let absolute = path("elsewhere");
        fs::write(&absolute, "x").unwrap();
        assert_eq!(told(&absolute, false), absolute);
        assert!(told("core.%t", false).starts_with("yes (kernel.core_pattern"), "the time is not known");
        assert!(told("", false).starts_with("yes"), "a directory is no core file");
        assert_eq!(
            told("|/usr/lib/systemd/systemd-coredump %P %u", false),
            "yes (handled by /usr/lib/systemd/systemd-coredump)"
        );
        assert_eq!(told("|", false), "yes (handled by a program)");
        assert_eq!(told("@/run/coredump.socket", false), "yes (handled by a coredump socket)");
    }
}
