//! The notification stream of one instance, and where a reader stands in it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

/// One instance's notifications, oldest first.
#[derive(Debug)]
pub(super) struct Stream {
    entries: VecDeque<Entry>,
    /// Position of the newest notification ever written; 0 before the first.
    newest: u64,
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    id: String,
    document: Value,
}

/// Where a long poll begins when its cursor is missing, unknown or trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// With what is written after the poll began.
    Latest,
    /// With the oldest that is kept.
    Earliest,
}

impl Default for Stream {
    fn default() -> Self {
        Self { entries: VecDeque::new(), newest: 0, written: watch::Sender::new(0) }
    }
}

impl Stream {
    /// Writes a notification (NotificationCreate, checked) and gives its id. Keeps the newest `keep`.
    ///
    /// The id is opaque to clients; ours has characters that must be percent-encoded in a query, so that a client
    /// which forgets that is found out.
    pub(super) fn publish(&mut self, created: &Value, wall: Timestamp, tag: u16, keep: usize) -> String {
        self.newest += 1;
        let id = format!("{}-{}+{tag:04x}=", wall.as_millisecond(), self.newest);
        let mut document = created.clone();
        if let Some(fields) = document.as_object_mut() {
            fields.insert("notification_id".to_owned(), json!(id));
            fields.insert("created".to_owned(), json!(format!("{wall:.6}")));
            let _ = fields.entry("custom_data").or_insert_with(|| json!({}));
        }
        self.entries.push_back(Entry { position: self.newest, id: id.clone(), document });
        self.trim(keep);
        self.written.send_replace(self.newest);
        id
    }

    /// Forgets all but the newest `keep`.
    pub(super) fn trim(&mut self, keep: usize) {
        let surplus = self.entries.len().saturating_sub(keep);
        self.entries.drain(..surplus);
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells when something is written.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The position after which a long poll reads.
    pub(super) fn start(&self, exclude_before: Option<&str>, reset: Reset) -> u64 {
        exclude_before.and_then(|cursor| self.position(cursor)).unwrap_or(match reset {
            Reset::Latest => self.newest,
            Reset::Earliest => 0,
        })
    }

    /// What was written after a position, oldest first.
    pub(super) fn after(&self, position: u64, limit: usize) -> Vec<Value> {
        self.entries.iter().filter(|entry| entry.position > position).take(limit).map(Entry::copy).collect()
    }

    /// One page, newest first: from `start_at` (inclusive) down to `exclude_before` (exclusive).
    pub(super) fn page(&self, start_at: Option<&str>, exclude_before: Option<&str>, limit: usize) -> Vec<Value> {
        let top = start_at.and_then(|id| self.position(id)).unwrap_or(self.newest);
        let bottom = exclude_before.and_then(|id| self.position(id)).unwrap_or(0);
        let wanted = |entry: &&Entry| entry.position <= top && entry.position > bottom;
        self.entries.iter().rev().filter(wanted).take(limit).map(Entry::copy).collect()
    }

    /// One notification.
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        self.entries.iter().find(|entry| entry.id == id).map(Entry::copy)
    }

    fn position(&self, id: &str) -> Option<u64> {
        self.entries.iter().find(|entry| entry.id == id).map(|entry| entry.position)
    }
}

impl Entry {
    fn copy(&self) -> Value {
        self.document.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(count: usize) -> (Stream, Vec<String>) {
        let mut stream = Stream::default();
        let ids = (0..count)
            .map(|n| stream.publish(&json!({"message": format!("m{n}")}), Timestamp::UNIX_EPOCH, 7, 100))
            .collect();
        (stream, ids)
    }

    fn messages(page: &[Value]) -> Vec<&str> {
        page.iter().map(|document| document["message"].as_str().unwrap()).collect()
    }

    #[test]
    fn latest_skips_what_was_written_before_and_earliest_does_not() {
        let (mut stream, ids) = stream(2);
        let (latest, earliest) = (stream.start(None, Reset::Latest), stream.start(None, Reset::Earliest));
        assert_eq!(messages(&stream.after(latest, 10)), Vec::<&str>::new());
        assert_eq!(messages(&stream.after(earliest, 10)), ["m0", "m1"]);
        stream.publish(&json!({"message": "m2"}), Timestamp::UNIX_EPOCH, 7, 100);
        assert_eq!(messages(&stream.after(latest, 10)), ["m2"]);
        for reset in [Reset::Latest, Reset::Earliest] {
            assert_eq!(messages(&stream.after(stream.start(Some(&ids[0]), reset), 10)), ["m1", "m2"], "{reset:?}");
        }
    }

    #[test]
    fn a_trimmed_or_unknown_cursor_falls_back_to_the_strategy() {
        let (mut stream, ids) = stream(3);
        stream.trim(1);
        for cursor in [ids[0].as_str(), "nonsense", ""] {
            assert_eq!(messages(&stream.after(stream.start(Some(cursor), Reset::Earliest), 10)), ["m2"]);
            assert!(stream.after(stream.start(Some(cursor), Reset::Latest), 10).is_empty());
        }
    }

    #[test]
    fn pages_go_from_new_to_old() {
        let (stream, ids) = stream(5);
        assert_eq!(messages(&stream.page(None, None, 2)), ["m4", "m3"]);
        assert_eq!(messages(&stream.page(Some(&ids[2]), None, 2)), ["m2", "m1"]);
        assert_eq!(messages(&stream.page(None, Some(&ids[2]), 9)), ["m4", "m3"]);
        assert_eq!(stream.get(&ids[1]).unwrap()["message"], "m1");
        assert!(stream.get("x").is_none());
    }
}
