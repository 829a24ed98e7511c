use std::sync::mpsc;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Takes a line only when the test lets it, and hands over what it took.
struct Gate {
    open: mpsc::Receiver<io::Result<()>>,
    taken: mpsc::Sender<String>,
}

impl io::Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.recv().unwrap_or(Ok(()))?;
        let _nobody_looks = self.taken.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated() -> (Writer, mpsc::Sender<io::Result<()>>, mpsc::Receiver<String>) {
    let (opener, open) = mpsc::channel();
    let (taken, lines) = mpsc::channel();
    let writer = Writer::start(Gate { open, taken }, |lost| format!("lost {lost}\n")).unwrap();
    (writer, opener, lines)
}

/// Until the thread holds the first line, and none waits.
fn fill_in_flight(writer: &Writer) {
    writer.push("first\n".to_owned());
    while !writer.queue.lock().lines.is_empty() {
        thread::yield_now();
    }
}

#[test]
fn a_stuck_writer_costs_lines_over_the_limit_and_one_line_says_how_many() {
    let (writer, opener, lines) = gated();
    fill_in_flight(&writer);
    for n in 0..LINE_LIMIT + 7 {
        writer.push(format!("{n}\n"));
    }
    assert_eq!(writer.lost(), 7);
    assert!(!writer.flush(Duration::from_millis(1)), "it is stuck");

    drop(opener);
    assert!(writer.flush(LIMIT));
    let written: Vec<_> = lines.try_iter().collect();
    let kept = (0..LINE_LIMIT).map(|n| format!("{n}\n"));
    let mut expected: Vec<_> = std::iter::once("first\n".to_owned()).chain(kept).collect();
    expected.insert(1 + LINE_LIMIT / 2, "lost 7\n".to_owned());
    assert_eq!(written, expected, "it is said once half of the queue is free");
    assert_eq!(writer.lost(), 7);
}

#[test]
fn a_slow_reader_is_not_told_of_each_loss() {
    let (writer, opener, lines) = gated();
    fill_in_flight(&writer);
    for n in 0..LINE_LIMIT + 1 {
        writer.push(format!("{n}\n"));
    }
    // As many lines are said as the reader takes, but not in time: each of them is lost until there is room.
    for taken in 1..=LINE_LIMIT / 2 {
        opener.send(Ok(())).unwrap();
        lines.recv_timeout(LIMIT).unwrap();
        writer.push("late\n".to_owned());
        assert_eq!(writer.lost(), 1 + taken as u64);
    }
    drop(opener);
    assert!(writer.flush(LIMIT));
    assert_eq!(lines.try_iter().filter(|line| line.starts_with("lost")).count(), 1);
    writer.push("on time\n".to_owned());
    assert!(writer.flush(LIMIT));
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["on time\n"], "the queue takes lines again");
}

#[test]
fn bytes_are_bounded_too() {
    let (writer, opener, lines) = gated();
    fill_in_flight(&writer);
    let big = "x".repeat(BYTE_LIMIT / 4);
    for _ in 0..5 {
        writer.push(big.clone());
    }
    assert_eq!(writer.lost(), 2, "three fit beside the line in flight");
    drop(opener);
    assert!(writer.flush(LIMIT));
    writer.push("small\n".to_owned());
    assert!(writer.flush(LIMIT));
    let written: Vec<_> = lines.try_iter().collect();
    assert_eq!(written, ["first\n", &big, "lost 2\n", &big, &big, "small\n"]);
    assert_eq!(writer.lost(), 2, "room comes back");
}

#[test]
fn a_failed_write_is_a_lost_line_and_does_not_spin() {
    let (writer, opener, lines) = gated();
    opener.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
    writer.push("gone\n".to_owned());
    assert!(writer.flush(LIMIT), "a broken stderr holds nobody up");
    assert_eq!(writer.lost(), 1);
    assert!(lines.try_recv().is_err());

    drop(opener);
    writer.push("back\n".to_owned());
    assert!(writer.flush(LIMIT));
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["lost 1\n", "back\n"]);
}

#[test]
fn a_full_non_blocking_stderr_is_asked_again() {
    let (writer, opener, lines) = gated();
    opener.send(Err(ErrorKind::WouldBlock.into())).unwrap();
    opener.send(Err(ErrorKind::Interrupted.into())).unwrap();
    drop(opener);
    writer.push("late\n".to_owned());
    assert!(writer.flush(LIMIT));
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["late\n"]);
    assert_eq!(writer.lost(), 0);
}

#[test]
fn the_thread_writes_what_waits_and_ends_with_its_writer() {
    let (writer, opener, lines) = gated();
    writer.push("one\n".to_owned());
    writer.push("two\n".to_owned());
    drop(writer);
    drop(opener);
    let ended: Vec<_> = std::iter::from_fn(|| lines.recv_timeout(LIMIT).ok()).collect();
    assert_eq!(ended, ["one\n", "two\n"]);
    assert_eq!(lines.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected));
}
