//! The rules.

use super::code::{Written, blanked, paths, without_tests};

/// What a rule finds in one file: line and words.
type Findings = Vec<(usize, String)>;

/// One rule.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The rule in words.
    pub(super) says: &'static str,
    /// To which files it applies.
    pub(super) applies: fn(&str) -> bool,
    /// How many those are at the very least: a rule that looks at nothing holds nothing.
    pub(super) at_least: usize,
    /// What breaks it.
    find: fn(&str, &str) -> Findings,
}

impl Rule {
    /// Each breach as `path:line: words`.
    pub(super) fn check(&self, path: &str, text: &str) -> Vec<String> {
        if !(self.applies)(path) {
            return Vec::new();
        }
        (self.find)(path, text).into_iter().map(|(line, words)| format!("{path}:{line}: {words}")).collect()
    }
}

pub(super) const IMPORTS: Rule = Rule {
    says: "design.md section 3 says who may import whom",
    applies: is_production,
    at_least: 25,
    find: |path, text| {
        let room = room_of(path);
        let Some(allowed) = may_import(room) else {
            return vec![(1, format!("no rule says whom `{room}` may import"))];
        };
        let imports = paths(&production(text)).into_iter().filter_map(|written| import(path, &written));
        imports
            .filter(|(_, target)| {
                !allowed.iter().any(|allowed| {
                    target.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                })
            })
            .map(|(line, target)| (line, format!("`{room}` imports `{target}`")))
            .collect()
    },
};

/// Whom a room may import: rooms, or modules of rooms. Everything is `[""]`.
fn may_import(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        "clock" | "exit" => &[],
        "core" => &["core"],
        "wire" => &["wire", "core"],
        "ports" => &["core", "wire"],
        "config" => &["config", "core", "wire::reader"],
        "driver" => &["driver", "core", "ports", "clock", "telemetry::thin"],
        "io" => &[
            "io",
            "core",
            "wire",
            "ports",
            "clock",
            "config::settings",
            "config::secret",
            "telemetry::metrics",
            "telemetry::thin",
        ],
        "simulator" => &["simulator", "wire", "clock"],
        "telemetry" => &["telemetry", "core", "clock", "config::settings"],
        "main" | "lib" | "cli" => &ROOMS,
        _ => return None,
    })
}

const ROOMS: [&str; 12] =
    ["cli", "clock", "config", "core", "driver", "exit", "io", "lib", "ports", "simulator", "telemetry", "wire"];

/// The target of a path that leads to a room of ours, as `room::module`.
fn import(path: &str, written: &Written) -> Option<(usize, String)> {
    let parts: Vec<_> = written.parts.iter().map(String::as_str).skip_while(|part| *part == "self").collect();
    let supers = parts.iter().take_while(|part| **part == "super").count();
    let depth = modules_of(path).len();
    let rest = match parts.first()? {
        &"crate" | &"rallyhere_agent" => &parts[1..],
        &"super" if supers >= depth => &parts[supers..],
        _ => return None,
    };
    ROOMS.contains(rest.first()?).then(|| (written.line, rest[..rest.len().min(2)].join("::")))
}

pub(super) const PURITY: Rule = Rule {
    says: "core and wire know no clock, no randomness, no I/O, no async, no locks, no log",
    applies: |path| is_production(path) && ["core", "wire"].contains(&room_of(path)),
    at_least: 12,
    find: |_, text| {
        let code = production(text);
        let banned = paths(&code).into_iter().filter_map(|Written { line, parts }| {
            let path = parts.join("::");
            let found = BANNED.iter().find(|banned| {
                let banned: Vec<_> = banned.split("::").collect();
                parts.windows(banned.len()).any(|window| window == banned)
            })?;
            Some((line, format!("`{found}` in `{path}`")))
        });
        banned.collect()
    },
};

/// Paths, or parts of paths.
const BANNED: [&str; 32] = [
    "tokio",
    "reqwest",
    "hyper",
    "axum",
    "rustix",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::os",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "Rng::new",
    "async",
    "await",
    "tracing",
    "Mutex",
    "RwLock",
    "Condvar",
    "std::sync::atomic",
    "OnceLock",
    "LazyLock",
    "thread_local",
    "println",
    "eprintln",
    "dbg",
];

/// The longest file, in lines of production code.
const LINE_LIMIT: usize = 600;

pub(super) const LENGTH: Rule = Rule {
    says: "a file has at most 600 lines of production code; 100 to 300 is the aim",
    applies: is_production,
    at_least: 25,
    find: |_, text| {
        let tests: usize = {
            let (all, kept) = (blanked(text), production(text));
            all.lines().zip(kept.lines()).filter(|(all, kept)| !all.trim().is_empty() && kept.trim().is_empty()).count()
        };
        let lines = text.lines().count() - tests;
        if lines > LINE_LIMIT { vec![(LINE_LIMIT, format!("{lines} lines"))] } else { Vec::new() }
    },
};

pub(super) const NO_MOD_RS: Rule = Rule {
    says: "name.rs stands beside name/",
    applies: |_| true,
    at_least: 40,
    find: |path, _| if path.ends_with("/mod.rs") { vec![(1, "is a mod.rs".to_owned())] } else { Vec::new() },
};

pub(super) const NO_ALLOW: Rule = Rule {
    says: "expect a lint, with a reason: an allow outlives what it was for",
    applies: |_| true,
    at_least: 40,
    find: |_, text| with_any(&blanked(text), &["#[allow(", "#![allow("]),
};

pub(super) const NOTHING_LATER: Rule = Rule {
    says: "what is not done is said to the reader of the plan, not of the code",
    applies: |path| !path.starts_with("tests/it/tidy"),
    at_least: 35,
    find: |_, text| with_any(text, &["TODO", "FIXME", "todo!", "unimplemented!"]),
};

pub(super) const NO_IGNORE: Rule = Rule {
    says: "a test that is not run proves nothing",
    applies: |_| true,
    at_least: 40,
    find: |_, text| with_any(&blanked(text), &["#[ignore"]),
};

pub(super) const NO_SLEEP_IN_TESTS: Rule = Rule {
    says: "a test waits for a condition, never for a time",
    applies: |path| path != "src/clock.rs",
    at_least: 40,
    find: |_, text| {
        let slept = paths(&blanked(text)).into_iter().filter(|Written { parts, .. }| {
            ["thread", "time"].iter().any(|module| parts.ends_with(&[(*module).to_owned(), "sleep".to_owned()]))
        });
        slept.map(|written| (written.line, written.parts.join("::"))).collect()
    },
};

/// Whether an entry may stand at the top level of the repository.
pub(super) fn belongs_at_the_top(name: &str) -> bool {
    let fixed = ["Cargo.toml", "Cargo.lock", "src", "config", "systemd", "tests", "README.md", "container", "target"];
    // Tools look for their settings here, and take them as dotfiles too.
    let tools = ["clippy.toml", "deny.toml", "rustfmt.toml"];
    name.starts_with('.') || fixed.contains(&name) || tools.contains(&name)
}

/// The lines that hold one of the words.
fn with_any(text: &str, words: &[&str]) -> Findings {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            words.iter().find(|word| line.contains(**word)).map(|word| (index + 1, word.to_string()))
        })
        .collect()
}

/// What is compiled into the agent: no tests.
fn production(text: &str) -> String {
    without_tests(&blanked(text))
}

fn is_production(path: &str) -> bool {
    path.starts_with("src/") && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

/// The modules of a file of src: `src/core/ids.rs` is `core`, `ids`.
fn modules_of(path: &str) -> Vec<&str> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    inner.split('/').filter(|module| !["lib", "main"].contains(module)).collect()
}

fn room_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

/// A rule must find what is bad, where it is, and let pass what is good.
#[track_caller]
fn try_out(rule: Rule, path: &str, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!(rule.check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    for text in bad {
        let found = rule.check(path, &format!("\n{text}\n"));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}:2: ")), "{found:?}");
    }
}

#[test]
fn an_import_out_of_order_is_found() {
    let good = ["use crate::core::ids::CallId;", "use super::ids::CallId;", "// use crate::io;", "\"crate::io\";"];
    let bad = [
        "use crate::wire::Thing;",
        "use super::super::driver;",
        "use crate::{core::ids, io::http};",
        "crate::clock::now();",
    ];
    try_out(IMPORTS, "src/core/call.rs", &good, &bad);
    try_out(IMPORTS, "src/core.rs", &["use self::ids::Id;"], &["use super::wire;"]);
    try_out(IMPORTS, "src/wire.rs", &["use crate::core::call;"], &["use crate::ports::Store;"]);
    try_out(
        IMPORTS,
        "src/ports.rs",
        &["use crate::wire::X;"],
        &["use crate::driver::X;", "use crate::config::Settings;"],
    );
    try_out(
        IMPORTS,
        "src/config/raw.rs",
        &["use crate::core::params;"],
        &["use crate::io::store;", "use crate::clock;"],
    );
    try_out(
        IMPORTS,
        "src/driver/run.rs",
        &["use crate::ports::Store;", "use crate::telemetry::thin::Thinner;"],
        &["use crate::io::http;", "use crate::config::settings;", "use crate::telemetry::log;"],
    );
    try_out(
        IMPORTS,
        "src/io/http.rs",
        &[
            "use crate::config::settings::Environment;",
            "use crate::io::notify;",
            "use crate::ports::Backend;",
            "use crate::telemetry::metrics::Requests;",
        ],
        &["use crate::config::Settings;", "use crate::driver;", "use crate::telemetry::log;", "use crate::simulator;"],
    );
    try_out(
        IMPORTS,
        "src/simulator.rs",
        &["use crate::wire::X;"],
        &["use crate::core::Event;", "use crate::io::http;"],
    );
    try_out(
        IMPORTS,
        "src/telemetry/log.rs",
        &["use crate::config::settings::Log;"],
        &["use crate::driver;", "use crate::io;"],
    );
    try_out(IMPORTS, "src/clock.rs", &["use std::time::Instant;"], &["use crate::core::ids;"]);
    try_out(IMPORTS, "src/cli/run.rs", &["use crate::driver; use crate::io; use crate::config;"], &[]);
    try_out(IMPORTS, "src/main.rs", &["use rallyhere_agent::exit::Exit;"], &[]);
    assert_eq!(IMPORTS.check("src/attic.rs", "").len(), 1, "a room without a rule");
    assert!(IMPORTS.check("src/core/tests.rs", "use crate::clock;").is_empty(), "a test may read the clock");
}

#[test]
fn an_impurity_is_found() {
    let good = [
        "use std::time::Instant; fn f(now: Instant) {}",
        "// Instant::now(), tokio",
        "#[cfg(test)]\nmod tests { use std::fs; }",
        "let tokio_like = 1; \"println\";",
        "fastrand::Rng::with_seed(seed)",
    ];
    let bad = [
        "use tokio::sync::mpsc;",
        "use std::{fs, time::Duration};",
        "let now = Instant::now();",
        "let now = jiff::Timestamp::now();",
        "std::time::SystemTime::UNIX_EPOCH;",
        "async fn f() {}",
        "x.await;",
        "tracing::info!(1);",
        "let lock = std::sync::Mutex::new(1);",
        "println!();",
        "let id = Uuid::new_v4();",
        "let rng = fastrand::Rng::new();",
    ];
    for path in ["src/core/agent.rs", "src/wire/decode.rs"] {
        try_out(PURITY, path, &good, &bad);
    }
    assert!(PURITY.check("src/io/http.rs", "use std::fs;").is_empty());
}

#[test]
fn a_long_file_is_found() {
    let code = "let x = 1;\n".repeat(LINE_LIMIT);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "let y = 1;\n".repeat(LINE_LIMIT));
    assert!(LENGTH.check("src/driver.rs", &format!("{code}{tests}")).is_empty(), "tests do not count");
    assert_eq!(LENGTH.check("src/driver.rs", &format!("{code}// one more\n")), ["src/driver.rs:600: 601 lines"]);
    assert!(LENGTH.check("src/driver/tests.rs", &format!("{code}{code}")).is_empty());
}

#[test]
fn bad_habits_are_found() {
    assert_eq!(NO_MOD_RS.check("src/io/mod.rs", "").len(), 1);
    assert!(NO_MOD_RS.check("src/io.rs", "").is_empty());
    let path = "src/io/http.rs";
    try_out(
        NO_ALLOW,
        path,
        &["#[expect(dead_code, reason = \"\")]", "// #[allow(x)]"],
        &["#[allow(dead_code)]", "#![allow(x)]"],
    );
    try_out(NOTHING_LATER, path, &["// done"], &["// TODO: more", "/// FIXME", "todo!()", "unimplemented!()"]);
    try_out(NO_IGNORE, path, &["#[test]"], &["#[ignore]", "#[ignore = \"slow\"]"]);
    try_out(
        NO_SLEEP_IN_TESTS,
        "tests/it/process.rs",
        &["tokio::time::sleep_until(x)", "// thread::sleep", "clock::sleep(x)"],
        &["std::thread::sleep(x);", "use std::thread::{sleep, spawn};", "tokio::time::sleep(x).await;"],
    );
}

#[test]
fn a_stranger_at_the_top_is_found() {
    for name in ["Cargo.toml", "src", "systemd", "README.md", ".ci", ".gitignore", "container"] {
        assert!(belongs_at_the_top(name), "{name}");
    }
    for name in ["scripts", "docs", "build.rs", "LICENSE", "Makefile", "benches", "examples"] {
        assert!(!belongs_at_the_top(name), "{name}");
    }
}
