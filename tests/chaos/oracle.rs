//! Reads the time line of a run and says what was not as promised. It knows no scenario and has no clock: every scenario is judged
//! by the same rules, and a time line that was kept can be judged again.
//!
//! | file | what it holds | promises |
//! |---|---|---|
//! | `traffic` | every request valid; never more than a healthy agent and a tenth; logins | 10, 15, 25 |
//! | `beats` | gaps of the health posts, bursts, the first post after a start | 8, 19 |
//! | `messages` | notifications: all, in order, repeated only after a crash | 5 |
//! | `reports` | all that was accepted, in order, nothing that was not; no copy of what was answered | 1, 2 |
//! | `process` | no end, no panic, no secret, memory and descriptors; the match stays open | 11, 16, 17 |

mod beats;
mod messages;
mod process;
mod reports;
#[cfg(test)]
mod tests;
mod traffic;

use crate::timeline::{Bounds, Entry, What};

/// A run, judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// What was not as promised; empty if all was.
    pub(crate) findings: Vec<String>,
    pub(crate) figures: Figures,
}

/// What is worth a column in the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: u64,
    pub(crate) requests: usize,
    /// Requests by those of a healthy agent in the same time.
    pub(crate) ratio: f64,
    pub(crate) ills: usize,
    pub(crate) kills: usize,
    /// The longest time between two health posts where none may be missing, and until the first one after trouble.
    pub(crate) gap_ms: u64,
    pub(crate) back_ms: u64,
    pub(crate) published: usize,
    pub(crate) repeated: usize,
    pub(crate) accepted: usize,
    pub(crate) copies: usize,
    pub(crate) peak_kib: u64,
    pub(crate) descriptors: u64,
    /// Calls of the game, the 99th of a hundred.
    pub(crate) local_p99_ms: f64,
    pub(crate) durable_p99_ms: f64,
    /// How late the machine was at most.
    pub(crate) lag_ms: u64,
    pub(crate) notes: Vec<String>,
}

/// A span in which something was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
    silent: bool,
    blind: bool,
}

/// What every rule is given.
struct Case<'a> {
    entries: &'a [Entry],
    bounds: Bounds,
    spans: Vec<Span>,
    /// Until when the rules hold: the agent was told to stop, or the last entry.
    end: u64,
}

impl<'a> Case<'a> {
    fn new(entries: &'a [Entry]) -> Option<Self> {
        let bounds =
            entries.iter().find_map(|entry| if let What::Bounds(bounds) = entry.what { Some(bounds) } else { None })?;
        let last = entries.last().map_or(0, |entry| entry.at_ms);
        let told = entries.iter().find(|entry| entry.what == What::Told).map(|entry| entry.at_ms);
        Some(Self { entries, bounds, spans: spans(entries, last), end: told.unwrap_or(last) })
    }

    /// The moments of the entries that fit.
    fn times(&self, fits: impl Fn(&What) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|entry| fits(&entry.what)).map(|entry| entry.at_ms).collect()
    }

    /// What the machine itself was late by in a span, twice: the agent and the one who looks.
    fn lag(&self, from: u64, to: u64) -> u64 {
        let lags = self.entries.iter().filter(|entry| (from..=to).contains(&entry.at_ms));
        let lags = lags.filter_map(|entry| if let What::Lag { ms } = entry.what { Some(ms) } else { None });
        2 * lags.max().unwrap_or(0)
    }

    fn kills(&self) -> Vec<u64> {
        self.times(|what| *what == What::Killed)
    }
}

fn spans(entries: &[Entry], last: u64) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open: Vec<Span> = Vec::new();
    for Entry { at_ms, what } in entries {
        match what {
            What::Trouble { silent, blind, .. } => {
                open.push(Span { from: *at_ms, to: last, silent: *silent, blind: *blind });
            }
            What::Calm => spans.extend(open.drain(..).map(|span| Span { to: *at_ms, ..span })),
            _ => {}
        }
    }
    spans.extend(open);
    spans
}

/// Judges a run.
pub(crate) fn judge(entries: &[Entry]) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(case) = Case::new(entries) else {
        verdict.findings.push("the time line has no bounds: it was not written to its end".to_owned());
        return verdict;
    };
    verdict.figures.seconds = case.end / 1000;
    verdict.figures.lag_ms = case.lag(0, case.end) / 2;
    traffic::judge(&case, &mut verdict);
    beats::judge(&case, &mut verdict);
    messages::judge(&case, &mut verdict);
    reports::judge(&case, &mut verdict);
    process::judge(&case, &mut verdict);
    // One cause is often seen a hundred times.
    const SHOWN: usize = 12;
    if verdict.findings.len() > SHOWN {
        let more = verdict.findings.len() - SHOWN;
        verdict.findings.truncate(SHOWN);
        verdict.findings.push(format!("and {more} findings more"));
    }
    verdict
}
