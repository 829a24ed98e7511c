//! What REST and gRPC do: one method a call.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::document::Document;
use super::failure::Failure;
use super::watcher::Watcher;
use crate::core::event::{Request, Said};
use crate::core::sdk::SdkView;
use crate::core::snapshot::Snapshot;
use crate::io::local::Limits;
use crate::io::local::desk::{Desk, NotGranted};
use crate::ports::AskError;

/// The SDK of one instance.
#[derive(Debug)]
pub(crate) struct Engine {
    desk: Arc<Desk>,
    closing: watch::Receiver<bool>,
    limits: Limits,
    /// The newest document, and the view that it was made of.
    newest: Mutex<Option<(Arc<SdkView>, Arc<Document>)>>,
}

impl Engine {
    /// The SDK of the instance that the desk asks; `closing` becomes true when the server is told to end.
    pub(crate) fn new(desk: Arc<Desk>, closing: watch::Receiver<bool>, limits: Limits) -> Self {
        Self { desk, closing, limits, newest: Mutex::new(None) }
    }

    /// Becomes true when the server is told to end.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    /// What a peer may take.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn ask(&self, request: Request) -> Result<(), Failure> {
        self.desk.meet().await;
        self.desk.ask(request).await?;
        Ok(())
    }

    /// The game is ready: it goes to the backend at once.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        self.ask(Request::Ready(Said::default())).await
    }

    /// The game is in use.
    pub(super) async fn allocate(&self) -> Result<(), Failure> {
        self.ask(Request::Allocate).await
    }

    /// The game keeps itself for somebody: for so many seconds, or with none of them until it says otherwise.
    pub(super) async fn reserve(&self, seconds: i64) -> Result<(), Failure> {
        self.ask(Request::Reserve { seconds: u64::try_from(seconds).unwrap_or_default() }).await
    }

    /// The game is done. Where the instance has ended, it is so already.
    pub(super) async fn shutdown(&self) -> Result<(), Failure> {
        self.desk.meet().await;
        match self.desk.ask(Request::Shutdown { reason: None }).await {
            Ok(_) | Err(NotGranted::Unasked(AskError::Ended)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The game is alive.
    pub(super) async fn heartbeat(&self) -> Result<(), Failure> {
        self.ask(Request::Heartbeat).await
    }

    /// The game labels itself.
    pub(super) async fn set_label(&self, key: String, value: String) -> Result<(), Failure> {
        self.ask(Request::Label { key, value }).await
    }

    /// The game annotates itself.
    pub(super) async fn set_annotation(&self, key: String, value: String) -> Result<(), Failure> {
        self.ask(Request::Annotation { key, value }).await
    }

    /// The game server as it is now, whether the backend has answered yet or not.
    pub(super) async fn game_server(&self) -> Arc<Document> {
        self.desk.meet().await;
        self.document(&self.desk.handle().snapshot())
    }

    /// The game server as it is now, and each change of it.
    pub(super) async fn watch(self: &Arc<Self>) -> Watcher {
        self.desk.meet().await;
        Watcher::new(Arc::clone(self), self.desk.handle().snapshots.clone())
    }

    /// The document of a snapshot: the same one, as long as a game would see no difference.
    pub(super) fn document(&self, snapshot: &Snapshot) -> Arc<Document> {
        // Replaced as a whole, so that a panic leaves nothing half done.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((view, document)) = &*newest
            && Arc::ptr_eq(view, &snapshot.sdk)
        {
            return Arc::clone(document);
        }
        let mut document = Arc::new(Document::of(&snapshot.sdk));
        if let Some((_, before)) = &*newest
            && before.says_the_same(&document)
        {
            document = Arc::clone(before);
        }
        *newest = Some((Arc::clone(&snapshot.sdk), Arc::clone(&document)));
        document
    }
}
