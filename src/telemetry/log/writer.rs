//! The thread that writes, and the bounded queue before it.
//!
//! A queue that has once been full takes nothing more until half of it is written, and then first says what is missing. Else
//! a reader that is merely slow would get a line about a loss between any two lines, and be slower still.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most lines that wait.
pub(super) const LINE_LIMIT: usize = 1024;

/// The most bytes that wait, with the line at which the thread is.
pub(super) const BYTE_LIMIT: usize = 1024 * 1024;

/// How long the thread waits before it asks a full non-blocking stderr again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The thread calls `write` and little else.
const STACK_BYTES: usize = 128 * 1024;

/// The way to the thread. Once it is dropped the thread writes what waits, and ends.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
}

impl Writer {
    /// Starts the thread over `out`. `say_lost` makes the line that says how many are missing.
    pub(super) fn start(
        out: impl io::Write + Send + 'static,
        say_lost: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let of_thread = Arc::clone(&queue);
        // Nobody joins it: it may be stuck in a write for ever, and the end of the process does not wait for that.
        let _detached = thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || of_thread.write_all(out, &say_lost))?;
        Ok(Self { queue })
    }

    /// Hands over a line, or drops and counts it. Never waits for the reader.
    pub(super) fn push(&self, line: String) {
        let mut state = self.queue.lock();
        let is_full = state.lines.len() >= LINE_LIMIT || state.bytes.saturating_add(line.len()) > BYTE_LIMIT;
        if is_full || state.overflowing {
            state.overflowing = true;
            state.lose(1);
        } else {
            state.bytes += line.len();
            state.lines.push_back(line);
            self.queue.work.notify_one();
        }
    }

    /// Lines lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// Waits until nothing waits, at most for `limit`; says whether that is so.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let state = self.queue.lock();
        let waited = self.queue.idle.wait_timeout_while(state, limit, |state| !state.is_idle());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_idle()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.work.notify_one();
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write, or the end has come.
    work: Condvar,
    /// There is nothing to write.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// Of `lines`, and of the line at which the thread is.
    bytes: usize,
    /// The thread is at a line.
    writing: bool,
    /// Lost since the start.
    lost: u64,
    /// Lost, and no line has said so yet.
    unsaid: u64,
    /// It was full, and more than half still waits: nothing is taken.
    overflowing: bool,
    /// The last write failed: it is tried again with the next line only.
    failing: bool,
    /// The [`Writer`] is gone.
    closed: bool,
}

impl State {
    fn lose(&mut self, lines: u64) {
        self.lost = self.lost.saturating_add(lines);
        self.unsaid = self.unsaid.saturating_add(lines);
    }

    fn has_work(&self) -> bool {
        !self.lines.is_empty() || (self.unsaid > 0 && !self.failing && !self.overflowing)
    }

    fn is_idle(&self) -> bool {
        !self.writing && !self.has_work()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A counter and a list are whole even if somebody panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes until the [`Writer`] is gone. Each line is one write, without holding the lock.
    fn write_all(&self, mut out: impl io::Write, say_lost: &impl Fn(u64) -> String) {
        while let Some((unsaid, line)) = self.next() {
            let said = unsaid == 0 || write_line(&mut out, &say_lost(unsaid)).is_ok();
            let written = line.as_ref().is_none_or(|line| write_line(&mut out, line).is_ok());

            let mut state = self.lock();
            state.writing = false;
            state.bytes = state.bytes.saturating_sub(line.map_or(0, |line| line.len()));
            state.overflowing &= state.lines.len() > LINE_LIMIT / 2 || state.bytes > BYTE_LIMIT / 2;
            state.failing = !(said && written);
            if !said {
                state.unsaid = state.unsaid.saturating_add(unsaid);
            }
            if !written {
                state.lose(1);
            }
            if state.is_idle() {
                self.idle.notify_all();
            }
        }
    }

    /// Waits for work: how many lost lines to own up to, then the next line. `None` at the end.
    fn next(&self) -> Option<(u64, Option<String>)> {
        let state = self.lock();
        let waited = self.work.wait_while(state, |state| !state.has_work() && !state.closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.has_work() {
            return None;
        }
        state.writing = true;
        let unsaid = if state.overflowing { 0 } else { std::mem::take(&mut state.unsaid) };
        Some((unsaid, state.lines.pop_front()))
    }
}

/// Writes a whole line. Unlike `write_all` it waits out a stderr that somebody has made non-blocking.
fn write_line(out: &mut impl io::Write, line: &str) -> io::Result<()> {
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
