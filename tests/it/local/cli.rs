//! The client commands, through the library, against a fake core.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rallyhere_agent::cli::{Terminal, execute};
use rallyhere_agent::config::settings::Surroundings;
use rallyhere_agent::core::event::{Denied, Request, Said};
use rallyhere_agent::core::instance::Health;
use rallyhere_agent::exit::Exit;
use rallyhere_agent::io::local::Limits;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::fake::{Fake, Served};
use super::raw::within;

/// An output that a test may read while it is written, and that breaks after so many lines.
#[derive(Clone)]
struct Pipe {
    text: Arc<Mutex<String>>,
    lines: usize,
}

impl Pipe {
    fn whole() -> Self {
        Self::of(usize::MAX)
    }

    fn of(lines: usize) -> Self {
        Self { text: Arc::default(), lines }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().map_err(|_poisoned| io::Error::other("poisoned"))?;
        if text.lines().count() >= self.lines && text.ends_with('\n') {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        text.push_str(std::str::from_utf8(bytes).map_err(io::Error::other)?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts a command on a thread of its own.
fn start(tasks: &mut JoinSet<Exit>, args: &[&str], env: &[(&str, &str)], out: &Pipe, err: &Pipe) {
    let args: Vec<OsString> =
        std::iter::once("rallyhere-agent").chain(args.iter().copied()).map(OsString::from).collect();
    let env: BTreeMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (mut out, mut err) = (out.clone(), err.clone());
    tasks.spawn_blocking(move || {
        let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false };
        execute(args, &Surroundings { env }, &mut terminal)
    });
}

async fn run_with(args: &[&str], env: &[(&str, &str)], out: Pipe) -> (Exit, String, String) {
    let mut tasks = JoinSet::new();
    let err = Pipe::whole();
    start(&mut tasks, args, env, &out, &err);
    let exit = within(tasks.join_next()).await.unwrap().unwrap();
    (exit, out.text(), err.text())
}

async fn run(args: &[&str]) -> (Exit, String, String) {
    run_with(args, &[], Pipe::whole()).await
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn each_command_asks_what_it_should_on_both_ways() {
    let served = Served::start();
    let some = |text: &str| Some(text.to_owned());
    let data: BTreeMap<String, String> =
        [("map".to_owned(), "a=b".to_owned()), ("mode".to_owned(), "x".to_owned())].into();
    let cases: Vec<(Vec<&str>, &str, Request)> = vec![
        (vec!["ready"], "the agent knows that the game is ready\n", Request::Ready(Said::default())),
        (
            vec![
                "ready",
                "--public-conn-str",
                "1.2.3.4:7",
                "--private-conn-str",
                "",
                "--data",
                "map=a=b",
                "--data",
                "mode=x",
            ],
            "the agent knows that the game is ready\n",
            Request::Ready(Said {
                public_conn_str: some("1.2.3.4:7"),
                private_conn_str: some(""),
                custom_data: Some(data.clone()),
                ..Said::default()
            }),
        ),
        (
            vec!["health", "degraded", "--reason", "slow"],
            "the agent knows that the game is degraded\n",
            Request::Health { status: Health::Degraded, reason: some("slow") },
        ),
        (vec!["fubar", "crash"], "r-1\n", Request::Fubar { error: "crash".to_owned(), key: None }),
        (vec!["fubar", "crash", "--key", "k"], "r-1\n", Request::Fubar { error: "crash".to_owned(), key: some("k") }),
        (
            vec!["event", "round", "--description", "d", "--data", "map=a=b", "--data", "mode=x"],
            "r-1\n",
            Request::Event { event_code: "round".to_owned(), description: some("d"), custom_data: data },
        ),
        (
            vec!["drain", "--reason", "kernel"],
            "draining; `rallyhere-agent status` shows how far it is, and `drain --wait` waits for the end\n",
            Request::Drain { reason: some("kernel") },
        ),
    ];
    let url = format!("http://{}", served.addr);
    for way in [["--socket", text(&served.socket)], ["--url", &url]] {
        for (args, said, asked) in &cases {
            let args = [args.as_slice(), &way].concat();
            let (exit, out, err) = run(&args).await;
            assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, *said, ""), "{args:?}");
            assert_eq!(served.fake.take_asked(), std::slice::from_ref(asked), "{args:?}");
        }
    }
}

#[tokio::test]
async fn a_long_fubar_is_cut_and_the_command_says_so() {
    let served = Served::start();
    let (exit, out, err) = run(&["fubar", &"x".repeat(200), "--socket", text(&served.socket)]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "r-1\n"));
    assert!(err.contains("128"), "{err}");
}

#[tokio::test]
async fn status_is_for_people_or_for_programs() {
    let served = Served::start();
    let (exit, out, err) = run(&["status", "--socket", text(&served.socket)]).await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert!(out.starts_with("default: serving, healthy\n"), "{out}");
    assert!(out.contains("session        s-1 in eu"), "{out}");

    let (exit, out, _) = run(&["status", "--json", "--socket", text(&served.socket)]).await;
    assert_eq!(exit, Exit::Done);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let mut direct = served.uds().get("/v1/status").await.json();
    // Times are told anew in every answer and may differ by a millisecond.
    for pointer in ["/phase_since", "/health/last_sent", "/health/last_answer/at", "/session/seen"] {
        *direct.pointer_mut(pointer).unwrap() = json.pointer(pointer).unwrap().clone();
    }
    assert_eq!(json, direct);
    assert_eq!(out.lines().count(), 1);
}

#[tokio::test]
async fn watching_goes_on_until_nobody_reads() {
    let served = Served::start();
    let (exit, out, err) =
        run_with(&["status", "--json", "--watch", "--socket", text(&served.socket)], &[], Pipe::of(2)).await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""), "a pipe that is closed is no mistake");
    assert_eq!(out.lines().count(), 2, "{out}");
}

fn ids(out: &str) -> Vec<String> {
    let read = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["notification_id"].as_str().unwrap().to_owned()
    };
    out.lines().map(read).collect()
}

#[tokio::test]
async fn notifications_are_printed_a_line_each_and_acknowledged_only_if_asked() {
    let served = Served::start();
    served.fake.notify(&["a", "b c&/%", "d"]);
    let socket = ["--socket", text(&served.socket)];
    let (exit, out, _) = run(&[&["notifications"], socket.as_slice()].concat()).await;
    assert_eq!((exit, ids(&out)), (Exit::Done, vec!["a".to_owned(), "b c&/%".to_owned(), "d".to_owned()]));
    assert_eq!(served.uds().get("/v1/notifications").await.ids().len(), 3);

    let (exit, out, _) = run(&[&["notifications", "--ack"], socket.as_slice()].concat()).await;
    assert_eq!((exit, ids(&out).len()), (Exit::Done, 3));
    assert_eq!(served.uds().get("/v1/notifications").await.ids().len(), 0);

    // Nobody has seen the third: nothing of that page is acknowledged.
    served.fake.notify(&["e", "f", "g"]);
    let args = [&["notifications", "--ack"], socket.as_slice()].concat();
    let (exit, out, _) = run_with(&args, &[], Pipe::of(2)).await;
    assert_eq!((exit, ids(&out).len()), (Exit::Done, 2));
    assert_eq!(served.uds().get("/v1/notifications").await.ids(), ["e", "f", "g"]);
}

#[tokio::test]
async fn following_prints_each_once_as_it_comes() {
    let mut served = Served::start();
    served.fake.notify(&["a"]);
    let (out, err) = (Pipe::whole(), Pipe::whole());
    let mut tasks = JoinSet::new();
    start(&mut tasks, &["notifications", "--follow", "--socket", text(&served.socket)], &[], &out, &err);
    for (count, id) in [(1, "a"), (2, "b"), (3, "c")] {
        if id != "a" {
            served.fake.notify(&[id]);
        }
        within(async {
            while out.text().lines().count() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(ids(&out.text()), ["a", "b", "c"]);
    served.stop();
    let exit = within(tasks.join_next()).await.unwrap().unwrap();
    assert_eq!(exit, Exit::Failure, "the agent has gone, and that was not asked for");
    assert!(err.text().contains(text(&served.socket)), "{}", err.text());
}

#[tokio::test]
async fn a_no_of_the_agent_is_passed_on_in_its_words() {
    let served = Served::start();
    served.fake.judge(|_| Some(Err(Denied::Phase("it is draining: nothing to be ready for".to_owned()))));
    let (exit, out, err) = run(&["ready", "--socket", text(&served.socket)]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
    assert_eq!(
        err,
        "rallyhere-agent: POST /v1/ready: the agent refused (409 wrong_phase): it is draining: nothing to be ready for\n"
    );
    let (exit, _, err) = run(&["fubar", "", "--socket", text(&served.socket)]).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("422 invalid_field") && err.contains("error: is empty"), "{err}");
}

#[tokio::test]
async fn the_token_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let served = Served::start_with(Fake::start(), Limits::default(), Some("t0psecret"));
    let url = format!("http://{}", served.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "t0psecret\n").unwrap();
    let with_file = ["status", "--url", &url, "--token-file", text(&file)];
    assert_eq!(run(&with_file).await.0, Exit::Done);
    let env = [("RALLYHERE_AGENT_TOKEN", "t0psecret")];
    assert_eq!(run_with(&["status", "--url", &url], &env, Pipe::whole()).await.0, Exit::Done);

    let (exit, _, err) = run(&["status", "--url", &url]).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("401 unauthorized") && err.contains("--token-file"), "{err}");
    std::fs::write(&file, "t0psecret\u{1}x").unwrap();
    let (exit, _, err) = run(&with_file).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("token") && !err.contains("t0psecret"), "{err}");
    std::fs::remove_file(&file).unwrap();
    let (exit, _, err) = run(&with_file).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("cannot be read: No such file"), "{err}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.sock");
    let (exit, _, err) = run(&["status", "--socket", text(&missing)]).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("missing.sock") && err.contains("start the agent"), "{err}");

    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let (exit, _, err) = run(&["status", "--socket", text(&stale)]).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains("is the agent running?"), "{err}");

    let usual = dir.path().join("rallyhere-agent/agent.sock");
    std::fs::create_dir(usual.parent().unwrap()).unwrap();
    std::fs::write(&usual, "").unwrap();
    let (exit, _, err) = run_with(&["status"], &[("XDG_RUNTIME_DIR", text(dir.path()))], Pipe::whole()).await;
    assert_eq!(exit, Exit::Failure);
    assert!(err.contains(text(&usual)), "{err}");
}

#[tokio::test]
async fn something_that_is_no_agent_is_recognised() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for (answer, words) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<htm", "does not speak like an agent"),
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\n<p>", "does not speak like an agent"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{", "ended before the whole answer"),
        ("SSH-2.0-OpenSSH\r\n", "ended before the whole answer"),
        ("", "ended before the whole answer"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut other = JoinSet::new();
        other.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1000];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let (exit, out, err) = run(&["status", "--url", &url]).await;
        assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
        assert!(err.contains(words) && err.contains(&url), "{answer:?}: {err}");
    }
}

#[tokio::test]
async fn the_command_line_is_strict_and_says_so_with_2() {
    for args in [
        vec![],
        vec!["dance"],
        vec!["health"],
        vec!["health", "unknown"],
        vec!["fubar"],
        vec!["event", "x", "--data", "novalue"],
        vec!["ready", "--data", "=x"],
        vec!["status", "--socket", "/x", "--url", "http://x"],
        vec!["status", "extra"],
        vec!["run", "--set", "no-equals-sign"],
        vec!["run", "game-without-dashes"],
        vec!["simulate"],
        vec!["simulate", "--listen", "nowhere"],
        vec!["simulate", "--listen", "127.0.0.1:0", "--client", "nocolon"],
        vec!["simulate", "--listen", "127.0.0.1:0", "--allocation", "a"],
        vec!["simulate", "--listen", "127.0.0.1:0", "--cadence", "0"],
        vec!["simulate", "--listen", "127.0.0.1:0", "--token-lifetime", "25"],
    ] {
        let (exit, out, err) = run(&args).await;
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(!err.is_empty(), "{args:?}");
    }
    let (exit, _, err) = run(&["event", "x", "--data", "k=1", "--data", "k=2", "--socket", "/nowhere"]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("twice"), "{err}");
}

#[tokio::test]
async fn help_and_version_are_what_was_asked_for() {
    for args in [vec!["--help"], vec!["status", "--help"], vec!["--version"], vec!["help", "run"]] {
        let (exit, out, err) = run(&args).await;
        assert_eq!((exit, err.as_str()), (Exit::Done, ""), "{args:?}");
        assert!(!out.is_empty(), "{args:?}");
    }
    let (_, out, _) = run(&["--help"]).await;
    for command in
        ["run", "demo", "simulate", "check", "status", "ready", "health", "fubar", "event", "drain", "notifications"]
    {
        assert!(out.contains(&format!("\n  {command} ")), "{command} in {out}");
    }
    let (_, out, _) = run(&["run", "--help"]).await;
    assert!(!out.contains("rng-seed"), "{out}");
}
