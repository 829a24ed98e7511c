//! `notifications.deliver = "exec"`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rallyhere_agent::clock;
use serde_json::Value;
use tokio::net::UnixDatagram;

use super::{are, lines, news, serving, set_aside, until_all_is_done, until_gone, until_lines};
use crate::process::generations::{is_new, not_today};
use crate::process::home::Home;
use crate::process::stage::{SECRET, SESSION, Stage, Stopwatch};

/// A home whose agent runs a shell script for each notification. `$D` in it is a directory of its own.
fn hooked(stage: &Stage, script: &str) -> Home {
    let home = Home::new(stage).alone();
    let hook = home.path("hook");
    fs::write(&hook, format!("D='{}'\n{script}\n", home.path("home").display())).unwrap();
    let command = vec!["/bin/sh".into(), toml::Value::from(hook.display().to_string())];
    home.set("notifications.deliver", "exec").set("notifications.exec", command)
}

fn id_of(line: &str) -> String {
    let json: Value = serde_json::from_str(line).unwrap();
    json["notification_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_hook_gets_each_one_in_order_and_exit_code_zero_takes_it() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let home = hooked(&stage, "cat >> $D/got; echo taken $RALLYHERE_NOTIFICATION_ID");
    let mut agent = serving(&home, &stage).await;
    let ids: Vec<String> = (1..=20).map(|n| stage.notify(&format!("message {n}"))).collect();
    let got = until_lines(&home.path("home/got"), 20).await;
    assert_eq!(got.iter().map(|line| id_of(line)).collect::<Vec<_>>(), ids);
    let first: Value = serde_json::from_str(&got[0]).unwrap();
    assert_eq!(first["message"], "message 1");
    assert!(first["created"].is_string() && first["custom_data"].is_object(), "{first}");
    let status = until_all_is_done(&mut agent).await;
    assert_eq!(status["counters"]["notifications_acknowledged"], 20);
    assert_eq!(status["notifications"]["set_aside"], 0);
    agent.until_says(&format!("taken {}", ids[19])).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_hook_that_will_not_take_one_does_not_keep_the_others() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let script = "read -r line; echo \"$RALLYHERE_NOTIFICATION_ATTEMPT $line\" >> $D/got
        case $line in *poison*) echo no such player >&2; exit 3;; esac";
    let home = hooked(&stage, script);
    let mut agent = serving(&home, &stage).await;
    let watch = Stopwatch::start();
    let ids = ["one", "poison", "two"].map(|message| stage.notify(message));
    let got = until_lines(&home.path("home/got"), 5).await;
    watch.at_most(30, "the next one");
    let got: Vec<(String, String)> =
        got.iter().map(|line| line.split_once(' ').unwrap()).map(|(n, line)| (n.to_owned(), id_of(line))).collect();
    let expected = [("1", 0), ("1", 1), ("2", 1), ("3", 1), ("1", 2)].map(|(n, at)| (n.to_owned(), ids[at].clone()));
    assert_eq!(got, expected);
    let status = until_all_is_done(&mut agent).await;
    let counters = &status["counters"];
    assert_eq!(status["notifications"]["set_aside"], 1);
    assert_eq!((&counters["notifications_set_aside"], &counters["notifications_refused"]), (&1.into(), &3.into()));
    let kept = vec![(ids[1].clone(), "/bin/sh ended with exit code 3: no such player".to_owned(), 3)];
    assert_eq!(set_aside(&mut agent).await, kept);
    agent.until_says("a notification is set aside").await;
    agent.kill().await;

    // Kept over a restart, and not tried again.
    let mut agent = serving(&home, &stage).await;
    assert_eq!(set_aside(&mut agent).await, kept);
    let socket = home.socket().display().to_string();
    let (code, printed) = home.command(&["notifications", "--set-aside", "--socket", &socket]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &printed["notification"]["message"]), (0, &"poison".into()));
    let (_, shown) = home.command(&["status", "--socket", &socket]).await;
    assert!(shown.contains("1 notifications are set aside"), "{shown}");
    stage.notify("three");
    assert_eq!(until_lines(&home.path("home/got"), 6).await.len(), 6);
    agent.stop().await;
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_its_children_and_the_next_one_comes() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let script = "read -r line
        case $line in *poison*) ;; *) echo $RALLYHERE_NOTIFICATION_ID >> $D/got; exit 0;; esac
        trap '' TERM; sleep 600 & echo $! >> $D/pids; (sh -c 'sleep 600 & echo $! >> '$D'/pids; wait' &)
        echo $$ >> $D/pids; while :; do wait; done";
    let home = hooked(&stage, script).set("notifications.deliver_timeout", "1s");
    let mut agent = serving(&home, &stage).await;
    let watch = Stopwatch::start();
    stage.notify("poison");
    let next = stage.notify("next");
    assert_eq!(until_lines(&home.path("home/got"), 1).await, [next]);
    watch.at_most(30, "the next one");
    let kept = set_aside(&mut agent).await;
    assert!(kept[0].1.contains("did not end within 1s"), "{kept:?}");
    let pids = lines(&home.path("home/pids"));
    assert!(pids.len() >= 6, "three tries of three processes: {pids:?}");
    for pid in &pids {
        until_gone(pid).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_hook_that_does_not_read_is_none_the_worse_for_it() {
    let stage = Stage::start().await;
    let home = hooked(&stage, "exec <&-; echo $RALLYHERE_NOTIFICATION_ID >> $D/got");
    let mut agent = serving(&home, &stage).await;
    let ids = if is_new() {
        news(&stage, &mut agent, 3).await
    } else {
        (1..=10).map(|_| stage.notify(&"x".repeat(4096))).collect()
    };
    are(&until_lines(&home.path("home/got"), ids.len()).await, &ids);
    until_all_is_done(&mut agent).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_hook_that_is_not_there_yet_costs_nothing() {
    let stage = Stage::start().await;
    let home = Home::new(&stage).alone();
    let (hook, got) = (home.path("hook"), home.path("home/got"));
    let command = vec![toml::Value::from(hook.display().to_string())];
    let home = home.set("notifications.deliver", "exec").set("notifications.exec", command);
    let mut agent = serving(&home, &stage).await;
    let ids = news(&stage, &mut agent, 3).await;
    let absent = |status: &Value| status["notifications"]["hand_off"]["state"] == "absent";
    let status = agent.until("that nobody is there", absent).await;
    let failure = status["notifications"]["hand_off"]["last_failure"].as_str().unwrap();
    assert!(failure.contains("cannot be started"), "{failure}");
    agent.until("all three", |status| status["notifications"]["inbox"] == 3).await;
    stage.until_beats(3).await;

    let fresh = home.path("fresh");
    fs::write(&fresh, format!("#!/bin/sh\necho $RALLYHERE_NOTIFICATION_ID >> {}\n", got.display())).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&fresh, &hook).unwrap();
    are(&until_lines(&got, 3).await, &ids);
    let status = until_all_is_done(&mut agent).await;
    assert_eq!(
        (&status["notifications"]["set_aside"], &status["counters"]["notifications_refused"]),
        (&0.into(), &0.into())
    );
    agent.stop().await;
}

#[tokio::test]
async fn killed_between_push_and_acknowledgement_it_pushes_the_same_again_and_loses_none() {
    let stage = Stage::start().await;
    // Each waits for its leave, once it has written down what it got.
    let script = "echo $RALLYHERE_NOTIFICATION_ID $RALLYHERE_NOTIFICATION_ATTEMPT >> $D/got
        until [ -e $D/leave/$RALLYHERE_NOTIFICATION_ID ]; do sleep 0.02; done";
    let home = hooked(&stage, script).set("notifications.deliver_timeout", "8s");
    fs::create_dir(home.path("home/leave")).unwrap();
    let leave = |id: &str| fs::write(home.path("home/leave").join(id), "").unwrap();
    let got = home.path("home/got");
    let mut agent = serving(&home, &stage).await;
    let ids = news(&stage, &mut agent, 4).await;
    let mut expected: Vec<String> = Vec::new();
    let mut pushed = Vec::new();
    for _ in &ids {
        // With the hook, and the agent knows it.
        let lines = until_lines(&got, expected.len() + 1).await;
        let id = lines.last().unwrap().split_once(' ').unwrap().0.to_owned();
        expected.push(format!("{id} 1"));
        assert_eq!(lines, expected);
        pushed.push(id.clone());
        agent.kill().await;
        agent = serving(&home, &stage).await;
        expected.push(format!("{id} 1"));
        assert_eq!(until_lines(&got, expected.len()).await, expected, "the same one, with the same id");
        leave(&id);
    }
    are(&pushed, &ids);
    until_all_is_done(&mut agent).await;
    assert_eq!(lines(&got), expected, "each twice for its one kill, in order, and none lost");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_ends_takes_its_hook_along() {
    let stage = Stage::start().await;
    let home = hooked(&stage, "sleep 600 & echo $! > $D/pids; echo $$ >> $D/pids; wait")
        .set("notifications.deliver_timeout", "8s");
    let mut agent = serving(&home, &stage).await;
    news(&stage, &mut agent, 1).await;
    let pids = until_lines(&home.path("home/pids"), 2).await;
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
    for pid in &pids {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn a_hook_knows_nothing_that_is_only_for_the_agent() {
    let stage = Stage::start().await;
    let home = hooked(&stage, "env > $D/fresh; mv $D/fresh $D/env").without("auth.client_secret_file");
    let (credentials, notify) = (home.path("credentials"), home.path("notify"));
    fs::create_dir(&credentials).unwrap();
    let _manager = UnixDatagram::bind(&notify).unwrap();
    let home = home
        .env("RALLYHERE_AGENT_AUTH__CLIENT_SECRET", SECRET)
        .env("RALLYHERE_AGENT_INSTANCE__REGION", "eu")
        .env("CREDENTIALS_DIRECTORY", credentials.display().to_string())
        .env("NOTIFY_SOCKET", notify.display().to_string())
        .env("WATCHDOG_USEC", "600000000")
        .env("GAME_MODE", "ctf");
    let mut agent = serving(&home, &stage).await;
    let id = news(&stage, &mut agent, 1).await.remove(0);
    let env = until_lines(&home.path("home/env"), 1).await;
    until_all_is_done(&mut agent).await;
    let given =
        |line: &String| line.strip_prefix("RALLYHERE_NOTIFICATION_ID=").is_some_and(|given| is_new() || given == id);
    assert!(env.contains(&"GAME_MODE=ctf".to_owned()) && env.iter().any(given), "{env:?}");
    assert!(env.contains(&"RALLYHERE_NOTIFICATION_ATTEMPT=1".to_owned()), "{env:?}");
    for line in &env {
        assert!(!line.contains(SECRET), "{line}");
        for name in ["RALLYHERE_AGENT_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_"] {
            assert!(!line.starts_with(name), "{line}");
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_output_of_a_hook_is_logged_up_to_a_bound() {
    let stage = Stage::start().await;
    let script = "i=0; while [ $i -lt 100 ]; do echo out-$i; i=$((i+1)); done
        printf '%01000d\\n' 7 >&2; printf 'forged\\033[31m line' >&2; exit 0";
    let home = hooked(&stage, script);
    let mut agent = serving(&home, &stage).await;
    let id = news(&stage, &mut agent, 1).await.remove(0);
    until_all_is_done(&mut agent).await;
    agent.until_says("says more, which is left out").await;
    let output = agent.output();
    let said: Vec<&str> = output.lines().filter(|line| line.contains("the notification command says: ")).collect();
    assert_eq!(said.len(), 20);
    assert!(said.iter().all(|line| line.contains(&id)), "{said:?}");
    assert!(said.iter().all(|line| line.len() < 900 && !line.contains('\u{1b}')), "{said:?}");
    agent.stop().await;
}

#[tokio::test]
async fn health_goes_on_while_a_hook_hangs() {
    let stage = Stage::start().await;
    let home = hooked(&stage, "sleep 600").set("notifications.deliver_timeout", "8s");
    let mut agent = serving(&home, &stage).await;
    news(&stage, &mut agent, 1).await;
    agent.until("a push", |status| status["notifications"]["hand_off"]["state"] == "pushing").await;
    let begun = clock::now();
    stage.until_beats(4).await;
    assert!((clock::now() - begun).as_secs() < 8, "a post each second");
    assert_eq!(stage.instance(SESSION)["join_status"], "joinable");
    agent.terminate();
    assert_eq!(agent.exit_code().await, 0);
}
