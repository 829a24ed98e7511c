//! What fuzzing begins with, and what it has found, read by the rules that the fuzzer holds: each file's name says how it must be
//! read. See tests/fuzz/Cargo.toml.

#[expect(clippy::unwrap_in_result, reason = "a rule may fail by panicking")]
#[path = "../fuzz/rules/config.rs"]
mod config;
#[expect(clippy::unwrap_in_result, reason = "a rule may fail by panicking")]
#[path = "../fuzz/rules/state.rs"]
mod state;
#[path = "../fuzz/rules/wire.rs"]
mod wire;
#[path = "../fuzz/rules/writers.rs"]
mod writers;

use std::fs;
use std::path::Path;

/// How often each input is changed.
const CHANGES: usize = 60;

/// Every file of a corpus: `good-` ones are taken, `bad-` ones are not, `odd-` ones may be either; and every beginning of one, and one
/// with another byte in it, is held to the same rules.
fn replay(corpus: &str, least: usize, taken: impl Fn(&[u8]) -> bool) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(corpus);
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let input = fs::read(&path).unwrap();
        let is_taken = taken(&input);
        match name.split('-').next().unwrap() {
            "good" => assert!(is_taken, "{name}"),
            "bad" => assert!(!is_taken, "{name}"),
            "odd" => {}
            _ => panic!("{name}: good, bad or odd?"),
        }
        for at in (0..input.len()).step_by(input.len() / CHANGES + 1) {
            let _cut = taken(&input[..at]);
            let mut other = input.clone();
            other[at] ^= 0x15;
            let _changed = taken(&other);
        }
        seen += 1;
    }
    assert!(seen >= least, "only {seen} were seen");
}

#[test]
fn replies_are_read_as_their_names_say() {
    replay("wire", 25, |input| wire::hold(input) > 0);
}

#[test]
fn one_notification_is_one_event_one_entry_and_one_line() {
    replay("writers", 8, |input| writers::hold(input) > 0);
}

#[test]
fn configurations_are_read_as_their_names_say() {
    replay("config", 12, config::hold);
}

#[test]
fn a_state_is_read_in_time_and_an_agent_lives_with_it() {
    replay("state", 12, |input| !state::hold(input));
}
