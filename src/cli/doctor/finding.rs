//! What was found, and how it is shown.

use std::io;

use serde::Serialize;

use super::super::{Terminal, clean};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Nothing can be said, and the detail tells why.
    NotChecked,
    /// As it should be.
    Ok,
    /// The agent runs, but somebody should look.
    Warn,
    /// The agent will not do its work.
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    result: Verdict,
    detail: String,
    advice: Option<String>,
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Findings {
    all: Vec<Finding>,
    json: bool,
    shown: usize,
}

impl Findings {
    /// Nothing yet. As JSON they are shown all at once, at the end.
    pub(super) fn new(json: bool) -> Self {
        Self { all: Vec::new(), json, shown: 0 }
    }

    pub(super) fn ok(&mut self, check: &str, detail: &str) {
        self.add(check, Verdict::Ok, detail, None);
    }

    pub(super) fn warn(&mut self, check: &str, detail: &str, advice: &str) {
        self.add(check, Verdict::Warn, detail, Some(advice));
    }

    pub(super) fn fail(&mut self, check: &str, detail: &str, advice: &str) {
        self.add(check, Verdict::Fail, detail, Some(advice));
    }

    pub(super) fn not_checked(&mut self, check: &str, why: &str) {
        self.add(check, Verdict::NotChecked, why, None);
    }

    fn add(&mut self, check: &str, result: Verdict, detail: &str, advice: Option<&str>) {
        // Much of it comes from files, from the machine and from the backend.
        let detail = clean(detail);
        self.all.push(Finding { check: clean(check), result, detail, advice: advice.map(clean) });
    }

    /// The worst of all.
    pub(super) fn worst(&self) -> Verdict {
        self.all.iter().map(|finding| finding.result).max().unwrap_or(Verdict::Ok)
    }

    /// Shows what has not been shown yet.
    pub(super) fn show(&mut self, terminal: &mut Terminal<'_>) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        for finding in self.all.iter().skip(self.shown) {
            let Finding { check, result, detail, advice } = finding;
            let line = match result {
                Verdict::NotChecked => format!("-     not checked: {check}: {detail}"),
                Verdict::Ok => format!("ok    {check}: {detail}"),
                Verdict::Warn => format!("warn  {check}: {detail}"),
                Verdict::Fail => format!("fail  {check}: {detail}"),
            };
            terminal.say(&line)?;
            if let Some(advice) = advice {
                terminal.say(&format!("      -> {advice}"))?;
            }
        }
        self.shown = self.all.len();
        Ok(())
    }

    /// The end: all as JSON, or the sum.
    pub(super) fn tell(&mut self, terminal: &mut Terminal<'_>) -> io::Result<()> {
        if self.json {
            return terminal.say(&serde_json::to_string_pretty(&self.all).map_err(io::Error::other)?);
        }
        self.show(terminal)?;
        let count = |wanted| self.all.iter().filter(|finding| finding.result == wanted).count();
        let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
        terminal
            .say(&format!("\n{ok} ok, {warn} to look at, {fail} failed, {} not checked", count(Verdict::NotChecked)))
    }
}
