//! What must hold between the keys, their defaults and the file that explains them.

use super::raw::Raw;
use super::shape::Shape;
use super::*;

const SHIPPED: &str = include_str!("../../config/agent.toml");

fn flattened(prefix: &str, table: &toml::Table) -> Vec<(String, toml::Value)> {
    let mut out = Vec::new();
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value.as_table() {
            Some(inner) if !inner.is_empty() => out.extend(flattened(&key, inner)),
            Some(_) | None => out.push((key, value.clone())),
        }
    }
    out
}

#[test]
fn the_shipped_file_has_every_key_with_its_default_and_no_other() {
    let shipped: toml::Table = SHIPPED.parse().unwrap();
    let mut defaults = toml::Table::try_from(Raw::default()).unwrap();
    // An empty table of instances says that there may be some: not for a file that everybody has.
    defaults.remove("instances");
    assert!(flattened("", &defaults).len() > 50);
    assert_eq!(flattened("", &shipped), flattened("", &defaults));
}

#[test]
fn the_shipped_file_explains_every_key() {
    let lines: Vec<&str> = SHIPPED.lines().collect();
    let mut keys = 0;
    for pair in lines.windows(2) {
        if !pair[1].starts_with('#') && !pair[1].is_empty() {
            keys += 1;
            assert!(pair[0].starts_with("# "), "{} has no comment above it", pair[1]);
        }
    }
    assert!(keys > 50, "{keys}");
}

#[test]
fn the_default_file_may_be_absent() {
    let dir = tempfile::tempdir().unwrap();
    let default = dir.path().join("agent.toml");
    let env = [
        ("RALLYHERE_AGENT_ENVIRONMENT__URL", "https://demo.example.org"),
        ("RALLYHERE_AGENT_AUTH__CLIENT_ID", "client"),
        ("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", "secret"),
        ("RALLYHERE_AGENT_INSTANCE__SESSION_ID", "session"),
        ("STATE_DIRECTORY", "/var/lib/x"),
    ];
    let surroundings = Surroundings { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into() };
    let loaded = load_from(&default, &Sources::default(), &surroundings).unwrap();
    assert!(loaded.files.is_empty());
    // What lies beside it is read all the same.
    std::fs::create_dir(dir.path().join("agent.d")).unwrap();
    std::fs::write(dir.path().join("agent.d/x.toml"), "[log]\nlevel = \"warn\"\n").unwrap();
    let loaded = load_from(&default, &Sources::default(), &surroundings).unwrap();
    assert_eq!((loaded.files.len(), loaded.settings.log.level.as_str()), (1, "warn"));
    std::fs::write(&default, "[log]\nlevel = \"error\"\nformat = \"json\"\n").unwrap();
    let loaded = load_from(&default, &Sources::default(), &surroundings).unwrap();
    assert_eq!((loaded.files.len(), loaded.settings.log.level.as_str()), (2, "warn"));
    assert_eq!(loaded.settings.log.format, settings::LogFormat::Json);
}

#[test]
fn every_key_can_be_set_by_variable_and_by_argument() {
    let shape = Shape::new().unwrap();
    for (key, default) in flattened("", &toml::Table::try_from(Raw::default()).unwrap()) {
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let env = [(merge::variable_of(&key), text.clone())].into();
        let from_variable = merge::environment(&shape, &Surroundings { env });
        assert_eq!(from_variable.mistakes, [], "{key}");
        let from_argument = merge::command_line(&shape, &[format!("{key}={text}")]);
        let secret = shape::SECRETS.contains(&key.as_str());
        assert_eq!(from_argument.mistakes.len(), usize::from(secret), "{key}: {:?}", from_argument.mistakes);
    }
}
