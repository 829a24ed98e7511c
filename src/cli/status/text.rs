//! The status in words: first whether somebody has to do something, then how things stand.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::cli::clean;
use crate::io::local::status::{Game, Players, Status};

/// How long finding and taking the session may last before it is worth a line, in seconds.
const SLOW_START: i64 = 60;

/// The whole text, without a line end.
pub(super) fn render(status: &Status, now: Timestamp) -> String {
    let problems = problems(status, now);
    let mut text = format!("{}: {}", clean(&status.name), headline(status, problems.is_empty()));
    for problem in &problems {
        let _infallible = write!(text, "\n  ! {problem}");
    }
    text.push('\n');
    for (name, words) in rows(status, now) {
        let _infallible = write!(text, "\n  {name:<14} {words}");
    }
    text
}

fn headline(status: &Status, fine: bool) -> String {
    let health = match status.phase.as_ref() {
        "loading" | "serving" | "draining" => format!(", {}", clean(&status.health.verdict)),
        _ => String::new(),
    };
    let verdict = if fine { "" } else { " - needs attention" };
    format!("{}{health}{verdict}", clean(&status.phase))
}

/// What somebody should look at, the gravest first.
fn problems(status: &Status, now: Timestamp) -> Vec<String> {
    let mut problems = Vec::new();
    if status.phase == "superseded" {
        problems
            .push("somebody else holds the session or the allocation; this agent writes nothing any more".to_owned());
    }
    login(status, now, &mut problems);
    health(status, now, &mut problems);
    let waits = status.allocation.state == "waiting";
    if !waits
        && matches!(status.phase.as_ref(), "resolving" | "registering")
        && let Some(since) = status.phase_since
        && seconds(since, now) > SLOW_START
    {
        let what = if status.phase == "resolving" { "finding" } else { "taking" };
        problems.push(format!("still {what} the session, for {}", span(seconds(since, now))));
    }
    match status.store.state.as_ref() {
        "ok" | "" => {}
        "full" => problems.push("the state directory is full: reports are refused until there is space".to_owned()),
        "read_only" => {
            problems.push("the state directory is read-only: reports are refused until it is not".to_owned())
        }
        other => problems.push(format!("the state directory: {}: reports are refused; look at the disk", clean(other))),
    }
    outbox(status, &mut problems);
    match status.notifications.state.as_ref() {
        "paused" => problems.push(format!(
            "{} notifications wait, no more are fetched: the game has to acknowledge",
            status.notifications.inbox
        )),
        "backing_off" => problems.push("notifications cannot be fetched for now; it is tried again".to_owned()),
        "unsupported" => problems.push("the backend has no notifications for instances: none will come".to_owned()),
        _ => {}
    }
    hand_off(status, &mut problems);
    problems
}

fn login(status: &Status, now: Timestamp, problems: &mut Vec<String>) {
    let detail = status.auth.detail.as_deref().map(|detail| format!(": {}", clean(detail))).unwrap_or_default();
    let again = match status.auth.retry_at {
        Some(at) => format!("; tried again in {}", span(seconds(now, at))),
        None => String::new(),
    };
    if status.auth.state == "denied" {
        problems.push(format!("the login is refused{detail}{again}"));
    } else if !detail.is_empty() {
        problems.push(format!("login {}{detail}{again}", clean(&status.auth.state)));
    }
}

fn health(status: &Status, now: Timestamp, problems: &mut Vec<String>) {
    if !matches!(status.phase.as_ref(), "loading" | "serving" | "draining") {
        return;
    }
    let health = &status.health;
    if matches!(health.verdict.as_ref(), "unhealthy" | "degraded") {
        problems.push(format!("the game is {}: {}", clean(&health.verdict), clean(&health.reason)));
    }
    // Two beats and a half: one may be on its way, one may have been lost.
    let late = |moment: Timestamp| seconds(moment, now) as f64 > 2.5 * health.cadence_seconds.max(1.0);
    match (&health.last_sent, &health.last_answer) {
        (Some(sent), _) if late(*sent) => {
            problems.push(format!("no health was posted for {}", span(seconds(*sent, now))));
        }
        (Some(_), Some(answer)) => match answer.at {
            Some(at) if late(at) => {
                problems.push(format!("the backend has taken no health for {}", span(seconds(at, now))));
            }
            _ if answer.health != health.verdict => problems.push(format!(
                "the backend thinks that the game is {}, the agent says {}",
                clean(&answer.health),
                clean(&health.verdict)
            )),
            _ => {}
        },
        _ => {}
    }
}

fn hand_off(status: &Status, problems: &mut Vec<String>) {
    let notifications = &status.notifications;
    let hand_off = &notifications.hand_off;
    if matches!(hand_off.state.as_ref(), "absent" | "retrying") {
        let why = hand_off.last_failure.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
        problems.push(format!("{} notifications wait for whoever is to take them{why}", notifications.inbox));
    }
    if notifications.set_aside > 0 {
        problems.push(format!(
            "{} notifications are set aside, for nobody would take them: `rallyhere-agent notifications --set-aside`",
            notifications.set_aside
        ));
    }
}

fn outbox(status: &Status, problems: &mut Vec<String>) {
    let outbox = &status.outbox;
    if outbox.dead > 0 {
        problems.push(format!("{} reports or events can never be delivered; they are kept, see the log", outbox.dead));
    }
    if let Some(failure) = outbox.last_failure.as_ref().filter(|_| outbox.waiting > 0) {
        problems.push(format!("{} reports or events wait: {}", outbox.waiting, clean(failure)));
    }
}

/// How things stand, line by line.
fn rows(status: &Status, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut rows = vec![("phase", phase(status, now)), ("health", posts(status, now))];
    if let Some(drain) = &status.drain {
        let left = drain.deadline.map(|at| format!(", at most {} more", span(seconds(now, at)))).unwrap_or_default();
        rows.push(("drain", format!("{}{left}", clean(&drain.reason))));
    }
    if !matches!(status.allocation.source.as_ref(), "" | "fixed") {
        let detail = status.allocation.detail.as_deref().map(|detail| format!(", {}", clean(detail)));
        let (source, state) = (clean(&status.allocation.source), clean(&status.allocation.state));
        rows.push(("allocation", format!("{state} by {source}{}", detail.unwrap_or_default())));
    }
    let session = match &status.session {
        Some(session) => {
            let region = session.region_id.as_deref().map(|region| format!(" in {}", clean(region)));
            let seen = session.seen.map(|seen| format!(", confirmed {} ago", span(seconds(seen, now))));
            format!("{}{}{}", clean(&session.session_id), region.unwrap_or_default(), seen.unwrap_or_default())
        }
        None => status.instance.session_id.as_deref().map_or_else(|| "not found yet".to_owned(), clean),
    };
    rows.push(("session", session));
    let instance = &status.instance;
    let parts = [
        instance.instance_id.as_deref().map(clean),
        instance.allocation_id.as_deref().map(|id| format!("allocation {}", clean(id))),
        instance.join_status.as_deref().map(|join| format!("{} at the backend", clean(join))),
        instance.version.as_deref().map(|version| format!("version {}", clean(version))),
    ];
    rows.push(("instance", joined(parts, "not known yet")));
    let given = |text: &str, label: &str| (!text.is_empty()).then(|| format!("{label} {}", clean(text)));
    let ways = [given(&instance.public_conn_str, "public"), given(&instance.private_conn_str, "private")];
    rows.push(("connect", joined(ways, "no connection string yet")));
    rows.push(("login", format!("{}, {} so far", clean(&status.auth.state), status.auth.attempts)));
    rows.extend(game(&status.game));
    let notifications = &status.notifications;
    rows.push(("notifications", format!("{}, {} for the game", clean(&notifications.state), notifications.inbox)));
    rows.push(("outbox", format!("{} waiting, {} dead", status.outbox.waiting, status.outbox.dead)));
    let faults = match status.store.faults {
        0 => String::new(),
        faults => format!(", {faults} faults since the start"),
    };
    rows.push(("state", format!("{}{faults}", clean(&status.store.state))));
    rows.extend(status.store.findings.iter().map(|finding| ("", clean(finding))));
    if !status.settings_waiting.is_empty() {
        let keys: Vec<String> = status.settings_waiting.iter().map(|key| clean(key)).collect();
        rows.push(("settings", format!("changed, and waiting for its next life: {}", keys.join(", "))));
    }
    rows.push(("agent", clean(&status.version)));
    rows
}

/// The game's process, its players, and each probe; nothing where nothing is known.
fn game(game: &Game) -> Vec<(&'static str, String)> {
    let mib = |bytes: u64| format!("{} MiB", bytes / (1 << 20));
    let players = |players: &Players| match players.capacity {
        0 => format!("{} players", players.count),
        capacity => format!("{} of {capacity} players", players.count),
    };
    let parts = [
        game.pid.map(|pid| format!("pid {pid}")),
        game.ended.as_deref().map(clean),
        game.players.as_ref().map(players),
        game.memory_bytes.map(mib),
        game.cores.map(|cores| format!("{cores:.2} cores")),
    ];
    let line = joined(parts, "");
    let mut rows = Vec::new();
    if !line.is_empty() {
        rows.push(("game", line));
    }
    rows.extend(game.probes.iter().map(|probe| {
        let health = probe.health.as_deref().map_or_else(|| "not run yet".to_owned(), clean);
        ("probe", format!("{}: {health} ({})", clean(&probe.name), clean(&probe.reason)))
    }));
    rows
}

fn phase(status: &Status, now: Timestamp) -> String {
    let since = status.phase_since.map(|since| format!(" for {}", span(seconds(since, now)))).unwrap_or_default();
    let ready = if status.ready { "the game is ready" } else { "the game is not ready" };
    match status.outcome.as_deref() {
        Some(_) => format!("{}{since}", clean(&status.phase)),
        None => format!("{}{since}, {ready}", clean(&status.phase)),
    }
}

fn posts(status: &Status, now: Timestamp) -> String {
    let health = &status.health;
    let reason = if health.reason.is_empty() { String::new() } else { format!(" ({})", clean(&health.reason)) };
    let sent = match health.last_sent {
        Some(sent) => format!("posted {} ago", span(seconds(sent, now))),
        None => "not posted yet".to_owned(),
    };
    let answer = match &health.last_answer {
        Some(answer) => format!("the backend says {}", clean(&answer.health)),
        None => "no answer yet".to_owned(),
    };
    format!("{}{reason}, {sent}, every {} s, {answer}", clean(&health.verdict), health.cadence_seconds)
}

fn joined<const N: usize>(parts: [Option<String>; N], none: &str) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(", ") }
}

/// Whole seconds from one moment to another, never below zero: the clock may have been set.
fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs().max(0)
}

/// So many seconds in words.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
