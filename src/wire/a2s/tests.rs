//! Tests: a2s.

use super::*;

/// A whole answer up to the flag of what else there is.
fn plain(app: u16, more: &[u8]) -> Vec<u8> {
    let mut bytes = b"\xff\xff\xff\xffI\x11The name\0de_dust\0csgo\0Counter\0".to_vec();
    bytes.extend(app.to_le_bytes());
    bytes.extend(b"\x05\x10\x02dl\0\x01");
    bytes.extend(more);
    bytes.extend(b"1.38.7.9\0");
    bytes
}

/// All that may follow: port, Steam id, spectator port and name, keywords, game id.
const EXTRA: &[u8] = b"\xf1\x87\x69\x01\x02\x03\x04\x05\x06\x07\x08\x8c\x69tv\0empty,secure\0\xda\x02\0\0\0\0\0\0";

fn with_extra() -> Vec<u8> {
    [plain(730, b""), EXTRA.to_vec()].concat()
}

fn expected() -> Info {
    Info {
        name: "The name".to_owned(),
        map: "de_dust".to_owned(),
        game: "Counter".to_owned(),
        version: "1.38.7.9".to_owned(),
        players: 5,
        max_players: 16,
        bots: 2,
    }
}

#[test]
fn the_question_is_that_of_the_protocol() {
    assert_eq!(request(None), b"\xff\xff\xff\xff\x54Source Engine Query\0");
    assert_eq!(request(None).len(), 25);
    assert_eq!(request(Some(0x0df0_ad0b)), b"\xff\xff\xff\xff\x54Source Engine Query\0\x0b\xad\xf0\x0d");
}

#[test]
fn a_challenge_comes_back_as_it_was_sent() {
    let answer = decode(b"\xff\xff\xff\xffA\x0b\xad\xf0\x0d").unwrap();
    let Answer::Challenge(challenge) = answer else { panic!("{answer:?}") };
    assert!(request(Some(challenge)).ends_with(b"\x0b\xad\xf0\x0d"));
}

#[test]
fn an_answer_is_read_with_and_without_what_is_optional() {
    for good in [plain(730, b""), with_extra(), plain(THE_SHIP, b"\x01\x02\x03"), [with_extra(), vec![7; 9]].concat()] {
        assert_eq!(decode(&good), Ok(Answer::Info(expected())), "{good:02x?}");
    }
}

#[test]
fn what_is_no_answer_says_what_it_is() {
    assert_eq!(decode(b""), Err(A2sError::NotA2s));
    assert_eq!(decode(b"HTTP/1.1"), Err(A2sError::NotA2s));
    assert_eq!(decode(b"\xff\xff\xff\xff"), Err(A2sError::CutBefore("sort")));
    assert_eq!(decode(b"\xff\xff\xff\xffm1"), Err(A2sError::Sort(b'm')));
    assert_eq!(decode(b"\xfe\xff\xff\xff\x01\0\0\0"), Err(A2sError::Split));
    assert!(A2sError::Split.to_string().contains("split over several datagrams"));
    assert_eq!(decode(b"\xff\xff\xff\xffI\x11name"), Err(A2sError::CutBefore("name")));
}

#[test]
fn a_part_of_an_answer_is_never_taken_for_one() {
    let whole = with_extra();
    let optional = plain(730, b"").len();
    for length in 0..whole.len() {
        let read = decode(&whole[..length]);
        // Cut there, it is the whole answer of an old server.
        assert_eq!(read.is_ok(), length == optional, "{length}: {read:?}");
    }
    let challenge = b"\xff\xff\xff\xffA\x0b\xad\xf0\x0d";
    for length in 0..challenge.len() {
        assert!(decode(&challenge[..length]).is_err(), "{length}");
    }
}

#[test]
fn no_change_of_one_byte_does_harm() {
    let mut seen = 0;
    for whole in [with_extra(), plain(730, b""), plain(THE_SHIP, b"\x01\x02\x03")] {
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = byte;
                tame(&changed);
                seen += 1;
            }
        }
    }
    assert!(seen > 30_000, "{seen}");
}

#[test]
fn no_datagram_at_all_does_harm() {
    let mut random = fastrand::Rng::with_seed(0xa25);
    let mut read = 0;
    for turn in 0..100_000 {
        let length = random.usize(0..1500);
        let mut datagram: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        // Most are random behind a good beginning: else hardly one would come past it.
        let beginning = match turn % 4 {
            0 => &b""[..],
            1 => &b"\xff\xff\xff\xff"[..],
            2 => &b"\xff\xff\xff\xffA"[..],
            _ => &b"\xff\xff\xff\xffI\x11"[..],
        };
        datagram.splice(..beginning.len().min(datagram.len()), beginning.iter().copied());
        read += usize::from(tame(&datagram));
    }
    assert!(read > 1000, "only {read} were read at all");
}

/// Whatever a datagram says, nothing of it is long or unfit for a log line.
fn tame(datagram: &[u8]) -> bool {
    let Ok(answer) = decode(datagram) else { return false };
    if let Answer::Info(Info { name, map, game, version, .. }) = answer {
        for text in [name, map, game, version] {
            assert!(text.chars().count() <= TEXT_LIMIT, "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
    true
}

#[test]
fn each_thing_that_may_follow_is_read_with_and_without_the_others() {
    let parts: [(u8, &[u8]); 5] = [
        (0x80, b"\x87\x69"),
        (0x10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        (0x40, b"\x8c\x69tv\0"),
        (0x20, b"empty,secure\0"),
        (0x01, b"\xda\x02\0\0\0\0\0\0"),
    ];
    for chosen in 0..1u8 << parts.len() {
        let chosen: Vec<_> = (0..parts.len()).filter(|at| chosen >> at & 1 == 1).map(|at| parts[at]).collect();
        let flag = chosen.iter().fold(0, |flag, (bit, _)| flag | bit);
        let mut whole = [plain(730, b""), vec![flag]].concat();
        chosen.iter().for_each(|(_, bytes)| whole.extend(*bytes));
        assert_eq!(decode(&whole), Ok(Answer::Info(expected())), "{flag:#04x}");
        if flag != 0 {
            assert!(decode(&whole[..whole.len() - 1]).is_err(), "{flag:#04x}: its end is missing");
        }
    }
}
