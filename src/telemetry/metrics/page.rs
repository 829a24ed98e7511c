//! What one answer says: every family, and what of it each instance has.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{self as f, Family};
use super::histogram::Histogram;
use super::meters::InstanceMeter;
use super::own::Own;
use super::sheet::{Samples, Sheet, Value};
use super::{Meters, Seen};
use crate::core::allocation::AllocationState;
use crate::core::api::Feature;
use crate::core::auth::AuthState;
use crate::core::call::CallKind;
use crate::core::instance::Health;
use crate::core::phase::Phase;
use crate::core::process::Players;
use crate::core::roll;
use crate::core::snapshot::{PollState, Snapshot, StoreView};

/// The words of a verdict.
const VERDICTS: [Health; 4] = [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Unknown];
const POLL_STATES: [PollState; 5] =
    [PollState::Off, PollState::Polling, PollState::BackingOff, PollState::Paused, PollState::Unsupported];
const AUTH_STATES: [AuthState; 5] =
    [AuthState::None, AuthState::LoggingIn, AuthState::Valid, AuthState::Refreshing, AuthState::Denied];
const STORE_STATES: [&str; 4] = ["ok", "full", "read_only", "failed"];

/// The longest value of a label that comes from the configuration, in characters.
const LABEL_LIMIT: usize = 128;

/// All that one answer is made of.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) meters: Meters,
    pub(super) seen: Seen,
    pub(super) own: Own,
    pub(super) started: Timestamp,
}

/// An instance, as an answer sees it.
pub(super) struct One<'a> {
    page: &'a Page,
    name: &'a str,
    snapshot: &'a Snapshot,
    meter: &'a InstanceMeter,
}

/// A family, and how its samples are written.
#[derive(Clone, Copy)]
pub(super) struct Chapter {
    family: &'static Family,
    samples: Told,
}

#[derive(Clone, Copy)]
enum Told {
    /// Of the process: in one go.
    Once(fn(&Page, &mut Samples<'_>) -> fmt::Result),
    /// Of each instance: they may be many, and are written some at a time.
    OfEach(fn(&One<'_>, &mut Samples<'_>) -> fmt::Result),
}

impl Chapter {
    /// How many instances it is about.
    pub(super) fn instances(&self, page: &Page) -> usize {
        match self.samples {
            Told::Once(_) => 0,
            Told::OfEach(_) => page.seen.instances.len(),
        }
    }
}

/// Some instances of a chapter, ready for the encoder, with the head of the family.
pub(super) struct Part {
    pub(super) page: Arc<Page>,
    pub(super) chapter: Chapter,
    /// Which.
    pub(super) instances: Range<usize>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("family", &self.chapter.family).finish_non_exhaustive()
    }
}

impl Collector for Part {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &*self.page;
        let mut sheet = Sheet { encoder };
        let mut samples = sheet.family(self.chapter.family)?;
        match self.chapter.samples {
            Told::Once(tell) => tell(page, &mut samples),
            Told::OfEach(tell) => {
                let some = page.seen.instances.get(self.instances.clone()).unwrap_or_default();
                some.iter().try_for_each(|(snapshot, meter)| {
                    tell(&One { page, name: snapshot.name.as_str(), snapshot, meter }, &mut samples)
                })
            }
        }
    }
}

impl One<'_> {
    fn value(&self, samples: &mut Samples<'_>, value: impl Into<Value>) -> fmt::Result {
        samples.add(&[self.name], value)
    }

    fn histogram(&self, samples: &mut Samples<'_>, histogram: &Histogram) -> fmt::Result {
        samples.histogram(&[self.name], histogram)
    }

    /// Its states, and which it is in.
    fn states(&self, samples: &mut Samples<'_>, states: &[&'static str], now: Option<&str>) -> fmt::Result {
        samples.states(&[self.name], states, now)
    }

    fn players(&self) -> Players {
        self.snapshot.game.players.unwrap_or_default()
    }

    /// How long no post was accepted, in seconds.
    fn silence(&self) -> f64 {
        let snapshot = self.snapshot;
        if !snapshot.phase.is_attached() {
            return 0.0;
        }
        let answered = snapshot.health.last_answer.map(|(_, when)| when);
        let since = answered.map_or(snapshot.phase_since, |when| when.max(snapshot.phase_since));
        self.page.seen.now.saturating_duration_since(since).as_secs_f64()
    }
}

const fn once(family: &'static Family, tell: fn(&Page, &mut Samples<'_>) -> fmt::Result) -> Chapter {
    Chapter { family, samples: Told::Once(tell) }
}

const fn each(family: &'static Family, tell: fn(&One<'_>, &mut Samples<'_>) -> fmt::Result) -> Chapter {
    Chapter { family, samples: Told::OfEach(tell) }
}

/// All families, in the order of [`f::ALL`].
pub(super) static CHAPTERS: &[Chapter] = &[
    once(&f::INSTANCES, |page, samples| {
        let roll = roll::call(page.seen.instances.iter().map(|(snapshot, _)| &**snapshot));
        roll.into_iter().try_for_each(|(state, count)| samples.add(&[state], count))
    }),
    each(&f::PHASE, |one, samples| {
        one.states(samples, &Phase::ALL.map(Phase::as_str), Some(one.snapshot.phase.as_str()))
    }),
    each(&f::ALLOCATION, |one, samples| {
        let view = &one.snapshot.allocation;
        let states = AllocationState::ALL.map(AllocationState::as_str);
        samples.states(&[one.name, view.source], &states, Some(view.state.as_str()))
    }),
    each(&f::READY, |one, samples| one.value(samples, one.snapshot.ready)),
    each(&f::PERMISSION_MISSING, |one, samples| {
        // A login needs no permission.
        let mut kinds = CallKind::ALL.into_iter().filter(|kind| *kind != CallKind::Login);
        kinds.try_for_each(|kind| samples.add(&[one.name, kind.as_str()], one.snapshot.forbidden.contains_key(&kind)))
    }),
    each(&f::API_GONE, |one, samples| {
        let gone = &one.snapshot.api.gone;
        let mut features = Feature::ALL.into_iter();
        features.try_for_each(|feature| samples.add(&[one.name, feature.as_str()], gone.contains_key(&feature)))
    }),
    each(&f::CALLS_FAILED, |one, samples| one.value(samples, one.snapshot.counters.calls_failed)),
    each(&f::HEALTH_VERDICT, |one, samples| {
        one.states(samples, &VERDICTS.map(Health::as_str), Some(one.snapshot.health.verdict.as_str()))
    }),
    each(&f::HEALTH_ANSWER, |one, samples| {
        let answer = one.snapshot.health.last_answer.map(|(answer, _)| answer.as_str());
        one.states(samples, &VERDICTS.map(Health::as_str), answer)
    }),
    each(&f::HEALTH_SENT, |one, samples| one.value(samples, one.snapshot.counters.health_sent)),
    each(&f::HEALTH_ANSWERED, |one, samples| one.value(samples, one.snapshot.counters.health_answered)),
    each(&f::HEALTH_DISPUTED, |one, samples| one.value(samples, one.snapshot.counters.health_disputed)),
    each(&f::HEALTH_FAILED, |one, samples| one.value(samples, one.snapshot.counters.health_failed)),
    each(&f::HEALTH_CADENCE, |one, samples| one.value(samples, one.snapshot.health.cadence.as_secs_f64())),
    each(&f::HEALTH_SILENCE, |one, samples| one.value(samples, one.silence())),
    each(&f::HEALTH_GAP, |one, samples| one.histogram(samples, one.meter.gap())),
    each(&f::POLL_STATE, |one, samples| {
        let now = one.snapshot.notifications.state.as_str();
        one.states(samples, &POLL_STATES.map(PollState::as_str), Some(now))
    }),
    each(&f::RECEIVED, |one, samples| one.value(samples, one.snapshot.counters.notifications_received)),
    each(&f::REPEATED, |one, samples| one.value(samples, one.snapshot.counters.notifications_repeated)),
    each(&f::UNUSABLE, |one, samples| one.value(samples, one.snapshot.counters.notifications_unusable)),
    each(&f::ACKNOWLEDGED, |one, samples| one.value(samples, one.snapshot.counters.notifications_acknowledged)),
    each(&f::INBOX, |one, samples| one.value(samples, one.snapshot.notifications.inbox.len())),
    each(&f::HANDOFF, |one, samples| one.histogram(samples, one.meter.handoff())),
    each(&f::OUTBOX, |one, samples| one.value(samples, one.snapshot.outbox.waiting)),
    each(&f::DEAD_LETTERS, |one, samples| one.value(samples, one.snapshot.outbox.dead)),
    each(&f::REPORTS_ACCEPTED, |one, samples| one.value(samples, one.snapshot.counters.reports_accepted)),
    each(&f::REPORTS_SENT, |one, samples| one.value(samples, one.snapshot.counters.reports_sent)),
    each(&f::REPORTS_DEAD, |one, samples| one.value(samples, one.snapshot.counters.reports_dead)),
    each(&f::REPORTS_REFUSED, |one, samples| one.value(samples, one.snapshot.counters.reports_refused)),
    each(&f::GAME_UP, |one, samples| one.value(samples, one.snapshot.game.pid.is_some())),
    each(&f::GAME_PLAYERS, |one, samples| one.value(samples, u64::from(one.players().count))),
    each(&f::GAME_SLOTS, |one, samples| one.value(samples, u64::from(one.players().capacity))),
    each(&f::GAME_CPU, |one, samples| {
        one.value(samples, one.snapshot.game.figures.cpu.unwrap_or_default().as_secs_f64())
    }),
    each(&f::GAME_MEMORY, |one, samples| one.value(samples, one.snapshot.game.figures.memory.unwrap_or_default())),
    each(&f::GAME_MEMORY_LIMIT, |one, samples| {
        one.value(samples, one.snapshot.game.figures.memory_limit.unwrap_or_default())
    }),
    each(&f::PROBE_HEALTH, probes),
    each(&f::LOCAL_REQUESTS, |one, samples| {
        one.meter.local().try_for_each(|(route, class, count)| samples.add(&[one.name, route, class], count))
    }),
    each(&f::PROXY_REQUESTS, |one, samples| {
        one.meter.proxy_calls().try_for_each(|(class, count)| samples.add(&[one.name, class], count))
    }),
    each(&f::PROXY_DURATION, |one, samples| one.histogram(samples, one.meter.passages())),
    once(&f::AUTH_STATE, |page, samples| {
        samples.states(&[], &AUTH_STATES.map(AuthState::as_str), Some(page.seen.auth.as_str()))
    }),
    once(&f::LOGINS, |page, samples| {
        page.meters.requests.logins().try_for_each(|(result, count)| samples.add(&[result], count))
    }),
    once(&f::REQUESTS, |page, samples| {
        let mut counts = page.meters.requests.counts();
        counts.try_for_each(|(kind, class, count)| samples.add(&[kind.as_str(), class], count))
    }),
    once(&f::REQUEST_DURATION, |page, samples| {
        let mut durations = page.meters.requests.durations();
        durations.try_for_each(|(kind, histogram)| samples.histogram(&[kind.as_str()], histogram))
    }),
    once(&f::POLLS, |page, samples| {
        page.meters.requests.polls().try_for_each(|(outcome, count)| samples.add(&[outcome], count))
    }),
    once(&f::STORE_STATE, |page, samples| {
        let state = StoreView { fault: page.seen.store.fault, ..StoreView::default() }.state();
        samples.states(&[], &STORE_STATES, Some(state))
    }),
    once(&f::STORE_FAULTS, |page, samples| samples.add(&[], page.seen.store.faults)),
    once(&f::STORE_FINDINGS, |page, samples| {
        page.seen.store.findings.iter().try_for_each(|(kind, count)| samples.add(&[kind], *count))
    }),
    once(&f::STORE_SIZE, |page, samples| samples.add(&[], page.seen.store.bytes)),
    once(&f::STORE_WRITE, |page, samples| samples.histogram(&[], page.meters.writes.histogram())),
    once(&f::LOG_DROPPED, |page, samples| samples.add(&[], page.seen.log_lines_dropped)),
    once(&f::PULSE_AGE, |page, samples| samples.add(&[], page.seen.slowest_loop.as_secs_f64())),
    once(&f::BUILD_INFO, |_, samples| samples.add(&[env!("CARGO_PKG_VERSION"), &super::target()], true)),
    once(&f::PROCESS_START, |page, samples| samples.add(&[], page.started.as_duration().as_secs_f64())),
    once(&f::PROCESS_CPU, |page, samples| samples.add(&[], page.own.cpu)),
    once(&f::PROCESS_MEMORY, |page, samples| samples.add(&[], page.own.memory)),
    once(&f::PROCESS_FDS, |page, samples| samples.add(&[], page.own.fds)),
];

fn probes(one: &One<'_>, samples: &mut Samples<'_>) -> fmt::Result {
    let mut told: Vec<String> = Vec::new();
    for probe in &one.snapshot.game.probes {
        let name: String = probe.name.chars().take(LABEL_LIMIT).collect();
        // Two probes of one name would be one series twice, for which a scrape is refused as a whole.
        if !told.contains(&name) {
            let found = probe.health.map(Health::as_str);
            samples.states(&[one.name, &name], &VERDICTS.map(Health::as_str), found)?;
            told.push(name);
        }
    }
    Ok(())
}
