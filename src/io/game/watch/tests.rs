use std::process::{Child, Command, Stdio};

use super::*;

/// A process that lives until it is dropped.
struct Game(Child);

impl Game {
    fn start() -> Self {
        Self(Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn known(&self) -> Known {
        alive(self.0.id()).unwrap()
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn odd(look: Look) -> String {
    match look {
        Look::Odd(why) => why,
        other @ (Look::Found(_) | Look::Nothing) => panic!("{other:?}"),
    }
}

#[test]
fn a_pid_file_is_believed_only_if_it_can_be_true() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.pid");
    assert_eq!(by_pid_file(&path, None), Look::Nothing, "no file yet");
    let game = Game::start();
    let known = game.known();
    for text in ["", "\n", "  \n"] {
        fs::write(&path, text).unwrap();
        assert_eq!(by_pid_file(&path, None), Look::Nothing, "{text:?}: being written");
    }
    for text in [format!("{}", known.pid), format!(" {}\n", known.pid), format!("{}\n/data\n1", known.pid)] {
        fs::write(&path, text).unwrap();
        assert_eq!(by_pid_file(&path, None), Look::Found(known));
    }
    for text in ["game", "-1", "0", "1e3", "99999999999999999999"] {
        fs::write(&path, text).unwrap();
        assert!(odd(by_pid_file(&path, None)).contains("no process id"), "{text}");
    }
    fs::write(&path, i32::MAX.to_string()).unwrap();
    assert_eq!(by_pid_file(&path, None), Look::Nothing, "nobody has this number");
    assert!(odd(by_pid_file(dir.path(), None)).contains("not a regular file"));
    fs::write(&path, b"\xff\xff").unwrap();
    assert!(odd(by_pid_file(&path, None)).contains("cannot be read"));
}

#[test]
fn a_number_that_was_given_away_is_not_the_game() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.pid");
    let game = Game::start();
    let known = game.known();
    fs::write(&path, known.pid.to_string()).unwrap();
    let before = Known { start: known.start - 1, ..known };
    assert_eq!(by_pid_file(&path, Some(before)), Look::Found(known), "the file was written for it");
    // A file from before the process was born.
    let old = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    File::options().write(true).open(&path).unwrap().set_times(old).unwrap();
    assert!(odd(by_pid_file(&path, Some(before))).contains("has the number of the game that ended"));
    assert!(odd(by_pid_file(&path, None)).contains("it is from a game before"));
}

#[test]
fn a_zombie_is_no_game() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.pid");
    let mut game = Game::start();
    fs::write(&path, game.0.id().to_string()).unwrap();
    game.0.kill().unwrap();
    while !Stat::of(game.0.id()).unwrap().zombie {
        std::thread::yield_now();
    }
    assert_eq!(by_pid_file(&path, None), Look::Nothing);
}

#[test]
fn a_name_must_be_of_one() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than the kernel's 15 bytes.
    let name = format!("game-of-test-{}", std::process::id());
    let program = dir.path().join(&name);
    fs::copy("/bin/cat", &program).unwrap();
    let start = || Game(Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    assert_eq!(by_name(&name), Look::Nothing);
    let one = start();
    assert_eq!(by_name(&name), Look::Found(one.known()));
    assert_eq!(by_name(&name[..15]), Look::Found(one.known()), "the kernel's own name of it");
    assert_eq!(by_name(&name[..14]), Look::Nothing, "half a name is none");
    let two = start();
    assert!(odd(by_name(&name)).starts_with("2 processes are named"));
    drop(one);
    assert_eq!(by_name(&name), Look::Found(two.known()));
}

#[test]
fn the_main_process_of_a_group_is_the_one_that_the_others_come_from() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(main_of(dir.path()), None);
    let (one, two) = (Game::start(), Game::start());
    let procs = |pids: &[u32]| {
        let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(dir.path().join("cgroup.procs"), text).unwrap();
        main_of(dir.path())
    };
    let (a, b, us) = (one.0.id(), two.0.id(), std::process::id());
    assert_eq!(procs(&[]), None);
    assert_eq!(procs(&[a]), Some(a));
    assert_eq!(procs(&[a, us, b]), Some(us), "we have started both");
    assert_eq!(procs(&[a, b]), None, "two of equal right");
}

#[test]
fn the_end_of_another_s_child_shows_until_it_is_collected() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (script, status) in
            [("exit 3", EndStatus::Code(3)), ("exit 255", EndStatus::Code(255)), ("kill -9 $$", EndStatus::Signal(9))]
        {
            let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let grip = Grip::take(child.id()).unwrap().unwrap();
            grip.gone().await;
            assert_eq!(left(&grip).unwrap().status, status);
            assert_eq!(collected(&grip).unwrap().status, status, "it is our child");
            child.wait().unwrap();
            assert_eq!((left(&grip), collected(&grip)), (None, None));
        }
    });
}
