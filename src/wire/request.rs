//! From a call to an HTTP request (2023-11 contract, and of the 2026-08 one what replaces the calls that are gone; paths and fields
//! are exact).

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{BODY_LIMIT, PAGE_BODY_LIMIT, allocation};
use crate::core::call::{AuditEvent, Call, CallKind};
use crate::core::duty::{Duty, Match};
use crate::core::instance::{CustomData, Health};

/// Everything but the unreserved characters of RFC 3986, so that an id comes through byte for byte, whatever is in it.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest deadline of a poll, in seconds, and the largest page (2023-11 contract).
const DEADLINE_LIMIT: u64 = 900;
const PAGE_LIMIT: u8 = 100;
/// Where audit events go (2026-08 contract); the session is named in the body.
const AUDIT_PATH: &str = "/session/v1/audit";

/// The methods that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request without its token, relative to the environment's URL.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Which call it is.
    pub kind: CallKind,
    /// How.
    pub method: Method,
    /// The path from the first slash, and the query if there is one. Ids are percent-encoded. An id of "." or ".." cannot be
    /// kept apart from a relative path by any encoding; who makes a URL of this must refuse it.
    pub path_and_query: String,
    /// The header `If-None-Match`.
    pub if_none_match: Option<String>,
    /// JSON, if there is a body.
    pub body: Option<Vec<u8>>,
    /// How many bytes of a successful answer to read at most.
    pub response_limit: usize,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the body: join_params carry the session's security token.
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path_and_query", &self.path_and_query)
            .field("if_none_match", &self.if_none_match)
            .field("body", &self.body.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// The request that makes a call.
pub fn encode(call: &Call) -> HttpRequest {
    let kind = call.kind();
    let request = |method, path_and_query: String, body| HttpRequest {
        kind,
        method,
        path_and_query,
        if_none_match: None,
        body,
        response_limit: if kind == CallKind::Poll { PAGE_BODY_LIMIT } else { BODY_LIMIT },
    };
    match call {
        Call::FindSession { allocation } => {
            request(Method::Get, format!("/session/v1/session/allocation/{}", part(allocation.as_str())), None)
        }
        Call::ReadSession { session, etag } => HttpRequest {
            if_none_match: etag.as_ref().map(|etag| etag.as_str().to_owned()),
            ..request(Method::Get, format!("{}?refresh_ttl=true", session_path(session.as_str(), "")), None)
        },
        Call::Register { session, registration } => {
            let body = json(&InstanceRequest {
                host_type: &registration.host_type,
                instance_id: registration.instance_id.as_str(),
                instance_startup_params: registration.startup_params.as_ref().map(|params| StartupParams {
                    map: &params.map,
                    misc_params: &params.misc_params,
                    mode: params.mode.as_deref(),
                    custom_data: filled(&params.custom_data),
                }),
                custom_data: filled(&registration.custom_data),
            });
            request(Method::Post, session_path(session.as_str(), "/instance"), Some(body))
        }
        Call::Update { session, update } => {
            let body = json(&InstanceInfoUpdate {
                allocation_id: update.allocation_id.as_ref().map(|id| id.as_str()),
                join_status: update.join_status.as_str(),
                join_params: update.join_params.as_ref().map(|params| JoinParams {
                    public_conn_str: &params.public_conn_str,
                    private_conn_str: &params.private_conn_str,
                    custom_data: &params.custom_data,
                }),
                version: update.version.as_deref(),
                custom_data: &update.custom_data,
                match_id: update.match_id.as_ref().map(|id| id.as_str()),
            });
            request(Method::Patch, session_path(session.as_str(), "/instance"), Some(body))
        }
        Call::Unregister { session } => request(Method::Delete, session_path(session.as_str(), "/instance"), None),
        Call::CreateSession { wish } => {
            request(Method::Post, "/session/v1/session".to_owned(), Some(allocation::create_session(wish)))
        }
        Call::SicRegister { entry } => request(
            Method::Post,
            "/instances/sic_registration/v3/register".to_owned(),
            Some(allocation::sic_register(entry)),
        ),
        Call::SicState { id } => {
            request(Method::Post, "/instances/sic_registration/v1/state".to_owned(), Some(allocation::sic_state(id)))
        }
        Call::HealthConfig => request(Method::Get, "/session/v1/instance/health/config".to_owned(), None),
        Call::PostHealth { session, instance, health, refresh_ttl } => {
            let body = json(&HealthUpdate { instance_health: health.as_str(), instance_id: instance.as_str() });
            let query = if *refresh_ttl { "?refresh_ttl=true" } else { "" };
            request(Method::Post, session_path(session.as_str(), &format!("/instance/health{query}")), Some(body))
        }
        Call::Fubar { session, report } => {
            let body = json(&InstanceFubar {
                instance_id: report.instance_id.as_str(),
                error: &report.error,
                region: &report.region,
                matchmaking_profile_id: report.matchmaking_profile_id.as_deref(),
                instance_source_provider: report.source_provider.as_deref(),
            });
            request(Method::Post, session_path(session.as_str(), "/instance/fubar"), Some(body))
        }
        Call::PostEvent { session, event } => {
            let body = json(&EventRequest {
                event_code: &event.event_code,
                timestamp: event.timestamp.to_string(),
                description: event.description.as_deref(),
                custom_data: filled(&event.custom_data),
            });
            request(Method::Post, session_path(session.as_str(), "/event"), Some(body))
        }
        Call::Audit { session, event } => {
            request(Method::Post, AUDIT_PATH.to_owned(), Some(audit(session.as_str(), event)))
        }
        Call::Duty { session, duty } => {
            let (method, path, body) = duty_parts(duty);
            request(method, session_path(session.as_str(), &path), body)
        }
        Call::Poll { instance, after, page_size, deadline } => {
            let page_size = (*page_size).clamp(1, PAGE_LIMIT);
            let deadline = deadline.as_secs().min(DEADLINE_LIMIT);
            let mut path = format!(
                "/notification/v1/instance/{}/stream/notification/lp\
                 ?offset_reset_strategy=earliest&max_page_size={page_size}&deadline={deadline}",
                part(instance.as_str()),
            );
            if let Some(after) = after {
                path.push_str("&exclude_before=");
                path.extend(part(after.as_str()));
            }
            request(Method::Get, path, None)
        }
    }
}

fn audit(session: &str, event: &AuditEvent) -> Vec<u8> {
    json(&CreateAuditRequest {
        event_name: &event.event_name,
        session_id: session,
        reason: event.reason.as_deref(),
        instance_id: event.instance_id.as_str(),
        allocation_id: event.allocation_id.as_ref().map(|id| id.as_str()),
        instance_health: event.instance_health.map(Health::as_str),
        region_id: event.region.as_deref(),
        match_making_profile_id: event.matchmaking_profile_id.as_deref(),
        match_id: event.match_id.as_ref().map(|id| id.as_str()),
        custom_data: filled(&event.custom_data),
    })
}

/// Method, path below the session, and body. A PATCH says what is to change and nothing else; a listing's custom_data is the
/// only thing that there is to change, so it goes out even if empty.
fn duty_parts(duty: &Duty) -> (Method, String, Option<Vec<u8>>) {
    let listing = |custom_data| json(&BrowserInfo { custom_data });
    match duty {
        Duty::BeginMatch(game_match) => (Method::Post, "/match".to_owned(), Some(match_body(game_match))),
        Duty::UpdateMatch(game_match) => (Method::Patch, "/match".to_owned(), Some(match_body(game_match))),
        Duty::EndMatch => (Method::Delete, "/match".to_owned(), None),
        Duty::ListBrowser(shown) => (Method::Post, "/browser".to_owned(), Some(listing(filled(&shown.custom_data)))),
        Duty::UpdateBrowser(shown) => (Method::Patch, "/browser".to_owned(), Some(listing(Some(&shown.custom_data)))),
        Duty::UnlistBrowser => (Method::Delete, "/browser".to_owned(), None),
        Duty::UpdateSession { custom_data, joinable } => {
            let body = json(&SessionUpdate { custom_data: custom_data.as_ref(), joinable: *joinable });
            (Method::Patch, String::new(), Some(body))
        }
        Duty::RemovePlayer { player } => (Method::Delete, format!("/player/{player}"), None),
    }
}

fn match_body(game_match: &Match) -> Vec<u8> {
    json(&MatchCreateRequest { match_id: game_match.match_id.as_str(), custom_data: game_match.custom_data.as_ref() })
}

pub(super) fn part(id: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(id, ENCODED)
}

pub(super) fn session_path(session: &str, rest: &str) -> String {
    format!("/session/v1/session/{}{rest}", part(session))
}

/// An empty object is the contract's default: in a POST it is left out.
fn filled(data: &CustomData) -> Option<&CustomData> {
    (!data.is_empty()).then_some(data)
}

/// These structs hold nothing but text, which always serialises; an empty body would be refused by the backend (422), loudly.
pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

#[derive(Serialize)]
struct InstanceRequest<'a> {
    host_type: &'a str,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_startup_params: Option<StartupParams<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

#[derive(Serialize)]
struct StartupParams<'a> {
    map: &'a str,
    misc_params: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

/// A PATCH replaces the whole in this generation, so custom_data goes out even if empty (backend.md, trap 8).
#[derive(Serialize)]
struct InstanceInfoUpdate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation_id: Option<&'a str>,
    join_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_params: Option<JoinParams<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    custom_data: &'a CustomData,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_id: Option<&'a str>,
}

#[derive(Serialize)]
struct JoinParams<'a> {
    public_conn_str: &'a str,
    private_conn_str: &'a str,
    custom_data: &'a CustomData,
}

#[derive(Serialize)]
struct HealthUpdate<'a> {
    instance_health: &'a str,
    instance_id: &'a str,
}

#[derive(Serialize)]
struct InstanceFubar<'a> {
    instance_id: &'a str,
    error: &'a str,
    region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    matchmaking_profile_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_source_provider: Option<&'a str>,
}

#[derive(Serialize)]
struct EventRequest<'a> {
    event_code: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

#[derive(Serialize)]
struct CreateAuditRequest<'a> {
    event_name: &'a str,
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    instance_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_making_profile_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

#[derive(Serialize)]
struct MatchCreateRequest<'a> {
    match_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

#[derive(Serialize)]
struct BrowserInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
}

#[derive(Serialize)]
struct SessionUpdate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<&'a CustomData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joinable: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::allocation::{Address, SessionWish, SicEntry};
    use crate::core::ids::{AllocationId, InstanceId, SessionId};

    fn body(request: &HttpRequest) -> Value {
        serde_json::from_slice(request.body.as_deref().unwrap_or_default()).unwrap()
    }

    #[test]
    fn a_server_is_allocated_by_calls_that_only_public_clients_document() {
        let wish = SessionWish {
            session_type: "match".to_owned(),
            region: String::new(),
            client_version: "1.2.3".to_owned(),
            platform: "Basic".to_owned(),
            input: "gamepad".to_owned(),
        };
        let made = encode(&Call::CreateSession { wish: Box::new(wish) });
        assert_eq!((made.method.as_str(), made.path_and_query.as_str()), ("POST", "/session/v1/session"));
        let settings = json!({"platform": "Basic", "input": "gamepad"});
        let expected = json!({"session_type": "match", "client_version": "1.2.3", "client_settings": settings});
        assert_eq!(body(&made), expected);

        let entry = SicEntry {
            profile_id: "p".to_owned(),
            server_id: "s".to_owned(),
            hostname: "h".to_owned(),
            own_id: None,
            address: Address { host: "192.0.2.1".to_owned(), port: 7777 },
        };
        let id = entry.id();
        let registered = encode(&Call::SicRegister { entry: Box::new(entry.clone()) });
        assert_eq!(registered.path_and_query, "/instances/sic_registration/v3/register");
        let item = json!({"id": id, "group_tags": entry.group_tags(), "public_host": "192.0.2.1", "public_port": 7777});
        assert_eq!(body(&registered), json!({"items": [item]}));
        let asked = encode(&Call::SicState { id: "x".to_owned() });
        assert_eq!(asked.path_and_query, "/instances/sic_registration/v1/state");
        assert_eq!(body(&asked), json!({"items": [{"id": "x"}]}));
    }

    #[test]
    fn an_audit_event_says_only_what_is_known() {
        let event = AuditEvent {
            event_name: "fubar".to_owned(),
            reason: Some("crashed".to_owned()),
            instance_id: InstanceId::parse("i").unwrap(),
            allocation_id: AllocationId::parse("a").ok(),
            instance_health: Some(Health::Unhealthy),
            region: None,
            matchmaking_profile_id: None,
            match_id: None,
            custom_data: [].into(),
        };
        let session = SessionId::parse("s").unwrap();
        let request = encode(&Call::Audit { session, event: Box::new(event) });
        assert_eq!((request.method.as_str(), request.path_and_query.as_str()), ("POST", AUDIT_PATH));
        let text = body(&request).to_string();
        for known in ["fubar", "crashed", r#""instance_id":"i""#, r#""session_id":"s""#, "nhealthy"] {
            assert!(text.contains(known), "{known}: {text}");
        }
        assert!(!text.contains("region") && !text.contains("match") && !text.contains("null"), "{text}");
        // A request is logged without its body.
        assert!(!format!("{request:?}").contains("crashed"));
    }
}
