//! Tries the mutants of `table.toml`: `cargo run --example mutants [-- WORDS IN THE NAME | --part K/N]`.
//!
//! Each costs a build of its own, so the gate tries one part of them, another one with every commit; all take an hour.
//!
//! The tree is copied below `target/mutants`, one mutant at a time is put into the copy, and the test that the table names must
//! fail. A survivor ends it with 1.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use std::{fs, io};

use rallyhere_agent::clock;
use serde::Deserialize;

/// What a mutant needs to be built and tried. The rest stays behind.
const COPIED: [&str; 9] =
    [".ci", "Cargo.toml", "Cargo.lock", "README.md", "config", "container", "src", "systemd", "tests"];

#[derive(Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    name: String,
    breaks: String,
    file: String,
    from: String,
    to: String,
    target: String,
    test: String,
}

/// What became of a mutant.
enum Fate {
    Caught,
    Survived,
    NotBuilt(String),
}

fn main() -> ExitCode {
    let tried = Choice::of(std::env::args().skip(1)).and_then(|choice| run(&choice));
    match tried {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the mutants could not be tried: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which mutants are tried.
struct Choice {
    words: Vec<String>,
    /// Every `n`th, beginning with the `k`th.
    part: Option<(usize, usize)>,
}

impl Choice {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut choice = Self { words: Vec::new(), part: None };
        while let Some(argument) = arguments.next() {
            if argument == "--part" {
                let told = arguments.next().unwrap_or_default();
                let part = told.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
                choice.part = part.filter(|(_, n)| *n > 0);
                if choice.part.is_none() {
                    return Err(format!("--part wants K/N, not `{told}`").into());
                }
            } else {
                choice.words.push(argument);
            }
        }
        Ok(choice)
    }

    fn has(&self, place: usize, mutant: &Mutant) -> bool {
        self.part.is_none_or(|(k, n)| place % n == k % n) && self.words.iter().all(|word| mutant.name.contains(word))
    }
}

fn run(choice: &Choice) -> Result<bool, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table: Table = toml::from_str(&fs::read_to_string(root.join("tests/mutants/table.toml"))?)?;
    let all = table.mutant.into_iter().enumerate();
    let chosen: Vec<Mutant> =
        all.filter(|(place, mutant)| choice.has(*place, mutant)).map(|(_, mutant)| mutant).collect();
    let work = root.join("target/mutants");
    let tree = work.join("tree");
    // What others wrote is built already.
    let build = root.join("target");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::create_dir_all(&tree)?;
    for name in COPIED {
        copy(&root.join(name), &tree.join(name))?;
    }
    for target in ["lib", "it"] {
        let tests: Vec<&str> = chosen.iter().filter(|one| one.target == target).map(|one| one.test.as_str()).collect();
        let passes = tests.is_empty()
            || cargo(target, &tree, &build).args(["--", "--include-ignored"]).args(tests).status()?.success();
        if !passes {
            return Err("a test fails without any mutant".into());
        }
    }
    let mut caught_all = true;
    for mutant in &chosen {
        let began = clock::now();
        let fate = attempt(mutant, &tree, &build)?;
        let seconds = began.elapsed().as_secs();
        caught_all &= matches!(fate, Fate::Caught);
        match fate {
            Fate::Caught => println!("caught    {:55} by {} ({seconds} s)", mutant.name, mutant.test),
            Fate::Survived => println!("SURVIVED  {:55} {}: {}", mutant.name, mutant.test, mutant.breaks),
            Fate::NotBuilt(why) => println!("NOT BUILT {:55}\n{why}", mutant.name),
        }
    }
    println!("{} mutants, {}", chosen.len(), if caught_all { "all caught" } else { "not all caught" });
    Ok(caught_all && !chosen.is_empty())
}

fn attempt(mutant: &Mutant, tree: &Path, build: &Path) -> io::Result<Fate> {
    let path = tree.join(&mutant.file);
    let whole = fs::read_to_string(&path)?;
    if whole.matches(&mutant.from).count() != 1 {
        return Ok(Fate::NotBuilt(format!("`{}` does not stand exactly once in {}", mutant.from, mutant.file)));
    }
    fs::write(&path, whole.replacen(&mutant.from, &mutant.to, 1))?;
    let built = cargo(&mutant.target, tree, build).arg("--no-run").output();
    let fate = match built {
        Ok(built) if !built.status.success() => {
            Ok(Fate::NotBuilt(String::from_utf8_lossy(&built.stderr).lines().take(30).collect::<Vec<_>>().join("\n")))
        }
        Ok(_) => cargo(&mutant.target, tree, build)
            .args(["--", "--include-ignored", &mutant.test])
            .output()
            .map(|ran| if ran.status.success() { Fate::Survived } else { Fate::Caught }),
        Err(error) => Err(error),
    };
    fs::write(&path, whole)?;
    fate
}

fn cargo(target: &str, tree: &Path, build: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", build).stdin(Stdio::null());
    cargo.args(["test", "--locked", "--quiet"]);
    if target == "lib" {
        cargo.arg("--lib")
    } else {
        cargo.args(["--test", target])
    };
    cargo
}

fn copy(from: &Path, to: &PathBuf) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}
