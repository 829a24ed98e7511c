//! The command that knows when the machine is going to be taken away: run again and again, judged by its exit code.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;
use crate::config::settings::NoticeCommand;
use crate::core::shutdown::{Notice, notice};
use crate::io::probe::exec;
use crate::telemetry::thin::{Pass, Thinner};

/// How long one run may take; then it is killed.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs it until it says that the machine ends.
pub(super) async fn run(settings: NoticeCommand, reasons: mpsc::Sender<String>) {
    let mut thinner = Thinner::new();
    loop {
        let next = clock::now() + settings.interval;
        let broken = match ask(&settings).await {
            Ok((Notice::Quiet, _)) => None,
            Ok((Notice::Terminate { reason }, _)) => {
                // Nobody listens any more: the agent ends.
                let _over = reasons.send(reason).await;
                return;
            }
            Ok((Notice::Broken, why)) | Err(why) => Some(why),
        };
        if let Some(why) = broken
            && let Pass::Say { suppressed } = thinner.pass("notice", clock::now())
        {
            tracing::warn!(suppressed, "the command of shutdown.notice does not work: {why}; nobody drains for that");
        }
        clock::sleep_until(Some(next)).await;
    }
}

/// One run: what it means, and how it ended, in words.
pub(super) async fn ask(settings: &NoticeCommand) -> Result<(Notice, String), String> {
    let ran = tokio::select! {
        biased;
        ran = exec::run(&settings.command, None) => ran?,
        () = clock::sleep(LIMIT) => return Err(format!("it took more than {} s and was killed", LIMIT.as_secs())),
    };
    let how = ran.line.as_ref().map_or_else(|| ran.how(), |line| format!("{}: {line}", ran.how()));
    Ok((notice(ran.status.code(), ran.line.as_deref()), how))
}
