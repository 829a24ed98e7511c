//! Calls that read the environment's configuration: plain documents, valid by the contract.

use serde_json::{Value, json};

use super::Checked;
use crate::simulator::reply::Reply;
use crate::simulator::session::TEAM_SIZE;

const REGIONS: [(&str, &str); 3] =
    [("us-east", "North America, east"), ("eu-west", "Europe, west"), ("ap-south", "Asia Pacific, south")];

/// The version of a document that has no version of its own.
pub(super) fn etag(document: &Value) -> String {
    format!("\"{:08x}\"", crc32fast::hash(document.to_string().as_bytes()))
}

fn versioned(document: &Value, call: &Checked) -> Reply {
    Reply::ok(document).tagged(&etag(document), call.tag())
}

pub(super) fn regions(call: &Checked) -> Reply {
    let (first, size) = (call.number("cursor", 0), call.number("page_size", 50));
    let page: Vec<Value> = REGIONS
        .iter()
        .enumerate()
        .skip(first)
        .take(size)
        .map(|(order, (id, description))| {
            json!({"region_id": id, "sort_order": order, "custom_only": false, "description": description})
        })
        .collect();
    let next = first.saturating_add(size);
    let cursor = if next < REGIONS.len() { next } else { 0 };
    Reply::ok(&json!({"regions": page, "cursor": cursor}))
}

pub(super) fn connection_info(call: &Checked) -> Reply {
    Reply::ok(&json!({"ip": call.address}))
}

pub(super) fn request_template(call: &Checked, is_new: bool) -> Reply {
    let mut map = json!({"map_id": "arena", "name": "Arena", "map_weight": 100});
    if is_new {
        map["map_name"] = "Arena".into();
    }
    let document = json!({
        "instance_request_template_id": call.text("instance_request_template_id"),
        "map_selection_list": {
            "map_selection_list_id": "default",
            "maps": [map],
        },
        "default_host_type": "dedicated",
        "custom_data": {},
    });
    versioned(&document, call)
}

pub(super) fn launch_template(call: &Checked) -> Reply {
    let document = json!({
        "instance_launch_template_id": call.text("instance_launch_template_id"),
        "map_selection_list": {
            "map_selection_list_id": "default",
            "maps": [{"map_name": "Arena", "selection_chance": 100}],
        },
        "default_host_type": "dedicated",
        "custom_data": {},
    });
    versioned(&document, call)
}

pub(super) fn session_template(call: &Checked) -> Reply {
    let document = json!({
        "session_type": call.text("session_type"),
        "engine_session_type": "Game",
        "keep_alive_on_empty": true,
        "can_be_added_to_server_browser": true,
        "num_teams": 2,
        "players_per_team": TEAM_SIZE,
        "custom_data": {},
    });
    versioned(&document, call)
}
