//! The output of a game that we started: passed on to our own, looked through for the line that says ready, and its last
//! lines kept.
//!
//! One thread of its own for each game does all of it, so that neither a game that prints a million lines nor somebody who
//! does not read ours ever holds up the runtime. It waits in `poll` and otherwise sleeps.
//!
//! | what happens | what follows |
//! |---|---|
//! | the reader of our output is slower than the game | up to [`QUEUE`] bytes wait; then the game is read no faster, and its pipe fills: it is slowed down as by any pipe, and nothing is lost |
//! | that reader has stopped: nothing could be written for [`PATIENCE`] | the game is read again, so that it lives on, its last lines are kept and the ready line is seen; what it prints is not passed on any more until half of what waits is written, and then a line says how many are missing |
//! | that reader is gone | what the game prints is only kept |
//! | the game has ended | what is still in its pipes, at most [`LAST`] bytes, is taken at once, so that its last lines are known |
//! | something that it started has left its process group and holds the pipe | the pipe is closed once the game's end is told; who writes into it then gets SIGPIPE |
//!
//! Standard output goes to standard output and standard error to standard error, byte for byte, but in whole lines: those of
//! the agent's log never stand within one of the game's, except in a line that is longer than a pipe takes at once.

mod lines;
mod tail;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use regex_lite::Regex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use self::lines::{Piece, Splitter};
use self::tail::Tail;
use super::redact::readable;
use crate::clock;

/// Bytes of each stream that wait to be written.
const QUEUE: usize = 256 * 1024;

/// How long nothing can be written before the game is not held up any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// More bytes of each stream that may wait once the game has ended: the largest pipe that a user may make (pipe(7)).
const LAST: usize = 1024 * 1024;

/// How long the thread goes on after the keeper's end, to pass on the game's last words.
const FAREWELL: Duration = Duration::from_millis(300);

/// Bytes that are read at once: what a pipe usually holds.
const READ: usize = 64 * 1024;

/// Bytes that a pipe of which `poll` says that it can be written takes without waiting: PIPE_BUF (pipe(7)).
const WRITE: usize = 4096;

const STACK_BYTES: usize = 256 * 1024;

/// The thread's side of a game, as its keeper sees it.
#[derive(Debug)]
pub(super) struct Output {
    tail: Arc<Mutex<Tail>>,
    ready: Option<oneshot::Receiver<()>>,
    /// Ends when both pipes have ended.
    ended: Option<oneshot::Receiver<()>>,
    /// Ends with the thread.
    finished: Option<oneshot::Receiver<()>>,
    /// A byte says that the game has ended; its end that the keeper has.
    control: Option<UnixStream>,
}

/// Where a game's output goes: two files, or our own standard output and standard error.
#[derive(Debug)]
pub(super) struct Sinks {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Sinks {
    /// Our own. Descriptors of our own for them: std's have locks that somebody who is stuck would hold.
    pub(super) fn ours() -> io::Result<Self> {
        Ok(Self {
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }
}

impl Output {
    /// Starts the thread over the reading ends of the game's standard output and standard error.
    pub(super) fn start(from: [OwnedFd; 2], to: Sinks, ready: Option<Regex>, tail: usize) -> io::Result<Self> {
        let (control, controlled) = UnixStream::pair()?;
        controlled.set_nonblocking(true)?;
        let tail = Arc::new(Mutex::new(Tail::new(tail)));
        let (said_ready, is_ready) = oneshot::channel();
        let (both_ended, ended) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        let [stdout, stderr] = from;
        let mut worker = Worker {
            streams: [Stream::new(0, stdout, to.stdout), Stream::new(1, stderr, to.stderr)],
            seen: Seen { tail: Arc::clone(&tail), ready: ready.map(|pattern| (pattern, said_ready)) },
            control: controlled,
            phase: Phase::Running,
            ended: Some(both_ended),
        };
        // Nobody joins it: it may be stuck in a write for ever, and the end of the process does not wait for that.
        let _detached =
            thread::Builder::new().name("game-output".to_owned()).stack_size(STACK_BYTES).spawn(move || {
                worker.work();
                // The pipes are closed before anybody is told.
                drop(worker);
                drop(finish);
            })?;
        Ok(Self { tail, ready: Some(is_ready), ended: Some(ended), finished: Some(finished), control: Some(control) })
    }

    /// Waits for the line that says ready; for ever if there is none, or it was told. Cancelling loses nothing.
    pub(super) async fn ready(&mut self) {
        if let Some(ready) = &mut self.ready {
            let said = ready.await.is_ok();
            self.ready = None;
            if said {
                return;
            }
        }
        std::future::pending().await
    }

    /// The game has ended: takes what is left in its pipes, for at most `limit`, and gives its last lines without `known`
    /// secrets.
    pub(super) async fn last_lines(&mut self, limit: Duration, known: Vec<String>) -> Vec<String> {
        // Where the thread is gone there is nothing to tell it.
        let _gone = self.control.as_ref().map(|mut control| control.write(b"e"));
        if let Some(ended) = &mut self.ended {
            tokio::select! {
                _ended = ended => self.ended = None,
                () = clock::sleep(limit) => {}
            }
        }
        let tail = Arc::clone(&self.tail);
        // A thousand lines and a few patterns take a while.
        let lines = tokio::task::spawn_blocking(move || {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            lock(&tail).lines(&known)
        });
        lines.await.unwrap_or_default()
    }

    /// Ends the thread once the pipes have ended and all of it is written, at the latest after a moment.
    pub(super) async fn finish(&mut self) {
        self.control = None;
        let Some(finished) = &mut self.finished else { return };
        tokio::select! {
            _finished = finished => self.finished = None,
            () = clock::sleep(FAREWELL + FAREWELL / 3) => {}
        }
    }
}

/// What the thread is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The game runs.
    Running,
    /// The game has ended; something that it started may still print.
    Ended,
    /// The keeper has ended: what is in the pipes is taken and written until then.
    Leaving(Instant),
}

/// The thread.
struct Worker {
    streams: [Stream; 2],
    seen: Seen,
    control: UnixStream,
    phase: Phase,
    ended: Option<oneshot::Sender<()>>,
}

/// What is looked for in the lines, and kept of them.
struct Seen {
    tail: Arc<Mutex<Tail>>,
    ready: Option<(Regex, oneshot::Sender<()>)>,
}

impl Seen {
    fn piece(&mut self, stream: usize, piece: Piece<'_>) {
        lock(&self.tail).push(stream, piece);
        let matched = self.ready.take_if(|(pattern, _)| pattern.is_match(&readable(piece.bytes)));
        if let Some((_, said)) = matched {
            // Nobody waits any more: the game has ended.
            let _gone = said.send(());
        }
    }
}

impl Worker {
    fn work(&mut self) {
        let mut buffer = vec![0; READ];
        loop {
            if self.streams.iter().all(|stream| stream.from.is_none()) {
                drop(self.ended.take());
                if self.streams.iter().all(|stream| stream.waiting.is_empty()) {
                    return;
                }
            }
            let now = clock::now();
            if matches!(self.phase, Phase::Leaving(until) if now >= until) {
                return;
            }
            for stream in &mut self.streams {
                stream.consider(now, self.phase);
            }
            let Some(found) = self.wait(now) else { return };
            if found.control {
                self.controlled();
            }
            for ((stream, readable), writable) in self.streams.iter_mut().zip(found.readable).zip(found.writable) {
                if writable {
                    stream.write();
                }
                if readable {
                    stream.read(&mut buffer, &mut self.seen);
                }
            }
        }
    }

    /// Waits until something can be done, or it is time to think again. `None` if the kernel refuses.
    fn wait(&self, now: Instant) -> Option<Found> {
        let mut wake = match self.phase {
            Phase::Leaving(until) => Some(until),
            Phase::Running | Phase::Ended => None,
        };
        // A descriptor that is not waited for must not be in the list: its end would wake us for ever.
        let mut polled: Vec<(Wanted, PollFd<'_>)> = Vec::with_capacity(5);
        if !matches!(self.phase, Phase::Leaving(_)) {
            polled.push((Wanted::Control, PollFd::new(&self.control, PollFlags::IN)));
        }
        for (index, stream) in self.streams.iter().enumerate() {
            match &stream.from {
                Some(from) if stream.may_read(self.phase) => {
                    polled.push((Wanted::Read(index), PollFd::new(from, PollFlags::IN)));
                }
                Some(_) if !matches!(self.phase, Phase::Leaving(_)) => {
                    let patience = stream.moved + PATIENCE;
                    wake = Some(wake.map_or(patience, |wake| wake.min(patience)));
                }
                Some(_) | None => {}
            }
            if let Some(to) = stream.to.as_ref().filter(|_| !stream.waiting.is_empty()) {
                polled.push((Wanted::Write(index), PollFd::new(to, PollFlags::OUT)));
            }
        }
        let (wanted, mut fds): (Vec<Wanted>, Vec<PollFd<'_>>) = polled.into_iter().unzip();
        let timeout = wake.map(|wake| timespec(wake.saturating_duration_since(now)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the game's output cannot be waited for and is not passed on any more");
                return None;
            }
        }
        let mut found = Found::default();
        for (wanted, fd) in wanted.iter().zip(&fds) {
            // An end or an error shows in the read or write that follows.
            let is_there = !fd.revents().is_empty();
            match *wanted {
                Wanted::Control => found.control = is_there,
                Wanted::Read(index) => found.readable[index] = is_there,
                Wanted::Write(index) => found.writable[index] = is_there,
            }
        }
        Some(found)
    }

    /// Something came from the keeper, or it is gone.
    fn controlled(&mut self) {
        match (&self.control).read(&mut [0; 8]) {
            Ok(0) => self.phase = Phase::Leaving(clock::now() + FAREWELL),
            Ok(_) => self.phase = Phase::Ended,
            Err(_nothing_yet) => {}
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Control,
    Read(usize),
    Write(usize),
}

/// What can be done.
#[derive(Debug, Default)]
struct Found {
    control: bool,
    readable: [bool; 2],
    writable: [bool; 2],
}

/// One of the two streams.
struct Stream {
    /// 0 or 1.
    index: usize,
    /// The game's pipe, until its end.
    from: Option<OwnedFd>,
    /// Where it goes, until that is gone.
    to: Option<OwnedFd>,
    splitter: Splitter,
    /// What waits to be written: whole lines, or pieces of long ones.
    waiting: VecDeque<u8>,
    /// When something was written last, or nothing waited.
    moved: Instant,
    /// Nobody reads: lines are dropped, and so many were.
    stalled: Option<u64>,
}

impl Stream {
    fn new(index: usize, from: OwnedFd, to: OwnedFd) -> Self {
        Self {
            index,
            from: Some(from),
            to: Some(to),
            splitter: Splitter::default(),
            waiting: VecDeque::new(),
            moved: clock::now(),
            stalled: None,
        }
    }

    /// Whether more may be taken from the game.
    fn may_read(&self, phase: Phase) -> bool {
        let bound = if phase == Phase::Running { QUEUE } else { QUEUE + LAST };
        self.stalled.is_some() || self.waiting.len() < bound
    }

    /// Decides whether somebody reads what we write.
    fn consider(&mut self, now: Instant, phase: Phase) {
        if self.waiting.is_empty() {
            self.moved = now;
        }
        match self.stalled {
            None if !self.may_read(phase) && now >= self.moved + PATIENCE => self.stalled = Some(0),
            Some(lost) if self.waiting.len() <= QUEUE / 2 => {
                self.stalled = None;
                if lost > 0 {
                    if self.waiting.back().is_some_and(|byte| *byte != b'\n') {
                        self.waiting.push_back(b'\n');
                    }
                    let words = format!("[rallyhere-agent: {lost} lines of the game are missing: nobody read them]\n");
                    self.waiting.extend(words.as_bytes());
                }
            }
            None | Some(_) => {}
        }
    }

    /// Takes what there is, at most one buffer.
    fn read(&mut self, buffer: &mut [u8], seen: &mut Seen) {
        let Some(from) = &self.from else { return };
        let read = match rustix::io::read(from, &mut *buffer) {
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(_broken) => 0,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        let mut splitter = std::mem::take(&mut self.splitter);
        let mut give = |piece: Piece<'_>| {
            seen.piece(self.index, piece);
            self.pass(piece);
        };
        if bytes.is_empty() {
            splitter.finish(&mut give);
            self.from = None;
        } else {
            splitter.feed(bytes, &mut give);
        }
        self.splitter = splitter;
    }

    fn pass(&mut self, piece: Piece<'_>) {
        if self.to.is_none() {
            return;
        }
        if let Some(lost) = &mut self.stalled {
            *lost += u64::from(piece.last);
            return;
        }
        self.waiting.extend(piece.bytes);
        if piece.last {
            self.waiting.push_back(b'\n');
        }
    }

    /// Writes as much as is sure not to wait.
    fn write(&mut self) {
        let Some(to) = &self.to else { return };
        let (front, _) = self.waiting.as_slices();
        match rustix::io::write(to, front.get(..WRITE).unwrap_or(front)) {
            Ok(written) => {
                self.waiting.drain(..written);
                self.moved = clock::now();
                // A game that once printed much need not cost as much for ever.
                if self.waiting.is_empty() && self.waiting.capacity() > QUEUE / 4 {
                    self.waiting = VecDeque::new();
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                tracing::warn!(%error, "the game's output cannot be passed on any more; its last lines are kept all the same");
                self.to = None;
                self.waiting = VecDeque::new();
                self.stalled = None;
            }
        }
    }
}

/// A list is whole even if somebody panicked beside it.
fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
