//! Looks through everything that an agent says: no secret, no panic (promises 11 and 16).

use rallyhere_agent::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::{Home, secrets};
use crate::timeline::{Recorder, What};

/// Notes that a text was looked through, and what was found.
pub(crate) fn look(recorder: &Recorder, place: &str, text: &str) {
    let place = place.to_owned();
    recorder.note(What::Scanned { place: place.clone(), bytes: u64::try_from(text.len()).unwrap() });
    for (which, secret) in secrets() {
        if text.contains(&secret) {
            recorder.note(What::Leak { place: place.clone(), which: which.to_owned() });
        }
    }
    for line in text.lines().filter(|line| line.contains("panicked") || line.contains("please report")) {
        recorder.note(What::Fault { line: line.chars().take(300).collect() });
    }
}

/// The metrics, where the agent serves them.
pub(crate) async fn metrics(home: &Home) -> Option<String> {
    let address = home.admin()?;
    let read = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    tokio::select! {
        text = read => text,
        () = clock::sleep(std::time::Duration::from_secs(5)) => None,
    }
}
