use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::core::ids::NotificationId;
use crate::core::instance::Notification;

/// Long enough for a loaded machine; nothing waits for it unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn what(id: &str) -> HandOver {
    let notification = Notification {
        notification_id: NotificationId::parse(id).unwrap(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        message: "hello".to_owned(),
        rh_url: None,
        etag: None,
        custom_data: [].into(),
    };
    HandOver { notification: Arc::new(notification), attempt: 2 }
}

/// What a game says to every request.
#[derive(Debug, Clone)]
enum Says {
    Bytes(Vec<u8>),
    /// This again and again, without end.
    Endless(Vec<u8>, Vec<u8>),
    /// This, and then nothing.
    Stalls(Vec<u8>),
    /// The end of the connection.
    Cut,
}

fn says(text: &str) -> Says {
    Says::Bytes(text.as_bytes().to_vec())
}

/// A game on this host that takes notifications.
struct Game {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Game {
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let kept = Arc::clone(&asked);
        serving.spawn(async move {
            let mut talking = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talking.spawn(talk(stream, says.clone(), Arc::clone(&kept)));
            }
        });
        Self { addr, asked, _serving: serving }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.addr)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn talk(mut stream: TcpStream, says: Says, asked: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
    asked.lock().unwrap().push(String::from_utf8(request).unwrap());
    match says {
        Says::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Says::Endless(head, more) => {
            let _cut = stream.write_all(&head).await;
            while stream.write_all(&more).await.is_ok() {}
        }
        Says::Stalls(bytes) => {
            let _cut = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Says::Cut => {}
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

async fn pushed_to(game: &Game) -> Result<(), Untaken> {
    post(&game.url(), PATIENCE, &what("n-1")).await
}

fn words(result: Result<(), Untaken>) -> String {
    match result {
        Err(Untaken::Refused(words)) => words.into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_notification_is_one_post() {
    let game = Game::start(says("HTTP/1.1 204 No Content\r\n\r\n")).await;
    pushed_to(&game).await.unwrap();
    let asked = game.asked();
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?a=b HTTP/1.1"));
    let mut headers: Vec<String> = lines.map(str::to_ascii_lowercase).collect();
    headers.sort();
    let json = serde_json::to_string(&*what("n-1").notification).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        headers,
        [
            "connection: close".to_owned(),
            format!("content-length: {}", json.len()),
            "content-type: application/json".to_owned(),
            format!("host: {}", game.addr),
            "idempotency-key: n-1".to_owned(),
            "rallyhere-attempt: 2".to_owned(),
            format!("user-agent: rallyhere-agent/{version}"),
        ]
    );
    assert_eq!(body, json);
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn an_id_that_no_header_can_hold_is_encoded_and_comes_back_byte_for_byte() {
    let game = Game::start(says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    for id in ["n-1", "01J/+=~\"", " a b ", "50%", "%35", "ünï/ç\u{2028}"] {
        post(&game.url(), PATIENCE, &what(id)).await.unwrap();
        let asked = game.asked().pop().unwrap();
        let key = asked.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap();
        assert!(key.is_ascii() && !key.contains(' '), "{key}");
        assert_eq!(percent_encoding::percent_decode_str(key).decode_utf8().unwrap(), id);
    }
}

#[tokio::test]
async fn only_a_two_hundred_takes_it() {
    for (answer, taken) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true),
        // The status was there; what came of the body decides nothing.
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut", true),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", false),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 503 Oh\r\ncontent-length: 0\r\n\r\n", false),
        ("garbage\r\n\r\n", false),
        ("HTTP/1.1 abc\r\n\r\n", false),
        ("HTTP/1.1 20", false),
        ("", false),
    ] {
        let game = Game::start(says(answer)).await;
        let result = pushed_to(&game).await;
        if taken {
            assert_eq!(result, Ok(()), "{answer:?}");
        } else {
            assert!(matches!(result, Err(Untaken::Refused(_))), "{answer:?}: {result:?}");
        }
        assert_eq!(game.asked().len(), 1, "{answer:?}: once, and the core decides about the next try");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_first_words_and_without_the_path() {
    let game = Game::start(says("HTTP/1.1 500 Oh\r\n\r\nno such\r\nplayer\u{1b}[31m")).await;
    let words = words(pushed_to(&game).await);
    assert_eq!(words, format!("{} answered 500: no such\\r\\nplayer\\u{{1b}}[31m", game.addr));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Game::start(says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
        let game = Game::start(Says::Bytes(answer.into_bytes())).await;
        assert!(words(pushed_to(&game).await).contains("redirects are not followed"));
    }
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[tokio::test]
async fn nobody_there_was_not_asked() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let result = post(&format!("http://{free}/secret?token=hunter2"), PATIENCE, &what("n-1")).await;
    let Err(Untaken::Absent(words)) = result else { panic!("{result:?}") };
    assert!(words.contains(&free.to_string()) && words.contains("refused"), "{words}");
    assert!(!words.contains("hunter2") && !words.contains("secret"), "{words}");
    for url in ["", "nonsense", "http://game.example/", "/hook"] {
        assert!(matches!(post(url, PATIENCE, &what("n-1")).await, Err(Untaken::Absent(_))), "{url}");
    }
}

#[tokio::test]
async fn localhost_is_this_host_in_either_family() {
    let game = Game::start(says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let url = format!("http://localhost:{}/", game.addr.port());
    post(&url, PATIENCE, &what("n-1")).await.unwrap();
    assert!(game.asked()[0].to_ascii_lowercase().contains(&format!("host: localhost:{}\r\n", game.addr.port())));
}

#[tokio::test]
async fn one_that_does_not_answer_is_left_when_its_time_is_over() {
    let limit = Duration::from_millis(200);
    for begun in ["", "HTTP/1.1 200 OK\r\n"] {
        let says = Says::Stalls(begun.as_bytes().to_vec());
        let game = Game::start(says).await;
        let begun = clock::now();
        let words = words(post(&game.url(), limit, &what("n-1")).await);
        assert!(words.contains("did not answer within 200ms"), "{words}");
        assert!(clock::now() - begun < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn one_that_hangs_up_has_refused() {
    let game = Game::start(Says::Cut).await;
    assert!(words(pushed_to(&game).await).contains("gave no answer"));
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let zeros = vec![b'0'; 64 * 1024];
    for (head, taken) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 500 Oh\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nx: ", false),
        ("HTTP/1.1 ", false),
    ] {
        let game = Game::start(Says::Endless(head.as_bytes().to_vec(), zeros.clone())).await;
        let begun = clock::now();
        let result = pushed_to(&game).await;
        assert_eq!(result.is_ok(), taken, "{head:?}: {result:?}");
        assert!(clock::now() - begun < Duration::from_secs(10), "{head:?}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_does_not_keep_the_next_waiting() {
    let game = Game::start(says("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")).await;
    pushed_to(&game).await.unwrap();
    let game = Game::start(Says::Stalls(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec())).await;
    let begun = clock::now();
    pushed_to(&game).await.unwrap();
    assert!(clock::now() - begun < Duration::from_secs(5));
}
