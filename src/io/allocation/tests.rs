use std::fs;

use super::*;

fn allocated(session: &str) -> String {
    format!(r#"{{"SessionId":"{session}"}}"#)
}

/// Looks as the loop does, without waiting.
fn seen(path: &Path, last: &mut Option<Last>) -> Seen {
    let (seen, kept) = look(path, last.take(), clock::now());
    *last = kept;
    seen
}

#[test]
fn every_change_of_a_file_is_seen_also_one_within_the_tick_of_its_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.json");
    let mut last = None;
    assert_eq!(seen(&path, &mut last), Seen::Absent);
    for round in 0..200 {
        // Of one length, so that neither size nor (coarse) times tell them apart.
        let text = allocated(&format!("s-{round:04}"));
        if round % 3 == 0 {
            let beside = dir.path().join("server.json.tmp");
            fs::write(&beside, &text).unwrap();
            fs::rename(&beside, &path).unwrap();
        } else {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(seen(&path, &mut last), Seen::Content(text.into_bytes()), "round {round}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(seen(&path, &mut last), Seen::Absent);
}

#[test]
fn an_old_file_is_not_read_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.json");
    fs::write(&path, allocated("s-1")).unwrap();
    let before = mark(&path).unwrap();
    let kept = Seen::Content(b"what was read then".to_vec());
    let last = Last { mark: before, seen: kept.clone(), settled: true, at: clock::now() };
    assert_eq!(look(&path, Some(last.clone()), clock::now()).0, kept, "its times say that nothing has changed");
    let much_later = clock::now() + READ;
    assert_eq!(look(&path, Some(last.clone()), much_later).0, Seen::Content(allocated("s-1").into_bytes()));
    fs::write(&path, allocated("s-22")).unwrap();
    assert_eq!(look(&path, Some(last), clock::now()).0, Seen::Content(allocated("s-22").into_bytes()));
}

#[test]
fn what_is_no_file_is_said_and_a_huge_one_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(look(dir.path(), None, clock::now()).0, Seen::Failed(why) if why.contains("regular file")));
    let path = dir.path().join("huge");
    fs::write(&path, vec![b'x'; wire::FILE_LIMIT * 4]).unwrap();
    let Seen::Content(content) = look(&path, None, clock::now()).0 else { panic!("not read") };
    assert_eq!(content.len(), wire::FILE_LIMIT + 1);
    assert!(matches!(look(&path.join("below"), None, clock::now()).0, Seen::Absent));
}
