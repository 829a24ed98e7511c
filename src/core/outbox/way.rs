//! By which call a report or an event goes out, where some of the calls are gone (`core::api`), and how it is put into each.
//!
//! | | first | then | then |
//! |---|---|---|---|
//! | fubar, 2023-11 | fubar | session event | audit event |
//! | fubar, where the newer generation was met | audit event | fubar | session event |
//! | event, 2023-11 | session event | audit event | |
//! | event, where the newer generation was met | audit event | session event | |
//!
//! | field of the audit event | of a fubar | of a session event |
//! |---|---|---|
//! | `event_name` | `instance_fubar` | its event_code, cut to 128 characters |
//! | `reason` | its error | its description |
//! | `instance_id`, `allocation_id`, `match_id` | ours, as far as there are any | the same |
//! | `instance_health` | our verdict when it is sent | the same |
//! | `region_id` | its region | the session's, if it names one |
//! | `match_making_profile_id` | its matchmaking_profile_id | – |
//! | `custom_data` | `report_id`, `accepted`, `instance_source_provider` | its custom_data, `report_id`, `timestamp`; `event_code` where that was cut |
//!
//! As a session event, a fubar has the event_code `instance_fubar`, its error as the description, and the rest in custom_data:
//! `report_id`, `instance_id`, `region`, `matchmaking_profile_id`, `instance_source_provider`.

use std::time::Instant;

use super::super::api::Feature;
use super::super::call::{AuditEvent, Call, FubarReport, SessionEvent};
use super::super::common::Common;
use super::super::durable::{Content, Report};
use super::super::ids::{InstanceId, SessionId};
use super::super::instance::CustomData;

/// Stands for the region where neither the session nor the configuration names one; the contract wants 1..128 characters.
const NO_REGION: &str = "unknown";
/// What a fubar is called where it is an event.
const FUBAR: &str = "instance_fubar";
/// The most characters of an audit event's name (2026-08 contract).
const NAME_LIMIT: usize = 128;

/// The ways, the best one first.
fn ways(common: &Common, content: &Content) -> &'static [Feature] {
    match (content, common.api.is_new()) {
        (Content::Fubar { .. }, false) => &[Feature::Fubar, Feature::Events, Feature::Audit],
        (Content::Fubar { .. }, true) => &[Feature::Audit, Feature::Fubar, Feature::Events],
        (Content::Event(_), false) => &[Feature::Events, Feature::Audit],
        (Content::Event(_), true) => &[Feature::Audit, Feature::Events],
        (Content::Duty(_), _) => &[],
    }
}

/// When the first way opens; `None` if one is open now, as for everything that has no choice.
pub(super) fn opens(common: &Common, content: &Content) -> Option<Instant> {
    let ways = ways(common, content);
    if ways.iter().any(|way| !common.api.is_gone(*way, common.now)) {
        return None;
    }
    ways.iter().filter_map(|way| common.api.until(*way, common.now)).min()
}

/// The call that delivers it.
pub(super) fn call(common: &Common, session: SessionId, instance_id: InstanceId, report: &Report) -> Call {
    let ways = ways(common, &report.content);
    let way = ways.iter().find(|way| !common.api.is_gone(**way, common.now)).or_else(|| ways.first());
    match (report.content.clone(), way) {
        (Content::Fubar { error, source_provider, matchmaking_profile_id, region }, way) => {
            let fubar = FubarReport {
                instance_id,
                error,
                region: place(common, region),
                matchmaking_profile_id,
                source_provider,
            };
            match way {
                Some(Feature::Audit) => Call::Audit { session, event: Box::new(audit_of_fubar(common, fubar, report)) },
                Some(Feature::Events) => Call::PostEvent { session, event: Box::new(event_of_fubar(fubar, report)) },
                Some(_) | None => Call::Fubar { session, report: Box::new(fubar) },
            }
        }
        (Content::Event(mut event), way) => {
            // The report id lets a reader of the event log see that two copies are one.
            event.custom_data.entry("report_id".to_owned()).or_insert_with(|| report.id.to_string());
            match way {
                Some(Feature::Audit) => {
                    Call::Audit { session, event: Box::new(audit_of_event(common, instance_id, event)) }
                }
                Some(_) | None => Call::PostEvent { session, event: Box::new(event) },
            }
        }
        (Content::Duty(duty), _) => Call::Duty { session, duty: Box::new(duty) },
    }
}

/// The session's region, else ours.
fn place(common: &Common, ours: String) -> String {
    let ours = if ours.is_empty() { NO_REGION.to_owned() } else { ours };
    region(common).unwrap_or(ours)
}

fn region(common: &Common) -> Option<String> {
    let region = common.session.as_ref().and_then(|view| view.session.region_id.clone());
    region.filter(|region| !region.is_empty())
}

fn identified(report: &Report) -> CustomData {
    [("report_id".to_owned(), report.id.to_string())].into()
}

fn audit_of_fubar(common: &Common, fubar: FubarReport, report: &Report) -> AuditEvent {
    let mut custom_data = identified(report);
    custom_data.insert("accepted".to_owned(), report.accepted.to_string());
    insert(&mut custom_data, "instance_source_provider", fubar.source_provider);
    AuditEvent {
        event_name: FUBAR.to_owned(),
        reason: Some(fubar.error),
        instance_id: fubar.instance_id,
        allocation_id: common.allocation_id().cloned(),
        instance_health: Some(common.verdict),
        region: Some(fubar.region),
        matchmaking_profile_id: fubar.matchmaking_profile_id,
        match_id: common.durable.said.match_id.clone(),
        custom_data,
    }
}

fn event_of_fubar(fubar: FubarReport, report: &Report) -> SessionEvent {
    let mut custom_data = identified(report);
    insert(&mut custom_data, "instance_id", Some(fubar.instance_id.to_string()));
    insert(&mut custom_data, "region", Some(fubar.region));
    insert(&mut custom_data, "matchmaking_profile_id", fubar.matchmaking_profile_id);
    insert(&mut custom_data, "instance_source_provider", fubar.source_provider);
    SessionEvent {
        event_code: FUBAR.to_owned(),
        timestamp: report.accepted,
        description: Some(fubar.error),
        custom_data,
    }
}

fn audit_of_event(common: &Common, instance_id: InstanceId, event: SessionEvent) -> AuditEvent {
    let SessionEvent { event_code, timestamp, description, mut custom_data } = event;
    custom_data.entry("timestamp".to_owned()).or_insert_with(|| timestamp.to_string());
    let event_name: String = event_code.chars().take(NAME_LIMIT).collect();
    if event_name != event_code {
        custom_data.entry("event_code".to_owned()).or_insert(event_code);
    }
    AuditEvent {
        event_name,
        reason: description,
        instance_id,
        allocation_id: common.allocation_id().cloned(),
        instance_health: Some(common.verdict),
        region: region(common),
        matchmaking_profile_id: None,
        match_id: common.durable.said.match_id.clone(),
        custom_data,
    }
}

/// An empty value is refused, so what is not there is left out.
fn insert(data: &mut CustomData, name: &str, value: Option<String>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        data.insert(name.to_owned(), value);
    }
}
