//! How far a drain is, in one line.

use jiff::Timestamp;

use crate::cli::clean;
use crate::io::local::status::{Players, Status};

/// The line, and what of it is worth a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// The same words without the time that runs.
    pub(super) gist: String,
}

pub(super) fn render(status: &Status, now: Timestamp) -> Line {
    let phase = clean(&status.phase);
    let reason = status.drain.as_ref().map(|drain| format!(" ({})", clean(&drain.reason))).unwrap_or_default();
    let mut parts = Vec::new();
    if status.phase == "draining" {
        parts.extend(status.game.players.as_ref().map(players));
    }
    parts.push(match status.outbox.waiting {
        0 => "no report waits".to_owned(),
        1 => "1 report waits for the backend".to_owned(),
        waiting => format!("{waiting} reports wait for the backend"),
    });
    let rest = parts.join(", ");
    let left = status.drain.as_ref().filter(|_| status.phase == "draining").and_then(|drain| drain.deadline);
    let left =
        left.map(|at| format!(", at most {} s more", at.duration_since(now).as_secs().max(0))).unwrap_or_default();
    Line { text: format!("{phase}{reason}: {rest}{left}"), gist: format!("{phase}{reason}: {rest}") }
}

fn players(players: &Players) -> String {
    match (players.count, players.capacity) {
        (1, 0) => "1 player".to_owned(),
        (count, 0) => format!("{count} players"),
        (count, capacity) => format!("{count} of {capacity} players"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::local::status::{Drain, Game, Outbox};

    fn status(phase: &'static str, players: Option<Players>, waiting: usize) -> Status {
        Status {
            phase: phase.into(),
            game: Game { players, ..Game::default() },
            outbox: Outbox { waiting, ..Outbox::default() },
            drain: Some(Drain { reason: "patch\nday".to_owned(), deadline: "2026-11-22T12:01:00Z".parse().ok() }),
            ..Status::default()
        }
    }

    #[test]
    fn a_line_says_phase_players_time_and_what_waits() {
        let now = "2026-11-22T12:00:18Z".parse().unwrap();
        let line = |status: &Status| render(status, now);
        let draining = line(&status("draining", Some(Players { count: 3, capacity: 16 }), 2));
        let gist = "draining (patch\\nday): 3 of 16 players, 2 reports wait for the backend";
        assert_eq!(draining, Line { text: format!("{gist}, at most 42 s more"), gist: gist.to_owned() });
        let unknown = line(&status("draining", None, 0));
        assert_eq!(unknown.text, "draining (patch\\nday): no report waits, at most 42 s more");
        let closing = line(&status("closing", Some(Players { count: 0, capacity: 0 }), 1));
        assert_eq!(closing.text, "closing (patch\\nday): 1 report waits for the backend");
    }
}
