//! The control of a running simulator from the same process: what `/_sim/` does, without HTTP.

use std::time::Duration;

use serde_json::Value;

use super::fault::FaultRule;
use super::ledger::Ledger;
use super::options::{AllocationSpec, SessionSpec};
use super::session::Moment;
use super::world::{ControlError, SicSpec};
use super::{Outage, Simulator};

impl Simulator {
    /// Makes a session.
    ///
    /// # Errors
    /// If it is there already, or its id or region is not one.
    pub fn create_session(&self, spec: &SessionSpec) -> Result<(), ControlError> {
        self.world().create_session(spec, Moment::read())
    }

    /// Takes a session away, with its instance.
    ///
    /// # Errors
    /// If it is not there.
    pub fn delete_session(&self, session_id: &str) -> Result<(), ControlError> {
        self.world().delete_session(session_id)
    }

    /// Somebody changes the session's custom_data: what is given replaces what was there.
    ///
    /// # Errors
    /// If the session is not there, or the contract does not take the data.
    pub fn change_session(&self, session_id: &str, custom_data: &Value) -> Result<(), ControlError> {
        self.world().change_session(session_id, custom_data, Moment::read())
    }

    /// The session's whole document, as the contract writes it.
    pub fn session(&self, session_id: &str) -> Option<Value> {
        self.world().session(session_id, Moment::read())
    }

    /// Makes an allocation; if it names a session, that session has a new instance for it from now on, `allocated`,
    /// whatever it had before. Gives the instance's id.
    ///
    /// # Errors
    /// If the session is not there or an id is not one.
    pub fn allocate(&self, spec: &AllocationSpec) -> Result<Option<String>, ControlError> {
        self.world().allocate(spec, Moment::read())
    }

    /// Forgets an allocation; an instance that has it goes too.
    ///
    /// # Errors
    /// If it is not there.
    pub fn deallocate(&self, allocation_id: &str) -> Result<(), ControlError> {
        self.world().deallocate(allocation_id, Moment::read())
    }

    /// What SIC makes of a server from now on; it need not have registered yet.
    ///
    /// # Errors
    /// If its id is not one.
    pub fn set_sic(&self, spec: &SicSpec) -> Result<(), ControlError> {
        self.world().set_sic(spec)
    }

    /// Somebody else's instance takes the session. Gives its id, made up if none is given.
    ///
    /// # Errors
    /// If the session is not there or the id is not one.
    pub fn replace_instance(&self, session_id: &str, instance_id: Option<&str>) -> Result<String, ControlError> {
        self.world().replace_instance(session_id, instance_id.map(str::to_owned), Moment::read())
    }

    /// The session has no instance any more.
    ///
    /// # Errors
    /// If the session is not there.
    pub fn remove_instance(&self, session_id: &str) -> Result<(), ControlError> {
        self.world().remove_instance(session_id, Moment::read())
    }

    /// Writes notifications (the contract's NotificationCreate, 1 to 100) to an instance's stream. Gives their ids,
    /// oldest first.
    ///
    /// # Errors
    /// If the contract does not take them.
    pub fn publish(&self, instance_id: &str, notifications: &[Value]) -> Result<Vec<String>, ControlError> {
        self.world().publish(instance_id, notifications, Moment::read())
    }

    /// The same for the instance that a session has now.
    ///
    /// # Errors
    /// If there is no such session, or it has no instance, or the contract does not take the notifications.
    pub fn publish_to_session(&self, session_id: &str, notifications: &[Value]) -> Result<Vec<String>, ControlError> {
        let moment = Moment::read();
        let mut world = self.world();
        let instance = world.instance_of(session_id, moment)?;
        world.publish(&instance, notifications, moment)
    }

    /// Forgets all but the newest `keep` notifications of an instance.
    pub fn trim_notifications(&self, instance_id: &str, keep: usize) {
        self.world().trim(instance_id, keep);
    }

    /// How many notifications every stream keeps from now on, at least one.
    pub fn keep_notifications(&self, keep: usize) {
        self.world().keep_notifications(keep);
    }

    /// Every access token is expired from now on; refresh tokens too, if asked for.
    pub fn expire_tokens(&self, refresh_too: bool) {
        self.world().expire_tokens(refresh_too, Moment::read());
    }

    /// How long new access tokens live: whole seconds, at least one.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world().set_token_lifetime(lifetime);
    }

    /// How often a health post is expected, at least every second.
    pub fn set_health_cadence(&self, seconds: u32) {
        self.world().set_health_cadence(seconds);
    }

    /// Takes a permission from a client at once; `session:read:*` takes all that begin so.
    pub fn revoke(&self, client_id: &str, permission: &str) {
        self.world().revoke(client_id, permission);
    }

    /// Gives a permission to a client.
    pub fn grant(&self, client_id: &str, permission: &str) {
        self.world().grant(client_id, permission);
    }

    /// Adds fault rules behind those in force: all or none.
    ///
    /// # Errors
    /// If one of them makes no sense.
    pub fn inject(&self, rules: Vec<FaultRule>) -> Result<(), ControlError> {
        Ok(self.world().faults.add(rules)?)
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// Begins or ends an outage of everything but `/_sim/`. A refusal also cuts the connections that are open.
    pub fn set_outage(&self, outage: Outage) {
        self.shared.outage.send_replace(outage);
    }

    /// A copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.world().ledger.clone()
    }

    /// Looks at the ledger without copying it. The simulator stands still meanwhile.
    pub fn read_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.world().ledger)
    }

    /// Forgets what the ledger holds, except requests that are still open.
    pub fn clear_ledger(&self) {
        self.world().ledger.clear();
    }

    /// A summary of everything, for people.
    pub fn state(&self) -> Value {
        let outage = self.outage();
        let mut state = self.world().state(Moment::read());
        super::session::put(&mut state, "outage", serde_json::to_value(outage).ok());
        state
    }
}
