//! What the 2026-08 contract has otherwise than the 2023-11 one: the calls that changed or came since, field by field. What is not
//! here is as it was, unless it is gone.

use super::bodies::{self, JOIN_PARAMS, STARTUP};
use super::{
    ANY, BROWSER, ID, Kind, Operation, PLAYER, READ_AUDIT, REFRESH, SESSION, UPDATE, WRITE_AUDIT, call, up_to,
};
use crate::simulator::rules::{Field, Rule, optional, required};

/// Calls of the contract that no instance agent makes and that are not simulated: they are answered with 501.
pub(super) const NOT_PLAYED: &[(&str, &str)] = &[
    ("DELETE", "/session/v1/session/{session_id}"),
    ("GET", "/session/v1/session/{session_id}/player/{player_uuid}"),
    ("POST", "/session/v2/session/{session_id}/player/{player_uuid}"),
    ("POST", "/session/v1/backfill/session/{session_id}"),
    ("DELETE", "/session/v1/backfill/session/{session_id}"),
    ("PATCH", "/session/v1/backfill/session/{session_id}"),
    ("GET", "/match/v1/match"),
    ("POST", "/match/v1/match"),
    ("GET", "/match/v1/match/{match_id}"),
    ("PUT", "/match/v1/match/{match_id}"),
    ("PATCH", "/match/v1/match/{match_id}"),
    ("DELETE", "/match/v1/match/{match_id}"),
];

const REASON_AND_REFRESH: &[Field] = &[optional("reason", ID), optional("refresh_ttl", Rule::Boolean)];

pub(super) const OPERATIONS: &[Operation] = &[
    call(Kind::Login, "POST", "/users/v1/login", "login").takes(LOGIN),
    call(Kind::UpdateSession, "PATCH", "/session/v1/session/{session_id}", "update_session")
        .wants(UPDATE)
        .at(SESSION)
        .asks(REFRESH)
        .takes(SESSION_UPDATE),
    call(Kind::Register, "POST", "/session/v1/session/{session_id}/instance", "register")
        .wants(UPDATE)
        .at(SESSION)
        .asks(REFRESH)
        .takes(INSTANCE_REQUEST),
    call(Kind::Unregister, "DELETE", "/session/v1/session/{session_id}/instance", "unregister")
        .wants(UPDATE)
        .at(SESSION)
        .asks(REFRESH),
    call(Kind::Update, "PATCH", "/session/v1/session/{session_id}/instance", "update")
        .wants(UPDATE)
        .at(SESSION)
        .asks(REFRESH)
        .takes(INSTANCE_UPDATE),
    call(Kind::PostHealth, "POST", "/session/v1/session/{session_id}/instance/health", "health")
        .wants(&["session:instance:health", "session:*"])
        .at(SESSION)
        .asks(REFRESH)
        .takes(bodies::HEALTH),
    call(Kind::AddBrowser, "POST", "/session/v1/session/{session_id}/browser", "add_browser")
        .wants(BROWSER)
        .at(SESSION)
        .asks(REFRESH)
        .takes(LISTING),
    call(Kind::DeleteBrowser, "DELETE", "/session/v1/session/{session_id}/browser", "delete_browser")
        .wants(BROWSER)
        .at(SESSION)
        .asks(REFRESH),
    call(Kind::UpdateBrowser, "PATCH", "/session/v1/session/{session_id}/browser", "update_browser")
        .wants(BROWSER)
        .at(SESSION)
        .asks(REFRESH)
        .takes(LISTING),
    call(Kind::AddPlayer, "POST", "/session/v1/session/{session_id}/player/{player_uuid}", "add_player")
        .wants(&["session:promote:self", "session:promote:any", "session:*"])
        .at(PLAYER)
        .asks(REFRESH)
        .takes(SESSION_PLAYER),
    call(Kind::RemovePlayer, "DELETE", "/session/v1/session/{session_id}/player/{player_uuid}", "remove_player")
        .wants(&["session:update-player:any", "session:update-player:self", "session:*"])
        .at(PLAYER)
        .asks(REASON_AND_REFRESH),
    call(Kind::ListAudit, "GET", "/session/v1/audit", "list_audit").wants(READ_AUDIT).asks(&[
        optional("session_id", ID),
        optional("player_uuid", Rule::Uuid),
        optional("page_num", up_to(0, i64::MAX)),
        optional("page_size", up_to(1, 50)),
        optional("start_date", Rule::DateTime),
        optional("end_date", Rule::DateTime),
    ]),
    call(Kind::Audit, "POST", "/session/v1/audit", "audit").wants(WRITE_AUDIT).takes(AUDIT),
];

const LOGIN: &[Field] = &[
    required(
        "grant_type",
        Rule::OneOf(&[
            "anon",
            "google",
            "apple",
            "refresh",
            "epic",
            "xboxlive",
            "ps4_v1",
            "ps4_v3",
            "ps5_v3",
            "nintendo_switch",
            "steam",
            "basic",
            "rallyhere",
            "client_credentials",
            "android_device",
            "ios_device",
        ]),
    ),
    optional("portal_access_token", ANY),
    optional("portal_display_name", ANY),
    optional("portal_parent_access_token", ANY),
    optional("portal_parent_display_name", ANY),
    optional("include_refresh", Rule::Boolean),
    optional("accept_eula", Rule::Boolean),
    optional("accept_tos", Rule::Boolean),
    optional("accept_privacy_policy", Rule::Boolean),
];

const JOINABILITY: Rule = Rule::Object(&[
    optional("open", Rule::Boolean),
    optional("friends", Rule::Boolean),
    optional("platform", Rule::Boolean),
]);

const TEAM: Rule = Rule::Object(&[optional("max_size", up_to(1, 100)), optional("custom_data", Rule::Data)]);
const TEAMS: Rule = Rule::List { min: 0, max: 50, item: &TEAM };

const SESSION_UPDATE: &[Field] = &[
    optional("region_id", ID),
    optional("custom_data", Rule::Data),
    optional("joinable", Rule::Boolean),
    optional("joinability", JOINABILITY),
    optional("teams", TEAMS),
    optional("password", ID),
];

const HOST: Rule = Rule::OneOf(&["dedicated", "player", "standalone", "preallocated"]);
const STATUS: Rule = Rule::OneOf(&["requested", "allocated", "pending", "joinable", "unjoinable", "closed"]);
const HEALTH: Rule = Rule::OneOf(&["healthy", "unhealthy", "degraded", "unknown"]);
const PLAYER_STATUS: Rule = Rule::OneOf(&["leader", "member", "invited", "reserved"]);
const TEXTS: Rule = Rule::List { min: 0, max: usize::MAX, item: &ANY };

const INSTANCE_REQUEST: &[Field] = &[
    optional("instance_id", ID),
    optional("instance_startup_params", STARTUP),
    optional("host_type", HOST),
    optional("instance_request_template_id", Rule::Uuid),
    optional("host_player_uuid", Rule::Uuid),
    optional("custom_data", Rule::Data),
];

const INSTANCE_UPDATE: &[Field] = &[
    optional("allocation_id", ID),
    optional("join_status", STATUS),
    optional("join_params", JOIN_PARAMS),
    optional("version", Rule::Semver),
    optional("custom_data", Rule::Data),
    optional("match_id", ANY),
];

const LISTING: &[Field] = &[optional("custom_data", Rule::Data), optional("created_timestamp", Rule::DateTime)];

const SESSION_PLAYER: &[Field] = &[
    optional("status", PLAYER_STATUS),
    optional("team_id", up_to(0, i64::MAX)),
    optional("custom_data", Rule::Data),
    optional(
        "overflow_action",
        Rule::OneOf(&["fail", "allow_overflow", "partial_with_overflow", "partial_without_overflow", "overfill"]),
    ),
];

const PLATFORM: Rule = Rule::OneOf(&[
    "Anon",
    "Basic",
    "XboxLive",
    "PSN",
    "NintendoNAID",
    "NintendoSwitch",
    "NintendoPPID",
    "Google",
    "GooglePlay",
    "Apple",
    "Epic",
    "Steam",
    "Amazon",
    "Twitch",
    "RallyHere",
    "LegacyName",
    "AndroidDevice",
    "iosDevice",
    "Discord",
]);

const CLIENT_SETTINGS: Rule = Rule::Object(&[
    optional("platform_id", Rule::Codes(&[2, 4, 5, 9, 10, 11, 13, 16, 22, 24, 26, 28, 25])),
    optional("platform", PLATFORM),
    required("input", Rule::OneOf(&["keyboardandmouse", "gamepad", "touch"])),
    optional("device_type", Rule::OneOf(&["pc", "xbox_series", "xbox_one", "web"])),
]);

const CROSSPLAY: Rule = Rule::Object(&[
    required(
        "permitted_platform",
        Rule::OneOf(&["desired_platforms_any", "desired_platforms_xboxlike", "desired_platforms_playstationlike"]),
    ),
    required(
        "permitted_input",
        Rule::OneOf(&[
            "desired_inputs_any",
            "desired_inputs_keyboardandmouse",
            "desired_inputs_gamepad",
            "desired_inputs_touch",
        ]),
    ),
]);

const LONG: Rule = Rule::Text { min: 1, max: 4096 };

const MORE_PARAMS: Rule = Rule::Object(&[
    optional("double_args", Rule::Numbers),
    optional("string_args", Rule::Data),
    optional("tags", Rule::List { min: 0, max: usize::MAX, item: &LONG }),
    optional("extensions", Rule::Data),
]);

const AUDIT: &[Field] = &[
    required("event_name", ID),
    required("session_id", ID),
    optional("reason", ANY),
    optional("custom_data", Rule::Data),
    optional("session_type", ANY),
    optional("region_id", ID),
    optional("joinable", Rule::Boolean),
    optional("joinability", JOINABILITY),
    optional("updated_teams", TEAMS),
    optional("source", Rule::OneOf(&["BACKFILL", "MATCHMAKING", "PLAYER"])),
    optional("player_uuid", Rule::Uuid),
    optional("team_id", up_to(0, i64::MAX)),
    optional("invited_session_id", ID),
    optional("removed_session_id", ID),
    optional("version", ANY),
    optional("client_settings", CLIENT_SETTINGS),
    optional("crossplay_preferences", CROSSPLAY),
    optional("player_status", PLAYER_STATUS),
    optional("platform", PLATFORM),
    optional("platform_session_id", LONG),
    optional("instance_id", ID),
    optional("host_type", HOST),
    optional("host_player_uuid", Rule::Uuid),
    optional("instance_request_template", Rule::Uuid),
    optional("map", ANY),
    optional("mode", ANY),
    optional("allocation_id", ID),
    optional("join_status", STATUS),
    optional("join_params", JOIN_PARAMS),
    optional("instance_health", HEALTH),
    optional("queue_id", ID),
    optional("ticket_id", ANY),
    optional("additional_params", MORE_PARAMS),
    optional("map_preferences", TEXTS),
    optional("queued_session_id", ID),
    optional("match_id", ID),
    optional("ticket_wait_seconds", up_to(i64::MIN, i64::MAX)),
    optional("match_making_profile_id", ID),
    optional("players", Rule::List { min: 0, max: usize::MAX, item: &Rule::Uuid }),
];
