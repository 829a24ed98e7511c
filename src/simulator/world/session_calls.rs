//! Calls on a session: reading, changing, events.

use serde_json::{Value, json};

use super::{Checked, World};
use crate::simulator::happening::What;
use crate::simulator::ledger::{ReportRecord, note};
use crate::simulator::reply::Reply;
use crate::simulator::session::{Moment, Session, custom_data, put};

/// Who sees how to connect without being a member.
const READ_ANY: [&str; 2] = ["session:read:any", "session:*"];

impl World {
    pub(super) fn read_session(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let any = self.desk.holds(&call.client, &READ_ANY);
        let session = self.book.open(call.text("session_id"), moment)?;
        if call.flag("refresh_ttl", true) {
            session.refresh(moment);
        }
        Ok(view(session, any, call))
    }

    pub(super) fn find_session(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let any = self.desk.holds(&call.client, &READ_ANY);
        let allocation = call.text("allocation_id");
        let id = self.allocations.get(allocation).cloned().flatten().ok_or_else(Reply::no_session)?;
        let session = self.book.open(&id, moment)?;
        let held = session.instance.as_ref().and_then(|instance| instance.allocation.as_deref());
        if held != Some(allocation) {
            return Err(Reply::no_session());
        }
        let reply = view(session, any, call);
        self.tell(What::Resolved { allocation_id: allocation.to_owned(), session_id: id }, moment.now);
        Ok(reply)
    }

    pub(super) fn update_session(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if let Some(region) = call.body.get("region_id").and_then(Value::as_str) {
            session.region = Some(region.to_owned());
        }
        if let Some(data) = call.body.get("custom_data") {
            session.custom_data = data.clone();
        }
        if let Some(joinable) = call.body.get("joinable").and_then(Value::as_bool) {
            session.joinable = joinable;
        }
        if let Some(fields) = call.body.get("joinability").and_then(Value::as_object) {
            for (name, value) in fields {
                put(&mut session.joinability, name, Some(value.clone()));
            }
        }
        session.changed(moment);
        let reply = Reply::ok(&session.document(true)).tagged(&session.etag(), None);
        self.done(call, None, moment);
        Ok(reply)
    }

    pub(super) fn list_events(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        let size = call.number("page_size", 50);
        let skipped = call.number("page_num", 0).saturating_mul(size);
        let events: Vec<&Value> = session.events.iter().rev().skip(skipped).take(size).collect();
        Ok(Reply::ok(&json!({"events": events})))
    }

    pub(super) fn post_event(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        let mut event = call.body.clone();
        put(&mut event, "custom_data", Some(custom_data(&call.body)));
        put(&mut event, "instance", session.instance.as_ref().map(|instance| json!(instance.id)));
        let game_match = session.game_match.as_ref().and_then(|current| current.get("match_id")).cloned();
        put(&mut event, "match", game_match);
        session.record(event);
        session.refresh(moment);
        let record = self.report(call, moment);
        note(&mut self.ledger.events, record);
        let (session_id, event_code) = (call.text("session_id").to_owned(), call.word("event_code").to_owned());
        self.tell(What::Event { session_id, event_code }, moment.now);
        // The contract leaves the body open; a FastAPI handler that returns nothing says null.
        Ok(Reply::ok(&Value::Null))
    }

    /// A fubar report is taken whatever instance it names: it may be gone already.
    pub(super) fn fubar(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        self.book.open(call.text("session_id"), moment)?.refresh(moment);
        let record = self.report(call, moment);
        note(&mut self.ledger.fubars, record);
        let what = What::Fubar {
            session_id: call.text("session_id").to_owned(),
            instance_id: call.word("instance_id").to_owned(),
            error: call.word("error").to_owned(),
        };
        self.tell(what, moment.now);
        Ok(Reply::ok(&json!({})))
    }

    fn report(&self, call: &Checked, moment: Moment) -> ReportRecord {
        ReportRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: call.text("session_id").to_owned(),
            client: call.client.clone(),
            body: call.body.clone(),
        }
    }
}

fn view(session: &Session, any: bool, call: &Checked) -> Reply {
    let host = session.instance.as_ref().and_then(|instance| instance.host.as_deref());
    let full = any || host == Some(call.client.as_str());
    Reply::ok(&session.document(full)).tagged(&session.etag(), call.tag())
}
