//! Tests: the durable store in real directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::core::durable::{Content, Durable, Record, Report, SaidState};
use rallyhere_agent::core::duty::{Duty, Listing, Match};
use rallyhere_agent::core::ids::{InstanceName, MatchId, PlayerId, ReportId};
use rallyhere_agent::io::store::{self, Finding, OpenError, Opened, Options, machine_marker};
use rallyhere_agent::ports::Store;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

fn game() -> InstanceName {
    InstanceName::parse("game").unwrap()
}

fn report(number: usize) -> Record {
    Record::Accepted(Report {
        id: ReportId::parse(&format!("report-{number}")).unwrap(),
        key: None,
        accepted: "2026-11-22T10:15:00Z".parse().unwrap(),
        content: Content::Fubar {
            error: "it broke".to_owned(),
            source_provider: None,
            matchmaking_profile_id: None,
            region: "eu".to_owned(),
        },
    })
}

fn open(dir: &Path) -> Opened {
    store::open(dir, &Options::default(), |_, _| true).unwrap()
}

/// Writes so many reports, one by one, and closes; or leaves as a killed process does.
async fn write(dir: &Path, reports: std::ops::Range<usize>, close: bool) {
    let Opened { store, .. } = open(dir);
    let game = game();
    for number in reports {
        assert_eq!(store.append(&game, vec![report(number)]).await, Ok(()));
    }
    if close {
        assert_eq!(store.close(LONG).await, Ok(()));
    } else {
        // What is on disk now is what a kill would leave; then wait until the directory is free.
        let (snapshot, log) = (fs::read(dir.join("snapshot")).unwrap(), fs::read(dir.join("log")).unwrap());
        assert_eq!(store.close(LONG).await, Ok(()));
        fs::write(dir.join("snapshot"), snapshot).unwrap();
        fs::write(dir.join("log"), log).unwrap();
    }
}

/// A directory for us alone, inside one that goes away by itself.
fn state() -> (TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("some/where/state");
    (outer, dir)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn reports(opened: &Opened) -> usize {
    opened.recovered.get(&game()).map_or(0, |durable| durable.outbox.len())
}

#[tokio::test]
async fn duties_and_what_is_listed_are_there_after_every_rewrite() {
    let (_outer, dir) = state();
    let listing = Listing { custom_data: [("map".to_owned(), "canyon".to_owned())].into() };
    let duties = [
        Duty::BeginMatch(Match { match_id: MatchId::parse("m-1").unwrap(), custom_data: None }),
        Duty::ListBrowser(listing.clone()),
        Duty::UpdateSession { custom_data: None, joinable: Some(false) },
        Duty::RemovePlayer { player: PlayerId::parse("0199aa00-0000-7000-8000-0000000000ab").unwrap() },
        Duty::EndMatch,
    ];
    let Opened { store, .. } = open(&dir);
    for (number, duty) in duties.iter().enumerate() {
        let Record::Accepted(report) = report(number) else { unreachable!() };
        let record = Record::Accepted(Report { content: Content::Duty(duty.clone()), ..report });
        assert_eq!(store.append(&game(), vec![record]).await, Ok(()));
    }
    assert_eq!(
        store.append(&game(), vec![Record::Sent { report: ReportId::parse("report-1").unwrap() }]).await,
        Ok(())
    );
    assert_eq!(store.close(LONG).await, Ok(()));
    let left: Vec<Content> =
        duties.iter().enumerate().filter(|(n, _)| *n != 1).map(|(_, d)| Content::Duty(d.clone())).collect();
    // Each opening sums up what was there in a snapshot.
    for _ in 0..3 {
        let opened = open(&dir);
        assert_eq!(opened.findings, []);
        let durable = &opened.recovered[&game()];
        assert_eq!(durable.listing, Some(listing.clone()));
        assert_eq!(durable.outbox.iter().map(|report| report.content.clone()).collect::<Vec<_>>(), left);
        opened.store.close(LONG).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let (_outer, dir) = state();
    for (round, close) in [(0, true), (1, false), (2, true), (3, false)] {
        write(&dir, round * 10..round * 10 + 10, close).await;
        let opened = open(&dir);
        assert_eq!(reports(&opened), (round + 1) * 10);
        assert_eq!(opened.findings, []);
        opened.store.close(LONG).await.unwrap();
    }
    assert_eq!(names(&dir), ["lock", "log", "snapshot"]);
    assert_eq!(mode(&dir), 0o700, "made by us, for us alone");
    for name in names(&dir) {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_files_stay_small_however_much_goes_through() {
    let (_outer, dir) = state();
    let Opened { store, status, .. } =
        store::open(&dir, &Options { limit: 128 << 10, compact_at: 16 << 10, ..Options::default() }, |_, _| true)
            .unwrap();
    let game = game();
    for number in 0..500 {
        let id = ReportId::parse(&format!("report-{number}")).unwrap();
        assert_eq!(store.append(&game, vec![report(number), Record::Sent { report: id }]).await, Ok(()));
        let blocks: u64 = names(&dir).iter().map(|name| fs::metadata(dir.join(name)).unwrap().blocks() * 512).sum();
        assert!(blocks <= 128 << 10, "{blocks} bytes of disk");
        assert!(status.borrow().bytes <= 128 << 10);
    }
    store.close(LONG).await.unwrap();
    assert_eq!(open(&dir).recovered[&game], Durable::default());
}

#[tokio::test]
async fn a_second_agent_is_told_who_has_the_directory_and_changes_nothing() {
    let (_outer, dir) = state();
    let first = open(&dir);
    let before: Vec<_> = names(&dir).iter().map(|name| fs::read(dir.join(name)).unwrap()).collect();
    // Even one that may not use the directory at all: the lock is told first.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = store::open(&dir, &Options::default(), |_, _| true).unwrap_err();
    let words = refused.to_string();
    let OpenError::Locked { holder, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(holder, format!("process {}", std::process::id()));
    assert!(words.contains(&holder) && words.contains("state.dir"), "{words}");
    let after: Vec<_> = names(&dir).iter().map(|name| fs::read(dir.join(name)).unwrap()).collect();
    assert_eq!(before, after);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    first.store.close(LONG).await.unwrap();
    assert_eq!(open(&dir).findings, []);
}

#[tokio::test]
async fn an_agent_that_starts_while_somebody_asks_who_has_the_directory_is_not_refused() {
    let (_outer, dir) = state();
    write(&dir, 0..1, false).await;
    // Asking holds the lock for a moment, as `doctor` does; here without a pause.
    let (going_on, asked) = (Arc::new(()), dir.clone());
    let goes_on = Arc::downgrade(&going_on);
    let asker = std::thread::spawn(move || {
        while goes_on.strong_count() > 0 {
            store::holder_of(&asked).unwrap();
        }
    });
    for _ in 0..50 {
        open(&dir).store.close(LONG).await.unwrap();
    }
    drop(going_on);
    asker.join().unwrap();
}

#[tokio::test]
async fn a_directory_that_is_not_ours_alone_is_refused_with_the_fix() {
    let (_outer, dir) = state();
    write(&dir, 0..1, true).await;
    for mode in [0o701, 0o710, 0o750, 0o722, 0o777] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let refused = store::open(&dir, &Options::default(), |_, _| true).unwrap_err();
        assert!(matches!(refused, OpenError::TooOpen { mode: told, .. } if told == mode), "{refused:?}");
        assert!(refused.to_string().contains(&format!("chmod 0700 {}", dir.display())), "{refused}");
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    // Only root can give a directory away.
    if chown(&dir, Some(65_533), None).is_ok() {
        fs::remove_file(dir.join("lock")).unwrap();
        let refused = store::open(&dir, &Options::default(), |_, _| true).unwrap_err();
        assert!(matches!(refused, OpenError::NotOwned { owner: 65_533, user: 0, .. }), "{refused:?}");
        assert!(refused.to_string().contains("chown -R 0 "), "{refused}");
        assert!(!dir.join("lock").exists(), "a lock file of ours would keep the owner out");
    }
}

#[tokio::test]
async fn the_directory_may_be_a_link_and_nothing_in_it() {
    let (outer, dir) = state();
    write(&dir, 0..3, false).await;
    let link = outer.path().join("link");
    symlink(&dir, &link).unwrap();
    let opened = open(&link);
    assert_eq!(reports(&opened), 3);
    opened.store.close(LONG).await.unwrap();

    for file in ["snapshot", "log", "snapshot.new", "log.new"] {
        let precious = outer.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let _may_be_missing = fs::remove_file(dir.join(file));
        symlink(&precious, dir.join(file)).unwrap();
        let opened = open(&dir);
        opened.store.close(LONG).await.unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{file}");
        assert!(!fs::symlink_metadata(dir.join(file)).is_ok_and(|meta| meta.is_symlink()), "{file}");
        if !file.ends_with(".new") {
            assert!(matches!(opened.findings[0], Finding::Foreign { .. }), "{:?}", opened.findings);
            let aside = names(&dir).into_iter().find(|name| name.starts_with(&format!("{file}.damaged-2"))).unwrap();
            assert!(fs::symlink_metadata(dir.join(aside)).unwrap().is_symlink(), "moved, not read");
        }
    }

    // A lock that is a link is no lock: the agent runs, and says that nothing is durable.
    fs::remove_file(dir.join("lock")).unwrap();
    symlink(outer.path().join("elsewhere"), dir.join("lock")).unwrap();
    let opened = open(&dir);
    assert!(
        matches!(&opened.findings[..], [Finding::Unusable { why }] if why.contains("lock")),
        "{:?}",
        opened.findings
    );
    assert!(!outer.path().join("elsewhere").exists());
    let game = game();
    assert!(opened.store.append(&game, vec![report(9)]).await.is_err());
}

#[tokio::test]
async fn a_log_cut_at_any_length_starts_keeps_and_tells() {
    let (_outer, dir) = state();
    write(&dir, 0..3, false).await;
    let (snapshot, log) = (fs::read(dir.join("snapshot")).unwrap(), fs::read(dir.join("log")).unwrap());
    let mut last = 0;
    for length in 0..log.len() {
        fs::remove_dir_all(&dir).unwrap();
        open(&dir).store.close(LONG).await.unwrap();
        fs::write(dir.join("snapshot"), &snapshot).unwrap();
        fs::write(dir.join("log"), &log[..length]).unwrap();
        let opened = open(&dir);
        let now = reports(&opened);
        assert!((last..=last + 1).contains(&now), "cut at {length}: {now}");
        last = now;
        let asides: Vec<_> = names(&dir).into_iter().filter(|name| name.starts_with("log.damaged-2")).collect();
        assert_eq!(asides.len(), opened.findings.len(), "cut at {length}: {:?}", opened.findings);
        for aside in asides {
            assert_eq!(fs::read(dir.join(aside)).unwrap(), log[..length]);
        }
        opened.store.close(LONG).await.unwrap();
    }
    assert_eq!(last, 2);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_no_reason_not_to_run() {
    let outer = tempfile::tempdir().unwrap();
    let in_the_way = outer.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let dir = in_the_way.join("state");
    let options = Options { heal_every: Duration::from_millis(5), ..Options::default() };
    let Opened { store, recovered, findings, mut status } = store::open(&dir, &options, |_, _| true).unwrap();
    assert!(recovered.is_empty());
    assert!(matches!(&findings[..], [Finding::Unusable { why }] if why.contains("Not a directory")), "{findings:?}");
    let game = game();
    let said = Record::Said(SaidState { ready: true, ..SaidState::default() });
    assert!(store.append(&game, vec![said, report(1)]).await.is_err());
    assert!(status.borrow().fault.is_some());

    fs::remove_file(&in_the_way).unwrap();
    status.wait_for(|status| status.fault.is_none()).await.unwrap();
    assert_eq!(store.append(&game, vec![report(2)]).await, Ok(()));
    store.close(LONG).await.unwrap();
    let durable = &open(&dir).recovered[&game];
    assert!(durable.said.ready);
    assert_eq!(durable.outbox.len(), 1, "the refused one stays away");
}

#[tokio::test]
async fn a_directory_that_is_taken_away_is_noticed_and_made_again() {
    let (_outer, dir) = state();
    let options = Options { heal_every: Duration::from_millis(5), ..Options::default() };
    let Opened { store, mut status, .. } = store::open(&dir, &options, |_, _| true).unwrap();
    let game = game();
    assert_eq!(store.append(&game, vec![report(1)]).await, Ok(()));
    fs::remove_dir_all(&dir).unwrap();
    assert!(store.append(&game, vec![report(2)]).await.is_err(), "a file without a name is not durable");
    status.wait_for(|status| status.fault.is_none()).await.unwrap();
    assert!(matches!(store::open(&dir, &options, |_, _| true), Err(OpenError::Locked { .. })), "locked again, too");
    store.close(LONG).await.unwrap();
    assert_eq!(reports(&open(&dir)), 1);
}

#[test]
fn a_machine_has_the_same_marker_every_time() {
    assert_eq!(machine_marker(), machine_marker());
}
