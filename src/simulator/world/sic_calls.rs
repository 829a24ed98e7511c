//! What RallyHere's hosting (SIC) does, and a session that a host makes itself. Neither is in the contract: both are known from the
//! public clients (backend.md, "How a server gets allocated").

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Checked, ControlError, World};
use crate::simulator::options::{SessionSpec, check_id};
use crate::simulator::reply::Reply;
use crate::simulator::session::{Moment, put, uuid};

/// "It is being allocated".
const BEING_ALLOCATED: i64 = 6;
/// For a server that never registered; the real one's number is not known.
const NOT_REGISTERED: i64 = 3;

/// Where a server stands with SIC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SicStatus {
    /// It waits.
    #[default]
    Deallocated,
    /// It is about to be allocated.
    Allocating,
    /// It is.
    Allocated,
    /// SIC does not know it (any more).
    Forgotten,
}

/// What the control makes of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SicSpec {
    /// Its id with SIC: `sic_SERVERID_PORT`.
    pub id: String,
    /// What it is from now on.
    pub state: SicStatus,
    /// Told once it is allocated.
    pub allocation_id: Option<String>,
    /// The same.
    pub session_id: Option<String>,
}

/// A server that has registered.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct SicServer {
    registered: Value,
    registrations: u64,
    state: SicStatus,
    allocation_id: Option<String>,
    session_id: Option<String>,
}

/// What went well, with the fields that the answers in the adapter's own tests have: a message of null, and no id that is not there.
fn good() -> Value {
    json!({"success": true, "error_code": 0, "error_message": null})
}

fn items(call: &Checked) -> impl Iterator<Item = &Value> {
    call.body.get("items").and_then(Value::as_array).into_iter().flatten()
}

impl World {
    pub(super) fn sic_register(&mut self, call: &Checked) -> Reply {
        let answers = items(call).map(|item| {
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
            let server = self.sic.entry(id.to_owned()).or_default();
            server.registered = item.clone();
            server.registrations += 1;
            match server.state {
                SicStatus::Allocating => {
                    json!({"success": false, "error_code": BEING_ALLOCATED, "error_message": "The server is being allocated"})
                }
                SicStatus::Deallocated | SicStatus::Allocated | SicStatus::Forgotten => {
                    if server.state == SicStatus::Forgotten {
                        server.state = SicStatus::Deallocated;
                    }
                    good()
                }
            }
        });
        Reply::ok(&json!({"items": answers.collect::<Vec<_>>()}))
    }

    pub(super) fn sic_state(&self, call: &Checked) -> Reply {
        let answers = items(call).map(|item| {
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
            match self.sic.get(id).filter(|server| server.state != SicStatus::Forgotten && server.registrations > 0) {
                None => json!({"success": false, "error_code": NOT_REGISTERED, "error_message": format!("{id} is not registered")}),
                Some(server) => {
                    let mut answer = good();
                    put(&mut answer, "state", Some(json!(server.state)));
                    if server.state == SicStatus::Allocated {
                        put(&mut answer, "allocation_id", server.allocation_id.as_ref().map(|id| json!(id)));
                        put(&mut answer, "session_id", server.session_id.as_ref().map(|id| json!(id)));
                    }
                    answer
                }
            }
        });
        Reply::ok(&json!({"items": answers.collect::<Vec<_>>()}))
    }

    /// The control makes something else of a server.
    pub(in crate::simulator) fn set_sic(&mut self, spec: &SicSpec) -> Result<(), ControlError> {
        check_id("the id of the server", &spec.id)?;
        let server = self.sic.entry(spec.id.clone()).or_default();
        server.state = spec.state;
        server.allocation_id.clone_from(&spec.allocation_id);
        server.session_id.clone_from(&spec.session_id);
        Ok(())
    }

    pub(super) fn create_own_session(&mut self, call: &Checked, moment: Moment) -> Reply {
        let session_id = uuid(&mut self.rng);
        let region_id = call.body.get("region_id").and_then(Value::as_str).map(str::to_owned);
        let session_type = call.word("session_type").to_owned();
        self.make_session(&SessionSpec { session_id: session_id.clone(), session_type, region_id }, moment);
        Reply::ok(&json!({"session_id": session_id, "created": true}))
    }
}
