//! The log: lines on stderr, written by a thread of their own.
//!
//! **Architecture invariant:** whoever logs never waits. A line goes into a bounded queue; if that is full because nobody
//! reads stderr (a stopped journal, a full pipe of a container runtime), the line is dropped and counted, and the first line
//! after that says how many are missing. A stopped reader of stderr costs log lines and nothing else.

mod filter;
mod layer;
mod line;
mod writer;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::Dispatch;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

pub use self::filter::LevelError;
use self::layer::LineLayer;
use self::writer::Writer;
use crate::clock;
use crate::config::settings::{Log, LogFormat, Surroundings};

/// How long the end of the process waits for the last lines.
pub const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How long a panic waits for its line: the process may be about to end, or about to go on.
const PANIC_FLUSH_LIMIT: Duration = Duration::from_millis(50);

/// Why there is no log, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// log.level cannot be read.
    #[error("log.level cannot be used")]
    Level(#[from] LevelError),
    /// stderr could not be duplicated for the writer.
    #[error("stderr cannot be opened for the log")]
    Stderr(#[source] io::Error),
    /// The writer's thread did not start.
    #[error("the thread that writes the log did not start")]
    Thread(#[source] io::Error),
    /// There is a log already.
    #[error("the log of this process is set up already")]
    Installed,
    /// The log that the handle belongs to is gone.
    #[error("the log is gone; its level cannot be changed")]
    Gone(#[source] reload::Error),
}

/// The log, for those who steer it. Clones steer the same log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    writer: Arc<Writer>,
}

impl LogHandle {
    /// Changes the level at once, for every thread. `level` is written as in log.level.
    ///
    /// # Errors
    /// If the level cannot be read; the old one then stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let targets = filter::parse(level)?;
        self.filter.reload(targets).map_err(LogError::Gone)
    }

    /// How many lines were lost since the start: the queue was full, or stderr refused them.
    pub fn dropped(&self) -> u64 {
        self.writer.lost()
    }

    /// Waits until everything said so far is written, at most for `limit`; says whether it is. It blocks the thread:
    /// for the end of the process ([`FLUSH_LIMIT`]) and for tests.
    pub fn flush(&self, limit: Duration) -> bool {
        self.writer.flush(limit)
    }
}

/// Sets up the log of the process on stderr, and sends panics there instead of straight to stderr, where a stopped reader
/// would hold them up.
///
/// # Errors
/// If log.level cannot be read, stderr or a thread cannot be had, or there is a log already.
pub fn init(settings: &Log) -> Result<LogHandle, LogError> {
    // A descriptor of our own, without the lock of std's stderr: a writer that is stuck would hold that lock for ever.
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(LogError::Stderr)?;
    let (dispatch, handle) = build(settings, File::from(stderr))?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_already| LogError::Installed)?;
    log_panics(handle.clone());
    Ok(handle)
}

/// Makes a log over any writer, without a global: for tests, and for more than one log in a process.
///
/// # Errors
/// If log.level cannot be read or a thread cannot be had.
pub fn build(settings: &Log, out: impl io::Write + Send + 'static) -> Result<(Dispatch, LogHandle), LogError> {
    let (filter, reload) = reload::Layer::new(filter::parse(&settings.level)?);
    let format = settings.format;
    let say_lost = move |lost| line::lost(format, clock::wall(), lost);
    let writer = Arc::new(Writer::start(out, say_lost).map_err(LogError::Thread)?);
    let subscriber = Registry::default().with(filter).with(LineLayer::new(format, Arc::clone(&writer)));
    Ok((Dispatch::new(subscriber), LogHandle { filter: reload, writer }))
}

/// What log.format "auto" means here: the journal's lines if stderr is the journal, as `$JOURNAL_STREAM` says and the
/// descriptor confirms (systemd.exec(5): a child with another stderr inherits the variable), else text.
pub fn detect(surroundings: &Surroundings) -> LogFormat {
    let is_journal = rustix::fs::fstat(io::stderr().as_fd()).is_ok_and(|stderr| {
        let stream = surroundings.env.get("JOURNAL_STREAM").and_then(|stream| stream.split_once(':'));
        stream.is_some_and(|(device, inode)| device.parse() == Ok(stderr.st_dev) && inode.parse() == Ok(stderr.st_ino))
    });
    if is_journal { LogFormat::Journald } else { LogFormat::Text }
}

fn log_panics(handle: LogHandle) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let words = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no words");
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, thread = thread.name(), "a defect in the agent: panicked: {words}");
        let _written = handle.flush(PANIC_FLUSH_LIMIT);
    }));
}
