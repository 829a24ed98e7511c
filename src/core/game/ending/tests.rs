use super::*;

const SEGV: i32 = 11;
const TERM: i32 = 15;

/// Every status that a process can leave, as far as it makes a difference.
const STATUSES: [EndStatus; 12] = [
    EndStatus::Code(0),
    EndStatus::Code(1),
    EndStatus::Code(3),
    EndStatus::Code(255),
    EndStatus::Code(128 + SEGV),
    EndStatus::Code(128 + TERM),
    EndStatus::Signal(KILL),
    EndStatus::Signal(TERM),
    EndStatus::Signal(SEGV),
    EndStatus::Signal(6),
    EndStatus::Signal(40),
    EndStatus::Unknown,
];
const ASKED: [Option<Asked>; 4] = [None, Some(Asked::Itself), Some(Asked::Stop), Some(Asked::Kill)];

/// What the table in the documentation says, written down a second time in another way: by what must hold of each ending.
fn expected(status: EndStatus, oom: bool, moment: &Moment) -> Ending {
    let asked = moment.asked.is_some();
    let by_us = moment.asked == Some(Asked::Kill);
    if moment.late {
        return Ending::NeverReady;
    }
    match status {
        EndStatus::Code(0) if asked => Ending::Asked,
        EndStatus::Code(0) => Ending::Clean { ready: moment.ready || moment.ending },
        EndStatus::Signal(KILL) if by_us => moment.lost.map_or(Ending::Asked, Ending::Hung),
        EndStatus::Signal(KILL) if oom => Ending::OutOfMemory,
        _ if oom && !asked => Ending::OutOfMemory,
        EndStatus::Code(139) | EndStatus::Signal(SEGV) => Ending::Crashed(SEGV),
        EndStatus::Signal(signal) if signal != KILL && signal != TERM => Ending::Crashed(signal),
        _ if asked => Ending::Asked,
        EndStatus::Code(143) | EndStatus::Signal(TERM) => Ending::Killed(TERM),
        EndStatus::Signal(_) => Ending::Killed(KILL),
        EndStatus::Code(code) => Ending::Exited(code),
        EndStatus::Unknown if moment.ending => Ending::Clean { ready: true },
        EndStatus::Unknown if moment.ready => Ending::Vanished,
        EndStatus::Unknown => Ending::Gone,
    }
}

#[test]
fn every_end_in_every_moment_is_what_the_table_says() {
    let mut rows = 0;
    let both = [false, true];
    for status in STATUSES {
        for asked in ASKED {
            for oom in both {
                for ready in both {
                    for ending in both {
                        for late in both {
                            for lost in [None, Some(Fault::HeartbeatLost), Some(Fault::ProbesFailed)] {
                                let moment = Moment { asked, ready, ending, late, lost };
                                let found = classify(status, oom, &moment);
                                assert_eq!(found, expected(status, oom, &moment), "{status:?} oom {oom} {moment:?}");
                                rows += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(rows, 12 * 4 * 2 * 2 * 2 * 2 * 3);
}

#[test]
fn only_real_failures_have_a_word_and_none_of_them_exits_with_zero() {
    let fails = |status, oom, moment: Moment| classify(status, oom, &moment).fault();
    let serving = Moment { ready: true, ..Moment::default() };
    let stopped = Moment { asked: Some(Asked::Stop), ending: true, ..serving };
    let killed = Moment { asked: Some(Asked::Kill), ..stopped };
    let done = Moment { asked: Some(Asked::Itself), ..stopped };
    for (status, oom, moment, word) in [
        (EndStatus::Code(0), false, serving, None),
        (EndStatus::Code(0), true, serving, None),
        (EndStatus::Code(3), false, serving, Some("game_exited")),
        (EndStatus::Signal(SEGV), false, serving, Some("game_crashed")),
        (EndStatus::Code(139), false, serving, Some("game_crashed")),
        (EndStatus::Signal(KILL), true, serving, Some("game_oom_killed")),
        (EndStatus::Signal(KILL), false, serving, None),
        (EndStatus::Signal(TERM), false, serving, None),
        (EndStatus::Code(130), false, serving, None),
        (EndStatus::Unknown, false, serving, Some("game_vanished")),
        (EndStatus::Unknown, false, Moment::default(), None),
        (EndStatus::Code(3), false, stopped, None),
        (EndStatus::Signal(TERM), false, stopped, None),
        (EndStatus::Signal(SEGV), false, stopped, Some("game_crashed")),
        (EndStatus::Signal(KILL), true, stopped, Some("game_oom_killed")),
        (EndStatus::Signal(KILL), false, killed, None),
        (EndStatus::Signal(KILL), true, killed, None),
        (EndStatus::Code(1), false, done, None),
        (EndStatus::Signal(KILL), false, Moment { lost: Some(Fault::HeartbeatLost), ..killed }, Some("heartbeat_lost")),
        (EndStatus::Code(0), false, Moment { late: true, ..stopped }, Some("never_ready")),
    ] {
        assert_eq!(fails(status, oom, moment).map(Fault::as_str), word, "{status:?} oom {oom} {moment:?}");
    }
    for status in STATUSES {
        for late in [false, true] {
            let ending = classify(status, false, &Moment { late, ..serving });
            let code = ending.exit_code(status);
            assert!(code != 0 || ending.fault().is_none(), "{status:?}: {ending:?} exits with {code}");
        }
    }
}

#[test]
fn the_exit_code_is_the_game_s_or_128_and_its_signal() {
    for (status, code) in [
        (EndStatus::Code(0), 0),
        (EndStatus::Code(3), 3),
        (EndStatus::Code(255), 255),
        (EndStatus::Signal(SEGV), 139),
        (EndStatus::Signal(TERM), 143),
    ] {
        let ending = classify(status, false, &Moment::default());
        assert_eq!(ending.exit_code(status), code, "{status:?}");
    }
}

#[test]
fn an_end_is_told_in_words() {
    let words = |status| classify(status, false, &Moment { ready: true, ..Moment::default() }).words(status);
    assert_eq!(words(EndStatus::Code(0)), "the game has ended by itself: exit code 0");
    assert_eq!(words(EndStatus::Signal(SEGV)), "the game has crashed: SIGSEGV");
    assert_eq!(words(EndStatus::Code(139)), "the game has crashed: exit code 139, a shell's word for SIGSEGV");
    assert_eq!(words(EndStatus::Signal(40)), "the game has crashed: signal 40");
}

#[test]
fn every_signal_that_ends_a_process_has_a_name_of_its_own() {
    let ends: Vec<i32> = (1..=16).chain(24..=27).chain(29..=31).collect();
    let names: std::collections::BTreeSet<String> = ends.iter().map(|signal| signal_words(*signal)).collect();
    assert_eq!(names.len(), ends.len());
    assert!(names.iter().all(|name| name.starts_with("SIG")), "{names:?}");
    for other in (17..=23).chain([0, 28, 32, 40, 64]) {
        assert_eq!(signal_words(other), format!("signal {other}"));
    }
}

#[test]
fn only_an_end_after_it_was_ready_or_that_we_asked_for_ends_a_row_of_failures() {
    assert!(Ending::Clean { ready: true }.is_good() && Ending::Asked.is_good());
    for bad in [
        Ending::Clean { ready: false },
        Ending::Exited(1),
        Ending::Crashed(SEGV),
        Ending::OutOfMemory,
        Ending::NeverReady,
        Ending::Vanished,
    ] {
        assert!(!bad.is_good(), "{bad:?}");
    }
}
