//! Which generation of the API the simulated environments of this run have (`RALLYHERE_TEST_API`: 2023-11, between or 2026-08),
//! and what a test that was written for the oldest has to know of the others.

use rallyhere_agent::simulator::{Generation, Ledger, ReportRecord};
use serde_json::{Value, json};

/// What a fubar report is called where it is an event.
const FUBAR: &str = "instance_fubar";

/// The generation of this run.
pub(crate) fn generation() -> Generation {
    let wanted = std::env::var("RALLYHERE_TEST_API").unwrap_or_default();
    if wanted.is_empty() { Generation::default() } else { wanted.parse().expect("RALLYHERE_TEST_API") }
}

/// Whether it is today's.
pub(crate) fn is_new() -> bool {
    generation() == Generation::V2026_08
}

/// A test of something that today's environments do not have: it is not made there, and says so. `counterpart` is the test that
/// stands for it there, or why there is none.
#[expect(clippy::print_stdout, reason = "a test that is not made says so")]
pub(crate) fn not_today(counterpart: &str) -> bool {
    if is_new() {
        println!("not on 2026-08; there: {counterpart}");
    }
    is_new()
}

/// The call that a report really goes out by.
pub(crate) fn way(call: &str) -> &str {
    match (generation(), call) {
        (Generation::Between, "fubar") => "event",
        (Generation::V2026_08, "fubar" | "event") => "audit",
        (Generation::V2023_11 | Generation::Between | Generation::V2026_08, call) => call,
    }
}

/// What must be taken from a client so that a report cannot go out, as the simulator takes it; the first one is what the agent names.
pub(crate) fn permissions(call: &str) -> &'static [&'static str] {
    match way(call) {
        "audit" => &["session-audit:update:*", "session-player-audit:update:*"],
        // "session:update:any" covers it too; registering is allowed by "session:update:self" then.
        "event" => &["session:update:event", "session:update:any"],
        _ => &["session:update:fubar"],
    }
}

/// A report as a 2023-11 environment would have got it: the call, and its body.
pub(crate) fn as_told(call: &str, body: &Value) -> Option<(&'static str, Value)> {
    let data = |name: &str| body["custom_data"][name].clone();
    let told = |fields: [(&str, Value); 5]| {
        let there = fields.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect())
    };
    match call {
        "fubar" => Some(("fubar", body.clone())),
        "event" if body["event_code"] == FUBAR => Some((
            "fubar",
            told([
                ("error", body["description"].clone()),
                ("instance_id", data("instance_id")),
                ("region", data("region")),
                ("matchmaking_profile_id", data("matchmaking_profile_id")),
                ("instance_source_provider", data("instance_source_provider")),
            ]),
        )),
        "event" => Some(("event", body.clone())),
        "audit" if body["event_name"] == FUBAR => Some((
            "fubar",
            told([
                ("error", body["reason"].clone()),
                ("instance_id", body["instance_id"].clone()),
                ("region", body["region_id"].clone()),
                ("matchmaking_profile_id", body["match_making_profile_id"].clone()),
                ("instance_source_provider", data("instance_source_provider")),
            ]),
        )),
        "audit" => {
            let mut custom_data = body["custom_data"].clone();
            let timestamp = custom_data.as_object_mut().and_then(|data| data.remove("timestamp"));
            let mut event = told([
                ("event_code", body["event_name"].clone()),
                ("timestamp", json!(timestamp)),
                ("description", body["reason"].clone()),
                ("custom_data", custom_data),
                ("", Value::Null),
            ]);
            if let Some(code) = body["custom_data"].get("event_code") {
                event["event_code"] = code.clone();
            }
            Some(("event", event))
        }
        _ => None,
    }
}

/// The reports of a ledger, by whatever way they came.
pub(crate) trait Reports {
    /// The fubar reports, in order.
    fn fubars_told(&self) -> Vec<ReportRecord>;
    /// The session events, in order.
    fn events_told(&self) -> Vec<ReportRecord>;
}

impl Reports for Ledger {
    fn fubars_told(&self) -> Vec<ReportRecord> {
        told(self, "fubar")
    }

    fn events_told(&self) -> Vec<ReportRecord> {
        told(self, "event")
    }
}

fn told(ledger: &Ledger, wanted: &str) -> Vec<ReportRecord> {
    let lists = [("fubar", &ledger.fubars), ("event", &ledger.events), ("audit", &ledger.audits)];
    let all = lists.into_iter().flat_map(|(call, list)| list.iter().map(move |report| (call, report)));
    let mut found: Vec<ReportRecord> = all
        .filter_map(|(call, report)| {
            let (what, body) = as_told(call, &report.body)?;
            (what == wanted).then(|| ReportRecord { body, ..report.clone() })
        })
        .collect();
    found.sort_by_key(|report| report.at_ms);
    found
}
