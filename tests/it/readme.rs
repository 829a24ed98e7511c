//! The README says what the program does: its lists are held to the code, its output to the program's.

use std::collections::BTreeSet;
use std::process::Command;

use rallyhere_agent::core::game::Fault;
use rallyhere_agent::exit::Exit;

mod log;

const README: &str = include_str!("../../README.md");
const SHIPPED: &str = include_str!("../../config/agent.toml");
const PHASES: &str = include_str!("../../src/core/phase.txt");

/// What changes from run to run: times, ids, counts of beats.
fn told(line: &str) -> Option<String> {
    let line = line.trim_end();
    if line.contains("health post") || line.is_empty() {
        return None;
    }
    let words = line.split_once(" s  ").map_or(line, |(_, words)| words);
    let words: Vec<String> = words
        .split_whitespace()
        .map(|word| {
            let id = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            let number = word.chars().all(|c| c.is_ascii_digit());
            if id || number { "…".to_owned() } else { word.to_owned() }
        })
        .collect();
    Some(words.join(" "))
}

#[test]
fn it_shows_what_the_demo_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_rallyhere-agent")).arg("demo").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let shown = README.split("## What the demo prints").nth(1).unwrap();
    let shown = shown.split("```text").nth(1).unwrap().split("```").next().unwrap();
    let printed: BTreeSet<String> = printed.lines().filter_map(told).collect();
    let shown: BTreeSet<String> = shown.lines().filter_map(told).collect();
    assert_eq!(printed, shown, "the order may differ, the story may not");
}

#[test]
fn it_has_every_key_with_its_default() {
    let mut section = "";
    let mut keys = 0;
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, default)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let row = format!("| `{section}.{key}` | `{default}` |");
            assert!(README.contains(&row), "the table of the README lacks {row}");
            keys += 1;
        }
    }
    assert!(keys > 50, "{keys}");
}

#[test]
fn it_draws_the_state_machine_that_runs() {
    assert!(README.contains(PHASES.trim_end()));
}

#[test]
fn it_explains_every_word_of_an_automatic_report() {
    for fault in Fault::ALL {
        assert!(README.contains(&format!("\n| `{}` | ", fault.as_str())), "{fault:?}");
    }
}

#[test]
fn it_lists_every_exit_code() {
    for exit in [Exit::Done, Exit::Failure, Exit::Usage, Exit::Locked, Exit::Superseded, Exit::Config, Exit::Left] {
        assert!(README.contains(&format!("\n| {} | ", exit.code())), "{exit:?}");
    }
}

#[test]
fn its_test_command_is_what_the_gate_runs() {
    let command = "cargo test --locked";
    assert!(README.contains(&format!("\n    {command}\n")));
    assert!(include_str!("../../.ci/run").contains(command));
    // And its step `newcomer` runs what a newcomer reads first: these two, out of the file itself.
    let first = README.split("\n## ").next().unwrap();
    let commands: Vec<_> = first.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(commands, ["cargo run -- demo", command]);
}

/// Its commands for a host are run by tests/systemd/package.rs.
#[test]
fn it_names_the_package_the_image_and_files_that_are_there() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(README.contains(&format!("./rallyhere-agent_{version}-1_amd64.deb\n")));
    assert!(README.contains(&format!("`rallyhere-agent:{version}`")));
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let words = README.split([' ', '`', '\n', '(', ')']);
    let paths: Vec<_> = words.filter(|word| word.starts_with("container/") || word.starts_with("systemd/")).collect();
    assert!(paths.len() > 4, "{paths:?}");
    for path in paths {
        assert!(root.join(path).exists(), "{path}");
    }
}

/// The table itself is held to what `/metrics` prints by the tests of `telemetry::metrics`.
#[test]
fn it_lists_every_metric() {
    let table = include_str!("../../src/telemetry/metrics/table.md");
    assert!(README.contains(table), "the table of src/telemetry/metrics/table.md belongs into the README as it is");
}
