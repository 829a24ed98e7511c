//! Pushing notifications: one at a time, in order, none lost, and none in the way for long.

use std::time::Duration;

use super::model::{Faults, World};
use super::rig::*;
use crate::core::call::{Answer, CallKind, Failure, Page};
use crate::core::durable::{Durable, Record, SET_ASIDE_LIMIT};
use crate::core::event::{Command, Event, Granted, Request, Said, StoreFault};
use crate::core::hand_off::{LONGEST_BLOCK, LONGEST_END, LONGEST_TRY, TRIES};
use crate::core::ids::NotificationId;
use crate::core::instance::{Health, JoinStatus};
use crate::core::params::{Deliver, Params};
use crate::core::process::Untaken;
use crate::core::snapshot::{HandOffState, PollState};
use crate::core::{Machine as _, Note, Phase};

fn pushing() -> Params {
    Params { deliver: Deliver::Push, ..params() }
}

fn id(id: &str) -> NotificationId {
    NotificationId::parse(id).unwrap()
}

fn page(ids: &[&str]) -> Result<Answer, Failure> {
    Ok(Answer::Page(Page {
        notifications: ids.iter().map(|id| notification(id)).collect(),
        unusable: 0,
        last_id: ids.last().map(|last| id(last)),
    }))
}

/// A rig with these waiting, the first being pushed.
fn with(ids: &[&str]) -> Rig {
    let mut rig = Rig::serving(pushing());
    rig.answer(CallKind::Poll, page(ids));
    rig
}

/// What is being pushed, and which try it is.
fn pushed(rig: &Rig) -> Option<(String, u32)> {
    rig.pushed.front().map(|what| (what.notification.notification_id.to_string(), what.attempt))
}

fn one(id: &str, attempt: u32) -> Option<(String, u32)> {
    Some((id.to_owned(), attempt))
}

fn end(rig: &mut Rig, result: Result<(), Untaken>) {
    let what = rig.pushed.pop_front().expect("nothing is pushed");
    rig.event(Event::HandedOver { id: what.notification.notification_id.clone(), result });
}

fn refused() -> Result<(), Untaken> {
    Err(Untaken::Refused("exit code 1".into()))
}

fn absent() -> Result<(), Untaken> {
    Err(Untaken::Absent("connection refused".into()))
}

fn inbox(rig: &Rig) -> Vec<String> {
    rig.agent.snapshot().notifications.inbox.iter().map(|n| n.notification_id.to_string()).collect()
}

fn set_aside(rig: &Rig) -> Vec<String> {
    let view = rig.agent.snapshot().notifications.hand_off;
    view.set_aside.iter().map(|kept| kept.notification.notification_id.to_string()).collect()
}

fn state(rig: &Rig) -> HandOffState {
    rig.agent.snapshot().notifications.hand_off.state
}

fn durable(rig: &Rig) -> Durable {
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    durable
}

/// Passes time until something is pushed, and says how long that was; at most an hour.
fn until_pushed(rig: &mut Rig) -> Duration {
    let begun = rig.now;
    while rig.pushed.is_empty() {
        assert!(rig.now - begun < Duration::from_secs(3600), "nothing is pushed any more");
        rig.pass_quietly(Duration::from_millis(10), false);
    }
    rig.now - begun
}

#[test]
fn one_at_a_time_and_in_order() {
    let mut rig = with(&["a", "b", "c"]);
    for next in ["a", "b", "c"] {
        assert_eq!(pushed(&rig), one(next, 1));
        assert_eq!(state(&rig), HandOffState::Pushing);
        end(&mut rig, Ok(()));
        assert!(rig.records.contains(&Record::Acked { through: id(next) }));
    }
    assert_eq!(pushed(&rig), None);
    assert_eq!(inbox(&rig), [""; 0]);
    assert_eq!(rig.agent.snapshot().counters.notifications_acknowledged, 3);
    assert_eq!(rig.notes.iter().filter(|note| matches!(note, Note::Acknowledged { count: 1 })).count(), 3);
    assert_eq!(state(&rig), HandOffState::Idle);
    assert!(durable(&rig).inbox.is_empty());
}

#[test]
fn a_game_that_asks_is_not_pushed_anything() {
    let mut rig = Rig::serving(params());
    rig.answer(CallKind::Poll, page(&["a"]));
    rig.pass_quietly(Duration::from_secs(60), false);
    assert_eq!(pushed(&rig), None);
    assert_eq!(state(&rig), HandOffState::Off);
}

#[test]
fn nothing_is_pushed_before_it_is_on_disk_and_the_next_waits_for_the_disk_too() {
    let mut rig = Rig::serving(pushing());
    rig.store = None;
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    assert_eq!(pushed(&rig), None, "the page is not on disk");
    rig.stored(Ok(()));
    assert_eq!(pushed(&rig), one("a", 1));
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), None, "the acknowledgement is not on disk");
    rig.stored(Ok(()));
    assert_eq!(pushed(&rig), one("b", 1));
    // A disk that refuses, or does not answer, stops nobody for long.
    end(&mut rig, Ok(()));
    rig.stored(Err(StoreFault::Full));
    rig.answer(CallKind::Poll, page(&["c", "d"]));
    rig.stored(Err(StoreFault::Full));
    assert_eq!(pushed(&rig), one("c", 1));
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), None);
    rig.pass(Duration::from_secs(1));
    assert_eq!(pushed(&rig), one("d", 1));
}

#[test]
fn a_refused_one_is_tried_again_soon_with_the_same_id_and_keeps_its_place() {
    let mut rig = with(&["a", "b"]);
    for attempt in 1..TRIES {
        assert_eq!(pushed(&rig), one("a", attempt));
        end(&mut rig, refused());
        assert_eq!(pushed(&rig), None, "not at once");
        assert_eq!(state(&rig), HandOffState::Retrying);
        let view = rig.agent.snapshot().notifications.hand_off;
        assert_eq!(view.last_failure.as_deref(), Some("exit code 1"));
        let waited = until_pushed(&mut rig);
        assert!(waited <= Duration::from_secs(2), "{waited:?}");
    }
    assert_eq!(pushed(&rig), one("a", TRIES));
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("b", 1), "the tries of another do not count");
    assert_eq!(rig.agent.snapshot().notifications.hand_off.last_failure, None);
    assert_eq!(rig.agent.snapshot().counters.notifications_refused, 2);
}

#[test]
fn after_three_refusals_it_is_set_aside_and_the_next_goes_on() {
    let mut rig = with(&["a", "bad", "c"]);
    end(&mut rig, Ok(()));
    for attempt in 1..=TRIES {
        until_pushed(&mut rig);
        assert_eq!(pushed(&rig), one("bad", attempt));
        end(&mut rig, refused());
    }
    assert_eq!(pushed(&rig), one("c", 1), "at once");
    assert_eq!((inbox(&rig), set_aside(&rig)), (vec!["c".to_owned()], vec!["bad".to_owned()]));
    let record = Record::SetAside { id: id("bad"), reason: "exit code 1".to_owned(), tries: 3 };
    assert!(rig.records.contains(&record));
    let note = Note::SetAside { id: id("bad"), tries: 3, reason: "exit code 1".to_owned() };
    assert!(rig.notes.contains(&note), "{:?}", rig.notes);
    let counters = rig.agent.snapshot().counters;
    assert_eq!((counters.notifications_set_aside, counters.notifications_refused), (1, 3));
    assert_eq!(counters.notifications_acknowledged, 1, "only what was taken");
    // Not new if the backend shows it again, and not acknowledged by anybody.
    rig.answer(CallKind::Poll, page(&["bad", "d"]));
    assert_eq!(inbox(&rig), ["c", "d"]);
}

#[test]
fn while_nobody_is_there_all_wait_for_ever_and_nothing_is_set_aside() {
    let mut rig = with(&["a", "b"]);
    let begun = rig.now;
    let mut longest = Duration::ZERO;
    while rig.now - begun < Duration::from_secs(8 * 3600) {
        assert_eq!(pushed(&rig), one("a", 1), "nobody was asked: it is the first try for ever");
        end(&mut rig, absent());
        assert_eq!(state(&rig), HandOffState::Absent);
        let from = rig.now;
        while rig.pushed.is_empty() {
            rig.pass(Duration::from_millis(500));
        }
        longest = longest.max(rig.now - from);
    }
    assert!((Duration::from_millis(9000)..=Duration::from_millis(10_500)).contains(&longest), "{longest:?}");
    assert_eq!((inbox(&rig).len(), set_aside(&rig).len()), (2, 0));
    assert_eq!(rig.agent.snapshot().counters.notifications_refused, 0);
    assert!(rig.notes.iter().any(|note| matches!(note, Note::Warning { cause: "taker_absent", .. })));
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("b", 1));
}

#[test]
fn a_taker_that_comes_and_goes_is_asked_three_times_all_the_same() {
    let mut rig = with(&["bad", "b"]);
    for attempt in 1..=TRIES {
        for _ in 0..5 {
            assert_eq!(pushed(&rig), one("bad", attempt));
            end(&mut rig, absent());
            until_pushed(&mut rig);
        }
        end(&mut rig, refused());
        until_pushed(&mut rig);
    }
    assert_eq!(pushed(&rig), one("b", 1));
    assert_eq!(set_aside(&rig), ["bad"]);
}

#[test]
fn a_game_that_says_ready_is_tried_at_once() {
    for event in [None, Some(Event::Command(Command::Reloaded))] {
        let mut rig = with(&["a"]);
        for _ in 0..10 {
            end(&mut rig, absent());
            until_pushed(&mut rig);
        }
        end(&mut rig, absent());
        match event {
            Some(event) => rig.event(event),
            None => assert_eq!(rig.ask(Request::Ready(Said::default())), Ok(Granted::Done)),
        }
        assert_eq!(pushed(&rig), one("a", 1));
        // After a refusal that changes nothing: its waits are short anyway.
        end(&mut rig, refused());
        rig.event(Event::Command(Command::Reloaded));
        assert_eq!(pushed(&rig), None);
    }
}

#[test]
fn no_bad_notification_blocks_the_next_for_more_than_thirty_seconds() {
    let mut worst = Duration::ZERO;
    for seed in 0..100 {
        let mut rig = Rig::seeded(pushing(), seed);
        rig.log_in();
        rig.attach();
        let ids: Vec<String> = (0..8).map(|n| format!("n-{n}")).collect();
        rig.answer(CallKind::Poll, page(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
        // The slowest taker that there can be, for one after the other.
        for next in 0..8 {
            let begun = rig.now;
            for attempt in 1..=TRIES {
                assert_eq!(pushed(&rig), one(&format!("n-{next}"), attempt));
                rig.pass_quietly(LONGEST_TRY + LONGEST_END, false);
                end(&mut rig, refused());
                if attempt < TRIES || next < 7 {
                    until_pushed(&mut rig);
                }
            }
            worst = worst.max(rig.now - begun);
        }
        assert_eq!(set_aside(&rig).len(), 8);
    }
    assert!(worst <= LONGEST_BLOCK, "{worst:?}");
    assert!(worst > Duration::from_secs(28), "not the worst case: {worst:?}");
}

#[test]
fn it_begins_when_the_instance_is_attached_goes_on_while_draining_and_ends_before_the_last_words() {
    let mut rig = with(&["a", "b", "c", "d"]);
    let durable = durable(&rig);
    let mut again = Rig::restarted(pushing(), durable);
    again.log_in();
    assert_eq!((again.phase(), pushed(&again)), (Phase::Resolving, None));
    again.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Pending)))));
    assert_eq!(pushed(&again), one("a", 1), "{:?}", again.phase());

    rig.request(Request::Drain { reason: None });
    assert_eq!(rig.phase(), Phase::Draining);
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("b", 1), "while players finish");
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.phase(), Phase::Closing);
    // What was begun counts.
    end(&mut rig, Ok(()));
    assert_eq!(inbox(&rig), ["c", "d"]);
    rig.pass(Duration::from_secs(3));
    assert_eq!(pushed(&rig), None);
    assert_eq!(state(&rig), HandOffState::Off);
}

#[test]
fn a_waiting_push_does_not_outlive_the_attachment() {
    let mut rig = with(&["a"]);
    end(&mut rig, absent());
    rig.request(Request::Shutdown { reason: None });
    rig.pass(Duration::from_secs(8));
    assert_eq!(pushed(&rig), None);
}

#[test]
fn after_a_restart_the_same_one_is_pushed_again_and_only_that() {
    let mut rig = with(&["a", "b", "c"]);
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("b", 1));
    end(&mut rig, refused());
    until_pushed(&mut rig);
    assert_eq!(pushed(&rig), one("b", 2));
    // kill -9 while it is with the game.
    let mut rig = Rig::restarted(pushing(), durable(&rig));
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    assert_eq!(pushed(&rig), one("b", 1), "the count of tries begins again");
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("c", 1));
}

#[test]
fn whoever_acknowledges_first_has_it() {
    // While it is pushed.
    let mut rig = with(&["a", "b", "c"]);
    assert_eq!(rig.ask(Request::Ack(id("b"))), Ok(Granted::Acknowledged(2)));
    assert_eq!(pushed(&rig), one("a", 1), "it cannot be taken back");
    end(&mut rig, Ok(()));
    assert_eq!(pushed(&rig), one("c", 1));
    assert_eq!(rig.agent.snapshot().counters.notifications_acknowledged, 2, "not twice");
    // And then refused: that is nobody's loss.
    assert_eq!(rig.ask(Request::Ack(id("c"))), Ok(Granted::Acknowledged(1)));
    end(&mut rig, refused());
    assert_eq!((pushed(&rig), set_aside(&rig).len()), (None, 0));
    assert_eq!(state(&rig), HandOffState::Idle);
    // While it waits for its next try: the next does not wait with it.
    rig.answer(CallKind::Poll, page(&["d", "e"]));
    end(&mut rig, refused());
    assert_eq!(rig.ask(Request::Ack(id("d"))), Ok(Granted::Acknowledged(1)));
    assert_eq!(pushed(&rig), one("e", 1));
    // After the push has taken it.
    end(&mut rig, Ok(()));
    assert_eq!(rig.ask(Request::Ack(id("e"))), Ok(Granted::Acknowledged(0)));
}

#[test]
fn a_result_that_nobody_waits_for_changes_nothing() {
    let mut rig = with(&["a", "b"]);
    let before = rig.agent.snapshot();
    rig.event(Event::HandedOver { id: id("b"), result: Ok(()) });
    rig.event(Event::HandedOver { id: id("never"), result: refused() });
    assert_eq!(rig.agent.snapshot(), before);
    end(&mut rig, Ok(()));
    let before = rig.agent.snapshot();
    rig.event(Event::HandedOver { id: id("a"), result: refused() });
    assert_eq!(rig.agent.snapshot(), before);
}

#[test]
fn a_full_inbox_pauses_the_poll_until_something_is_taken() {
    let mut rig = Rig::serving(Params { inbox_limit: 2, ..pushing() });
    rig.answer(CallKind::Poll, page(&["a", "b"]));
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::Paused);
    for _ in 0..3 {
        end(&mut rig, absent());
        rig.pass_quietly(Duration::from_secs(30), false);
    }
    assert!(!rig.kinds().contains(&CallKind::Poll));
    end(&mut rig, Ok(()));
    assert!(rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn what_is_set_aside_is_kept_over_restarts_and_lives_and_is_bounded() {
    let mut memory = Durable::default();
    for n in 0..=SET_ASIDE_LIMIT {
        let page = Record::Page { cursor: id(&n.to_string()), notifications: vec![notification(&n.to_string())] };
        memory.apply(&page);
        memory.apply(&Record::SetAside { id: id(&n.to_string()), reason: "r".to_owned(), tries: 3 });
    }
    assert_eq!(memory.set_aside.len(), SET_ASIDE_LIMIT);
    assert_eq!(memory.set_aside.front().unwrap().notification.notification_id.as_str(), "1", "the oldest goes first");
    assert!(memory.inbox.is_empty() && memory.seen.contains(&id("0")));
    memory.apply(&Record::SetAside { id: id("never"), reason: "r".to_owned(), tries: 3 });
    assert_eq!(memory.set_aside.len(), SET_ASIDE_LIMIT);
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Durable>(&text).unwrap(), memory);
    assert_eq!(serde_json::from_str::<Durable>("{}").unwrap(), Durable::default(), "of an older agent");

    let rig = Rig::restarted(pushing(), memory);
    assert_eq!(set_aside(&rig).len(), SET_ASIDE_LIMIT);
    let mut other = Durable {
        session: Some(session_id()),
        set_aside: rig.agent.snapshot().notifications.hand_off.set_aside.as_ref().clone(),
        ..Durable::default()
    };
    other.apply(&Record::Identity { session: None, instance: None, allocation: None });
    assert_eq!((other.session, other.set_aside.len()), (None, SET_ASIDE_LIMIT));
}

/// A taker in a bad world: it is away for a while, it refuses some for ever, and the agent is killed now and then.
fn storm(seed: u64, faults: Faults, poison: u32) -> World {
    let mut world = World::new(pushing(), seed, faults);
    world.taker.poison = poison;
    world.request(Request::Ready(Said::default()));
    for _ in 0..120 {
        world.taker.away = world.rng.u32(0..4) == 0;
        world.run(Duration::from_secs(10));
        if world.rng.u32(0..3) == 0 {
            world.publish();
        }
        world.request(Request::Ready(Said::default()));
    }
    world.faults = Faults { delay: 50, ..Faults::default() };
    world.taker.away = false;
    world.run(Duration::from_secs(1800));
    world
}

#[test]
fn a_bad_world_loses_nothing_keeps_the_order_and_repeats_only_after_a_crash() {
    let (mut crashes, mut aside) = (0, 0);
    for seed in 0..60 {
        let crash = if seed % 2 == 0 { 4 } else { 0 };
        let faults = Faults { lost: 30, cut: 30, server: 30, throttled: 10, token: 1, crash, delay: 1000 };
        let world = storm(seed, faults, if seed % 3 == 0 { 5 } else { 0 });
        let view = world.agent.snapshot().notifications;
        assert!(view.inbox.is_empty(), "seed {seed}: {:?}", view.hand_off);
        let mut seen: Vec<String> = Vec::new();
        for id in &world.taken {
            if seen.last() != Some(id) {
                assert!(seen.last() < Some(id), "seed {seed}: {id} out of order, or not the last again");
                seen.push(id.clone());
            }
        }
        let repeats = world.taken.len() - seen.len();
        assert!(repeats <= world.crashes as usize, "seed {seed}: {repeats} repeats, {} crashes", world.crashes);
        let kept: Vec<String> =
            view.hand_off.set_aside.iter().map(|kept| kept.notification.notification_id.to_string()).collect();
        assert!(kept.iter().all(|id| !seen.contains(id)), "seed {seed}: taken and set aside");
        let mut all = [seen, kept.clone()].concat();
        all.sort();
        let published: Vec<String> = world.published.iter().map(|n| n.notification_id.to_string()).collect();
        assert_eq!(all, published, "seed {seed}: each is with the game or set aside, and none is lost");
        assert!(kept.iter().all(|id| world.is_poison(id)), "seed {seed}: {kept:?}");
        crashes += world.crashes;
        aside += kept.len();
    }
    assert!(crashes > 10 && aside > 10, "{crashes} crashes, {aside} set aside: that tests nothing");
}

#[test]
fn health_does_not_wait_for_a_slow_taker() {
    let mut rig = with(&["a"]);
    let before = rig.agent.snapshot().counters.health_sent;
    for _ in 0..60 {
        rig.pass(Duration::from_secs(1));
        if rig.kinds().contains(&CallKind::PostHealth) {
            rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
        }
    }
    assert_eq!(pushed(&rig), one("a", 1));
    assert!(rig.agent.snapshot().counters.health_sent >= before + 5);
}
