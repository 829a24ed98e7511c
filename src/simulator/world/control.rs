//! What the control API changes in the world: the backend's own doing, and other people's.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;
use crate::simulator::contract::NOTIFICATIONS;
use crate::simulator::happening::What;
use crate::simulator::health::{HealthRules, Pulse};
use crate::simulator::options::{AllocationSpec, FlagError, SessionSpec, check_id};
use crate::simulator::rules::{Checker, Complaint, Rule};
use crate::simulator::session::{Instance, Moment, uuid};

/// Why the control cannot do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The session is not there.
    #[error("there is no session `{0}`; POST /_sim/sessions makes one")]
    NoSession(String),
    /// The session has no instance to do it with.
    #[error("session `{0}` has no instance")]
    NoInstance(String),
    /// It is there already.
    #[error("session `{0}` is there already; DELETE it first")]
    Exists(String),
    /// The allocation is not there.
    #[error("there is no allocation `{0}`")]
    NoAllocation(String),
    /// An id that the contract does not take.
    #[error(transparent)]
    Id(#[from] FlagError),
    /// Notifications that the contract does not take.
    #[error("the notifications are not valid: {0}")]
    Notifications(String),
    /// custom_data that the contract does not take.
    #[error("the custom_data is not valid: {0}")]
    Data(String),
    /// The generation has no notifications of instances.
    #[error(
        "this environment (2026-08) has no notifications of instances; change the session: PATCH /_sim/sessions/ID {{\"custom_data\":{{…}}}}"
    )]
    NoNotifications,
    /// A fault rule that cannot be taken.
    #[error(transparent)]
    Fault(#[from] crate::simulator::fault::FaultError),
}

impl World {
    pub(in crate::simulator) fn create_session(
        &mut self,
        spec: &SessionSpec,
        moment: Moment,
    ) -> Result<(), ControlError> {
        check_id("the session id", &spec.session_id)?;
        if let Some(region) = &spec.region_id {
            check_id("the region id", region)?;
        }
        if self.book.has(&spec.session_id) {
            return Err(ControlError::Exists(spec.session_id.clone()));
        }
        self.make_session(spec, moment);
        Ok(())
    }

    pub(in crate::simulator) fn delete_session(&mut self, id: &str) -> Result<(), ControlError> {
        if self.book.delete(id) { Ok(()) } else { Err(ControlError::NoSession(id.to_owned())) }
    }

    /// Somebody changes the session's custom_data.
    pub(in crate::simulator) fn change_session(
        &mut self,
        id: &str,
        custom_data: &Value,
        moment: Moment,
    ) -> Result<(), ControlError> {
        let mut checker = Checker::default();
        checker.value(&Rule::Data, custom_data, &[]);
        if let Some(complaint) = checker.finish().first() {
            return Err(ControlError::Data(complaint.words()));
        }
        let session = self.book.open(id, moment).map_err(|_gone| ControlError::NoSession(id.to_owned()))?;
        session.custom_data = custom_data.clone();
        session.changed(moment);
        self.tell(What::Changed { session_id: id.to_owned() }, moment.now);
        Ok(())
    }

    /// The whole document, for whoever looks at the simulator.
    pub(in crate::simulator) fn session(&mut self, id: &str, moment: Moment) -> Option<Value> {
        self.book.open(id, moment).ok().map(|session| session.document(true))
    }

    /// Makes an allocation, or binds one to a session, which then has a new instance for it. Gives that instance.
    pub(in crate::simulator) fn allocate(
        &mut self,
        spec: &AllocationSpec,
        moment: Moment,
    ) -> Result<Option<String>, ControlError> {
        check_id("the allocation id", &spec.allocation_id)?;
        if let Some(id) = &spec.instance_id {
            check_id("the instance id", id)?;
        }
        let Some(session_id) = &spec.session_id else {
            self.allocations.entry(spec.allocation_id.clone()).or_default();
            return Ok(None);
        };
        let instance_id = spec.instance_id.clone().unwrap_or_else(|| uuid(&mut self.rng));
        let instance = Instance {
            allocation: Some(spec.allocation_id.clone()),
            join_status: "allocated".to_owned(),
            startup: Some(json!({"map": "Arena", "mode": "TeamMatch", "misc_params": "", "custom_data": {}})),
            ..blank(instance_id.clone(), moment)
        };
        self.put_instance(session_id, Some(instance), moment)?;
        self.allocations.insert(spec.allocation_id.clone(), Some(session_id.clone()));
        Ok(Some(instance_id))
    }

    /// Forgets an allocation; an instance that has it goes too.
    pub(in crate::simulator) fn deallocate(&mut self, allocation: &str, moment: Moment) -> Result<(), ControlError> {
        let gone = self.allocations.remove(allocation);
        let session_id = gone.ok_or_else(|| ControlError::NoAllocation(allocation.to_owned()))?;
        if let Some(session_id) = session_id
            && let Ok(session) = self.book.open(&session_id, moment)
            && session.instance.as_ref().and_then(|instance| instance.allocation.as_deref()) == Some(allocation)
        {
            self.put_instance(&session_id, None, moment)?;
        }
        Ok(())
    }

    /// Somebody else registers an instance over whatever is there. Gives its id.
    pub(in crate::simulator) fn replace_instance(
        &mut self,
        session_id: &str,
        instance_id: Option<String>,
        moment: Moment,
    ) -> Result<String, ControlError> {
        if let Some(id) = &instance_id {
            check_id("the instance id", id)?;
        }
        let id = instance_id.unwrap_or_else(|| uuid(&mut self.rng));
        self.put_instance(session_id, Some(blank(id.clone(), moment)), moment)?;
        Ok(id)
    }

    /// The instance goes away without anybody's DELETE.
    pub(in crate::simulator) fn remove_instance(
        &mut self,
        session_id: &str,
        moment: Moment,
    ) -> Result<(), ControlError> {
        self.put_instance(session_id, None, moment)
    }

    fn put_instance(
        &mut self,
        session_id: &str,
        instance: Option<Instance>,
        moment: Moment,
    ) -> Result<(), ControlError> {
        let session =
            self.book.open(session_id, moment).map_err(|_gone| ControlError::NoSession(session_id.to_owned()))?;
        let instance_id = instance.as_ref().map(|instance| instance.id.clone());
        session.seat(instance, moment);
        self.tell(What::Replaced { session_id: session_id.to_owned(), instance_id }, moment.now);
        Ok(())
    }

    /// Writes notifications (NotificationCreate each) to an instance's stream. Gives their ids, oldest first.
    pub(in crate::simulator) fn publish(
        &mut self,
        instance: &str,
        notifications: &[Value],
        moment: Moment,
    ) -> Result<Vec<String>, ControlError> {
        if self.is_new {
            return Err(ControlError::NoNotifications);
        }
        check_id("the instance id", instance)?;
        let body = json!({"notifications": notifications});
        let mut checker = Checker::default();
        checker.value(&Rule::Object(NOTIFICATIONS), &body, &[]);
        let complaints = checker.finish();
        if !complaints.is_empty() {
            let words: Vec<String> = complaints.iter().map(Complaint::words).collect();
            return Err(ControlError::Notifications(words.join("; ")));
        }
        Ok(self.write(instance, &body, moment))
    }

    /// The instance that a session has now.
    pub(in crate::simulator) fn instance_of(
        &mut self,
        session_id: &str,
        moment: Moment,
    ) -> Result<String, ControlError> {
        let session =
            self.book.open(session_id, moment).map_err(|_gone| ControlError::NoSession(session_id.to_owned()))?;
        let instance = session.instance.as_ref().map(|instance| instance.id.clone());
        instance.ok_or_else(|| ControlError::NoInstance(session_id.to_owned()))
    }

    /// Forgets all but the newest notifications of an instance.
    pub(in crate::simulator) fn trim(&mut self, instance: &str, keep: usize) {
        if let Some(stream) = self.streams.get_mut(instance) {
            stream.trim(keep);
        }
    }

    /// How many notifications every stream keeps from now on, at least one.
    pub(in crate::simulator) fn keep_notifications(&mut self, keep: usize) {
        self.notifications_kept = keep.max(1);
        for stream in self.streams.values_mut() {
            stream.trim(self.notifications_kept);
        }
    }

    pub(in crate::simulator) fn expire_tokens(&mut self, refresh_too: bool, moment: Moment) {
        self.desk.expire(moment.now, refresh_too);
        self.tell(What::TokensExpired, moment.now);
    }

    pub(in crate::simulator) fn set_token_lifetime(&mut self, lifetime: Duration) {
        self.desk.set_lifetime(lifetime);
    }

    pub(in crate::simulator) fn set_health_cadence(&mut self, seconds: u32) {
        self.book.rules = HealthRules::new(seconds);
    }

    pub(in crate::simulator) fn revoke(&mut self, client: &str, permission: &str) {
        self.desk.revoke(client, permission);
    }

    pub(in crate::simulator) fn grant(&mut self, client: &str, permission: &str) {
        self.desk.grant(client, permission);
    }

    /// A summary for people and tests.
    pub(in crate::simulator) fn state(&mut self, moment: Moment) -> Value {
        let mut sessions = serde_json::Map::new();
        for name in self.book.names() {
            if let Ok(session) = self.book.open(&name, moment) {
                sessions.insert(name, json!({"etag": session.etag(), "session": session.document(true)}));
            }
        }
        let streams: serde_json::Map<String, Value> =
            self.streams.iter().map(|(instance, stream)| (instance.clone(), json!(stream.len()))).collect();
        let clients: serde_json::Map<String, Value> =
            self.desk.clients().into_iter().map(|id| (id.clone(), json!(self.desk.permissions(&id)))).collect();
        json!({
            "uptime_ms": self.elapsed_ms(moment.now),
            "sessions": sessions,
            "allocations": self.allocations,
            "sic": self.sic,
            "notifications": streams,
            "clients": clients,
            "token_lifetime_seconds": self.desk.lifetime().as_secs(),
            "health_config": self.book.rules.document(),
            "faults": self.faults.list(),
            "requests": self.ledger.requests_total,
            "calls": self.ledger.calls,
        })
    }
}

/// An instance that nobody speaks for yet.
fn blank(id: String, moment: Moment) -> Instance {
    Instance {
        id,
        allocation: None,
        host_type: "dedicated".to_owned(),
        host_player: None,
        join_status: "pending".to_owned(),
        join_params: None,
        startup: None,
        version: None,
        custom_data: json!({}),
        match_id: None,
        host: None,
        pulse: Pulse::default(),
        created: moment.text(),
    }
}
