//! What a run is to be: the seed and everything that a failing run is shrunk by. One line that replays it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The kinds of what can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// A request is lost: no connection, or silence until the time limit.
    Loss,
    /// The request is carried out, and its answer is lost.
    AnswerLoss,
    /// Request or answer take long: also longer than anybody waits, and then the request arrives all the same.
    Delay,
    /// A request that changes something arrives twice.
    Duplicate,
    /// An answer is told twice, the second time when nobody waits for it.
    Twice,
    /// 5xx, carried out or not, with and without Retry-After.
    ServerError,
    /// 429 or 503 with Retry-After.
    Throttle,
    /// 403 for want of a permission.
    Forbidden,
    /// An answer that nobody can read.
    Malformed,
    /// A held poll is cut: by accident, or always after the same time.
    Cut,
    /// Nothing works for a while, for everybody.
    Outage,
    /// A token dies before its time.
    TokenDeath,
    /// A login fails, or is refused.
    Login,
    /// Somebody else gets the session.
    Reassign,
    /// The session loses its instance, or is gone.
    Vanish,
    /// The older part of a stream of notifications is dropped.
    Trim,
    /// SIGKILL, at any moment, also in the middle of a write.
    Kill,
    /// The power is cut: what was not synced is lost or torn.
    PowerCut,
    /// The disk is full, read-only, or fails, for a while.
    Disk,
    /// The disk takes seconds.
    SlowDisk,
    /// The wall clock jumps.
    WallJump,
    /// The process stands still for a while.
    Stall,
    /// The game does not take a notification, or is not there to take it.
    Untaken,
    /// The game crashes.
    GameCrash,
    /// The agent is told to stop, or the game says that it is done.
    Stop,
    /// The secrets are read again.
    Reload,
}

impl Fault {
    pub(crate) const ALL: [Self; 26] = [
        Self::Loss,
        Self::AnswerLoss,
        Self::Delay,
        Self::Duplicate,
        Self::Twice,
        Self::ServerError,
        Self::Throttle,
        Self::Forbidden,
        Self::Malformed,
        Self::Cut,
        Self::Outage,
        Self::TokenDeath,
        Self::Login,
        Self::Reassign,
        Self::Vanish,
        Self::Trim,
        Self::Kill,
        Self::PowerCut,
        Self::Disk,
        Self::SlowDisk,
        Self::WallJump,
        Self::Stall,
        Self::Untaken,
        Self::GameCrash,
        Self::Stop,
        Self::Reload,
    ];

    pub(crate) fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.word() == word)
    }
}

/// Half-open ranges of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(pub(crate) Vec<(u64, u64)>);

impl Ranges {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|(from, to)| (*from..*to).contains(&number))
    }

    pub(crate) fn with(&self, from: u64, to: u64) -> Self {
        let mut all: Vec<_> = self.0.iter().copied().chain([(from, to)]).collect();
        all.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    fn parse(text: &str) -> Option<Self> {
        let range = |part: &str| match part.split_once('-') {
            Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
            None => part.parse().ok().map(|one: u64| (one, one + 1)),
        };
        text.split(',').filter(|part| !part.is_empty()).map(range).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            self.0.iter().map(|(from, to)| if to - from == 1 { from.to_string() } else { format!("{from}-{to}") });
        f.write_str(&parts.collect::<Vec<_>>().join(","))
    }
}

/// One world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// How long faults go on; then comes the calm, at whose end everything must be well.
    pub(crate) span: Duration,
    /// How many agents there are.
    pub(crate) agents: usize,
    /// Those that never start.
    pub(crate) absent: BTreeSet<usize>,
    pub(crate) without: BTreeSet<Fault>,
    /// Faults that are left out, by their number in the run.
    pub(crate) skip: Ranges,
    /// Print every event.
    pub(crate) trace: bool,
}

/// Agents of one world.
pub(crate) const AGENTS: usize = 8;
/// How long a world is troubled.
pub(crate) const SPAN: Duration = Duration::from_secs(60 * 3600);

impl Options {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            span: SPAN,
            agents: AGENTS,
            absent: BTreeSet::new(),
            without: BTreeSet::new(),
            skip: Ranges::default(),
            trace: false,
        }
    }

    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::new(0);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--trace" {
                options.trace = true;
                continue;
            }
            let value = *words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let wrong = || format!("{value:?} is no value for {word}");
            match *word {
                "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
                "--seconds" => options.span = Duration::from_secs(value.parse().map_err(|_| wrong())?),
                "--agents" => options.agents = value.parse().map_err(|_| wrong())?,
                "--absent" => {
                    let numbers = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    options.absent = numbers.map_err(|_| wrong())?;
                }
                "--without" => {
                    let faults = value.split(',').map(Fault::parse).collect::<Option<_>>();
                    options.without = faults.ok_or_else(wrong)?;
                }
                "--skip" => options.skip = Ranges::parse(value).ok_or_else(wrong)?,
                _ => return Err(format!("{word} is not known here")),
            }
        }
        Ok(options)
    }

    pub(crate) fn agent_days(&self) -> f64 {
        (self.agents - self.absent.len()) as f64 * self.span.as_secs_f64() / 86_400.0
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} --seconds {} --agents {}", self.seed, self.span.as_secs(), self.agents)?;
        if !self.absent.is_empty() {
            let absent: Vec<_> = self.absent.iter().map(ToString::to_string).collect();
            write!(f, " --absent {}", absent.join(","))?;
        }
        if !self.without.is_empty() {
            let without: Vec<_> = self.without.iter().map(|fault| fault.word()).collect();
            write!(f, " --without {}", without.join(","))?;
        }
        if !self.skip.0.is_empty() {
            write!(f, " --skip {}", self.skip)?;
        }
        Ok(())
    }
}
