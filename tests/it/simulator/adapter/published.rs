//! The real adapter against the simulator, where `RALLYHERE_ADAPTER` names a program that is built from tests/clients/adapter/driver.cpp
//! and RallyHere's published game-host-adapter (the command stands at the head of that file); elsewhere these tests say that they
//! were skipped.

use std::path::PathBuf;
use std::process::Stdio;

use rallyhere_agent::simulator::{Fault, Generation, RequestRecord, SicStatus};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::super::{PATIENCE, Stage};
use super::{CREDENTIALS, Credentials, FAILURES, LOGIN, REGISTER, SERVER, STATE, options, question, registration, set};

/// The program, if there is one.
#[expect(clippy::print_stderr, reason = "who runs the tests should know what was not tried")]
fn program() -> Option<PathBuf> {
    let program = std::env::var_os("RALLYHERE_ADAPTER").map(PathBuf::from);
    if program.is_none() {
        eprintln!("simulator: skipped, RALLYHERE_ADAPTER names no program with RallyHere's adapter in it");
    }
    program
}

/// A game server with the adapter in it.
struct Game {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

impl Game {
    /// Started, and created.
    async fn start(program: &PathBuf, stage: &Stage, credentials: Credentials) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(&file, "agent\ns\n").unwrap();
        let mut child = Command::new(program)
            .args(["-rhbootstrapmode=SIC", "rhsicprofileid=p-1", "rhsicserverid=s-7", "rhsichostname=host-1"])
            .args(["PORT=20000", "rhpublichost=203.0.113.9"])
            .arg(format!("rallyhereurl={}/", stage.base))
            .arg(format!("rhcredentialsfile={}", file.display()))
            .arg(match credentials {
                Credentials::Client => "rhcredentialsas=clientid",
                Credentials::User => "rhcredentialsas=userpass",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut game = Self { child, lines, _folder: folder };
        assert_eq!(game.says().await, "created 0");
        game
    }

    /// Its next line.
    async fn says(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("the adapter says nothing");
        line.unwrap().unwrap_or_else(|| "nothing more".to_owned())
    }

    /// The game host's soft stop, up to the end of the program.
    async fn stop(mut self) {
        drop(self.child.stdin.take());
        for line in ["soft_stop 0", "allocated 6", "ended", "nothing more"] {
            assert_eq!(self.says().await, line);
        }
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// Every request that was made, in order, without the stage's own login: its path and its status.
fn requests(stage: &Stage) -> Vec<RequestRecord> {
    stage.simulator.read_ledger(|ledger| ledger.requests.iter().skip(1).cloned().collect())
}

/// So often was this answered so.
fn answered(stage: &Stage, path: &str, status: u16) -> usize {
    requests(stage).iter().filter(|seen| seen.path == path && seen.status == Some(status)).count()
}

/// The grants of the logins and what came of them, without the stage's own.
fn logins(stage: &Stage) -> Vec<(String, bool)> {
    stage.simulator.read_ledger(|ledger| {
        let logins = ledger.logins.iter().skip(1);
        logins.map(|login| (login.grant.clone().unwrap(), login.error_code.is_none())).collect()
    })
}

/// Until it has asked so often more, and was answered.
async fn asked(stage: &Stage, more: usize) {
    let wanted = answered(stage, STATE, 200) + more;
    let seen = |ledger: &rallyhere_agent::simulator::Ledger| {
        ledger.requests.iter().filter(|seen| seen.path == STATE && seen.status == Some(200)).count() >= wanted
    };
    stage.until("a question for the state", seen).await;
}

async fn a_life(program: &PathBuf, api: Generation, credentials: Credentials) {
    let stage = Stage::new(options(api)).await;
    // SIC may be at it already when the server registers: 6.
    set(&stage, SicStatus::Allocating, None, None);
    let mut game = Game::start(program, &stage, credentials).await;
    assert_eq!(game.says().await, "connected 0");
    assert_eq!(game.says().await, "ready 0");
    asked(&stage, 1).await;
    set(&stage, SicStatus::Deallocated, None, None);
    asked(&stage, 2).await;

    let seen = requests(&stage);
    let paths: Vec<&str> = seen.iter().take(5).map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, [LOGIN, REGISTER, STATE, STATE, STATE]);
    assert_eq!(seen[1].body, Some(registration()));
    for pair in seen[2..].windows(2) {
        assert_eq!(pair[1].body, Some(question()));
        let gap = pair[1].at_ms - pair[0].at_ms;
        assert!(gap >= 900, "it asks once a second, here after {gap} ms");
    }

    // The token runs out, then its refresh token, too.
    let first = if credentials == Credentials::Client { "client_credentials" } else { "basic" };
    let mut expected = vec![(first.to_owned(), true)];
    assert_eq!(logins(&stage), expected);
    stage.simulator.expire_tokens(false);
    asked(&stage, 1).await;
    expected.push(("refresh".to_owned(), true));
    assert_eq!((logins(&stage), answered(&stage, STATE, 403)), (expected.clone(), FAILURES));
    stage.simulator.expire_tokens(true);
    asked(&stage, 1).await;
    expected.extend([("refresh".to_owned(), false), (first.to_owned(), true)]);
    assert_eq!((logins(&stage), answered(&stage, STATE, 403)), (expected.clone(), 2 * FAILURES));

    set(&stage, SicStatus::Allocated, Some("alloc-9"), Some("demo"));
    let allocated = "allocated 0 allocation_id=alloc-9 session_id=demo public_host=203.0.113.9 public_port=20000";
    assert_eq!(game.says().await, allocated);
    let last = requests(&stage).len();
    game.stop().await;
    assert_eq!((requests(&stage).len(), logins(&stage)), (last, expected), "then it is silent");
    let rejections = stage.simulator.ledger().rejections;
    assert!(rejections.is_empty(), "refused by the contract: {rejections:?}");
    let odd: Vec<_> =
        requests(&stage).into_iter().filter(|seen| ![LOGIN, REGISTER, STATE].contains(&seen.path.as_str())).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[tokio::test]
async fn the_real_adapter_goes_from_its_login_to_its_allocation() {
    let Some(program) = program() else { return };
    let mut lives = tokio::task::JoinSet::new();
    for api in Generation::ALL {
        for credentials in CREDENTIALS {
            let program = program.clone();
            lives.spawn(async move { a_life(&program, api, credentials).await });
        }
    }
    lives.join_all().await;
}

#[tokio::test]
async fn the_real_adapter_tells_its_game_of_a_sic_that_refuses_or_has_forgotten_it_and_does_nothing_about_it() {
    let Some(program) = program() else { return };
    let stage = Stage::new(options(Generation::V2023_11)).await;
    let mut game = Game::start(&program, &stage, Credentials::Client).await;
    for line in ["connected 0", "ready 0"] {
        assert_eq!(game.says().await, line);
    }
    asked(&stage, 1).await;
    stage.simulator.inject(vec![Fault::status(401).on("sic_state")]).unwrap();
    for _ in 0..2 {
        assert_eq!(game.says().await, "allocated 401");
    }
    assert_eq!(answered(&stage, STATE, 401), FAILURES + 1);
    stage.simulator.clear_faults();
    asked(&stage, 1).await;
    set(&stage, SicStatus::Forgotten, None, None);
    assert_eq!(game.says().await, "allocated 1");
    // It is found again only because somebody else has registered it.
    set(&stage, SicStatus::Allocated, Some("alloc-9"), None);
    let allocated = "allocated 0 allocation_id=alloc-9 session_id= public_host=203.0.113.9 public_port=20000";
    assert_eq!(game.says().await, allocated);
    assert_eq!((answered(&stage, LOGIN, 200), answered(&stage, REGISTER, 200)), (1, 1));
    assert_eq!(stage.simulator.state()["sic"][SERVER]["registrations"], 1);
    game.stop().await;
}
