//! The calls and files by which a server is allocated (backend.md, "How a server gets allocated"). None of them stands in the
//! published contract: they are known from RallyHere's own public clients, so answers are read with a wide mind.

use serde::{Deserialize, Serialize};

use super::json::{self, Loose, Object, Unreadable};
use super::request::json as body_of;
use super::text;
use crate::core::allocation::{Allocation, SessionWish, SicAnswer, SicEntry, SicState, Teller, Word};
use crate::core::ids::{AllocationId, SessionId};

/// The most bytes of a file that names an allocation. Real ones have some hundred.
pub const FILE_LIMIT: usize = 64 * 1024;

#[derive(Serialize)]
struct CreateSession<'a> {
    session_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    region_id: &'a str,
    client_version: &'a str,
    client_settings: ClientSettings<'a>,
}

#[derive(Serialize)]
struct ClientSettings<'a> {
    platform: &'a str,
    input: &'a str,
}

/// The body of POST /session/v1/session.
pub(super) fn create_session(wish: &SessionWish) -> Vec<u8> {
    body_of(&CreateSession {
        session_type: &wish.session_type,
        region_id: &wish.region,
        client_version: &wish.client_version,
        client_settings: ClientSettings { platform: &wish.platform, input: &wish.input },
    })
}

#[derive(Deserialize)]
struct SessionMade {
    #[serde(default)]
    session_id: Loose,
}

/// The session that there is now. Of the answer only its id is known.
pub(super) fn session_made(body: &[u8]) -> Result<SessionId, Unreadable> {
    let made: SessionMade = json::object(body)?;
    let id = made.session_id.text().ok_or(Unreadable::Missing("session_id"))?;
    SessionId::parse(&id).map_err(|source| Unreadable::Id { field: "session_id", source })
}

#[derive(Serialize)]
struct Items<T> {
    items: [T; 1],
}

#[derive(Serialize)]
struct Registered<'a> {
    id: String,
    group_tags: String,
    public_host: &'a str,
    public_port: u16,
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
}

/// The body of the registration with SIC.
pub(super) fn sic_register(entry: &SicEntry) -> Vec<u8> {
    let (id, group_tags) = (entry.id(), entry.group_tags());
    let (public_host, public_port) = (entry.address.host.as_str(), entry.address.port);
    body_of(&Items { items: [Registered { id, group_tags, public_host, public_port }] })
}

/// The body of the question for our state.
pub(super) fn sic_state(id: &str) -> Vec<u8> {
    body_of(&Items { items: [Named { id }] })
}

#[derive(Deserialize)]
struct SicItems {
    items: Vec<Object<SicItem>>,
}

#[derive(Deserialize)]
struct SicItem {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    error_code: Loose,
    #[serde(default)]
    error_message: Loose,
    #[serde(default)]
    state: Loose,
    #[serde(default)]
    allocation_id: Loose,
    #[serde(default)]
    session_id: Loose,
}

/// What SIC says of the one server that it was asked about.
pub(super) fn sic(body: &[u8], secrets: &[&str]) -> Result<SicAnswer, Unreadable> {
    let SicItems { items } = json::object(body)?;
    let Some(Object(item)) = items.into_iter().next() else { return Err(Unreadable::Missing("item")) };
    let allocation_id = item.allocation_id.text().map(|id| AllocationId::parse(&id)).transpose();
    let session_id = item.session_id.text().map(|id| SessionId::parse(&id)).transpose();
    #[expect(clippy::cast_possible_truncation, reason = "a small code; what is larger has no meaning anyway")]
    let error_code = item.error_code.number().map_or(0, |code| code as i64);
    Ok(SicAnswer {
        success: item.success.ok_or(Unreadable::Missing("success"))?,
        error_code,
        message: item.error_message.text().map(|words| text::for_people(&words, secrets)),
        state: item.state.text().map(|word| match word.as_str() {
            "deallocated" => SicState::Deallocated,
            "allocating" => SicState::Allocating,
            "allocated" => SicState::Allocated,
            _ => SicState::Other(word),
        }),
        allocation_id: allocation_id.map_err(|source| Unreadable::Id { field: "allocation_id", source })?,
        session_id: session_id.map_err(|source| Unreadable::Id { field: "session_id", source })?,
    })
}

/// Multiplay's server.json; it has other fields too.
#[derive(Deserialize)]
struct ServerJson {
    #[serde(rename = "AllocationUUID", default)]
    allocation: Loose,
    #[serde(rename = "SessionId", default)]
    session: Loose,
    #[serde(rename = "ConnectionIP", default)]
    host: Loose,
    #[serde(rename = "ConnectionPort", default)]
    port: Loose,
}

/// Our own file: the same fields as `POST /v1/allocate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    allocation_id: Option<String>,
    #[serde(default)]
    public_host: Option<String>,
    #[serde(default)]
    public_port: Option<u16>,
}

/// Reads a file that names an allocation. An empty one, or one of spaces, names none, as does an object without ids.
///
/// # Errors
/// In words, where it is not a whole document of this kind: its writer may be in the middle of it.
pub fn file(teller: Teller, content: &[u8]) -> Result<Word, String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii();
    if content.is_empty() {
        return Ok(Word::Nothing);
    }
    if content.len() > FILE_LIMIT {
        return Err(format!("it has more than {FILE_LIMIT} bytes"));
    }
    match teller {
        Teller::Multiplay => {
            let read: ServerJson = json::object(content).map_err(|error| error.to_string())?;
            // Allocated once SessionId is not empty.
            let Some(session) = read.session.text() else { return Ok(Word::Nothing) };
            let port = match read.port {
                // Multiplay writes numbers; a text with a number in it is the same.
                Loose::Text(text) if text.trim().is_empty() => None,
                Loose::Text(text) => Some(text.trim().parse().map_err(|_not| wrong_port())?),
                Loose::Number(0.0) | Loose::Null => None,
                Loose::Number(number) => Some(port(number)?),
                Loose::Other => return Err(wrong_port()),
            };
            // Half an address is none: the configuration may have it.
            let address = read.host.text().zip(port);
            let (host, port) = address.unzip();
            let allocation = read.allocation.text();
            Allocation::read(Some(&session), allocation.as_deref(), host.as_deref(), port)
                .map(Word::Given)
                .map_err(|invalid| invalid.to_string())
        }
        Teller::File | Teller::Local => {
            let OwnFile { session_id, allocation_id, public_host, public_port } =
                json::object(content).map_err(|error| error.to_string())?;
            let named = |id: &Option<String>| id.as_deref().is_some_and(|id| !id.is_empty());
            if !named(&session_id) && !named(&allocation_id) {
                return Ok(Word::Nothing);
            }
            Allocation::read(session_id.as_deref(), allocation_id.as_deref(), public_host.as_deref(), public_port)
                .map(Word::Given)
                .map_err(|invalid| invalid.to_string())
        }
    }
}

fn wrong_port() -> String {
    "ConnectionPort is not a port from 1 to 65535".to_owned()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number of its range"
)]
fn port(number: f64) -> Result<u16, String> {
    let fits = (1.0..=65535.0).contains(&number) && number.fract() == 0.0;
    if fits { Ok(number as u16) } else { Err(wrong_port()) }
}

#[cfg(test)]
mod tests;
