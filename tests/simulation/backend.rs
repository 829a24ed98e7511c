//! The backend of a simulated world: sessions with one seat each, a fence, streams of notifications, and a count of every report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::core::call::{Answer, Call, Failure, FailureKind, Page};
use rallyhere_agent::core::ids::{AllocationId, Etag, InstanceId, NotificationId, SessionId};
use rallyhere_agent::core::instance::{HealthConfig, InstanceInfo, JoinStatus, Notification, Session};

/// Who holds a session, as an answer tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// How often the holder had changed by then.
    pub(crate) version: u64,
    /// Nobody, or an instance with its allocation.
    pub(crate) holder: Option<(Option<InstanceId>, Option<AllocationId>)>,
    /// It was a GET, and not the answer to a write.
    pub(crate) look: bool,
}

/// A session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seat {
    pub(crate) instance: Option<InstanceInfo>,
    /// How often the holder has changed.
    pub(crate) version: u64,
    edits: u64,
    pub(crate) gone: bool,
}

impl Seat {
    pub(crate) fn give(&mut self, instance: Option<InstanceInfo>) {
        self.instance = instance;
        self.version += 1;
        self.edits += 1;
    }

    pub(crate) fn holder(&self) -> Option<(Option<InstanceId>, Option<AllocationId>)> {
        self.instance.as_ref().map(|shown| (shown.instance_id.clone(), shown.allocation_id.clone()))
    }

    fn told(&self, look: bool) -> Told {
        Told { version: self.version, holder: self.holder(), look }
    }

    fn etag(&self) -> Option<Etag> {
        Etag::parse(&format!("\"{}\"", self.edits)).ok()
    }
}

/// The notifications of one instance: numbers from 0 on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    /// Older ones are gone.
    pub(crate) first: usize,
    pub(crate) published: usize,
    /// Every so many carries a hint to read the session.
    pub(crate) hints: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) seats: BTreeMap<SessionId, Seat>,
    pub(crate) streams: BTreeMap<InstanceId, Stream>,
    /// How often each report arrived, by its label.
    pub(crate) copies: BTreeMap<String, u32>,
    pub(crate) cadence: Duration,
    /// What a PATCH with another allocation gets.
    pub(crate) mismatch: (FailureKind, u16),
    document: Arc<str>,
}

pub(crate) fn failure(kind: FailureKind, status: u16) -> Failure {
    Failure { status: Some(status), ..Failure::local(kind, "simulated") }
}

fn gone() -> Failure {
    Failure { code: Some("session_not_found".into()), ..failure(FailureKind::NotFound, 404) }
}

/// The place of a notification in its stream.
pub(crate) fn place(id: &NotificationId) -> usize {
    id.as_str().rsplit_once('.').and_then(|(_, number)| number.parse().ok()).unwrap_or(usize::MAX)
}

impl Backend {
    pub(crate) fn new(cadence: Duration, mismatch: (FailureKind, u16)) -> Self {
        Self {
            seats: BTreeMap::new(),
            streams: BTreeMap::new(),
            copies: BTreeMap::new(),
            cadence,
            mismatch,
            document: Arc::from("{}"),
        }
    }

    fn document(&self, id: &SessionId, seat: &Seat) -> Answer {
        let session = Session {
            session_id: id.clone(),
            region_id: None,
            instance: seat.instance.clone(),
            document: Arc::clone(&self.document),
            print: 0,
            is_new: false,
        };
        Answer::Session { session: Box::new(session), etag: seat.etag() }
    }

    /// Where a poll goes on.
    fn from(stream: &Stream, after: Option<&NotificationId>) -> usize {
        let next = after.map_or(0, |after| place(after).saturating_add(1));
        if next > stream.published { stream.first } else { next.max(stream.first) }
    }

    /// Whether a poll is held.
    pub(crate) fn holds(&self, call: &Call) -> bool {
        let Call::Poll { instance, after, .. } = call else { return false };
        self.streams.get(instance).is_none_or(|stream| Self::from(stream, after.as_ref()) >= stream.published)
    }

    fn page(&self, instance: &InstanceId, after: Option<&NotificationId>, size: u8) -> Page {
        let Some(stream) = self.streams.get(instance) else { return Page::default() };
        let from = Self::from(stream, after);
        let to = stream.published.min(from + usize::from(size));
        let notifications: Vec<_> = (from..to)
            .filter_map(|at| {
                let notification_id = NotificationId::parse(&format!("{instance}.{at}")).ok()?;
                let hint = stream.hints && at % 7 == 3;
                Some(Arc::new(Notification {
                    notification_id,
                    created: String::new(),
                    message: String::new(),
                    rh_url: hint.then(|| "session/v1/session/any".to_owned()),
                    etag: None,
                    custom_data: BTreeMap::new(),
                }))
            })
            .collect();
        let last_id = notifications.last().map(|last| last.notification_id.clone());
        Page { notifications, unusable: 0, last_id }
    }

    fn count(&mut self, label: &str) -> Answer {
        *self.copies.entry(label.to_owned()).or_default() += 1;
        Answer::Accepted
    }

    /// Carries a call out, and says what its answer tells of the holder.
    pub(crate) fn process(&mut self, call: &Call) -> (Result<Answer, Failure>, Option<Told>) {
        let session = match call {
            Call::FindSession { allocation } => {
                let bound = self.seats.iter().find(|(_, seat)| {
                    !seat.gone && seat.instance.as_ref().is_some_and(|i| i.allocation_id.as_ref() == Some(allocation))
                });
                return match bound {
                    Some((id, seat)) => (Ok(self.document(id, seat)), Some(seat.told(true))),
                    None => (Err(failure(FailureKind::NotFound, 404)), None),
                };
            }
            Call::HealthConfig => {
                return (Ok(Answer::HealthConfig(HealthConfig { cadence: self.cadence })), None);
            }
            Call::Poll { instance, after, page_size, .. } => {
                return (Ok(Answer::Page(self.page(instance, after.as_ref(), *page_size))), None);
            }
            Call::ReadSession { session, .. }
            | Call::Register { session, .. }
            | Call::Update { session, .. }
            | Call::Unregister { session }
            | Call::PostHealth { session, .. }
            | Call::Fubar { session, .. }
            | Call::PostEvent { session, .. }
            | Call::Audit { session, .. }
            | Call::Duty { session, .. } => session,
            Call::CreateSession { .. } | Call::SicRegister { .. } | Call::SicState { .. } => {
                unreachable!("every target is fixed")
            }
        };
        let mismatch = self.mismatch;
        let Some(seat) = self.seats.get_mut(session).filter(|seat| !seat.gone) else { return (Err(gone()), None) };
        match call {
            Call::ReadSession { etag, .. } => {
                let told = Some(seat.told(true));
                if etag.is_some() && *etag == seat.etag() {
                    return (Ok(Answer::NotModified), told);
                }
                let seat = seat.clone();
                (Ok(self.document(session, &seat)), told)
            }
            Call::Register { registration, .. } => {
                let same = seat.holder() == Some((Some(registration.instance_id.clone()), None));
                let info = InstanceInfo {
                    instance_id: Some(registration.instance_id.clone()),
                    allocation_id: None,
                    join_status: JoinStatus::Pending,
                    health: None,
                };
                seat.instance = Some(info.clone());
                seat.version += u64::from(!same);
                seat.edits += 1;
                (Ok(Answer::Instance(Box::new(info))), Some(seat.told(false)))
            }
            Call::Update { update, .. } => match &mut seat.instance {
                None => (Err(failure(FailureKind::NotFound, 404)), None),
                // Without a fence it is taken, whoever is there (backend.md, trap 7).
                Some(shown) if update.allocation_id.is_some() && shown.allocation_id != update.allocation_id => {
                    (Err(failure(mismatch.0, mismatch.1)), None)
                }
                Some(shown) => {
                    shown.join_status = update.join_status.clone();
                    let info = shown.clone();
                    seat.edits += 1;
                    (Ok(Answer::Instance(Box::new(info))), Some(seat.told(false)))
                }
            },
            Call::Unregister { .. } => {
                if seat.instance.is_none() {
                    return (Err(failure(FailureKind::NotFound, 404)), None);
                }
                seat.give(None);
                (Ok(Answer::Unregistered), Some(seat.told(false)))
            }
            Call::PostHealth { instance, health, .. } => {
                let ours = seat.instance.as_mut().filter(|shown| shown.instance_id.as_ref() == Some(instance));
                match ours {
                    Some(shown) => {
                        shown.health = Some(*health);
                        (Ok(Answer::HealthAccepted(*health)), None)
                    }
                    None => (Err(failure(FailureKind::NotFound, 404)), None),
                }
            }
            Call::Fubar { report, .. } => (Ok(self.count(&report.error)), None),
            Call::PostEvent { event, .. } => (Ok(self.count(&event.event_code)), None),
            Call::Duty { .. }
            | Call::Audit { .. }
            | Call::FindSession { .. }
            | Call::CreateSession { .. }
            | Call::SicRegister { .. }
            | Call::SicState { .. }
            | Call::HealthConfig
            | Call::Poll { .. } => (Ok(Answer::Accepted), None),
        }
    }
}
