//! The body of an endless answer: one step after the other, each taken when the bytes of the one before have left. Nothing is
//! queued for a slow reader.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame};

/// Knows what a reader gets next.
pub(crate) trait Step: Sized + Send + 'static {
    /// Waits for it; `None` at the end.
    fn step(self) -> impl Future<Output = Option<(Bytes, Self)>> + Send + 'static;
}

type Taken<S> = Pin<Box<dyn Future<Output = Option<(Bytes, S)>> + Send>>;

/// The body.
pub(crate) struct Steps<S> {
    next: Option<Taken<S>>,
}

impl<S> fmt::Debug for Steps<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("over", &self.next.is_none()).finish()
    }
}

impl<S: Step> Steps<S> {
    /// What this reader gets.
    pub(crate) fn of(reader: S) -> Self {
        Self { next: Some(Box::pin(reader.step())) }
    }
}

impl<S: Step> HttpBody for Steps<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(step) = &mut self.next else { return Poll::Ready(None) };
        let stepped = ready!(step.as_mut().poll(cx));
        Poll::Ready(match stepped {
            Some((bytes, reader)) => {
                self.next = Some(Box::pin(reader.step()));
                Some(Ok(Frame::data(bytes)))
            }
            None => {
                self.next = None;
                None
            }
        })
    }
}
