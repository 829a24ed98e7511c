//! The log as a whole: what a reader of stderr sees, and what a stopped one costs.

use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rallyhere_agent::config::settings::{Log, LogFormat, Surroundings};
use rallyhere_agent::telemetry::log::{self, LogError};
use tracing::{Dispatch, debug, error, info, info_span, trace, warn};

const LIMIT: Duration = Duration::from_secs(60);

/// What was written, for the test to look at.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("a log is UTF-8")
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_poisoned| io::ErrorKind::Other)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settings(format: LogFormat, level: &str) -> Log {
    Log { format, level: level.to_owned() }
}

/// Everything that is written while `say` runs.
fn written(format: LogFormat, level: &str, say: impl FnOnce()) -> String {
    let sink = Sink::default();
    let (dispatch, handle) = log::build(&settings(format, level), sink.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, say);
    assert!(handle.flush(LIMIT));
    sink.text()
}

#[test]
fn a_line_has_the_fields_of_its_event_and_of_the_spans_around_it() {
    let say = || {
        let instance = info_span!("instance", instance = "main", session = tracing::field::Empty);
        let _entered = instance.enter();
        instance.record("session", "s 1");
        let cause = io::Error::other("no route");
        warn!(tries = 3, error = &cause as &dyn std::error::Error, "a call failed");
    };
    let text = written(LogFormat::Text, "info", say);
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-11-22T10:00:00.000Z".len(), "{time}");
    assert_eq!(rest, "WARN  a call failed tries=3 error=\"no route\" instance=main session=\"s 1\"\n");

    assert_eq!(
        written(LogFormat::Journald, "info", say),
        "<4>a call failed tries=3 error=\"no route\" instance=main session=\"s 1\"\n"
    );

    let mut object: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, "info", say)).unwrap();
    let time = object.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(
        object,
        serde_json::json!({
            "level": "warn", "target": module_path!(), "message": "a call failed",
            "tries": 3, "error": "no route", "instance": "main", "session": "s 1",
        })
    );
}

#[test]
fn what_a_stranger_says_stays_within_its_line() {
    let reason = "bye\n<0>2026-11-22T10:00:00.000Z ERROR forged\u{1b}[2J";
    for format in [LogFormat::Text, LogFormat::Json, LogFormat::Journald] {
        let text = written(format, "info", || info!(reason, "the game said {reason}"));
        assert_eq!(text.matches('\n').count(), 1, "{format:?}: {text:?}");
        assert!(text.ends_with('\n') && !text.contains('\u{1b}'), "{format:?}: {text:?}");
    }
}

#[test]
fn the_level_is_obeyed_and_changes_at_once() {
    let sink = Sink::default();
    let (dispatch, handle) = log::build(&settings(LogFormat::Journald, "info"), sink.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        debug!("one");
        info!("two");
        handle.set_level("debug,hyper=error").unwrap();
        debug!("three");
        info!(target: "hyper::client", "four");
        trace!("five");
        assert!(matches!(handle.set_level("lots"), Err(LogError::Level(_))));
        debug!("six");
        handle.set_level("off").unwrap();
        error!("seven");
    });
    assert!(handle.flush(LIMIT));
    assert_eq!(sink.text(), "<6>two\n<7>three\n<7>six\n");
}

#[test]
fn a_mistyped_level_stops_the_start_and_is_named() {
    let refused = log::build(&settings(LogFormat::Text, "info,hyper=loud"), Sink::default());
    let Err(LogError::Level(why)) = refused else { panic!("accepted: {refused:?}") };
    assert!(why.to_string().contains("\"hyper=loud\""), "{why}");
}

#[test]
fn a_stopped_reader_costs_log_lines_and_nothing_else() {
    let (reader, writer) = io::pipe().unwrap();
    let (dispatch, handle) = log::build(&settings(LogFormat::Journald, "info"), writer).unwrap();

    // Far more than the pipe and the queue hold. If logging waited for the reader, this would never end.
    let mut said: u64 = 0;
    loop {
        say_numbers(&dispatch, said..said + 20_000);
        said += 20_000;
        // Once may not be enough: what the queue drops while the writer sleeps never reaches the pipe.
        if handle.dropped() > 0 && !handle.flush(Duration::from_millis(50)) {
            break;
        }
    }
    let dropped = handle.dropped();

    let lines = read_in_background(reader);
    assert!(handle.flush(LIMIT), "the reader is back");
    say_numbers(&dispatch, said..said + 1);
    assert!(handle.flush(LIMIT));
    assert_eq!(handle.dropped(), dropped, "nothing is lost once somebody reads");
    drop((dispatch, handle));

    let lines = lines.join().unwrap();
    let counts = |prefix: &str| -> Vec<u64> {
        lines.iter().filter_map(|line| line.strip_prefix(prefix)).map(|count| count.parse().unwrap()).collect()
    };
    let losses = counts("<4>log lines were lost: nobody read them in time lost=");
    assert_eq!(losses.iter().sum::<u64>(), dropped, "every loss is owned up to");
    assert!(losses.len() < 50, "and not one by one: {losses:?}");
    let numbers = counts("<6>line n=");
    assert_eq!(numbers.len() as u64 + dropped, said + 1, "every line is there or counted");
    assert!(numbers.is_sorted() && numbers.last() == Some(&said));
}

fn say_numbers(dispatch: &Dispatch, numbers: std::ops::Range<u64>) {
    tracing::dispatcher::with_default(dispatch, || numbers.for_each(|n| info!(n, "line")));
}

fn read_in_background(reader: PipeReader) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect())
}

#[test]
fn stderr_is_the_journal_only_if_the_descriptor_says_so() {
    let with =
        |stream: &str| log::detect(&Surroundings { env: [("JOURNAL_STREAM".to_owned(), stream.to_owned())].into() });
    assert_eq!(log::detect(&Surroundings::default()), LogFormat::Text);
    assert_eq!(with("1:1"), LogFormat::Text, "inherited from a parent with another stderr");
    assert_eq!(with("nonsense"), LogFormat::Text);
    let stderr = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/fd/2").unwrap());
    let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata("/proc/self/fd/2").unwrap());
    assert_eq!(with(&format!("{device}:{stderr}")), LogFormat::Journald);
}

/// Set for the process that [`a_process_whose_stderr_nobody_reads_goes_on_and_ends`] starts.
const CHILD: &str = "RALLYHERE_AGENT_TEST_LOG_CHILD";

#[test]
fn a_process_whose_stderr_nobody_reads_goes_on_and_ends() {
    if std::env::var_os(CHILD).is_some() {
        return be_the_child();
    }
    let name = "telemetry::a_process_whose_stderr_nobody_reads_goes_on_and_ends";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || end.send(io::read_to_string(stdout)));

    let said = ended.recv_timeout(LIMIT);
    if said.is_err() {
        child.kill().unwrap();
    }
    let said = said.expect("the process ends although nobody reads its stderr").unwrap();
    assert!(said.contains("1 passed"), "{said}");
    assert!(child.wait().unwrap().success());

    let mut log = Vec::new();
    stderr.read_to_end(&mut log).unwrap();
    assert!(log.starts_with(b"<3>a defect in the agent: panicked: words\\nand more"), "a panic is a log line");
}

fn be_the_child() {
    let panic = || std::thread::spawn(|| panic!("words\nand more")).join().unwrap_err();
    let handle = log::init(&settings(LogFormat::Journald, "info")).unwrap();
    assert!(matches!(log::init(&settings(LogFormat::Text, "info")), Err(LogError::Installed)));
    panic();
    for n in 0..20_000 {
        info!(n, "line");
    }
    panic();
    assert!(handle.dropped() > 0 && !handle.flush(Duration::from_millis(1)));
}
