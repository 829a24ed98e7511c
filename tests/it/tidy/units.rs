//! The systemd units agree with each other and with what the agent promises.

use std::fs;

use rallyhere_agent::io::local::Limits;

use super::root;

fn unit(name: &str) -> String {
    fs::read_to_string(root().join("systemd").join(name)).unwrap()
}

/// Below its head, with the name taken out.
fn body(text: &str, own: &[(&str, &str)]) -> String {
    let (_head, body) = text.split_once("\n\n").unwrap();
    own.iter().fold(body.to_owned(), |body, (special, plain)| {
        assert!(body.contains(special), "{special}");
        body.replace(special, plain)
    })
}

#[test]
fn the_template_is_the_service_word_for_word_but_for_the_name() {
    let own = [
        ("Description=RallyHere agent %i\n", "Description=RallyHere agent\n"),
        (" --config /etc/rallyhere-agent/%i.toml\n", "\n"),
        ("Directory=rallyhere-agent-%i\n", "Directory=rallyhere-agent\n"),
    ];
    assert_eq!(body(&unit("rallyhere-agent@.service"), &own), body(&unit("rallyhere-agent.service"), &[]));
}

#[test]
fn the_unit_keeps_what_the_agent_relies_on() {
    let unit = unit("rallyhere-agent.service");
    let lines: Vec<_> = unit.lines().collect();
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        // Above shutdown.drain_timeout, 60 s.
        "TimeoutStopSec=90s",
        "KillMode=mixed",
        "Restart=on-failure",
        // Superseded and Config in src/exit.rs.
        "RestartPreventExitStatus=76 78",
        "StateDirectoryMode=0700",
        "RuntimeDirectoryMode=0750",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
}

#[test]
fn the_unit_has_files_for_a_thousand_instances() {
    let unit = unit("rallyhere-agent.service");
    let limit = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap();
    let each = Limits::default().connections + 10;
    assert!(limit.parse::<usize>().unwrap() >= 1000 * each, "{limit} for a thousand times {each}");
}

#[test]
fn the_drop_in_for_a_game_changes_only_what_the_unit_says() {
    let (unit, drop_in) = (unit("rallyhere-agent.service"), unit("examples/run-the-game.conf"));
    let keys: Vec<_> =
        drop_in.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for (key, value) in keys {
        let (all, same) = (format!("\n{key}="), format!("\n{key}={value}\n"));
        assert!(unit.contains(&all) && !unit.contains(&same), "{key}={value}");
    }
}

#[test]
fn every_credential_of_the_unit_is_linked_by_tmpfiles() {
    let tmpfiles = unit("rallyhere-agent.tmpfiles");
    let unit = unit("rallyhere-agent.service");
    let credentials: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")).collect();
    assert_eq!(credentials.len(), 3);
    for credential in credentials {
        let (name, stored) = credential.split_once(':').unwrap();
        let link = format!("L /etc/credstore/{stored} - - - - ../rallyhere-agent/{name}");
        assert!(tmpfiles.lines().any(|line| line == link), "{link}");
    }
}
