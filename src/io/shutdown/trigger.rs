//! The trigger file: looked for each second. One `stat` a second is less than what it takes to be told of a directory that
//! may not be there yet.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;
use crate::core::shutdown::{Found, Pulled, Trigger};
use crate::telemetry::thin::{Pass, Thinner};

/// How often.
const LOOK: Duration = Duration::from_secs(1);
/// The most bytes of the first line.
const LINE_LIMIT: u64 = 4096;

/// Looks until it was seen.
pub(super) async fn run(path: PathBuf, reasons: mpsc::Sender<String>) {
    let mut trigger = Trigger::default();
    let mut thinner = Thinner::new();
    loop {
        let place = path.clone();
        // On a thread that may block: a file system of another machine may hang.
        let found = tokio::task::spawn_blocking(move || look(&place)).await;
        let found = found.unwrap_or_else(|lost| Found::Unusable(lost.to_string()));
        match trigger.look(found) {
            Pulled::No => {}
            Pulled::Unknown(why) => {
                if let Pass::Say { suppressed } = thinner.pass("trigger", clock::now()) {
                    tracing::warn!(path = %path.display(), suppressed, "the trigger file cannot be looked at: {why}; nobody drains for that");
                }
            }
            Pulled::Yes { reason, at_start } => {
                if at_start {
                    tracing::warn!(
                        path = %path.display(),
                        "the trigger file was there at the start: nobody is served as long as it is; remove it, then start the agent again"
                    );
                }
                // Nobody listens any more: the agent ends.
                let _over = reasons.send(reason).await;
                return;
            }
        }
        clock::sleep(LOOK).await;
    }
}

fn look(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() => Found::File(first_line(path)),
        Ok(_) => Found::Unusable("it is no file".to_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Found::Nothing,
        Err(error) => Found::Unusable(error.to_string()),
    }
}

/// Empty where it cannot be read: that it is there says enough.
fn first_line(path: &Path) -> String {
    let mut bytes = Vec::new();
    // What was read before a failure is kept.
    let _read = File::open(path).and_then(|file| file.take(LINE_LIMIT).read_to_end(&mut bytes));
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}
