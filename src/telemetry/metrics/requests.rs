//! What the HTTP client measures: requests to the backend, logins, polls, and when a notification came.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use crate::core::auth::is_permanent;
use crate::core::call::{Answer, CallKind, Failure, FailureKind, LoggedIn};
use crate::core::ids::{InstanceId, NotificationId};

/// How a request ended: the class of its status, or why there was no usable answer.
const CLASSES: [&str; 11] = [
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "unreachable",
    "cut",
    "timed_out",
    "no_token",
    "malformed",
    // Without a status: what could not be sent at all, and a token that was refused before.
    "rejected",
    "unauthorised",
];
/// How a login ended.
const RESULTS: [&str; 3] = ["ok", "failed", "denied"];
/// How a poll ended.
const OUTCOMES: [&str; 4] = ["news", "empty", "cut", "failed"];

/// In seconds. A poll waits for up to 25 s by default.
static DURATIONS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// What the HTTP client counts and times. Counting costs a few atomic additions.
#[derive(Debug)]
pub struct Requests {
    counts: [[AtomicU64; CLASSES.len()]; CallKind::ALL.len()],
    durations: [Histogram; CallKind::ALL.len()],
    logins: [AtomicU64; RESULTS.len()],
    polls: [AtomicU64; OUTCOMES.len()],
    arrivals: Arrivals,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            counts: Default::default(),
            durations: std::array::from_fn(|_| Histogram::new(&DURATIONS)),
            logins: Default::default(),
            polls: Default::default(),
            arrivals: Arrivals::default(),
        }
    }
}

impl Requests {
    /// A call came to its end after `took`.
    pub fn called(&self, kind: CallKind, result: &Result<Answer, Failure>, took: Duration) {
        let success = if matches!(result, Ok(Answer::NotModified)) { "3xx" } else { "2xx" };
        self.ended(kind, result.as_ref().map_or_else(class, |_| success), took);
        if kind == CallKind::Poll {
            let outcome = match result {
                Ok(Answer::Page(page)) if !page.notifications.is_empty() => "news",
                Ok(_) => "empty",
                Err(failure) if failure.kind == FailureKind::Cut || failure.status == Some(504) => "cut",
                Err(_) => "failed",
            };
            add(&OUTCOMES, &self.polls, outcome);
        }
    }

    /// One request of a login came to its end after `took`.
    pub fn asked_to_log_in<T>(&self, result: &Result<T, Failure>, took: Duration) {
        self.ended(CallKind::Login, result.as_ref().map_or_else(class, |_| "2xx"), took);
    }

    /// A login or refresh as a whole, which may be more than one request, came to its end.
    pub fn logged_in(&self, result: &Result<LoggedIn, Failure>) {
        let result = match result {
            Ok(_) => "ok",
            Err(failure) if is_permanent(failure) => "denied",
            Err(_) => "failed",
        };
        add(&RESULTS, &self.logins, result);
    }

    /// How many requests of a call ended in a class ("2xx", "timed_out").
    pub fn count(&self, kind: CallKind, class: &str) -> u64 {
        self.cell(kind, class).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// All of them, zeros included.
    pub fn counts(&self) -> impl Iterator<Item = (CallKind, &'static str, u64)> {
        CallKind::ALL
            .into_iter()
            .flat_map(move |kind| CLASSES.into_iter().map(move |class| (kind, class, self.count(kind, class))))
    }

    pub(super) fn durations(&self) -> impl Iterator<Item = (CallKind, &Histogram)> {
        CallKind::ALL.into_iter().zip(&self.durations)
    }

    pub(super) fn logins(&self) -> impl Iterator<Item = (&'static str, u64)> {
        read(&RESULTS, &self.logins)
    }

    pub(super) fn polls(&self) -> impl Iterator<Item = (&'static str, u64)> {
        read(&OUTCOMES, &self.polls)
    }

    /// When which notification came.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn ended(&self, kind: CallKind, class: &'static str, took: Duration) {
        if let Some(cell) = self.cell(kind, class) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((_, histogram)) = self.durations().find(|(of, _)| *of == kind) {
            histogram.observe(took);
        }
    }

    fn cell(&self, kind: CallKind, class: &str) -> Option<&AtomicU64> {
        let row = CallKind::ALL.iter().position(|known| *known == kind)?;
        let column = CLASSES.iter().position(|known| *known == class)?;
        self.counts.get(row)?.get(column)
    }
}

/// The class of a failure. A status that came with a body that broke off says less than that it did.
fn class(failure: &Failure) -> &'static str {
    match (failure.kind, failure.status) {
        (
            kind @ (FailureKind::Unreachable
            | FailureKind::Cut
            | FailureKind::TimedOut
            | FailureKind::NoToken
            | FailureKind::Malformed),
            _,
        ) => kind.as_str(),
        (_, Some(300..=399)) => "3xx",
        (_, Some(400..=499)) => "4xx",
        (_, Some(500..)) => "5xx",
        (FailureKind::Unauthorised, Some(_) | None) => "unauthorised",
        (
            FailureKind::Forbidden
            | FailureKind::NotFound
            | FailureKind::Unsupported
            | FailureKind::Conflict
            | FailureKind::Throttled
            | FailureKind::Server
            | FailureKind::Rejected
            | FailureKind::Redirected,
            Some(_) | None,
        ) => "rejected",
    }
}

fn add(words: &[&'static str], counters: &[AtomicU64], word: &str) {
    if let Some((_, counter)) = words.iter().zip(counters).find(|(known, _)| **known == word) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn read<'a>(words: &'a [&'static str], counters: &'a [AtomicU64]) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    words.iter().zip(counters).map(|(word, counter)| (*word, counter.load(Ordering::Relaxed)))
}

/// The most arrivals that are remembered. Of more, the oldest are forgotten: their hand-off is not measured.
const ARRIVALS: usize = 1024;

/// When notifications came that nobody has been given yet.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Hashes, which stand for two texts of any length.
    recent: Mutex<VecDeque<(u64, Instant)>>,
}

impl Arrivals {
    /// Notifications came for an instance.
    pub fn came<'a>(
        &self,
        instance: &InstanceId,
        notifications: impl IntoIterator<Item = &'a NotificationId>,
        now: Instant,
    ) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for id in notifications {
            if recent.len() >= ARRIVALS {
                recent.pop_front();
            }
            recent.push_back((key(instance, id), now));
        }
    }

    /// The first time that somebody is given a notification: when it came. Afterwards, and where that is not known, `None`.
    pub fn given(&self, instance: &InstanceId, notification: &NotificationId) -> Option<Instant> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.is_empty() {
            return None;
        }
        let key = key(instance, notification);
        let at = recent.iter().position(|(known, _)| *known == key)?;
        recent.remove(at).map(|(_, came)| came)
    }
}

/// Two that collide cost one measurement.
fn key(instance: &InstanceId, notification: &NotificationId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (instance, notification).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::core::call::Page;

    fn failure(kind: FailureKind, status: Option<u16>) -> Failure {
        Failure { status, ..Failure::local(kind, "") }
    }

    #[test]
    fn every_failure_has_a_class_that_is_shown() {
        let classes = [
            (FailureKind::Unreachable, None, "unreachable"),
            (FailureKind::Cut, Some(200), "cut"),
            (FailureKind::TimedOut, Some(200), "timed_out"),
            (FailureKind::NoToken, None, "no_token"),
            (FailureKind::Malformed, Some(200), "malformed"),
            (FailureKind::Unauthorised, Some(403), "4xx"),
            (FailureKind::Unauthorised, None, "unauthorised"),
            (FailureKind::Forbidden, Some(403), "4xx"),
            (FailureKind::NotFound, Some(410), "4xx"),
            (FailureKind::Unsupported, Some(501), "5xx"),
            (FailureKind::Conflict, Some(409), "4xx"),
            (FailureKind::Throttled, Some(429), "4xx"),
            (FailureKind::Server, Some(503), "5xx"),
            (FailureKind::Rejected, None, "rejected"),
            (FailureKind::Redirected, Some(307), "3xx"),
        ];
        let requests = Requests::default();
        for (kind, status, wanted) in classes {
            let before = requests.count(CallKind::Update, wanted);
            requests.called(CallKind::Update, &Err(failure(kind, status)), Duration::ZERO);
            assert_eq!(requests.count(CallKind::Update, wanted), before + 1, "{kind:?} {status:?}");
        }
        requests.called(CallKind::ReadSession, &Ok(Answer::NotModified), Duration::ZERO);
        requests.called(CallKind::Unregister, &Ok(Answer::Unregistered), Duration::ZERO);
        assert_eq!((requests.count(CallKind::ReadSession, "3xx"), requests.count(CallKind::Unregister, "2xx")), (1, 1));
        assert_eq!(requests.counts().map(|(_, _, count)| count).sum::<u64>(), classes.len() as u64 + 2);
    }

    #[test]
    fn polls_and_logins_are_told_apart() {
        let requests = Requests::default();
        let poll = |result| requests.called(CallKind::Poll, &result, Duration::from_secs(25));
        poll(Ok(Answer::Page(Page::default())));
        poll(Err(failure(FailureKind::Cut, None)));
        poll(Err(failure(FailureKind::Server, Some(504))));
        poll(Err(failure(FailureKind::Server, Some(500))));
        assert_eq!(requests.polls().collect::<Vec<_>>(), [("news", 0), ("empty", 1), ("cut", 2), ("failed", 1)]);

        requests.logged_in(&Ok(LoggedIn { lifetime: None, can_refresh: false }));
        requests.logged_in(&Err(failure(FailureKind::Unauthorised, Some(403))));
        let internal = Failure { code: Some("internal_error".into()), ..failure(FailureKind::Forbidden, Some(403)) };
        requests.logged_in(&Err(internal));
        requests.logged_in(&Err(failure(FailureKind::Unreachable, None)));
        assert_eq!(requests.logins().collect::<Vec<_>>(), [("ok", 1), ("failed", 2), ("denied", 1)]);
    }

    #[test]
    fn an_arrival_is_told_once_and_the_oldest_are_forgotten() {
        let arrivals = Arrivals::default();
        let (one, two) = (InstanceId::parse("one").unwrap(), InstanceId::parse("two").unwrap());
        let ids: Vec<_> = (0..=ARRIVALS).map(|n| NotificationId::parse(&n.to_string()).unwrap()).collect();
        let now = clock::now();
        arrivals.came(&one, &ids, now);
        assert_eq!(arrivals.given(&two, &ids[1]), None, "of another instance");
        assert_eq!(arrivals.given(&one, &ids[1]), Some(now));
        assert_eq!(arrivals.given(&one, &ids[1]), None, "told already");
        assert_eq!(arrivals.given(&one, &ids[0]), None, "forgotten");
    }
}
