//! What games print.

use rallyhere_agent::clock;
use rallyhere_agent::core::process::EndStatus;

use super::*;

#[tokio::test]
async fn what_it_prints_is_passed_on_and_its_last_lines_told() {
    let text = "echo one; echo password=S3CRET-of-the-game; printf '\\377\\376 two\\n'; printf 'no line break'";
    let mut game = Kept::new(&format!("log_tail = 3\n{}", script(text)));
    let end = game.live().await;
    assert_eq!(end.tail, ["password=[redacted]", "\u{fffd}\u{fffd} two", "no line break"]);
    let passed = fs::read(game.path("stdout")).unwrap();
    assert_eq!(passed, b"one\npassword=S3CRET-of-the-game\n\xff\xfe two\nno line break\n", "byte for byte");

    let mut game = Kept::new(&script("echo out; echo err >&2"));
    let mut tail = game.live().await.tail;
    tail.sort_unstable();
    assert_eq!(tail, ["err", "out"]);
    assert_eq!((game.read("stdout").as_str(), game.read("stderr").as_str()), ("out\n", "err\n"));
}

#[tokio::test]
async fn the_line_that_says_ready_is_told_once() {
    let text = "echo starting; echo 'Server listening on port 7777'; echo 'listening on port 1'; until [ -e DIR/go ]; do sleep 0.02; done";
    let ready = "ready = \"log\"\nready_log = \"listening on port [0-9]{4}$\"\n";
    let mut game = Kept::new(&format!("{ready}{}", script(text)));
    game.start();
    game.started().await;
    assert_eq!(game.event().await, GameEvent::ReadyLine);
    fs::write(game.path("go"), "").unwrap();
    assert_eq!(game.ended().await.status, EndStatus::Code(0));
}

#[tokio::test]
async fn a_million_lines_neither_hold_us_up_nor_fill_us() {
    let text = "i=0; while [ $i -lt 20 ]; do seq 1 50000; i=$((i+1)); done";
    let mut game = Kept::new(&script(text));
    let before = resident();
    let mut ticks = JoinSet::new();
    // The same thread: whatever holds up the runtime holds up this.
    let (longest, held_up) = watch::channel(Duration::ZERO);
    ticks.spawn(async move {
        let mut last = clock::now();
        loop {
            clock::sleep(Duration::from_millis(5)).await;
            longest.send_modify(|longest| *longest = last.elapsed().max(*longest));
            last = clock::now();
        }
    });
    let end = game.live().await;
    ticks.shutdown().await;
    assert_eq!(end.tail.len(), 50);
    assert_eq!(end.tail.last().map(String::as_str), Some("50000"));
    let longest = *held_up.borrow();
    assert!(longest < Duration::from_secs(5), "held up for {longest:?}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "grown by {grown} bytes");
    // The disk of a busy machine may stop for longer than we hold the game: what is dropped then is owned up to.
    let passed = fs::read_to_string(game.path("stdout")).unwrap();
    let missing = |line: &str| line.strip_prefix("[rallyhere-agent: ")?.split(' ').next()?.parse::<usize>().ok();
    let lines: usize = passed.lines().map(|line| missing(line).unwrap_or(1)).sum();
    assert_eq!(lines, 1_000_000);
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_line_of_megabytes_comes_in_pieces() {
    let text = "head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo end";
    let mut game = Kept::new(&format!("log_tail = 1000\n{}", script(text)));
    let end = game.live().await;
    assert_eq!(end.tail.last().map(String::as_str), Some("end"));
    let bytes: usize = end.tail.iter().map(String::len).sum();
    assert!(end.tail.iter().all(|line| line.len() <= 8192) && bytes <= 256 * 1024, "{bytes}");
    assert_eq!(fs::metadata(game.path("stdout")).unwrap().len(), 3_000_005);
}

#[tokio::test]
async fn figures_are_told_while_it_lives_and_with_its_end() {
    let mut game = Kept::new(&script("until [ -e DIR/go ]; do sleep 0.02; done"));
    game.start();
    game.started().await;
    let event = within(game.events.recv()).await.unwrap();
    let GameEvent::Figures(figures) = *event else { panic!("{event:?}") };
    let memory = figures.memory.unwrap();
    assert!(memory > 100_000 && figures.memory_peak.unwrap() >= memory && figures.cpu.is_some(), "{figures:?}");
    fs::write(game.path("go"), "").unwrap();
    let end = game.ended().await;
    assert_eq!(end.figures.memory, Some(memory), "what was seen last");
    assert!(end.uptime >= Duration::from_millis(100) && end.figures.cpu >= figures.cpu);
}
