//! The region that waits for an allocation, and that notices when it is taken back.
//!
//! ```text
//!   start, nothing remembered ──► Waiting ── given, and on disk ──► Allocated ── taken back, or another ──► Deallocated
//!   start, one remembered ──► Confirming ── the same, or no word in 2 s ──► ▲              (a drain, then the end)
//!                                 └── another, or none ──► Waiting: another life
//! ```
//!
//! While it waits or confirms, [`Common::waits`] keeps the life cycle and the reader of the session still. An allocation that was
//! ours and is over is not taken again before its source has said in between that there is none: sources repeat themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::made::Made;
use super::sic::Sic;
use super::{Allocation, AllocationState, AllocationView, Source, Teller, Word};
use crate::core::action::Note;
use crate::core::call::{Answer, Failure};
use crate::core::common::Common;
use crate::core::drain::Drain;
use crate::core::durable::Record;
use crate::core::event::{Denied, Granted, StoreFault};
use crate::core::ids::{CallId, RequestId, Ticket};
use crate::core::params::Target;
use crate::core::phase::Phase;
use crate::core::timers::earliest;

/// How long a restart waits for the source to say whether the allocation that is remembered still holds. A file says it at once; an
/// outage must not keep a live match without health posts.
const CONFIRM: Duration = Duration::from_secs(2);

/// An allocation on its way to the disk.
#[derive(Debug, Clone)]
struct Storing {
    ticket: Ticket,
    allocation: Allocation,
    /// Who waits for it.
    requests: Vec<RequestId>,
}

/// What asks for allocations, where the core itself does.
#[derive(Debug, Clone)]
enum Asker {
    Nobody,
    Sic(Box<Sic>),
    Made(Box<Made>),
}

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::core) struct Clerk {
    asker: Asker,
    state: AllocationState,
    confirm_by: Option<Instant>,
    storing: Option<Storing>,
    /// The newest word that nobody has acted on.
    word: Option<Word>,
    /// Why the source cannot tell, or why it ended.
    trouble: Option<Arc<str>>,
}

impl Clerk {
    /// Takes up what is remembered. Begins another life where that is over; so it is with reports that wait, if they were refused.
    pub(in crate::core) fn new(common: &mut Common, is_refused: bool) -> Self {
        let source = common.params.allocation.source.clone();
        let asker = match &source {
            Source::Fixed | Source::Told(_) => Asker::Nobody,
            Source::Made(wish) => Asker::Made(Box::new(Made::new((**wish).clone(), common.now))),
            Source::Sic(entry) => Asker::Sic(Box::new(Sic::new((**entry).clone(), common.now))),
        };
        let mut clerk = Self {
            asker,
            state: AllocationState::Allocated,
            confirm_by: None,
            storing: None,
            word: None,
            trouble: None,
        };
        if common.params.target != Target::Awaited {
            return clerk;
        }
        let durable = &common.durable;
        // Reports that could not go out before the end have one more chance: that life closes once more, and ends.
        let over = durable.superseded || (durable.closed && (durable.outbox.is_empty() || is_refused));
        if over && durable.given.is_some() {
            common.begin_another_life();
        }
        let Some(given) = common.durable.given.clone() else {
            clerk.waits(common);
            return clerk;
        };
        clerk.take(common, &given);
        if source.repeats() && !common.durable.closed {
            clerk.state = AllocationState::Confirming;
            clerk.confirm_by = Some(common.now + CONFIRM);
            common.waits = true;
        }
        clerk
    }

    fn waits(&mut self, common: &mut Common) {
        self.state = AllocationState::Waiting;
        self.confirm_by = None;
        Arc::make_mut(&mut common.params).target = Target::Awaited;
        common.waits = true;
    }

    /// From now on it is as if the configuration had said so.
    fn take(&mut self, common: &mut Common, allocation: &Allocation) {
        self.state = AllocationState::Allocated;
        self.confirm_by = None;
        self.trouble = None;
        common.waits = false;
        let params = Arc::make_mut(&mut common.params);
        params.target = allocation.target();
        // What the operator wrote down counts more.
        let address = allocation.address.as_ref().or(params.allocation.address.as_ref());
        if let Some(address) = address.filter(|_| !params.join_params.is_reachable()) {
            let found = address.join_params(&params.allocation.conn_str);
            params.join_params.public_conn_str = found.public_conn_str;
            params.join_params.private_conn_str = found.private_conn_str;
        }
    }

    /// Secrets or configuration were read again: what was refused may be tried at once.
    pub(in crate::core) fn reloaded(&mut self, now: Instant) {
        match &mut self.asker {
            Asker::Nobody => {}
            Asker::Sic(sic) => sic.reloaded(now),
            Asker::Made(made) => made.reloaded(now),
        }
    }

    /// A source outside says something.
    pub(in crate::core) fn hear(&mut self, word: Word) {
        self.word = Some(word);
    }

    /// An answer to one of its calls.
    pub(in crate::core) fn handle_answer(&mut self, common: &mut Common, id: &CallId, result: Result<Answer, Failure>) {
        let allocated = self.state == AllocationState::Allocated;
        let word = match &mut self.asker {
            Asker::Nobody => None,
            Asker::Sic(sic) => sic.handle_answer(common, allocated, id, result),
            Asker::Made(made) => made.handle_answer(common, id, result),
        };
        if let Some(word) = word {
            self.word = Some(word);
        }
    }

    /// POST /v1/allocate
    pub(in crate::core) fn allocate(&mut self, common: &mut Common, id: RequestId, allocation: Allocation) {
        if let Err(denied) = self.admit(common, &allocation) {
            return common.reply(id, Err(denied));
        }
        match (&mut self.storing, self.state) {
            (_, AllocationState::Allocated) => common.reply(id, Ok(Granted::Allocated { fresh: false })),
            (Some(storing), _) => storing.requests.push(id),
            (None, _) => self.store(common, allocation, Some(id)),
        }
    }

    fn admit(&self, common: &Common, allocation: &Allocation) -> Result<(), Denied> {
        let source = &common.params.allocation.source;
        if *source != Source::Told(Teller::Local) {
            let word = source.as_str();
            return Err(Denied::Phase(format!(
                "instance.source is \"{word}\": only with \"local\" is an instance allocated by this call"
            )));
        }
        if is_ending(common.phase) {
            let phase = common.phase.as_str();
            return Err(Denied::Phase(format!("the instance is {phase}: it takes no allocation any more")));
        }
        let held = match self.state {
            AllocationState::Waiting => self.storing.as_ref().map(|storing| &storing.allocation),
            AllocationState::Confirming | AllocationState::Allocated | AllocationState::Deallocated => {
                common.durable.given.as_ref()
            }
        };
        if let Some(held) = held.filter(|held| !held.is_same(allocation)) {
            return Err(Denied::Allocated(format!("it is allocated already: {}", held.words())));
        }
        if allocation.allocation_id.is_some() && is_spent(common, allocation) {
            return Err(Denied::Allocated(format!("{} was served and is over", allocation.words())));
        }
        Ok(())
    }

    /// DELETE /v1/allocate
    pub(in crate::core) fn deallocate(&mut self, common: &mut Common, drain: &mut Drain, id: RequestId) {
        let source = &common.params.allocation.source;
        let verdict = if *source != Source::Told(Teller::Local) {
            let word = source.as_str();
            Err(Denied::Phase(format!(
                "instance.source is \"{word}\": its source takes the allocation back, not this call"
            )))
        } else if self.state == AllocationState::Waiting {
            Err(Denied::Phase("there is no allocation to take back".to_owned()))
        } else {
            self.end(drain, "deallocated through the local API".to_owned());
            Ok(Granted::Draining)
        };
        common.reply(id, verdict);
    }

    fn store(&mut self, common: &mut Common, allocation: Allocation, request: Option<RequestId>) {
        let ticket = common.store(vec![Record::Given(allocation.clone())]);
        self.storing = Some(Storing { ticket, allocation, requests: request.into_iter().collect() });
    }

    /// The store has finished with a batch. What a caller was promised must be on disk; what a source repeats is used even if the
    /// disk refused it: after a crash it is said again.
    pub(in crate::core) fn handle_stored(
        &mut self,
        common: &mut Common,
        ticket: &Ticket,
        result: Result<(), StoreFault>,
    ) {
        let Some(Storing { allocation, requests, .. }) = self.storing.take_if(|storing| storing.ticket == *ticket)
        else {
            return;
        };
        let kept = result.is_ok() || requests.is_empty();
        if kept {
            common.apply(&Record::Given(allocation.clone()));
            // An instance that ends meanwhile leaves it to the next start.
            if !is_ending(common.phase) {
                self.take(common, &allocation);
                let source = common.params.allocation.source.as_str();
                common.note(Note::Info { words: format!("allocated ({source}): {}", allocation.words()) });
            }
        }
        for request in requests {
            let verdict = result.map(|()| Granted::Allocated { fresh: true }).map_err(Denied::Store);
            common.reply(request, verdict);
        }
    }

    /// Brings it up to date. Says whether another life has begun.
    pub(in crate::core) fn advance(&mut self, common: &mut Common, drain: &mut Drain) -> bool {
        if common.params.allocation.source == Source::Fixed || common.phase.outcome().is_some() {
            return false;
        }
        if is_ending(common.phase) || drain.wanted().is_some() {
            if self.state == AllocationState::Confirming {
                // Told to stop meanwhile: what is remembered is closed.
                self.resume(common);
            }
            return false;
        }
        let allocated = self.state == AllocationState::Allocated;
        match &mut self.asker {
            Asker::Nobody => {}
            Asker::Sic(sic) => sic.advance(common),
            Asker::Made(made) if !allocated && self.storing.is_none() => made.advance(common),
            Asker::Made(_) => {}
        }
        if self.confirm_by.is_some_and(|by| by <= common.now) {
            let source = common.params.allocation.source.as_str();
            common.note(Note::Info {
                words: format!(
                    "the source of allocations ({source}) is silent: the one that is remembered is taken up"
                ),
            });
            self.resume(common);
        }
        match self.word.take() {
            Some(Word::Given(given)) => self.given(common, drain, given),
            Some(Word::Nothing) => self.nothing(common, drain),
            Some(Word::Unreadable(words)) => {
                self.trouble = Some(Arc::from(words.as_str()));
                common.note(Note::Warning { cause: "allocation_source", words });
                false
            }
            None => false,
        }
    }

    fn resume(&mut self, common: &mut Common) {
        if let Some(given) = common.durable.given.clone() {
            self.take(common, &given);
        }
    }

    fn given(&mut self, common: &mut Common, drain: &mut Drain, given: Allocation) -> bool {
        self.trouble = None;
        let same = common.durable.given.as_ref().is_some_and(|held| held.is_same(&given));
        match self.state {
            AllocationState::Waiting if self.storing.is_some() => {
                // The disk first: then this is judged against what it has.
                self.word = Some(Word::Given(given));
                false
            }
            AllocationState::Waiting => {
                if !is_spent(common, &given) {
                    self.store(common, given, None);
                }
                false
            }
            AllocationState::Confirming if same => {
                self.resume(common);
                false
            }
            AllocationState::Confirming => {
                self.another_life(common);
                self.store(common, given, None);
                true
            }
            AllocationState::Allocated => {
                if !same {
                    self.end(drain, format!("its source gave this server away: {}", given.words()));
                }
                false
            }
            AllocationState::Deallocated => false,
        }
    }

    fn nothing(&mut self, common: &mut Common, drain: &mut Drain) -> bool {
        self.trouble = None;
        let reason = match &common.params.allocation.source {
            Source::Sic(_) => "SIC has deallocated this server",
            Source::Told(Teller::Multiplay) => "server.json names no session any more",
            Source::Told(Teller::File) => "allocation.file names no allocation any more",
            Source::Fixed | Source::Made(_) | Source::Told(Teller::Local) => "it was deallocated",
        };
        match self.state {
            AllocationState::Waiting => {
                if common.durable.spent.is_some() && self.storing.is_none() {
                    common.remember(vec![Record::Freed]);
                }
                false
            }
            // Nothing was said to the backend yet, so there is nothing to close.
            AllocationState::Confirming if common.durable.session.is_none() => {
                self.another_life(common);
                common.remember(vec![Record::Freed]);
                true
            }
            AllocationState::Confirming => {
                self.resume(common);
                self.end(drain, reason.to_owned());
                false
            }
            AllocationState::Allocated => {
                self.end(drain, reason.to_owned());
                false
            }
            AllocationState::Deallocated => false,
        }
    }

    fn another_life(&mut self, common: &mut Common) {
        common.begin_another_life();
        self.waits(common);
    }

    fn end(&mut self, drain: &mut Drain, reason: String) {
        self.state = AllocationState::Deallocated;
        self.trouble = Some(Arc::from(reason.as_str()));
        drain.want(reason);
    }

    /// What it shows of itself.
    pub(in crate::core) fn view(&self, common: &Common) -> AllocationView {
        let detail = match self.state {
            AllocationState::Allocated => self.trouble.clone(),
            AllocationState::Confirming => {
                Some(Arc::from("asking whether the allocation that is remembered still holds"))
            }
            AllocationState::Deallocated => self.trouble.clone(),
            AllocationState::Waiting => Some(self.waiting_for(common)),
        };
        AllocationView { source: common.params.allocation.source.as_str(), state: self.state, detail }
    }

    fn waiting_for(&self, common: &Common) -> Arc<str> {
        if let Some(trouble) = &self.trouble {
            return Arc::clone(trouble);
        }
        let words: &str = match (&self.asker, &common.params.allocation.source) {
            (Asker::Sic(sic), _) => &sic.detail(),
            (Asker::Made(made), _) => &made.detail(),
            (Asker::Nobody, Source::Told(Teller::Multiplay)) => {
                "a session in Multiplay's server.json (allocation.file)"
            }
            (Asker::Nobody, Source::Told(Teller::File)) => "an allocation in allocation.file",
            (Asker::Nobody, Source::Told(Teller::Local)) => "POST /v1/allocate of the local API",
            (Asker::Nobody, Source::Fixed | Source::Made(_) | Source::Sic(_)) => "an allocation",
        };
        match &common.durable.spent {
            Some(spent) if common.params.allocation.source.repeats() => {
                Arc::from(format!("waiting for {words}; {} is over", spent.words()))
            }
            Some(_) | None => Arc::from(format!("waiting for {words}")),
        }
    }

    pub(in crate::core) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        if is_ending(common.phase) {
            return None;
        }
        let asks = match &self.asker {
            Asker::Nobody => None,
            Asker::Sic(sic) => sic.poll_timeout(common),
            Asker::Made(made) if self.state == AllocationState::Waiting && self.storing.is_none() => {
                made.poll_timeout(common)
            }
            Asker::Made(_) => None,
        };
        earliest([asks, self.confirm_by])
    }
}

/// It was ours, and that life is over.
fn is_spent(common: &Common, given: &Allocation) -> bool {
    common.durable.spent.as_ref().is_some_and(|spent| spent.is_same(given))
}

fn is_ending(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => true,
        Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => false,
    }
}
