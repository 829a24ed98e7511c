//! Failures in a row, and reports that are left out.

use super::*;
use crate::core::ids::{AllocationId, SessionId};
use crate::core::params::Target;

/// One life of the agent: it loads, the game crashes, the backend is told; then what is on the disk.
fn crash(disk: &Durable, status: EndStatus, params: Params, after: Duration) -> (Told, Durable) {
    let mut rig = Rig::restarted(params, disk.clone());
    rig.pass(after);
    rig.log_in();
    rig.attach();
    rig.game(GameEvent::Started { pid: PID });
    rig.game(ended(status));
    let told = rig.answer_all();
    assert_eq!(
        rig.exit,
        Some(Outcome::Game(match status {
            EndStatus::Code(code) => u8::try_from(code).unwrap(),
            EndStatus::Signal(signal) => u8::try_from(128 + signal).unwrap(),
            EndStatus::Unknown => unreachable!(),
        }))
    );
    let mut disk = rig.disk(disk);
    assert!(disk.outbox.is_empty());
    // Another life: what was closed is not served again.
    disk.apply(&Record::Identity { session: None, instance: None, allocation: None });
    (told, disk)
}

#[test]
fn a_crash_loop_is_one_report_with_a_count_across_restarts_and_lives() {
    let mut disk = Durable::default();
    let mut told = Vec::new();
    for turn in 1..=12 {
        let (of_this, after) = crash(&disk, SEGV, ours(), 60 * SECOND);
        disk = after;
        let counts: Vec<_> = of_this.events.iter().map(|event| event.custom_data["count"].clone()).collect();
        if of_this != (Told { health: of_this.health, ..Told::default() }) {
            told.push((turn, of_this.fubars.join(" "), counts.join(" ")));
        }
    }
    let told: Vec<_> = told.iter().map(|(turn, fubars, counts)| (*turn, fubars.as_str(), counts.as_str())).collect();
    assert_eq!(told, [(1, "game_crashed", "1"), (3, "crash_loop", "3"), (6, "", "6"), (12, "", "12")]);
}

#[test]
fn a_game_that_ends_well_begins_a_new_row() {
    let (_, disk) = crash(&Durable::default(), SEGV, ours(), SECOND);
    assert_eq!(disk.failures.as_ref().map(|row| (row.error.as_str(), row.count)), Some(("game_crashed", 1)));
    let mut rig = Rig::restarted(ours(), disk.clone());
    rig.log_in();
    rig.attach();
    rig.game(GameEvent::Started { pid: PID });
    rig.request(Request::Ready(Said::default()));
    rig.game(ended(EndStatus::Code(0)));
    assert_eq!(rig.answer_all(), Told::default());
    assert_eq!(rig.disk(&disk).failures, None);
}

#[test]
fn another_session_does_not_forget_the_row() {
    let (_, disk) = crash(&Durable::default(), SEGV, ours(), SECOND);
    let other = Target::Session { session: SessionId::parse("s-2").unwrap(), allocation: None };
    let by_allocation = Target::Allocation(AllocationId::parse("a-2").unwrap());
    let mut somebody = disk.clone();
    somebody.session = Some(session_id());
    for target in [other, by_allocation] {
        let rig = Rig::restarted(Params { target, ..ours() }, somebody.clone());
        assert_eq!(rig.disk(&somebody).failures, disk.failures);
    }
}

#[test]
fn a_game_that_never_gets_ready_again_and_again_is_a_loop_too() {
    let mut disk = Durable::default();
    let mut told = Vec::new();
    for _ in 0..3 {
        let mut rig = Rig::restarted(ours(), disk.clone());
        rig.log_in();
        rig.attach();
        rig.answer_all();
        rig.game(GameEvent::Started { pid: PID });
        rig.pass_quietly(300 * SECOND, true);
        let mut of_this = rig.answer_all();
        rig.game(ended(EndStatus::Signal(15)));
        let at_the_end = rig.answer_all();
        of_this.events.extend(at_the_end.events);
        assert_eq!(rig.exit, Some(Outcome::Game(143)));
        told.push((of_this.fubars.clone(), of_this.events.len()));
        disk = rig.disk(&disk);
        disk.apply(&Record::Identity { session: None, instance: None, allocation: None });
        // Births of the rig are at the same wall time: a row by the clock of the failures.
        assert!(disk.failures.is_some());
    }
    assert_eq!(told, [(vec!["never_ready".to_owned()], 2), (vec![], 0), (vec!["crash_loop".to_owned()], 2)]);
}

#[test]
fn automatic_reports_can_be_turned_off_and_the_row_is_counted_all_the_same() {
    let quiet = Params { automatic_fubar: false, probes: probes(&[Health::Unhealthy]), ..ours() };
    let (told, disk) = crash(&Durable::default(), SEGV, quiet.clone(), SECOND);
    assert_eq!((told.fubars.len(), told.events.len()), (0, 0));
    assert_eq!(disk.failures.map(|row| row.count), Some(1));

    let mut rig = serving(quiet);
    rig.request(Request::Health { status: Health::Healthy, reason: None });
    rig.pass_quietly(200 * SECOND, true);
    assert_eq!(rig.agent.snapshot().health.verdict, Health::Unhealthy);
    rig.game(ended(EndStatus::Signal(9)));
    let told = rig.answer_all();
    assert_eq!((told.fubars.len(), told.events.len()), (0, 0));
}

#[test]
fn a_report_whose_like_still_waits_is_not_queued_again_and_its_event_is() {
    let mut before = Rig::new(allocated());
    before.request(Request::Fubar { error: "game_crashed".to_owned(), key: None });
    let disk = before.disk(&Durable::default());
    let mut rig = Rig::restarted(ours(), disk);
    rig.log_in();
    rig.attach();
    rig.game(GameEvent::Started { pid: PID });
    rig.game(ended(SEGV));
    let labels: Vec<_> = rig
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Accepted(report) => Some(report.content.label()),
            _ => None,
        })
        .collect();
    assert_eq!(labels, ["game_ended"]);
}

#[test]
fn old_memory_knows_of_no_failures() {
    let durable: Durable = serde_json::from_str(r#"{"session":"s-1","attached":true}"#).unwrap();
    assert_eq!(durable.failures, None);
    let record = r#"{"record":"failures","failures":{"error":"game_crashed","count":2,"last":"2026-11-22T10:00:00Z"}}"#;
    let record: Record = serde_json::from_str(record).unwrap();
    assert!(matches!(record, Record::Failures { failures: Some(failures) } if failures.count == 2));
    let record: Record = serde_json::from_str(r#"{"record":"failures","failures":null}"#).unwrap();
    assert_eq!(record, Record::Failures { failures: None });
}
