//! The table of log lines: every WARN and every ERROR of the program has a row, and every row is of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::README;

/// Under the level, what a line says; what varies is `…`. A note of the core is told apart by its cause.
fn lines() -> BTreeSet<(String, String)> {
    let mut lines = BTreeSet::new();
    let mut files = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        files += 1;
        for (level, begin) in [("WARN", "tracing::warn!("), ("ERROR", "tracing::error!(")] {
            for rest in text.split(begin).skip(1) {
                let arguments = inside(rest);
                match words(arguments).as_str() {
                    // Its words come from the core, under one of the causes below.
                    "…" => {
                        assert!(arguments.contains("cause"), "{}: a line without words of its own", path.display())
                    }
                    said => {
                        lines.insert((level.to_owned(), said.to_owned()));
                    }
                }
            }
        }
        for rest in text.split("cause: \"").skip(1) {
            lines.insert(("WARN".to_owned(), format!("cause={}", rest.split('"').next().unwrap())));
        }
    }
    assert!(files > 100 && lines.len() > 50, "{files} files, {} lines", lines.len());
    lines
}

/// What is compiled into the agent, but for the simulated environment and the demo.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "simulator", "demo"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push(path);
        }
    }
    all
}

/// The arguments of a macro, up to its closing bracket.
fn inside(rest: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &rest[..at];
        }
    }
    panic!("a macro without an end: {rest:.100}");
}

/// The first text that is an argument of its own: the message.
fn words(arguments: &str) -> String {
    let mut quotes = arguments.match_indices('"').map(|(at, _)| at);
    let open = quotes
        .find(|at| matches!(arguments[..*at].trim_end().chars().next_back(), None | Some(',')))
        .unwrap_or_else(|| panic!("a line without a message: {arguments}"));
    let mut message = String::new();
    let mut chars = arguments[open + 1..].chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' if chars.next_if_eq(&'\n').is_some() => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            '\\' => message.extend(chars.next()),
            '{' => {
                chars.by_ref().find(|c| *c == '}');
                message.push('…');
            }
            c => message.push(c),
        }
    }
    message
}

/// Level and line of every row.
fn rows() -> Vec<(String, String)> {
    let table = README.split("| level | line | what it means, and what to do |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [level, line, meaning] = cells[..] else { panic!("{row}") };
        assert!(meaning.len() > 5, "{row}");
        (level.to_owned(), line.trim_matches('`').to_owned())
    })
    .collect()
}

#[test]
fn it_explains_every_warning_and_every_error_of_the_log() {
    let rows = rows();
    let mut used: BTreeMap<_, usize> = rows.iter().map(|row| (row, 0)).collect();
    let mut missing = Vec::new();
    assert_eq!(used.len(), rows.len(), "each row once");
    for (level, said) in lines() {
        // The longest key that begins the line.
        let row = rows
            .iter()
            .filter(|(of, key)| *of == level && said.starts_with(key.as_str()))
            .max_by_key(|row| row.1.len());
        match row {
            Some(row) => *used.entry(row).or_default() += 1,
            None => missing.push(format!("{level} {said}")),
        }
    }
    assert!(missing.is_empty(), "the README does not explain: {missing:#?}");
    let stale: Vec<_> = used.iter().filter(|(_, count)| **count == 0).collect();
    assert!(stale.is_empty(), "the README explains what nobody says: {stale:?}");
}

#[test]
fn a_message_is_found_in_its_macro() {
    let text = "tracing::warn!(\n    %error, path = \"x\".len(),\n    \"a {b} (c\\\n       d \\\"e\\\"): {}\", f(1)\n); more()";
    let arguments = inside(text.split("tracing::warn!(").nth(1).unwrap());
    assert!(arguments.ends_with("f(1)\n"), "{arguments}");
    assert_eq!(words(arguments), "a … (cd \"e\"): …");
}
