//! What must hold, in every state and on every step.

use std::rc::Rc;
use std::time::Duration;

use super::backend::Owner;
use super::host::{Host, wants};
use super::world::World;
use crate::core::call::{Call, CallKind, Login};
use crate::core::durable::Durable;
use crate::core::ids::InstanceId;
use crate::core::params::Process;
use crate::core::{Machine as _, Outcome, Phase};

/// How young a look must be before a write that no fence protects.
const YOUNG: Duration = Duration::from_secs(5);
/// What a POST, a PATCH and a DELETE that came late may do, and what it may lead to.
pub(super) const POST: &str = "POST over somebody who came after the look";
pub(super) const PATCH: &str = "PATCH on somebody who came after the look";
pub(super) const DELETE: &str = "DELETE of somebody who came after the look";
pub(super) const NOBODY: &str = "each has given way to the other";
/// The report of a crash.
const CRASHED: &str = "game_crashed";
/// A stop with nothing to drain ends within this.
const STOP: Duration = Duration::from_secs(10);

fn own(host: &Host) -> Owner {
    host.agent.snapshot().instance.instance_id.as_ref().map_or(String::new(), |id| InstanceId::as_str(id).to_owned())
}

fn is_write(kind: CallKind) -> bool {
    matches!(kind, CallKind::Register | CallKind::Update | CallKind::Unregister)
}

/// An agent sends a call.
pub(super) fn sent(world: &mut World, at: usize, call: &Call) {
    let kind = call.kind();
    let host = &world.hosts[at];
    let process = &world.processes[host.process];
    let (name, now) = (host.name, world.now);
    let mut broken: Vec<String> = Vec::new();
    if host.agent.snapshot().phase == Phase::Superseded {
        broken.push(format!("{kind} although it is superseded"));
    }
    if host.disk.synced.superseded {
        broken.push(format!("{kind} although it was superseded for good"));
    }
    let token = process.view.generation;
    if token.is_none() || token <= host.refused_token {
        broken.push(format!("{kind} with a token that was refused"));
    }
    if host.failed_at.get(&wants(call)) == Some(&now) && kind != CallKind::ReadSession {
        broken.push(format!("{kind} again in the moment in which it failed"));
    }
    let fence = host.params.target.allocation();
    let (own, known) = (own(host), host.known.as_ref());
    let told = known.map(|known| known.shown.owner.as_str());
    let young = known.is_some_and(|known| now - known.at <= YOUNG);
    let looked = host.looked.is_some_and(|at| now - at <= YOUNG);
    match call {
        Call::Update { update, .. } if fence.is_some() && update.allocation_id.as_ref() != fence => {
            broken.push("a PATCH without its allocation id".to_owned());
        }
        Call::Update { .. } if fence.is_none() && (told != Some(own.as_str()) || !young) => {
            broken.push(format!("a PATCH on {own}, told last and long ago of {told:?}"));
        }
        Call::Register { .. } | Call::Unregister { .. } if fence.is_some() => {
            broken.push(format!("{kind} of an allocated instance"));
        }
        Call::Register { registration, .. } => {
            if told != Some("") || !young {
                broken.push(format!("a POST, told last and long ago of {told:?}"));
            }
            let durable = host.disk.synced.instance.as_ref() == Some(&registration.instance_id);
            if !durable && !host.disk.ailing {
                broken.push("a POST under an id that is not on disk".to_owned());
            }
        }
        Call::Unregister { .. } if told != Some(own.as_str()) || !looked => {
            broken.push(format!("a DELETE without a young look, told last of {told:?}"));
        }
        Call::Fubar { report, .. } => {
            if host.done.contains(&report.error) {
                broken.push(format!("report {} again, although it is delivered", report.error));
            }
            let label = &report.error;
            let is_ours = |durable: &Durable| durable.outbox.iter().any(|report| report.content.label() == label);
            if !is_ours(&host.disk.synced) {
                broken.push(format!("report {label}, which is not on disk"));
            }
        }
        _ => {}
    }
    for words in broken {
        world.break_rule(format!("{name} sends {words}"));
    }
}

/// A request reaches the backend; its sender knew of the owner what `knew` says.
pub(super) fn arrival(world: &mut World, at: usize, call: &Call, knew: u32) {
    let owner = world.backend.owner();
    let fence = world.hosts[at].params.target.allocation();
    if !is_write(call.kind()) || owner.is_empty() {
        return;
    }
    let name = world.hosts[at].name;
    let own = format!("i-{name}-");
    let others = !owner.starts_with(&own);
    if fence.is_some() {
        // The backend compares; a write that gets through is on our own allocation.
        let shown = world.backend.instance.as_ref().and_then(|shown| shown.allocation_id.as_ref());
        if shown != fence && !matches!(call, Call::Update { update, .. } if update.allocation_id.as_ref() == fence) {
            world.break_rule(format!("{name}: {} on an allocation of somebody else", call.kind()));
        }
        return;
    }
    if others {
        if knew >= world.backend.version {
            world.break_rule(format!("{name}: {} on {owner}, which it knew to be there", call.kind()));
        }
        world.races.push(match call {
            Call::Register { .. } => POST,
            Call::Update { .. } => PATCH,
            _ => DELETE,
        });
    } else if let Call::Register { registration, .. } = call
        && owner != registration.instance_id.as_str()
    {
        world.break_rule(format!("{name}: registers as {} beside {owner}", registration.instance_id));
    }
}

/// A process logs in.
pub(super) fn login(world: &mut World, at: usize, login: Login) {
    let now = world.now;
    let process = &mut world.processes[at];
    let old = process.given.zip(world.scope.lifetime).is_some_and(|(given, lifetime)| {
        // Not before the earliest point of the window.
        now.saturating_duration_since(given) >= lifetime.mul_f64(0.6)
    });
    let excused = process.excuse.take().is_some() || old;
    if process.login.is_some() {
        world.break_rule("two logins in flight");
    } else if !excused {
        world.break_rule(format!("a {login:?} login without a reason"));
    }
}

/// The game is told that a notification is done with.
pub(super) fn acknowledged(world: &mut World, at: usize, notification: &str) {
    let host = &world.hosts[at];
    let waits = host.disk.synced.inbox.iter().any(|waiting| waiting.notification_id.as_str() == notification);
    let ailing = host.disk.ailing;
    if waits && !ailing {
        world.break_rule(format!("{notification} was confirmed as done before that was on disk"));
    }
    let host = world.host_mut(at);
    // What a disk refused may come again after a crash.
    if !ailing {
        host.acked.insert(notification.to_owned());
    }
}

/// How long a stop may take: a game of ours has its time, and SIGKILL its own.
fn stop_limit(host: &Host) -> Duration {
    match host.params.process {
        Process::Ours => STOP + host.params.drain_timeout + host.params.stop_timeout + Duration::from_secs(5),
        Process::Unknown | Process::Watched => STOP,
    }
}

/// An agent ends.
pub(super) fn exit(world: &mut World, at: usize, outcome: Outcome) {
    let host = &world.hosts[at];
    let mut broken: Vec<&str> = Vec::new();
    if host.game.is_left_running() {
        broken.push("leaves its game running, and nobody has ordered to kill it");
    }
    let disk = &host.disk.synced;
    let waits = disk.outbox.iter().any(|report| report.content.label() == CRASHED);
    let told = waits || world.backend.copies.contains_key(CRASHED);
    if host.crashed && outcome != Outcome::Superseded && !(told && disk.failures.is_some()) {
        broken.push("ends although the crash of its game is neither durable nor told");
    }
    let well = host.crashed && host.stopped.is_none() && outcome == Outcome::Ended;
    if well {
        broken.push("ends in good order although its game crashed and nobody had stopped it");
    }
    let name = host.name;
    for words in broken {
        world.break_rule(format!("{name} {words}"));
    }
}

/// What holds in every state.
pub(super) fn state(world: &mut World) {
    let mut broken: Vec<String> = Vec::new();
    for (by, label) in &world.accepted {
        let disk = &world.hosts[*by].disk.synced;
        let durable = disk.outbox.iter().any(|report| report.content.label() == label)
            || disk.dead.iter().any(|dead| dead.report.content.label() == label);
        if !durable && !world.backend.copies.contains_key(label) {
            broken.push(format!("report {label} was accepted, and is neither durable nor delivered"));
        }
    }
    for (label, copies) in &world.backend.copies {
        let ambiguous = world.ambiguous.get(label).copied().unwrap_or_default();
        if *copies > 1 + ambiguous {
            broken.push(format!("{copies} copies of report {label}, {ambiguous} ambiguous outcomes"));
        }
    }
    let gave_way = |host: &Rc<Host>| host.over == Some(Outcome::Superseded);
    if world.raced && world.hosts.len() > 1 && world.hosts.iter().all(gave_way) {
        world.races.push(NOBODY);
    }
    let registered: Vec<_> = world.backend.registered.keys().collect();
    for pair in registered.windows(2) {
        let host = |id: &str| id.rsplit_once('-').map(|(host, _)| host.to_owned());
        if host(pair[0]) == host(pair[1]) {
            broken.push(format!("one agent was registered under two ids: {registered:?}"));
        }
    }
    for (at, host) in world.hosts.iter().enumerate() {
        let limit = stop_limit(host);
        let late = host.stopped.is_some_and(|stopped| world.now - stopped > limit);
        if late && host.over.is_none() {
            broken.push(format!("{} has not ended {limit:?} after its stop", host.name));
        }
        if !host.params.notifications || !world.is_touched(at) {
            continue;
        }
        cursor(world, host, &mut broken);
        let inbox = host.agent.snapshot().notifications.inbox;
        for waiting in inbox.iter() {
            if host.acked.contains(waiting.notification_id.as_str()) {
                broken.push(format!("{} is handed over again after it was done", waiting.notification_id));
            }
        }
        let order: Vec<_> = inbox.iter().map(|waiting| &waiting.notification_id).collect();
        if !order.is_sorted_by(|one, next| one < next) {
            broken.push(format!("the inbox has {order:?}: out of order, or twice"));
        }
    }
    for words in broken {
        world.break_rule(words);
    }
}

/// A durable cursor: everything up to it is in the durable inbox, or the game is done with it.
fn cursor(world: &World, host: &Host, broken: &mut Vec<String>) {
    let disk = &host.disk.synced;
    let Some(cursor) = &disk.cursor else { return };
    for at in 0..world.backend.published {
        let id = format!("n{at}");
        let waits = disk.inbox.iter().any(|waiting| waiting.notification_id.as_str() == id);
        if !waits && !host.asked.contains(&id) {
            broken.push(format!("the durable cursor is at {cursor}, and {id} is neither durable nor done"));
        }
        if id == cursor.as_str() {
            return;
        }
    }
}
