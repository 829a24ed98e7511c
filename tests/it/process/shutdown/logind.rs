//! A logind of the test's own, on a message bus of its own: as much of both as an agent asks for.

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::stage::until;

/// What an agent asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// To be told of shutdowns.
    Listens,
    /// A lock: what, who, and in which mode.
    Inhibits(String),
}

pub(crate) struct FakeLogind {
    heard: mpsc::Receiver<Heard>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    refuses: bool,
    /// The connection of the agent.
    stream: Mutex<Option<UnixStream>>,
    /// Our end of the newest lock: it reads the end of file when the agent gives it back.
    lock: Mutex<Option<io::PipeReader>>,
}

impl FakeLogind {
    pub(crate) fn on(path: PathBuf) -> Self {
        Self::start(path, Shared::default())
    }

    pub(crate) fn refusing(path: PathBuf) -> Self {
        Self::start(path, Shared { refuses: true, ..Shared::default() })
    }

    fn start(path: PathBuf, shared: Shared) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(shared);
        let (tell, heard) = mpsc::channel();
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            *ours.stream.lock().unwrap() = Some(stream.try_clone().unwrap());
            // It ends with the agent.
            let _ended = serve(stream, &ours, &tell);
        });
        Self { heard, shared }
    }

    pub(crate) async fn next(&self) -> Heard {
        until("a call to logind", async || self.heard.try_recv().ok()).await
    }

    /// PrepareForShutdown(true)
    pub(crate) fn shuts_down(&self) {
        let fields = [
            field(1, b'o', "/org/freedesktop/login1"),
            field(2, b's', "org.freedesktop.login1.Manager"),
            field(3, b's', "PrepareForShutdown"),
            vec![8, 1, b'g', 0, 1, b'b', 0],
        ];
        let signal = message(4, &fields, &1u32.to_le_bytes());
        self.shared.stream.lock().unwrap().as_ref().unwrap().write_all(&signal).unwrap();
    }

    /// Whether the newest lock has not been given back.
    pub(crate) fn is_held(&self) -> bool {
        let mut lock = self.shared.lock.lock().unwrap();
        let lock = lock.as_mut().unwrap();
        let flags = rustix::fs::fcntl_getfl(&*lock).unwrap();
        rustix::fs::fcntl_setfl(&*lock, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        match lock.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    pub(crate) async fn until_released(&self) {
        until("the lock given back", async || (!self.is_held()).then_some(())).await;
    }
}

fn serve(stream: UnixStream, shared: &Shared, tell: &mpsc::Sender<Heard>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    for (wanted, answer) in
        [("\0AUTH EXTERNAL ", "OK 1234\r\n"), ("NEGOTIATE_UNIX_FD", "AGREE_UNIX_FD\r\n"), ("BEGIN", "")]
    {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        assert!(line.starts_with(wanted), "{line:?}");
        writer.write_all(answer.as_bytes())?;
    }
    loop {
        let mut head = [0; 16];
        reader.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (body, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        reader.read_exact(&mut rest)?;
        let said = |word: &str| rest.windows(word.len()).any(|window| window == word.as_bytes());
        let to = [vec![5, 1, b'u', 0], serial.to_le_bytes().to_vec()].concat();
        if said("Inhibit\0") && !said("Get\0") {
            inhibit(&rest[fields.next_multiple_of(8)..], to, &writer, shared, tell);
            continue;
        }
        let answer = if said("InhibitDelayMaxUSec") {
            let body = [&[1, b't', 0, 0, 0, 0, 0, 0][..], &5_000_000u64.to_le_bytes()].concat();
            message(2, &[to, vec![8, 1, b'g', 0, 1, b'v', 0]], &body)
        } else {
            message(2, &[to], &[])
        };
        writer.write_all(&answer)?;
        if said("AddMatch") {
            assert!(said("member='PrepareForShutdown'"));
            let _gone = tell.send(Heard::Listens);
        }
    }
}

fn inhibit(body: &[u8], to: Vec<u8>, writer: &UnixStream, shared: &Shared, tell: &mpsc::Sender<Heard>) {
    if shared.refuses {
        let words = text("Permission denied");
        let name = field(4, b's', "org.freedesktop.DBus.Error.AccessDenied");
        let refusal = message(3, &[to, name, vec![8, 1, b'g', 0, 1, b's', 0]], &words);
        (&*writer).write_all(&refusal).unwrap();
        return;
    }
    let mut arguments = Vec::new();
    let mut at = 0usize;
    while at < body.len() {
        at = at.next_multiple_of(4);
        let length = u32::from_le_bytes(body[at..at + 4].try_into().unwrap()) as usize;
        arguments.push(String::from_utf8(body[at + 4..at + 4 + length].to_vec()).unwrap());
        at += 4 + length + 1;
    }
    let [what, who, why, mode] = arguments.try_into().unwrap();
    assert!(!why.is_empty());
    let (ours, theirs) = io::pipe().unwrap();
    *shared.lock.lock().unwrap() = Some(ours);
    let fds = [vec![9, 1, b'u', 0], 1u32.to_le_bytes().to_vec()].concat();
    let answer = message(2, &[to, vec![8, 1, b'g', 0, 1, b'h', 0], fds], &0u32.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = [theirs.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&rights)));
    let sent = sendmsg(writer, &[IoSlice::new(&answer)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, answer.len());
    drop(theirs);
    let _gone = tell.send(Heard::Inhibits(format!("{what} {who} {mode}")));
}

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    [&length[..], text.as_bytes(), &[0]].concat()
}

fn field(code: u8, kind: u8, value: &str) -> Vec<u8> {
    [vec![code, 1, kind, 0], text(value)].concat()
}

fn message(kind: u8, fields: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for field in fields {
        all.resize(all.len().next_multiple_of(8), 0);
        all.extend_from_slice(field);
    }
    let mut message = vec![b'l', kind, 1, 1];
    for number in [body.len(), 99, all.len()] {
        message.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    message.extend_from_slice(&all);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend_from_slice(body);
    message
}
