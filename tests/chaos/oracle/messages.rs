//! Notifications.

use std::collections::{HashMap, HashSet};

use super::{Case, Verdict};
use crate::timeline::What;

pub(super) fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    let mut order: HashMap<&str, usize> = HashMap::new();
    for entry in case.entries {
        if let What::Published { id } = &entry.what {
            let number = order.len();
            order.insert(id, number);
        }
    }
    verdict.figures.published = order.len();
    let (mut handed, mut by_each): (HashSet<&str>, HashSet<(&str, u32)>) = Default::default();
    let mut newest = None;
    for entry in case.entries {
        let What::Handed { id, by } = &entry.what else { continue };
        let id = id.as_str();
        let Some(number) = order.get(id).copied() else {
            verdict.findings.push(format!("{} ms: {id} was handed over, and never published", entry.at_ms));
            continue;
        };
        if !by_each.insert((id, *by)) {
            verdict.findings.push(format!("{} ms: {id} was handed over again, without a crash", entry.at_ms));
        }
        if !handed.insert(id) {
            verdict.figures.repeated += 1;
        } else if newest.is_some_and(|newest| number != newest + 1) || newest.is_none() && number != 0 {
            verdict.findings.push(format!("{} ms: {id} is number {number}, after number {newest:?}", entry.at_ms));
        }
        newest = newest.max(Some(number));
    }
    let lost = order.len() - handed.len();
    if lost > 0 {
        verdict.findings.push(format!("{lost} notifications of {} were never handed over", order.len()));
    }
}
