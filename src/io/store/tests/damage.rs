//! Damaged files: cut at every length, bits flipped, blocks zeroed, foreign.

use super::super::engine::Engine;
use super::super::finding::Finding;
use super::super::frame;
use super::super::payload::Mirror;
use super::super::{Options, recover};
use super::crash::{all, run, small};
use super::fake::FakeDisk;
use super::script::{Step, accepted, batch, name, page, said};
use crate::core::durable::Durable;

/// A snapshot and a log with something of everything in them, and the state that they make.
fn files() -> (Vec<u8>, Vec<u8>, Mirror) {
    let disk = FakeDisk::new(0);
    let script: Vec<Step> = (0..40).map(|step| (step, step % 2, step)).collect();
    let (_, engine) = run(&disk, &Options { compact_at: 4_000, ..small() }, &script, 1);
    let (snapshot, log) = (disk.file(recover::SNAPSHOT).unwrap(), disk.file(recover::LOG).unwrap());
    assert!(snapshot.len() > 1_500 && log.len() > 1_500, "{} {}", snapshot.len(), log.len());
    (snapshot, log, engine.unwrap().mirror().clone())
}

/// Opens a directory with these two files.
fn open(snapshot: &[u8], log: &[u8]) -> (FakeDisk, Engine<FakeDisk>) {
    let disk = FakeDisk::new(0);
    disk.put(recover::SNAPSHOT, snapshot);
    disk.put(recover::LOG, log);
    let engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    (disk, engine)
}

/// After damage: told, kept as it was, in order from now on.
fn is_kept_aside(disk: &FakeDisk, engine: &Engine<FakeDisk>, damaged: &[u8]) {
    let status = engine.status();
    assert!(!status.findings.is_empty());
    assert_eq!(status.fault, None);
    let asides: Vec<_> = disk.names().into_iter().filter(|name| name.contains(".damaged-2")).collect();
    assert_eq!(asides.len(), 1, "{asides:?}");
    assert_eq!(disk.file(&asides[0]).unwrap(), damaged);
    assert!(status.findings.iter().any(|finding| finding.to_string().contains(&asides[0])));
    let again = Engine::open(disk.unplugged(), &small(), all()).unwrap();
    assert_eq!(again.mirror(), engine.mirror());
    assert_eq!(again.status().findings.len(), 0, "told once");
}

/// Ends of the frames of a file.
fn ends(file: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let frames = frame::Scan::new(file).map(|found| {
        let frame::Found::Frame { payload, .. } = found else { panic!("{found:?}") };
        at += frame::HEADER + payload.len();
        at
    });
    frames.collect()
}

/// All reports, wherever they are.
fn reports(durable: &Durable) -> usize {
    durable.outbox.len() + durable.dead.len()
}

#[test]
fn a_log_cut_at_any_length_keeps_what_is_before_the_cut() {
    let (snapshot, log, mirror) = files();
    let ends = ends(&log);
    let mut expected = Vec::new();
    for end in &ends {
        expected.push(open(&snapshot, &log[..*end]).1.mirror().clone());
    }
    assert_eq!(expected.last(), Some(&mirror));
    for length in 0..log.len() {
        let (disk, engine) = open(&snapshot, &log[..length]);
        let whole = ends.iter().filter(|end| **end <= length).count();
        let kept = expected.get(whole.max(1) - 1).unwrap();
        assert_eq!(engine.mirror(), kept, "cut at {length}");
        if ends.contains(&length) {
            assert_eq!(engine.status().findings.len(), 0, "nothing is missing that one could see");
        } else {
            is_kept_aside(&disk, &engine, &log[..length]);
        }
    }
}

#[test]
fn a_snapshot_cut_at_any_length_is_told_and_the_log_still_counts() {
    let (snapshot, log, mirror) = files();
    let mut last = 0;
    for length in 0..snapshot.len() {
        let (disk, engine) = open(&snapshot[..length], &log);
        is_kept_aside(&disk, &engine, &snapshot[..length]);
        let now: usize = engine.mirror().values().map(reports).sum();
        assert!(now >= last, "a longer rest holds no less");
        last = now;
    }
    assert_eq!(last, mirror.values().map(reports).sum::<usize>());
}

#[test]
fn flipped_bits_cost_at_most_their_own_frame() {
    let (snapshot, log, mirror) = files();
    let total: usize = mirror.values().map(reports).sum();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..2_000 {
        let (mut snapshot, mut log) = (snapshot.clone(), log.clone());
        let file = if round % 2 == 0 { &mut snapshot } else { &mut log };
        let at = rng.usize(..file.len());
        file[at] ^= 1 << rng.u8(..8);
        let damaged = file.clone();
        let (disk, engine) = open(&snapshot, &log);
        is_kept_aside(&disk, &engine, &damaged);
        assert!(
            engine
                .status()
                .findings
                .iter()
                .any(|finding| matches!(finding, Finding::Damaged { places: 1, .. } | Finding::Torn { .. }))
        );
        if round % 2 == 1 {
            // A frame of the log has at most two reports, or takes one away.
            let now: usize = engine.mirror().values().map(reports).sum();
            assert!(now.abs_diff(total) <= 2, "flip at {at}: {now} of {total}");
        }
    }
}

#[test]
fn zeroed_blocks_and_many_flips_never_stop_the_start() {
    let (snapshot, log, _) = files();
    let mut rng = fastrand::Rng::with_seed(8);
    for round in 0..400 {
        let (mut snapshot, mut log) = (snapshot.clone(), log.clone());
        let file = if round % 2 == 0 { &mut snapshot } else { &mut log };
        if round % 4 < 2 {
            let at = rng.usize(..file.len());
            let end = (at + rng.usize(1..512)).min(file.len());
            file[at..end].fill(0);
        } else {
            for _ in 0..rng.usize(2..200) {
                let at = rng.usize(..file.len());
                file[at] = rng.u8(..);
            }
        }
        let damaged = file.clone();
        let (disk, engine) = open(&snapshot, &log);
        is_kept_aside(&disk, &engine, &damaged);
    }
    for bytes in [vec![], vec![0; 5_000], b"[Unit]\nDescription=not ours\n".to_vec()] {
        let (disk, engine) = open(&snapshot, &bytes);
        assert_eq!(engine.status().findings[0].kind(), "foreign");
        is_kept_aside(&disk, &engine, &bytes);
    }
}

#[test]
fn gaps_and_missing_files_are_told() {
    let (snapshot, log, mirror) = files();
    let ends = ends(&log);
    let mut gap = log[..ends[2]].to_vec();
    gap.extend_from_slice(&log[ends[4]..]);
    let (_, engine) = open(&snapshot, &gap);
    let findings = engine.status().findings;
    assert!(matches!(findings[..], [Finding::Gap { missing: 2, .. }]), "{findings:?}");

    let disk = FakeDisk::new(0);
    disk.put(recover::SNAPSHOT, &snapshot);
    let engine = Engine::open(disk, &small(), all()).unwrap();
    assert_eq!(*engine.status().findings, [Finding::Missing { file: "log" }]);

    let disk = FakeDisk::new(0);
    disk.put(recover::LOG, &log);
    let engine = Engine::open(disk, &small(), all()).unwrap();
    assert_eq!(engine.status().findings[0].kind(), "gap");
    assert_ne!(engine.mirror(), &mirror);
}

#[test]
fn what_a_newer_agent_wrote_is_left_out_and_kept() {
    let (snapshot, mut log, mirror) = files();
    let seq = log_seq(&log);
    let unknown =
        br#"{"v":1,"instance":"game-0","records":[{"record":"teleported"},{"record":"cadence","millis":77}]}"#;
    frame::push(&mut log, seq + 1, br#"{"v":1,"process":{"last_login":"2026-11-22T10:15:00Z"}}"#);
    frame::push(&mut log, seq + 2, unknown);
    frame::push(&mut log, seq + 3, br#"{"v":2,"instance":"game-0","records":[]}"#);
    let (disk, engine) = open(&snapshot, &log);
    assert!(
        matches!(engine.status().findings[..], [Finding::Unknown { count: 3, .. }]),
        "{:?}",
        engine.status().findings
    );
    is_kept_aside(&disk, &engine, &log);
    assert_eq!(engine.mirror()[&name(0)].cadence_millis, Some(77));
    assert_eq!(engine.mirror()[&name(1)], mirror[&name(1)]);
}

fn log_seq(log: &[u8]) -> u64 {
    let seqs = frame::Scan::new(log).map(|found| match found {
        frame::Found::Frame { seq, .. } => seq,
        frame::Found::Bad { .. } => 0,
    });
    seqs.max().unwrap()
}

#[test]
fn a_state_of_another_machine_is_kept_aside_and_not_replayed() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &Options { machine: 1, ..small() }, all()).unwrap();
    assert_eq!(engine.commit(&[batch(0, vec![accepted(1), said(1), page(1, 1, "")])]), [Ok(())]);
    for (machine, told) in [(1, false), (0, false), (2, true)] {
        let again = Engine::open(disk.killed(), &Options { machine, ..small() }, all()).unwrap();
        if told {
            assert!(again.mirror().is_empty(), "a cloned disk must not speak for the original");
        } else {
            assert_eq!(again.mirror(), engine.mirror());
        }
        assert_eq!(again.status().findings.contains(&Finding::OtherMachine), told);
    }
}

#[test]
fn a_state_of_another_instance_is_kept_aside_and_not_replayed() {
    let disk = FakeDisk::new(0);
    let mut engine = Engine::open(disk.clone(), &small(), all()).unwrap();
    assert_eq!(engine.commit(&[batch(0, vec![accepted(1)]), batch(1, vec![accepted(2)])]), [Ok(()), Ok(())]);
    let after = disk.killed();
    let mut again = Engine::open(after.clone(), &small(), Box::new(|instance, _| *instance == name(1))).unwrap();
    assert_eq!(again.mirror(), engine.mirror(), "the core makes dead letters of it");
    assert!(after.names().iter().any(|name| name.starts_with("log.archived-")), "{:?}", after.names());
    assert!(again.status().findings.contains(&Finding::Archived { instance: name(0) }));
    assert_eq!(again.commit(&[batch(0, vec![accepted(3)])]), [Ok(())], "it begins anew");
}

#[test]
fn a_file_longer_than_any_of_ours_is_read_to_a_bound() {
    let (snapshot, mut log, mirror) = files();
    log.resize(64_000 * 4 + 1, 0);
    let (disk, engine) = open(&snapshot, &log);
    assert_eq!(engine.mirror(), &mirror);
    is_kept_aside(&disk, &engine, &log);
}
