use proptest::prelude::*;

use super::*;
use crate::clock;

const MULTIPLAY: Teller = Teller::Multiplay;

fn watch() -> Watch {
    Watch::new(MULTIPLAY, Path::new("/srv/server.json"))
}

fn content(text: &str) -> Seen {
    Seen::Content(text.as_bytes().to_vec())
}

fn document(session: &str) -> String {
    format!(
        r#"{{"AllocationUUID":"alloc-{session}","SessionId":"{session}","ConnectionIP":"203.0.113.7","ConnectionPort":7777,"SessionAuth":"x"}}"#
    )
}

fn session_of(word: &Word) -> Option<String> {
    match word {
        Word::Given(allocation) => allocation.session_id.as_ref().map(ToString::to_string),
        Word::Nothing | Word::Unreadable(_) => None,
    }
}

#[test]
fn a_whole_document_counts_with_the_second_look() {
    let (mut watch, now) = (watch(), clock::now());
    assert_eq!(watch.look(content(&document("s1")), now), None);
    assert_eq!(watch.pause(), FAST);
    let word = watch.look(content(&document("s1")), now + FAST).unwrap();
    assert_eq!(session_of(&word).as_deref(), Some("s1"));
    assert_eq!(watch.pause(), SLOW);
    assert!(watch.look(content(&document("s1")), now + SLOW).is_some(), "until it was taken");
    watch.told(word);
    assert_eq!(watch.look(content(&document("s1")), now + 2 * SLOW), None);
}

#[test]
fn a_moment_without_a_file_or_with_an_empty_one_is_a_writer_at_work() {
    for gap in [Seen::Absent, content(""), content(" \n"), content("{}"), content(r#"{"SessionId":""}"#)] {
        let (mut watch, now) = (watch(), clock::now());
        watch.look(content(&document("s1")), now);
        let word = watch.look(content(&document("s1")), now).unwrap();
        watch.told(word);
        assert_eq!(watch.look(gap.clone(), now), None, "{gap:?}");
        assert_eq!(watch.look(gap.clone(), now + SETTLE - FAST), None, "{gap:?}");
        assert_eq!(watch.look(gap.clone(), now + SETTLE), Some(Word::Nothing), "{gap:?}: now it is gone");
    }
}

#[test]
fn half_a_document_is_told_only_if_it_stays_so_and_once_a_minute() {
    let (mut watch, start) = (watch(), clock::now());
    let half = &document("s1")[..20];
    let mut told = Vec::new();
    for tenth in 0..1300 {
        if let Some(word) = watch.look(content(half), start + FAST * tenth) {
            assert!(matches!(&word, Word::Unreadable(words) if words.contains("/srv/server.json")), "{word:?}");
            watch.told(word);
            told.push(tenth);
        }
    }
    assert_eq!(told, [20, 620, 1220]);
    assert_eq!(watch.look(Seen::Failed("permission denied".to_owned()), start + FAST * 1300), None);
}

/// What a writer may do to the file between two looks.
#[derive(Debug, Clone)]
enum Step {
    /// Writes a new file beside it and renames it over the old one.
    Replace(usize),
    /// Truncates it and writes so many pieces of the new content, one after the other.
    Rewrite(usize, usize),
    /// Writes the next piece of what was begun.
    Piece,
    /// Truncates it and leaves it so for now.
    Truncate,
    /// Takes it away.
    Remove,
    /// Nothing happens for so many tenths of a second.
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            (0..5_usize).prop_map(Step::Replace),
            (0..5_usize, 1..6_usize).prop_map(|(which, pieces)| Step::Rewrite(which, pieces)),
            Just(Step::Piece),
            Just(Step::Truncate),
            Just(Step::Remove),
            (1..25_u32).prop_map(Step::Wait),
        ],
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order of writes, truncations and renames ends in the last whole content; and no word is ever a mixture of two.
    #[test]
    fn any_order_of_writes_ends_in_the_last_whole_content(steps in steps(), last in 0..5_usize, renamed: bool) {
        let documents: Vec<String> = (0..5).map(|which| document(&format!("session-{which}-{}", "x".repeat(which * 7)))).collect();
        let (mut watch, mut now) = (watch(), clock::now());
        let mut disk: Option<Vec<u8>> = None;
        // What is still to be written, piece by piece.
        let mut rest: Vec<Vec<u8>> = Vec::new();
        let mut told = Word::Nothing;
        let pieces = |which: usize, count: usize| -> Vec<Vec<u8>> {
            let bytes = documents[which].as_bytes();
            bytes.chunks(bytes.len().div_ceil(count)).map(<[u8]>::to_vec).collect()
        };
        let mut look = |disk: &Option<Vec<u8>>, now, told: &mut Word| {
            let seen = disk.clone().map_or(Seen::Absent, Seen::Content);
            if let Some(word) = watch.look(seen, now) {
                watch.told(word.clone());
                if !matches!(word, Word::Unreadable(_)) {
                    *told = word;
                }
            }
        };
        let last = if renamed { vec![Step::Replace(last)] } else { vec![Step::Rewrite(last, 3), Step::Piece, Step::Piece] };
        let expected = match &last[0] { Step::Replace(which) | Step::Rewrite(which, _) => *which, Step::Piece | Step::Truncate | Step::Remove | Step::Wait(_) => 0 };
        for step in steps.iter().chain(&last) {
            let mut waits = 1;
            match step {
                Step::Replace(which) => {
                    rest.clear();
                    disk = Some(documents[*which].as_bytes().to_vec());
                }
                Step::Rewrite(which, count) => {
                    rest = pieces(*which, *count);
                    disk = Some(rest.remove(0));
                }
                Step::Piece => {
                    if !rest.is_empty() && let Some(disk) = &mut disk {
                        disk.extend(rest.remove(0));
                    }
                }
                Step::Truncate => {
                    rest.clear();
                    disk = disk.map(|_| Vec::new());
                }
                Step::Remove => {
                    rest.clear();
                    disk = None;
                }
                Step::Wait(tenths) => waits = *tenths,
            }
            for _ in 0..waits {
                now += FAST;
                look(&disk, now, &mut told);
                if let Some(session) = session_of(&told) {
                    let whole = documents.iter().any(|document| document.contains(&format!("\"{session}\"")));
                    prop_assert!(whole, "a mixture: {session}");
                    let allocation = match &told {
                        Word::Given(given) => given.allocation_id.as_ref().map(ToString::to_string),
                        Word::Nothing | Word::Unreadable(_) => None,
                    };
                    prop_assert_eq!(allocation, Some(["alloc-", session.as_str()].concat()));
                }
            }
        }
        for _ in 0..25 {
            now += FAST;
            look(&disk, now, &mut told);
        }
        let session = session_of(&told);
        prop_assert!(session.as_ref().is_some_and(|session| documents[expected].contains(&format!("\"{session}\""))), "{told:?}");
    }
}
