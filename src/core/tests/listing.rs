//! The entry in the public browser: it goes with the instance, and shows how many players there are.

use std::time::Duration;

use super::duties::{done, duty, in_the_backends_words, list, listing, remembered};
use super::rig::*;
use crate::core::call::{Answer, CallKind, FailureKind};
use crate::core::duty::Duty;
use crate::core::event::{Command, Denied, Event, Granted, Request, StoreFault};
use crate::core::instance::{Health, JoinStatus};
use crate::core::params::Params;
use crate::core::process::{GameEvent, Players, ProbeResult};
use crate::core::{Machine as _, Outcome, Phase};

fn stop() -> Event {
    Event::Command(Command::Drain { reason: "test".to_owned() })
}

fn listed(params: Params) -> Rig {
    let mut rig = Rig::serving(params);
    rig.request(duty(list()));
    done(&mut rig, CallKind::Browser);
    rig
}

fn with_players() -> Params {
    Params { publish_players: Some("players".to_owned()), ..params() }
}

fn players(rig: &mut Rig, count: u32, capacity: u32) {
    let players = Some(Players { count, capacity });
    let result = ProbeResult { health: Health::Healthy, reason: String::new(), players };
    rig.event(Event::Game(GameEvent::Probed { probe: 0, result }));
}

/// What the browser was told, if anything is being told now.
fn told(rig: &mut Rig) -> Option<String> {
    rig.keep_quiet(true);
    if !rig.kinds().contains(&CallKind::Browser) {
        return None;
    }
    match done(rig, CallKind::Browser) {
        Duty::ListBrowser(listing) | Duty::UpdateBrowser(listing) => {
            assert_eq!(listing.custom_data["map"], "canyon", "what the game said stays");
            Some(listing.custom_data.get("players").cloned().unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drain_takes_the_session_out_of_the_browser_once() {
    for target in [params(), allocated()] {
        let shown = if target.target.allocation().is_some() { allocated_info } else { info };
        let mut rig = listed(target);
        rig.event(stop());
        assert_eq!(rig.phase(), Phase::Draining);
        assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser);
        rig.answer(CallKind::Update, Ok(instance(shown(JoinStatus::Closed))));
        rig.pass_quietly(Duration::from_secs(50), true);
        assert!(!rig.kinds().contains(&CallKind::Browser), "once");
        assert_eq!(remembered(&rig).listing, None);
    }
}

#[test]
fn it_goes_before_the_instance_does() {
    let mut rig = listed(params());
    rig.pass_quietly(Duration::from_secs(20), false);
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.phase(), Phase::Closing);
    assert_eq!(rig.call(CallKind::ReadSession).kind(), CallKind::ReadSession);
    // Something happens while the look is on its way: then another look follows, and it shows the instance closed.
    rig.request(Request::ClientSeen);
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Closed))));
    let mut looks = 0;
    for _ in 0..10 {
        if rig.kinds().contains(&CallKind::ReadSession) {
            looks += 1;
            rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Closed)))));
        }
        rig.pass(Duration::from_millis(100));
        assert!(!rig.kinds().contains(&CallKind::Unregister), "{:?}", rig.kinds());
    }
    assert!(looks > 0, "this proves nothing");
    assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser);
    if rig.kinds().contains(&CallKind::ReadSession) {
        rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Closed)))));
    }
    rig.answer(CallKind::Unregister, Ok(Answer::Unregistered));
    assert_eq!(rig.exit, Some(Outcome::Ended));
}

#[test]
fn nothing_is_taken_out_that_is_not_in_it() {
    let mut never = Rig::serving(params());
    never.event(stop());
    assert!(!never.kinds().contains(&CallKind::Browser), "{:?}", never.kinds());
    let mut unlisted = listed(params());
    unlisted.request(duty(Duty::UnlistBrowser));
    done(&mut unlisted, CallKind::Browser);
    unlisted.event(stop());
    assert!(!unlisted.kinds().contains(&CallKind::Browser), "{:?}", unlisted.kinds());
}

#[test]
fn a_closing_server_is_not_listed_again() {
    let mut rig = listed(params());
    rig.event(stop());
    for late in [list(), Duty::UpdateBrowser(listing(&[]))] {
        let Err(Denied::Phase(words)) = rig.ask(duty(late)) else { panic!("it was taken") };
        assert!(words.contains("draining"), "{words}");
    }
    assert!(matches!(rig.ask(duty(Duty::EndMatch)), Ok(Granted::Accepted(_))), "a match may still end");
    done(&mut rig, CallKind::Browser);
    assert_eq!(done(&mut rig, CallKind::Match), Duty::EndMatch);
}

#[test]
fn a_listing_on_its_way_to_the_disk_is_taken_back_too() {
    let mut rig = Rig::serving(params());
    rig.store = None;
    rig.request(duty(list()));
    rig.event(stop());
    while !rig.tickets.is_empty() {
        rig.stored(Ok(()));
    }
    assert_eq!(done(&mut rig, CallKind::Browser), list());
    while !rig.tickets.is_empty() {
        rig.stored(Ok(()));
    }
    assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser);
    assert_eq!(remembered(&rig).listing, None);
}

#[test]
fn a_disk_that_refuses_does_not_leave_it_listed() {
    let mut rig = listed(params());
    rig.store = Some(Err(StoreFault::ReadOnly));
    rig.event(stop());
    assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser);
    rig.pass_quietly(Duration::from_secs(20), true);
    assert!(!rig.kinds().contains(&CallKind::Browser), "once");
}

#[test]
fn an_agent_that_was_killed_while_it_drained_takes_it_out_after_the_restart() {
    for shown in [Some(info(JoinStatus::Closed)), None] {
        let mut durable = remembered(&listed(params()));
        durable.closed = true;
        let mut rig = Rig::restarted(params(), durable);
        rig.log_in();
        assert_eq!(rig.phase(), Phase::Closing);
        assert!(!rig.kinds().contains(&CallKind::Browser), "whose the session is has to be seen first");
        rig.answer(CallKind::ReadSession, Ok(session(shown.clone())));
        assert_eq!(done(&mut rig, CallKind::Browser), Duty::UnlistBrowser, "{shown:?}");
    }
    let mut durable = remembered(&listed(params()));
    durable.closed = true;
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(foreign_info()))));
    assert_eq!(rig.exit, Some(Outcome::Superseded));
    assert!(rig.calls.is_empty(), "what somebody else has listed stays");
}

#[test]
fn players_are_shown_when_they_change_and_at_most_every_ten_seconds() {
    let mut rig = listed(with_players());
    assert_eq!(told(&mut rig), None, "nobody knows how many there are");
    players(&mut rig, 1, 16);
    assert_eq!(told(&mut rig).as_deref(), Some("1/16"), "the first at once");
    let mut seen = Vec::new();
    for tenth in 0..250 {
        if tenth < 50 {
            players(&mut rig, 2 + tenth, 16);
        }
        rig.pass(Duration::from_millis(100));
        seen.extend(told(&mut rig).map(|told| (tenth, told)));
    }
    let (at, newest) = seen.first().unwrap();
    assert_eq!((seen.len(), newest.as_str()), (1, "51/16"), "only the newest: {seen:?}");
    assert!((98..=101).contains(at), "{seen:?}");
    players(&mut rig, 51, 0);
    assert_eq!(told(&mut rig).as_deref(), Some("51"), "nobody says how many may be");
}

#[test]
fn a_new_listing_has_its_players_from_the_start() {
    let mut rig = Rig::serving(with_players());
    players(&mut rig, 3, 16);
    assert_eq!(told(&mut rig), None, "it is not listed");
    rig.request(duty(Duty::ListBrowser(listing(&[("map", "canyon"), ("players", "many")]))));
    assert_eq!(told(&mut rig).as_deref(), Some("3/16"), "the agent's number stands over the game's");
    rig.request(duty(Duty::UpdateBrowser(listing(&[("map", "canyon"), ("mode", "duel")]))));
    assert_eq!(told(&mut rig).as_deref(), Some("3/16"));
    rig.pass(Duration::from_secs(11));
    assert_eq!(told(&mut rig), None, "nothing is new");
}

#[test]
fn without_the_key_no_player_is_counted() {
    let mut rig = listed(params());
    players(&mut rig, 3, 16);
    rig.pass(Duration::from_secs(11));
    assert_eq!(told(&mut rig), None);
}

#[test]
fn an_outage_does_not_fill_the_outbox_with_players() {
    let mut rig = listed(with_players());
    players(&mut rig, 1, 16);
    let gone = Err(failure(FailureKind::Unreachable));
    for count in 2..300 {
        players(&mut rig, count, 16);
        rig.pass_quietly(Duration::from_secs(1), true);
        if rig.kinds().contains(&CallKind::Browser) {
            rig.answer(CallKind::Browser, gone.clone());
        }
        assert!(rig.agent.snapshot().outbox.waiting <= 1);
    }
    let mut seen = Vec::new();
    for _ in 0..2000 {
        rig.pass_quietly(Duration::from_millis(100), true);
        seen.extend(told(&mut rig));
    }
    assert_eq!(seen, ["1/16", "299/16"], "what was accepted, then the newest");
}

#[test]
fn players_are_known_again_after_a_restart() {
    let mut rig = listed(with_players());
    players(&mut rig, 3, 16);
    told(&mut rig);
    let mut rig = Rig::restarted(with_players(), remembered(&rig));
    rig.log_in();
    rig.answer(CallKind::ReadSession, Ok(session(Some(info(JoinStatus::Joinable)))));
    players(&mut rig, 3, 16);
    assert_eq!(told(&mut rig), None, "the browser shows it already");
    players(&mut rig, 4, 16);
    assert_eq!(told(&mut rig).as_deref(), Some("4/16"));
}

#[test]
fn a_listing_that_is_gone_already_is_no_trouble() {
    let mut rig = listed(params());
    rig.request(Request::Shutdown { reason: None });
    super::duties::answer(&mut rig, CallKind::Browser, Err(in_the_backends_words(FailureKind::NotFound)));
    assert_eq!(rig.agent.snapshot().outbox.waiting, 0);
}
