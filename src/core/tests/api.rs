//! An environment that has lost calls: what goes by other ways, and that nothing that is gone stops anything else.

use std::time::Duration;

use super::rig::*;
use crate::core::api::{Choice, Feature};
use crate::core::call::{Answer, Call, CallKind, Failure, FailureKind};
use crate::core::durable::{Durable, Record};
use crate::core::duty::{Duty, Match};
use crate::core::event::{Command, Denied, Event, Granted, Request, Said};
use crate::core::ids::{Etag, MatchId};
use crate::core::instance::{Health, JoinStatus, Session};
use crate::core::params::Params;
use crate::core::snapshot::PollState;
use crate::core::{Machine as _, Phase};

fn bare() -> Failure {
    Failure { status: Some(404), ..failure(FailureKind::NotFound) }
}

fn rejected() -> Failure {
    Failure { status: Some(422), ..failure(FailureKind::Rejected) }
}

fn new_api() -> Params {
    Params { api: Choice::V2026_08, ..params() }
}

fn fubar(error: &str) -> Request {
    Request::Fubar { error: error.to_owned(), key: None }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Our session as it is seen, with another print for each content.
fn shown(status: JoinStatus, print: u64) -> Result<Answer, Failure> {
    let Answer::Session { session, .. } = session(Some(info(status))) else { unreachable!() };
    let session = Session { print, ..*session };
    Ok(Answer::Session { session: Box::new(session), etag: Etag::parse(&format!("\"p{print}\"")).ok() })
}

/// A rig of the newer generation whose instance serves.
fn serving_new(params: Params) -> Rig {
    let mut rig = Rig::loading(params);
    rig.request(Request::ClientSeen);
    rig.request(Request::Ready(Said::default()));
    rig.answer(CallKind::Update, Ok(instance(info(JoinStatus::Joinable))));
    rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));
    let config = crate::core::instance::HealthConfig { cadence: seconds(10) };
    rig.answer(CallKind::HealthConfig, Ok(Answer::HealthConfig(config)));
    assert_eq!(rig.phase(), Phase::Serving);
    rig.replies.clear();
    rig
}

/// The rig passes the time until a call of this kind is on its way, with a quiet backend.
fn until(rig: &mut Rig, kind: CallKind) {
    for _ in 0..1000 {
        if rig.kinds().contains(&kind) {
            return;
        }
        rig.pass(Duration::from_millis(100));
        let others: Vec<CallKind> = rig.kinds().into_iter().filter(|other| *other != kind).collect();
        for other in others {
            match other {
                CallKind::PostHealth => drop(rig.answer(other, Ok(Answer::HealthAccepted(Health::Healthy)))),
                CallKind::ReadSession => drop(rig.answer(other, shown(JoinStatus::Joinable, 0))),
                _ => {}
            }
        }
    }
    panic!("never: {kind}, but {:?}", rig.kinds());
}

fn messages(rig: &Rig) -> Vec<String> {
    rig.agent.snapshot().notifications.inbox.iter().map(|n| n.notification_id.to_string()).collect()
}

/// The poll fails until it is given up.
fn lose_the_poll(rig: &mut Rig) {
    rig.answer(CallKind::Poll, Err(bare()));
    until(rig, CallKind::Poll);
    rig.answer(CallKind::Poll, Err(bare()));
    assert_eq!(rig.learnt, [(Feature::Notifications, true)]);
}

#[test]
fn a_stream_that_is_gone_is_replaced_by_reading_the_session() {
    let mut rig = Rig::serving(params());
    lose_the_poll(&mut rig);
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::Unsupported);
    let mut reads = 0;
    for _ in 0..300 {
        rig.pass(Duration::from_millis(100));
        let kinds = rig.kinds();
        assert!(!kinds.contains(&CallKind::Poll));
        if kinds.contains(&CallKind::ReadSession) {
            reads += 1;
        }
        rig.keep_quiet(true);
    }
    assert!((5..=7).contains(&reads), "every 5 s, up to a tenth more or less: {reads} in 30 s");
}

#[test]
fn a_change_of_the_session_is_a_notification_with_an_id_of_its_own_and_survives_a_restart() {
    let mut rig = serving_new(new_api());
    for print in [1, 1, 2, 1] {
        until(&mut rig, CallKind::ReadSession);
        rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, print));
    }
    let ids = messages(&rig);
    assert_eq!(ids.len(), 3, "0 to 1, to 2 and back to 1: {ids:?}");
    let inbox = rig.agent.snapshot().notifications.inbox;
    let first = &inbox[0];
    assert_eq!(first.message, "session_changed");
    assert_eq!(first.rh_url.as_deref(), Some("session/v1/session/s-1"));
    assert_eq!(first.etag.as_ref().map(Etag::as_str), Some("\"p1\""));
    assert_eq!(first.custom_data["source"], "rallyhere-agent");
    assert_eq!(rig.ask(Request::Ack(first.notification_id.clone())), Ok(Granted::Acknowledged(1)));

    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    let mut rig = Rig::restarted(new_api(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, 1));
    assert_eq!(messages(&rig), ids[1..], "the same ids, and nothing new: it was seen");
    until(&mut rig, CallKind::ReadSession);
    rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, 3));
    assert_eq!(messages(&rig).len(), 3);
    assert!(messages(&rig)[2].starts_with("agent-session-4-"), "{:?}", messages(&rig));
}

#[test]
fn a_change_during_a_restart_is_noticed_and_a_full_inbox_makes_one_of_many() {
    let params = || Params { inbox_limit: 1, ..new_api() };
    let mut rig = serving_new(params());
    for print in [1, 2, 3] {
        until(&mut rig, CallKind::ReadSession);
        rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, print));
    }
    let first = messages(&rig);
    assert_eq!(first.len(), 1, "no room for more");
    let id = rig.agent.snapshot().notifications.inbox[0].notification_id.clone();
    rig.request(Request::Ack(id));
    assert!(messages(&rig)[0].starts_with("agent-session-2-"), "from 1 to 3, in one: {:?}", messages(&rig));
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    durable.inbox.clear();
    let mut rig = Rig::restarted(params(), durable);
    rig.log_in();
    rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, 9));
    assert!(messages(&rig)[0].starts_with("agent-session-3-"), "{:?}", messages(&rig));
}

#[test]
fn a_fubar_takes_the_next_way_when_its_call_is_gone_and_nothing_is_lost_or_doubled() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("one"));
    rig.request(Request::Event { event_code: "two".to_owned(), description: None, custom_data: Default::default() });
    rig.answer(CallKind::Fubar, Err(bare()));
    until(&mut rig, CallKind::Fubar);
    rig.answer(CallKind::Fubar, Err(bare()));
    assert_eq!(rig.learnt, [(Feature::Fubar, true)]);
    until(&mut rig, CallKind::PostEvent);
    let Call::PostEvent { event, .. } = rig.answer(CallKind::PostEvent, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!((event.event_code.as_str(), event.description.as_deref()), ("instance_fubar", Some("one")));
    assert_eq!(event.custom_data["instance_id"], INSTANCE);
    assert_eq!(event.custom_data["region"], "eu");
    until(&mut rig, CallKind::PostEvent);
    let Call::PostEvent { event, .. } = rig.answer(CallKind::PostEvent, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!(event.event_code, "two", "in order");
    assert_eq!(rig.agent.snapshot().outbox.waiting, 0);

    // The events go too.
    rig.request(fubar("three"));
    assert!(!rig.kinds().contains(&CallKind::Fubar), "what is gone is not asked");
    rig.answer(CallKind::PostEvent, Err(Failure { status: Some(405), ..failure(FailureKind::Unsupported) }));
    let Call::Audit { event, .. } = rig.answer(CallKind::Audit, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!((event.event_name.as_str(), event.reason.as_deref()), ("instance_fubar", Some("three")));
    assert_eq!((event.instance_health, event.region.as_deref()), (Some(Health::Healthy), Some("eu")));
    assert!(event.custom_data.contains_key("report_id"));
}

#[test]
fn an_event_becomes_an_audit_event_with_all_that_it_says() {
    let mut rig = serving_new(new_api());
    let event_code = "x".repeat(200);
    let custom_data = [("score".to_owned(), "3".to_owned())].into();
    rig.request(Request::Event { event_code: event_code.clone(), description: Some("why".to_owned()), custom_data });
    let Call::Audit { event, .. } = rig.answer(CallKind::Audit, Ok(Answer::Accepted)) else { unreachable!() };
    assert_eq!((event.event_name.len(), event.reason.as_deref()), (128, Some("why")));
    assert_eq!((&event.custom_data["event_code"], event.custom_data["score"].as_str()), (&event_code, "3"));
    assert!(event.custom_data["timestamp"].starts_with("2026-11-22T10:00:00"));
    assert_eq!(event.instance_id, instance_id());
}

#[test]
fn with_every_way_gone_reports_wait_and_go_when_one_is_back() {
    let mut rig = Rig::serving(params());
    let gone = || Err(Failure { status: Some(405), ..failure(FailureKind::Unsupported) });
    rig.request(fubar("one"));
    rig.answer(CallKind::Fubar, gone());
    rig.answer(CallKind::PostEvent, gone());
    rig.answer(CallKind::Audit, gone());
    assert_eq!(rig.agent.snapshot().outbox.waiting, 1);
    rig.pass_quietly(seconds(500), true);
    assert!(!rig.kinds().iter().any(|kind| [CallKind::Fubar, CallKind::PostEvent, CallKind::Audit].contains(kind)));
    until(&mut rig, CallKind::Fubar);
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
    assert_eq!(rig.agent.snapshot().outbox.waiting, 0);
    assert_eq!(rig.learnt.last(), Some(&(Feature::Fubar, false)));
}

#[test]
fn duties_of_a_match_that_is_gone_are_set_aside_with_the_reason_and_then_refused() {
    let mut rig = Rig::serving(params());
    let begin = || {
        let game_match = Match { match_id: MatchId::parse("m-1").unwrap(), custom_data: None };
        Request::Duty { duty: Duty::BeginMatch(game_match), key: None }
    };
    rig.request(begin());
    rig.pass_quietly(seconds(1), true);
    rig.answer(CallKind::Match, Err(bare()));
    until(&mut rig, CallKind::Match);
    rig.answer(CallKind::Match, Err(bare()));
    let outbox = rig.agent.snapshot().outbox;
    assert_eq!((outbox.waiting, outbox.dead), (0, 1));
    assert!(outbox.dead_letters[0].reason.as_deref().is_some_and(|why| why.contains("match_id of PATCH /v1/instance")));
    assert!(matches!(rig.ask(begin()), Err(Denied::Gone(_))));
}

#[test]
fn draining_shows_unjoinable_and_then_closed_and_a_game_that_takes_nobody_too() {
    let mut rig = serving_new(new_api());
    let match_id = MatchId::parse("m-1").unwrap();
    rig.request(Request::Instance(Said { joinable: Some(false), match_id: Some(Some(match_id)), ..Said::default() }));
    let update = |rig: &mut Rig, status: JoinStatus| {
        until(rig, CallKind::Update);
        let Call::Update { update, .. } = rig.answer(CallKind::Update, Ok(instance(info(status.clone())))) else {
            unreachable!()
        };
        assert_eq!(update.join_status, status);
        update.match_id.map(|id| id.to_string())
    };
    assert_eq!(update(&mut rig, JoinStatus::Unjoinable).as_deref(), Some("m-1"));
    rig.request(Request::Instance(Said { joinable: Some(true), match_id: Some(None), ..Said::default() }));
    assert_eq!(update(&mut rig, JoinStatus::Joinable), None);
    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    assert_eq!(rig.phase(), Phase::Draining);
    update(&mut rig, JoinStatus::Unjoinable);
    rig.request(Request::Shutdown { reason: None });
    assert_eq!(rig.phase(), Phase::Closing);
    update(&mut rig, JoinStatus::Closed);
}

#[test]
fn words_that_the_environment_does_not_know_are_given_up_at_once_and_cost_no_beat() {
    let mut rig = serving_new(new_api());
    until(&mut rig, CallKind::PostHealth);
    let Call::PostHealth { refresh_ttl: true, .. } = rig.answer(CallKind::PostHealth, Err(rejected())) else {
        panic!("refresh_ttl is for the newer generation")
    };
    let Call::PostHealth { refresh_ttl: false, .. } = rig.call(CallKind::PostHealth) else { panic!("at once") };
    rig.answer(CallKind::PostHealth, Ok(Answer::HealthAccepted(Health::Healthy)));

    rig.event(Event::Command(Command::Drain { reason: "test".to_owned() }));
    until(&mut rig, CallKind::Update);
    rig.answer(CallKind::Update, Err(rejected()));
    until(&mut rig, CallKind::Update);
    let Call::Update { update, .. } = rig.call(CallKind::Update) else { unreachable!() };
    assert_eq!(update.join_status, JoinStatus::Closed, "no player may come, whatever the word for it is");
}

#[test]
fn a_proxy_that_says_404_to_everything_makes_nothing_gone() {
    let mut rig = Rig::serving(params());
    rig.request(fubar("one"));
    for _ in 0..600 {
        rig.pass(Duration::from_millis(500));
        for kind in rig.kinds() {
            rig.answer(kind, Err(bare()));
        }
    }
    assert_eq!(rig.learnt, []);
    assert_eq!((rig.phase(), rig.agent.snapshot().outbox.waiting), (Phase::Serving, 1));
    until(&mut rig, CallKind::Fubar);
    rig.answer(CallKind::Fubar, Ok(Answer::Accepted));
}

#[test]
fn an_operator_may_have_it_looked_at_at_once() {
    let mut rig = Rig::serving(params());
    lose_the_poll(&mut rig);
    assert!(!rig.kinds().contains(&CallKind::Poll));
    rig.event(Event::Command(Command::Reloaded));
    rig.answer(CallKind::Poll, Ok(Answer::Page(Default::default())));
    assert_eq!(rig.learnt.last(), Some(&(Feature::Notifications, false)));
}

#[test]
fn a_restart_asks_nothing_that_it_knew_to_be_gone() {
    let mut rig = Rig::serving(params());
    lose_the_poll(&mut rig);
    let mut durable = Durable::default();
    for record in &rig.records {
        durable.apply(record);
    }
    let mut rig = Rig::restarted(params(), durable);
    assert_eq!(rig.learnt, [(Feature::Notifications, true)], "the other instances hear of it");
    rig.log_in();
    rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, 0));
    rig.pass_quietly(seconds(20), false);
    assert_eq!(rig.agent.snapshot().notifications.state, PollState::Unsupported);
    assert!(!rig.kinds().contains(&CallKind::Poll));
}

#[test]
fn who_wants_no_notifications_is_told_of_no_changes_either() {
    let mut rig = serving_new(Params { notifications: false, ..new_api() });
    for print in [1, 2, 3] {
        until(&mut rig, CallKind::ReadSession);
        rig.answer(CallKind::ReadSession, shown(JoinStatus::Joinable, print));
    }
    assert!(messages(&rig).is_empty());
    assert!(!rig.records.iter().any(|record| matches!(record, Record::Noticed { .. })));
}

#[test]
fn a_call_that_is_gone_is_counted_as_failed_each_time() {
    let mut rig = Rig::serving(params());
    let before = rig.agent.snapshot().counters.calls_failed;
    lose_the_poll(&mut rig);
    assert_eq!(rig.agent.snapshot().counters.calls_failed, before + 2);
}
