//! The documents of sessions and instances (2023-11 contract, Session and InstanceInfo), as far as we read them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::json::{self, Loose, Object, Unreadable};
use crate::core::ids::{AllocationId, IdError, InstanceId, SessionId};
use crate::core::instance::{Health, InstanceInfo, JoinStatus, Session};

/// A region is sent on in fubar reports, which take this many characters (2023-11 contract, InstanceFubar).
const REGION_LIMIT: usize = 128;

/// Fields of a session that came with the newer generation (2026-08 contract, Session).
const NEWER: [&str; 4] = ["joinability", "teams_suppressed", "platform_scouts", "matchmaking_results"];

/// Fields of an instance that its host does not write.
const KEPT: [&str; 3] = ["instance_id", "allocation_id", "instance_startup_params"];

#[derive(Deserialize)]
struct SessionDto {
    session_id: Option<String>,
    #[serde(default)]
    region_id: Loose,
    instance: Option<Object<InstanceDto>>,
}

#[derive(Deserialize)]
struct InstanceDto {
    instance_id: Option<String>,
    allocation_id: Option<String>,
    join_status: Option<String>,
    #[serde(default)]
    instance_health: Loose,
}

/// Reads a session. An instance in it that cannot be read makes the whole unreadable: taking it for absent would look like the
/// loss of the instance.
pub(super) fn session(body: &[u8]) -> Result<Session, Unreadable> {
    let dto: SessionDto = json::object(body)?;
    let session_id = present(dto.session_id).ok_or(Unreadable::Missing("session_id"))?;
    // The body was read as JSON, so it is UTF-8; the lossy way only spares an error that cannot be.
    let document = Arc::from(String::from_utf8_lossy(body));
    let whole: Value = json::object(body)?;
    Ok(Session {
        session_id: identifier("session_id", &session_id, SessionId::parse)?,
        region_id: dto.region_id.text().filter(|region| region.chars().count() <= REGION_LIMIT),
        instance: dto.instance.map(|Object(instance)| InstanceInfo::try_from(instance)).transpose()?,
        document,
        is_new: NEWER.iter().any(|field| whole.get(field).is_some()),
        print: print(whole),
    })
}

/// FNV-1a over the document without what a host writes itself. Of the instance only whose it is and what it was asked to load
/// are left; keys come in the order of the alphabet.
fn print(mut news: Value) -> u64 {
    if let Some(instance) = news.get_mut("instance").and_then(Value::as_object_mut) {
        instance.retain(|name, _| KEPT.contains(&name.as_str()));
    }
    let mut print = 0xcbf2_9ce4_8422_2325_u64;
    for byte in news.to_string().bytes() {
        print = (print ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    print
}

/// Reads an instance.
pub(super) fn instance(body: &[u8]) -> Result<InstanceInfo, Unreadable> {
    json::object::<InstanceDto>(body)?.try_into()
}

impl TryFrom<InstanceDto> for InstanceInfo {
    type Error = Unreadable;

    fn try_from(dto: InstanceDto) -> Result<Self, Unreadable> {
        let instance_id = present(dto.instance_id);
        let allocation_id = present(dto.allocation_id);
        Ok(Self {
            instance_id: instance_id.map(|id| identifier("instance_id", &id, InstanceId::parse)).transpose()?,
            allocation_id: allocation_id.map(|id| identifier("allocation_id", &id, AllocationId::parse)).transpose()?,
            join_status: JoinStatus::from_wire(&dto.join_status.ok_or(Unreadable::Missing("join_status"))?),
            health: dto.instance_health.text().map(|word| Health::from_wire(&word)),
        })
    }
}

/// No id is empty, so an empty one stands for none.
fn present(id: Option<String>) -> Option<String> {
    id.filter(|id| !id.is_empty())
}

fn identifier<T>(
    field: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<T, Unreadable> {
    parse(text).map_err(|source| Unreadable::Id { field, source })
}
