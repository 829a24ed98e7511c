//! One answer: every family with its series, written group by group.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{self as f, Family};
use super::histogram::Histogram;
use super::meters::InstanceMeter;
use super::own::Own;
use super::sheet::{Sheet, Value};
use super::{Meters, Seen};
use crate::core::allocation::{AllocationState, AllocationView};
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

/// A part of the answer that is written in one go. Families are kept whole.
pub(super) type Group = fn(&Page, &mut Sheet<'_>) -> fmt::Result;

/// In the order of [`f::ALL`].
pub(super) const GROUPS: [Group; 8] =
    [life, health, notifications, reports, game, local_api, backend, store_and_process];

/// A group, ready for the encoder.
pub(super) struct Part {
    pub(super) page: Arc<Page>,
    pub(super) group: Group,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

impl Collector for Part {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.group)(&self.page, &mut Sheet { encoder })
    }
}

impl Page {
    fn instances(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        self.seen.instances.iter().map(|(snapshot, _)| (snapshot.name.as_str(), &**snapshot))
    }

    /// One sample of each instance.
    fn each(&self, sheet: &mut Sheet<'_>, family: &'static Family, value: fn(&Snapshot) -> Value) -> fmt::Result {
        let mut samples = sheet.family(family)?;
        self.instances().try_for_each(|(name, snapshot)| samples.add(&[name], value(snapshot)))
    }

    /// One histogram of each instance.
    fn each_histogram(
        &self,
        sheet: &mut Sheet<'_>,
        family: &'static Family,
        histogram: fn(&InstanceMeter) -> &Histogram,
    ) -> fmt::Result {
        let mut samples = sheet.family(family)?;
        let mut meters = self.seen.instances.iter();
        meters.try_for_each(|(_, meter)| samples.histogram(&[meter.name().as_str()], histogram(meter)))
    }

    /// The states of each instance, and which it is in.
    fn each_state(
        &self,
        sheet: &mut Sheet<'_>,
        family: &'static Family,
        states: &[&'static str],
        now: fn(&Snapshot) -> Option<&'static str>,
    ) -> fmt::Result {
        let mut samples = sheet.family(family)?;
        self.instances().try_for_each(|(name, snapshot)| samples.states(&[name], states, now(snapshot)))
    }

    /// How long no post was accepted, in seconds.
    fn silence(&self, snapshot: &Snapshot) -> f64 {
        if !snapshot.phase.is_attached() {
            return 0.0;
        }
        let answered = snapshot.health.last_answer.map(|(_, when)| when);
        let since = answered.map_or(snapshot.phase_since, |when| when.max(snapshot.phase_since));
        self.seen.now.saturating_duration_since(since).as_secs_f64()
    }
}

fn life(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let mut counts = sheet.family(&f::INSTANCES)?;
    let roll = roll::call(page.instances().map(|(_, snapshot)| snapshot));
    roll.into_iter().try_for_each(|(state, count)| counts.add(&[state], count))?;
    page.each_state(sheet, &f::PHASE, &Phase::ALL.map(Phase::as_str), |snapshot| Some(snapshot.phase.as_str()))?;
    let mut allocation = sheet.family(&f::ALLOCATION)?;
    page.instances().try_for_each(|(name, snapshot)| {
        let AllocationView { source, state, .. } = &snapshot.allocation;
        allocation.states(&[name, source], &AllocationState::ALL.map(AllocationState::as_str), Some(state.as_str()))
    })?;
    page.each(sheet, &f::READY, |snapshot| snapshot.ready.into())?;
    let mut missing = sheet.family(&f::PERMISSION_MISSING)?;
    for (name, snapshot) in page.instances() {
        // A login needs no permission.
        for kind in CallKind::ALL.into_iter().filter(|kind| *kind != CallKind::Login) {
            missing.add(&[name, kind.as_str()], snapshot.forbidden.contains_key(&kind))?;
        }
    }
    let mut gone = sheet.family(&f::API_GONE)?;
    for (name, snapshot) in page.instances() {
        for feature in Feature::ALL {
            gone.add(&[name, feature.as_str()], snapshot.api.gone.contains_key(&feature))?;
        }
    }
    page.each(sheet, &f::CALLS_FAILED, |snapshot| snapshot.counters.calls_failed.into())
}

fn health(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let verdicts = VERDICTS.map(Health::as_str);
    page.each_state(sheet, &f::HEALTH_VERDICT, &verdicts, |snapshot| Some(snapshot.health.verdict.as_str()))?;
    page.each_state(sheet, &f::HEALTH_ANSWER, &verdicts, |snapshot| {
        snapshot.health.last_answer.map(|(answer, _)| answer.as_str())
    })?;
    page.each(sheet, &f::HEALTH_SENT, |snapshot| snapshot.counters.health_sent.into())?;
    page.each(sheet, &f::HEALTH_ANSWERED, |snapshot| snapshot.counters.health_answered.into())?;
    page.each(sheet, &f::HEALTH_DISPUTED, |snapshot| snapshot.counters.health_disputed.into())?;
    page.each(sheet, &f::HEALTH_FAILED, |snapshot| snapshot.counters.health_failed.into())?;
    page.each(sheet, &f::HEALTH_CADENCE, |snapshot| snapshot.health.cadence.as_secs_f64().into())?;
    let mut silence = sheet.family(&f::HEALTH_SILENCE)?;
    page.instances().try_for_each(|(name, snapshot)| silence.add(&[name], page.silence(snapshot)))?;
    page.each_histogram(sheet, &f::HEALTH_GAP, InstanceMeter::gap)
}

fn notifications(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let states = POLL_STATES.map(PollState::as_str);
    page.each_state(sheet, &f::POLL_STATE, &states, |snapshot| Some(snapshot.notifications.state.as_str()))?;
    page.each(sheet, &f::RECEIVED, |snapshot| snapshot.counters.notifications_received.into())?;
    page.each(sheet, &f::REPEATED, |snapshot| snapshot.counters.notifications_repeated.into())?;
    page.each(sheet, &f::UNUSABLE, |snapshot| snapshot.counters.notifications_unusable.into())?;
    page.each(sheet, &f::ACKNOWLEDGED, |snapshot| snapshot.counters.notifications_acknowledged.into())?;
    page.each(sheet, &f::INBOX, |snapshot| snapshot.notifications.inbox.len().into())?;
    page.each_histogram(sheet, &f::HANDOFF, InstanceMeter::handoff)
}

fn reports(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    page.each(sheet, &f::OUTBOX, |snapshot| snapshot.outbox.waiting.into())?;
    page.each(sheet, &f::DEAD_LETTERS, |snapshot| snapshot.outbox.dead.into())?;
    page.each(sheet, &f::REPORTS_ACCEPTED, |snapshot| snapshot.counters.reports_accepted.into())?;
    page.each(sheet, &f::REPORTS_SENT, |snapshot| snapshot.counters.reports_sent.into())?;
    page.each(sheet, &f::REPORTS_DEAD, |snapshot| snapshot.counters.reports_dead.into())?;
    page.each(sheet, &f::REPORTS_REFUSED, |snapshot| snapshot.counters.reports_refused.into())
}

fn players(snapshot: &Snapshot) -> Players {
    snapshot.game.players.unwrap_or_default()
}

fn game(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    page.each(sheet, &f::GAME_UP, |snapshot| snapshot.game.pid.is_some().into())?;
    page.each(sheet, &f::GAME_PLAYERS, |snapshot| u64::from(players(snapshot).count).into())?;
    page.each(sheet, &f::GAME_SLOTS, |snapshot| u64::from(players(snapshot).capacity).into())?;
    page.each(sheet, &f::GAME_CPU, |snapshot| snapshot.game.figures.cpu.unwrap_or_default().as_secs_f64().into())?;
    page.each(sheet, &f::GAME_MEMORY, |snapshot| snapshot.game.figures.memory.unwrap_or_default().into())?;
    page.each(sheet, &f::GAME_MEMORY_LIMIT, |snapshot| snapshot.game.figures.memory_limit.unwrap_or_default().into())?;
    let mut samples = sheet.family(&f::PROBE_HEALTH)?;
    for (name, snapshot) in page.instances() {
        let mut told: Vec<String> = Vec::new();
        for probe in &snapshot.game.probes {
            let probe_name: String = probe.name.chars().take(LABEL_LIMIT).collect();
            // Two probes of one name would be one series twice, for which a scrape is refused as a whole.
            if !told.contains(&probe_name) {
                let found = probe.health.map(Health::as_str);
                samples.states(&[name, &probe_name], &VERDICTS.map(Health::as_str), found)?;
                told.push(probe_name);
            }
        }
    }
    Ok(())
}

fn local_api(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let mut samples = sheet.family(&f::LOCAL_REQUESTS)?;
    for (_, meter) in &page.seen.instances {
        let name = meter.name().as_str();
        meter.local().try_for_each(|(route, class, count)| samples.add(&[name, route, class], count))?;
    }
    let mut samples = sheet.family(&f::PROXY_REQUESTS)?;
    for (_, meter) in &page.seen.instances {
        let name = meter.name().as_str();
        meter.proxy_calls().try_for_each(|(class, count)| samples.add(&[name, class], count))?;
    }
    page.each_histogram(sheet, &f::PROXY_DURATION, InstanceMeter::passages)
}

fn backend(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let requests = &page.meters.requests;
    let mut states = sheet.family(&f::AUTH_STATE)?;
    states.states(&[], &AUTH_STATES.map(AuthState::as_str), Some(page.seen.auth.as_str()))?;
    let mut logins = sheet.family(&f::LOGINS)?;
    requests.logins().try_for_each(|(result, count)| logins.add(&[result], count))?;
    let mut counts = sheet.family(&f::REQUESTS)?;
    requests.counts().try_for_each(|(kind, class, count)| counts.add(&[kind.as_str(), class], count))?;
    let mut durations = sheet.family(&f::REQUEST_DURATION)?;
    requests.durations().try_for_each(|(kind, histogram)| durations.histogram(&[kind.as_str()], histogram))?;
    let mut polls = sheet.family(&f::POLLS)?;
    requests.polls().try_for_each(|(outcome, count)| polls.add(&[outcome], count))
}

fn store_and_process(page: &Page, sheet: &mut Sheet<'_>) -> fmt::Result {
    let (store, own) = (&page.seen.store, &page.own);
    let state = StoreView { fault: store.fault, ..StoreView::default() }.state();
    sheet.family(&f::STORE_STATE)?.states(&[], &STORE_STATES, Some(state))?;
    sheet.single(&f::STORE_FAULTS, store.faults)?;
    let mut findings = sheet.family(&f::STORE_FINDINGS)?;
    store.findings.iter().try_for_each(|(kind, count)| findings.add(&[kind], *count))?;
    sheet.single(&f::STORE_SIZE, store.bytes)?;
    sheet.family(&f::STORE_WRITE)?.histogram(&[], page.meters.writes.histogram())?;
    sheet.single(&f::LOG_DROPPED, page.seen.log_lines_dropped)?;
    sheet.single(&f::PULSE_AGE, page.seen.slowest_loop.as_secs_f64())?;
    sheet.family(&f::BUILD_INFO)?.add(&[env!("CARGO_PKG_VERSION"), &super::target()], true)?;
    sheet.single(&f::PROCESS_START, page.started.as_duration().as_secs_f64())?;
    sheet.single(&f::PROCESS_CPU, own.cpu)?;
    sheet.single(&f::PROCESS_MEMORY, own.memory)?;
    sheet.single(&f::PROCESS_FDS, own.fds)
}
