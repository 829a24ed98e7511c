//! What the backend is told of a failure: a fubar with one word of a small vocabulary, and beside it a session event with
//! everything that helps to find out why.
//!
//! | event_code | when |
//! |---|---|
//! | `game_ended` | a failure ended the game; or somebody killed it, or it ended before it was ready |
//! | `game_not_started` | it could not be started, or found |
//! | `game_not_ready` | it did not become ready in game.ready_timeout |
//!
//! | custom_data | value; left out where it is not known, because the contract refuses empty values |
//! |---|---|
//! | `error` | the word of the fubar report |
//! | `count` | how many failures in a row this is |
//! | `phase` | where in its life the instance was |
//! | `signal`, `exit_code` | how the process ended |
//! | `core` | the path of its core file, or "yes" |
//! | `uptime_seconds`, `cpu_seconds` | since its start |
//! | `memory`, `memory_peak`, `memory_limit` | in bytes |
//! | `health`, `health_reason` | our verdict before the end |
//! | `probes` | what each found last, a line each |
//! | `log` | the newest lines of its output that fit into 4096 characters |

use super::Game;
use super::ending::{self, Ending};
use super::fault::Fault;
use super::verdict::Verdict;
use crate::core::call::SessionEvent;
use crate::core::common::Common;
use crate::core::durable::{Content, Record};
use crate::core::instance::{CUSTOM_VALUE_LIMIT, CustomData};
use crate::core::process::{End, EndStatus, Figures};

pub(super) const ENDED: &str = "game_ended";
pub(super) const NOT_STARTED: &str = "game_not_started";
pub(super) const NOT_READY: &str = "game_not_ready";

/// Reports of our own, and what is remembered with them: one batch of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::core) struct Filing {
    pub(in crate::core) contents: Vec<Content>,
    pub(in crate::core) records: Vec<Record>,
}

/// A fubar report of this instance; the session's region, if it has one, is filled in when it is sent.
pub(in crate::core) fn fubar(common: &Common, error: String) -> Content {
    Content::Fubar {
        error,
        source_provider: common.params.source_provider.clone(),
        matchmaking_profile_id: common.params.matchmaking_profile_id.clone(),
        region: common.params.region.clone(),
    }
}

/// A session event of now.
pub(super) fn event(common: &Common, code: &str, words: &str, custom_data: CustomData) -> Content {
    Content::Event(SessionEvent {
        event_code: code.to_owned(),
        timestamp: common.wall(),
        description: Some(cut(words)),
        custom_data,
    })
}

/// What is known of a game at this moment.
pub(super) fn facts(common: &Common, game: &Game, verdict: &Verdict) -> CustomData {
    let mut data = CustomData::new();
    put(&mut data, "phase", common.phase.as_str());
    put(&mut data, "health", verdict.health.as_str());
    put(&mut data, "health_reason", &verdict.reason);
    let probes: Vec<String> = game
        .probes(common)
        .into_iter()
        .map(|probe| {
            let health = probe.health.map_or("nothing yet", crate::core::instance::Health::as_str);
            format!("{}: {health}: {}", probe.name, probe.reason)
        })
        .collect();
    put(&mut data, "probes", &probes.join("\n"));
    put_figures(&mut data, &game.figures);
    data
}

/// How its process ended.
pub(super) fn put_end(data: &mut CustomData, end: &End, ending: Ending) {
    if let EndStatus::Code(code) = end.status {
        put(data, "exit_code", &code.to_string());
    }
    if let Some(signal) = ending::signal(end.status) {
        put(data, "signal", &ending::signal_words(signal));
    }
    if let Some(core) = &end.core {
        put(data, "core", if core.is_empty() { "yes" } else { core });
    }
    if let Some(fault) = ending.fault() {
        put(data, "error", fault.as_str());
    }
    put(data, "uptime_seconds", &seconds(end.uptime));
    put_figures(data, &end.figures);
    put(data, "log", &newest(&end.tail));
}

/// Which failure it is, of how many.
pub(super) fn put_count(data: &mut CustomData, fault: Fault, count: u32) {
    put(data, "error", fault.as_str());
    put(data, "count", &count.to_string());
}

fn put_figures(data: &mut CustomData, figures: &Figures) {
    let Figures { memory, memory_peak, memory_limit, cpu, cores: _ } = figures;
    for (key, bytes) in [("memory", memory), ("memory_peak", memory_peak), ("memory_limit", memory_limit)] {
        if let Some(bytes) = bytes {
            put(data, key, &bytes.to_string());
        }
    }
    if let Some(cpu) = cpu {
        put(data, "cpu_seconds", &seconds(*cpu));
    }
}

fn seconds(duration: std::time::Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

fn put(data: &mut CustomData, key: &str, value: &str) {
    if !value.is_empty() {
        data.insert(key.to_owned(), cut(value));
    }
}

/// The beginning of a text, as far as a value of custom_data or a description may go.
fn cut(text: &str) -> String {
    text.chars().take(CUSTOM_VALUE_LIMIT).collect()
}

/// The newest lines that fit; of a newest line that is too long, its end.
fn newest(lines: &[String]) -> String {
    let mut room = CUSTOM_VALUE_LIMIT;
    let mut kept: Vec<&str> = Vec::new();
    for line in lines.iter().rev() {
        let length = line.chars().count() + usize::from(!kept.is_empty());
        if length > room {
            if kept.is_empty() {
                let from = line.char_indices().rev().nth(room - 1).map_or(0, |(at, _)| at);
                kept.push(line.get(from..).unwrap_or_default());
            }
            break;
        }
        room -= length;
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_newest_lines_are_kept_whole() {
        assert_eq!(newest(&[]), "");
        assert_eq!(newest(&lines(&["one", "", "three"])), "one\n\nthree");
        let long = "x".repeat(4000);
        assert_eq!(newest(&lines(&["old", &long, "new"])), format!("old\n{long}\nnew"));
        let long = "x".repeat(4092);
        assert_eq!(newest(&lines(&["old", &long, "new"])), format!("{long}\nnew"));
        assert_eq!(newest(&lines(&["old", &"x".repeat(4093), "new"])), "new");
    }

    #[test]
    fn of_a_line_that_is_too_long_its_end_is_kept_at_a_character() {
        let line = format!("begin{}end", "ä".repeat(5000));
        let kept = newest(&lines(&["old", &line]));
        assert_eq!(kept.chars().count(), CUSTOM_VALUE_LIMIT);
        assert!(kept.ends_with("ääend"));
    }

    #[test]
    fn an_empty_value_is_left_out_and_a_long_one_cut() {
        let mut data = CustomData::new();
        put(&mut data, "nothing", "");
        put(&mut data, "long", &"ä".repeat(5000));
        assert_eq!(data.keys().collect::<Vec<_>>(), ["long"]);
        assert_eq!(data["long"].chars().count(), CUSTOM_VALUE_LIMIT);
    }
}
