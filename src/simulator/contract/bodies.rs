//! The bodies of the calls, field by field (2023-11 contract, components); what 2026-08 has otherwise is in `newer`.

use super::{ANY, ID, up_to};
use crate::simulator::rules::{Field, Rule, optional, required};

const LONG: Rule = Rule::Text { min: 1, max: 4096 };
const HOST: Rule = Rule::OneOf(&["dedicated", "player"]);

pub(in crate::simulator) const TOKEN: &[Field] = &[required("grant_type", Rule::OneOf(&["client_credentials"]))];

pub(super) const LOGIN: &[Field] = &[
    required(
        "grant_type",
        Rule::OneOf(&[
            "google",
            "apple",
            "refresh",
            "epic",
            "xboxlive",
            "ps4_v1",
            "ps4_v3",
            "ps5_v3",
            "nintendo",
            "nintendo_switch",
            "steam",
            "basic",
            "anon",
        ]),
    ),
    required("portal_access_token", ANY),
    optional("portal_display_name", ANY),
    optional("portal_parent_access_token", ANY),
    optional("portal_parent_display_name", ANY),
    optional("include_refresh", Rule::Boolean),
    optional("accept_eula", Rule::Boolean),
    optional("accept_tos", Rule::Boolean),
    optional("accept_privacy_policy", Rule::Boolean),
];

/// Not in the contract: what RallyHere's own hosting sends (backend.md, SIC).
pub(in crate::simulator) const UNDOCUMENTED_LOGIN: &[Field] = &[
    required("grant_type", Rule::OneOf(&["client_credentials"])),
    optional("portal_access_token", ANY),
    optional("include_refresh", Rule::Boolean),
    optional("accept_eula", Rule::Boolean),
    optional("accept_tos", Rule::Boolean),
    optional("accept_privacy_policy", Rule::Boolean),
];

pub(super) const SESSION_UPDATE: &[Field] =
    &[optional("region_id", ID), optional("custom_data", Rule::Data), optional("joinable", Rule::Boolean)];

pub(super) const STARTUP: Rule = Rule::Object(&[
    required("map", ANY),
    optional("mode", ANY),
    required("misc_params", ANY),
    optional("custom_data", Rule::Data),
]);

pub(super) const INSTANCE_REQUEST: &[Field] = &[
    optional("instance_id", ID),
    optional("instance_startup_params", STARTUP),
    required("host_type", HOST),
    optional("host_player_uuid", Rule::Uuid),
    optional("custom_data", Rule::Data),
];

pub(super) const JOIN_PARAMS: Rule = Rule::Object(&[
    required("public_conn_str", ANY),
    required("private_conn_str", ANY),
    optional("custom_data", Rule::Data),
]);

pub(super) const INSTANCE_UPDATE: &[Field] = &[
    optional("allocation_id", ID),
    optional("join_status", Rule::OneOf(&["requested", "allocated", "pending", "joinable", "closed"])),
    optional("join_params", JOIN_PARAMS),
    optional("version", Rule::Semver),
    optional("custom_data", Rule::Data),
];

pub(super) const HEALTH: &[Field] = &[
    required("instance_health", Rule::OneOf(&["healthy", "unhealthy", "degraded", "unknown"])),
    required("instance_id", ID),
];

pub(super) const FUBAR: &[Field] = &[
    required("instance_id", ID),
    required("error", ID),
    required("region", ID),
    optional("matchmaking_profile_id", ID),
    optional("instance_source_provider", Rule::OneOf(&["player", "sic", "multiplay"])),
];

pub(super) const EVENT: &[Field] = &[
    required("event_code", Rule::Text { min: 1, max: 256 }),
    optional("description", Rule::Text { min: 0, max: 4096 }),
    optional("custom_data", Rule::Data),
    required("timestamp", Rule::DateTime),
];

pub(super) const MATCH: &[Field] = &[required("match_id", ANY), optional("custom_data", Rule::Data)];

pub(super) const BROWSER: &[Field] = &[optional("custom_data", Rule::Data)];

pub(super) const CREATE_SESSION: &[Field] = &[
    required("session_type", ID),
    optional("region_id", ID),
    required("client_version", ID),
    required("client_settings", Rule::Object(&[required("platform", ID), required("input", ID)])),
];

const SIC_SERVER: Rule = Rule::Object(&[
    required("id", ID),
    required("group_tags", LONG),
    required("public_host", Rule::Text { min: 1, max: 253 }),
    required("public_port", up_to(1, 65535)),
]);

pub(super) const SIC_REGISTER: &[Field] = &[required("items", Rule::List { min: 1, max: 100, item: &SIC_SERVER })];

pub(super) const SIC_STATE: &[Field] =
    &[required("items", Rule::List { min: 1, max: 100, item: &Rule::Object(&[required("id", ID)]) })];

pub(super) const PLAYER: &[Field] = &[
    optional("status", Rule::OneOf(&["leader", "member", "invited", "reserved"])),
    required("team_id", up_to(0, i64::MAX)),
    optional("custom_data", Rule::Data),
];

pub(super) const BACKFILL: &[Field] = &[required("instance_id", ID), optional("extensions", Rule::Data)];

const NOTIFICATION: Rule = Rule::Object(&[
    required("message", Rule::Text { min: 0, max: 4096 }),
    optional("rh_url", LONG),
    optional("custom_data", Rule::Data),
    optional("etag", Rule::Text { min: 1, max: usize::MAX }),
]);

pub(in crate::simulator) const NOTIFICATIONS: &[Field] =
    &[required("notifications", Rule::List { min: 1, max: 100, item: &NOTIFICATION })];
