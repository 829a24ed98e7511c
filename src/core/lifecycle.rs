//! The life of an instance: what it sees of the session, and which phase follows from it.
//!
//! The table of phases is in [`super::phase`]. This machine judges sightings of the session (whose instance is that?),
//! registers, says what the backend should show, and takes the instance down. **Architecture invariant:** it is the only one
//! that changes the phase.

use std::time::{Duration, Instant};

use super::api::Feature;
use super::backoff::{Policy, Retry};
use super::call::{Answer, Call, CallKind, Failure, FailureKind, InstanceUpdate, Registration};
use super::common::{CALL_LIMIT, Common, Region};
use super::drain::Drain;
use super::durable::Record;
use super::game::Game;
use super::ids::{CallId, InstanceId, Ticket};
use super::instance::{InstanceInfo, JoinStatus};
use super::outbox::Outbox;
use super::params::Target;
use super::phase::{Phase, Trigger};
use super::publisher::{Published, Publisher};
use super::session::{SessionReader, Sighting, missing};
use super::timers::earliest;

mod identity;
mod registering;
mod standing;
mod takedown;

use identity::place;
use standing::{Standing, closed_before, judge};
use takedown::TakeDown;

/// Between two tries to register.
const FAILED: Policy = Policy::secs(2, 60);
/// The backend refused the registration itself.
const REFUSED: Policy = Policy::secs(60, 900);

/// The other machines that the life cycle reads or tells something.
pub(super) struct Regions<'a> {
    pub(super) game: &'a mut Game,
    pub(super) drain: &'a mut Drain,
    pub(super) reader: &'a mut SessionReader,
    pub(super) publisher: &'a mut Publisher,
    pub(super) outbox: &'a Outbox,
}

/// The machine of the phases.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    /// Our id, should the store have none yet.
    fresh_id: InstanceId,
    /// The newest sighting that nobody has acted on yet.
    standing: Option<Standing>,
    /// The record of who we are is on its way to the disk.
    identity: Option<Ticket>,
    /// The record that we close it is on its way to the disk, and how long `closed` waits for that.
    closed: Option<(Ticket, Instant)>,
    register: Option<CallId>,
    retry: Retry,
    refused: Retry,
    /// When the newest sighting showed no instance: a POST may go, while that is young.
    free: Option<Instant>,
    /// It was taken; only a look that began after this says who has the session.
    settled: Option<Instant>,
    /// A look was asked for before the next POST.
    looking: bool,
    /// A POST may have been carried out although we have no answer.
    doubtful: bool,
    /// The backend has shown or answered in this run that we are the host.
    attached: bool,
    /// It showed us as joinable before we had said anything: a restart must not take that back.
    shown_joinable: bool,
    take_down: TakeDown,
    fence: Option<String>,
}

impl Lifecycle {
    pub(super) fn new(fresh_id: InstanceId) -> Self {
        Self {
            fresh_id,
            standing: None,
            identity: None,
            closed: None,
            register: None,
            retry: Retry::new(FAILED),
            refused: Retry::new(REFUSED),
            free: None,
            settled: None,
            looking: false,
            doubtful: false,
            attached: false,
            shown_joinable: false,
            take_down: TakeDown::default(),
            fence: None,
        }
    }

    pub(super) fn reloaded(&mut self) {
        self.refused.reset();
    }

    /// Whether the backend showed us as joinable before we had said anything.
    pub(super) fn is_shown_joinable(&self) -> bool {
        self.shown_joinable
    }

    /// The session was read.
    pub(super) fn handle_sighting(&mut self, common: &mut Common, reader: &mut SessionReader, sighting: &Sighting) {
        if reader.begun().zip(common.written).is_some_and(|(begun, written)| begun < written) {
            // Read before our last write was answered: it may show what was before.
            reader.look(common.now);
            return;
        }
        self.looking = false;
        let standing = match (sighting, &common.session) {
            (Sighting::Gone, _) => Standing::SessionGone,
            (Sighting::Seen, Some(view)) => judge(common, &view.session),
            (Sighting::Seen, None) => return,
        };
        if let Standing::Ours { .. } = &standing {
            common.confirmed = Some(common.now);
        }
        self.standing = Some(standing);
    }

    /// A PATCH came back.
    pub(super) fn handle_published(&mut self, common: &mut Common, reader: &mut SessionReader, published: Published) {
        match published {
            Published::Taken(info) => self.shown(common, &info),
            Published::Doubt => reader.look(common.now),
        }
    }

    /// The backend answered a write with the instance as it is now.
    fn shown(&mut self, common: &mut Common, info: &InstanceInfo) {
        common.written = Some(common.now);
        if let Some(why) = standing::foreign(common, info) {
            self.fence = Some(why);
        } else {
            common.confirmed = Some(common.now);
            self.attached = true;
            self.doubtful = false;
        }
    }

    /// A registration or an unregistration came back.
    pub(super) fn handle_answer(
        &mut self,
        common: &mut Common,
        publisher: &mut Publisher,
        id: &CallId,
        result: Result<Answer, Failure>,
    ) {
        if self.take_down.handle_answer(common, id, &result) {
            return;
        }
        if self.register.take_if(|wanted| wanted == id).is_none() {
            return;
        }
        match result {
            Ok(Answer::Instance(info)) => {
                self.retry.succeeded();
                self.refused.reset();
                publisher.assume(InstanceUpdate {
                    allocation_id: None,
                    join_status: info.join_status.clone(),
                    join_params: None,
                    version: None,
                    custom_data: Game::custom_data(common),
                    match_id: None,
                });
                self.registered(common, &info);
            }
            Ok(
                Answer::Session { .. }
                | Answer::NotModified
                | Answer::Unregistered
                | Answer::HealthConfig(_)
                | Answer::HealthAccepted(_)
                | Answer::Accepted
                | Answer::SessionMade(_)
                | Answer::Sic(_)
                | Answer::Page(_),
            ) => {
                self.not_registered(common, &Failure::local(FailureKind::Malformed, "the answer of another call"));
            }
            Err(failure) => self.not_registered(common, &failure),
        }
    }

    /// The store has finished with a batch.
    pub(super) fn handle_stored(&mut self, ticket: &Ticket) {
        self.identity.take_if(|wanted| wanted == ticket);
        self.closed.take_if(|(wanted, _)| wanted == ticket);
    }

    /// Does what is due in this phase; gives the trigger of the next one, with its reason in words.
    pub(super) fn advance(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        if common.durable.superseded && common.phase.outcome().is_none() && !common.waits {
            return Some((Trigger::Fenced, "it was superseded before the restart".to_owned()));
        }
        if let Some(why) = self.fence.take()
            && common.phase.outcome().is_none()
        {
            return Some((Trigger::Fenced, why));
        }
        match common.phase {
            Phase::Resolving => self.resolve(common, regions),
            Phase::Registering => self.register(common, regions),
            Phase::Loading | Phase::Serving => self.host(common, regions),
            Phase::Draining => self.drain(common, regions),
            Phase::Closing => self.close(common, regions),
            Phase::Ended | Phase::Superseded => None,
        }
    }

    fn resolve(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        if common.durable.closed {
            closed_before(common);
            regions.drain.want("it was closed before the restart".to_owned());
        }
        if let Some(reason) = regions.drain.wanted() {
            return Some((Trigger::Stop, reason.to_owned()));
        }
        if self.identity.is_some() || common.waits {
            return None;
        }
        match &self.standing {
            Some(Standing::Foreign(why)) => Some((Trigger::Fenced, why.clone())),
            Some(Standing::SessionGone) if common.durable.attached => {
                Some((Trigger::Fenced, "the session is gone".to_owned()))
            }
            // After a restart; a look while it hosts says the same.
            Some(Standing::Free | Standing::NotBound)
                if common.allocation_id().is_some() && common.durable.attached =>
            {
                Some((Trigger::Fenced, "the session has lost our allocation".to_owned()))
            }
            Some(Standing::Ours { .. } | Standing::Free) => {
                let identity = self.identity(common)?;
                let known = matches!(&identity, Record::Identity { session, instance, allocation }
                    if *session == common.durable.session
                        && *instance == common.durable.instance
                        && *allocation == common.durable.allocation);
                if known {
                    regions.reader.found(common);
                    return Some((Trigger::Found, "the session is there".to_owned()));
                }
                // On disk before the first write to the backend, so that a crash cannot make a second registration.
                // Where the disk did not take the allocation, it has another chance.
                let given = common.durable.given.clone().map(Record::Given);
                self.identity = Some(common.remember(given.into_iter().chain([identity]).collect()));
                None
            }
            Some(Standing::SessionGone | Standing::NotBound) | None => {
                self.standing = None;
                None
            }
        }
    }

    fn host(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        match self.standing.take() {
            Some(Standing::Foreign(why)) => return Some((Trigger::Fenced, why)),
            Some(Standing::SessionGone) => return Some((Trigger::Fenced, "the session is gone".to_owned())),
            Some(Standing::Ours { status: JoinStatus::Closed }) => {
                return Some((Trigger::Fenced, "somebody else closed the instance".to_owned()));
            }
            Some(Standing::Ours { status }) => {
                let shown = regions.publisher.taken().map(|taken| &taken.join_status);
                if shown.is_some_and(|taken| *taken != status) {
                    regions.publisher.forget();
                }
            }
            Some(Standing::Free | Standing::NotBound) if common.allocation_id().is_some() => {
                return Some((Trigger::Fenced, "the session has lost our allocation".to_owned()));
            }
            Some(Standing::Free) => {
                self.free = Some(common.now);
                self.attached = false;
                regions.publisher.forget();
                return Some((Trigger::Vanished, "the session has lost our instance; nobody else has it".to_owned()));
            }
            Some(Standing::NotBound) | None => {}
        }
        if let Some(reason) = regions.drain.wanted() {
            return Some((Trigger::Stop, reason.to_owned()));
        }
        if common.phase == Phase::Loading && regions.game.is_ready(common) {
            return Some((Trigger::Ready, "the game is ready".to_owned()));
        }
        None
    }

    fn drain(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        if let Some(fenced) = self.sighted_while_ending(common) {
            return Some(fenced);
        }
        let drained = if regions.game.is_held() {
            // One that we started ends with us: it is told to stop, and by force if it must be.
            None
        } else if regions.game.is_over() {
            Some("the game has ended")
        } else {
            regions.drain.is_drained(common.now, regions.game.client_seen)
        };
        drained.map(|drained| (Trigger::Drained, drained.to_owned()))
    }

    /// While we are ending, a missing instance or session is what we wanted.
    fn sighted_while_ending(&mut self, common: &mut Common) -> Option<(Trigger, String)> {
        match self.standing.take()? {
            Standing::Foreign(why) => Some((Trigger::Fenced, why)),
            Standing::Free | Standing::SessionGone => {
                common.unclaimed = Some(common.now);
                self.take_down.gone();
                None
            }
            Standing::NotBound => {
                self.take_down.gone();
                None
            }
            // Stopped before we had said a word: it is not for us to close.
            Standing::Ours { .. } if common.session_id().is_none() => None,
            Standing::Ours { status } => {
                self.attached = true;
                self.doubtful = false;
                self.take_down.seen(status);
                None
            }
        }
    }

    /// A game that we started and that has not been the host yet may still run while we close.
    fn close(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        let finished = self.say_last_words(common, regions)?;
        (finished.0 == Trigger::Fenced || !regions.game.is_held()).then_some(finished)
    }

    fn say_last_words(&mut self, common: &mut Common, regions: &mut Regions<'_>) -> Option<(Trigger, String)> {
        if let Some(fenced) = self.sighted_while_ending(common) {
            return Some(fenced);
        }
        if regions.drain.is_closing_over(common.now) {
            return Some((Trigger::Finished, "the time for the last words is over".to_owned()));
        }
        if self.register.is_some() {
            return None;
        }
        let hosted = self.attached || self.doubtful || common.durable.attached;
        let flushed = regions.outbox.is_flushed(common) || regions.drain.is_flush_over(common.now);
        let down = !hosted || self.take_down.advance(common, regions.reader, regions.publisher, self.attached, flushed);
        (down && flushed).then(|| (Trigger::Finished, "all is said".to_owned()))
    }

    /// The phase has changed.
    pub(super) fn entered(&mut self, common: &mut Common, regions: &mut Regions<'_>) {
        match common.phase {
            Phase::Loading => {
                if !common.durable.attached {
                    common.remember(vec![Record::Attached]);
                }
            }
            Phase::Draining => {
                self.close_durably(common);
                regions.drain.begin(common.now, regions.game.drain_time(common));
            }
            Phase::Closing => {
                let hosted = self.attached || self.doubtful || common.durable.attached || self.register.is_some();
                if hosted && !common.durable.closed {
                    self.close_durably(common);
                }
                regions.drain.close(common.now);
            }
            Phase::Superseded => {
                common.cancel_all();
                let mut records = Vec::new();
                if !common.durable.is_somebody() {
                    // In which place: a start for another session or allocation is not superseded.
                    records.push(place(common));
                }
                records.push(Record::Superseded);
                common.remember(records);
            }
            Phase::Ended => common.cancel_all(),
            Phase::Resolving | Phase::Registering | Phase::Serving => {}
        }
        regions.publisher.wish(self.wish(common));
    }

    /// On disk before the backend hears of it: an agent that is killed in between would take its own `closed` for somebody
    /// else's. But a disk that does not answer keeps nobody from ending.
    fn close_durably(&mut self, common: &mut Common) {
        let ticket = common.remember(vec![Record::Closed]);
        self.closed = Some((ticket, common.now + CLOSED_PATIENCE));
    }

    /// What the backend should show.
    pub(super) fn wish(&self, common: &Common) -> Option<InstanceUpdate> {
        let unjoinable = common.api.understands(Feature::Unjoinable, common.now);
        let join_status = match common.phase {
            Phase::Registering if common.allocation_id().is_some() => JoinStatus::Pending,
            Phase::Loading if self.shown_joinable => return None,
            Phase::Loading => JoinStatus::Pending,
            Phase::Serving if common.durable.said.joinable == Some(false) && unjoinable => JoinStatus::Unjoinable,
            Phase::Serving if common.durable.said.joinable == Some(false) => JoinStatus::Pending,
            Phase::Serving => JoinStatus::Joinable,
            Phase::Draining | Phase::Closing if self.closed.as_ref().is_some_and(|(_, until)| common.now < *until) => {
                return None;
            }
            Phase::Draining if self.attached && !self.take_down.is_gone() && unjoinable => JoinStatus::Unjoinable,
            Phase::Draining | Phase::Closing if self.attached && !self.take_down.is_gone() => JoinStatus::Closed,
            Phase::Resolving
            | Phase::Registering
            | Phase::Draining
            | Phase::Closing
            | Phase::Ended
            | Phase::Superseded => return None,
        };
        let join_params = Game::join_params(common, &common.durable.said);
        Some(InstanceUpdate {
            allocation_id: common.allocation_id().cloned(),
            join_status,
            join_params: join_params.is_reachable().then_some(join_params),
            version: common.durable.said.version.clone().or_else(|| common.params.version.clone()),
            custom_data: Game::custom_data(common),
            match_id: Game::match_id(common),
        })
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        let registering = common.phase == Phase::Registering
            && common.allocation_id().is_none()
            && self.register.is_none()
            && !self.looking
            && common.may_send();
        let registering = registering
            .then(|| [self.retry.until(), self.refused.until(), self.settled].into_iter().flatten().max())
            .map(|at| at.unwrap_or(common.now));
        let closed = self.closed.as_ref().map(|(_, until)| *until).filter(|until| *until > common.now);
        earliest([registering, closed, self.take_down.poll_timeout(common)])
    }
}

/// How long `closed` waits for the disk.
const CLOSED_PATIENCE: Duration = Duration::from_secs(1);
/// The longest that taking down may wait between two tries.
const TAKE_DOWN: Policy = Policy::millis(250, 1000);
const _: () = assert!(CALL_LIMIT.as_secs() < 9, "a hung call must leave time to close");
