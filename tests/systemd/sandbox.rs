//! The sandbox: what it keeps from a child of the agent, what the drop-in gives back, and a game in a unit of its own.

use std::collections::BTreeSet;

use crate::machine::{Machine, UNIT};

/// What a game server may do and a service need not, tried one by one; prints the names of what works.
const GAME: &str = r#"#!/usr/bin/perl
my %numbers = `uname -m` =~ /x86_64/ ? (mmap => 9, sched_setaffinity => 203, personality => 135, unshare => 272)
    : (mmap => 222, sched_setaffinity => 122, personality => 92, unshare => 97);
sub call { my $name = shift; syscall($numbers{$name}, @_) != -1 }
print "writable-code\n" if call("mmap", 0, 4096, 7, 0x22, -1, 0);
print "netlink\n" if socket(my $netlink, 16, 3, 0);
print "affinity\n" if call("sched_setaffinity", 0, 8, pack("Q", 1));
print "personality\n" if call("personality", 0x0040000);
print "home\n" if -e "/home/game/steamclient.so";
print "shared-tmp\n" if -e "/tmp/of-the-host";
print "saves\n" if open(my $save, ">", "/srv/game/save");
print "devices\n" if open(my $device, "<", "/dev/of-the-host");
print "group-directories\n" if mkdir("/srv/game/mods") && chmod(02775, "/srv/game/mods") && -g "/srv/game/mods";
print "namespaces\n" if call("unshare", 0x10000000);
print "usr\n" if open(my $usr, ">", "/usr/of-the-game");
print "etc\n" if open(my $etc, ">", "/etc/of-the-game");
print "end\n";
"#;

const GIVEN_BACK: [&str; 10] = [
    "writable-code",
    "netlink",
    "affinity",
    "personality",
    "home",
    "shared-tmp",
    "saves",
    "devices",
    "group-directories",
    "namespaces",
];

#[tokio::test]
async fn the_drop_in_gives_a_game_what_the_sandbox_takes() {
    let Some(machine) = Machine::boot().await else { return };
    machine.install("RALLYHERE_DEB");
    machine.write("/srv/game/server", GAME);
    machine.run(
        "chmod 755 /srv/game/server; chown -R rallyhere-agent /srv/game; touch /tmp/of-the-host; mknod -m 666 /dev/of-the-host c 1 3; \
        mkdir -p /home/game; touch /home/game/steamclient.so",
    );
    // The agent starts its game as a child, and a child has what the unit gives: so has this one in the agent's place.
    machine.drop_in(
        UNIT,
        "zz-stand-in",
        "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nExecStart=\nExecStart=/srv/game/server\n",
    );
    let allowed = || {
        machine.run(&format!("rm -rf /srv/game/mods /srv/game/save; journalctl --rotate; journalctl --vacuum-time=1s; systemctl start {UNIT}"));
        let log = machine.log(UNIT);
        assert!(log.contains("end"), "{log}");
        let known = |line: &&str| GIVEN_BACK.contains(line) || ["usr", "etc"].contains(line);
        log.lines().filter(known).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let tight = allowed();
    machine.run(&format!("cp /usr/share/doc/rallyhere-agent/examples/run-the-game.conf /etc/systemd/system/{UNIT}.d/; systemctl daemon-reload"));
    let loose = allowed();
    assert_eq!(tight, BTreeSet::new(), "what the sandbox leaves");
    assert_eq!(loose, GIVEN_BACK.iter().map(|name| (*name).to_owned()).collect(), "what the drop-in gives");
}

#[tokio::test]
async fn a_game_in_a_unit_of_its_own_outlives_the_agents_drain() {
    let Some(machine) = Machine::with_agent().await else { return };
    machine.run(
        "useradd --system game; mkdir -p /srv/game; \
        cp /usr/share/doc/rallyhere-agent/examples/game.service /etc/systemd/system/",
    );
    // Ready as soon as the agent is there, then plays until it is told to stop.
    machine.write(
        "/srv/game/server",
        "#!/bin/sh\nuntil rallyhere-agent ready --public-conn-str 192.0.2.1:7777; do sleep 0.1; done\n\
        cat /var/lib/rallyhere-agent/* && echo 'it reads secrets'\nexec sleep 1000\n",
    );
    machine.run("chmod 755 /srv/game/server; systemctl daemon-reload; systemctl start game.service");
    machine.until_shown(UNIT, "StatusText", |text| text == "session demo: serving, healthy").await;
    // The agent's end is not the game's.
    machine.run(&format!("systemctl kill --kill-whom=main --signal=SIGKILL {UNIT}"));
    machine.until_shown(UNIT, "NRestarts", |restarts| restarts == "1").await;
    machine.until_beats(1).await;
    assert_eq!(machine.number("game.service", "NRestarts"), 0);
    // Both at once, as at the end of a host: first the agent, then the game.
    machine.run(&format!("systemctl stop game.service {UNIT}"));
    let agent = machine.number(UNIT, "InactiveEnterTimestampMonotonic");
    let game = machine.number("game.service", "ActiveExitTimestampMonotonic");
    assert!(agent <= game, "the game was stopped before the agent had closed the instance");
    assert_eq!(machine.statuses().last().map(String::as_str), Some("closed"));
    let log = machine.log("game.service");
    assert!(!log.contains("it reads secrets"), "{log}");
}
