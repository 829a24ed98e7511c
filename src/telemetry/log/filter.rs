//! log.level: which lines are written.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Crates that tell more than an operator wants. Each is capped at warn unless log.level names it.
const NOISY: [&str; 5] = ["h2", "hyper", "hyper_util", "reqwest", "rustls"];

/// A part of log.level that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL")]
pub struct LevelError {
    part: String,
}

/// Reads log.level: a level, or `target=level` pairs, comma-separated; info where only targets are named.
///
/// Stricter than `Targets`' own reader, which takes a mistyped level for the name of a target and silences everything else.
pub(super) fn parse(spec: &str) -> Result<Targets, LevelError> {
    let mut default = LevelFilter::INFO;
    let mut named = Vec::new();
    for part in spec.split(',').map(str::trim) {
        let unreadable = || LevelError { part: part.to_owned() };
        match part.split_once('=') {
            Some((target, level)) if !target.trim().is_empty() => {
                named.push((target.trim(), parse_level(level).ok_or_else(unreadable)?));
            }
            Some(_) => return Err(unreadable()),
            None => default = parse_level(part).ok_or_else(unreadable)?,
        }
    }
    let cap = default.min(LevelFilter::WARN);
    let quiet = NOISY.into_iter().filter(|noisy| named.iter().all(|(target, _)| target != noisy));
    let targets = Targets::new().with_default(default).with_targets(quiet.map(|noisy| (noisy, cap)));
    Ok(targets.with_targets(named))
}

fn parse_level(level: &str) -> Option<LevelFilter> {
    let level = level.trim();
    // The parser takes "" for error.
    if level.is_empty() { None } else { level.parse().ok() }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_bare_level_is_for_everything_and_noisy_crates_are_capped() {
        let targets = parse("trace").unwrap();
        assert!(targets.would_enable("rallyhere_agent::driver", &Level::TRACE));
        for noisy in NOISY {
            assert!(targets.would_enable(noisy, &Level::WARN), "{noisy}");
            assert!(!targets.would_enable(noisy, &Level::INFO), "{noisy}");
        }
        assert!(!parse("error").unwrap().would_enable("hyper", &Level::WARN), "the cap never raises a level");
        assert!(!parse("off").unwrap().would_enable("hyper", &Level::ERROR));
    }

    #[test]
    fn a_noisy_crate_that_is_named_gets_what_was_asked_for() {
        let targets = parse("warn, hyper=debug ,rallyhere_agent::io=trace").unwrap();
        assert!(targets.would_enable("hyper::client", &Level::DEBUG));
        assert!(!targets.would_enable("hyper_util", &Level::DEBUG), "its neighbour was not named");
        assert!(targets.would_enable("rallyhere_agent::io::http", &Level::TRACE));
        assert!(!targets.would_enable("rallyhere_agent", &Level::INFO));
    }

    #[test]
    fn only_targets_leave_the_rest_at_info() {
        let targets = parse("reqwest=trace").unwrap();
        assert!(targets.would_enable("rallyhere_agent", &Level::INFO));
        assert!(!targets.would_enable("rallyhere_agent", &Level::DEBUG));
    }

    #[test]
    fn a_mistyped_level_is_named_and_not_taken_for_a_target() {
        for (spec, part) in
            [("inof", "inof"), ("info,hyper=loud", "hyper=loud"), ("", ""), ("info,", ""), ("=info", "=info")]
        {
            assert_eq!(parse(spec).unwrap_err(), LevelError { part: part.to_owned() }, "{spec:?}");
        }
    }
}
