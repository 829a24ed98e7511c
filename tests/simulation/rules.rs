//! What must hold at every step of a simulated world, and what is remembered to judge it. The rules know what was sent, answered,
//! promised and taken; of the agent's insides they know nothing but its phase.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rallyhere_agent::core::Phase;
use rallyhere_agent::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use rallyhere_agent::core::durable::Durable;
use rallyhere_agent::core::ids::{Generation, InstanceId, ReportId};
use rallyhere_agent::core::instance::Health;

use crate::backend::Told;
use crate::node::{Node, index};

/// How young a look must be before a write that no fence protects.
const YOUNG: Duration = Duration::from_secs(5);
/// So many failures of one kind in a row take at least [`PACE`].
const ROW: usize = 10;
const PACE: Duration = Duration::from_secs(20);
/// A login that was refused is not tried again before this.
const REFUSED_LOGIN: Duration = Duration::from_secs(60);

/// What became of a report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) accepted: bool,
    /// It was refused for want of a disk, and must never be seen.
    pub(crate) refused: bool,
    /// Delivered or dead, as far as the agent was told.
    pub(crate) done: bool,
}

/// How far a game has read its notifications.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    /// Everything below is done with.
    pub(crate) next: usize,
    /// Everything below was confirmed as done by an agent whose disk was well.
    pub(crate) settled: usize,
    /// So many may come twice: the agent was restarted since, and what a well disk did not hold was one at most.
    pub(crate) repeats: usize,
}

/// See the module. The first part outlives the process.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) reports: BTreeMap<String, Report>,
    pub(crate) keys: BTreeMap<String, ReportId>,
    /// How often the outcome of a report was unknown to its sender.
    pub(crate) ambiguous: BTreeMap<String, u32>,
    pub(crate) readers: BTreeMap<InstanceId, Reader>,
    /// First logins of processes.
    pub(crate) first_logins: VecDeque<Instant>,
    /// The disk has failed, or was slow, not long ago.
    pub(crate) ailing_until: Option<Instant>,
    /// It did when the process died: what was done then may not be on disk.
    pub(crate) died_ailing: bool,
    /// A refused report may come back: the disk took neither it nor its retraction.
    pub(crate) doubt: bool,

    /// It was superseded for good before this process began.
    pub(crate) superseded: bool,
    /// Accepted and not done, in order.
    pub(crate) order: VecDeque<String>,
    /// Known to be delivered by this process.
    pub(crate) delivered: BTreeSet<String>,
    pub(crate) saw_foreign: bool,
    pub(crate) told: Option<(Told, Instant)>,
    looked: Option<Instant>,
    written: Option<Instant>,
    patience: [Option<Instant>; CallKind::ALL.len()],
    fails: [VecDeque<Instant>; CallKind::ALL.len()],
    refused_token: Option<Generation>,
    pub(crate) cadence: Duration,
    owed: Option<Instant>,
    /// The backend asked for peace, or refused the posts: none is owed before.
    excused: Option<Instant>,
    posts: VecDeque<Instant>,
    steady_from: Option<Instant>,
    said: Option<Health>,
    pub(crate) login_reason: Option<&'static str>,
    pub(crate) given: Option<(Instant, Option<Duration>)>,
    pub(crate) stopped: Option<Instant>,
    pub(crate) kinds: [bool; CallKind::ALL.len()],
    /// The last answer to a report was that it can never be taken.
    hopeless: bool,
}

fn is_write(kind: CallKind) -> bool {
    matches!(kind, CallKind::Register | CallKind::Update | CallKind::Unregister)
}

/// The label of a report that the simulation made.
pub(crate) fn label(call: &Call) -> Option<&str> {
    let label = match call {
        Call::Fubar { report, .. } => &report.error,
        Call::PostEvent { event, .. } => &event.event_code,
        _ => return None,
    };
    label.starts_with("r-").then_some(label.as_str())
}

impl Watch {
    /// Another process begins, with this on its disk; says what of that breaks a promise.
    pub(crate) fn begin(
        &mut self,
        found: &Durable,
        ours: bool,
        copies: &BTreeMap<String, u32>,
        flew: &BTreeSet<String>,
        now: Instant,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        let waiting: VecDeque<String> = found.outbox.iter().map(|report| report.content.label().to_owned()).collect();
        let dead: BTreeSet<String> = found.dead.iter().map(|dead| dead.report.content.label().to_owned()).collect();
        let mut doubted = 0;
        for label in waiting.iter().filter(|label| label.starts_with("r-")) {
            let delivered = self.delivered.contains(label);
            if delivered || flew.contains(label) {
                *self.ambiguous.entry(label.clone()).or_default() += 1;
                doubted += 1;
            }
            let report = self.reports.entry(label.clone()).or_default();
            report.done = false;
            if report.refused && !self.doubt {
                broken.push(format!("report {label} was refused, and is on disk after a restart"));
            }
        }
        let ailed = self.died_ailing || self.ailing_until.is_some_and(|until| until > now);
        if doubted > 1 && !ailed {
            broken.push(format!("one kill puts {doubted} deliveries in doubt"));
        }
        for (label, report) in &mut self.reports {
            let known = waiting.contains(label) || dead.contains(label);
            if report.accepted && !report.done && !known && !copies.contains_key(label) {
                broken
                    .push(format!("report {label} was accepted, and is neither on disk nor delivered after a restart"));
            }
            if !known {
                report.done |= report.accepted;
            }
        }
        for reader in self.readers.values_mut() {
            reader.repeats = if ailed { 1000 } else { 1 };
        }
        *self = Self {
            reports: std::mem::take(&mut self.reports),
            keys: std::mem::take(&mut self.keys),
            ambiguous: std::mem::take(&mut self.ambiguous),
            readers: std::mem::take(&mut self.readers),
            first_logins: std::mem::take(&mut self.first_logins),
            ailing_until: self.ailing_until,
            superseded: ours && found.superseded,
            order: waiting.into_iter().filter(|label| label.starts_with("r-")).collect(),
            cadence: found.cadence_millis.map_or(Duration::from_secs(10), Duration::from_millis),
            login_reason: Some("the start"),
            ..Self::default()
        };
        broken
    }

    pub(crate) fn accepted(&mut self, label: &str) {
        let report = self.reports.entry(label.to_owned()).or_default();
        if !std::mem::replace(&mut report.accepted, true) && !report.done {
            self.order.push_back(label.to_owned());
        }
    }

    pub(crate) fn refused(&mut self, label: &str) {
        let report = self.reports.entry(label.to_owned()).or_default();
        report.refused = !report.accepted;
    }

    /// A report is set aside for ever: says why that is wrong. At its start the agent may find those of another task.
    pub(crate) fn dead(&mut self, label: Option<String>, begins: bool) -> Option<String> {
        let label = label?;
        self.order.retain(|other| *other != label);
        if let Some(report) = self.reports.get_mut(&label) {
            report.done = true;
        }
        (!begins && !self.hopeless).then(|| format!("report {label} is given up, and nobody has refused it"))
    }

    pub(crate) fn is_refused(&self, token: Generation) -> bool {
        self.refused_token >= Some(token)
    }

    /// Whether a post of health is owed, and since when.
    pub(crate) fn may_post(&mut self, may: bool, now: Instant) {
        if !may {
            self.owed = None;
        } else if self.owed.is_none() {
            self.owed = Some(now);
            self.unsteady(now);
        }
    }

    fn unsteady(&mut self, now: Instant) {
        self.steady_from = self.steady_from.max(Some(now + self.cadence.mul_f64(2.5)));
    }

    /// The process stood still until now.
    pub(crate) fn resumed(&mut self, now: Instant) {
        self.owed = self.owed.map(|_| now);
        self.unsteady(now);
        self.stopped = self.stopped.map(|_| now);
    }

    /// Whether too long a time has passed without a post.
    pub(crate) fn gap(&self, now: Instant) -> Option<String> {
        let gap = now.saturating_duration_since(self.owed.max(self.owed.and(self.excused))?);
        let limit = self.cadence.mul_f64(1.25) + Duration::from_millis(1);
        (gap > limit).then(|| format!("no health post for {gap:?} at a cadence of {:?}", self.cadence))
    }

    fn posted(&mut self, health: Health, now: Instant) -> Option<String> {
        let gap = self.gap(now);
        self.owed = self.owed.map(|_| now);
        if self.said.replace(health).is_some_and(|said| said != health) {
            self.unsteady(now);
        }
        self.posts.push_back(now);
        if self.posts.len() > 4 {
            self.posts.pop_front();
        }
        let first = *self.posts.front()?;
        let steady = self.steady_from.is_none_or(|from| from <= first);
        let took = now - first;
        let burst = self.posts.len() == 4 && steady && took < self.cadence.mul_f64(1.2);
        gap.or_else(|| burst.then(|| format!("four health posts in {took:?} at a cadence of {:?}", self.cadence)))
    }

    /// A process logs in.
    pub(crate) fn login(&mut self, in_flight: bool, now: Instant) -> Option<String> {
        if in_flight {
            return Some("two logins in flight".to_owned());
        }
        let kind = index(CallKind::Login);
        if let Some(until) = self.patience[kind].take_if(|until| *until > now) {
            return Some(format!("a login {:?} before it may be tried again", until - now));
        }
        let old = self.given.is_some_and(|(given, lifetime)| {
            lifetime.is_some_and(|lifetime| now - given >= lifetime.mul_f64(0.6).max(Duration::from_secs(1)))
        });
        match self.login_reason.take() {
            None if !old => return Some("a login without a reason".to_owned()),
            Some("the start") => {
                self.first_logins.push_back(now);
                self.first_logins.retain(|at| now - *at <= Duration::from_secs(600));
                // Three at once, then one a minute.
                if self.first_logins.len() > 14 {
                    return Some(format!("{} first logins in ten minutes", self.first_logins.len()));
                }
            }
            _ => {}
        }
        None
    }

    /// A login came back.
    pub(crate) fn logged_in(&mut self, failure: Option<&Failure>, refresh: bool, now: Instant) -> Option<String> {
        let Some(failure) = failure else {
            self.fails[index(CallKind::Login)].clear();
            self.given = None;
            return None;
        };
        let refused = matches!(failure.kind, FailureKind::Unauthorised | FailureKind::Rejected);
        self.login_reason = Some("a login failed");
        if refused && refresh {
            return None;
        }
        let floor = if refused { REFUSED_LOGIN } else { Duration::ZERO };
        self.patience[index(CallKind::Login)] = Some(now + floor.max(failure.retry_after.unwrap_or_default()));
        self.failed(CallKind::Login, now)
    }

    /// Secrets were read again.
    pub(crate) fn reloaded(&mut self) {
        self.login_reason.get_or_insert("a reload");
        self.patience[index(CallKind::Login)] = None;
        self.fails.iter_mut().for_each(VecDeque::clear);
    }

    fn failed(&mut self, kind: CallKind, now: Instant) -> Option<String> {
        let fails = &mut self.fails[index(kind)];
        fails.push_back(now);
        if fails.len() > ROW {
            fails.pop_front();
        }
        let took = now - *fails.front()?;
        (fails.len() == ROW && took < PACE).then(|| format!("{ROW} failures of {kind} in a row within {took:?}"))
    }
}

/// An agent sends a call.
pub(crate) fn sent(node: &mut Node, call: &Call, now: Instant) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    let kind = call.kind();
    let prefix = node.id_prefix();
    let Some(running) = &node.running else { return vec![format!("{kind} by a dead process")] };
    let watch = &mut node.watch;
    if running.phase.outcome().is_some() || watch.superseded {
        broken.push(format!("{kind} although it is over"));
    }
    if std::mem::replace(&mut watch.kinds[index(kind)], true) {
        broken.push(format!("two calls of kind {kind} in flight"));
    }
    if watch.saw_foreign && kind != CallKind::ReadSession && kind != CallKind::Poll {
        broken.push(format!("{kind} after it was shown that somebody else is there"));
    }
    let token = running.vault.map(|(generation, _)| generation);
    if token.is_none() || token <= watch.refused_token {
        broken.push(format!("{kind} with a token that was refused"));
    }
    if let Some(until) = watch.patience[index(kind)]
        && until > now
    {
        broken.push(format!("{kind} {:?} before what Retry-After asked for", until - now));
    }
    let fence = node.params.target.allocation();
    let told = watch.told.as_ref().filter(|(_, at)| now - *at <= YOUNG).map(|(told, _)| told);
    let looked = watch.looked.is_some_and(|at| now - at <= YOUNG);
    let own = |told: &&Told| {
        told.holder.as_ref().is_some_and(|(id, _)| id.as_ref().is_some_and(|id| id.as_str().starts_with(&prefix)))
    };
    match call {
        // Whatever it says: the arm below is about those that have no fence.
        Call::Update { update, .. } if fence.is_some() => {
            let fenced = update.allocation_id.as_ref() == fence;
            broken.extend((!fenced).then(|| "a PATCH without its allocation id".to_owned()));
        }
        Call::Update { .. } if told.filter(own).is_none() => {
            broken.push(format!("a PATCH without a fence, told last of {:?}", watch.told));
        }
        Call::Register { .. } | Call::Unregister { .. } if fence.is_some() => {
            broken.push(format!("{kind} of an allocated instance"));
        }
        Call::Register { .. } if told.is_none_or(|told| told.holder.is_some()) => {
            broken.push(format!("a POST, told last of {:?}", watch.told));
        }
        Call::Unregister { .. } if told.filter(own).is_none() || !looked => {
            broken.push(format!("a DELETE without a young look, told last of {:?}", watch.told));
        }
        Call::PostHealth { health, .. } => broken.extend(watch.posted(*health, now)),
        Call::Fubar { .. } | Call::PostEvent { .. } => {
            if let Some(label) = label(call) {
                if watch.delivered.contains(label) {
                    broken.push(format!("report {label} again, although it is delivered"));
                }
                if watch.reports.get(label).is_some_and(|report| report.refused) && !watch.doubt {
                    broken.push(format!("report {label}, which was refused"));
                }
                if let Some(oldest) = watch.order.front()
                    && oldest != label
                {
                    broken.push(format!("report {label} before {oldest}, which is older"));
                }
            }
        }
        _ => {}
    }
    broken
}

/// An answer reaches its agent.
pub(crate) fn answered(
    node: &mut Node,
    call: &Call,
    sent: Instant,
    result: &Result<Answer, Failure>,
    told: Option<Told>,
    now: Instant,
) -> Option<String> {
    let kind = call.kind();
    let prefix = node.id_prefix();
    let fence = node.params.target.allocation();
    let closing = node.running.as_ref().is_some_and(|running| running.phase == Phase::Closing);
    let watch = &mut node.watch;
    watch.kinds[index(kind)] = false;
    if label(call).is_some() {
        let never = |failure: &Failure| failure.kind == FailureKind::Rejected || failure.is_session_gone();
        watch.hopeless = result.as_ref().is_err_and(never);
    }
    let mut broken = None;
    match result {
        Ok(answer) => {
            watch.fails[index(kind)].clear();
            // Health begins anew with it.
            if kind == CallKind::Register {
                watch.unsteady(now);
            }
            if let Some(label) = label(call) {
                watch.delivered.insert(label.to_owned());
                watch.order.retain(|other| other != label);
                if let Some(report) = watch.reports.get_mut(label) {
                    report.done = true;
                }
            }
            if let Answer::HealthConfig(config) = answer
                && config.cadence != watch.cadence
            {
                // A post that hangs was given its limit by the cadence of before.
                watch.excused = watch.excused.max(Some(now + watch.cadence));
                watch.cadence = config.cadence;
                watch.owed = watch.owed.map(|_| now);
                watch.unsteady(now);
            }
        }
        Err(failure) => {
            if failure.kind == FailureKind::Unauthorised {
                watch.refused_token = watch.refused_token.max(failure.token);
                watch.login_reason.get_or_insert("a token was refused");
                watch.unsteady(now);
            } else {
                watch.patience[index(kind)] = failure.retry_after.map(|after| now + after);
                let waits_to_be_bound = kind == CallKind::FindSession && failure.kind == FailureKind::NotFound;
                if !closing && !waits_to_be_bound && kind != CallKind::PostHealth {
                    broken = watch.failed(kind, now);
                }
            }
            if let (Some(label), true) = (label(call), failure.is_ambiguous()) {
                *watch.ambiguous.entry(label.to_owned()).or_default() += 1;
            }
            if kind == CallKind::PostHealth {
                let refused =
                    matches!(failure.kind, FailureKind::Forbidden | FailureKind::Rejected | FailureKind::Unsupported);
                let after = failure.retry_after.map(|after| after + watch.cadence / 2);
                let after = if refused { Some(Duration::from_secs(1000)) } else { after };
                if let Some(after) = after {
                    watch.excused = watch.excused.max(Some(now + after));
                    watch.steady_from = Some(now + after + watch.cadence.mul_f64(2.5));
                }
            }
        }
    }
    if is_write(kind) {
        watch.written = Some(now);
    }
    if let Some(told) = told
        && result.is_ok()
    {
        let old = told.look && watch.written.is_some_and(|written| sent < written);
        if !old {
            let foreign = told.holder.as_ref().is_some_and(|(id, allocation)| match fence {
                Some(fence) => allocation.as_ref().is_some_and(|theirs| theirs != fence),
                None => id.as_ref().is_some_and(|id| !id.as_str().starts_with(&prefix)),
            });
            watch.saw_foreign |= foreign;
        }
        if watch.told.as_ref().is_none_or(|(known, _)| known.version <= told.version) {
            if told.look {
                watch.looked = Some(now);
            }
            watch.told = Some((told, now));
        }
    }
    broken
}

/// How long a stop may take: the game has its time, and so have the last words.
pub(crate) fn stop_limit(node: &Node) -> Duration {
    node.params.drain_timeout + 2 * node.params.stop_timeout + Duration::from_secs(16)
}
