//! What the backend has to bear.

use super::{Case, Verdict};
use crate::timeline::What;

/// A window in which a burst would be seen.
const WINDOW_MS: u64 = 10_000;
/// A long poll that nothing ends.
const POLL_MS: u64 = 25_000;
/// What a start may cost: login, session, registration, its update, config, health, poll, and one look.
const START: f64 = 8.0;
/// First retries are soon, and a window may begin in the middle of anything.
const SLACK: f64 = 6.0;

/// What drives a healthy agent.
struct Load {
    starts: Vec<u64>,
    published: Vec<u64>,
    accepted: Vec<u64>,
    arrived: Vec<u64>,
    expired: Vec<u64>,
    calm: Vec<u64>,
}

fn within(times: &[u64], from: u64, to: u64) -> f64 {
    times.iter().filter(|at| (from..to).contains(at)).count() as f64
}

impl Load {
    fn read(case: &Case<'_>) -> Self {
        Self {
            starts: case.times(|what| matches!(what, What::Started { .. })),
            published: case.times(|what| matches!(what, What::Published { .. })),
            accepted: case.times(|what| matches!(what, What::Accepted { .. })),
            arrived: case.times(|what| matches!(what, What::Arrived { .. })),
            expired: case.times(|what| *what == What::Expired),
            calm: case.times(|what| *what == What::Calm),
        }
    }

    /// What a healthy agent would have sent at most in a span.
    fn healthy(&self, from: u64, to: u64, cadence_ms: u64) -> f64 {
        let span = to - from;
        let beats = span as f64 / cadence_ms as f64 + 1.0;
        let polls = span as f64 / POLL_MS as f64 + 1.0 + within(&self.published, from.saturating_sub(1000), to);
        // What had waited goes out at one a second beside what comes.
        let waiting = within(&self.accepted, 0, from) - within(&self.arrived, 0, from);
        let reports = within(&self.accepted, from, to) + waiting.clamp(0.0, span as f64 / 1000.0 + 1.0);
        let starts = START * within(&self.starts, from.saturating_sub(5000), to);
        // A page that could not be read begins again with one notification, then two, and so on to a hundred.
        let pages = 7.0 * within(&self.calm, from.saturating_sub(30_000), to).min(1.0);
        beats + polls + reports + starts + pages + 4.0 * within(&self.expired, from.saturating_sub(5000), to)
    }
}

pub(super) fn judge(case: &Case<'_>, verdict: &mut Verdict) {
    for entry in case.entries {
        if let What::Complaint { words } = &entry.what {
            verdict.findings.push(format!("{} ms: {words}", entry.at_ms));
        }
    }
    let load = Load::read(case);
    let requests: Vec<u64> = case.times(|what| matches!(what, What::Request { .. } | What::Turned));
    let requests: Vec<u64> = requests.into_iter().filter(|at| *at <= case.end).collect();
    let cadence = case.bounds.cadence_ms;
    let whole = load.healthy(0, case.end, cadence);
    verdict.figures.requests = requests.len();
    verdict.figures.ratio = requests.len() as f64 / whole;
    let limit = 1.1 * whole + SLACK;
    if requests.len() as f64 > limit {
        verdict.findings.push(format!("{} requests, a healthy agent sends {whole:.0}", requests.len()));
    }
    let busiest = requests.iter().map(|from| {
        let to = from + WINDOW_MS;
        let sent = within(&requests, *from, to);
        let limit = 1.1 * load.healthy(*from, to, cadence) + SLACK;
        (sent - limit, *from, sent, limit)
    });
    if let Some((over, from, sent, limit)) = busiest.max_by(|a, b| a.0.total_cmp(&b.0))
        && over > 0.0
    {
        verdict.findings.push(format!("{from} ms: {sent} requests in 10 s, and {limit:.1} are the limit"));
    }
    logins(case, verdict);
}

/// One login for the first token and one for every one that died; another only where an answer was spoiled, or a kill came before
/// the token was on the disk.
fn logins(case: &Case<'_>, verdict: &mut Verdict) {
    let taken = case.times(|what| *what == What::LoggedIn).len();
    let expired = case.times(|what| *what == What::Expired).len();
    let spoiled = case.times(|what| match what {
        // Whoever is told that its token is not good needs another.
        What::Met { call, ill } => call == "login" || call.is_empty() || ill.contains(" 401 "),
        What::Request { call, struck, .. } => call == "login" && *struck,
        _ => false,
    });
    let blind = case.spans.iter().filter(|span| span.blind).count();
    let may = 1 + expired + spoiled.len() + case.kills().len() + blind;
    if taken > may {
        verdict.findings.push(format!("{taken} logins, and {may} had a reason"));
    }
}
