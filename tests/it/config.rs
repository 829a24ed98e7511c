//! Tests: config.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rallyhere_agent::cli::check;
use rallyhere_agent::config::secret::SecretOrigin;
use rallyhere_agent::config::settings::{Auth, GameSource, HandOff, LogFormat, ProbeKind};
use rallyhere_agent::config::{self, ConfigError, Loaded, Secret, Sources, Surroundings};
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::core::params::{Deliver, ProbeParams, Readiness, Target};
use rallyhere_agent::exit::Exit;
use tempfile::TempDir;

mod instances;

/// Stands wherever a secret is given; must never come out again. One that `config` would corrupt.
const SECRET: &str = "007e3-s3cr3t-Qx9";

const BASE: &str = r#"
[environment]
url = "https://demo.example.org"
[auth]
client_id = "client"
client_secret = "007e3-s3cr3t-Qx9"
[instance]
session_id = "session"
"#;

/// A directory with a configuration file, and the sources and surroundings to load it with.
struct World {
    dir: TempDir,
    sources: Sources,
    env: BTreeMap<String, String>,
}

impl World {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, sources: Sources::default(), env: BTreeMap::new() };
        world.sources.file = Some(world.file("agent.toml", text));
        world.env("HOME", "/home/nobody").env("XDG_RUNTIME_DIR", "/run/user/1000")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only we can read.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, argument: &str) -> Self {
        self.sources.set.push(argument.to_owned());
        self
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { env: self.env.clone() }
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        config::load(&self.sources, &self.surroundings())
    }

    fn good(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    fn mistakes(&self) -> Vec<String> {
        let error = self.load().expect_err("a mistake");
        let lines: Vec<String> = error.mistakes.iter().map(ToString::to_string).collect();
        assert!(!lines.is_empty(), "an error names at least one mistake");
        for line in &lines {
            assert!(error.to_string().contains(line), "the error prints every mistake");
            assert!(!line.contains('\n'), "one line each: {line:?}");
        }
        lines
    }
}

fn data(kind: &str) -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind);
    let mut files: Vec<(PathBuf, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {kind}");
    files
}

fn params(loaded: &Loaded) -> &rallyhere_agent::core::params::Params {
    &loaded.settings.instances.first().unwrap().params
}

fn client_secret(loaded: &Loaded) -> &Secret {
    match &loaded.settings.auth {
        Auth::ClientCredentials { client_secret, .. } | Auth::Basic { client_secret, .. } => client_secret,
        Auth::AccessToken { .. } => panic!("no client secret"),
    }
}

#[test]
fn every_invalid_file_is_refused_for_the_reasons_it_names() {
    for (path, text) in data("tests/data/config/invalid") {
        let world = World::new(BASE);
        world.file("agent.d/x.toml", &text);
        let mistakes = world.mistakes();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} names nothing", path.display());
        assert_eq!(mistakes.len(), expected.len(), "{}: {mistakes:#?}", path.display());
        for expected in expected {
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(expected)
                    || mistake.contains(&format!(": {expected}"))
                    || (expected.starts_with(':') && mistake.contains(expected))),
                "{}: {expected:?} is not in {mistakes:#?}",
                path.display()
            );
        }
    }
}

#[test]
fn every_valid_file_is_taken_and_what_is_printed_of_it_loads_to_the_same() {
    for (path, text) in data("tests/data/config/valid") {
        let world = World::new(BASE);
        world.file("agent.d/x.toml", &text);
        let loaded = world.load().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let again = World::new(&loaded.merged).env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", SECRET).good();
        assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings), "{}", path.display());
        assert_eq!(again.merged, loaded.merged, "{}", path.display());
    }
}

#[test]
fn every_example_is_good() {
    for (path, text) in data("config/examples") {
        let world = World::new(&text);
        for credential in ["client-secret", "password", "access-token"] {
            world.file(&format!("credentials/{credential}"), SECRET);
        }
        let credentials = world.path("credentials");
        let world = world.env("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
        let loaded = world.load().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(loaded.warnings.iter().all(|warning| warning.contains("systemd credential")), "{:?}", loaded.warnings);
    }
}

#[test]
fn the_shipped_file_lacks_only_what_nobody_can_know() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agent.toml")).unwrap();
    let mistakes = World::new(&text).mistakes();
    let keys: Vec<&str> = mistakes
        .iter()
        .filter_map(|mistake| mistake.split_once(": is required"))
        .map(|(key, _)| key.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(
        keys,
        ["environment.url", "auth.client_id", "auth.client_secret", "instance.session_id"],
        "{mistakes:?}"
    );
    assert_eq!(mistakes.len(), keys.len(), "{mistakes:?}");
}

#[test]
fn defaults_are_those_of_the_design() {
    let loaded = World::new(BASE).good();
    let params = params(&loaded);
    assert_eq!(params.name.as_str(), "default");
    assert!(matches!(&params.target, Target::Session { session, allocation: None } if session.as_str() == "session"));
    assert_eq!(
        (params.host_type.as_str(), params.region.as_str(), params.readiness),
        ("dedicated", "", Readiness::Sdk)
    );
    assert_eq!((&params.instance_id, &params.version, &params.startup_params), (&None, &None, &None));
    assert_eq!(params.publish_players, None);
    let shown = World::new(BASE).set("instance.publish_players=rh.players").good();
    assert_eq!(self::params(&shown).publish_players.as_deref(), Some("rh.players"));
    assert_eq!(params.ready_timeout, Duration::from_secs(300));
    assert_eq!(params.default_cadence, Duration::from_secs(10));
    assert_eq!(params.startup_grace, Duration::from_secs(60));
    assert_eq!(params.heartbeat_timeout, Duration::from_secs(15));
    assert_eq!((params.unhealthy_after, params.healthy_after), (3, 1));
    assert_eq!((params.notifications, params.page_size, params.inbox_limit), (true, 100, 1000));
    assert_eq!(params.poll_deadline, Duration::from_secs(25));
    assert_eq!((params.automatic_fubar, params.drain_timeout), (true, Duration::from_secs(60)));
    let settings = &loaded.settings;
    assert_eq!(settings.environment.connect_timeout, Duration::from_secs(5));
    assert_eq!(settings.environment.ca_file, None);
    assert_eq!(settings.admin.listen, Some("127.0.0.1:9359".parse().unwrap()));
    assert_eq!(settings.state.dir, Path::new("/home/nobody/.local/state/rallyhere-agent"));
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Text, "info"));
    let local = &settings.instances.first().unwrap().local_api;
    assert_eq!(local.socket.as_deref(), Some(Path::new("/run/user/1000/rallyhere-agent/agent.sock")));
    assert_eq!((local.listen, local.allow_remote, local.token.is_none()), (None, false, true));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn every_layer_overrides_the_one_before() {
    let mut world = World::new(&format!("{BASE}region = \"file\"\n"));
    let region = |world: &World| params(&world.good()).region.clone();
    assert_eq!(region(&world), "file");
    world.file("agent.d/20-b.toml", "[instance]\nregion = \"second\"");
    assert_eq!(region(&world), "second");
    world.file("agent.d/10-a.toml", "[instance]\nregion = \"first\"");
    assert_eq!(region(&world), "second", "drop-ins go by name");
    world.file("agent.d/30-c.toml.bak", "[instance]\nregion = \"backup\"");
    world.file("agent.d/.40-d.toml", "[instance]\nregion = \"hidden\"");
    assert_eq!(region(&world), "second", "only *.toml, as a shell reads it");
    world = world.env("RALLYHERE_AGENT_INSTANCE__REGION", "environment");
    assert_eq!(region(&world), "environment");
    world = world.set("instance.region=set");
    assert_eq!(region(&world), "set");
    world = world.set("instance.region=last=set");
    assert_eq!(region(&world), "last=set", "a later --set wins, and only the first = separates");
    let files: Vec<String> =
        world.good().files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(files, ["agent.toml", "10-a.toml", "20-b.toml"]);
}

#[test]
fn tables_are_merged_by_entry_and_their_names_stay_as_they_are() {
    let world = World::new(&format!("{BASE}custom_data = {{ a = \"1\", \"rh.B\" = \"2\" }}\n"))
        .env("RALLYHERE_AGENT_INSTANCE__CUSTOM_DATA__Build__No", "3")
        .env("RALLYHERE_AGENT_INSTANCE__STARTUP_PARAMS__MAP", "harbour")
        .env("RALLYHERE_AGENT_INSTANCE__STARTUP_PARAMS__CUSTOM_DATA", "{ x = \"5\" }")
        .set("instance.custom_data.rh.B=4")
        .set("instance.custom_data.a[0]=6");
    let loaded = world.good();
    let entries: Vec<(&str, &str)> =
        params(&loaded).custom_data.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(entries, [("Build__No", "3"), ("a", "1"), ("a[0]", "6"), ("rh.B", "4")]);
    let startup = params(&loaded).startup_params.clone().unwrap();
    assert_eq!((startup.map.as_str(), startup.mode, startup.misc_params.as_str()), ("harbour", None, ""));
    assert_eq!(startup.custom_data.get("x").map(String::as_str), Some("5"));
}

#[test]
fn texts_of_environment_and_set_are_taken_by_the_type_of_their_key() {
    let world = World::new(BASE)
        .env("RALLYHERE_AGENT_NOTIFICATIONS__PAGE_SIZE", "7")
        .env("RALLYHERE_AGENT_INSTANCE__REGION", "007e3")
        .set("notifications.enabled=false")
        .set("instance.public_conn_str=true");
    let loaded = world.good();
    let params = params(&loaded);
    assert_eq!((params.page_size, params.region.as_str()), (7, "007e3"));
    assert_eq!((params.notifications, params.join_params.public_conn_str.as_str()), (false, "true"));

    let mistakes = World::new(BASE)
        .env("RALLYHERE_AGENT_NOTIFICATIONS__PAGE_SIZE", "7x")
        .env("RALLYHERE_AGENT_GAME__COMMAND", "./game")
        .set("notifications.enabled=yes")
        .set("health.healthy_after=1.0")
        .mistakes();
    assert_eq!(
        mistakes,
        [
            "environment variable RALLYHERE_AGENT_GAME__COMMAND: game.command: must be a list of texts, such as [\"a\", \"b\"], not this (it is read as TOML)",
            "environment variable RALLYHERE_AGENT_NOTIFICATIONS__PAGE_SIZE: notifications.page_size: must be a whole number, not other text",
            "--set: notifications.enabled: must be true or false, not other text",
            "--set: health.healthy_after: must be a whole number, not other text",
        ]
    );
}

#[test]
fn all_mistakes_of_all_layers_come_at_once_with_their_place() {
    let world = World::new(
        "[environment]\nurl = \"ftp://x\"\n\n[auth]\n  client_idd = \"x\"\n[health]\ndefault_cadence = \"soon\"\n",
    );
    world.file("agent.d/a.toml", "[log]\nlevel = 7\n");
    world.file("agent.d/b.toml", "[log]\nformat = \"xml\"\n");
    let world = world
        .env("RALLYHERE_AGENT_INSTANCE__VERSION", "x")
        .env("RALLYHERE_AGENT_INSTANCE__REGIONN", "x")
        .env("RALLYHERE_AGENT_STATE_DIR", "x")
        .env("RALLYHERE_AGENT_SERVICE_PORT", "tcp://10.0.0.1:9359")
        .set("notifications.page_size=0")
        .set("nothing")
        .set("some.thing=1");
    let (main, a, b) = (world.path("agent.toml"), world.path("agent.d/a.toml"), world.path("agent.d/b.toml"));
    let (main, a, b) = (main.display(), a.display(), b.display());
    let mut mistakes = world.mistakes();
    mistakes.sort();
    let mut expected = vec![
        format!("{main}:5:3: auth.client_idd: there is no such key; did you mean auth.client_id?"),
        format!("{a}:2:9: log.level: must be text in quotes, not a whole number"),
        "environment variable RALLYHERE_AGENT_INSTANCE__REGIONN: instance.regionn: there is no such key; did you mean instance.region?".to_owned(),
        "environment variable RALLYHERE_AGENT_STATE_DIR: state.dir: has no effect: the name must be RALLYHERE_AGENT_STATE__DIR".to_owned(),
        "--set: number 2 is not of the form section.key=value".to_owned(),
        "--set: some.thing: there is no such key".to_owned(),
        format!("{main}:2:7: environment.url: must begin with https://"),
        "auth.client_secret: is required for grant \"client_credentials\": give the systemd credential \"client-secret\" or set auth.client_secret_file".to_owned(),
        "instance.session_id: is required, or instance.allocation_id: one of them says which session this server is for; or let instance.source say where that comes from".to_owned(),
        "environment variable RALLYHERE_AGENT_INSTANCE__VERSION: instance.version: must be a semantic version such as \"1.2.3\" or \"1.2.0+4711\": it needs three numbers, MAJOR.MINOR.PATCH".to_owned(),
        format!("{main}:7:19: health.default_cadence: must be a duration such as \"25s\", \"5m\", \"1h30m\" or \"500ms\", not \"soon\""),
        "--set: notifications.page_size: must be from 1 to 100, not 0".to_owned(),
        format!("{b}:2:10: log.format: must be \"auto\" or \"text\" or \"json\" or \"journald\""),
    ];
    expected.sort();
    assert_eq!(mistakes, expected);
}

#[test]
fn a_probe_is_named_by_its_place_and_its_mistakes_by_theirs() {
    let world = World::new(&format!(
        "{BASE}[[health.probes]]\nkind = \"tcp\"\ntarget = \"127.0.0.1:1\"\n[[health.probes]]\nkind = \"tcp\"\n  interval = \"soon\"\n"
    ));
    let main = world.path("agent.toml");
    assert_eq!(
        world.mistakes(),
        [
            format!(
                "{}:14:14: health.probes[1].interval: must be a duration such as \"25s\", \"5m\", \"1h30m\" or \"500ms\", not \"soon\"",
                main.display()
            ),
            format!(
                "{}:12:1: health.probes[1].target: is required: an IP address with a port, such as \"127.0.0.1:27015\"",
                main.display()
            ),
        ]
    );
    let world = World::new(BASE).set("health.probes=[{ kind = \"tcp\", target = \"nowhere\" }]");
    assert!(world.mistakes().iter().all(|line| line.starts_with("--set: health.probes[0].target: must be an IP")));
}

#[test]
fn probes_have_defaults_and_names_without_secrets() {
    let world = World::new(BASE).set(
        "health.probes=[{ kind = \"a2s\", target = \"localhost:27015\" }, { kind = \"tcp\", target = \"[::1]:7\", \
         interval = \"1s\", failure = \"degraded\" }, { kind = \"http\", target = \"http://localhost:80/x?token=s\" }, \
         { kind = \"exec\", command = [\"/bin/check\", \"s\"], interval = \"30s\", timeout = \"30s\" }]",
    );
    let loaded = world.good();
    let probes = &loaded.settings.instances.first().unwrap().probes;
    let kinds: Vec<ProbeKind> = probes.iter().map(|probe| probe.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            ProbeKind::A2s("127.0.0.1:27015".parse().unwrap()),
            ProbeKind::Tcp("[::1]:7".parse().unwrap()),
            ProbeKind::Http { url: "http://localhost/x?token=s".to_owned(), status: 200 },
            ProbeKind::Exec(vec!["/bin/check".to_owned(), "s".to_owned()]),
        ]
    );
    let seconds = |probe: &ProbeParams| (probe.interval.as_secs(), probe.timeout.as_secs());
    let told: Vec<(&str, (u64, u64), Health)> =
        params(&loaded).probes.iter().map(|probe| (probe.name.as_str(), seconds(probe), probe.failure)).collect();
    assert_eq!(
        told,
        [
            ("a2s 127.0.0.1:27015", (5, 2), Health::Unhealthy),
            ("tcp [::1]:7", (1, 1), Health::Degraded),
            ("http http://localhost/x", (5, 2), Health::Unhealthy),
            ("exec /bin/check", (30, 30), Health::Unhealthy),
        ]
    );
    for (probe, told) in probes.iter().zip(&params(&loaded).probes) {
        assert_eq!((probe.interval, probe.timeout, probe.failure), (told.interval, told.timeout, told.failure));
    }
    let (printed, _) = check::check(&world.sources, &world.surroundings());
    assert!(printed.contains("[[health.probes]]\nkind = \"a2s\"\ntarget = \"localhost:27015\"\n"), "{printed}");
}

#[test]
fn a_named_file_must_exist_and_nothing_else_is_missed_then() {
    let mut world = World::new("");
    world.sources.file = Some(world.path("absent.toml"));
    let mistakes = world.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes.iter().all(|line| line.contains("absent.toml: No such file")), "{mistakes:?}");
    world.sources.file = Some(world.dir.path().to_owned());
    assert!(world.mistakes().iter().any(|line| line.contains("is not a regular file")));
}

#[test]
fn a_drop_in_that_cannot_be_read_is_a_mistake() {
    let world = World::new(BASE);
    fs::create_dir_all(world.path("agent.d/x.toml")).unwrap();
    fs::write(world.path("agent.d/y.toml"), b"\xff").unwrap();
    let mistakes = world.mistakes();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes.iter().any(|line| line.contains("x.toml is not a regular file")), "{mistakes:?}");
    assert!(mistakes.iter().any(|line| line.contains("y.toml is not UTF-8")), "{mistakes:?}");
}

/// A world whose file names no secret.
fn without_secret(auth: &str) -> World {
    World::new(&format!(
        "{}\n[auth]\n{auth}",
        BASE.replace("[auth]\nclient_id = \"client\"\nclient_secret = \"007e3-s3cr3t-Qx9\"\n", "")
    ))
}

#[test]
fn a_secret_comes_from_each_of_its_sources_unchanged() {
    let from_value = World::new(BASE).good();
    assert_eq!(client_secret(&from_value).expose(), SECRET);
    assert_eq!(client_secret(&from_value).origin(), &SecretOrigin::Value);

    let from_variable = World::new(BASE).env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", "007e3").good();
    assert_eq!(
        client_secret(&from_variable).expose(),
        "007e3",
        "the environment beats the file, and nothing is coerced"
    );

    let world = without_secret("client_id = \"client\"");
    let path = world.file("secret", &format!("{SECRET}\n"));
    let world = world.env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET_FILE", path.to_str().unwrap());
    let from_file = world.good();
    assert_eq!(client_secret(&from_file).expose(), SECRET, "the line break at the end does not count");
    assert_eq!(client_secret(&from_file).origin(), &SecretOrigin::File(path));
    assert_eq!(from_file.warnings, Vec::<String>::new());

    let credential = world.file("credentials/client-secret", "from systemd");
    let world = world.env("CREDENTIALS_DIRECTORY", credential.parent().unwrap().to_str().unwrap());
    let from_credential = world.good();
    assert_eq!(client_secret(&from_credential).expose(), "from systemd");
    assert_eq!(client_secret(&from_credential).origin(), &SecretOrigin::Credential(credential));
    assert!(
        from_credential.warnings.iter().any(|warning| warning.starts_with("auth.client_secret_file has no effect"))
    );
}

#[test]
fn every_grant_gets_what_it_needs() {
    let world = without_secret("grant = \"basic\"\nclient_id = \"client\"\nusername = \"user\"")
        .env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", "one")
        .env("RALLYHERE_AGENT_AUTH__PASSWORD", "two");
    match world.good().settings.auth {
        Auth::Basic { client_id, client_secret, username, password } => {
            assert_eq!((client_id.as_str(), client_secret.expose()), ("client", "one"));
            assert_eq!((username.as_str(), password.expose()), ("user", "two"));
        }
        other @ (Auth::ClientCredentials { .. } | Auth::AccessToken { .. }) => panic!("{other:?}"),
    }

    let world = without_secret("grant = \"access_token\"");
    let path = world.file("token", "abc.def\r\n");
    let world = world.set(&format!("auth.access_token_file={}", path.display()));
    match world.good().settings.auth {
        Auth::AccessToken { token } => {
            assert_eq!((token.expose(), token.origin()), ("abc.def", &SecretOrigin::File(path)))
        }
        other @ (Auth::ClientCredentials { .. } | Auth::Basic { .. }) => panic!("{other:?}"),
    }
    world.file("token", "abc def");
    assert!(world.mistakes().iter().any(|line| line.contains("auth.access_token_file") && line.contains("space")));

    let unused = World::new(BASE).set("auth.username=somebody").good();
    assert_eq!(unused.warnings, ["auth.username has no effect: grant \"client_credentials\" does not use it (--set)"]);
}

#[test]
fn a_bad_secret_file_is_named_and_why() {
    let world = without_secret("client_id = \"client\"");
    let path = world.path("secret");
    let world = world.set(&format!("auth.client_secret_file={}", path.display()));
    for (content, why) in [
        (&b""[..], "is empty"),
        (&b"\n\n"[..], "is empty"),
        (&b"a\nb\n"[..], "has a line break"),
        (&b"\xff"[..], "is not UTF-8"),
        (&[b'x'; 64 * 1024][..], "is longer than 65535 bytes"),
    ] {
        fs::write(&path, content).unwrap();
        let mistakes = world.mistakes();
        assert!(
            mistakes.iter().any(|line| line.starts_with("--set: auth.client_secret_file: ") && line.contains(why)),
            "{mistakes:?}"
        );
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert!(world.mistakes().iter().any(|line| line.contains("is not a regular file")), "a pipe does not hang us");
}

#[test]
fn secrets_that_everybody_can_read_are_pointed_out() {
    let world = World::new(BASE);
    fs::set_permissions(world.path("agent.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = world.good().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("agent.toml, which holds a secret")), "{warnings:?}");

    let world = without_secret("client_id = \"client\"");
    let path = world.file("secret", SECRET);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let world = world.set(&format!("auth.client_secret_file={}", path.display()));
    let warnings = world.good().warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("auth.client_secret_file every user")), "{warnings:?}");
}

#[test]
fn two_sources_for_one_secret_are_refused_by_name() {
    let world = without_secret("client_id = \"client\"");
    let path = world.file("secret", SECRET);
    world.file("agent.d/a.toml", &format!("[auth]\nclient_secret_file = {path:?}\n"));
    let world = world.env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", SECRET);
    let place = world.path("agent.d/a.toml");
    assert_eq!(
        world.mistakes(),
        [format!(
            "environment variable RALLYHERE_AGENT_AUTH__CLIENT_SECRET: auth.client_secret: is set, and so is auth.client_secret_file ({}:2:22); keep one of them",
            place.display()
        )]
    );
}

#[test]
fn no_secret_is_taken_from_the_command_line() {
    for argument in [format!("auth.client_secret={SECRET}"), format!("auth={{ client_secret = \"{SECRET}\" }}")] {
        let mistakes = without_secret("client_id = \"client\"").set(&argument).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes
                .iter()
                .all(|line| line.contains("--set: auth.client_secret: a secret is not taken from the command line")),
            "{mistakes:?}"
        );
    }
    let mistakes = World::new(BASE).set(&format!("auth.password={SECRET}")).mistakes();
    assert!(
        mistakes.iter().all(|line| line.contains("RALLYHERE_AGENT_AUTH__PASSWORD") && !line.contains(SECRET)),
        "{mistakes:?}"
    );
}

#[test]
fn no_secret_comes_out_anywhere() {
    let world = World::new(BASE).env("RALLYHERE_AGENT_AUTH__PASSWORD", SECRET).set("auth.username=user");
    let loaded = world.good();
    let (printed, _) = check::check(&world.sources, &world.surroundings());
    assert!(printed.contains("client_secret = \"[redacted]\"") && printed.contains("password = \"[redacted]\""));
    let leaky =
        world.set(&format!("auth.client_secret={SECRET}")).set(&format!("auth.client_secrets={SECRET}")).set(SECRET);
    let mut shown = vec![
        printed,
        format!("{loaded:?} {loaded:#?}"),
        format!("{:?} {:?}", leaky.sources, leaky.surroundings()),
        format!("{:?}", leaky.load().unwrap_err()),
        check::check(&leaky.sources, &leaky.surroundings()).0,
    ];
    // Files that are wrong in the very line with the secret, or hold it where something else belongs.
    for text in [
        format!("[auth]\nclient_secret = \"{SECRET}\n"),
        format!("[auth]\nclient_secret = {SECRET}\n"),
        format!("[auth]\nclient_secret = [\"{SECRET}\"]\n"),
        format!("[auth]\nclient_secret = '''\n{SECRET}\n'''\n"),
        format!("[auth]\nclient_secrets = \"{SECRET}\"\n"),
        format!("[auth]\nclient_secret = \"a\"\nclient_secret = \"{SECRET}\"\n"),
        format!("[auth]\ngrant = \"{SECRET}\"\n"),
        format!("auth = \"{SECRET}\"\n"),
        format!("client_secret = \"{SECRET}\"\n"),
        format!("[instances.a.auth]\nclient_secret = \"{SECRET}\"\n"),
        format!("[environment]\nurl = \"https://user:{SECRET}@demo.example.org\"\n"),
    ] {
        let error = World::new(&text).load().unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    for text in shown {
        assert!(!text.contains(SECRET) && !text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn secrets_are_read_again_and_a_bad_one_changes_nothing() {
    let world = without_secret("client_id = \"client\"");
    let path = world.file("secret", "old");
    let token = world.file("token", "old-token");
    let world = world
        .set(&format!("auth.client_secret_file={}", path.display()))
        .set(&format!("local_api.token_file={}", token.display()));
    let loaded = world.good();
    world.file("secret", "new\n");
    world.file("token", "");
    assert_eq!(client_secret(&loaded).reload().unwrap().expose(), "new");
    let (settings, mistakes) = config::reload_secrets(&loaded.settings);
    let loaded = Loaded { settings, ..loaded };
    assert_eq!(client_secret(&loaded).expose(), "new");
    let local = &loaded.settings.instances.first().unwrap().local_api;
    assert_eq!(local.token.as_ref().unwrap().expose(), "old-token");
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes.iter().all(|mistake| mistake.key == "local_api.token_file" && mistake.reason.contains("is empty"))
    );
}

#[test]
fn places_come_from_the_surroundings() {
    let world = World::new(BASE)
        .env("RUNTIME_DIRECTORY", "/run/a:/run/b")
        .env("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
        .env("JOURNAL_STREAM", "8:1234");
    let settings = world.good().settings;
    assert_eq!(settings.state.dir, Path::new("/var/lib/a"));
    assert_eq!(settings.log.format, LogFormat::Journald);
    let socket = |settings: &config::Settings| settings.instances.first().unwrap().local_api.socket.clone();
    assert_eq!(socket(&settings), Some("/run/a/agent.sock".into()));
    let world = world.set("local_api.socket=none").set("state.dir=/srv/state").set("log.format=text");
    let loaded = world.good();
    assert_eq!(socket(&loaded.settings), None);
    assert_eq!(loaded.settings.state.dir, Path::new("/srv/state"));
    assert_eq!(loaded.settings.log.format, LogFormat::Text);
    assert!(
        loaded.warnings.iter().any(|warning| warning.contains("no way to say that it is ready")),
        "{:?}",
        loaded.warnings
    );

    let mut nowhere = World::new(BASE);
    nowhere.env.clear();
    let mistakes = nowhere.mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes.iter().all(|line| line.starts_with("state.dir: is required here")), "{mistakes:?}");
}

#[test]
fn every_way_to_hand_notifications_over_is_known_to_the_core_and_the_adapters() {
    let second = Duration::from_secs(1);
    let (command, url) = (vec!["hook".to_owned(), "-v".to_owned()], "http://127.0.0.1:9/n".to_owned());
    let cases = [
        ("api", HandOff::Api, Deliver::Api),
        ("exec", HandOff::Exec { command, timeout: second }, Deliver::Push),
        ("webhook", HandOff::Webhook { url, timeout: second }, Deliver::Push),
        ("log", HandOff::Log, Deliver::Push),
    ];
    let text = format!(
        "{BASE}[notifications]\nexec = [\"hook\", \"-v\"]\nwebhook = \"http://127.0.0.1:9/n\"\ndeliver_timeout = \"1s\"\n"
    );
    for (word, hand_off, deliver) in cases {
        let loaded = World::new(&text).set(&format!("notifications.deliver={word}")).good();
        assert_eq!(loaded.settings.instances.first().unwrap().hand_off, hand_off);
        assert_eq!(params(&loaded).deliver, deliver);
        // What is set and not used is told: somebody may think that it works.
        for key in ["exec", "webhook"] {
            let told = loaded
                .warnings
                .iter()
                .any(|warning| warning.starts_with(&format!("notifications.{key} has no effect")));
            assert_eq!(told, key != word, "{word}: {:?}", loaded.warnings);
        }
    }
    for (level, hidden) in [("warn", true), ("info", false), ("off,rallyhere_agent=info", false)] {
        let world = World::new(BASE).set("notifications.deliver=log").set(&format!("log.level={level}"));
        let told = world.good().warnings.iter().any(|warning| warning.starts_with("log.level hides the notifications"));
        assert_eq!(told, hidden, "{level}");
    }
}

#[test]
fn check_prints_toml_or_the_mistakes() {
    let world = World::new(BASE).set("shutdown.drain_timeout=2m").set("auth.username=unused");
    let (printed, exit) = check::check(&world.sources, &world.surroundings());
    assert_eq!((exit, exit.code()), (Exit::Done, 0));
    let table: toml::Table = printed.parse().unwrap();
    assert_eq!(table["shutdown"]["drain_timeout"].as_str(), Some("2m"));
    assert_eq!(table["auth"]["client_secret"].as_str(), Some("[redacted]"));
    assert!(
        printed.starts_with("# Read from ") && printed.contains("\n# Warning: auth.username has no effect"),
        "{printed}"
    );

    let world = world.set("shutdown.drain_timeout=never");
    let (printed, exit) = check::check(&world.sources, &world.surroundings());
    assert_eq!((exit, exit.code()), (Exit::Config, 78));
    assert!(printed.starts_with("the configuration has a mistake:\n  --set: shutdown.drain_timeout: "), "{printed}");
}

/// Text of all kinds, and text that is nearly right.
fn texts() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "environment",
        "url",
        "auth",
        "client_secret",
        "instance",
        "custom_data",
        "startup_params",
        "health",
        "probes",
        "instances",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "'''",
        "\n",
        " ",
        "#",
        "7",
        "-1",
        "1.5",
        "true",
        "\"25s\"",
        "\"https://x\"",
        "https://",
        "25s",
        "__",
        "\u{0}",
        "é",
    ]);
    prop_oneof![".{0,80}", prop::collection::vec(words, 0..24).prop_map(|words| words.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_text_at_all_panics(file in texts(), name in "[A-Za-z_]{0,24}", value in texts(), set in texts(), key in prop::sample::select(vec!["environment.url", "instance.version", "health.default_cadence", "log.level", "local_api.listen", "auth.password", "instance.custom_data", "game.command"])) {
        let variable = format!("RALLYHERE_AGENT_{}", key.replace('.', "__").to_uppercase());
        let world = World::new(&file)
            .env(&format!("RALLYHERE_AGENT_{name}"), &value)
            .env(&variable, &value)
            .set(&set)
            .set(&format!("{key}={set}"));
        if let Err(error) = world.load() {
            prop_assert!(!error.mistakes.is_empty());
            prop_assert_eq!(error.to_string().lines().count(), error.mistakes.len() + 1);
        }
    }

    #[test]
    fn a_good_configuration_prints_what_loads_to_the_same(region in ".{0,40}", map in "\\PC{1,40}", name in "[^_=\u{0}]{1,12}", value in "(?s).{1,40}") {
        let world = World::new(BASE)
            .set(&format!("instance.region={region}"))
            .set(&format!("instance.startup_params.map={map}"))
            .set(&format!("instance.custom_data.{name}={value}"));
        if let Ok(loaded) = world.load() {
            let again = World::new(&loaded.merged).env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", SECRET).good();
            prop_assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
        }
    }
}

#[test]
fn deep_nesting_overflows_nothing() {
    let levels = 100_000;
    for text in [
        format!("{}a = 1", "a.".repeat(levels)),
        format!("[{}a]", "instances.".repeat(levels)),
        format!("instances = {}", "{ a = ".repeat(levels)),
        format!("[health]\nprobes = {}", "[".repeat(levels)),
    ] {
        assert!(World::new(&text).load().is_err());
        let value = text.split_once(" = ").map_or(text.as_str(), |(_, value)| value);
        assert!(World::new(BASE).set(&format!("health.probes={value}")).load().is_err());
        assert!(World::new(BASE).env("RALLYHERE_AGENT_INSTANCES", value).load().is_err());
        assert!(World::new(BASE).env("RALLYHERE_AGENT_INSTANCES", &format!("{{ {text} }}")).load().is_err());
    }
}

#[test]
fn what_the_game_may_call_is_read_and_mistakes_are_named() {
    let proxy = |text: &str| World::new(&format!("{BASE}\n[proxy]\n{text}")).load();
    let loaded = proxy("allow = [\"GET /inventory/v1/**\", \"POST /rank/v2/*/update\"]\nconcurrency = 2").unwrap();
    let read = &loaded.settings.proxy;
    assert_eq!(format!("{:?}", read.allow), "[GET /inventory/v1/**, POST /rank/v2/*/update]");
    assert_eq!((read.body_limit, read.concurrency, read.timeout), (1024 * 1024, 2, Duration::from_secs(15)));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(proxy("").unwrap().settings.proxy.allow.is_empty(), "off by default");
    let loaded = proxy("allow = [\"GET /a\"]\n[local_api]\nlisten = \"127.0.0.1:0\"").unwrap();
    assert!(loaded.warnings.iter().any(|warning| warning.contains("local_api.token_file")), "{:?}", loaded.warnings);
    for (text, key, words) in [
        ("allow = [\"GET /a\", \"FETCH /b\", \"GET /c/**/d\"]", "proxy.allow", "FETCH /b: the method must be GET"),
        ("allow = [\"GET https://x.example/\"]", "proxy.allow", "must be a method and a path"),
        ("body_limit = 5", "proxy.body_limit", "from 1024"),
        ("timeout = \"1h\"", "proxy.timeout", "must be from 100ms to 5m"),
        ("concurrency = 0", "proxy.concurrency", "from 1 to 128"),
    ] {
        let mistakes = proxy(text).unwrap_err().to_string();
        assert!(mistakes.contains(key) && mistakes.contains(words), "{text}: {mistakes}");
    }
}
