//! Audit events (2026-08): what players' clients and instances write into a session's log, and reading it.

use serde_json::{Value, json};

use super::{Checked, World};
use crate::simulator::happening::What;
use crate::simulator::ledger::{ReportRecord, note};
use crate::simulator::reply::Reply;
use crate::simulator::session::{Moment, put};

/// What the service puts before the names of events that are not its own.
const CUSTOMERS: &str = "customer.";

impl World {
    pub(super) fn audit(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let (session_id, event_name) = (call.word("session_id").to_owned(), call.word("event_name").to_owned());
        let session = self.book.open(&session_id, moment)?;
        let mut event = call.body.clone();
        put(&mut event, "event_name", Some(json!(format!("{CUSTOMERS}{event_name}"))));
        put(&mut event, "event_datetime", Some(json!(moment.text())));
        // The request may name all players, an event of the log has only the one who asked.
        if let Some(fields) = event.as_object_mut() {
            fields.remove("players");
        }
        session.audit(event);
        let record = ReportRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: session_id.clone(),
            client: call.client.clone(),
            body: call.body.clone(),
        };
        note(&mut self.ledger.audits, record);
        self.tell(What::Audit { session_id, event_name }, moment.now);
        // The contract leaves the body open; a FastAPI handler that returns nothing says null.
        Ok(Reply::ok(&Value::Null))
    }

    /// The newest first; of one session, or of all.
    pub(super) fn list_audit(&mut self, call: &Checked, moment: Moment) -> Reply {
        let size = call.number("page_size", 50);
        let skipped = call.number("page_num", 0).saturating_mul(size);
        let mut events: Vec<Value> = Vec::new();
        for name in self.book.names() {
            if call.given("session_id").is_none_or(|wanted| wanted == name)
                && let Ok(session) = self.book.open(&name, moment)
            {
                events.extend(session.audits.iter().cloned());
            }
        }
        let of_player = |event: &Value| match call.given("player_uuid") {
            Some(player) => event.get("player_uuid").and_then(Value::as_str) == Some(player),
            None => true,
        };
        events.retain(of_player);
        events.sort_by_key(|event| event.get("event_datetime").and_then(Value::as_str).map(str::to_owned));
        let page: Vec<Value> = events.into_iter().rev().skip(skipped).take(size).collect();
        Reply::ok(&json!({"events": page}))
    }
}
