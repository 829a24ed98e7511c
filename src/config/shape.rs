//! Which keys there are and of which type, derived from the defaults of [`Raw`].

use std::collections::BTreeMap;

use super::error::dotted;
use super::raw::Raw;

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// More keys, all of them known.
    Section,
    /// Text in quotes; also durations, addresses and words.
    Text,
    /// true or false.
    Flag,
    /// A whole number.
    Number,
    /// A list of texts.
    Texts,
    /// A list of tables.
    Tables,
    /// Names of the user's own, each with a text.
    Map,
    /// Sections with names of the user's own.
    Free,
}

impl Kind {
    /// What to write, for a message.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Section => "a section with keys of its own",
            Self::Text => "text in quotes",
            Self::Flag => "true or false",
            Self::Number => "a whole number",
            Self::Texts => "a list of texts, such as [\"a\", \"b\"]",
            Self::Tables => "a list of tables",
            Self::Map => "a table of texts, such as { name = \"text\" }",
            Self::Free => "a table of named sections",
        }
    }
}

/// What the types of the defaults cannot tell: an empty list and an empty table say nothing of what goes into them.
const TABLES: &str = "health.probes";
const FREE: &str = "instances";

/// The keys that hold a secret. They never pass through the merging (it would turn `007e3` into `7000`) and no message,
/// print-out or debug form shows what stands there.
pub(super) const SECRETS: [&str; 2] = ["auth.client_secret", "auth.password"];

/// The sections that an instance of `[instances.NAME]` may have of its own. Everything else is the process's.
pub(super) const OWN: [&str; 8] =
    ["instance", "allocation", "game", "health", "notifications", "fubar", "local_api", "shutdown"];

/// The one key of `shutdown` that is an instance's: the others are about the whole host.
const DRAIN: &str = "drain_timeout";

/// How many instances a section of `[instances]` makes; beside the sections of [`OWN`].
pub(super) const COUNT: &str = "count";

/// All keys, by their dotted path.
#[derive(Debug)]
pub(super) struct Shape {
    kinds: BTreeMap<String, Kind>,
}

impl Shape {
    /// The shape of [`Raw`].
    ///
    /// # Errors
    /// If the defaults cannot be written as TOML, which a test excludes.
    pub(super) fn new() -> Result<Self, toml::ser::Error> {
        let mut kinds = BTreeMap::new();
        collect(&mut kinds, "", &toml::Table::try_from(Raw::default())?);
        Ok(Self { kinds })
    }

    /// What may stand at a path. `None` if there is no such key.
    pub(super) fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<Kind> {
        // A name with a dot in it (`"environment.url" = …`) is one name, and none of ours.
        if path.iter().any(|segment| segment.as_ref().contains('.')) {
            return None;
        }
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        match path.as_slice() {
            [FREE, _name] => Some(Kind::Section),
            [FREE, _name, COUNT] => Some(Kind::Number),
            [FREE, _name, "shutdown", key] if *key != DRAIN => None,
            [FREE, _name, own @ ..] => own
                .first()
                .filter(|section| OWN.contains(section))
                .and_then(|_| self.kinds.get(&own.join(".")).copied()),
            path => self.kinds.get(&path.join(".")).copied(),
        }
    }

    /// Every key and section, in alphabetical order.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// The key that was probably meant.
    pub(super) fn nearest<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        if let [instances, name, own @ ..] = path
            && instances.as_ref() == FREE
            && !own.is_empty()
        {
            let meant = self.nearest(own).filter(|key| OWN.iter().any(|section| key.starts_with(section)))?;
            return Some(format!("{FREE}.{}.{meant}", dotted(&[name])));
        }
        let last = path.last()?.as_ref();
        // Longer texts are not typing errors, and comparing them would take long.
        if last.len() > 64 || path.len() > 4 {
            return None;
        }
        let written = dotted(path);
        let tolerance = (last.chars().count() / 3).clamp(1, 3);
        self.kinds
            .keys()
            .filter_map(|key| {
                // Far apart in length is far apart: the comparison can be spared.
                let close = written.len().abs_diff(key.len()) <= 4 * tolerance;
                let distance = if close { distance(&written, key) } else { usize::MAX };
                let same_name = key.rsplit('.').next() == Some(last);
                // The right name in the wrong section comes after a slip of the finger.
                let rank = if distance <= tolerance {
                    distance
                } else if same_name {
                    tolerance + 1
                } else {
                    return None;
                };
                Some((rank, key))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, key)| key.clone())
    }
}

fn collect(kinds: &mut BTreeMap<String, Kind>, prefix: &str, table: &toml::Table) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let kind = match value {
            toml::Value::Boolean(_) => Kind::Flag,
            toml::Value::Integer(_) => Kind::Number,
            toml::Value::Array(_) if key == TABLES => Kind::Tables,
            toml::Value::Array(_) => Kind::Texts,
            toml::Value::Table(_) if key == FREE => Kind::Free,
            toml::Value::Table(inner) if inner.is_empty() => Kind::Map,
            toml::Value::Table(inner) => {
                collect(kinds, &key, inner);
                Kind::Section
            }
            toml::Value::String(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => Kind::Text,
        };
        kinds.insert(key, kind);
    }
}

/// How many characters must be added, taken away, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (last[j + 1] + 1).min(row[j] + 1).min(last[j] + usize::from(x != y));
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let shape = Shape::new().unwrap();
        for (written, meant) in [
            ("environment.ur", Some("environment.url")),
            ("enviroment", Some("environment")),
            ("auth.clinet_id", Some("auth.client_id")),
            ("client_id", Some("auth.client_id")),
            ("health.page_size", Some("notifications.page_size")),
            ("instance.startup_params.maps", Some("instance.startup_params.map")),
            ("auth.something_else", None),
            ("instances.a.game.comand", Some("instances.a.game.command")),
            ("instances.a.auth.client_id", None),
        ] {
            let path: Vec<&str> = written.split('.').collect();
            assert_eq!(shape.nearest(&path).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn the_tables_name_only_keys_that_exist() {
        let shape = Shape::new().unwrap();
        for key in SECRETS.iter().chain(&[TABLES, FREE]) {
            let path: Vec<&str> = key.split('.').collect();
            assert!(shape.find(&path).is_some(), "{key}");
        }
        assert_eq!(shape.find(&["environment.url"]), None);
        assert_eq!(shape.find(&["environment", "url"]), Some(Kind::Text));
        assert_eq!(shape.find(&["game", "command"]), Some(Kind::Texts));
    }
}
