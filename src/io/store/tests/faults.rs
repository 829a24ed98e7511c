//! Every operation fails once; every pair of a fault and a crash; what each error is called.

use super::super::engine::Engine;
use super::crash::{all, run, small};
use super::fake::{FakeDisk, Op, Plan};
use super::script::{Fate, History, Step, accepted, batch, name, page, said};
use crate::core::durable::{Durable, Record};
use crate::core::event::StoreFault;
use crate::core::sdk::SdkChange;

/// Reports, pages, acknowledgements, deliveries; long enough to compact on the way.
fn script() -> Vec<Step> {
    let mut script = Vec::new();
    for round in 0..6 {
        script.extend([(0, 0, 0), (3, 1, 0), (7, 0, 1), (9, 0, round), (4, 0, round), (10, 1, 0), (6, 1, round)]);
    }
    script
}

/// How many operations the script takes when nothing fails.
fn operations() -> u64 {
    let disk = FakeDisk::new(0);
    let (history, _engine) = run(&disk, &small(), &script(), 3);
    assert_eq!(history.count(Fate::Sure), script().len());
    let world = disk.world();
    assert!(world.ops.iter().filter(|op| **op == Op::SyncNames).count() >= 6, "it must compact: {:?}", world.ops);
    world.ops.len() as u64
}

#[test]
fn one_failing_operation_never_loses_an_answer_and_leaves_no_doubt() {
    let mut refused = 0;
    for at in 0..operations() {
        for errno in [5, 28, 30] {
            for (after_effect, short, seed) in [(false, false, 1), (true, false, 2), (true, false, 3), (false, true, 4)]
            {
                let disk = FakeDisk::new(seed);
                disk.plan(Plan { fail: Some((at..at + 1, errno)), after_effect, short, ..Plan::default() });
                let (mut history, engine) = run(&disk, &small(), &script(), 3);
                let mut engine = engine.unwrap();
                assert_eq!(history.count(Fate::Doubt), 0, "operation {at}, errno {errno}");
                refused += history.count(Fate::Refused);
                history.tick(&mut engine, &disk);
                assert_eq!(engine.status().fault, None, "operation {at}, errno {errno}");
                for after in [disk.killed(), disk.unplugged()] {
                    let again = Engine::open(after, &small(), all()).unwrap();
                    assert_eq!(again.mirror(), &history.expected(), "operation {at}, errno {errno}");
                    assert_eq!(again.status().findings.len(), 0, "operation {at}, errno {errno}");
                }
            }
        }
    }
    assert!(refused > 100, "faults must have hit batches: {refused}");
}

#[test]
fn a_crash_anywhere_after_a_fault_anywhere() {
    let operations = operations();
    let mut judged = 0;
    for kinds in [&[][..], &[Op::Sync], &[Op::Sync, Op::Truncate], &[Op::Write, Op::Truncate]] {
        for from in 12..operations {
            for count in [2, 7] {
                for later in (1..8).chain([15]) {
                    let seed = judged;
                    let disk = FakeDisk::new(seed);
                    disk.plan(Plan {
                        fail: Some((from..from + count, 5)),
                        only: kinds.to_vec(),
                        kill_at: Some(from + later),
                        after_effect: seed % 2 == 0,
                        ..Plan::default()
                    });
                    let (history, _dead) = run(&disk, &small(), &script(), 3);
                    let after = if seed % 3 == 0 { disk.killed() } else { disk.unplugged() };
                    let again = Engine::open(after, &small(), all()).unwrap();
                    if let Err(wrong) = history.judge(again.mirror()) {
                        panic!("{kinds:?} fail from {from}, {count} times, dead {later} later, seed {seed}: {wrong}");
                    }
                    judged += 1;
                }
            }
        }
    }
}

#[test]
fn a_fault_has_its_name_and_goes_away_by_itself() {
    for (errno, fault) in
        [(28, StoreFault::Full), (122, StoreFault::Full), (30, StoreFault::ReadOnly), (5, StoreFault::Failed)]
    {
        let disk = FakeDisk::new(0);
        let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
        disk.plan(Plan { fail: Some((0..u64::MAX, errno)), ..Plan::default() });
        assert_eq!(engine.commit(&[batch(0, vec![accepted(1)])]), [Err(fault)]);
        assert_eq!(engine.commit(&[batch(0, vec![said(1)])]), [Err(fault)]);
        engine.tick();
        let status = engine.status();
        assert_eq!((status.fault, status.faults), (Some(fault), 2));
        assert!(status.why.is_some_and(|why| why.contains("could not")));
        assert!(engine.is_ailing(), "or nobody would try again");

        disk.plan(Plan::default());
        engine.tick();
        assert_eq!((engine.status().fault, engine.status().why, engine.is_ailing()), (None, None, false));
        let again = Engine::open(disk.unplugged(), &small(), all()).unwrap();
        let durable = &again.mirror()[&name(0)];
        assert!(durable.outbox.is_empty() && durable.keys.is_empty(), "refused");
        assert!(durable.said.ready, "it was said, whatever the disk thought of it");
    }
}

#[test]
fn a_batch_after_the_fault_is_taken_at_once() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    disk.plan(Plan { fail: Some((0..u64::MAX, 5)), only: vec![Op::Sync], ..Plan::default() });
    assert_eq!(engine.commit(&[batch(0, vec![accepted(1)])]), [Err(StoreFault::Failed)]);
    assert!(engine.status().in_doubt, "nothing could be synced, the cut neither");
    disk.plan(Plan::default());
    while engine.commit(&[batch(0, vec![accepted(2)])]) != [Ok(())] {
        std::thread::yield_now(); // The pause after a failed rewriting lasts ten times as long as the rewriting.
    }
    assert!(!engine.status().in_doubt);
    let again = Engine::open(disk.unplugged(), &small(), all()).unwrap();
    assert_eq!(again.mirror()[&name(0)].outbox.len(), 1);
}

#[test]
fn nothing_is_lost_of_a_directory_that_comes_late() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    let earlier =
        [accepted(1), accepted(2), page(1, 2, "early"), Record::Attached, said(7), Record::Cadence { millis: 5 }];
    assert_eq!(engine.commit(&[batch(0, earlier.to_vec()), batch(1, vec![accepted(3)])]), [Ok(()), Ok(())]);
    drop(engine);

    disk.world().absent = true;
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    assert!(engine.mirror().is_empty());
    assert_eq!(engine.status().findings[0].kind(), "unusable");
    assert_eq!(engine.commit(&[batch(0, vec![accepted(4)])]), [Err(StoreFault::Failed)]);
    assert_eq!(engine.commit(&[batch(0, vec![page(2, 2, "late"), said(8)])]), [Err(StoreFault::Failed)]);

    disk.world().absent = false;
    engine.tick();
    assert_eq!(engine.status().fault, None);
    assert_eq!(engine.commit(&[batch(0, vec![accepted(5)])]), [Ok(())]);
    for mirror in [engine.mirror().clone(), Engine::open(disk.unplugged(), &small(), all()).unwrap().mirror().clone()] {
        let durable = &mirror[&name(0)];
        let outbox: Vec<_> = durable.outbox.iter().map(|report| report.id.as_str()).collect();
        assert_eq!(outbox, ["r00001", "r00002", "r00005"]);
        let inbox: Vec<_> = durable.inbox.iter().map(|one| one.notification_id.as_str()).collect();
        assert_eq!(inbox, ["n00001", "n00002", "n00003"]);
        assert_eq!(durable.said.version.as_deref(), Some("1.0.8"));
        assert_eq!(durable.cadence_millis, Some(5));
        assert_eq!(mirror[&name(1)].outbox.len(), 1);
    }
}

#[test]
fn what_a_game_was_told_did_not_happen_does_not_come_back() {
    let disk = FakeDisk::new(0);
    disk.world().absent = true;
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    let label = |value: &str| Record::Sdk(SdkChange::Label { key: "k".to_owned(), value: value.to_owned() });
    for record in [Record::Sdk(SdkChange::Allocated), label("refused"), Record::Sdk(SdkChange::Freed)] {
        assert_eq!(engine.commit(&[batch(0, vec![record])]), [Err(StoreFault::Failed)]);
    }
    disk.world().absent = false;
    engine.tick();
    assert_eq!(engine.mirror().get(&name(0)).cloned().unwrap_or_default(), Durable::default());
    assert_eq!(engine.commit(&[batch(0, vec![label("taken")])]), [Ok(())]);
    let mirror = Engine::open(disk.unplugged(), &small(), all()).unwrap().mirror().clone();
    assert_eq!(mirror[&name(0)].sdk.labels["k"], "taken");
    assert!(!mirror[&name(0)].said.ready);
}

#[test]
fn an_acknowledgement_of_a_page_that_the_disk_lacks_is_not_called_durable() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    assert_eq!(engine.commit(&[batch(0, vec![page(1, 1, "one")])]), [Ok(())]);
    // Room for the log, none for a new snapshot.
    disk.plan(Plan { fail: Some((0..u64::MAX, 28)), only: vec![Op::Create], ..Plan::default() });
    let too_big = batch(0, vec![page(2, 1, &"x".repeat(3_000))]);
    let ack = |number| batch(0, vec![Record::Acked { through: super::script::notification_id(number) }]);
    assert_eq!(engine.commit(&[too_big, ack(2)]), [Err(StoreFault::Full); 2]);
    assert_eq!(engine.commit(&[ack(2)]), [Err(StoreFault::Full)]);
    let mut again = History::default();
    disk.plan(Plan::default());
    again.tick(&mut engine, &disk);
    assert_eq!(engine.commit(&[ack(2)]), [Ok(())]);
    assert!(Engine::open(disk.unplugged(), &small(), all()).unwrap().mirror()[&name(0)].inbox.is_empty());
}

#[test]
fn what_cannot_be_cut_off_is_made_void_before_the_answer() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    // Write, sync (fails), truncate, sync (fails): the frame may be on disk. What comes next works.
    disk.plan(Plan { fail: Some((0..4, 5)), only: vec![Op::Sync], ..Plan::default() });
    assert_eq!(engine.commit(&[batch(0, vec![accepted(1)])]), [Err(StoreFault::Failed)]);
    let status = engine.status();
    assert_eq!((status.in_doubt, status.fault, status.faults), (false, None, 1));
    assert!(Engine::open(disk.unplugged(), &small(), all()).unwrap().mirror().is_empty());
}
