//! `health.probes`: a list of tables, each with the keys of its kind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Url;
use toml::Table;

use super::Checker;
use super::values::{self, Checked};
use crate::config::error::{dotted, shown};
use crate::config::settings::{PressureKind, Probe, ProbeKind};
use crate::core::instance::Health;
use crate::core::params::ProbeParams;

/// The most probes of one game.
const PROBES: usize = 32;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_LEAST: Duration = Duration::from_millis(50);
/// Or the interval, where that is shorter.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// The keys that every probe may have.
const COMMON: [&str; 4] = ["kind", "interval", "timeout", "failure"];
/// The kinds, and the keys that belong to each.
const KINDS: [(&str, &[&str]); 6] = [
    ("a2s", &["target"]),
    ("tcp", &["target"]),
    ("http", &["target", "status"]),
    ("exec", &["command"]),
    ("process", &[]),
    ("pressure", &["resource", "percent"]),
];

/// What the core is told of a probe. Its name holds neither the arguments of a command nor the query of a URL: there may be
/// secrets in them.
pub(super) fn told(probe: &Probe) -> ProbeParams {
    let name = match &probe.kind {
        ProbeKind::A2s(address) => format!("a2s {address}"),
        ProbeKind::Tcp(address) => format!("tcp {address}"),
        ProbeKind::Http { url, .. } => format!("http {}", url.split('?').next().unwrap_or_default()),
        ProbeKind::Exec(command) => format!("exec {}", command.first().map(String::as_str).unwrap_or_default()),
        ProbeKind::Process => "process".to_owned(),
        ProbeKind::Pressure { resource: PressureKind::Cpu, .. } => "pressure cpu".to_owned(),
        ProbeKind::Pressure { resource: PressureKind::Memory, .. } => "pressure memory".to_owned(),
    };
    let Probe { interval, timeout, failure, .. } = *probe;
    ProbeParams { name, interval, timeout, failure }
}

/// One table of the list.
struct Entry<'a> {
    /// `health.probes[0]`
    key: String,
    table: &'a Table,
}

impl Entry<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{}", self.key, dotted(&[name]))
    }

    fn text(&self, name: &str) -> Checked<Option<&str>> {
        match self.table.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(values::given).ok_or_else(|| "must be text in quotes".to_owned()),
        }
    }

    fn number(&self, name: &str, bounds: &RangeInclusive<i64>) -> Checked<Option<i64>> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        let number = value.as_integer().ok_or_else(|| "must be a whole number".to_owned())?;
        values::number(number, bounds).map(Some)
    }

    fn texts(&self, name: &str) -> Checked<Vec<String>> {
        let texts = match self.table.get(name) {
            None => Some(Vec::new()),
            Some(value) => value.as_array().and_then(|list| {
                list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
            }),
        };
        texts.ok_or_else(|| "must be a list of texts, such as [\"a\", \"b\"]".to_owned())
    }

    fn duration(&self, name: &str, bounds: &RangeInclusive<Duration>) -> Checked<Option<Duration>> {
        self.text(name)?.map(|text| values::duration(text, bounds)).transpose()
    }

    fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Checked<Option<T>> {
        self.text(name)?.map(|text| values::word(text, words)).transpose()
    }
}

impl Checker<'_> {
    /// `health.probes`. Those that look at the game's process need to know it.
    pub(super) fn probes(&mut self, process_known: bool) -> Option<Vec<Probe>> {
        const KEY: &str = "health.probes";
        let raw = self.raw;
        let list = &raw.health.probes;
        if list.len() > PROBES {
            self.refuse(KEY, format!("has {} probes, at most {PROBES} are allowed", list.len()));
            return None;
        }
        let probes: Vec<Option<Probe>> = list
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let key = format!("{KEY}[{index}]");
                match value.as_table() {
                    Some(table) => self.probe(&Entry { key, table }, process_known),
                    None => {
                        self.refuse(
                            &key,
                            "must be a table, such as { kind = \"tcp\", target = \"127.0.0.1:7777\" }".to_owned(),
                        );
                        None
                    }
                }
            })
            .collect();
        probes.into_iter().collect()
    }

    fn probe(&mut self, entry: &Entry<'_>, process_known: bool) -> Option<Probe> {
        let kinds = KINDS.map(|(kind, own)| (kind, (kind, own)));
        let kind = entry.word("kind", &kinds);
        let kind =
            self.required(entry, "kind", kind, "\"a2s\", \"tcp\", \"http\", \"exec\", \"process\" or \"pressure\"");
        self.foreign_keys(entry, kind);
        let interval = self.probe_value(entry, "interval", entry.duration("interval", &INTERVAL));
        let interval = interval.map(|interval| interval.unwrap_or(INTERVAL_DEFAULT));
        let timeout = self.timeout(entry, interval);
        let failure = self.failure(entry, kind.is_some_and(|(kind, _)| kind == "pressure"));
        let kind = self.kind(entry, kind?.0, process_known);
        Some(Probe { kind: kind?, interval: interval?, timeout: timeout?, failure: failure? })
    }

    /// Keys that no probe has, and those of other kinds.
    fn foreign_keys(&mut self, entry: &Entry<'_>, kind: Option<(&str, &[&str])>) {
        let all: Vec<&str> = KINDS.iter().flat_map(|(_, own)| own.iter().copied()).collect();
        for name in entry.table.keys().map(String::as_str).filter(|name| !COMMON.contains(name)) {
            let reason = match kind {
                Some((_, own)) if own.contains(&name) => continue,
                // Whether it is right shows as soon as the kind is.
                None if all.contains(&name) => continue,
                Some((kind, own)) => {
                    let keys: Vec<&str> = COMMON.iter().chain(own).copied().collect();
                    let which = if all.contains(&name) { "is not for this kind" } else { "there is no such key" };
                    format!("{which}; a probe of kind {kind:?} has {}", keys.join(", "))
                }
                None => "there is no such key in a probe".to_owned(),
            };
            self.refuse(&entry.key(name), reason);
        }
    }

    fn timeout(&mut self, entry: &Entry<'_>, interval: Option<Duration>) -> Option<Duration> {
        let timeout = entry.duration("timeout", &(TIMEOUT_LEAST..=*INTERVAL.end())).and_then(|timeout| {
            match (timeout, interval) {
                (Some(timeout), Some(interval)) if timeout > interval => {
                    Err(format!("must not be longer than the interval, {}", values::human(interval)))
                }
                (Some(timeout), _) => Ok(timeout),
                (None, interval) => Ok(interval.map_or(TIMEOUT_DEFAULT, |interval| interval.min(TIMEOUT_DEFAULT))),
            }
        });
        self.probe_value(entry, "timeout", timeout)
    }

    fn failure(&mut self, entry: &Entry<'_>, is_pressure: bool) -> Option<Health> {
        let words = [("unhealthy", Health::Unhealthy), ("degraded", Health::Degraded)];
        let failure = entry.word("failure", &words).and_then(|failure| match (failure, is_pressure) {
            (Some(Health::Unhealthy), true) => {
                Err("must be \"degraded\" for a probe of kind \"pressure\": a busy game is not a dead one".to_owned())
            }
            (Some(failure), _) => Ok(failure),
            (None, true) => Ok(Health::Degraded),
            (None, false) => Ok(Health::Unhealthy),
        });
        self.probe_value(entry, "failure", failure)
    }

    fn kind(&mut self, entry: &Entry<'_>, kind: &str, process_known: bool) -> Option<ProbeKind> {
        const ADDRESS: &str = "an IP address with a port, such as \"127.0.0.1:27015\"";
        if !process_known && ["process", "pressure"].contains(&kind) {
            self.refuse(
                &entry.key("kind"),
                format!("{kind:?} needs to know the game's process: set game.command, or say how the process is found"),
            );
        }
        match kind {
            "a2s" | "tcp" => {
                let target = entry.text("target").and_then(|text| text.map(address).transpose());
                let target = self.required(entry, "target", target, ADDRESS)?;
                Some(if kind == "a2s" { ProbeKind::A2s(target) } else { ProbeKind::Tcp(target) })
            }
            "http" => {
                let target = entry.text("target").and_then(|text| text.map(url).transpose());
                let target = self.required(entry, "target", target, "a URL, such as \"http://127.0.0.1:8080/healthz\"");
                let status = self.probe_value(entry, "status", entry.number("status", &(100..=599)));
                let status = status?.map_or(Some(200), |status| u16::try_from(status).ok());
                Some(ProbeKind::Http { url: target?, status: status? })
            }
            "exec" => {
                let command = entry.texts("command").and_then(command);
                self.required(
                    entry,
                    "command",
                    command,
                    "a program and its arguments, such as [\"/usr/bin/check\", \"-v\"]",
                )
                .map(ProbeKind::Exec)
            }
            "process" => Some(ProbeKind::Process),
            "pressure" => {
                let resource = entry.word("resource", &[("cpu", PressureKind::Cpu), ("memory", PressureKind::Memory)]);
                let resource = self.required(entry, "resource", resource, "\"cpu\" or \"memory\"");
                let percent = entry.number("percent", &(1..=100));
                let percent = self.required(
                    entry,
                    "percent",
                    percent,
                    "how much of the time may be spent waiting, from 1 to 100",
                );
                Some(ProbeKind::Pressure { resource: resource?, percent: u8::try_from(percent?).ok()? })
            }
            _ => None,
        }
    }

    fn probe_value<T>(&mut self, entry: &Entry<'_>, name: &str, checked: Checked<T>) -> Option<T> {
        self.check(&entry.key(name), checked)
    }

    fn required<T>(&mut self, entry: &Entry<'_>, name: &str, checked: Checked<Option<T>>, what: &str) -> Option<T> {
        let key = entry.key(name);
        let value = self.check(&key, checked)?;
        if value.is_none() {
            let origin = self.written(&key).1.or_else(|| self.written(&entry.key).1);
            self.refuse_at(&key, origin, format!("is required: {what}"));
        }
        value
    }
}

/// An address; `localhost` stands for 127.0.0.1. Other names are refused: looking them up takes as long as it likes.
fn address(text: &str) -> Checked<SocketAddr> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: Option<SocketAddr> = local.as_deref().unwrap_or(text).parse().ok();
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        format!(
            "must be an IP address (or localhost) with a port, such as \"127.0.0.1:27015\" or \"[::1]:27015\", not {}",
            shown(text)
        )
    })
}

/// The URL of a page. What is wrong is never shown: people put passwords into URLs.
fn url(text: &str) -> Checked<String> {
    if !text.to_ascii_lowercase().starts_with("http://") {
        return Err("must begin with http://; a probe does not speak TLS".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("has a space, a backslash or a control character".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if text.split('/').nth(2).unwrap_or_default().contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#)".to_owned());
    }
    if url.port() == Some(0) {
        return Err("must not have port 0".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if !is_address && host != "localhost" {
        return Err(format!(
            "must name its host by IP address or as localhost, such as \"http://{}:8080/\"",
            Ipv4Addr::LOCALHOST
        ));
    }
    Ok(url.as_str().to_owned())
}

/// A program and its arguments.
fn command(words: Vec<String>) -> Checked<Option<Vec<String>>> {
    if words.iter().any(|word| word.contains('\0')) {
        return Err("has a NUL character".to_owned());
    }
    match words.first() {
        None => Ok(None),
        Some(program) if program.is_empty() => Err("must begin with a program, not an empty text".to_owned()),
        Some(_) => Ok(Some(words)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::raw::Raw;
    use crate::config::settings::Surroundings;

    /// What becomes of a list of probes, and what is wrong with it.
    fn checked(text: &str, process_known: bool) -> (Option<Vec<Probe>>, Vec<String>) {
        let raw: Raw = toml::from_str(&format!("[health]\n{text}")).unwrap();
        let mut checker = Checker {
            of: None,
            raw: &raw,
            origins: &BTreeMap::new(),
            secrets: &BTreeMap::new(),
            surroundings: &Surroundings::default(),
            lost: Vec::new(),
            incomplete: false,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        let probes = checker.probes(process_known);
        (probes, checker.mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn probes_of_the_process_are_taken_where_it_is_known() {
        let text = r#"probes = [{ kind = "process" }, { kind = "pressure", resource = "memory", percent = 40 }]"#;
        let (probes, mistakes) = checked(text, true);
        let probes = probes.unwrap_or_else(|| panic!("{mistakes:?}"));
        let kinds: Vec<&ProbeKind> = probes.iter().map(|probe| &probe.kind).collect();
        let pressure = ProbeKind::Pressure { resource: PressureKind::Memory, percent: 40 };
        assert_eq!(kinds, [&ProbeKind::Process, &pressure]);
        let told: Vec<(String, Health)> = probes.iter().map(told).map(|told| (told.name, told.failure)).collect();
        let expected = [("process", Health::Unhealthy), ("pressure memory", Health::Degraded)];
        assert_eq!(told, expected.map(|(name, failure)| (name.to_owned(), failure)));
        assert_eq!(checked(text, false).1.len(), 2, "and refused where it is not");
    }

    #[test]
    fn the_example_of_the_shipped_file_is_good() {
        let shipped = include_str!("../../../config/agent.toml").lines();
        let example = shipped.skip_while(|line| !line.ends_with("An example:")).skip(1);
        let example: Vec<&str> = example.map_while(|line| line.strip_prefix("#     ")).collect();
        let (probes, mistakes) = checked(&example.join("\n"), false);
        assert_eq!((probes.map(|probes| probes.len()), mistakes), (Some(2), Vec::new()));
    }

    #[test]
    fn a_target_is_an_address() {
        for (text, good) in
            [("127.0.0.1:27015", "127.0.0.1:27015"), ("[::1]:7", "[::1]:7"), ("localhost:65535", "127.0.0.1:65535")]
        {
            assert_eq!(address(text), Ok(good.parse().unwrap()), "{text}");
        }
        for bad in
            ["127.0.0.1", "27015", ":27015", "localhost", "game.example:1", "127.0.0.1:0", "localhost:x", "::1:7x"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_shows_no_password_when_it_is_wrong() {
        assert_eq!(url("HTTP://127.0.0.1:80/a?b"), Ok("http://127.0.0.1/a?b".to_owned()));
        for bad in
            ["http://u:hunter2@127.0.0.1/", "http://u:hunter2@game.example", "ftp://u:hunter2@x", "http://hunter2 x"]
        {
            assert!(!url(bad).unwrap_err().contains("hunter2"), "{bad}");
        }
    }
}
