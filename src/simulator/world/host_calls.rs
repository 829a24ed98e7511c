//! A host's other duties: the match, the public browser, players, backfill.
//!
//! What was carried out is in the ledger, in order. An update of something that is not there makes it, as the contract says
//! nothing else; but a good host does not do that, so it is in the ledger too.

use serde_json::{Value, json};

use super::{Checked, World};
use crate::simulator::contract;
use crate::simulator::ledger::{DutyRecord, note};
use crate::simulator::reply::Reply;
use crate::simulator::session::{Moment, Player, Session, TEAM_SIZE, custom_data, put};

impl World {
    /// POST and PATCH of a match; a PATCH of the running one keeps its beginning.
    pub(super) fn put_match(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        let is_update = call.kind == super::Kind::UpdateMatch;
        let old = session.game_match.as_ref();
        let other = old.is_none_or(|old| old.get("match_id").and_then(Value::as_str) != Some(call.word("match_id")));
        let odd = match (is_update, old.is_some()) {
            (true, _) if other => Some("updated a match that does not run"),
            (false, true) if other => Some("began a match over another one"),
            _ => None,
        };
        let running = old.filter(|_| is_update).and_then(|old| old.get("created"));
        let created = running.cloned().unwrap_or_else(|| json!(moment.text()));
        session.game_match = Some(json!({
            "match_id": call.word("match_id"),
            "created": created,
            "custom_data": custom_data(&call.body),
            "ticket_ids": [],
        }));
        session.changed(moment);
        self.done(call, odd, moment);
        let started = json!({"match_id": call.word("match_id")});
        Ok(Reply::ok(if is_update { &Value::Null } else { &started }))
    }

    pub(super) fn end_match(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if session.game_match.take().is_some() {
            session.changed(moment);
        }
        self.done(call, None, moment);
        Ok(Reply::ok(&Value::Null))
    }

    pub(super) fn put_browser(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let mut listing = json!({"custom_data": custom_data(&call.body)});
        if self.is_new {
            let created = call.body.get("created_timestamp").cloned().unwrap_or_else(|| json!(moment.text()));
            put(&mut listing, "created_timestamp", Some(created));
        }
        let session = self.book.open(call.text("session_id"), moment)?;
        let unlisted = session.browser.replace(listing.clone()).is_none() && call.kind == super::Kind::UpdateBrowser;
        session.changed(moment);
        self.done(call, unlisted.then_some("updated a listing that is not there"), moment);
        Ok(Reply::ok(&listing))
    }

    pub(super) fn delete_browser(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if session.browser.take().is_some() {
            session.changed(moment);
        }
        self.done(call, None, moment);
        Ok(Reply::no_content())
    }

    /// GET of the public browser: one type, one page; cursor 0 ends it.
    pub(super) fn browse(&mut self, call: &Checked, moment: Moment) -> Reply {
        let (first, size) = (call.number("cursor", 0), call.number("page_size", 50));
        let mut listed = Vec::new();
        for name in self.book.names() {
            let Ok(session) = self.book.open(&name, moment) else { continue };
            let region = call.given("region_id").is_none_or(|wanted| session.region.as_deref() == Some(wanted));
            if let (Some(listing), true) = (&session.browser, region && session.kind == call.text("session_type")) {
                listed.push(json!({
                    "session_id": session.id,
                    "player_count": session.teams.iter().map(Vec::len).sum::<usize>(),
                    "max_player_count": session.teams.len() * TEAM_SIZE,
                    "custom_data": custom_data(listing),
                }));
            }
        }
        let next = first.saturating_add(size);
        let cursor = if next < listed.len() { next } else { 0 };
        let page: Vec<Value> = listed.into_iter().skip(first).take(size).collect();
        let document = json!({"cursor": cursor, "browser_sessions": page});
        let etag = super::config_calls::etag(&document);
        Reply::ok(&document).tagged(&etag, None)
    }

    pub(super) fn add_player(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        let uuid = call.text("player_uuid").to_ascii_lowercase();
        // 2026-08 lets the service choose; before, the field is required.
        let wanted = call.body.get("team_id").and_then(Value::as_u64).unwrap_or_default();
        let wanted = usize::try_from(wanted).ok();
        let wanted = wanted.filter(|id| *id < session.teams.len());
        let team_id = wanted.ok_or_else(|| Reply::not_found("team_not_found", "The session has no such team"))?;
        let others = |team: &Vec<Player>| team.iter().filter(|player| player.uuid != uuid).count();
        if session.teams.get(team_id).is_some_and(|team| others(team) >= TEAM_SIZE) {
            return Err(Reply::forbidden("team_full", "The team has no room"));
        }
        take_player(session, &uuid);
        let asked = call.body.get("status").and_then(Value::as_str).unwrap_or("member");
        let has_leader = session.teams.iter().flatten().any(|player| player.status == "leader");
        let status = if asked == "member" && !has_leader { "leader" } else { asked }.to_owned();
        let custom_data = custom_data(&call.body);
        let document = json!({"status": status, "team_id": team_id, "custom_data": custom_data});
        if let Some(team) = session.teams.get_mut(team_id) {
            team.push(Player { uuid, status, custom_data, joined: moment.text() });
        }
        session.changed(moment);
        Ok(Reply::ok(&document).tagged(&session.etag(), None))
    }

    pub(super) fn remove_player(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if !take_player(session, &call.text("player_uuid").to_ascii_lowercase()) {
            return Err(Reply::not_found("player_not_found", "The session has no such player"));
        }
        session.changed(moment);
        let reply = Reply::no_content().tagged(&session.etag(), None);
        self.done(call, None, moment);
        Ok(reply)
    }

    /// Remembers a duty that was carried out, and what was odd about it.
    pub(super) fn done(&mut self, call: &Checked, odd: Option<&str>, moment: Moment) {
        let player = || json!({"player_uuid": call.text("player_uuid").to_ascii_lowercase()});
        let record = DutyRecord {
            at_ms: self.elapsed_ms(moment.now),
            session_id: call.text("session_id").to_owned(),
            client: call.client.clone(),
            call: contract::name_of(call.kind),
            body: if call.kind == super::Kind::RemovePlayer { player() } else { call.body.clone() },
        };
        note(&mut self.ledger.duties, record);
        if let Some(what) = odd {
            self.odd(call, what, moment);
        }
    }

    /// No session here was made by matchmaking, so none has anything to backfill.
    pub(super) fn backfill(&mut self, call: &Checked, moment: Moment) -> Result<Reply, Reply> {
        let session = self.book.open(call.text("session_id"), moment)?;
        if call.flag("refresh_ttl", true) {
            session.refresh(moment);
        }
        Err(Reply::not_found("backfill_not_found", "Backfill resource could not be found on the session"))
    }
}

fn take_player(session: &mut Session, uuid: &str) -> bool {
    let count = |session: &Session| session.teams.iter().map(Vec::len).sum::<usize>();
    let before = count(session);
    for team in &mut session.teams {
        team.retain(|player| player.uuid != uuid);
    }
    count(session) < before
}
