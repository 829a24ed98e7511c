//! Calls on the instance of a session: the heart of what an agent does.
//!
//! PATCH is the only one with a fence (backend.md, trap 7): POST and DELETE do what they are told, whoever is there, and
//! the ledger remembers whom they hurt.

use serde_json::{Value, json};

use super::{Checked, World};
use crate::simulator::happening::What;
use crate::simulator::health::Pulse;
use crate::simulator::ledger::{HealthRecord, OddityRecord, ReplacementRecord, note};
use crate::simulator::reply::Reply;
use crate::simulator::session::{Instance, Moment, custom_data, uuid};

impl World {
    pub(super) fn register(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let given = call.body.get("instance_id").and_then(Value::as_str).map(str::to_owned);
        // 2026-08 has this default; before, the field is required.
        let host_type = call.body.get("host_type").and_then(Value::as_str).unwrap_or("dedicated").to_owned();
        // Who names itself, or is a player, is the host; otherwise one is asked for, to be spawned by the backend.
        let is_host = given.is_some() || host_type == "player";
        let id = given.unwrap_or_else(|| uuid(&mut self.rng));
        let instance = Instance {
            id: id.clone(),
            allocation: None,
            host_type,
            host_player: call.body.get("host_player_uuid").cloned(),
            join_status: if is_host { "pending" } else { "requested" }.to_owned(),
            join_params: None,
            startup: call.body.get("instance_startup_params").cloned(),
            version: None,
            custom_data: custom_data(&call.body),
            match_id: None,
            host: Some(call.client.clone()),
            pulse: Pulse::default(),
            created: moment.text(),
        };
        let session = self.book.open(call.text("session_id"), moment)?;
        let old = session.seat(Some(instance), moment);
        let document = session.instance_document().unwrap_or_default();
        if let Some(old) = old.filter(|old| old.is_somebody_elses(&id, &call.client)) {
            self.replaced(call, old, Some(id.clone()), moment);
        }
        let session_id = call.text("session_id").to_owned();
        self.tell(What::Registered { session_id, instance_id: id }, moment.now);
        Ok(Reply::ok(&document))
    }

    /// What is not in the body is gone afterwards, except join_status (backend.md, trap 8).
    pub(super) fn update(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        let instance = session.instance.as_mut().ok_or_else(Reply::no_instance)?;
        let fence = call.body.get("allocation_id").and_then(Value::as_str);
        if fence != instance.allocation.as_deref() {
            let words = "The allocation id is not that of the session's instance";
            return Err(Reply::forbidden("instance_allocation_mismatch", words));
        }
        let before = instance.join_status.clone();
        if let Some(status) = call.body.get("join_status").and_then(Value::as_str) {
            status.clone_into(&mut instance.join_status);
        }
        instance.join_params = call.body.get("join_params").cloned();
        instance.version = call.body.get("version").cloned();
        instance.custom_data = custom_data(&call.body);
        instance.match_id = call.body.get("match_id").cloned();
        instance.host = Some(call.client.clone());
        let oddity = instance.oddity(&before);
        let (instance_id, join_status) = (instance.id.clone(), instance.join_status.clone());
        session.changed(moment);
        let document = session.instance_document().unwrap_or_default();
        if let Some(what) = oddity {
            self.odd(call, what, moment);
        }
        let session_id = call.text("session_id").to_owned();
        self.tell(What::Updated { session_id, instance_id, join_status }, moment.now);
        Ok(Reply::ok(&document))
    }

    pub(super) fn unregister(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if session.instance.is_none() {
            return Err(Reply::no_instance());
        }
        let old = session.seat(None, moment);
        let reply = Reply::no_content().tagged(&session.etag(), None);
        if let Some(old) = old {
            let what =
                What::Unregistered { session_id: call.text("session_id").to_owned(), instance_id: old.id.clone() };
            self.tell(what, moment.now);
            if old.allocation.is_some() {
                self.odd(call, "deleted an allocated instance, which carries no fence", moment);
            }
            if old.host.as_deref().is_none_or(|host| host != call.client) {
                self.replaced(call, old, None, moment);
            }
        }
        Ok(reply)
    }

    pub(super) fn post_health(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let (rules, is_new) = (self.book.rules, self.is_new);
        let (instance_id, sent) = (call.word("instance_id"), call.word("instance_health"));
        let session = self.book.open(call.text("session_id"), moment)?;
        let instance = session.instance_named(instance_id).ok_or_else(Reply::no_instance)?;
        let answered = instance.pulse.post(sent, moment.now, rules);
        // In 2026-08 a beat keeps the session alive, unless it is told not to.
        if is_new && call.flag("refresh_ttl", true) {
            session.refresh(moment);
        }
        let record = HealthRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: call.text("session_id").to_owned(),
            instance_id: instance_id.to_owned(),
            sent: sent.to_owned(),
            answered: answered.clone(),
        };
        let what = What::Health {
            session_id: record.session_id.clone(),
            instance_id: record.instance_id.clone(),
            sent: record.sent.clone(),
            answered: answered.clone(),
        };
        note(&mut self.ledger.health, record);
        self.tell(what, moment.now);
        Ok(Reply::ok(&json!({"updated_instance_health": answered})))
    }

    pub(super) fn odd(&mut self, call: &Checked, what: &str, moment: Moment) {
        let record = OddityRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: call.text("session_id").to_owned(),
            client: call.client.clone(),
            what: what.to_owned(),
        };
        note(&mut self.ledger.oddities, record);
    }

    fn replaced(&mut self, call: &Checked, old: Instance, new_instance_id: Option<String>, moment: Moment) {
        let record = ReplacementRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: call.text("session_id").to_owned(),
            client: call.client.clone(),
            old_instance_id: old.id,
            new_instance_id,
        };
        note(&mut self.ledger.replacements, record);
    }
}

impl Instance {
    fn is_somebody_elses(&self, id: &str, client: &str) -> bool {
        self.join_status != "closed" && (self.id != id || self.host.as_deref() != Some(client))
    }

    /// What the contract allows after an update and a good host does not do.
    fn oddity(&self, before: &str) -> Option<&'static str> {
        let reachable = |name: &str| {
            self.join_params
                .as_ref()
                .and_then(|params| params.get(name))
                .and_then(Value::as_str)
                .is_some_and(|s| !s.is_empty())
        };
        match self.join_status.as_str() {
            "requested" | "allocated" if before != self.join_status => {
                Some("wrote a join_status that only the backend writes")
            }
            "joinable" if !reachable("public_conn_str") && !reachable("private_conn_str") => {
                Some("is joinable without a connection string")
            }
            "pending" | "joinable" | "unjoinable" if before == "closed" => Some("reopened a closed instance"),
            "pending" if before == "joinable" => Some("moved a joinable instance back to pending"),
            _ => None,
        }
    }
}
