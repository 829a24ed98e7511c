//! The state of the environment, and what each call does to it. No I/O and no clock: the moment is an argument.
//!
//! A request goes through two steps. `examine` is the gate: JSON, credentials, permission, rules, in the order of the
//! real service. `act` is the call itself. A fault may stop a request between the two; the gate's findings are in the
//! ledger all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::arrived::Arrived;
use super::contract::{self, Kind, Operation};
use super::desk::{Desk, Refusal};
use super::fault::Faults;
use super::happening::{Happening, What};
use super::health::HealthRules;
use super::ledger::{Authorization, Ledger, LoginRecord, RejectionRecord, note};
use super::options::{AllocationSpec, DEMO_SESSION, Generation, Options, SessionSpec};
use super::reply::Reply;
use super::rules::{Checker, Complaint, Field, Rule};
use super::session::{Book, Moment};
use super::stream::Stream;

mod audit_calls;
mod config_calls;
mod control;
mod host_calls;
mod instance_calls;
mod login_calls;
mod notification_calls;
mod session_calls;
mod sic_calls;

pub use control::ControlError;
pub use sic_calls::{SicSpec, SicStatus};

/// Everything that the environment knows.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) faults: Faults,
    desk: Desk,
    book: Book,
    /// Which session each allocation is bound to; `None` for one that nobody has bound.
    allocations: BTreeMap<String, Option<String>>,
    /// The servers that have registered with SIC.
    sic: BTreeMap<String, sic_calls::SicServer>,
    streams: BTreeMap<String, Stream>,
    rng: Rng,
    started: Instant,
    notifications_kept: usize,
    is_new: bool,
    oauth_refresh_tokens: bool,
    undocumented_login: bool,
    login_without_basic: bool,
    happenings: broadcast::Sender<Happening>,
}

/// A request that passed the gate.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) kind: Kind,
    client: String,
    parameters: Map<String, Value>,
    body: Value,
    if_none_match: Option<String>,
    address: String,
}

impl Checked {
    fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.parameters.get(name).and_then(Value::as_u64).map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.parameters.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    fn word(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn tag(&self) -> Option<&str> {
        self.if_none_match.as_deref()
    }
}

impl World {
    /// The environment as the options describe it.
    pub(super) fn new(options: &Options, moment: Moment, happenings: broadcast::Sender<Happening>) -> Self {
        let mut world = Self {
            ledger: Ledger::default(),
            faults: Faults::default(),
            desk: Desk::new(options),
            book: Book::new(HealthRules::new(options.health_cadence_seconds), options.session_ttl, options.api),
            allocations: BTreeMap::new(),
            sic: BTreeMap::new(),
            streams: BTreeMap::new(),
            rng: options.seed.map_or_else(Rng::new, Rng::with_seed),
            started: moment.now,
            notifications_kept: options.notifications_kept.max(1),
            is_new: options.api == Generation::V2026_08,
            oauth_refresh_tokens: options.oauth_refresh_tokens,
            undocumented_login: options.undocumented_login,
            login_without_basic: options.login_without_basic,
            happenings,
        };
        if options.sessions.is_empty() {
            world.make_session(&SessionSpec::new(DEMO_SESSION), moment);
        }
        for spec in &options.sessions {
            world.make_session(spec, moment);
        }
        for spec in &options.allocations {
            world.start_allocation(spec, moment);
        }
        world
    }

    fn start_allocation(&mut self, spec: &AllocationSpec, moment: Moment) {
        if let Some(session) = &spec.session_id
            && !self.book.has(session)
        {
            self.make_session(&SessionSpec::new(session), moment);
        }
        // The session is there now, so nothing can be missing.
        let _ = self.allocate(spec, moment);
    }

    fn make_session(&mut self, spec: &SessionSpec, moment: Moment) {
        let birth = self.rng.u32(..);
        self.book.create(spec, moment, birth);
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Since the beginning, for the ledger.
    pub(super) fn elapsed_ms(&self, now: Instant) -> u64 {
        u64::try_from(self.elapsed(now).as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells whoever listens; nobody may.
    pub(super) fn tell(&self, what: What, now: Instant) {
        let _ = self.happenings.send(Happening { at: self.elapsed(now), what });
    }

    /// The gate. `processed` is false when a fault will stop the request: then a refused login is no login.
    pub(super) fn examine(
        &mut self,
        number: u64,
        operation: &'static Operation,
        parts: &[(&'static Field, String)],
        arrived: &Arrived,
        processed: bool,
        moment: Moment,
    ) -> Result<Checked, Reply> {
        // FastAPI reads the JSON before anything else, so that not even the credentials come first.
        let body = match operation.body {
            Some(_) => arrived.json().map_err(|complaint| self.reject(&[complaint], arrived, moment))?,
            None => Value::Null,
        };
        let client = match self.authenticate(operation, arrived, &body, moment) {
            Ok(client) => client,
            Err(refusal) => {
                self.authorized(number, refusal.verdict, refusal.client.as_deref());
                if operation.is_login() && processed {
                    self.logged_in(refusal.client.clone(), None, Some(refusal.code.to_owned()), moment);
                }
                return Err(Reply::not_authenticated(refusal.code, refusal.description));
            }
        };
        let allowed = operation.is_login() || self.desk.holds(&client, operation.permissions);
        let verdict = if allowed { Authorization::Valid } else { Authorization::Forbidden };
        self.authorized(number, verdict, Some(&client));
        if !allowed {
            let wanted = operation.permissions.join("`, `");
            let words = format!("Insufficient Role access: any of `{wanted}` is required");
            return Err(Reply::forbidden("insufficient_role", words));
        }
        if let (Some(record), false) = (self.ledger.request(number), operation.is_login()) {
            record.body = operation.body.map(|_| body.clone());
        }
        let parameters = self
            .check(operation, parts, arrived, &body)
            .map_err(|complaints| self.reject(&complaints, arrived, moment))?;
        Ok(Checked {
            kind: operation.kind,
            client,
            parameters,
            body,
            if_none_match: arrived.if_none_match.clone(),
            address: arrived.address(),
        })
    }

    fn authenticate(
        &mut self,
        operation: &Operation,
        arrived: &Arrived,
        body: &Value,
        moment: Moment,
    ) -> Result<String, Refusal> {
        let header = arrived.authorization.as_deref();
        if self.login_without_basic && operation.kind == Kind::Login && header.is_none() {
            let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
            let client = self.desk.without_basic(word("grant_type"), word("portal_access_token"));
            return client.map_or_else(|| self.desk.basic(None), Ok);
        }
        if operation.is_login() {
            self.desk.basic(header)
        } else {
            self.desk.bearer(header, moment.now).map(|holder| holder.client)
        }
    }

    fn check(
        &self,
        operation: &Operation,
        parts: &[(&'static Field, String)],
        arrived: &Arrived,
        body: &Value,
    ) -> Result<Map<String, Value>, Vec<Complaint>> {
        let mut checker = Checker::default();
        let mut parameters = Map::new();
        let mut keep = |field: &Field, value: Option<Value>| {
            if let Some(value) = value {
                parameters.insert(field.name.to_owned(), value);
            }
        };
        for (field, text) in parts {
            keep(field, checker.parameter("path", field, text));
        }
        let given = arrived.query_pairs();
        for field in operation.query_fields {
            match given.get(field.name) {
                Some(text) => keep(field, checker.parameter("query", field, text)),
                None if field.required => {
                    checker.complain(&["query".into(), field.name.into()], "field required", "value_error.missing");
                }
                None => {}
            }
        }
        for name in given.keys().filter(|name| !operation.query_fields.iter().any(|field| field.name == name.as_str()))
        {
            checker.complain(
                &["query".into(), name.as_str().into()],
                "extra parameters not permitted",
                "value_error.extra",
            );
        }
        if let Some(fields) = operation.body {
            let grant = body.get("grant_type").and_then(Value::as_str);
            let undocumented =
                self.undocumented_login && operation.kind == Kind::Login && grant == Some("client_credentials");
            let fields = if undocumented { contract::UNDOCUMENTED_LOGIN } else { fields };
            checker.value(&Rule::Object(fields), body, &["body".into()]);
        }
        let complaints = checker.finish();
        if complaints.is_empty() { Ok(parameters) } else { Err(complaints) }
    }

    fn reject(&mut self, complaints: &[Complaint], arrived: &Arrived, moment: Moment) -> Reply {
        let record = RejectionRecord {
            at_ms: self.elapsed_ms(moment.now),
            method: arrived.method.clone(),
            path: arrived.path.clone(),
            why: complaints.iter().map(Complaint::words).collect(),
        };
        note(&mut self.ledger.rejections, record);
        Reply::invalid(complaints)
    }

    fn authorized(&mut self, number: u64, verdict: Authorization, client: Option<&str>) {
        if let Some(record) = self.ledger.request(number) {
            record.authorization = verdict;
            record.client = client.map(str::to_owned);
        }
    }

    fn logged_in(&mut self, client: Option<String>, grant: Option<String>, error_code: Option<String>, moment: Moment) {
        let accepted = error_code.is_none();
        self.tell(What::Login { client: client.clone().unwrap_or_default(), accepted }, moment.now);
        let record = LoginRecord { at_ms: self.elapsed_ms(moment.now), client, grant, error_code };
        note(&mut self.ledger.logins, record);
    }

    /// The call itself.
    pub(super) fn act(&mut self, call: &Checked, moment: Moment) -> Reply {
        let done = match call.kind {
            Kind::Token => Ok(self.token(call, moment)),
            Kind::Login => self.login(call, moment),
            Kind::ReadSession => self.read_session(call, moment),
            Kind::UpdateSession => self.update_session(call, moment),
            Kind::FindSession => self.find_session(call, moment),
            Kind::Register => self.register(call, moment),
            Kind::Update => self.update(call, moment),
            Kind::Unregister => self.unregister(call, moment),
            Kind::HealthConfig => Ok(Reply::ok(&self.book.rules.document())),
            Kind::PostHealth => self.post_health(call, moment),
            Kind::Fubar => self.fubar(call, moment),
            Kind::ListEvents => self.list_events(call, moment),
            Kind::PostEvent => self.post_event(call, moment),
            Kind::StartMatch | Kind::UpdateMatch => self.put_match(call, moment),
            Kind::EndMatch => self.end_match(call, moment),
            Kind::AddBrowser | Kind::UpdateBrowser => self.put_browser(call, moment),
            Kind::DeleteBrowser => self.delete_browser(call, moment),
            Kind::AddPlayer => self.add_player(call, moment),
            Kind::RemovePlayer => self.remove_player(call, moment),
            Kind::Backfill => self.backfill(call, moment),
            Kind::Regions => Ok(config_calls::regions(call)),
            Kind::ConnectionInfo => Ok(config_calls::connection_info(call)),
            Kind::Browse => Ok(self.browse(call, moment)),
            Kind::RequestTemplate => Ok(config_calls::request_template(call, self.is_new)),
            Kind::LaunchTemplate => Ok(config_calls::launch_template(call)),
            Kind::SessionTemplate => Ok(config_calls::session_template(call)),
            Kind::ListNotifications => self.list_notifications(call),
            Kind::CreateNotifications => self.create_notifications(call, moment),
            Kind::GetNotification => self.get_notification(call),
            Kind::CreateSession => Ok(self.create_own_session(call, moment)),
            Kind::SicRegister => Ok(self.sic_register(call)),
            Kind::SicState => Ok(self.sic_state(call)),
            Kind::Poll => self.poll_once(call, moment),
            Kind::ListAudit => Ok(self.list_audit(call, moment)),
            Kind::Audit => self.audit(call, moment),
        };
        done.unwrap_or_else(|refused| refused)
    }
}

#[cfg(test)]
mod tests;
