//! The control group of a process: where it is, what it may use, and whether the kernel had to kill in it
//! (cgroups(7); memory.events of cgroup v2, memory.oom_control of v1).

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::proc;

/// Limits from here on mean that there is none: v1 writes the largest number of pages.
const NO_LIMIT: u64 = 1 << 62;

/// Where control groups are mounted in our file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    unified: Option<Mount>,
    memory: Option<Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// What of the hierarchy is mounted: a container sees a part of it.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

/// The control groups of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// cgroup v2: the directory of the group, and the one at which our view of the hierarchy ends.
    unified: Option<(PathBuf, PathBuf)>,
    /// The memory controller of v1, likewise.
    memory: Option<(PathBuf, PathBuf)>,
}

impl Mounts {
    /// As they are now.
    pub(super) fn look() -> Self {
        fs::read_to_string("/proc/self/mountinfo").map_or_else(|_hidden| Self::default(), |text| Self::parse(&text))
    }

    /// proc_pid_mountinfo(5): `36 35 98:0 /root /point options optional… - type source super-options`.
    fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let Some((mount, system)) = line.split_once(" - ") else { continue };
            let mut mount = mount.split(' ').skip(3);
            let (Some(root), Some(at)) = (mount.next(), mount.next()) else { continue };
            let mount = || Some(Mount { root: PathBuf::from(root), at: PathBuf::from(at) });
            let mut system = system.split(' ');
            match (system.next(), system.nth(1)) {
                (Some("cgroup2"), _) if mounts.unified.is_none() => mounts.unified = mount(),
                (Some("cgroup"), Some(options))
                    if mounts.memory.is_none() && options.split(',').any(|option| option == "memory") =>
                {
                    mounts.memory = mount();
                }
                _ => {}
            }
        }
        mounts
    }

    /// The groups that a process is in; those that we cannot see are left out.
    pub(super) fn cgroup(&self, pid: u32) -> Cgroup {
        proc::read(pid, "cgroup").map_or_else(Cgroup::default, |text| self.resolve(&text))
    }

    /// The directory of a group of cgroup v2 by its path in the hierarchy.
    pub(super) fn directory(&self, path: &str) -> Option<PathBuf> {
        self.unified.as_ref()?.place(path).map(|(directory, _)| directory)
    }

    /// proc_pid_cgroup(5): `0::/path` for v2, `4:memory:/path` for v1.
    fn resolve(&self, text: &str) -> Cgroup {
        let mut cgroup = Cgroup::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                cgroup.unified = self.unified.as_ref().and_then(|mount| mount.place(path));
            } else if controllers.split(',').any(|controller| controller == "memory") {
                cgroup.memory = self.memory.as_ref().and_then(|mount| mount.place(path));
            }
        }
        cgroup
    }
}

impl Mount {
    /// Where a path of the hierarchy is, and the mount that it is below.
    fn place(&self, path: &str) -> Option<(PathBuf, PathBuf)> {
        let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(path));
        // What begins with `..` is outside of our cgroup namespace.
        if path.components().any(|component| component == Component::ParentDir) {
            return None;
        }
        // With a namespace of its own the path is told from its root on, whatever the mount says it shows.
        let inner = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix("/")).ok()?;
        Some((self.at.join(inner), self.at.clone()))
    }
}

impl Cgroup {
    /// Its directory in cgroup v2, where the pressure files are.
    pub(super) fn unified(&self) -> Option<&Path> {
        self.unified.as_ref().map(|(directory, _)| directory.as_path())
    }

    /// How often the kernel has killed in it, or below it, for want of memory.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let counted = |at: &Option<(PathBuf, PathBuf)>, file: &str| {
            let text = fs::read_to_string(at.as_ref()?.0.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        counted(&self.unified, "memory.events").or_else(|| counted(&self.memory, "memory.oom_control"))
    }

    /// The most memory that it may use, in bytes: the least of all limits from it up to where our view ends.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let least = |at: &Option<(PathBuf, PathBuf)>, file: &str| {
            let (directory, top) = at.as_ref()?;
            let levels = directory.ancestors().take_while(|level| level.starts_with(top));
            let limit = |level: &Path| fs::read_to_string(level.join(file)).ok()?.trim().parse::<u64>().ok();
            levels.filter_map(limit).filter(|limit| *limit < NO_LIMIT).min()
        };
        least(&self.unified, "memory.max").or_else(|| least(&self.memory, "memory.limit_in_bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn both_hierarchies_are_found() {
        let cgroup = Mounts::parse(HYBRID).resolve("9:name=systemd:/\n4:memory:/a/b\n0::/c (deleted)\n");
        assert_eq!(cgroup.unified(), Some(Path::new("/sys/fs/cgroup/unified/c")));
        assert_eq!(cgroup.memory, Some(("/sys/fs/cgroup/memory/a/b".into(), "/sys/fs/cgroup/memory".into())));
    }

    #[test]
    fn a_container_sees_its_part() {
        // Without a namespace: the host's path, and a mount of that part.
        let mounts = Mounts::parse("1 2 0:9 /pods/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        assert_eq!(mounts.resolve("0::/pods/x/y\n").unified(), Some(Path::new("/sys/fs/cgroup/y")));
        assert_eq!(mounts.resolve("0::/pods/x\n").unified(), Some(Path::new("/sys/fs/cgroup/")));
        // With one.
        let mounts = Mounts::parse("1 2 0:9 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        assert_eq!(mounts.resolve("0::/\n").unified(), Some(Path::new("/sys/fs/cgroup/")));
        assert_eq!(mounts.resolve("0::/../other\n").unified(), None, "not ours to see");
        assert_eq!(mounts.directory("/a.slice/b.service").unwrap(), Path::new("/sys/fs/cgroup/a.slice/b.service"));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in ["", "\n", "1 2 3\n", " - cgroup2\n", "1 2 3 / - cgroup2 x y\n"] {
            assert_eq!(Mounts::parse(text), Mounts::default(), "{text}");
        }
        assert_eq!(Mounts::parse(HYBRID).resolve("x\n::\n0:\n"), Mounts::parse(HYBRID).resolve("::"));
    }

    #[test]
    fn limits_and_kills_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().to_owned();
        let inner = top.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let cgroup = Cgroup { unified: Some((inner.clone(), top.clone())), memory: None };
        assert_eq!((cgroup.memory_limit(), cgroup.oom_kills()), (None, None));
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(inner.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!((cgroup.memory_limit(), cgroup.oom_kills()), (None, Some(2)));
        fs::write(top.join("a/memory.max"), "1048576\n").unwrap();
        fs::write(top.join("memory.max"), "4096000\n").unwrap();
        assert_eq!(cgroup.memory_limit(), Some(1_048_576));

        let old = Cgroup { unified: None, memory: Some((inner.clone(), top)) };
        fs::write(inner.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        fs::write(inner.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
        assert_eq!((old.memory_limit(), old.oom_kills()), (None, Some(1)));
    }
}
