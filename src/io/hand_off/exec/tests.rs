use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::*;
use crate::core::ids::NotificationId;
use crate::core::instance::Notification;

/// Long enough for a loaded machine; nothing waits for it unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn what(id: &str, message: &str) -> HandOver {
    let notification = Notification {
        notification_id: NotificationId::parse(id).unwrap(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        message: message.to_owned(),
        rh_url: None,
        etag: None,
        custom_data: [].into(),
    };
    HandOver { notification: Arc::new(notification), attempt: 2 }
}

fn script(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
}

async fn runs(text: &str) -> Result<(), Untaken> {
    run(&script(text), PATIENCE, &what("n-1", "hello")).await
}

fn words(result: Result<(), Untaken>) -> String {
    match result {
        Err(Untaken::Refused(words)) => words.into(),
        other => panic!("{other:?}"),
    }
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(clock::now() < deadline, "never seen: {what}");
        clock::sleep(Duration::from_millis(3)).await;
    }
}

/// A process id that a script has written.
async fn pid_in(file: &Path) -> String {
    until("a process id", || fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))).await.trim().to_owned()
}

/// Whether a process still does something; one that nobody has buried does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z')
}

async fn until_gone(pid: &str) {
    until("the end of a process", || (!lives(pid)).then_some(())).await;
}

#[tokio::test]
async fn it_gets_one_line_of_json_and_then_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let got = dir.path().join("got");
    runs(&format!("cat > {}", got.display())).await.unwrap();
    let text = fs::read_to_string(&got).unwrap();
    assert_eq!(text, format!("{}\n", serde_json::to_string(&*what("n-1", "hello").notification).unwrap()));
}

#[tokio::test]
async fn it_knows_which_and_which_try_and_nothing_that_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let got = dir.path().join("got");
    run(&script(&format!("env > {}", got.display())), PATIENCE, &what("a b/é", "m")).await.unwrap();
    let text = fs::read_to_string(&got).unwrap();
    assert!(text.contains("RALLYHERE_NOTIFICATION_ID=a b/é\n"), "{text}");
    assert!(text.contains("RALLYHERE_NOTIFICATION_ATTEMPT=2\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("NOTIFY_SOCKET=")), "{text}");
}

#[tokio::test]
async fn the_exit_code_decides_and_the_last_complaint_is_told() {
    assert_eq!(runs("exit 0").await, Ok(()));
    assert_eq!(words(runs("exit 3").await), "/bin/sh ended with exit code 3");
    assert_eq!(
        words(runs("echo first >&2; echo no such player >&2; exit 1").await),
        "/bin/sh ended with exit code 1: no such player"
    );
    assert_eq!(words(runs("kill -SEGV $$").await), "/bin/sh was ended by signal 11");
}

#[tokio::test]
async fn what_cannot_be_started_was_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    for program in ["/no/such/program", plain.to_str().unwrap(), dir.path().to_str().unwrap()] {
        let result = run(&[program.to_owned()], PATIENCE, &what("n-1", "m")).await;
        assert!(matches!(&result, Err(Untaken::Absent(words)) if words.contains(program)), "{result:?}");
    }
    assert!(matches!(run(&[], PATIENCE, &what("n-1", "m")).await, Err(Untaken::Absent(_))));
}

#[tokio::test]
async fn one_that_does_not_read_holds_nobody() {
    // More than a pipe holds.
    let large = what("n-1", &"m".repeat(1 << 20));
    for (text, good) in [("exit 0", true), ("exec <&-; exit 0", true), ("exit 1", false), ("exec <&-; exit 1", false)] {
        assert_eq!(run(&script(text), PATIENCE, &large).await.is_ok(), good, "{text}");
    }
    let begun = clock::now();
    let limit = Duration::from_millis(300);
    let result = run(&script("while :; do /bin/sleep 1; done"), limit, &large).await;
    assert!(words(result).contains("did not end within 300ms"));
    assert!(clock::now() - begun < Duration::from_secs(5));
}

#[tokio::test]
async fn one_that_talks_without_end_is_read_and_not_kept() {
    let begun = clock::now();
    let text = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; head -c 3000000 /dev/zero >&2; exit 7";
    assert!(words(runs(text).await).starts_with("/bin/sh ended with exit code 7: "));
    assert!(clock::now() - begun < PATIENCE);
}

#[tokio::test]
async fn one_that_takes_too_long_is_killed_with_everything_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (own, child, deep) = (dir.path().join("own"), dir.path().join("child"), dir.path().join("deep"));
    let text = format!(
        "trap '' TERM INT HUP; /bin/sleep 600 & echo $! > {}; (/bin/sh -c 'echo $$ > {}; exec /bin/sleep 600' &); \
         echo $$ > {}; while :; do wait; done",
        child.display(),
        deep.display(),
        own.display()
    );
    let begun = clock::now();
    let limit = Duration::from_secs(2);
    let result = run(&script(&text), limit, &what("n-1", "m")).await;
    let took = clock::now() - begun;
    assert_eq!(words(result), "/bin/sh did not end within 2s; it and what it had started were killed");
    assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
    for file in [own, child, deep] {
        until_gone(&pid_in(&file).await).await;
    }
}

#[tokio::test]
async fn what_a_failed_try_leaves_running_is_killed_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let result = runs(&format!("/bin/sleep 600 & echo $! > {}; exit 1", child.display())).await;
    assert_eq!(words(result), "/bin/sh ended with exit code 1");
    until_gone(&pid_in(&child).await).await;
}

#[tokio::test]
async fn what_a_good_one_leaves_running_goes_on_and_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let begun: Instant = clock::now();
    runs(&format!("/bin/sleep 600 & echo $! > {}; exit 0", child.display())).await.unwrap();
    assert!(clock::now() - begun < Duration::from_secs(10), "it holds standard output open");
    let pid = pid_in(&child).await;
    assert!(lives(&pid));
    kill_process(&pid);
}

fn kill_process(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn one_that_is_taken_back_is_killed_with_everything_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (own, child) = (dir.path().join("own"), dir.path().join("child"));
    let text = format!("/bin/sleep 600 & echo $! > {}; echo $$ > {}; wait", child.display(), own.display());
    let mut running = JoinSet::new();
    running.spawn(async move { run(&script(&text), PATIENCE, &what("n-1", "m")).await });
    let pids = [pid_in(&own).await, pid_in(&child).await];
    running.abort_all();
    while running.join_next().await.is_some() {}
    for pid in pids {
        until_gone(&pid).await;
    }
}
