//! How games begin and end.

use rallyhere_agent::core::process::EndStatus;

use super::*;

async fn why_not(change: impl FnOnce(&mut Instance)) -> String {
    let mut game = Kept::with(&script("true"), change, environment());
    game.start();
    let event = game.event().await;
    let GameEvent::NotStarted { why } = event else { panic!("{event:?}") };
    why
}

#[tokio::test]
async fn every_end_is_told_as_it_was() {
    for (text, status) in [
        ("exit 0", EndStatus::Code(0)),
        ("exit 3", EndStatus::Code(3)),
        ("exit 255", EndStatus::Code(255)),
        ("ulimit -c 0; kill -SEGV $$", EndStatus::Signal(11)),
        ("ulimit -c 0; kill -ABRT $$", EndStatus::Signal(6)),
        ("kill -KILL $$", EndStatus::Signal(9)),
        ("exec >&- 2>&-; exit 4", EndStatus::Code(4)),
    ] {
        let mut game = Kept::new(&script(text));
        let end = game.live().await;
        assert_eq!((end.status, end.oom_killed, &end.core), (status, false, &None), "{text}");
        assert!(end.uptime < LIMIT);
        assert_eq!(*game.watched.borrow(), None);
    }
}

#[tokio::test]
async fn a_core_file_is_told_with_its_place() {
    let text = "ulimit -c unlimited; kill -SEGV $$";
    let mut game = Kept::new(&format!("working_dir = \"DIR\"\n{}", script(text)));
    let end = game.live().await;
    assert_eq!(end.status, EndStatus::Signal(11));
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    match end.core {
        Some(told) if pattern.starts_with('|') => assert!(told.starts_with("yes (handled by "), "{told}"),
        Some(told) if pattern.starts_with("core") => {
            assert!(Path::new(&told).is_file() && told.starts_with(game.dir.path().to_str().unwrap()), "{told}");
        }
        Some(told) => assert!(told.starts_with("yes") || Path::new(&told).is_file(), "{told}"),
        None => eprintln!("skipped: this machine lets nobody write core files ({})", pattern.trim()),
    }
}

#[tokio::test]
async fn it_is_asked_to_stop_with_its_signal_and_killed_if_it_does_not() {
    // Not SIGINT: who runs the tests in the background of a script has it ignored, and a shell cannot take that back.
    for (name, signal) in [("TERM", "SIGTERM"), ("USR1", "10"), ("USR2", "USR2")] {
        let text = format!("trap 'exit 7' {name}; echo > DIR/ready; while :; do sleep 0.05; done");
        let mut game = Kept::new(&format!("stop_signal = \"{signal}\"\n{}", script(&text)));
        game.start();
        let pid = game.started().await;
        assert_eq!(game.watched.borrow().as_ref().map(|watched| watched.pid), Some(pid));
        game.written("ready").await;
        game.side.order(Order::Stop);
        assert_eq!(game.ended().await.status, EndStatus::Code(7), "{signal}");
    }
    let text = "trap 'echo asked >> DIR/asked' TERM; echo > DIR/ready; while :; do sleep 0.05; done";
    let mut game = Kept::new(&script(text));
    game.start();
    game.started().await;
    game.written("ready").await;
    game.side.order(Order::Stop);
    game.written("asked").await;
    game.side.order(Order::Kill);
    assert_eq!(game.ended().await.status, EndStatus::Signal(9));
}

#[tokio::test]
async fn what_it_leaves_behind_ends_with_it() {
    let text = "sleep 1000 & echo $! > DIR/child; trap '' TERM; exit 0";
    let mut game = Kept::new(&script(text));
    let end = game.live().await;
    assert_eq!(end.status, EndStatus::Code(0));
    let child = game.read("child").trim().parse().unwrap();
    eventually(|| (!runs(child)).then_some(())).await;

    // Killed with all that it started, also what does not listen to signals.
    let text = "(trap '' TERM INT HUP; while :; do sleep 0.05; done) & echo $! > DIR/child; wait";
    let mut game = Kept::new(&script(text));
    game.start();
    game.started().await;
    let child = game.written("child").await.parse().unwrap();
    assert!(runs(child));
    game.side.order(Order::Kill);
    assert_eq!(game.ended().await.status, EndStatus::Signal(9));
    eventually(|| (!runs(child)).then_some(())).await;
}

#[tokio::test]
async fn what_has_left_its_group_does_not_hold_up_its_end() {
    let text =
        "setsid sh -c 'echo $$ > DIR/child; exec sleep 1000' & while ! [ -s DIR/child ]; do sleep 0.01; done; echo bye";
    let mut game = Kept::new(&script(text));
    let end = game.live().await;
    assert_eq!((end.status, end.tail.as_slice()), (EndStatus::Code(0), &["bye".to_owned()][..]));
    let child: u32 = game.read("child").trim().parse().unwrap();
    assert!(runs(child), "it is nobody's but its own");
    let child = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn the_end_of_the_keeper_ends_the_game() {
    let text = "trap '' TERM; sleep 1000 & echo $! > DIR/child; echo last words; echo > DIR/ready; wait";
    let mut game = Kept::new(&script(text));
    game.start();
    let pid = game.started().await;
    game.written("ready").await;
    let child = game.read("child").trim().parse().unwrap();
    assert!(runs(pid) && runs(child));
    let dir = game.stop().await;
    assert!(!runs(pid));
    eventually(|| (!runs(child)).then_some(())).await;
    assert_eq!(fs::read_to_string(dir.path().join("stdout")).unwrap(), "last words\n");
}

#[tokio::test]
async fn a_keeper_that_is_dropped_ends_the_game() {
    let mut game = Kept::new(&script("sleep 1000 & echo $! > DIR/child; wait"));
    game.start();
    let pid = game.started().await;
    let child = game.written("child").await.parse().unwrap();
    game.keeper.shutdown().await;
    eventually(|| (!runs(pid) && !runs(child)).then_some(())).await;
}

#[tokio::test]
async fn it_can_be_started_again() {
    let mut game = Kept::new(&script("echo life >> DIR/lives; exit 2"));
    // Nothing is there to be stopped, and a second start while it runs is none.
    game.side.order(Order::Stop);
    game.side.order(Order::Kill);
    for _ in 0..3 {
        assert_eq!(game.live().await.status, EndStatus::Code(2));
    }
    assert_eq!(game.read("lives"), "life\n".repeat(3));
}

#[tokio::test]
async fn why_it_could_not_be_started_is_told() {
    let why = why_not(|settings| command(settings, &["/nowhere/server"])).await;
    assert!(why.contains("\"/nowhere/server\"") && why.contains("No such file"), "{why}");
    let why = why_not(|settings| command(settings, &["no-such-server-7f3a"])).await;
    assert!(why.contains("in none of the directories of PATH"), "{why}");

    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, words) in [
        (file("plain", "#!/bin/sh\n", 0o644), "is not executable"),
        (file("orphaned", "#!/nowhere/interpreter\n", 0o755), "the interpreter"),
        (file("text", "no program at all\n", 0o755), "no program for this machine"),
        (dir.path().to_str().unwrap().to_owned(), "is not executable"),
    ] {
        let why = why_not(|settings| command(settings, &[&path])).await;
        assert!(why.contains(words), "{why}");
    }
    let why = why_not(|settings| {
        if let GameSource::Command(command) = &mut settings.game.source {
            command.working_dir = Some("/nowhere/at/all".into());
        }
    })
    .await;
    assert!(why.contains("game.working_dir /nowhere/at/all"), "{why}");
}

#[tokio::test]
async fn a_relative_program_is_looked_up_from_its_working_directory() {
    let mut game = Kept::with(
        "command = [\"/bin/true\"]\nworking_dir = \"DIR\"",
        |settings| command(settings, &["./server", "a b", ""]),
        environment(),
    );
    let text = "#!/bin/sh\nprintf '%s|' \"$0\" \"$@\" > out\npwd >> out\n";
    fs::write(game.path("server"), text).unwrap();
    fs::set_permissions(game.path("server"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(game.live().await.status, EndStatus::Code(0));
    let here = game.dir.path().canonicalize().unwrap();
    let out = game.read("out");
    assert!(out.ends_with(&format!("server|a b||{}\n", here.display())), "{out}");
}

#[tokio::test]
async fn its_environment_holds_no_secret_and_nothing_of_the_agent_s_own() {
    let mut env = environment();
    for (name, value) in [
        ("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", "S3CRET-1"),
        ("RALLYHERE_AGENT_AUTH__PASSWORD", "S3CRET-2"),
        ("RALLYHERE_AGENT_AUTH", "{ client_secret = \"S3CRET-3\" }"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/x"),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("WATCHDOG_USEC", "30000000"),
        ("LISTEN_FDS", "1"),
        ("HOME", "/home/game"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    let game = format!("{}\nenv = {{ MAP = \"harbour\" }}\n", script("env > DIR/env; cat /proc/$$/cmdline > DIR/argv"));
    let mut game = Kept::with(&game, |_| {}, env);
    assert_eq!(game.live().await.status, EndStatus::Code(0));
    let seen = game.read("env");
    let mut lines: Vec<&str> = seen
        .lines()
        .filter(|line| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "AGONES_SDK_HTTP_PORT=9358",
            "HOME=/home/game",
            "MAP=harbour",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "RALLYHERE_AGENT_URL=http://127.0.0.1:9358",
            "RALLYHERE_ALLOCATION_ID=the-allocation",
            "RALLYHERE_INSTANCE_ID=the-instance",
            "RALLYHERE_SESSION_ID=the-session",
        ]
    );
    assert!(!seen.contains("S3CRET") && !game.read("argv").contains("S3CRET"));
}

#[tokio::test]
async fn it_inherits_no_descriptor_and_reads_nothing() {
    let text = "for fd in /proc/$$/fd/*; do readlink $fd >> DIR/fds; done; read line || echo end >> DIR/fds";
    let _ours = File::open("/dev/full").unwrap();
    let mut game = Kept::new(&script(text));
    assert_eq!(game.live().await.status, EndStatus::Code(0));
    let fds = game.read("fds");
    assert!(fds.lines().any(|line| line == "/dev/null") && fds.ends_with("end\n"), "{fds}");
    assert!(!fds.contains("/dev/full") && !fds.contains("socket:") && !fds.contains("anon_inode"), "{fds}");
}
