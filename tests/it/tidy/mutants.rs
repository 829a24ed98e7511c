//! The table of mutants stays true: each still fits the code, and names a test that is there.

use std::fs;

use serde::Deserialize;

use super::{root, rust_files};

#[derive(Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    breaks: String,
    file: String,
    from: String,
    to: String,
    target: String,
    test: String,
}

#[test]
fn every_mutant_fits_the_code_and_names_a_test() {
    let table = fs::read_to_string(root().join("tests/mutants/table.toml")).unwrap();
    let Table { mutant: mutants } = toml::from_str(&table).unwrap();
    assert!(mutants.len() >= 25, "only {} mutants were read", mutants.len());
    let tests = [("lib", rust_files(&["src"])), ("it", rust_files(&["tests/it"]))];
    let mut wrong = Vec::new();
    for Mutant { name, breaks, file, from, to, target, test } in &mutants {
        assert!(!breaks.is_empty(), "{name} breaks nothing");
        let code = fs::read_to_string(root().join(file)).unwrap();
        let times = code.matches(from.as_str()).count();
        if times != 1 || from == to {
            wrong.push(format!("{name}: `{from}` stands {times} times in {file}"));
        }
        let Some((_, files)) = tests.iter().find(|(known, _)| known == target) else {
            wrong.push(format!("{name}: there is no target `{target}`"));
            continue;
        };
        let head = format!("fn {test}(");
        if !files.iter().any(|(_, text)| text.contains(&head)) {
            wrong.push(format!("{name}: there is no test `{test}` in {target}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
