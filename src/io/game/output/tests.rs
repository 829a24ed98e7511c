use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter};

use super::lines::PIECE_LIMIT;
use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// A game made of two pipes, the output that is kept of it, and what it is passed on to.
struct Game {
    stdout: PipeWriter,
    stderr: PipeWriter,
    output: Output,
    shown: PipeReader,
    /// Holds the other end of standard error.
    _complained: PipeReader,
}

fn game(ready: Option<&str>, tail: usize) -> Game {
    let (out_from, stdout) = io::pipe().unwrap();
    let (err_from, stderr) = io::pipe().unwrap();
    let (shown, out_to) = io::pipe().unwrap();
    let (complained, err_to) = io::pipe().unwrap();
    let sinks = Sinks { stdout: out_to.into(), stderr: err_to.into() };
    let ready = ready.map(|pattern| Regex::new(pattern).unwrap());
    let output = Output::start([out_from.into(), err_from.into()], sinks, ready, tail).unwrap();
    Game { stdout, stderr, output, shown, _complained: complained }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

#[tokio::test]
async fn whole_lines_are_passed_on_and_the_last_ones_kept() {
    let Game { mut stdout, stderr, mut output, mut shown, .. } = game(None, 2);
    stdout.write_all(b"one\ntwo\n\xff\xfe three\nend").unwrap();
    drop((stdout, stderr));
    assert_eq!(within(output.last_lines(LIMIT, Vec::new())).await, ["\u{fffd}\u{fffd} three", "end"]);
    within(output.finish()).await;
    let mut all = Vec::new();
    shown.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"one\ntwo\n\xff\xfe three\nend\n", "byte for byte, and a line at its end");
}

#[tokio::test]
async fn the_first_line_that_matches_says_ready_on_either_stream() {
    let Game { mut stdout, mut stderr, mut output, .. } = game(Some("^listening on port [0-9]+$"), 5);
    stdout.write_all(b"not listening on port 7\nlistening on").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), output.ready()).await.is_err(), "half a line says nothing");
    stderr.write_all(b"\x1b[32mlistening on port 7777\x1b[0m\r\n").unwrap();
    within(output.ready()).await;
    stdout.write_all(b" port 8\n").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), output.ready()).await.is_err(), "it is said once");
}

#[tokio::test]
async fn who_reads_slowly_loses_nothing() {
    let Game { mut stdout, stderr, mut output, mut shown, .. } = game(None, 1);
    let lines = 20_000;
    let writer = thread::spawn(move || {
        for line in 0..lines {
            stdout.write_all(format!("line {line} {}\n", "x".repeat(60)).as_bytes()).unwrap();
        }
        drop((stdout, stderr));
    });
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = shown.read(&mut buffer).unwrap();
            if read == 0 {
                return String::from_utf8(all).unwrap();
            }
            all.extend_from_slice(&buffer[..read]);
            thread::park_timeout(Duration::from_millis(1));
        }
    });
    let last = within(output.last_lines(LIMIT, Vec::new())).await;
    assert!(last.iter().all(|line| line.starts_with("line 19999 ")), "{last:?}");
    writer.join().unwrap();
    // The thread ends by itself once all is written.
    let all = within(tokio::task::spawn_blocking(|| reader.join().unwrap())).await.unwrap();
    assert_eq!(all.lines().count(), lines);
    assert!(all.lines().enumerate().all(|(index, line)| line.starts_with(&format!("line {index} "))));
}

#[tokio::test]
async fn who_does_not_read_at_all_holds_nobody_up_and_is_told_what_is_missing() {
    let Game { mut stdout, stderr, mut output, shown, .. } = game(Some("ready"), 2);
    let line = [&[b'x'; 99][..], b"\n"].concat();
    // Far more than all queues hold: this ends only if somebody reads it.
    let writer = tokio::task::spawn_blocking(move || {
        for _ in 0..20_000 {
            stdout.write_all(&line).unwrap();
        }
        stdout.write_all(b"ready\n").unwrap();
        stdout
    });
    let mut stdout = within(writer).await.unwrap();
    within(output.ready()).await;
    // Somebody reads again, and says when it has read what is missing.
    let (say_told, told) = oneshot::channel();
    let reader = tokio::task::spawn_blocking(move || {
        let (mut all, mut say_told) = (String::new(), Some(say_told));
        for line in BufReader::new(shown).lines() {
            let line = line.unwrap();
            if let Some(say) = say_told.take_if(|_| line.contains("are missing")) {
                say.send(()).unwrap();
            }
            all.push_str(&line);
            all.push('\n');
        }
        all
    });
    within(told).await.unwrap();
    stdout.write_all(b"again\n").unwrap();
    drop((stdout, stderr));
    assert_eq!(within(output.last_lines(LIMIT, Vec::new())).await, ["ready", "again"]);
    let all = within(reader).await.unwrap();
    let told: Vec<&str> = all.lines().filter(|line| line.contains("lines of the game are missing")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let lost: usize = told[0].split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(all.lines().count() - 1 + lost, 20_002, "each line is there or counted");
    assert!(all.ends_with("again\n"));
}

#[tokio::test]
async fn who_is_gone_holds_nobody_up() {
    let Game { mut stdout, stderr, mut output, shown, .. } = game(None, 1);
    drop(shown);
    let writer = tokio::task::spawn_blocking(move || {
        for line in 0..20_000 {
            stdout.write_all(format!("{line} {}\n", "x".repeat(90)).as_bytes()).unwrap();
        }
        drop((stdout, stderr));
    });
    within(writer).await.unwrap();
    let last = within(output.last_lines(LIMIT, Vec::new())).await;
    assert!(last.iter().all(|line| line.starts_with("19999 ")) && last.len() == 1, "{last:?}");
}

#[tokio::test]
async fn a_line_without_end_is_passed_on_in_pieces() {
    let Game { mut stdout, stderr, mut output, mut shown, .. } = game(None, 100);
    let long = vec![b'y'; 3 * PIECE_LIMIT + 5];
    let writer = {
        let long = long.clone();
        thread::spawn(move || {
            stdout.write_all(&long).unwrap();
            drop((stdout, stderr));
        })
    };
    let reader = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        shown.read_to_end(&mut all).map(|_| all)
    });
    let kept = within(output.last_lines(LIMIT, Vec::new())).await;
    assert_eq!(kept.iter().map(String::len).collect::<Vec<_>>(), [PIECE_LIMIT, PIECE_LIMIT, PIECE_LIMIT, 5]);
    writer.join().unwrap();
    let all = within(reader).await.unwrap().unwrap();
    assert_eq!(all, [&long[..], b"\n"].concat());
}

#[tokio::test]
async fn a_pipe_that_somebody_else_holds_delays_the_end_only_so_long() {
    let Game { mut stdout, stderr, mut output, .. } = game(None, 5);
    stdout.write_all(b"last words\n").unwrap();
    drop(stderr);
    let lines = within(output.last_lines(Duration::from_millis(200), Vec::new())).await;
    assert_eq!(lines, ["last words"]);
    within(output.finish()).await;
    // The thread is gone, and nobody reads the pipe.
    within(async {
        while stdout.write_all(b"x").map_err(|error| error.kind()) != Err(io::ErrorKind::BrokenPipe) {
            clock::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn files_are_written_like_pipes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let (from, mut stdout) = io::pipe().unwrap();
    let (err_from, stderr) = io::pipe().unwrap();
    let file = File::create(&path).unwrap();
    let sinks = Sinks { stdout: file.try_clone().unwrap().into(), stderr: file.into() };
    let mut output = Output::start([from.into(), err_from.into()], sinks, None, 0).unwrap();
    stdout.write_all(b"a\nb\n").unwrap();
    drop((stdout, stderr));
    assert_eq!(within(output.last_lines(LIMIT, Vec::new())).await, Vec::<String>::new());
    within(output.finish()).await;
    assert_eq!(std::fs::read(path).unwrap(), b"a\nb\n");
}
