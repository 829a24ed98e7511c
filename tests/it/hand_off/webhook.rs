//! `notifications.deliver = "webhook"`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{are, news, serving, set_aside, until_all_is_done};
use crate::process::generations::not_today;
use crate::process::home::Home;
use crate::process::stage::{Stage, Stopwatch, until};

/// One POST, as the game got it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Post {
    key: String,
    attempt: String,
    message: String,
}

/// A game that takes notifications; how it answers is in the message.
struct Taker {
    posts: Arc<Mutex<Vec<Post>>>,
    /// While it is false, nobody is answered.
    answers: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Taker {
    fn on(listener: TcpListener) -> Self {
        let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
        let (answers, answering) = watch::channel(true);
        let mut serving = JoinSet::new();
        let kept = Arc::clone(&posts);
        serving.spawn(async move {
            let mut talking = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talking.spawn(talk(stream, Arc::clone(&kept), answering.clone()));
            }
        });
        Self { posts, answers, _serving: serving }
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    async fn until_posts(&self, count: usize) -> Vec<Post> {
        until(&format!("{count} posts"), async || Some(self.posts()).filter(|posts| posts.len() >= count)).await
    }
}

async fn talk(mut stream: TcpStream, posts: Arc<Mutex<Vec<Post>>>, mut answering: watch::Receiver<bool>) {
    let mut request = Vec::new();
    let body: Value = loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            break body;
        }
    };
    let head = String::from_utf8_lossy(&request).into_owned();
    let header = |name: &str| {
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        headers
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .next()
            .unwrap()
    };
    let post = Post {
        key: header("idempotency-key"),
        attempt: header("rallyhere-attempt"),
        message: body["message"].as_str().unwrap().to_owned(),
    };
    assert_eq!(body["notification_id"], post.key.as_str());
    let message = post.message.clone();
    posts.lock().unwrap().push(post);
    if answering.wait_for(|answers| *answers).await.is_err() {
        return;
    }
    let answer = match message.as_str() {
        "500" => "HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\noops".to_owned(),
        "301" => "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "slow" => std::future::pending().await,
        "cut" => return,
        "huge" => format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(1 << 20)),
        _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    let _cut = stream.write_all(answer.as_bytes()).await;
}

fn hooked(stage: &Stage, addr: SocketAddr) -> Home {
    Home::new(stage)
        .alone()
        .set("notifications.deliver", "webhook")
        .set("notifications.webhook", format!("http://{addr}/notifications"))
}

#[tokio::test]
async fn each_one_is_posted_in_order_and_poison_of_every_kind_does_not_keep_the_others() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let home = hooked(&stage, listener.local_addr().unwrap()).set("notifications.deliver_timeout", "500ms");
    let taker = Taker::on(listener);
    let mut agent = serving(&home, &stage).await;
    let messages = ["one", "500", "two", "301", "huge", "three", "slow", "cut", "four"];
    let ids = messages.map(|message| stage.notify(message));
    let post = |at: usize, attempt: u32| Post {
        key: ids[at].clone(),
        attempt: attempt.to_string(),
        message: messages[at].to_owned(),
    };
    let poison = ["500", "301", "slow", "cut"];
    let mut expected = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let tries = if poison.contains(message) { 3 } else { 1 };
        let watch = Stopwatch::start();
        expected.extend((1..=tries).map(|attempt| post(at, attempt)));
        assert_eq!(taker.until_posts(expected.len()).await[..expected.len()], expected);
        watch.at_most(30, message);
    }
    let status = until_all_is_done(&mut agent).await;
    assert_eq!(taker.posts(), expected);
    let counters = &status["counters"];
    assert_eq!(
        (&counters["notifications_acknowledged"], &counters["notifications_set_aside"]),
        (&5.into(), &4.into()),
        "{status}"
    );
    let kept = set_aside(&mut agent).await;
    let why = [
        "answered 500: oops",
        "answered 301, and redirects are not followed",
        "did not answer within 500ms",
        "gave no answer",
    ];
    for ((id, reason, tries), (at, why)) in kept.iter().zip([1, 3, 6, 7].into_iter().zip(why)) {
        assert_eq!((id, *tries), (&ids[at], 3));
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(kept.len(), 4);
    agent.stop().await;
}

#[tokio::test]
async fn a_game_that_is_not_up_yet_gets_all_of_them_once_it_is() {
    let stage = Stage::start().await;
    // The port is taken, but nobody listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let home = hooked(&stage, socket.local_addr().unwrap());
    let mut agent = serving(&home, &stage).await;
    let ids = news(&stage, &mut agent, 5).await;
    let absent = |status: &Value| {
        status["notifications"]["hand_off"]["state"] == "absent" && status["notifications"]["inbox"] == 5
    };
    let status = agent.until("that nobody is there", absent).await;
    let failure = status["notifications"]["hand_off"]["last_failure"].as_str().unwrap();
    assert!(failure.contains("refused"), "{failure}");
    // Longer than three tries would take.
    stage.until_beats(5).await;
    agent.until("still nobody", absent).await;
    agent.until_says("nobody is there to take notifications").await;

    let taker = Taker::on(socket.listen(16).unwrap());
    // It says that it is up; else it would be found within ten seconds.
    agent.post("/v1/ready", json!({})).await;
    let posts = taker.until_posts(5).await;
    are(&posts.iter().map(|post| post.key.clone()).collect::<Vec<_>>(), &ids);
    assert!(posts.iter().all(|post| post.attempt == "1"), "{posts:?}");
    let status = until_all_is_done(&mut agent).await;
    assert_eq!(
        (&status["notifications"]["set_aside"], &status["counters"]["notifications_refused"]),
        (&0.into(), &0.into())
    );
    agent.finish().await;
}

#[tokio::test]
async fn killed_before_the_answer_it_posts_the_same_again_and_loses_none() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let home = hooked(&stage, listener.local_addr().unwrap());
    let taker = Taker::on(listener);
    let mut agent = serving(&home, &stage).await;
    let (mut ids, mut kills) = (Vec::new(), 0);
    for round in 0..4 {
        taker.answers.send_replace(false);
        let before = taker.posts().len();
        ids.extend((0..3).map(|n| stage.notify(&format!("message {round}-{n}"))));
        let first = taker.until_posts(before + 1).await[before].clone();
        agent.kill().await;
        kills += 1;
        taker.answers.send_replace(true);
        agent = serving(&home, &stage).await;
        let again = taker.until_posts(before + 2).await[before + 1].clone();
        assert_eq!(again, first, "the same id, and again the first try");
        until_all_is_done(&mut agent).await;
        agent.until("all of them", |status| status["notifications"]["inbox"] == 0).await;
        taker.until_posts(ids.len() + kills).await;
    }
    let mut keys: Vec<String> = taker.posts().into_iter().map(|post| post.key).collect();
    assert_eq!(keys.len(), ids.len() + kills, "one repeat for each kill");
    keys.dedup();
    assert_eq!(keys, ids, "in order, none lost");
    agent.stop().await;
}

#[tokio::test]
async fn the_local_api_still_shows_what_waits_and_still_acknowledges() {
    if not_today("generations::today_a_hook_gets_the_changes: how one came to the inbox is nothing to the push") {
        return;
    }
    let stage = Stage::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let home = hooked(&stage, listener.local_addr().unwrap()).set("notifications.deliver_timeout", "8s");
    let taker = Taker::on(listener);
    taker.answers.send_replace(false);
    let mut agent = serving(&home, &stage).await;
    let ids = ["one", "two", "three"].map(|message| stage.notify(message));
    taker.until_posts(1).await;
    agent.until("three that wait", |status| status["notifications"]["inbox"] == 3).await;
    let page = agent.get("/v1/notifications").await;
    let shown: Vec<&str> =
        page["notifications"].as_array().unwrap().iter().filter_map(|n| n["notification_id"].as_str()).collect();
    assert_eq!(shown, ids);
    assert_eq!(
        agent.post("/v1/notifications/ack", json!({"notification_id": ids[1]})).await,
        json!({"acknowledged": 2})
    );
    taker.answers.send_replace(true);
    let posts = taker.until_posts(2).await;
    assert_eq!([&posts[0].key, &posts[1].key], [&ids[0], &ids[2]], "the second was acknowledged before its turn");
    let status = until_all_is_done(&mut agent).await;
    assert_eq!(status["counters"]["notifications_acknowledged"], 3);
    agent.finish().await;
}
