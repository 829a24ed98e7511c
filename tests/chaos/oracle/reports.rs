//! The ledger of reports: accepted against arrived.

use std::collections::{HashMap, HashSet};

use super::{Case, Verdict};
use crate::timeline::What;

pub(super) fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    let (mut accepted, mut denied) = (Vec::new(), HashSet::new());
    let mut arrivals: HashMap<&str, Vec<u64>> = HashMap::new();
    let mut first = Vec::new();
    let mut answered: HashMap<&str, u64> = HashMap::new();
    for entry in case.entries {
        match &entry.what {
            What::Accepted { report } => accepted.push(report.as_str()),
            What::Denied { report } => {
                denied.insert(report.as_str());
            }
            What::Arrived { report } => {
                let seen = arrivals.entry(report).or_default();
                if seen.is_empty() {
                    first.push(report.as_str());
                }
                seen.push(entry.at_ms);
            }
            What::Delivered { report, clean: true } => {
                answered.entry(report).or_insert(entry.at_ms);
            }
            _ => {}
        }
    }
    verdict.figures.accepted = accepted.len();
    let lost: Vec<&str> = accepted.iter().filter(|report| !arrivals.contains_key(**report)).copied().collect();
    if !lost.is_empty() {
        verdict.findings.push(format!("accepted and never arrived: {}", lost.join(", ")));
    }
    for report in denied.iter().filter(|report| arrivals.contains_key(**report)) {
        verdict.findings.push(format!("{report} arrived, though it was refused"));
    }
    let known: HashSet<&str> = accepted.iter().copied().collect();
    let in_order: Vec<&str> = first.iter().filter(|report| known.contains(**report)).copied().collect();
    let wanted: Vec<&str> = accepted.iter().filter(|report| arrivals.contains_key(**report)).copied().collect();
    if in_order != wanted {
        let at = in_order.iter().zip(&wanted).position(|(got, wanted)| got != wanted).unwrap_or_default();
        verdict.findings.push(format!("out of order: {} where {} was accepted", in_order[at], wanted[at]));
    }
    copies(case, verdict, &arrivals, &answered);
}

/// What was answered as it should be is not sent again, unless the agent was killed before it could write that down; one kill puts
/// at most one delivery in doubt.
fn copies(case: &Case<'_>, verdict: &mut Verdict, arrivals: &HashMap<&str, Vec<u64>>, answered: &HashMap<&str, u64>) {
    let kills = case.kills();
    let mut in_doubt = 0;
    for (report, times) in arrivals {
        verdict.figures.copies += times.len() - 1;
        let Some(told) = answered.get(report) else { continue };
        for again in times.iter().filter(|at| **at > *told) {
            let blind = case.spans.iter().any(|span| span.blind && span.from <= *told && *told <= span.to);
            if kills.iter().any(|kill| (*told..=*again).contains(kill)) {
                in_doubt += 1;
            } else if !blind {
                verdict
                    .findings
                    .push(format!("{again} ms: {report} was sent again, {} ms after its answer", again - told));
            }
        }
    }
    if in_doubt > kills.len() {
        verdict.findings.push(format!("{in_doubt} copies after {} kills", kills.len()));
    }
}
