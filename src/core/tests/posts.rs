//! Health posts: cadence, retry, changes, refusals.

use std::time::Duration;

use super::rig::*;
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::durable::Record;
use crate::core::event::{Command, Event, Request, Said};
use crate::core::instance::{Health, HealthConfig, JoinStatus};
use crate::core::params::Params;
use crate::core::{Machine as _, Note, Phase};

fn accepted() -> Result<Answer, Failure> {
    Ok(Answer::HealthAccepted(Health::Healthy))
}

/// Lets `seconds` pass in steps of 10 ms and gives the moments (in ms) at which health was posted, answering each by `answer`.
fn posts(rig: &mut Rig, seconds: u64, mut answer: impl FnMut(u64) -> Option<Result<Answer, Failure>>) -> Vec<u64> {
    let begun = rig.now;
    let mut sent = Vec::new();
    let mut known = rig.agent.snapshot().counters.health_sent;
    for _ in 0..seconds * 100 {
        rig.pass(Duration::from_millis(10));
        if !rig.kinds().contains(&CallKind::PostHealth) {
            rig.keep_quiet(true);
        }
        let now = rig.agent.snapshot().counters.health_sent;
        if now > known {
            assert_eq!(now, known + 1, "two posts in 10 ms");
            known = now;
            let at = u64::try_from((rig.now - begun).as_millis()).unwrap();
            sent.push(at);
            if let Some(result) = answer(at) {
                rig.answer(CallKind::PostHealth, result);
            }
        }
    }
    sent
}

#[test]
fn the_first_post_goes_out_at_registration_beside_the_configuration() {
    let rig = Rig::loading(params());
    assert!(rig.kinds().contains(&CallKind::PostHealth) && rig.kinds().contains(&CallKind::HealthConfig));
}

#[test]
fn posts_keep_the_cadence_on_a_fixed_grid() {
    let mut rig = Rig::serving(params());
    let sent = posts(&mut rig, 100, |_| Some(accepted()));
    assert!(sent[0] <= 10_000, "the first slot comes within a cadence: {sent:?}");
    for pair in sent.windows(2) {
        assert!((9_990..=10_010).contains(&(pair[1] - pair[0])), "{sent:?}");
    }
}

#[test]
fn the_backends_cadence_is_taken_and_clamped() {
    for (given, taken) in [(2, 2), (0, 1), (100_000, 3600)] {
        let mut rig = Rig::loading(params());
        let config = HealthConfig { cadence: Duration::from_secs(given) };
        rig.answer(CallKind::HealthConfig, Ok(Answer::HealthConfig(config)));
        assert_eq!(rig.agent.snapshot().health.cadence, Duration::from_secs(taken));
    }
}

#[test]
fn a_missing_configuration_never_stops_the_posts() {
    let mut rig = Rig::loading(params());
    rig.answer(CallKind::HealthConfig, Err(failure(FailureKind::Forbidden)));
    rig.answer(CallKind::PostHealth, accepted());
    let sent = posts(&mut rig, 60, |_| Some(accepted()));
    assert!(sent.len() >= 5, "{sent:?}");
}

#[test]
fn a_configuration_that_never_comes_is_asked_for_ever_more_rarely() {
    for (kind, at_most) in [(FailureKind::Forbidden, 40), (FailureKind::Server, 100)] {
        let mut rig = Rig::loading(params());
        rig.request(Request::Ready(Said::default()));
        rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
        let mut asked = 0;
        for _ in 0..7200 {
            if rig.kinds().contains(&CallKind::HealthConfig) {
                asked += 1;
                rig.answer(CallKind::HealthConfig, Err(failure(kind)));
            }
            rig.pass_quietly(Duration::from_secs(1), true);
        }
        assert_eq!(rig.phase(), Phase::Serving);
        // Full jitter around a ceiling that stays would be 240 times, or 960.
        assert!((3..=at_most).contains(&asked), "{kind:?}: {asked} times in two hours");
    }
}

#[test]
fn a_failed_post_is_retried_once_inside_its_cadence() {
    let mut rig = Rig::serving(params());
    let mut turn = 0;
    let sent = posts(&mut rig, 40, |_| {
        turn += 1;
        Some(if turn == 1 { Err(failure(FailureKind::Unreachable)) } else { accepted() })
    });
    // Slot, its retry at a quarter to a half of the cadence, and the next slot where it would have been anyway.
    assert!((2_490..=5_010).contains(&(sent[1] - sent[0])), "{sent:?}");
    assert!((9_990..=10_010).contains(&(sent[2] - sent[0])), "{sent:?}");
}

#[test]
fn the_first_post_of_all_is_not_repeated_at_once() {
    for seed in 0..50 {
        let mut rig = Rig::seeded(params(), seed);
        rig.log_in();
        rig.attach();
        let failed = rig.now;
        rig.answer(CallKind::PostHealth, Err(failure(FailureKind::Unreachable)));
        assert!(!rig.kinds().contains(&CallKind::PostHealth), "seed {seed}: again in the same moment");
        while !rig.kinds().contains(&CallKind::PostHealth) && rig.now - failed < Duration::from_secs(11) {
            rig.pass(Duration::from_millis(10));
        }
        assert!(rig.now - failed >= Duration::from_millis(2_490), "seed {seed}: {:?}", rig.now - failed);
    }
}

#[test]
fn a_lasting_outage_gets_no_more_posts_than_peace() {
    let mut rig = Rig::serving(params());
    let sent = posts(&mut rig, 600, |_| Some(Err(failure(FailureKind::Unreachable))));
    assert!(sent.len() <= 62, "{} posts in 600 s", sent.len());
}

#[test]
fn nothing_bursts_after_a_stall() {
    let mut rig = Rig::serving(params());
    posts(&mut rig, 30, |_| Some(accepted()));
    rig.stall(Duration::from_secs(120));
    rig.answer(CallKind::PostHealth, accepted());
    let sent = posts(&mut rig, 35, |_| Some(accepted()));
    assert!((3..=4).contains(&sent.len()), "one at once, then the grid: {sent:?}");
    for pair in sent.windows(2) {
        assert!((9_990..=10_010).contains(&(pair[1] - pair[0])), "{sent:?}");
    }
}

#[test]
fn one_post_is_in_flight_however_long_it_hangs() {
    let mut rig = Rig::serving(params());
    let sent = posts(&mut rig, 60, |_| None);
    assert_eq!(sent.len(), 1, "a second one would be a second in flight: {sent:?}");
}

#[test]
fn retry_after_is_honoured_even_here() {
    let mut rig = Rig::serving(params());
    let throttled = Failure { retry_after: Some(Duration::from_secs(40)), ..failure(FailureKind::Throttled) };
    let mut first = true;
    let sent =
        posts(&mut rig, 100, |_| Some(if std::mem::take(&mut first) { Err(throttled.clone()) } else { accepted() }));
    assert!(sent[1] - sent[0] >= 40_000, "{sent:?}");
    assert!(sent[1] - sent[0] <= 55_000, "{sent:?}");
}

#[test]
fn a_missing_permission_is_named_and_slows_down() {
    let mut rig = Rig::serving(params());
    let sent = posts(&mut rig, 600, |_| Some(Err(failure(FailureKind::Forbidden))));
    assert!(sent.len() <= 20, "{sent:?}");
    let named = rig.notes.iter().any(|note| format!("{note:?}").contains("session:instance:health"));
    assert!(named, "an operator must read which permission is missing");
}

#[test]
fn one_refusal_costs_one_beat_and_lasting_refusal_slows_down() {
    for kind in [FailureKind::Rejected, FailureKind::Unsupported] {
        let mut rig = Rig::serving(params());
        let mut first = true;
        let sent =
            posts(&mut rig, 100, |_| Some(if std::mem::take(&mut first) { Err(failure(kind)) } else { accepted() }));
        assert!(sent.len() >= 10 && sent.windows(2).all(|pair| pair[1] - pair[0] <= 10_100), "{kind:?}: {sent:?}");

        let mut rig = Rig::serving(params());
        let sent = posts(&mut rig, 600, |_| Some(Err(failure(kind))));
        assert!(sent.len() <= 20, "{kind:?}: {sent:?}");
    }
}

#[test]
fn a_404_reads_the_session_now() {
    let mut rig = Rig::serving(params());
    rig.pass(Duration::from_secs(10));
    rig.answer(CallKind::PostHealth, Err(failure(FailureKind::NotFound)));
    rig.pass(Duration::from_secs(1));
    assert!(rig.kinds().contains(&CallKind::ReadSession));
}

#[test]
fn a_changed_verdict_is_posted_within_a_second_and_the_grid_stays() {
    let mut rig = Rig::serving(params());
    let before = posts(&mut rig, 12, |_| Some(accepted()));
    let grid = *before.last().unwrap();
    rig.request(Request::Health { status: Health::Unhealthy, reason: Some("boss fight crashed".to_owned()) });
    rig.pass(Duration::from_secs(1));
    let Call::PostHealth { health, .. } =
        rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Unhealthy)))
    else {
        unreachable!()
    };
    assert_eq!(health, Health::Unhealthy);
    let after = posts(&mut rig, 12, |_| Some(Ok(Answer::HealthAccepted(Health::Unhealthy))));
    // 12 s and 1 s have passed since `before` began to count.
    assert!((grid + 10_000).abs_diff(after[0] + 13_000) <= 20, "{before:?} {after:?}");
}

#[test]
fn a_flapping_game_posts_no_more_than_once_a_second() {
    let mut rig = Rig::serving(params());
    let mut sent = 0;
    let before = rig.agent.snapshot().counters.health_sent;
    for turn in 0..100 {
        let status = if turn % 2 == 0 { Health::Degraded } else { Health::Healthy };
        rig.request(Request::Health { status, reason: None });
        rig.pass(Duration::from_millis(100));
        while rig.kinds().contains(&CallKind::PostHealth) {
            rig.answer(CallKind::PostHealth, accepted());
        }
        sent = rig.agent.snapshot().counters.health_sent - before;
    }
    assert!(sent <= 12, "{sent} posts in 10 s");
}

#[test]
fn the_silence_of_a_heartbeat_is_said_in_the_next_post_and_reported_once() {
    let mut rig = Rig::serving(params());
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    let mut said = Vec::new();
    for _ in 0..120 {
        rig.pass(Duration::from_secs(1));
        for kind in rig.kinds() {
            if kind == CallKind::PostHealth {
                let Call::PostHealth { health, .. } = rig.answer(kind, accepted()) else { unreachable!() };
                said.push(health);
            }
            if kind == CallKind::Fubar {
                let Call::Fubar { report, .. } = rig.answer(kind, Ok(Answer::Accepted)) else { unreachable!() };
                assert_eq!(report.error, "heartbeat_lost");
            }
        }
        rig.keep_quiet(true);
    }
    assert_eq!(*said.last().unwrap(), Health::Unhealthy, "{said:?}");
    assert_eq!(rig.agent.snapshot().counters.reports_sent, 1);
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    assert_eq!(rig.agent.snapshot().health.verdict, Health::Healthy, "it is back, and its word counts at once");
}

#[test]
fn a_disputed_answer_is_counted_and_shown() {
    let mut rig = Rig::loading(params());
    rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Unknown)));
    let snapshot = rig.agent.snapshot();
    assert_eq!(snapshot.counters.health_disputed, 1);
    assert_eq!(snapshot.health.last_answer.map(|(health, _)| health), Some(Health::Unknown));
}

#[test]
fn an_expired_token_costs_no_beat() {
    let mut rig = Rig::serving(params());
    rig.pass(Duration::from_secs(10));
    rig.answer(CallKind::PostHealth, Err(failure(FailureKind::Unauthorised)));
    assert!(!rig.kinds().contains(&CallKind::PostHealth), "not with the same token");
    assert_eq!(rig.rejected.len(), 1);
    rig.log_in();
    assert!(rig.kinds().contains(&CallKind::PostHealth), "owed, and sent at once");
}

fn configured(rig: &mut Rig, cadence: u64) {
    let config = HealthConfig { cadence: Duration::from_secs(cadence) };
    rig.answer(CallKind::HealthConfig, Ok(Answer::HealthConfig(config)));
}

#[test]
fn a_post_gives_up_before_the_next_is_due_and_after_ten_seconds() {
    for (cadence, limit) in [(10, 8_000), (100, 10_000), (1, 800)] {
        let mut rig = Rig::loading(params());
        rig.answer(CallKind::PostHealth, accepted());
        configured(&mut rig, cadence);
        posts(&mut rig, 2 * cadence + 10, |_| Some(accepted()));
        let kind = CallKind::PostHealth;
        let last = rig.limits.iter().rev().find(|(sent, _)| *sent == kind).map(|(_, limit)| limit.as_millis());
        assert_eq!(last, Some(limit), "cadence {cadence} s");
    }
}

#[test]
fn a_new_cadence_counts_from_now_is_remembered_once_and_makes_no_post_at_once() {
    let mut rig = Rig::loading(params());
    rig.answer(CallKind::PostHealth, accepted());
    configured(&mut rig, 2);
    assert!(!rig.kinds().contains(&CallKind::PostHealth));
    let sent = posts(&mut rig, 20, |_| Some(accepted()));
    assert!(sent[0] <= 2_010, "the slot in progress ends by the new cadence: {sent:?}");
    assert!(sent.len() >= 9, "{sent:?}");
    let remembered = |rig: &Rig| rig.records.iter().filter(|record| matches!(record, Record::Cadence { .. })).count();
    assert_eq!(
        rig.records.iter().find(|record| matches!(record, Record::Cadence { .. })),
        Some(&Record::Cadence { millis: 2_000 })
    );
    assert_eq!(remembered(&rig), 1);
    let mut durable = crate::core::durable::Durable::default();
    rig.records.iter().for_each(|record| durable.apply(record));
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
    configured(&mut rig, 2);
    assert_eq!(remembered(&rig), 0, "the disk knows it");
}

#[test]
fn a_reload_tries_refused_posts_at_the_next_beat_and_the_configuration_at_once() {
    for seed in 0..10 {
        let patient = Params { ready_timeout: Duration::from_secs(1000), ..params() };
        let mut rig = Rig::seeded(patient, seed);
        rig.log_in();
        rig.attach();
        rig.answer(CallKind::PostHealth, accepted());
        rig.answer(CallKind::HealthConfig, Err(failure(FailureKind::Forbidden)));
        posts(&mut rig, 300, |_| Some(Err(failure(FailureKind::Forbidden))));
        assert!(!rig.kinds().contains(&CallKind::PostHealth));
        if rig.kinds().contains(&CallKind::HealthConfig) {
            rig.answer(CallKind::HealthConfig, Err(failure(FailureKind::Forbidden)));
        }
        assert!(!rig.kinds().contains(&CallKind::HealthConfig));
        rig.event(Event::Command(Command::Reloaded));
        assert!(rig.kinds().contains(&CallKind::HealthConfig));
        rig.pass(Duration::from_secs(10));
        assert!(rig.kinds().contains(&CallKind::PostHealth), "seed {seed}");
    }
}

#[test]
fn only_a_missing_permission_for_the_configuration_is_named_as_one() {
    for (kind, named) in [(FailureKind::Forbidden, true), (FailureKind::NotFound, false), (FailureKind::Server, false)]
    {
        let mut rig = Rig::loading(params());
        rig.answer(CallKind::HealthConfig, Err(failure(kind)));
        assert!(!rig.kinds().contains(&CallKind::HealthConfig), "{kind:?}: not again at once");
        let warned = rig.notes.iter().any(|note| matches!(note, Note::Warning { cause: "permission", .. }));
        assert_eq!(warned, named, "{kind:?}");
        let told = rig.notes.iter().any(|note| matches!(note, Note::CallFailed { kind: CallKind::HealthConfig, .. }));
        assert!(told, "{kind:?}");
    }
}

#[test]
fn a_refused_post_without_a_new_word_gives_up_no_part_of_the_api() {
    let mut rig = Rig::serving(params());
    let mut first = true;
    let sent = posts(&mut rig, 30, |_| {
        Some(if std::mem::take(&mut first) { Err(failure(FailureKind::Rejected)) } else { accepted() })
    });
    assert!(rig.learnt.is_empty(), "{:?}", rig.learnt);
    assert!(sent[1] - sent[0] >= 2_490, "no repetition at once: {sent:?}");
}

#[test]
fn the_wait_that_the_backend_asked_for_ends_within_half_a_cadence() {
    for seed in 0..20 {
        let mut rig = Rig::seeded(params(), seed);
        rig.log_in();
        rig.attach();
        let throttled = Failure { retry_after: Some(Duration::from_secs(40)), ..failure(FailureKind::Throttled) };
        rig.answer(CallKind::PostHealth, Err(throttled));
        let sent = posts(&mut rig, 60, |_| Some(accepted()));
        assert!((40_000..=45_010).contains(&sent[0]), "seed {seed}: {sent:?}");
    }
}

#[test]
fn the_first_slot_may_have_its_retry_but_none_close_to_the_next_post() {
    let mut retried = 0;
    for seed in 0..60 {
        let mut rig = Rig::seeded(params(), seed);
        rig.log_in();
        rig.attach();
        rig.answer(CallKind::PostHealth, Err(failure(FailureKind::Unreachable)));
        let sent = posts(&mut rig, 25, |_| Some(accepted()));
        assert!(sent[1] - sent[0] >= 1_990, "seed {seed}: {sent:?}");
        retried += usize::from(sent[1] - sent[0] < 9_000);
    }
    assert!((10..60).contains(&retried), "{retried} of 60");
}

#[test]
fn what_was_posted_is_shown_and_every_outcome_is_counted() {
    let mut rig = Rig::serving(params());
    let before = rig.agent.snapshot();
    assert_eq!(before.health.last_said, Some(Health::Healthy));
    assert_eq!(before.health.last_sent, Some(rig.now));
    let mut turn = 0;
    posts(&mut rig, 100, |_| {
        turn += 1;
        Some(match turn {
            2 | 5 => Err(failure(FailureKind::Server)),
            7 | 8 => Ok(Answer::HealthAccepted(Health::Unknown)),
            _ => accepted(),
        })
    });
    let after = rig.agent.snapshot().counters;
    assert_eq!(after.health_failed - before.counters.health_failed, 2);
    assert_eq!(after.calls_failed - before.counters.calls_failed, 2);
    assert_eq!(after.health_disputed - before.counters.health_disputed, 2);
    let told = |note: &&Note| matches!(note, Note::CallFailed { kind: CallKind::PostHealth, .. });
    assert_eq!(rig.notes.iter().filter(told).count(), 2, "the operator is told of each");
}

#[test]
fn a_refused_token_is_no_failed_call_for_the_operator() {
    for kind in [FailureKind::Unauthorised, FailureKind::NoToken] {
        let mut rig = Rig::serving(params());
        rig.answer(CallKind::Poll, Err(failure(kind)));
        rig.pass(Duration::from_secs(10));
        if rig.kinds().contains(&CallKind::PostHealth) {
            rig.answer(CallKind::PostHealth, Err(failure(kind)));
        }
        rig.log_in();
        assert!(!rig.notes.iter().any(|note| matches!(note, Note::CallFailed { .. })), "{:?}", rig.notes);
    }
}

#[test]
fn a_retry_is_earned_by_ten_accepted_posts() {
    let mut rig = Rig::serving(params());
    let mut turn = 0;
    // The first failure has its retry, the next has none to spend; ten more posts earn the next one.
    let sent = posts(&mut rig, 200, |_| {
        turn += 1;
        Some(if [1, 3, 14].contains(&turn) { Err(failure(FailureKind::Unreachable)) } else { accepted() })
    });
    let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let quick: Vec<usize> = (0..gaps.len()).filter(|at| gaps[*at] <= 5_010).collect();
    assert_eq!(quick, [0, 13], "{gaps:?}");
}
