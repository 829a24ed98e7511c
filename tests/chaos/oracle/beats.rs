//! The cadence of health.

use super::{Case, Verdict};
use crate::timeline::What;

/// promises.md 8: never above so many cadences.
const LIMIT: f64 = 1.25;
/// A post, its retry, and the next post fit into one cadence; more are a burst.
const IN_A_CADENCE: usize = 3;

pub(super) fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    let beats: Vec<u64> =
        case.times(|what| matches!(what, What::Beat { .. })).into_iter().filter(|at| *at <= case.end).collect();
    let in_time = (case.bounds.cadence_ms as f64 * LIMIT) as u64 + case.bounds.slack_ms;
    let away = away(case);
    let starts = case.times(|what| matches!(what, What::Started { .. }));
    // The end counts as a post: the last one must not have been too long ago.
    let ends = beats.iter().copied().chain([case.end]).skip(1);
    for (from, to) in beats.iter().copied().zip(ends) {
        let limit = in_time + case.lag(from, to);
        // What follows a start is judged by the start.
        if away.iter().any(|(gone, back)| from <= *back && *gone <= to) {
            continue;
        }
        let silent = case.spans.iter().filter(|span| span.silent && span.from <= to && from <= span.to);
        match silent.map(|span| span.to).max() {
            // Still in trouble.
            Some(until) if until >= to => {}
            Some(until) => {
                let back = to - until.max(from);
                verdict.figures.back_ms = verdict.figures.back_ms.max(back);
                if back > limit {
                    verdict.findings.push(format!("{until} ms: well again, and no health post for {back} ms"));
                }
            }
            None => {
                let gap = to - from;
                verdict.figures.gap_ms = verdict.figures.gap_ms.max(gap);
                if gap > limit {
                    verdict.findings.push(format!("{from} ms: no health post for {gap} ms"));
                }
            }
        }
    }
    if beats.is_empty() {
        verdict.findings.push("no health post at all".to_owned());
    }
    restarts(case, verdict, &beats);
    bursts(case, verdict, &starts);
}

/// When there was no agent: killed, and started again.
fn away(case: &Case<'_>) -> Vec<(u64, u64)> {
    let starts = case.times(|what| matches!(what, What::Started { .. }));
    let back = |gone: u64| starts.iter().copied().find(|start| *start >= gone).unwrap_or(u64::MAX);
    case.kills().into_iter().map(|gone| (gone, back(gone))).collect()
}

/// promises.md 19: health again within a second of a start.
fn restarts(case: &Case<'_>, verdict: &mut Verdict, beats: &[u64]) {
    let limit = case.bounds.restart_ms;
    for start in case.times(|what| *what == What::Started { serving: true }) {
        let in_trouble = case.spans.iter().any(|span| span.silent && span.from <= start + limit && start <= span.to);
        let killed_again = case.kills().iter().any(|kill| (start + 1..start + limit).contains(kill));
        if in_trouble || killed_again {
            continue;
        }
        let took = beats.iter().find(|beat| **beat >= start).map_or(u64::MAX, |beat| beat - start);
        verdict.figures.back_ms = verdict.figures.back_ms.max(took);
        if took > limit + case.lag(start, start + 2 * limit) {
            verdict.findings.push(format!("{start} ms: started, and no health post for {took} ms"));
        }
    }
}

/// A post that a stall has eaten is gone: nothing is made up for.
fn bursts(case: &Case<'_>, verdict: &mut Verdict, starts: &[u64]) {
    let posts = case.times(|what| match what {
        // A dead token is not the beat's fault: it is sent again with the next one.
        What::Request { call, status, .. } => call == "health" && !matches!(status, Some(401 | 403)),
        _ => false,
    });
    for (at, from) in posts.iter().enumerate() {
        let to = from + case.bounds.cadence_ms;
        let sent = posts[at..].iter().take_while(|post| **post < to).count();
        let started =
            starts.iter().filter(|start| (from.saturating_sub(case.bounds.cadence_ms)..to).contains(start)).count();
        if sent > IN_A_CADENCE + 2 * started {
            verdict.findings.push(format!("{from} ms: {sent} health posts in one cadence"));
            return;
        }
    }
}
