//! Any configuration at all: settings, or mistakes in words of one line each; and what `check` prints of good settings gives them again.
//!
//! An input is the file, and after lines that say so the drop-in (`%% drop-in`), variables (`%% env`, `NAME=text` each) and
//! arguments of `--set` (`%% set`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rallyhere_agent::config::{ConfigError, Loaded, Sources, Surroundings, load};

/// In the environment of every input, for the client secret.
const SECRET: &str = "planted-secret-7f3a";
const OURS: &str = "RALLYHERE_AGENT_";
const REDACTED: &str = "[redacted]";

/// Whether it is a good one.
pub(crate) fn hold(input: &[u8]) -> bool {
    let input = Input::read(input);
    let directory = tempfile::tempdir().unwrap();
    let result = input.load(directory.path());
    let printed = match &result {
        Ok(loaded) => loaded.warnings.join("\n"),
        Err(error) => error.to_string(),
    };
    let lines = match &result {
        Ok(loaded) => loaded.warnings.len(),
        Err(error) => error.mistakes.len() + 1,
    };
    assert_eq!(printed.split_terminator('\n').count(), lines, "{printed:?}");
    assert!(!printed.chars().any(|c| c.is_control() && c != '\n'), "{printed:?}");
    let tells = |text: &str| text.contains(SECRET) && !input.has_secret;
    assert!(!tells(&printed), "{printed:?}");
    let loaded = match result {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(!error.mistakes.is_empty());
            return false;
        }
    };
    assert!(!tells(&loaded.merged) && !tells(&format!("{:?}", loaded.settings)));
    again(&input, directory.path(), &loaded);
    true
}

/// Loading what was printed gives the same, secrets aside.
fn again(input: &Input, directory: &Path, loaded: &Loaded) {
    let merged = loaded.merged.replace(REDACTED, "another-secret");
    let outside = input.env.iter().filter(|(name, _)| !name.starts_with(OURS));
    let printed = Input {
        main: merged.clone().into_bytes(),
        env: outside.map(|(name, value)| (name.clone(), value.clone())).collect(),
        ..Input::default()
    };
    let second = printed.load(directory).unwrap_or_else(|error| panic!("{error}\n{merged}"));
    assert_eq!(second.merged.replace(REDACTED, "another-secret"), merged);
    let numbers = |loaded: &Loaded| loaded.settings.instances.iter().map(|one| one.written.clone()).collect::<Vec<_>>();
    assert_eq!(numbers(&second), numbers(loaded), "{merged}");
}

#[derive(Default)]
struct Input {
    main: Vec<u8>,
    drop_in: Option<Vec<u8>>,
    env: BTreeMap<String, String>,
    set: Vec<String>,
    has_secret: bool,
}

impl Input {
    fn read(bytes: &[u8]) -> Self {
        let has_secret = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        let mut input = Self { has_secret, ..Self::default() };
        input.env.insert(format!("{OURS}AUTH__CLIENT_SECRET"), SECRET.to_owned());
        let mut section: &[u8] = b"main";
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(name) = line.strip_prefix(b"%% ") {
                section = name.trim_ascii_end();
                continue;
            }
            let text = || String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
            match section {
                b"drop-in" => input.drop_in.get_or_insert_default().extend_from_slice(line),
                b"env" => {
                    if let Some((name, value)) = text().split_once('=') {
                        input.env.insert(name.to_owned(), value.to_owned());
                    }
                }
                b"set" => input.set.push(text()),
                _ => input.main.extend_from_slice(line),
            }
        }
        input
    }

    fn load(&self, directory: &Path) -> Result<Loaded, ConfigError> {
        let file = directory.join("agent.toml");
        fs::write(&file, &self.main).unwrap();
        let drop_ins = directory.join("agent.d");
        match &self.drop_in {
            Some(text) => {
                fs::create_dir_all(&drop_ins).unwrap();
                fs::write(drop_ins.join("50.toml"), text).unwrap();
            }
            None => {
                let _absent = fs::remove_dir_all(&drop_ins);
            }
        }
        let sources = Sources { file: Some(file), set: self.set.clone(), host: false };
        load(&sources, &Surroundings { env: self.env.clone() })
    }
}
