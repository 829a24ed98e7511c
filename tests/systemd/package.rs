//! The package: what an installation leaves, what an upgrade keeps, what a removal takes away.

use serde_json::json;

use crate::machine::{Machine, SECRET, UNIT};
use crate::until;

const README: &str = include_str!("../../README.md");

#[tokio::test]
async fn the_five_commands_of_the_readme_run_an_agent() {
    let Some(machine) = Machine::boot().await else { return };
    let chapter = README.split("### A systemd host in five commands").nth(1).unwrap();
    let commands: Vec<&str> = chapter.split("```").nth(1).unwrap().lines().skip(1).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    machine.bring("RALLYHERE_DEB");
    machine.write("/root/client-secret", SECRET);
    // A person edits; here it is a script. There is no sudo where everybody is root.
    let people = format!("cd /root; sudo() {{ \"$@\"; }}; sudoedit() {{ {} \"$1\"; }}", Machine::edit());
    let installed = machine.run(&format!("{people}; {}", commands[0]));
    assert!(installed.contains("it has no configuration yet"), "{installed}");
    let unit = |property: &str| machine.show(UNIT, property);
    assert_eq!((unit("ActiveState"), unit("UnitFileState")), ("inactive".to_owned(), "disabled".to_owned()));
    for command in &commands[1..] {
        machine.run(&format!("{people}; {command}"));
    }
    machine.simulate("").await;
    machine.until_beats(1).await;
    assert_eq!((unit("ActiveState"), unit("UnitFileState")), ("active".to_owned(), "enabled".to_owned()));
}

#[tokio::test]
async fn an_installation_leaves_everything_in_its_place() {
    let Some(machine) = Machine::boot().await else { return };
    machine.install("RALLYHERE_DEB");
    assert_eq!(machine.run("systemctl --failed --no-legend"), "");
    for (path, wanted) in [
        ("/etc/rallyhere-agent", "root:rallyhere-agent 750"),
        ("/etc/rallyhere-agent/agent.toml", "root:root 644"),
        ("/etc/credstore", "root:root 700"),
        ("/usr/bin/rallyhere-agent", "root:root 755"),
        ("/usr/lib/systemd/system/rallyhere-agent@.service", "root:root 644"),
        ("/usr/share/man/man1/rallyhere-agent.1.gz", "root:root 644"),
        ("/usr/share/man/man5/rallyhere-agent.toml.5.gz", "root:root 644"),
        ("/usr/share/zsh/vendor-completions/_rallyhere-agent", "root:root 644"),
        ("/usr/share/fish/vendor_completions.d/rallyhere-agent.fish", "root:root 644"),
        ("/usr/share/doc/rallyhere-agent/examples/game.service", "root:root 644"),
    ] {
        assert_eq!(machine.run(&format!("stat -c '%U:%G %a' {path}")).trim(), wanted, "{path}");
    }
    machine.run("id rallyhere-agent && dpkg --verify rallyhere-agent");
    let completed = machine.run(
        "bash -c '. /usr/share/bash-completion/completions/rallyhere-agent; COMP_WORDS=(rallyhere-agent dr); COMP_CWORD=1; \
         $(complete -p rallyhere-agent | sed \"s/.* -F \\([^ ]*\\).*/\\1/\") rallyhere-agent dr rallyhere-agent; echo ${COMPREPLY[@]}'",
    );
    assert_eq!(completed, "drain\n");
    // Configured before, by a tool of the operator's: then it starts by itself.
    machine.run("dpkg --purge rallyhere-agent");
    machine.write(
        "/etc/rallyhere-agent/agent.d/site.toml",
        "[environment]\nurl = \"http://127.0.0.1:8080\"\n\
        [auth]\nclient_id = \"agent\"\n[instance]\nsession_id = \"demo\"\n",
    );
    machine.write("/etc/rallyhere-agent/client-secret", SECRET);
    machine.install("RALLYHERE_DEB");
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");
    assert_eq!(machine.show(UNIT, "UnitFileState"), "enabled");
    assert_eq!(
        machine.run("stat -c '%U:%G %a' /etc/rallyhere-agent/client-secret").trim(),
        "root:root 600",
        "tmpfiles"
    );
}

#[tokio::test]
async fn an_upgrade_restarts_the_agent_and_nobody_notices() {
    let Some(machine) = Machine::with_agent().await else { return };
    // A second one, by the template, with a configuration and a secret of its own.
    let two = "rallyhere-agent@two.service";
    machine.run(
        "sed -e 's/^session_id = .*/session_id = \"two\"/' -e 's/^listen = \"127.*/listen = \"127.0.0.1:9360\"/' \
        /etc/rallyhere-agent/agent.toml >/etc/rallyhere-agent/two.toml",
    );
    machine.control("POST", "sessions", &json!({"session_id": "two"}));
    machine.run(
        "mv /etc/rallyhere-agent/client-secret /etc/rallyhere-agent/two.client-secret; \
        echo another >/etc/rallyhere-agent/client-secret",
    );
    machine.drop_in(two, "secret", "[Service]\nLoadCredential=client-secret:/etc/rallyhere-agent/two.client-secret\n");
    machine.start(two).await;
    machine.run("cp /etc/rallyhere-agent/two.client-secret /etc/rallyhere-agent/client-secret");
    machine.start(UNIT).await;
    machine.run("rallyhere-agent ready --public-conn-str 192.0.2.1:7777");
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    let before = machine.instance("demo");
    let pids = (machine.show(UNIT, "MainPID"), machine.show(two, "MainPID"));
    let kept = "sha256sum /etc/rallyhere-agent/*";
    let files = machine.run(kept);
    machine.install("RALLYHERE_DEB_NEXT");
    machine.until_shown(UNIT, "ActiveState", |state| state == "active").await;
    assert_ne!(machine.show(UNIT, "MainPID"), pids.0, "it goes on with the old version");
    assert_ne!(machine.show(two, "MainPID"), pids.1, "it goes on with the old version");
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    machine.until_beats(2).await;
    assert_eq!(machine.run(kept), files, "the configuration was touched");
    assert_eq!(machine.instance("demo"), before, "the instance was touched");
    assert_eq!(machine.calls("register"), 2, "one for each agent: {}", machine.ledger()["calls"]);
    assert!(!machine.statuses().contains(&"closed".to_owned()), "{:?}", machine.statuses());

    // One that has a game with it is left alone, and one that was stopped stays stopped.
    machine.run(&format!("systemctl stop {two}"));
    machine
        .run("sleep 1000 >/dev/null 2>&1 & echo $! >/sys/fs/cgroup/system.slice/rallyhere-agent.service/cgroup.procs");
    let pid = machine.show(UNIT, "MainPID");
    let said = machine.install("RALLYHERE_DEB");
    assert!(said.contains("rallyhere-agent.service runs a game"), "{said}");
    assert_eq!(machine.show(UNIT, "MainPID"), pid);
    assert_eq!(machine.show(two, "ActiveState"), "inactive");
}

#[tokio::test]
async fn a_removal_stops_in_order_and_only_a_purge_forgets() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.run(&format!("systemctl enable --now --quiet {UNIT}"));
    machine.until_beats(1).await;
    // Of the package that goes; what it serves must not go with it.
    machine.run("dpkg --remove rallyhere-agent");
    assert_eq!(machine.statuses().last().map(String::as_str), Some("closed"));
    until("the end of the unit", &machine, || (machine.show(UNIT, "ActiveState") == "inactive").then_some(())).await;
    for kept in
        ["/etc/rallyhere-agent/agent.toml", "/etc/rallyhere-agent/client-secret", "/var/lib/rallyhere-agent/log"]
    {
        assert_eq!(machine.try_run(&format!("test -e {kept}")).code, 0, "{kept} has gone");
    }
    machine.run("dpkg --purge rallyhere-agent");
    let left = machine.run("find /etc /var /usr/bin /usr/lib/systemd /run -name '*rallyhere*' -not -path '/var/log/*'");
    assert_eq!(left, "", "left behind");
    assert_eq!(machine.run("systemctl --failed --no-legend"), "");
    // And again, as on a new host.
    machine.install("RALLYHERE_DEB");
    assert_eq!(machine.show(UNIT, "ActiveState"), "inactive");
}
