//! A game that somebody else started: finding its process, and learning how it ended.
//!
//! It is looked for once a second, on a thread for what blocks, until it is there. Then nothing is looked at any more: the
//! kernel tells its end ([`super::grip`]).

mod unit;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

use self::unit::Unit;
use super::cgroup::Mounts;
use super::grip::{Grip, number};
use super::proc::{self, Stat};
use crate::clock;
use crate::config::settings::GameSource;
use crate::core::process::EndStatus;

/// How often a game that is not there is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is said why it was not found.
const COMPLAIN: Duration = Duration::from_secs(60);

/// How much older than its process a pid file may be: clocks are read one after the other, and files have coarse times.
const SLACK: Duration = Duration::from_secs(2);

/// Where a game that somebody else started is looked for.
#[derive(Debug)]
pub(super) struct Watch {
    place: Place,
    /// The one that was there last, so that what it left behind is not taken for another.
    last: Option<Known>,
    complained: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Place {
    PidFile(PathBuf),
    Unit(Unit),
    Name(String),
}

/// A process, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    pid: u32,
    start: u64,
}

/// What one look has found.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Found(Known),
    /// Nothing is there, as while the game does not run.
    Nothing,
    /// Something is there, but it cannot be the game. In words.
    Odd(String),
}

impl Watch {
    /// For a source that is to be watched.
    pub(super) fn new(source: &GameSource) -> Option<Self> {
        let place = match source {
            GameSource::Unknown | GameSource::Command(_) => return None,
            GameSource::PidFile(path) => Place::PidFile(path.clone()),
            GameSource::Unit(name) => Place::Unit(Unit::new(name.clone())),
            GameSource::ProcessName(name) => Place::Name(name.clone()),
        };
        Some(Self { place, last: None, complained: None })
    }

    /// Waits until the game is there. Cancelling loses nothing but the look that is under way.
    pub(super) async fn find(&mut self) -> Grip {
        loop {
            match self.look().await {
                Look::Found(known) => match Grip::take(known.pid) {
                    Ok(Some(grip)) if grip.start() == known.start => {
                        self.last = Some(known);
                        self.complained = None;
                        return grip;
                    }
                    // Gone in the meantime.
                    Ok(_) => {}
                    Err(error) => self.complain(&format!("its process {} cannot be held: {error}", known.pid)),
                },
                Look::Nothing => {}
                Look::Odd(why) => self.complain(&why),
            }
            clock::sleep(LOOK).await;
        }
    }

    /// How it ended, as far as that can be known. Called as soon as it has.
    pub(super) async fn status(&self, grip: &Grip) -> Ending {
        let seen = collected(grip).or_else(|| left(grip)).unwrap_or_default();
        match &self.place {
            Place::Unit(unit) => unit.ending(grip.pid()).await.unwrap_or(seen),
            Place::PidFile(_) | Place::Name(_) => seen,
        }
    }

    async fn look(&mut self) -> Look {
        let (place, last) = (self.place.clone(), self.last);
        match place {
            Place::PidFile(path) => blocking(move || by_pid_file(&path, last)).await,
            Place::Name(name) => blocking(move || by_name(&name)).await,
            Place::Unit(_) => {
                let Place::Unit(unit) = &mut self.place else { return Look::Nothing };
                match unit.main_pid().await {
                    Ok(Some(pid)) => blocking(move || alive(pid).map_or(Look::Nothing, Look::Found)).await,
                    Ok(None) => Look::Nothing,
                    Err(why) => Look::Odd(why),
                }
            }
        }
    }

    fn complain(&mut self, why: &str) {
        let now = clock::now();
        if self.complained.is_none_or(|before| now >= before + COMPLAIN) {
            self.complained = Some(now);
            tracing::warn!("the game is not found: {why}; it is looked for on");
        }
    }
}

async fn blocking(look: impl FnOnce() -> Look + Send + 'static) -> Look {
    tokio::task::spawn_blocking(look).await.unwrap_or(Look::Nothing)
}

/// How a game that is not ours ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) status: EndStatus,
    /// It left a core file.
    pub(super) dumped: bool,
    /// Whoever looked after it says that it was killed for want of memory.
    pub(super) oom_killed: bool,
}

impl Default for Ending {
    fn default() -> Self {
        Self { status: EndStatus::Unknown, dumped: false, oom_killed: false }
    }
}

/// It may be a child of ours after all: as PID 1 of a container we inherit those whose parents are gone.
fn collected(grip: &Grip) -> Option<Ending> {
    let child = WaitId::Pid(number(grip.pid())?);
    // Without being collected it stays what it is, and cannot have been given to somebody else.
    let _ours = grip.stat().filter(|stat| stat.zombie && stat.parent == std::process::id())?;
    let status = waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT).ok()??;
    let code = status.exit_status().map(EndStatus::Code);
    let status_of = code.or_else(|| status.terminating_signal().map(EndStatus::Signal))?;
    Some(Ending { status: status_of, dumped: status.dumped(), oom_killed: false })
}

/// As long as its parent has not collected it, `/proc` shows what it leaves, to those who may trace it. To all others it
/// shows 0, so that 0 says nothing.
fn left(grip: &Grip) -> Option<Ending> {
    let status = grip.stat().filter(|stat| stat.zombie && stat.status != 0)?.status;
    // wait(2): the signal in the lowest seven bits, then the mark of a core file; or the exit code above them.
    let signal = status & 0x7f;
    let status_of = if signal == 0 { EndStatus::Code((status >> 8) & 0xff) } else { EndStatus::Signal(signal) };
    Some(Ending { status: status_of, dumped: status & 0x80 != 0, oom_killed: false })
}

fn alive(pid: u32) -> Option<Known> {
    Stat::of(pid).filter(|stat| !stat.zombie).map(|stat| Known { pid, start: stat.start })
}

/// The process whose id stands in the first line of the file.
fn by_pid_file(path: &Path, last: Option<Known>) -> Look {
    let (pid, age) = match read_pid(path) {
        Ok(Some(read)) => read,
        Ok(None) => return Look::Nothing,
        Err(why) => return Look::Odd(why),
    };
    let Some(known) = alive(pid) else { return Look::Nothing };
    // The same number as before, but another process: the file is what the game left behind, and the number was given away.
    let given_away = last.is_some_and(|last| last.pid == known.pid && last.start != known.start);
    // A process writes its pid, or has it written, once it is there.
    let older = age.zip(age_of(known.start)).is_some_and(|(file, process)| file > process + SLACK);
    if older {
        let path = path.display();
        let kind = if given_away {
            "another process has the number of the game that ended"
        } else {
            "it is from a game before"
        };
        return Look::Odd(format!("{path} is older than process {pid} that it names, so {kind}"));
    }
    Look::Found(known)
}

/// The pid in a file, and the file's age; `None` where there is no such file, or nothing in it yet.
fn read_pid(path: &Path) -> Result<Option<(u32, Option<Duration>)>, String> {
    let wrong = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    // Opening a pipe would wait for whoever writes it.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(format!("{} is not a regular file", path.display())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    }
    let file = File::open(path).map_err(wrong)?;
    let age = file.metadata().ok().and_then(|metadata| {
        let written = jiff::Timestamp::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).ok()?).ok()?;
        Duration::try_from(clock::wall().duration_since(written)).ok()
    });
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).map_err(wrong)?;
    let line = text.lines().next().unwrap_or_default().trim();
    match line.parse() {
        Ok(pid) if pid > 0 => Ok(Some((pid, age))),
        _ if line.is_empty() => Ok(None),
        _ => Err(format!("the first line of {} is no process id", path.display())),
    }
}

/// How long a process has been there. `start` is in ticks since the machine's start, sleep included.
fn age_of(start: u64) -> Option<Duration> {
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?);
    Some(now.saturating_sub(proc::duration(start)))
}

/// The only process that we can see with this name: the kernel's name of it, which is cut after 15 bytes, or that of its
/// program.
fn by_name(name: &str) -> Look {
    let me = std::process::id();
    let named = |pid: &u32| {
        let program = || proc::program(*pid).is_some_and(|program| program == name);
        *pid != me && Stat::of(*pid).is_some_and(|stat| !stat.zombie && (stat.name == name || program()))
    };
    let mut found: Vec<u32> = proc::all().filter(named).collect();
    found.sort_unstable();
    match found.as_slice() {
        [] => Look::Nothing,
        [pid] => alive(*pid).map_or(Look::Nothing, Look::Found),
        [first, second, ..] => Look::Odd(format!(
            "{} processes are named {name:?}, {first} and {second} among them; use game.pid_file or a name of its own",
            found.len()
        )),
    }
}

/// The process in a control group that nobody else in it has started, if there is exactly one.
fn main_of(group: &Path) -> Option<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    let members: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let mut first = members.iter().filter(|pid| Stat::of(**pid).is_some_and(|stat| !members.contains(&stat.parent)));
    first.next().filter(|_| first.next().is_none()).copied()
}

/// Where a unit's control group is, for those who have no systemctl.
fn group_of(unit: &str, slice: &str) -> Option<PathBuf> {
    // a-b.slice lies within a.slice (systemd.slice(5)).
    let stem = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::from("/");
    if stem != "-" {
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        path.extend(ends.filter_map(|end| Some(format!("{}.slice", stem.get(..end)?))));
    }
    Mounts::look().directory(path.join(unit).to_str()?)
}

#[cfg(test)]
mod tests;
