//! What the regions of one instance share: who we are, the phase, the login, what is remembered, and the tray of actions.
//!
//! **Architecture invariant:** a region never reaches into another. It reads this, and writes only through the methods here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;

use super::action::{Action, Note};
use super::api::{Api, Feature, Judgement, Kept};
use super::auth::AuthView;
use super::call::{Call, CallKind, Failure, FailureKind};
use super::durable::{Durable, Record};
use super::event::Verdict;
use super::ids::{AllocationId, CallId, Counter, Generation, InstanceId, NotificationId, RequestId, SessionId, Ticket};
use super::instance::Health;
use super::params::Params;
use super::phase::Phase;
use super::process::Players;
use super::snapshot::{Counters, SessionView, StoreView};

/// Longest wait for an answer to a call that has no rule of its own (backend.md, "Numbers").
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(8);

/// Which region waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Region {
    Allocation,
    Lifecycle,
    Session,
    Publisher,
    Heartbeat,
    Notifications,
    Outbox,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Common {
    /// Shared with whoever holds the settings, until an allocation says more than they do.
    pub(super) params: Arc<Params>,
    pub(super) now: Instant,
    /// A wall time that came from outside, and when.
    wall: (Timestamp, Instant),
    pub(super) rng: Rng,
    pub(super) phase: Phase,
    pub(super) phase_since: Instant,
    pub(super) auth: Arc<AuthView>,
    /// What the environment's API has.
    pub(super) api: Api,
    /// Our verdict on the game.
    pub(super) verdict: Health,
    /// The newest token that the backend refused: nothing is sent with it any more.
    rejected: Option<Generation>,
    /// What is remembered: also the working state of inbox, outbox and cursor.
    pub(super) durable: Durable,
    /// Changes whenever the inbox does, so that its copy for readers is made only then.
    pub(super) inbox_version: u64,
    /// The same for the reports that wait.
    pub(super) outbox_version: u64,
    /// The same for the dead ones.
    pub(super) dead_version: u64,
    pub(super) session: Option<SessionView>,
    /// There is no allocation yet, or it is not sure that the one that is remembered still holds: nothing is done for it.
    pub(super) waits: bool,
    /// When the backend last showed us as the host (a GET, or the answer to a write).
    pub(super) confirmed: Option<Instant>,
    /// When a look last showed, while we were ending, that nobody has the session any more, or that it is gone.
    pub(super) unclaimed: Option<Instant>,
    /// When the backend last answered a write of ours: what was read before that is old.
    pub(super) written: Option<Instant>,
    /// Somebody wants the session to be read now.
    pub(super) look: bool,
    /// How many players the game has, where anything tells.
    pub(super) players: Option<Players>,
    pub(super) store: StoreView,
    pub(super) counters: Counters,
    /// Calls in flight and who waits for them.
    owners: BTreeMap<CallId, (Region, CallKind)>,
    /// Calls that the backend did not let us make when they were last tried, and its error code.
    pub(super) forbidden: BTreeMap<CallKind, Option<Box<str>>>,
    /// Replies that wait for the store.
    replies: BTreeMap<Ticket, (RequestId, Verdict)>,
    ids: Counter,
    actions: VecDeque<Action>,
}

impl Common {
    pub(super) fn new(params: Arc<Params>, durable: Durable, seed: u64, wall: Timestamp, now: Instant) -> Self {
        Self {
            api: Api::new(params.api),
            verdict: Health::Healthy,
            params,
            now,
            wall: (wall, now),
            rng: Rng::with_seed(seed),
            phase: Phase::Resolving,
            phase_since: now,
            auth: Arc::new(AuthView::default()),
            rejected: None,
            durable,
            inbox_version: 0,
            outbox_version: 0,
            dead_version: 0,
            session: None,
            waits: false,
            confirmed: None,
            unclaimed: None,
            written: None,
            look: false,
            players: None,
            store: StoreView::default(),
            counters: Counters::default(),
            owners: BTreeMap::new(),
            forbidden: BTreeMap::new(),
            replies: BTreeMap::new(),
            ids: Counter::default(),
            actions: VecDeque::new(),
        }
    }

    /// The wall clock came with an event.
    pub(super) fn set_wall(&mut self, wall: Timestamp) {
        self.wall = (wall, self.now);
    }

    /// The wall clock now, as far as events have told.
    pub(super) fn wall(&self) -> Timestamp {
        let (wall, at) = self.wall;
        wall.checked_add(self.now.saturating_duration_since(at)).unwrap_or(wall)
    }

    /// The session, once found.
    pub(super) fn session_id(&self) -> Option<&SessionId> {
        self.durable.session.as_ref()
    }

    /// Our instance id, once known.
    pub(super) fn instance_id(&self) -> Option<&InstanceId> {
        self.durable.instance.as_ref()
    }

    /// The fence, for an allocated instance.
    pub(super) fn allocation_id(&self) -> Option<&AllocationId> {
        self.durable.allocation.as_ref()
    }

    /// Whether a call may be sent: there is a token that nobody has refused yet.
    pub(super) fn may_send(&self) -> bool {
        self.auth.state.has_token() && self.auth.generation.is_some_and(|generation| self.rejected < Some(generation))
    }

    /// Sends a call. Its answer goes to the region.
    ///
    /// **Architecture invariant:** nothing is sent once the instance is over, whatever a region may think.
    pub(super) fn send(&mut self, region: Region, call: Call, limit: Duration) -> CallId {
        let id = self.ids.call();
        self.owners.insert(id.clone(), (region, call.kind()));
        self.actions.push_back(Action::Send { id: id.clone(), call, limit });
        id
    }

    /// Takes a call back.
    pub(super) fn cancel(&mut self, id: CallId) {
        if self.owners.remove(&id).is_some() {
            self.actions.push_back(Action::Cancel(id));
        }
    }

    /// Takes all calls back: nothing is waited for any more.
    pub(super) fn cancel_all(&mut self) {
        for (id, _) in std::mem::take(&mut self.owners) {
            self.actions.push_back(Action::Cancel(id));
        }
    }

    /// Whose answer this is, and to what; `None` for one that nobody waits for.
    pub(super) fn answered(&mut self, id: &CallId) -> Option<(Region, CallKind)> {
        self.owners.remove(id)
    }

    /// Tells the login that a token was refused, once per token.
    pub(super) fn token_refused(&mut self, generation: Option<Generation>) {
        let Some(generation) = generation.or(self.auth.generation) else { return };
        if self.rejected < Some(generation) {
            self.rejected = Some(generation);
            self.actions.push_back(Action::TokenRejected(generation));
        }
    }

    /// A call failed. Says whether what it needs is gone from the API, or may be: then the session is looked at.
    pub(super) fn refused(&mut self, feature: Feature, failure: &Failure) -> Judgement {
        let judgement = self.api.judge(feature, failure);
        match judgement {
            Judgement::Nothing => {}
            Judgement::Suspected => {
                self.counters.calls_failed += 1;
                self.api.suspect(feature, self.now);
                self.look = true;
            }
            Judgement::Gone => {
                self.counters.calls_failed += 1;
                self.lose(feature);
            }
        }
        judgement
    }

    /// A part of the API is gone.
    pub(super) fn lose(&mut self, feature: Feature) {
        let (now, wall) = (self.now, self.wall());
        let finding = self.api.lose(feature, now, wall, &mut self.rng);
        let until = wall.checked_add(finding.until.saturating_duration_since(now)).unwrap_or(wall);
        let kept = Kept { since: finding.since, until, times: finding.times };
        self.remember(vec![Record::Gone { feature: feature.as_str().to_owned(), kept }]);
        self.act(Action::Learnt { feature, finding });
    }

    /// A call succeeded: what it needs is there.
    pub(super) fn works(&mut self, feature: Feature) {
        if let Some(finding) = self.api.find(feature, self.now, self.wall()) {
            self.remember(vec![Record::Back { feature: feature.as_str().to_owned() }]);
            self.act(Action::Learnt { feature, finding });
        }
    }

    /// What an earlier process has found out; the other instances are told.
    pub(super) fn recall_api(&mut self) {
        let (wall, now) = (self.wall(), self.now);
        self.api.recall(&self.durable.gone, wall, now);
        for (feature, finding) in self.api.findings().clone() {
            self.act(Action::Learnt { feature, finding });
        }
    }

    /// Counts a failed call and tells the operator.
    pub(super) fn call_failed(&mut self, kind: CallKind, failure: &Failure, retry_in: Option<Duration>) {
        self.counters.calls_failed += 1;
        if failure.kind != FailureKind::Unauthorised && failure.kind != FailureKind::NoToken {
            self.note(Note::CallFailed { kind, failure: failure.clone(), retry_in });
        }
    }

    /// Remembers facts: from now on in memory, on disk as soon as the disk lets us.
    pub(super) fn remember(&mut self, records: Vec<Record>) -> Ticket {
        for record in &records {
            self.apply(record);
        }
        self.store(records)
    }

    /// Another session or allocation than the one that is remembered: that life is over. Its reports name another instance and
    /// cannot go out under the new name, so they are set aside.
    pub(super) fn begin_another_life(&mut self) {
        let old = self.durable.session.as_ref().map_or("another one", SessionId::as_str);
        let reason = format!("it is about session {old}, and the agent was given another before it could be sent");
        let mut records = Vec::new();
        for report in &self.durable.outbox {
            records.push(Record::Dead { report: report.id.clone(), reason: reason.clone() });
            let (what, label) = (report.content.what(), report.content.label().to_owned());
            self.actions.push_back(Action::Note(Note::ReportDead { what, label, reason: reason.clone() }));
            self.counters.reports_dead += 1;
        }
        records.push(Record::Identity { session: None, instance: None, allocation: None });
        self.remember(records);
    }

    /// Writes facts that count only once they are on disk; the caller applies them then.
    pub(super) fn store(&mut self, records: Vec<Record>) -> Ticket {
        let ticket = self.ids.ticket();
        self.actions.push_back(Action::Store { ticket: ticket.clone(), records });
        ticket
    }

    /// Applies a fact to the working state.
    pub(super) fn apply(&mut self, record: &Record) {
        self.durable.apply(record);
        if matches!(
            record,
            Record::Page { .. }
                | Record::Noticed { .. }
                | Record::Acked { .. }
                | Record::SetAside { .. }
                | Record::Identity { .. }
        ) {
            self.inbox_version += 1;
        }
        if matches!(record, Record::Accepted(_) | Record::Sent { .. } | Record::Dead { .. } | Record::Revived { .. }) {
            self.outbox_version += 1;
        }
        if matches!(record, Record::Dead { .. } | Record::Revived { .. } | Record::Dropped { .. }) {
            self.dead_version += 1;
        }
    }

    /// The game is done with a notification and everything older. Says how many these are, and when the disk knows; `None` if
    /// it does not wait (any more).
    pub(super) fn acknowledge(&mut self, through: &NotificationId) -> Option<(usize, Ticket)> {
        let count = self.durable.inbox.iter().position(|waiting| waiting.notification_id == *through)? + 1;
        self.counters.notifications_acknowledged += u64::try_from(count).unwrap_or(u64::MAX);
        self.note(Note::Acknowledged { count });
        Some((count, self.remember(vec![Record::Acked { through: through.clone() }])))
    }

    /// Answers a request of the local API.
    pub(super) fn reply(&mut self, id: RequestId, verdict: Verdict) {
        self.actions.push_back(Action::Reply { id, verdict });
    }

    /// Answers a request once the store has finished with a batch, however that went: what was said is in force, and the
    /// store writes it when it can.
    pub(super) fn reply_after(&mut self, ticket: Ticket, id: RequestId, verdict: Verdict) {
        self.replies.insert(ticket, (id, verdict));
    }

    /// The store has finished with a batch.
    pub(super) fn stored(&mut self, ticket: &Ticket) {
        if let Some((id, verdict)) = self.replies.remove(ticket) {
            self.reply(id, verdict);
        }
    }

    /// Tells the operator something.
    pub(super) fn note(&mut self, note: Note) {
        self.actions.push_back(Action::Note(note));
    }

    /// Any other action.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            // What waits for its next event, mostly for seconds, holds no tray.
            self.actions = VecDeque::new();
        }
        action
    }

    /// A moment up to a tenth before or after `period` from now.
    pub(super) fn about(&mut self, period: Duration) -> Instant {
        self.now + period.mul_f64(0.9 + 0.2 * self.rng.f64())
    }
}
