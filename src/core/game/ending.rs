//! What a game's end means: pure, from what its process left and what was going on.
//!
//! Read from the top; the first that fits counts.
//!
//! | what is known | ending | fubar |
//! |---|---|---|
//! | its time to become ready had run out, so we stopped it | never ready | `never_ready`, reported then |
//! | the kernel killed something of it for want of memory, and it did not end as we had asked | out of memory | `game_oom_killed` |
//! | a signal of a fault (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, ...; none that people send), asked to stop or not | crashed | `game_crashed` |
//! | SIGKILL from us, after its heartbeat or its probes were lost | hung | the one of the loss, reported then |
//! | we had asked it to stop, or it had said that it is done | as asked | - |
//! | exit code 0 | of itself | -, but an event if it was not ready yet |
//! | SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT from somebody else | killed | -, but an event |
//! | any other exit code | exited | `game_exited` |
//! | not our child, while the instance was being taken down | of itself | - |
//! | not our child, while it served | vanished | `game_vanished` |
//! | not our child, before it was ready | gone | -, but an event |
//!
//! A game that we start is often a shell script around the real one, and a shell tells of a signal by exiting with 128 + its
//! number: 139 is a SIGSEGV. So such a code is read as that signal. Exit code 0 is the game's own word that all went well, and
//! outweighs that the kernel once killed a helper of it.

use super::fault::Fault;
use crate::core::process::EndStatus;

/// What was going on when a process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Moment {
    /// Whether, and how, it was asked to end.
    pub(super) asked: Option<Asked>,
    /// It was ready.
    pub(super) ready: bool,
    /// The instance is being taken down: nobody expects it to live.
    pub(super) ending: bool,
    /// Its time to become ready has run out.
    pub(super) late: bool,
    /// It is taken for dead although its process is there: its heartbeat or its probes are lost.
    pub(super) lost: Option<Fault>,
}

/// Who wanted it to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// It did: it said that it is done.
    Itself,
    /// We sent its stop signal.
    Stop,
    /// We sent SIGKILL.
    Kill,
}

/// What an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// By itself, with exit code 0.
    Clean {
        /// It had been ready before.
        ready: bool,
    },
    /// Because it was asked to.
    Asked,
    /// By itself, with another exit code.
    Exited(i32),
    /// By a signal that speaks of a fault.
    Crashed(i32),
    /// By the kernel, for want of memory.
    OutOfMemory,
    /// By a signal that people send; not ours.
    Killed(i32),
    /// By us: it did not become ready in its time.
    NeverReady,
    /// By our SIGKILL, after it had stopped to answer.
    Hung(Fault),
    /// It is gone, and nobody knows how; it served.
    Vanished,
    /// It is gone, and nobody knows how; it did not serve.
    Gone,
}

const KILL: i32 = 9;

/// What an end means.
pub(super) fn classify(status: EndStatus, oom_killed: bool, moment: &Moment) -> Ending {
    let signal = signal(status);
    if moment.late {
        return Ending::NeverReady;
    }
    let killed = signal == Some(KILL) && moment.asked != Some(Asked::Kill);
    if oom_killed && (killed || (moment.asked.is_none() && status != EndStatus::Code(0))) {
        return Ending::OutOfMemory;
    }
    if let Some(signal) = signal
        && !is_sent_by_people(signal)
    {
        return Ending::Crashed(signal);
    }
    match (moment.asked, moment.lost, status, signal) {
        (Some(Asked::Kill), Some(lost), _, Some(KILL)) => Ending::Hung(lost),
        (Some(_), ..) => Ending::Asked,
        (None, _, EndStatus::Code(0), _) => Ending::Clean { ready: moment.ready || moment.ending },
        (None, _, _, Some(signal)) => Ending::Killed(signal),
        (None, _, EndStatus::Code(code), None) => Ending::Exited(code),
        (None, _, EndStatus::Signal(signal), None) => Ending::Crashed(signal),
        (None, _, EndStatus::Unknown, _) if moment.ending => Ending::Clean { ready: true },
        (None, _, EndStatus::Unknown, _) if moment.ready => Ending::Vanished,
        (None, _, EndStatus::Unknown, _) => Ending::Gone,
    }
}

impl Ending {
    /// The word of the report that it is worth; `None` if it is no failure.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Clean { .. } | Self::Asked | Self::Killed(_) | Self::Gone => None,
            Self::Exited(_) => Some(Fault::GameExited),
            Self::Crashed(_) => Some(Fault::GameCrashed),
            Self::OutOfMemory => Some(Fault::GameOomKilled),
            Self::NeverReady => Some(Fault::NeverReady),
            Self::Hung(lost) => Some(lost),
            Self::Vanished => Some(Fault::GameVanished),
        }
    }

    /// Whether its report has gone out before: when its time had run out, or when it had stopped to answer.
    pub(super) fn is_reported_before(self) -> bool {
        match self {
            Self::NeverReady | Self::Hung(_) => true,
            Self::Clean { .. }
            | Self::Asked
            | Self::Exited(_)
            | Self::Crashed(_)
            | Self::OutOfMemory
            | Self::Killed(_)
            | Self::Vanished
            | Self::Gone => false,
        }
    }

    /// Whether it is worth a session event although it is no failure: somebody will ask where the game went.
    pub(super) fn is_worth_an_event(self) -> bool {
        match self {
            Self::Killed(_) | Self::Gone | Self::Clean { ready: false } => true,
            Self::Clean { ready: true }
            | Self::Asked
            | Self::Exited(_)
            | Self::Crashed(_)
            | Self::OutOfMemory
            | Self::NeverReady
            | Self::Hung(_)
            | Self::Vanished => false,
        }
    }

    /// Whether it is the end of a row of failures: the game has shown that it can do better.
    pub(super) fn is_good(self) -> bool {
        match self {
            Self::Clean { ready } => ready,
            Self::Asked => true,
            Self::Exited(_)
            | Self::Crashed(_)
            | Self::OutOfMemory
            | Self::Killed(_)
            | Self::NeverReady
            | Self::Hung(_)
            | Self::Vanished
            | Self::Gone => false,
        }
    }

    /// In words, for the drain, status and logs.
    pub(super) fn words(self, status: EndStatus) -> String {
        let how = how(status);
        match self {
            Self::Clean { ready: true } => format!("the game has ended by itself: {how}"),
            Self::Clean { ready: false } => format!("the game has ended by itself before it was ready: {how}"),
            Self::Asked => format!("the game has ended as it was asked to: {how}"),
            Self::Exited(_) => format!("the game has failed: {how}"),
            Self::Crashed(_) => format!("the game has crashed: {how}"),
            Self::OutOfMemory => format!("the kernel killed the game for want of memory: {how}"),
            Self::Killed(_) => format!("somebody killed the game: {how}"),
            Self::NeverReady => format!("the game did not become ready in game.ready_timeout and was stopped: {how}"),
            Self::Hung(_) => format!("the game hung and was killed: {how}"),
            Self::Vanished => "the game's process is gone while it served; how it ended is not known".to_owned(),
            Self::Gone => "the game's process is gone; how it ended is not known".to_owned(),
        }
    }

    /// The exit code that tells of it. A failure never looks like a success.
    pub(super) fn exit_code(self, status: EndStatus) -> u8 {
        let code = match status {
            EndStatus::Code(code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            EndStatus::Signal(signal) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(u8::MAX),
            EndStatus::Unknown => 0,
        };
        if code == 0 && self.fault().is_some() { 1 } else { code }
    }
}

/// The signal that ended it, or that a shell says ended its child.
pub(super) fn signal(status: EndStatus) -> Option<i32> {
    match status {
        EndStatus::Signal(signal) => Some(signal),
        EndStatus::Code(code) => Some(code - 128).filter(|signal| name(*signal).is_some()),
        EndStatus::Unknown => None,
    }
}

/// Signals that an operator or a service manager sends to end a process: SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM.
fn is_sent_by_people(signal: i32) -> bool {
    matches!(signal, 1 | 2 | 3 | KILL | 15)
}

fn how(status: EndStatus) -> String {
    match (status, signal(status)) {
        (EndStatus::Signal(signal), _) => signal_words(signal),
        (EndStatus::Code(code), Some(signal)) => {
            format!("exit code {code}, a shell's word for {}", signal_words(signal))
        }
        (EndStatus::Code(code), None) => format!("exit code {code}"),
        (EndStatus::Unknown, _) => "nobody knows how".to_owned(),
    }
}

/// "SIGSEGV", or "signal 42" where it has no name.
pub(super) fn signal_words(signal: i32) -> String {
    name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// The names of the signals of Linux on the architectures that we build for (signal(7)) whose default is to end the process.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
