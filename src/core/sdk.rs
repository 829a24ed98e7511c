//! What a game that was built for Agones says beyond ready and health, and the state that it is told.
//!
//! ```text
//!   Starting ──► Scheduled ──► RequestReady ──► Ready ◄──► Reserved      any ──► Unhealthy ──► back, once it is well
//!   no session   loading       said ready,        ▲ │                     any ──► Shutdown
//!                              backend does       │ ▼
//!                              not show it     Allocated
//! ```
//!
//! What it says is durable before it is in force: a reservation, an allocation, a label or an annotation is answered once it
//! is on disk, and one that the disk refuses has not happened. Ready is the exception, as it is in `POST /v1/ready`: a disk in
//! trouble keeps no players away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::action::Note;
use super::common::Common;
use super::durable::Record;
use super::event::{Denied, Granted, Said, StoreFault};
use super::game::Game;
use super::ids::{RequestId, Ticket};
use super::instance::{CustomData, Health, JoinStatus};
use super::ordered;
use super::params::Target;
use super::phase::Phase;
use super::publisher::Publisher;
use super::snapshot::DrainView;

mod rules;
mod said;
mod told;

pub use rules::{BYTES_LIMIT, ENTRIES_LIMIT, is_key};
use rules::{check_annotation, check_key, check_label, check_room};
pub use said::{Hold, SdkChange, SdkState};
pub use told::{SdkView, Told};

/// A change on its way to the disk.
#[derive(Debug, Clone)]
struct Pending {
    ticket: Ticket,
    /// Who waits for it.
    request: Option<RequestId>,
    change: SdkChange,
    /// What the disk said; in force once it is so with all before it.
    stored: Option<Result<(), StoreFault>>,
}

/// The machine behind the SDK.
#[derive(Debug, Clone)]
pub(super) struct Sdk {
    pending: VecDeque<Pending>,
    /// When the reservation is over.
    over: Option<Instant>,
    /// The backend has shown us as joinable since we are registered.
    shown: bool,
    /// The wall clock at its birth.
    since_wall: Timestamp,
    /// When the drain is over, as it was when that began.
    deletion: Option<Timestamp>,
    view: Arc<SdkView>,
}

impl Sdk {
    pub(super) fn new(common: &Common) -> Self {
        let mut sdk = Self {
            pending: VecDeque::new(),
            over: None,
            shown: false,
            since_wall: common.wall(),
            deletion: None,
            view: Arc::default(),
        };
        sdk.wind(common);
        sdk
    }

    /// What the game is told.
    pub(super) fn view(&self) -> Arc<SdkView> {
        Arc::clone(&self.view)
    }

    /// The game says something that counts once it is on disk.
    pub(super) fn ask(&mut self, common: &mut Common, request: RequestId, change: SdkChange) {
        if let Err(denied) = self.check(common, &change) {
            common.reply(request, Err(denied));
        } else if self.pending.is_empty() && is_so(common, &change) {
            common.reply(request, Ok(Granted::Done));
        } else {
            self.store(common, Some(request), change);
        }
    }

    /// The game asks to be reserved; no seconds, or none that a calendar has: until it says otherwise.
    pub(super) fn reserve(&mut self, common: &mut Common, request: RequestId, seconds: u64) {
        let span = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(SignedDuration::from_secs);
        let until = span.and_then(|span| common.wall().checked_add(span).ok());
        self.ask(common, request, SdkChange::Reserved { until });
    }

    /// The game says ready: whatever it had kept itself for is over. The ticket is that of the record; `None` if nothing changed.
    pub(super) fn freed(&mut self, common: &mut Common) -> Option<Ticket> {
        let kept = self.pending.iter().rev().find(|pending| pending.change.is_about_hold());
        let free = kept.map_or(common.durable.sdk.hold == Hold::Free, |pending| pending.change == SdkChange::Freed);
        if free {
            return None;
        }
        if self.pending.is_empty() {
            let ticket = common.remember(vec![Record::Sdk(SdkChange::Freed)]);
            self.wind(common);
            return Some(ticket);
        }
        Some(self.store(common, None, SdkChange::Freed))
    }

    fn store(&mut self, common: &mut Common, request: Option<RequestId>, change: SdkChange) -> Ticket {
        let ticket = common.store(vec![Record::Sdk(change.clone())]);
        self.pending.push_back(Pending { ticket: ticket.clone(), request, change, stored: None });
        ticket
    }

    /// The store has finished with a batch. Changes come into force in the order in which they were said, which is their
    /// order on disk.
    pub(super) fn handle_stored(&mut self, common: &mut Common, ticket: &Ticket, result: Result<(), StoreFault>) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.ticket == *ticket) {
            pending.stored = Some(result);
        }
        while let Some(result) = self.pending.front().and_then(|first| first.stored) {
            let Some(Pending { request, change, .. }) = self.pending.pop_front() else { return };
            if result.is_ok() || !change.is_refusable() {
                common.apply(&Record::Sdk(change));
                self.wind(common);
            }
            if let Some(request) = request {
                common.reply(request, result.map(|()| Granted::Done).map_err(Denied::Store));
            }
        }
    }

    /// Sets the timer by what is remembered.
    pub(super) fn wind(&mut self, common: &Common) {
        self.over = match common.durable.sdk.hold {
            Hold::Reserved { until: Some(until) } => {
                let left = until.duration_since(common.wall());
                common.now.checked_add(Duration::try_from(left).unwrap_or_default())
            }
            Hold::Reserved { until: None } | Hold::Free | Hold::Allocated => None,
        };
    }

    /// Ends a reservation whose time is over.
    pub(super) fn advance(&mut self, common: &mut Common) {
        if self.over.is_none_or(|over| over > common.now) {
            return;
        }
        self.over = None;
        self.freed(common);
        if !common.durable.said.ready
            && !is_ending(common.phase)
            && let Err(denied) = Game::says(common, Said::default(), true)
        {
            common.note(Note::Warning {
                cause: "reservation",
                words: format!("the game's reservation is over, but it is not ready: {denied}"),
            });
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.over
    }

    fn check(&self, common: &Common, change: &SdkChange) -> Result<(), Denied> {
        match change {
            SdkChange::Freed => Ok(()),
            SdkChange::Reserved { .. } | SdkChange::Allocated if is_ending(common.phase) => {
                Err(Denied::Phase(format!("the instance is {}: it takes no players any more", common.phase.as_str())))
            }
            SdkChange::Reserved { .. } => Ok(()),
            SdkChange::Allocated => Game::check_reachable(common, &common.durable.said),
            SdkChange::Label { key, value } => {
                check_key(key).and_then(|()| check_label(value)).and_then(|()| check_room(&self.with(common, change)))
            }
            SdkChange::Annotation { key, value } => check_key(key)
                .and_then(|()| check_annotation(value))
                .and_then(|()| check_room(&self.with(common, change))),
        }
    }

    /// What would be kept with one more, and with all that is on its way to the disk.
    fn with(&self, common: &Common, change: &SdkChange) -> SdkState {
        let mut next = common.durable.sdk.clone();
        for pending in &self.pending {
            next.apply(&pending.change);
        }
        next.apply(change);
        next
    }

    /// Brings what the game is told up to date.
    pub(super) fn refresh(
        &mut self,
        common: &Common,
        publisher: &Publisher,
        shown_joinable: bool,
        game: &Game,
        drain: Option<DrainView>,
    ) {
        self.shown = match common.phase {
            Phase::Resolving | Phase::Registering => false,
            Phase::Loading | Phase::Serving => {
                let taken = publisher.taken().is_some_and(|taken| taken.join_status == JoinStatus::Joinable);
                self.shown || taken || shown_joinable
            }
            Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => self.shown,
        };
        if self.deletion.is_none()
            && let Some(drain) = drain
        {
            let left = drain.deadline.saturating_duration_since(common.now);
            self.deletion = common.wall().checked_add(left).ok();
        }
        let durable = &common.durable.sdk;
        let kept = |shown: &Arc<BTreeMap<_, _>>, now: &BTreeMap<_, _>| {
            if **shown == *now { Arc::clone(shown) } else { Arc::new(now.clone()) }
        };
        let next = SdkView {
            version: self.view.version,
            state: self.told(common, game),
            session_id: common.session_id().cloned(),
            instance_id: common.instance_id().or(common.params.instance_id.as_ref()).cloned(),
            allocation_id: common.allocation_id().or_else(|| common.params.target.allocation()).cloned(),
            created: self.since_wall,
            deletion: self.deletion,
            labels: kept(&self.view.labels, &durable.labels),
            annotations: kept(&self.view.annotations, &durable.annotations),
            custom_data: Game::custom_data(common),
            startup_params: common.params.startup_params.clone(),
            join_params: Game::join_params(common, &common.durable.said),
            session: common.session.as_ref().map(|view| Arc::clone(&view.session)),
            heartbeat_timeout: common.params.heartbeat_timeout,
            startup_grace: common.params.startup_grace,
        };
        let next = match &common.params.target {
            Target::Session { session, .. } if next.session_id.is_none() => {
                SdkView { session_id: Some(session.clone()), ..next }
            }
            Target::Session { .. } | Target::Allocation(_) | Target::Awaited => next,
        };
        if next != *self.view {
            self.view = Arc::new(SdkView { version: self.view.version + 1, ..next });
        }
    }

    fn told(&self, common: &Common, game: &Game) -> Told {
        if is_ending(common.phase) {
            return Told::Shutdown;
        }
        if game.verdict() == Health::Unhealthy {
            return Told::Unhealthy;
        }
        match common.durable.sdk.hold {
            Hold::Allocated => Told::Allocated,
            Hold::Reserved { .. } => Told::Reserved,
            Hold::Free if game.is_ready(common) => {
                if self.shown {
                    Told::Ready
                } else {
                    Told::RequestReady
                }
            }
            Hold::Free => match common.phase {
                Phase::Resolving | Phase::Registering => Told::Starting,
                Phase::Loading | Phase::Serving => Told::Scheduled,
                Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => Told::Shutdown,
            },
        }
    }
}

/// What of labels and annotations the operator lets the backend see (`instance.publish_labels`): those with a value, and a
/// label before an annotation of the same key.
pub(super) fn published(common: &Common) -> CustomData {
    let SdkState { labels, annotations, .. } = &common.durable.sdk;
    let found = common.params.publish_labels.iter().filter_map(|key| {
        let value = [labels.get(key), annotations.get(key)].into_iter().flatten().find(|value| !value.is_empty())?;
        Some((key.clone(), value.clone()))
    });
    ordered::map(found)
}

fn is_ending(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => true,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => false,
    }
}

/// Whether it is so already, so that there is nothing to write.
fn is_so(common: &Common, change: &SdkChange) -> bool {
    let state = &common.durable.sdk;
    match change {
        SdkChange::Freed => state.hold == Hold::Free,
        SdkChange::Reserved { until } => until.is_none() && state.hold == Hold::Reserved { until: None },
        SdkChange::Allocated => state.hold == Hold::Allocated && common.durable.said.ready,
        SdkChange::Label { key, value } => state.labels.get(key) == Some(value),
        SdkChange::Annotation { key, value } => state.annotations.get(key) == Some(value),
    }
}
