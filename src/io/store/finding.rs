//! What the store has to tell: findings about the files, why it could not be opened, and how it is now.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::core::event::StoreFault;
use crate::core::ids::InstanceName;

/// Something about the state directory that an operator should know. Nothing of it stops the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A file was damaged; what was whole in it is in use.
    #[error(
        "{file} was damaged: {lost} bytes in {places} place(s) could not be read, {kept} records could; \
         the damaged file is kept as {aside}"
    )]
    Damaged {
        /// Which file.
        file: &'static str,
        /// Under which name it is kept.
        aside: String,
        /// Records that were whole.
        kept: u64,
        /// Bytes that were not.
        lost: u64,
        /// In how many places.
        places: u64,
    },
    /// A file ended in an unfinished record, as a power cut leaves it. What was promised to a caller is not in there.
    #[error("{file} ended in an unfinished record of {lost} bytes, as after a power cut; the file is kept as {aside}")]
    Torn {
        /// Which file.
        file: &'static str,
        /// Under which name it is kept.
        aside: String,
        /// Bytes of the unfinished record.
        lost: u64,
    },
    /// A file could not be read at all, or nothing in it is ours.
    #[error("{file} could not be used ({why}); it is kept as {aside}")]
    Foreign {
        /// Which file.
        file: &'static str,
        /// Under which name it is kept.
        aside: String,
        /// Why.
        why: String,
    },
    /// A file has whole records of a kind or version that this agent does not know.
    #[error("{file} has {count} record(s) of a newer agent, which were left out; the file is kept as {aside}")]
    Unknown {
        /// Which file.
        file: &'static str,
        /// Under which name it is kept.
        aside: String,
        /// How many.
        count: u64,
    },
    /// Records are missing between those that are there.
    #[error("{missing} record(s) before number {next} of {file} are missing")]
    Gap {
        /// Which file.
        file: &'static str,
        /// The first one after the gap.
        next: u64,
        /// How many.
        missing: u64,
    },
    /// A file that should be there is not.
    #[error("{file} is missing; what it held is lost")]
    Missing {
        /// Which file.
        file: &'static str,
    },
    /// The state was written on another machine: a cloned image, or a volume that moved. It is archived.
    #[error("the state was written on another machine: it is archived, and the agent begins anew")]
    OtherMachine,
    /// What was remembered of an instance belongs to another session, allocation, instance id or machine.
    #[error(
        "the state of instance {instance} belongs to another session, allocation, instance id or machine: it is not replayed, \
         and kept in snapshot.archived-* and log.archived-*"
    )]
    Archived {
        /// Its name in the configuration.
        instance: InstanceName,
    },
    /// The directory cannot be used; the agent runs without durability until it can.
    #[error("the state directory cannot be used, nothing is durable until it can be: {why}")]
    Unusable {
        /// Why.
        why: String,
    },
}

impl Finding {
    /// Every word of [`Self::kind`].
    pub const KINDS: [&str; 9] =
        ["damaged", "torn", "foreign", "unknown", "gap", "missing", "other_machine", "archived", "unusable"];

    /// A short stable word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::Torn { .. } => "torn",
            Self::Foreign { .. } => "foreign",
            Self::Unknown { .. } => "unknown",
            Self::Gap { .. } => "gap",
            Self::Missing { .. } => "missing",
            Self::OtherMachine => "other_machine",
            Self::Archived { .. } => "archived",
            Self::Unusable { .. } => "unusable",
        }
    }
}

/// Why the state directory may not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another agent has it (exit code 75).
    #[error("the state directory {} is in use by {holder}; stop that agent, or give this one a state.dir of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// "process N", from the lock file, or "another process".
        holder: String,
    },
    /// It belongs to somebody else.
    #[error(
        "the state directory {} belongs to user {owner}, the agent runs as user {user}; \
         `chown -R {user} {}`, or run the agent as user {owner}", dir.display(), dir.display()
    )]
    NotOwned {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// Ours.
        user: u32,
    },
    /// Others may look or write into it.
    #[error("the state directory {} is open to other users (mode {mode:04o}); `chmod 0700 {}`", dir.display(), dir.display())]
    TooOpen {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An operation failed.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: String,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

/// How the store is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// What is wrong, if anything; gone once everything is on disk again.
    pub fault: Option<StoreFault>,
    /// What was tried and what came back, in words, while there is a fault.
    pub why: Option<String>,
    /// How many batches were refused since the start.
    pub faults: u64,
    /// Bytes of snapshot and log.
    pub bytes: u64,
    /// A batch was refused, but the disk would not take it back: should the agent die before the disk is well again,
    /// the batch may come back. Gone with the fault.
    pub in_doubt: bool,
    /// What was found in the directory since the start.
    pub findings: Arc<Vec<Finding>>,
}

/// Something that did not work, on the way to a fault.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What it amounts to.
    pub(super) fault: StoreFault,
    /// What was tried and what came back.
    pub(super) why: String,
}

impl Trouble {
    /// For `map_err`: "could not WHAT: ERROR".
    pub(super) fn during(what: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { fault: fault_of(&error), why: format!("could not {what}: {error}") }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Io { source, .. } => Self { fault: fault_of(source), why: format!("{error}: {source}") },
            OpenError::Locked { .. } | OpenError::NotOwned { .. } | OpenError::TooOpen { .. } => {
                Self { fault: StoreFault::Failed, why: error.to_string() }
            }
        }
    }
}

/// The fault that an error of the disk amounts to.
pub(super) fn fault_of(error: &io::Error) -> StoreFault {
    use io::ErrorKind;
    #[expect(clippy::wildcard_enum_match_arm, reason = "std's list of errors is open")]
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreFault::Full,
        ErrorKind::ReadOnlyFilesystem => StoreFault::ReadOnly,
        _ => StoreFault::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed() {
        let (file, aside) = ("log", String::new());
        let every = [
            Finding::Damaged { file, aside: aside.clone(), kept: 0, lost: 0, places: 0 },
            Finding::Torn { file, aside: aside.clone(), lost: 0 },
            Finding::Foreign { file, aside: aside.clone(), why: String::new() },
            Finding::Unknown { file, aside, count: 0 },
            Finding::Gap { file, next: 0, missing: 0 },
            Finding::Missing { file },
            Finding::OtherMachine,
            Finding::Archived { instance: InstanceName::parse("default").unwrap() },
            Finding::Unusable { why: String::new() },
        ];
        assert_eq!(every.each_ref().map(Finding::kind), Finding::KINDS);
    }
}
