//! The body of an answer: whole, or damaged in the ways that a fault asks for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::clock;

/// How much white space goes out at a time.
const PADDING: &[u8] = &[b' '; 16 * 1024];
/// How long the first part of a cut body has to reach the wire.
const FLUSH_TIME: Duration = Duration::from_millis(20);

/// In what manner a body goes out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// At once.
    Whole,
    /// So many bytes, then the connection ends; the headers promise all of it.
    Cut { after: usize },
    /// So many bytes at a time.
    Slow { chunk: usize, every: Duration },
    /// Behind so much white space.
    Padded { bytes: u64 },
}

/// The connection is to be closed without an answer, or inside one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the simulator cuts the connection, as a fault or an outage asks")]
pub(super) struct Cut;

/// A body on its way out.
pub(super) struct AnswerBody {
    rest: Bytes,
    manner: Manner,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    begun: bool,
}

impl AnswerBody {
    /// A body that goes out in some manner.
    pub(super) fn new(body: Vec<u8>, manner: Manner) -> Self {
        Self { rest: Bytes::from(body), manner, pause: None, begun: false }
    }

    fn pause(&mut self, duration: Duration) {
        self.pause = Some(Box::pin(clock::sleep(duration)));
    }

    fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let first = !std::mem::replace(&mut self.begun, true);
        match &mut self.manner {
            Manner::Whole if self.rest.is_empty() => None,
            Manner::Whole => Some(Ok(std::mem::take(&mut self.rest))),
            Manner::Cut { after } if first => {
                let part = self.rest.split_to((*after).min(self.rest.len()));
                self.pause(FLUSH_TIME);
                Some(Ok(part))
            }
            Manner::Cut { .. } => Some(Err(Cut)),
            Manner::Slow { .. } if self.rest.is_empty() => None,
            Manner::Slow { chunk, every } => {
                let (size, every) = ((*chunk).min(self.rest.len()), *every);
                self.pause(every);
                Some(Ok(self.rest.split_to(size)))
            }
            Manner::Padded { bytes: 0 } if self.rest.is_empty() => None,
            Manner::Padded { bytes: 0 } => Some(Ok(std::mem::take(&mut self.rest))),
            Manner::Padded { bytes } => {
                let size = usize::try_from(*bytes).unwrap_or(usize::MAX).min(PADDING.len());
                *bytes -= u64::try_from(size).unwrap_or(*bytes);
                Some(Ok(Bytes::from_static(PADDING).slice(..size)))
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(pause) = &mut self.pause {
            match pause.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.pause = None,
            }
        }
        Poll::Ready(self.next().map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self.manner {
            Manner::Whole | Manner::Slow { .. } => self.rest.is_empty(),
            Manner::Padded { bytes } => bytes == 0 && self.rest.is_empty(),
            Manner::Cut { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        SizeHint::with_exact(match self.manner {
            Manner::Padded { bytes } => rest.saturating_add(bytes),
            Manner::Whole | Manner::Slow { .. } | Manner::Cut { .. } => rest,
        })
    }
}
