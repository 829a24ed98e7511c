//! The least backend that has everything the invariants speak of: one session, one seat, a fence, fubars, notifications.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::call::{Answer, Call, Failure, FailureKind, Page};
use crate::core::ids::{AllocationId, Etag, InstanceId};
use crate::core::instance::{HealthConfig, InstanceInfo, JoinStatus, Session};
use crate::core::tests::rig::{notification, session_id};

/// Who holds the session, by name; the empty text is nobody.
pub(super) type Owner = String;

/// What an answer tells of the session's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// How often the owner had changed by then.
    pub(super) version: u32,
    pub(super) owner: Owner,
    /// It was a GET, and not the answer to a write.
    pub(super) look: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Backend {
    pub(super) instance: Option<InstanceInfo>,
    /// How often the owner has changed.
    pub(super) version: u32,
    /// Notifications `n0`, `n1`, … so many.
    pub(super) published: usize,
    /// Copies of each report, by its label.
    pub(super) copies: BTreeMap<String, u32>,
    /// Every instance id that was ever registered by POST, with how often.
    pub(super) registered: BTreeMap<String, u32>,
}

fn answer_error(kind: FailureKind, status: u16) -> Failure {
    Failure { status: Some(status), ..Failure::local(kind, "") }
}

impl Backend {
    pub(super) fn owner(&self) -> Owner {
        self.instance.as_ref().map_or(String::new(), |shown| {
            shown.instance_id.as_ref().map_or("half-made", InstanceId::as_str).to_owned()
        })
    }

    /// The provider binds the session to an allocation.
    pub(super) fn allocate(&mut self, allocation: &str, instance: &str) {
        self.instance = Some(InstanceInfo {
            instance_id: Some(InstanceId::parse(instance).unwrap()),
            allocation_id: Some(AllocationId::parse(allocation).unwrap()),
            join_status: JoinStatus::Allocated,
            health: None,
        });
        self.version += 1;
    }

    fn etag(&self) -> Option<Etag> {
        // The same content has the same tag, so that the number of states stays finite.
        let shown = self.instance.as_ref();
        let status = shown.map_or("", |shown| shown.join_status.as_str());
        Etag::parse(&format!("\"{}-{status}\"", self.owner())).ok()
    }

    pub(super) fn shown(&self, look: bool) -> Shown {
        Shown { version: self.version, owner: self.owner(), look }
    }

    fn document(&self) -> Answer {
        let instance = self.instance.clone();
        let session = Session {
            session_id: session_id(),
            region_id: None,
            instance,
            document: Arc::from(""),
            print: 0,
            is_new: false,
        };
        Answer::Session { session: Box::new(session), etag: self.etag() }
    }

    /// Whether there is something for a poll to give.
    pub(super) fn has_news(&self, call: &Call) -> bool {
        matches!(call, Call::Poll { after, .. } if self.after(after.as_ref().map(|id| id.as_str())) < self.published)
    }

    fn after(&self, cursor: Option<&str>) -> usize {
        (0..self.published).find(|at| Some(format!("n{at}").as_str()) == cursor).map_or(0, |at| at + 1)
    }

    /// Carries a call out, and says what its answer tells of the owner.
    pub(super) fn process(&mut self, call: &Call) -> (Result<Answer, Failure>, Option<Shown>) {
        match call {
            Call::FindSession { allocation } => {
                if self.instance.as_ref().is_some_and(|shown| shown.allocation_id.as_ref() == Some(allocation)) {
                    (Ok(self.document()), Some(self.shown(true)))
                } else {
                    (Err(answer_error(FailureKind::NotFound, 404)), None)
                }
            }
            Call::ReadSession { etag, .. } => {
                let known = etag.is_some() && *etag == self.etag();
                (Ok(if known { Answer::NotModified } else { self.document() }), Some(self.shown(true)))
            }
            Call::Register { registration, .. } => {
                *self.registered.entry(registration.instance_id.to_string()).or_default() += 1;
                let info = InstanceInfo {
                    instance_id: Some(registration.instance_id.clone()),
                    allocation_id: None,
                    join_status: JoinStatus::Pending,
                    health: None,
                };
                if self.owner() != registration.instance_id.as_str() {
                    self.version += 1;
                }
                self.instance = Some(info.clone());
                (Ok(Answer::Instance(Box::new(info))), Some(self.shown(false)))
            }
            Call::Update { update, .. } => {
                let Some(shown) = &mut self.instance else {
                    return (Err(answer_error(FailureKind::NotFound, 404)), None);
                };
                if shown.allocation_id != update.allocation_id {
                    return (Err(answer_error(FailureKind::Forbidden, 403)), None);
                }
                shown.join_status = update.join_status.clone();
                let info = shown.clone();
                (Ok(Answer::Instance(Box::new(info))), Some(self.shown(false)))
            }
            Call::Unregister { .. } => {
                if self.instance.take().is_none() {
                    return (Err(answer_error(FailureKind::NotFound, 404)), None);
                }
                self.version += 1;
                (Ok(Answer::Unregistered), Some(self.shown(false)))
            }
            Call::HealthConfig => {
                let config = HealthConfig { cadence: std::time::Duration::from_secs(3600) };
                (Ok(Answer::HealthConfig(config)), None)
            }
            Call::PostHealth { instance, health, .. } => {
                if self.owner() == instance.as_str() {
                    (Ok(Answer::HealthAccepted(*health)), None)
                } else {
                    (Err(answer_error(FailureKind::NotFound, 404)), None)
                }
            }
            Call::Fubar { report, .. } => {
                *self.copies.entry(report.error.clone()).or_default() += 1;
                (Ok(Answer::Accepted), None)
            }
            // Nobody has duties here.
            Call::PostEvent { .. } | Call::Audit { .. } | Call::Duty { .. } => (Ok(Answer::Accepted), None),
            Call::CreateSession { .. } | Call::SicRegister { .. } | Call::SicState { .. } => {
                unreachable!("every target is fixed")
            }
            Call::Poll { after, page_size, .. } => {
                let from = self.after(after.as_ref().map(|id| id.as_str()));
                let to = self.published.min(from + usize::from(*page_size));
                let notifications: Vec<_> = (from..to).map(|at| notification(&format!("n{at}"))).collect();
                let last_id = notifications.last().map(|last| last.notification_id.clone());
                (Ok(Answer::Page(Page { notifications, unusable: 0, last_id })), None)
            }
        }
    }
}
