//! The calls of the 2023-11 contract: where each lives, who may make it, and what it takes. One table; beside it (`newer`) what the
//! 2026-08 contract has otherwise. The generation between them is the older one without fubar, as the service was from March to
//! August 2024.

use super::options::Generation;
use super::rules::{Field, Rule, optional, required};

mod bodies;
mod newer;

/// Which call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Token,
    Login,
    ReadSession,
    UpdateSession,
    FindSession,
    Register,
    Update,
    Unregister,
    HealthConfig,
    PostHealth,
    Fubar,
    ListEvents,
    PostEvent,
    StartMatch,
    UpdateMatch,
    EndMatch,
    AddBrowser,
    UpdateBrowser,
    DeleteBrowser,
    AddPlayer,
    RemovePlayer,
    Regions,
    ConnectionInfo,
    Browse,
    RequestTemplate,
    LaunchTemplate,
    SessionTemplate,
    Backfill,
    ListNotifications,
    CreateNotifications,
    GetNotification,
    Poll,
    ListAudit,
    Audit,
    /// Of none of the documents; known from the public clients.
    CreateSession,
    /// The same.
    SicRegister,
    /// The same.
    SicState,
}

/// One call of the contract.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) method: &'static str,
    /// As the contract writes it, with `{names}`.
    pub(super) path: &'static str,
    /// The word in the ledger and in fault rules; the same as the agent's own where it makes the call, except that each of a host's
    /// other duties has one of its own here.
    pub(super) name: &'static str,
    /// Any of these, as the contract lists them; empty: none is needed.
    pub(super) permissions: &'static [&'static str],
    pub(super) path_fields: &'static [Field],
    pub(super) query_fields: &'static [Field],
    pub(super) body: Option<&'static [Field]>,
    until: Until,
}

/// How long a call of the older contract was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It still is.
    Today,
    /// Not in 2026-08.
    Newer,
    /// Not even in the generation between.
    Between,
}

impl Operation {
    /// Whether it wants HTTP Basic; the others want a bearer token.
    pub(super) fn is_login(&self) -> bool {
        matches!(self.kind, Kind::Token | Kind::Login)
    }
}

/// What a method and a path lead to.
#[derive(Debug)]
pub(super) enum Route {
    /// A call, and the parts of its path, decoded.
    Call(&'static Operation, Vec<(&'static Field, String)>),
    /// The path is there, for these methods.
    WrongMethod(Vec<&'static str>),
    /// Nothing is there.
    Unknown,
    /// The contract has it, and it is not simulated.
    NotPlayed,
}

/// The calls of a generation; of two that are alike, the first stands.
fn operations(generation: Generation) -> impl Iterator<Item = &'static Operation> {
    let (newer, older): (&[Operation], _) = match generation {
        Generation::V2023_11 => (&[], [Until::Today, Until::Newer, Until::Between].as_slice()),
        Generation::Between => (&[], [Until::Today, Until::Newer].as_slice()),
        Generation::V2026_08 => (newer::OPERATIONS, [Until::Today].as_slice()),
    };
    newer.iter().chain(OPERATIONS.iter().filter(|operation| older.contains(&operation.until)))
}

/// Finds the call.
pub(super) fn route(generation: Generation, method: &str, path: &str) -> Route {
    let mut allowed = Vec::new();
    let is_new = generation == Generation::V2026_08;
    let not_played = |(is, at): &&(&str, &str)| *is == method && fits(at, path);
    if is_new && newer::NOT_PLAYED.iter().any(|call| not_played(&call)) {
        return Route::NotPlayed;
    }
    for operation in operations(generation) {
        if let Some(parts) = fit(operation, path) {
            if operation.method == method {
                return Route::Call(operation, parts);
            }
            if !allowed.contains(&operation.method) {
                allowed.push(operation.method);
            }
        }
    }
    if allowed.is_empty() { Route::Unknown } else { Route::WrongMethod(allowed) }
}

/// The word of a call, also of one that this generation has not (any more).
pub(super) fn name(generation: Generation, method: &str, path: &str) -> Option<&'static str> {
    if let Route::Call(operation, _) = route(generation, method, path) {
        return Some(operation.name);
    }
    let mut all = OPERATIONS.iter().chain(newer::OPERATIONS);
    all.find(|operation| operation.method == method && fits(operation.path, path)).map(|operation| operation.name)
}

/// Whether a path is one of a template.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(
            |(part, segment)| {
                if part.starts_with('{') { !segment.is_empty() } else { part == segment }
            },
        )
}

fn fit(operation: &'static Operation, path: &str) -> Option<Vec<(&'static Field, String)>> {
    let mut fields = Vec::new();
    let mut segments = path.split('/');
    for part in operation.path.split('/') {
        let segment = segments.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if !segment.is_empty() => {
                let field = operation.path_fields.iter().find(|field| field.name == name)?;
                let text = percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned();
                fields.push((field, text));
            }
            Some(_) => return None,
            None if part != segment => return None,
            None => {}
        }
    }
    segments.next().is_none().then_some(fields)
}

const ID: Rule = Rule::Text { min: 1, max: 128 };
const ANY: Rule = Rule::Text { min: 0, max: usize::MAX };
const fn up_to(min: i64, max: i64) -> Rule {
    Rule::Integer { min, max }
}

const SESSION: &[Field] = &[required("session_id", ID)];
const PLAYER: &[Field] = &[required("session_id", ID), required("player_uuid", Rule::Uuid)];
const INSTANCE: &[Field] = &[required("instance_id", ANY)];
const REFRESH: &[Field] = &[optional("refresh_ttl", Rule::Boolean)];
const PAGE: &[Field] = &[optional("cursor", up_to(0, i64::MAX)), optional("page_size", up_to(1, 50))];

const READ: &[&str] = &["session:read:any", "session:read:self", "session:*"];
const CONFIG: &[&str] = &["session:read:config", "session:*"];
const UPDATE: &[&str] = &["session:update:any", "session:update:self", "session:*"];
const BROWSER: &[&str] = &["session:update:browser", "session:*"];
const READ_AUDIT: &[&str] = &[
    "session-audit:read:all",
    "session-audit:read:self",
    "session-player-audit:read:all",
    "session-player-audit:read:self",
    "session:*",
];
const WRITE_AUDIT: &[&str] = &[
    "session-audit:update:all",
    "session-audit:update:self",
    "session-player-audit:update:all",
    "session-player-audit:update:self",
    "session:*",
];
const NOTIFY_READ: &[&str] = &["notification:instance:*", "notification:instance:read"];

const fn call(kind: Kind, method: &'static str, path: &'static str, name: &'static str) -> Operation {
    Operation {
        kind,
        method,
        path,
        name,
        permissions: &[],
        path_fields: &[],
        query_fields: &[],
        body: None,
        until: Until::Today,
    }
}

impl Operation {
    const fn gone(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    const fn wants(mut self, permissions: &'static [&'static str]) -> Self {
        self.permissions = permissions;
        self
    }

    const fn at(mut self, fields: &'static [Field]) -> Self {
        self.path_fields = fields;
        self
    }

    const fn asks(mut self, fields: &'static [Field]) -> Self {
        self.query_fields = fields;
        self
    }

    const fn takes(mut self, fields: &'static [Field]) -> Self {
        self.body = Some(fields);
        self
    }
}

const OPERATIONS: &[Operation] = &[
    call(Kind::Token, "POST", "/users/v2/oauth/token", "login").takes(bodies::TOKEN),
    call(Kind::Login, "POST", "/users/v1/login", "login").takes(bodies::LOGIN),
    call(Kind::FindSession, "GET", "/session/v1/session/allocation/{allocation_id}", "find_session")
        .wants(&["session:read:allocation", "session:*"])
        .at(&[required("allocation_id", ID)]),
    call(Kind::ReadSession, "GET", "/session/v1/session/{session_id}", "read_session")
        .wants(READ)
        .at(SESSION)
        .asks(REFRESH),
    call(Kind::UpdateSession, "PATCH", "/session/v1/session/{session_id}", "update_session")
        .wants(UPDATE)
        .at(SESSION)
        .takes(bodies::SESSION_UPDATE),
    call(Kind::Register, "POST", "/session/v1/session/{session_id}/instance", "register")
        .wants(UPDATE)
        .at(SESSION)
        .takes(bodies::INSTANCE_REQUEST),
    call(Kind::Unregister, "DELETE", "/session/v1/session/{session_id}/instance", "unregister")
        .wants(UPDATE)
        .at(SESSION),
    call(Kind::Update, "PATCH", "/session/v1/session/{session_id}/instance", "update")
        .wants(UPDATE)
        .at(SESSION)
        .takes(bodies::INSTANCE_UPDATE),
    call(Kind::PostHealth, "POST", "/session/v1/session/{session_id}/instance/health", "health")
        .wants(&["session:instance:health"])
        .at(SESSION)
        .takes(bodies::HEALTH),
    call(Kind::Fubar, "POST", "/session/v1/session/{session_id}/instance/fubar", "fubar")
        .wants(&["session:update:fubar", "session:*"])
        .at(SESSION)
        .takes(bodies::FUBAR)
        .gone(Until::Between),
    call(Kind::HealthConfig, "GET", "/session/v1/instance/health/config", "health_config").wants(CONFIG),
    call(Kind::ListEvents, "GET", "/session/v1/session/{session_id}/event", "list_events")
        .wants(&["session:read:event", "session:read-player:any", "session:*"])
        .at(SESSION)
        .asks(&[optional("page_num", up_to(0, i64::MAX)), optional("page_size", up_to(1, 50))])
        .gone(Until::Newer),
    call(Kind::PostEvent, "POST", "/session/v1/session/{session_id}/event", "event")
        .wants(&["session:update:event", "session:update:any", "session:*"])
        .at(SESSION)
        .takes(bodies::EVENT)
        .gone(Until::Newer),
    call(Kind::StartMatch, "POST", "/session/v1/session/{session_id}/match", "start_match")
        .wants(UPDATE)
        .at(SESSION)
        .takes(bodies::MATCH)
        .gone(Until::Newer),
    call(Kind::EndMatch, "DELETE", "/session/v1/session/{session_id}/match", "end_match")
        .wants(UPDATE)
        .at(SESSION)
        .gone(Until::Newer),
    call(Kind::UpdateMatch, "PATCH", "/session/v1/session/{session_id}/match", "update_match")
        .wants(UPDATE)
        .at(SESSION)
        .takes(bodies::MATCH)
        .gone(Until::Newer),
    call(Kind::AddBrowser, "POST", "/session/v1/session/{session_id}/browser", "add_browser")
        .wants(BROWSER)
        .at(SESSION)
        .asks(REFRESH)
        .takes(bodies::BROWSER),
    call(Kind::DeleteBrowser, "DELETE", "/session/v1/session/{session_id}/browser", "delete_browser")
        .wants(BROWSER)
        .at(SESSION),
    call(Kind::UpdateBrowser, "PATCH", "/session/v1/session/{session_id}/browser", "update_browser")
        .wants(BROWSER)
        .at(SESSION)
        .takes(bodies::BROWSER),
    call(Kind::AddPlayer, "POST", "/session/v1/session/{session_id}/player/{player_uuid}", "add_player")
        .wants(&["session:promote:self", "session:promote:any", "session:*"])
        .at(PLAYER)
        .takes(bodies::PLAYER),
    call(Kind::RemovePlayer, "DELETE", "/session/v1/session/{session_id}/player/{player_uuid}", "remove_player")
        .wants(&["session:update-player:any", "session:update-player:self", "session:*"])
        .at(PLAYER),
    call(Kind::Regions, "GET", "/session/v1/regions", "regions").wants(CONFIG).asks(PAGE),
    call(Kind::ConnectionInfo, "GET", "/session/v1/connection-info", "connection_info").wants(CONFIG),
    call(Kind::Browse, "GET", "/session/v1/browser", "browse").wants(&["session:read:browser", "session:*"]).asks(&[
        required("session_type", ANY),
        optional("cursor", up_to(0, i64::MAX)),
        optional("page_size", up_to(1, 50)),
        optional("region_id", ID),
    ]),
    call(
        Kind::RequestTemplate,
        "GET",
        "/session/v1/instance-request-template/{instance_request_template_id}",
        "request_template",
    )
    .wants(CONFIG)
    .at(&[required("instance_request_template_id", Rule::Uuid)]),
    call(
        Kind::LaunchTemplate,
        "GET",
        "/session/v1/instance-launch-templates/{instance_launch_template_id}",
        "launch_template",
    )
    .wants(CONFIG)
    .at(&[required("instance_launch_template_id", Rule::Uuid)]),
    call(Kind::SessionTemplate, "GET", "/session/v1/template/{session_type}", "session_template")
        .wants(CONFIG)
        .at(&[required("session_type", ANY)]),
    call(Kind::Backfill, "POST", "/session/v1/backfill/session/{session_id}/", "backfill")
        .at(SESSION)
        .asks(REFRESH)
        .takes(bodies::BACKFILL)
        .gone(Until::Newer),
    call(Kind::ListNotifications, "GET", "/notification/v1/instance/{instance_id}/notification", "list_notifications")
        .wants(NOTIFY_READ)
        .at(INSTANCE)
        .asks(&[optional("page_size", up_to(1, 100)), optional("start_at", ANY), optional("exclude_before", ANY)])
        .gone(Until::Newer),
    call(Kind::CreateNotifications, "POST", "/notification/v1/instance/{instance_id}/notification", "notify")
        .wants(&["notification:instance:*", "notification:instance:write"])
        .at(INSTANCE)
        .takes(NOTIFICATIONS)
        .gone(Until::Newer),
    call(
        Kind::GetNotification,
        "GET",
        "/notification/v1/instance/{instance_id}/notification/{notification_id}",
        "get_notification",
    )
    .wants(NOTIFY_READ)
    .at(&[required("instance_id", ANY), required("notification_id", ANY)])
    .gone(Until::Newer),
    call(Kind::Poll, "GET", "/notification/v1/instance/{instance_id}/stream/notification/lp", "poll")
        .wants(NOTIFY_READ)
        .at(INSTANCE)
        .asks(&[
            optional("max_page_size", up_to(1, 100)),
            optional("exclude_before", ANY),
            optional("offset_reset_strategy", Rule::OneOf(&["latest", "earliest"])),
            optional("deadline", up_to(0, 900)),
        ])
        .gone(Until::Newer),
    call(Kind::CreateSession, "POST", "/session/v1/session", "create_session").takes(bodies::CREATE_SESSION),
    call(Kind::SicRegister, "POST", "/instances/sic_registration/v3/register", "sic_register")
        .takes(bodies::SIC_REGISTER),
    call(Kind::SicState, "POST", "/instances/sic_registration/v1/state", "sic_state").takes(bodies::SIC_STATE),
];

pub(super) use bodies::{NOTIFICATIONS, UNDOCUMENTED_LOGIN};

/// The word of a call.
pub(super) fn name_of(kind: Kind) -> &'static str {
    OPERATIONS
        .iter()
        .chain(newer::OPERATIONS)
        .find(|operation| operation.kind == kind)
        .map_or("", |operation| operation.name)
}

/// Every word that a fault rule may name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().chain(newer::OPERATIONS).map(|operation| operation.name)
}

#[cfg(test)]
mod tests;
