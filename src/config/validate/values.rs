//! From text to value, one kind of value at a time. Every function says in words what is wrong, for people who see only the
//! key and that sentence.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use reqwest::Url;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::config::error::shown;
use crate::core::instance::{CUSTOM_VALUE_LIMIT, CustomData};

/// A value, or what is wrong with the text.
pub(super) type Checked<T> = Result<T, String>;

/// The text, or nothing where nothing was said.
pub(super) fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A path, or nothing where nothing was said.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    given(text).map(PathBuf::from)
}

/// A duration as people write it (`25s`, `1h30m`, `500ms`), within bounds.
pub(super) fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Checked<Duration> {
    let duration = SpanParser::new().parse_unsigned_duration(text).map_err(|_parse| {
        format!("must be a duration such as \"25s\", \"5m\", \"1h30m\" or \"500ms\", not {}", shown(text))
    })?;
    if bounds.contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("must be from {} to {}", human(*bounds.start()), human(*bounds.end())))
    }
}

/// A duration in whole seconds.
pub(super) fn whole_seconds(text: &str, bounds: &RangeInclusive<Duration>) -> Checked<Duration> {
    let duration = duration(text, bounds)?;
    if duration.subsec_nanos() == 0 { Ok(duration) } else { Err("must be in whole seconds".to_owned()) }
}

/// A bound, in the largest unit that shows it exactly.
pub(super) fn human(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (_, 1..) => format!("{}ms", duration.as_millis()),
        (3600.., _) if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        (60.., _) if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A whole number within bounds.
pub(super) fn number<T: TryFrom<i64>>(value: i64, bounds: &RangeInclusive<i64>) -> Checked<T> {
    let out = || format!("must be from {} to {}, not {value}", bounds.start(), bounds.end());
    if bounds.contains(&value) { T::try_from(value).map_err(|_range| out()) } else { Err(out()) }
}

/// A text of at most `limit` characters without control characters.
pub(super) fn line(text: &str, limit: usize) -> Checked<String> {
    let length = text.chars().count();
    if length > limit {
        Err(format!("has {length} characters, at most {limit} are allowed"))
    } else if text.chars().any(char::is_control) {
        Err("has a line break or another control character".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// One of some words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Checked<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("must be {}", words.join(" or "))
    })
}

/// The origin of the backend and an optional path prefix, without a slash at the end. What is wrong is never shown: people
/// put passwords into URLs.
pub(super) fn url(text: &str) -> Checked<String> {
    let lower = text.to_ascii_lowercase();
    if !lower.starts_with("https://") && !lower.starts_with("http://") {
        return Err("must begin with https://".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("has a space, a backslash or a control character".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let authority = text.split('/').nth(2).unwrap_or_default();
    if authority.contains('@') {
        return Err("must not hold a user name or password; use the keys of [auth]".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query (?) or a fragment (#)".to_owned());
    }
    if url.port() == Some(0) {
        return Err("must not have port 0".to_owned());
    }
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(
            "must begin with https://; http:// is for loopback addresses only (127.0.0.0/8, [::1], localhost), \
                    because credentials would cross the network unprotected"
                .to_owned(),
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A URL on this host that notifications are POSTed to; it may have a path and a query. What is wrong is never shown.
pub(super) fn webhook(text: &str) -> Checked<String> {
    if !text.to_ascii_lowercase().starts_with("http://") {
        return Err("must begin with http://: it is for a game on this host, and nothing leaves it".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("has a space, a backslash or a control character".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if text.split(['/', '?', '#']).nth(2).is_some_and(|authority| authority.contains('@')) {
        return Err("must not hold a user name or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#)".to_owned());
    }
    if url.port() == Some(0) {
        return Err("must not have port 0".to_owned());
    }
    if !is_loopback(&url) {
        return Err("must be on this host: a loopback address (127.0.0.0/8, [::1]) or localhost".to_owned());
    }
    Ok(url.into())
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.to_canonical().is_loopback())
}

/// An address to listen on; nothing where it is empty, which turns the listener off.
pub(super) fn listen(text: &str) -> Checked<Option<SocketAddr>> {
    given(text)
        .map(|text| {
            text.parse().map_err(|_parse| {
                format!(
                    "must be an IP address with a port, such as \"127.0.0.1:9358\" or \"[::1]:9358\", not {}",
                    shown(text)
                )
            })
        })
        .transpose()
}

/// Text to text (2023-11 contract: values of 1..4096 characters).
pub(super) fn custom_value(value: &str) -> Checked<()> {
    match value.chars().count() {
        0 => Err("must not be empty; leave it out".to_owned()),
        length if length > CUSTOM_VALUE_LIMIT => {
            Err(format!("has {length} characters, at most {CUSTOM_VALUE_LIMIT} are allowed"))
        }
        _ => Ok(()),
    }
}

/// The good entries of a map, and a verdict on each of the others.
pub(super) fn custom_data(data: &CustomData) -> impl Iterator<Item = (&str, String)> {
    data.iter().filter_map(|(name, value)| {
        let verdict = if name.is_empty() { Err("needs a name".to_owned()) } else { custom_value(value) };
        verdict.err().map(|reason| (name.as_str(), reason))
    })
}

/// A version as semver.org 2.0.0 has it: `1.2.3`, `1.2.3-rc.1`, `1.2.0+4711`.
pub(super) fn version(text: &str) -> Checked<String> {
    const LIMIT: usize = 256;
    let wrong = |why: &str| Err(format!("must be a semantic version such as \"1.2.3\" or \"1.2.0+4711\": {why}"));
    if text.len() > LIMIT {
        return wrong("it is too long");
    }
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let plain = |part: &str| part == "0" || !part.starts_with('0');
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() != 3 || !parts.iter().all(|part| digits(part)) {
        return wrong("it needs three numbers, MAJOR.MINOR.PATCH");
    }
    if !parts.iter().all(|part| plain(part)) {
        return wrong("its numbers have no leading zeros");
    }
    let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if pre.is_some_and(|pre| !pre.split('.').all(|part| name(part) && (!digits(part) || plain(part)))) {
        return wrong("what follows the - must be letters, digits and - between dots, numbers without leading zeros");
    }
    if build.is_some_and(|build| !build.split('.').all(name)) {
        return wrong("what follows the + must be letters, digits and - between dots");
    }
    Ok(text.to_owned())
}

/// A level, or `target=level` pairs between commas. A bare word that is no level is refused: `Targets` would take it for a
/// target and log all of it.
pub(super) fn level(text: &str) -> Checked<String> {
    let wrong = |part: &str| {
        Err(format!(
            "must be error, warn, info, debug, trace or off, or pairs such as \"info,rallyhere_agent=debug\"; {} is neither",
            shown(part)
        ))
    };
    for part in text.split(',') {
        let good = match part.split_once('=') {
            None => !part.is_empty() && part.parse::<LevelFilter>().is_ok(),
            Some((target, level)) => {
                !target.is_empty()
                    && target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                    && level.parse::<LevelFilter>().is_ok()
            }
        };
        if !good {
            return wrong(part);
        }
    }
    if text.parse::<Targets>().is_err() { wrong(text) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, good) in [
            ("https://demo.rally-here.io", "https://demo.rally-here.io"),
            ("https://demo.rally-here.io/", "https://demo.rally-here.io"),
            ("https://demo.rally-here.io:8443/gate/way/", "https://demo.rally-here.io:8443/gate/way"),
            ("HTTPS://Demo.Example", "https://demo.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.200.0.9:8080", "http://127.200.0.9:8080"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://localhost:1", "http://localhost:1"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(good), "{text}");
        }
        for bad in [
            "",
            "demo.rally-here.io",
            "ftp://x",
            "https:/x",
            "https://",
            "https://x?y",
            "https://x/#y",
            "https://u:p@x",
            "https://u@x",
            "https://@x",
            "http://10.0.0.1",
            "http://demo.rally-here.io",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://128.0.0.1",
            "https://x:0",
            "https://x y",
            "https://x\\y",
            "https://x\n",
            "https://x:99999",
            "http://[::2]",
            "https://u:p\\@x",
        ] {
            assert!(url(bad).is_err(), "{bad}: {:?}", url(bad));
        }
        assert!(!url("https://u:hunter2@x").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn webhooks() {
        for (text, good) in [
            ("http://127.0.0.1:8080/hook", "http://127.0.0.1:8080/hook"),
            ("HTTP://LocalHost/a?b=c", "http://localhost/a?b=c"),
            ("http://[::1]:9", "http://[::1]:9/"),
        ] {
            assert_eq!(webhook(text).as_deref(), Ok(good), "{text}");
        }
        for bad in [
            "",
            "https://127.0.0.1/",
            "http://",
            "http://10.0.0.1/",
            "http://game.example/",
            "http://localhost.evil.example/",
            "http://u:p@127.0.0.1/",
            "http://@127.0.0.1/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1/#x",
            "http://127.0.0.1/a b",
            "http://127.0.0.1\\@x/",
            "unix:/run/hook",
        ] {
            assert!(webhook(bad).is_err(), "{bad}: {:?}", webhook(bad));
        }
        assert!(!webhook("http://u:hunter2@127.0.0.1/").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn versions() {
        for good in
            ["0.0.0", "1.2.3", "21.3.15-beta+12345", "1.2.0+4711", "1.0.0-rc.1", "1.0.0+a-b.c", "1.0.0--", "1.0.0+007"]
        {
            assert_eq!(version(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "01.2.3",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-01",
            "1.2.3+a+b",
            "1.2.3 ",
            "1.-2.3",
            "１.2.3",
            "1.2.3+ä",
        ] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(5400);
        for (text, good) in
            [("25s", 25_000), ("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5s", 1500), ("2 min", 120_000)]
        {
            assert_eq!(duration(text, &bounds), Ok(Duration::from_millis(good)), "{text}");
        }
        for bad in
            ["", "25", "s", "-25s", "25s ago", "99ms", "5401s", "1d", "999999999999999999999999s", "25 s s", "PT25S"]
        {
            assert!(duration(bad, &bounds).is_err(), "{bad}");
        }
        assert!(duration("1ms", &bounds).unwrap_err().contains("from 100ms to 90m"));
        assert!(whole_seconds("1500ms", &bounds).is_err());
        assert_eq!(whole_seconds("2000ms", &bounds), Ok(Duration::from_secs(2)));
    }

    #[test]
    fn levels() {
        for good in ["info", "DEBUG", "off", "info,rallyhere_agent=debug", "warn,hyper_util::client=trace", "a=off"] {
            assert_eq!(level(good).as_deref(), Ok(good));
        }
        for bad in ["", "inf", "verbose", "info,", "a=b", "a=b=c", "=info", "info;debug", "a[{b}]=info", "info, debug"]
        {
            assert!(level(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listeners() {
        assert_eq!(listen(""), Ok(None));
        assert_eq!(listen("127.0.0.1:0"), Ok(Some(SocketAddr::from(([127, 0, 0, 1], 0)))));
        for bad in ["9358", "localhost:9358", "127.0.0.1", ":9358", "127.0.0.1:70000", "::1:9358x"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
