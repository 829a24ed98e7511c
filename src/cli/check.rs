//! `check`: validates the configuration and prints what it adds up to.

use crate::config::{self, Sources, Surroundings};
use crate::exit::Exit;

/// Loads the configuration. With [`Exit::Done`] the text is the merged settings as TOML, secrets redacted, warnings as
/// comments on top: for standard output. With [`Exit::Config`] it is the list of mistakes: for standard error.
pub fn run(sources: &Sources, surroundings: &Surroundings) -> (String, Exit) {
    match config::load(sources, surroundings) {
        Ok(loaded) => {
            let mut lines: Vec<String> = if loaded.files.is_empty() {
                vec!["# No configuration file was read.".to_owned()]
            } else {
                loaded
                    .files
                    .iter()
                    .map(|file| format!("# Read from {}", file.to_string_lossy().escape_debug()))
                    .collect()
            };
            lines.extend(loaded.warnings.iter().map(|warning| format!("# Warning: {warning}")));
            (format!("{}\n\n{}", lines.join("\n"), loaded.merged), Exit::Done)
        }
        Err(error) => (format!("{error}\n"), Exit::Config),
    }
}
