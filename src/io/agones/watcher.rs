//! One who watches the game server: first the document as it is, then each change.
//!
//! Nothing is queued: whoever is slow gets the newest document once the last one has left. Only Ready never comes without
//! RequestReady before it, which games wait for.

use std::sync::Arc;

use tokio::sync::watch;

use super::document::Document;
use super::engine::Engine;
use crate::core::sdk::Told;
use crate::core::snapshot::Snapshot;
use crate::io::local::server::closed;

/// See the module.
#[derive(Debug)]
pub(super) struct Watcher {
    engine: Arc<Engine>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    closing: watch::Receiver<bool>,
    sent: Option<Arc<Document>>,
}

impl Watcher {
    pub(super) fn new(engine: Arc<Engine>, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let closing = engine.closing();
        Self { engine, snapshots, closing, sent: None }
    }

    /// The next document; `None` when the instance or the server has ended. Nothing is lost by dropping this half-way.
    pub(super) async fn next(&mut self) -> Option<Arc<Document>> {
        loop {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            let document = self.engine.document(&snapshot);
            if let Some(news) = news(self.sent.as_ref(), &document) {
                self.sent = Some(Arc::clone(&news));
                return Some(news);
            }
            if *self.closing.borrow() {
                return None;
            }
            tokio::select! {
                biased;
                changed = self.snapshots.changed() => if changed.is_err() {
                    return None;
                },
                () = closed(&mut self.closing) => {}
            }
        }
    }
}

/// What to send to somebody who got `sent` last, when `document` is the newest.
fn news(sent: Option<&Arc<Document>>, document: &Arc<Document>) -> Option<Arc<Document>> {
    let Some(sent) = sent else { return Some(Arc::clone(document)) };
    if Arc::ptr_eq(sent, document) {
        return None;
    }
    let asked = match sent.state {
        Told::RequestReady | Told::Ready | Told::Unhealthy => true,
        Told::Starting | Told::Scheduled | Told::Reserved | Told::Allocated | Told::Shutdown => false,
    };
    if document.state == Told::Ready && !asked {
        return Some(document.in_state(Told::RequestReady));
    }
    Some(Arc::clone(document))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sdk::SdkView;

    fn states(shown: &[Told]) -> Vec<&'static str> {
        let mut sent: Option<Arc<Document>> = None;
        let mut told = Vec::new();
        for state in shown {
            let document = Arc::new(Document::of(&SdkView { state: *state, ..SdkView::default() }));
            while let Some(news) = news(sent.as_ref(), &document) {
                told.push(news.state.as_str());
                sent = Some(news);
            }
        }
        told
    }

    #[test]
    fn ready_never_comes_without_its_request() {
        assert_eq!(states(&[Told::Ready]), ["Ready"], "who comes late sees what is");
        assert_eq!(states(&[Told::Scheduled, Told::Ready]), ["Scheduled", "RequestReady", "Ready"]);
        assert_eq!(states(&[Told::Scheduled, Told::RequestReady, Told::Ready]), ["Scheduled", "RequestReady", "Ready"]);
        assert_eq!(states(&[Told::Allocated, Told::Ready]), ["Allocated", "RequestReady", "Ready"]);
        assert_eq!(states(&[Told::Reserved, Told::Ready]), ["Reserved", "RequestReady", "Ready"]);
        assert_eq!(states(&[Told::Unhealthy, Told::Ready]), ["Unhealthy", "Ready"], "nobody asked again");
    }
}
