//! The body of an answer to a scrape: each piece is written when the one before has left.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame};

use crate::telemetry::metrics::{Pieces, Unfinished};

type Piece = Pin<Box<dyn Future<Output = Result<Option<(Bytes, Pieces)>, Unfinished>> + Send>>;

/// The body. Where it cannot be finished it ends in an error, and the connection is cut: half an answer is none.
pub(super) struct Scrape {
    next: Option<Piece>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("over", &self.next.is_none()).finish()
    }
}

impl Scrape {
    pub(super) fn of(pieces: Pieces) -> Self {
        Self { next: Some(next(pieces)) }
    }
}

fn next(mut pieces: Pieces) -> Piece {
    Box::pin(async move { Ok(pieces.next().await?.map(|piece| (piece.into(), pieces))) })
}

impl HttpBody for Scrape {
    type Data = Bytes;
    type Error = Unfinished;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(piece) = &mut self.next else { return Poll::Ready(None) };
        let piece = ready!(piece.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(match piece {
            Ok(Some((bytes, pieces))) => {
                self.next = Some(next(pieces));
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => None,
            Err(unfinished) => {
                tracing::debug!("a scrape was cut: {unfinished}");
                Some(Err(unfinished))
            }
        })
    }
}
