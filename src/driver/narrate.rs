//! The one place that puts the core's notes into log lines: their level, their words, and one line per cause per minute.

use std::time::Instant;

use crate::core::action::Note;
use crate::core::call::FailureKind;
use crate::core::ids::InstanceName;
use crate::core::instance::Health;
use crate::core::phase::Phase;
use crate::telemetry::thin::{Pass, Thinner};

/// Tells the operator what the core notes.
#[derive(Debug)]
pub(super) struct Narrator {
    instance: InstanceName,
    thinner: Thinner,
    last_answer: Option<Health>,
}

impl Narrator {
    pub(super) fn new(instance: InstanceName) -> Self {
        Self { instance, thinner: Thinner::new(), last_answer: None }
    }

    pub(super) fn tell(&mut self, note: &Note, now: Instant) {
        let instance = self.instance.as_str();
        match note {
            Note::Phase { from, to: Phase::Superseded, why, .. } => tracing::error!(
                instance,
                from = from.as_str(),
                "superseded: {why}. The agent writes nothing any more and ends"
            ),
            Note::Phase { from, to, why, .. } => {
                tracing::info!(instance, from = from.as_str(), to = to.as_str(), "{}: {why}", to.as_str());
            }
            // A missing permission is a warning of its own, in the words that an operator needs.
            Note::CallFailed { kind, failure, .. } if failure.kind == FailureKind::Forbidden => {
                tracing::debug!(
                    instance,
                    call = kind.as_str(),
                    request_id = failure.request_id(),
                    backend_request_id = failure.backend_request_id(),
                    "{kind} was refused: {failure}"
                );
            }
            Note::CallFailed { kind, failure, retry_in } => {
                let cause = format!("{}/{}", kind.as_str(), failure.kind.as_str());
                let Pass::Say { suppressed } = self.thinner.pass(&cause, now) else { return };
                let retry_in_seconds = retry_in.map(|retry| retry.as_secs_f32());
                if is_routine(failure.kind) {
                    tracing::warn!(
                        instance,
                        call = kind.as_str(),
                        retry_in_seconds,
                        suppressed,
                        request_id = failure.request_id(),
                        backend_request_id = failure.backend_request_id(),
                        "{kind} failed: {failure}"
                    );
                } else {
                    tracing::error!(
                        instance,
                        call = kind.as_str(),
                        retry_in_seconds,
                        suppressed,
                        request_id = failure.request_id(),
                        backend_request_id = failure.backend_request_id(),
                        "{kind} was refused: {failure}"
                    );
                }
            }
            Note::HealthAnswered { sent, answered } => {
                let news = self.last_answer.replace(*answered) != Some(*answered);
                if sent != answered && news {
                    tracing::warn!(
                        instance,
                        sent = sent.as_str(),
                        answered = answered.as_str(),
                        "the backend disagrees with our health: it has had too few posts, or another idea"
                    );
                } else {
                    tracing::debug!(instance, sent = sent.as_str(), answered = answered.as_str(), "health accepted");
                }
            }
            Note::Verdict { health: Health::Healthy, reason } => tracing::info!(instance, "healthy: {reason}"),
            Note::Verdict { health, reason } => tracing::warn!(instance, "the game is {}: {reason}", health.as_str()),
            Note::Notified { fresh, repeated, unusable } => {
                if *unusable > 0
                    && let Pass::Say { suppressed } = self.thinner.pass("unusable", now)
                {
                    tracing::warn!(
                        instance,
                        unusable,
                        suppressed,
                        "some notifications could not be read; they were dropped"
                    );
                }
                tracing::debug!(instance, fresh, repeated, "notifications came");
            }
            Note::Acknowledged { count } => tracing::debug!(instance, count, "the game acknowledged notifications"),
            Note::SetAside { id, tries, reason } => tracing::warn!(
                instance,
                id = id.as_str(),
                tries,
                "a notification is set aside, for nobody would take it: {reason}. `rallyhere-agent notifications --set-aside` shows it"
            ),
            Note::ReportSent { what, label } => tracing::info!(instance, what, label, "report delivered"),
            Note::ReportDead { what, label, reason } => tracing::error!(
                instance,
                what,
                label,
                "the backend will never take this report: {reason}. It is kept among the dead letters"
            ),
            Note::Info { words } => tracing::info!(instance, "{words}"),
            Note::Warning { cause, words } => {
                // The words count: two permissions that are missing are two things to mend.
                if let Pass::Say { suppressed } = self.thinner.pass(&format!("{cause}: {words}"), now) {
                    tracing::warn!(instance, cause, suppressed, "{words}");
                }
            }
        }
    }
}

/// Whether waiting helps; otherwise somebody has to do something.
fn is_routine(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Unreachable
        | FailureKind::Cut
        | FailureKind::TimedOut
        | FailureKind::NoToken
        | FailureKind::Unauthorised
        | FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::Server
        | FailureKind::Malformed => true,
        FailureKind::Forbidden | FailureKind::Unsupported | FailureKind::Rejected | FailureKind::Redirected => false,
    }
}
