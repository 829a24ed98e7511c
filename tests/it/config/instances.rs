//! `[instances.NAME]`: what is inherited, what is an instance's own, what two must not share.

use rallyhere_agent::config::settings::Written;
use rallyhere_agent::core::allocation::Source;

use super::*;

const HOST: &str = r#"
[environment]
url = "https://demo.example.org"
[auth]
client_id = "client"
client_secret = "007e3-s3cr3t-Qx9"
"#;

fn host(text: &str) -> World {
    World::new(&format!("{HOST}{text}"))
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.settings.instances.iter().map(|instance| instance.name().to_string()).collect()
}

#[test]
fn an_instance_inherits_what_it_does_not_say() {
    let world = host(
        "[instance]\nregion = \"eu\"\ncustom_data = { a = \"1\", b = \"1\" }\n[health]\ndefault_cadence = \"20s\"\n\
         [instances.blue]\ninstance.session_id = \"s-blue\"\ninstance.custom_data = { b = \"2\", c = \"2\" }\n\
         [instances.red]\ninstance.session_id = \"s-red\"\nhealth.default_cadence = \"5s\"\n",
    );
    let loaded = world.good();
    assert_eq!(names(&loaded), ["blue", "red"]);
    let [blue, red] = &loaded.settings.instances[..] else { panic!("two instances") };
    let data: Vec<(&str, &str)> = blue.params.custom_data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(data, [("a", "1"), ("b", "2"), ("c", "2")]);
    assert_eq!((blue.params.region.as_str(), red.params.region.as_str()), ("eu", "eu"));
    assert_eq!(blue.params.default_cadence, Duration::from_secs(20));
    assert_eq!(red.params.default_cadence, Duration::from_secs(5));
    assert_eq!(red.local_api.socket, Some("/run/user/1000/rallyhere-agent/red.sock".into()));
    assert!(loaded.settings.host);
}

#[test]
fn drop_ins_variables_and_arguments_name_instances_too() {
    let world = host("").env("RALLYHERE_AGENT_INSTANCES__GREEN__INSTANCE__SESSION_ID", "s-green");
    world.file("agent.d/blue.toml", "[instances.blue.instance]\nsession_id = \"s-blue\"\n");
    let world = world.set("instances.blue.health.unhealthy_after=7");
    let loaded = world.good();
    assert_eq!(names(&loaded), ["blue", "green"]);
    assert_eq!(loaded.settings.instances[0].params.unhealthy_after, 7);
}

#[test]
fn a_host_may_begin_without_any_instance() {
    let loaded = host("[instances]\n").good();
    assert_eq!((names(&loaded), loaded.settings.host), (Vec::new(), true));
    assert!(!World::new(BASE).good().settings.host);
    // One that runs as a host stays one when its last instance has gone.
    let mut world = host("");
    world.sources.host = true;
    assert_eq!(names(&world.good()), Vec::<String>::new());
}

#[test]
fn one_section_makes_many_and_fills_in_number_name_and_ports() {
    let world = host(
        "[instances.pool]\ncount = 3\ninstance.session_id = \"s-{n}\"\nlocal_api.listen = \"127.0.0.1:{9400+n}\"\n\
         game.command = [\"/bin/true\", \"-name={name}\", \"-port={7776+n}\", \"{\\\"json\\\": {}}\"]\n",
    );
    let loaded = world.good();
    assert_eq!(names(&loaded), ["pool-1", "pool-2", "pool-3"]);
    let last = &loaded.settings.instances[2];
    assert_eq!(last.local_api.listen, Some("127.0.0.1:9403".parse().unwrap()));
    let GameSource::Command(command) = &last.game.source else { panic!("a command") };
    assert_eq!(command.command, ["/bin/true", "-name=pool-3", "-port=7779", "{\"json\": {}}"]);
}

#[test]
fn every_mistake_is_told_once_with_its_own_key_and_place() {
    let world = host(
        "[health]\nhealthy_after = 0\n\
         [instances.a]\ninstance.session_id = \"s-a\"\nhealth.unhealthy_after = 0\n\
         [instances.b]\ninstance.regoin = \"x\"\n\
         [instances.c]\ninstance.session_id = \"s-c\"\nauth.client_id = \"x\"\n",
    );
    let file = world.path("agent.toml").display().to_string();
    let mistakes = world.mistakes();
    let has = |key: &str, words: &str| {
        let found: Vec<_> = mistakes.iter().filter(|line| line.contains(key) && line.contains(words)).collect();
        assert_eq!(found.len(), 1, "{key} … {words}: {mistakes:#?}");
        assert!(found[0].starts_with(&file), "{}", found[0]);
    };
    has(": health.healthy_after: ", "0");
    has(": instances.a.health.unhealthy_after: ", "0");
    has(": instances.b.instance.regoin: ", "did you mean instances.b.instance.region?");
    has(": instances.b.instance.session_id: ", "is required");
    has(": instances.c.auth: ", "is said once, for all");
    assert_eq!(mistakes.len(), 5, "{mistakes:#?}");
}

#[test]
fn what_two_instances_must_not_share_is_named() {
    let world = host(
        "[admin]\nlisten = \"127.0.0.1:9402\"\n[instance]\nsession_id = \"s\"\n[local_api]\nsocket = \"/run/x.sock\"\n\
         [instances.a]\nlocal_api.listen = \"127.0.0.1:9401\"\n\
         [instances.b]\nlocal_api.grpc_listen = \"127.0.0.1:9401\"\n\
         [instances.c]\nlocal_api.socket = \"none\"\ninstance.session_id = \"c\"\nlocal_api.listen = \"127.0.0.1:9402\"\n",
    );
    let mistakes = world.mistakes().join("\n");
    for expected in [
        "instances.b: has the local_api.socket of instance a too",
        "instances.b: has the local_api.listen of instance a too",
        "instances.b: has the instance.session_id of instance a too",
    ] {
        assert!(mistakes.contains(expected), "{expected}:\n{mistakes}");
    }
}

#[test]
fn an_id_with_sic_is_that_of_one_instance() {
    let sic = "[instance]\nsource = \"sic\"\n[allocation]\nsic_profile_id = \"p-1\"\nsic_server_id = \"s-7\"\n\
               public_host = \"203.0.113.9\"\npublic_port = 30000\n";
    let own = "[instances.a]\nallocation.sic_id = \"sic_s-7_1\"\n[instances.b]\nallocation.sic_id = \"sic_s-7_2\"\n";
    let loaded = host(&format!("{sic}{own}")).good();
    let ids = loaded.settings.instances.iter().map(|instance| match &instance.params.allocation.source {
        Source::Sic(entry) => entry.id(),
        other @ (Source::Fixed | Source::Made(_) | Source::Told(_)) => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["sic_s-7_1", "sic_s-7_2"]);
    let inherited = "sic_id = \"sic_s-7_1\"\n[instances.a]\n[instances.b]\n";
    let said = host(&format!("{sic}{inherited}")).mistakes().join("\n");
    assert!(said.contains("instances.b: has the allocation.sic_id of instance a too"), "{said}");
}

#[test]
fn bad_names_and_counts_are_refused() {
    for (text, words) in [
        ("[instances.\"a b\"]\ninstance.session_id = \"s\"\n", "cannot be the name of an instance"),
        ("[instances.a]\ncount = 0\ninstance.session_id = \"s\"\n", "instances.a.count"),
        ("[instances.a]\ncount = \"x\"\ninstance.session_id = \"s\"\n", "instances.a.count"),
        ("instances.a = 7\n", "instances.a"),
        ("[instances.a]\nfoo = 1\n", "instances.a.foo"),
    ] {
        let mistakes = World::new(&format!("{text}{HOST}")).mistakes().join("\n");
        assert!(mistakes.contains(words), "{words}:\n{mistakes}");
    }
}

#[test]
fn a_changed_key_changes_the_mark_of_its_instance_only() {
    let marks = |cadence: &str| -> Vec<Written> {
        let world = host(&format!(
            "[instances.a]\ninstance.session_id = \"s-a\"\nhealth.default_cadence = \"{cadence}\"\n\
             [instances.b]\ninstance.session_id = \"s-b\"\n"
        ));
        world.good().settings.instances.iter().map(|instance| instance.written.clone()).collect()
    };
    let (before, after) = (marks("5s"), marks("6s"));
    assert_eq!(before[0].changed(&after[0]), ["health.default_cadence"]);
    assert_eq!(before[1].changed(&after[1]), [""; 0]);
    assert_eq!(before[0].changed(&before[1]), ["health.default_cadence", "instance.session_id"]);
}

#[test]
fn the_printed_settings_of_a_host_load_again() {
    let world = host("[instances.pool]\ncount = 2\ninstance.session_id = \"s-{n}\"\n");
    let printed = world.good().merged.replace("[redacted]", SECRET);
    assert_eq!(names(&World::new(&printed).good()), ["pool-1", "pool-2"]);
    assert!(!World::new(BASE).good().merged.contains("[instances"));
}
