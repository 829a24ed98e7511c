//! The rules of the house that no compiler holds: who imports whom, what the pure rooms must not touch, how files are kept.
//!
//! Each rule is a function over a path and a text, and is itself tried on a text that breaks it.

mod code;
mod mutants;
mod rules;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use rules::Rule;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the given folders: its path from the root, with slashes, and its text.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What a fuzzer has built in tests/fuzz is not ours.
                if !path.ends_with("target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Holds a rule over the whole repository.
fn hold(rule: Rule) {
    let files = rust_files(&["src", "tests"]);
    assert!(files.len() >= 40, "only {} files were seen: is this the repository?", files.len());
    let looked_at = files.iter().filter(|(path, _)| (rule.applies)(path)).count();
    assert!(looked_at >= rule.at_least, "only {looked_at} files were looked at");
    let broken: Vec<_> = files.iter().flat_map(|(path, text)| rule.check(path, text)).collect();
    assert!(broken.is_empty(), "{}\n{}", rule.says, broken.join("\n"));
}

#[test]
fn rooms_import_only_whom_they_may() {
    hold(rules::IMPORTS);
}

#[test]
fn the_pure_rooms_are_pure() {
    hold(rules::PURITY);
}

#[test]
fn no_file_outgrows_its_reader() {
    hold(rules::LENGTH);
}

#[test]
fn modules_stand_beside_their_folder() {
    hold(rules::NO_MOD_RS);
}

#[test]
fn a_lint_is_expected_and_never_allowed() {
    hold(rules::NO_ALLOW);
}

#[test]
fn nothing_is_left_for_later() {
    hold(rules::NOTHING_LATER);
}

#[test]
fn no_test_is_ignored() {
    hold(rules::NO_IGNORE);
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    hold(rules::NO_SLEEP_IN_TESTS);
}

#[test]
fn the_top_level_is_fixed() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.len() >= 4, "only {names:?} was seen");
    let strangers: Vec<_> = names.iter().filter(|name| !rules::belongs_at_the_top(name)).collect();
    assert!(strangers.is_empty(), "these do not belong at the top level: {strangers:?}");
}
