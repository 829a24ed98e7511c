//! The process, what it said, and what became of its instance.

use super::{Case, Verdict};
use crate::timeline::What;

pub(super) fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    let mut told = false;
    let mut joinable = false;
    let (mut log, mut status) = (0, 0);
    let mut local = Vec::new();
    let mut durable = Vec::new();
    for entry in case.entries {
        let at = entry.at_ms;
        match &entry.what {
            What::Told => told = true,
            What::Exited { code } if !told => {
                verdict.findings.push(format!("{at} ms: it ended by itself, with {code:?}"))
            }
            What::Exited { code } if *code != Some(0) => verdict.findings.push(format!("{at} ms: ended with {code:?}")),
            What::Killed => verdict.figures.kills += 1,
            What::Met { .. } => verdict.figures.ills += 1,
            What::Request { struck: true, .. } => verdict.figures.ills += 1,
            What::Shown { join_status } if join_status == "joinable" => joinable = true,
            What::Shown { join_status } if joinable && !told => {
                verdict.findings.push(format!("{at} ms: the instance was joinable, and is {join_status:?} now"));
            }
            What::Phase { phase }
                if joinable && !told && ["draining", "closing", "ended", "superseded"].contains(&phase.as_str()) =>
            {
                verdict.findings.push(format!("{at} ms: phase {phase} in the middle of a match"));
            }
            What::Sample { peak_kib, descriptors, .. } => {
                verdict.figures.peak_kib = verdict.figures.peak_kib.max(*peak_kib);
                verdict.figures.descriptors = verdict.figures.descriptors.max(*descriptors);
            }
            What::Scanned { place, bytes } if place == "log" => log += bytes,
            What::Scanned { place, bytes } if place == "status" => status += bytes,
            What::Leak { place, which } => verdict.findings.push(format!("{at} ms: {which} is in its {place}")),
            What::Fault { line } => verdict.findings.push(format!("{at} ms: a fault of ours: {line}")),
            What::Never { what } => verdict.findings.push(format!("{at} ms: never seen: {what}")),
            What::Broken { words } => verdict.findings.push(format!("{at} ms: {words}")),
            What::Note { words } => verdict.figures.notes.push(words.clone()),
            What::Local { micros, durable: true } => durable.push(*micros),
            What::Local { micros, durable: false } => local.push(*micros),
            _ => {}
        }
    }
    if log == 0 || status == 0 {
        verdict.findings.push("nothing was there to look for secrets in".to_owned());
    }
    let figures = &mut verdict.figures;
    figures.local_p99_ms = p99(local);
    figures.durable_p99_ms = p99(durable);
    let (peak, descriptors) = (figures.peak_kib, figures.descriptors);
    if peak > case.bounds.memory_kib {
        verdict.findings.push(format!("{peak} KiB resident at the peak, and {} may be", case.bounds.memory_kib));
    }
    if descriptors > case.bounds.descriptors {
        verdict.findings.push(format!("{descriptors} descriptors, and {} may be", case.bounds.descriptors));
    }
}

/// In milliseconds.
fn p99(mut micros: Vec<u64>) -> f64 {
    micros.sort_unstable();
    let rank = (micros.len() * 99).div_ceil(100).max(1) - 1;
    micros.get(rank).map_or(0.0, |micros| *micros as f64 / 1000.0)
}
