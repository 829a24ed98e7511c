//! Pushing the inbox to the game: one notification at a time, oldest first (`notifications.deliver` is exec, webhook or log).
//!
//! ```text
//!   Idle ── oldest ──► Pushing ── taken ───────────► Recording ── on disk ──► Idle
//!                       ▲  ▲ │ └── refused, 3rd try ────► ▲ (set aside)
//!                       │  │ └──── refused ──► Retrying (0.1..2 s), the same one again
//!                       │  └───────────────────────┘
//!                       └── Absent (0.1..10 s, for ever) ◄── nobody there to ask
//! ```
//!
//! A notification that the taker refuses is poison for all behind it, so it is set aside after [`TRIES`] tries, and kept. A taker
//! that is not there says nothing about the notification: the game may not be up yet. Then nothing is set aside, and all wait.
//!
//! The next one is pushed once the disk knows of the last: after a crash at most one comes twice, with the same id.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Note};
use super::backoff::{Policy, Retry};
use super::common::Common;
use super::durable::{Record, SetAside};
use super::ids::{NotificationId, Ticket};
use super::params::Deliver;
use super::process::{HandOver, Untaken};
use super::snapshot::{HandOffState, HandOffView};

/// So many refusals, and a notification is set aside.
pub const TRIES: u32 = 3;
/// The longest that `notifications.deliver_timeout` may be.
pub const LONGEST_TRY: Duration = Duration::from_secs(8);
/// How much longer than that an adapter may take to end what it began.
pub const LONGEST_END: Duration = Duration::from_millis(500);
/// One bad notification never blocks the next for longer than this.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(30);

/// After a refusal.
const REFUSED: Policy = Policy::millis(500, 2000);
/// While nobody is there.
const ABSENT: Policy = Policy::secs(1, 10);
/// How long the next one waits for a disk that does not answer.
const DISK_PATIENCE: Duration = Duration::from_secs(1);

const _: () = assert!(
    (LONGEST_TRY.as_millis() + LONGEST_END.as_millis()) * TRIES as u128 + REFUSED.cap.as_millis() * (TRIES as u128 - 1)
        < LONGEST_BLOCK.as_millis(),
    "the tries of a bad notification and the waits between them must fit"
);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    /// The taker has it.
    Pushing(NotificationId),
    /// It is done with, and the disk is told; how long the next one waits for that.
    Recording {
        ticket: Ticket,
        until: Instant,
    },
    /// It was refused.
    Retrying {
        id: NotificationId,
        until: Instant,
    },
    /// Nobody is there.
    Absent {
        until: Instant,
    },
}

/// The machine of the push.
#[derive(Debug, Clone)]
pub(super) struct HandOff {
    state: State,
    /// The notification that was refused, and how often.
    refused: Option<(NotificationId, u32)>,
    retry: Retry,
    absent: Retry,
    last_failure: Option<Arc<str>>,
    /// The copy that readers share.
    set_aside: Arc<VecDeque<SetAside>>,
}

impl HandOff {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            state: State::Idle,
            refused: None,
            retry: Retry::new(REFUSED),
            absent: Retry::new(ABSENT),
            last_failure: None,
            set_aside: Arc::new(common.durable.set_aside.clone()),
        }
    }

    fn is_wanted(common: &Common) -> bool {
        common.params.deliver == Deliver::Push && common.phase.is_attached()
    }

    /// Something happened after which whoever was not there may be.
    pub(super) fn taker_may_have_come(&mut self) {
        if matches!(self.state, State::Absent { .. }) {
            self.state = State::Idle;
            self.absent.reset();
        }
    }

    pub(super) fn advance(&mut self, common: &mut Common) {
        let oldest = common.durable.inbox.front();
        match &self.state {
            // What it says counts in any phase.
            State::Pushing(_) => return,
            _ if !Self::is_wanted(common) => {
                self.state = State::Idle;
                return;
            }
            State::Recording { until, .. } | State::Absent { until } if *until > common.now => return,
            // Acknowledged through the local API meanwhile, it is not in the way of the next any more.
            State::Retrying { id, until }
                if *until > common.now && oldest.is_some_and(|oldest| oldest.notification_id == *id) =>
            {
                return;
            }
            State::Idle | State::Recording { .. } | State::Retrying { .. } | State::Absent { .. } => {}
        }
        self.state = State::Idle;
        let Some(notification) = oldest.cloned() else { return };
        let id = notification.notification_id.clone();
        let attempt = self.tries(&id) + 1;
        self.state = State::Pushing(id);
        common.act(Action::HandOver(HandOver { notification, attempt }));
    }

    /// How often it was refused in this run.
    fn tries(&self, id: &NotificationId) -> u32 {
        self.refused.as_ref().filter(|(refused, _)| refused == id).map_or(0, |(_, tries)| *tries)
    }

    /// A push has ended.
    pub(super) fn handle_result(&mut self, common: &mut Common, id: &NotificationId, result: Result<(), Untaken>) {
        if !matches!(&self.state, State::Pushing(pushed) if pushed == id) {
            return;
        }
        self.state = State::Idle;
        match result {
            Ok(()) => {
                self.absent.reset();
                self.retry.succeeded();
                self.refused = None;
                self.last_failure = None;
                if let Some((_, ticket)) = common.acknowledge(id) {
                    self.record(common, ticket);
                }
            }
            Err(Untaken::Absent(words)) => {
                let wait = self.absent.failed(common.now, &mut common.rng, None);
                self.state = State::Absent { until: common.now + wait };
                self.last_failure = Some(Arc::from(&*words));
                let words = format!("nobody is there to take notifications: {words}; they wait, and it is tried again");
                common.note(Note::Warning { cause: "taker_absent", words });
            }
            Err(Untaken::Refused(words)) => {
                self.absent.reset();
                self.refuse(common, id, &words);
            }
        }
    }

    fn refuse(&mut self, common: &mut Common, id: &NotificationId, words: &str) {
        common.counters.notifications_refused += 1;
        self.last_failure = Some(Arc::from(words));
        if common.durable.inbox.front().is_none_or(|oldest| oldest.notification_id != *id) {
            // Acknowledged through the local API meanwhile.
            return;
        }
        let tries = self.tries(id) + 1;
        if tries < TRIES {
            self.refused = Some((id.clone(), tries));
            let wait = self.retry.failed(common.now, &mut common.rng, None);
            self.state = State::Retrying { id: id.clone(), until: common.now + wait };
            let words = format!("a notification was not taken: {words}; the same one is tried again");
            common.note(Note::Warning { cause: "notification_refused", words });
            return;
        }
        self.refused = None;
        let record = Record::SetAside { id: id.clone(), reason: words.to_owned(), tries };
        let ticket = common.remember(vec![record]);
        self.record(common, ticket);
        self.set_aside = Arc::new(common.durable.set_aside.clone());
        common.counters.notifications_set_aside += 1;
        common.note(Note::SetAside { id: id.clone(), tries, reason: words.to_owned() });
    }

    fn record(&mut self, common: &Common, ticket: Ticket) {
        self.state = State::Recording { ticket, until: common.now + DISK_PATIENCE };
    }

    /// The store has finished with a batch, however that went: what was done is done.
    pub(super) fn handle_stored(&mut self, ticket: &Ticket) {
        if matches!(&self.state, State::Recording { ticket: wanted, .. } if wanted == ticket) {
            self.state = State::Idle;
        }
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        match &self.state {
            State::Recording { until, .. } | State::Retrying { until, .. } | State::Absent { until } => {
                Some(*until).filter(|until| Self::is_wanted(common) && *until > common.now)
            }
            State::Idle | State::Pushing(_) => None,
        }
    }

    pub(super) fn view(&self, common: &Common) -> HandOffView {
        let state = match &self.state {
            State::Pushing(_) | State::Recording { .. } => HandOffState::Pushing,
            State::Retrying { .. } => HandOffState::Retrying,
            State::Absent { .. } => HandOffState::Absent,
            State::Idle if Self::is_wanted(common) => HandOffState::Idle,
            State::Idle => HandOffState::Off,
        };
        HandOffView { state, last_failure: self.last_failure.clone(), set_aside: Arc::clone(&self.set_aside) }
    }
}
