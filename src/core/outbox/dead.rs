//! What an operator sees of the outbox, and what they may do with a dead report: put it back, or forget it.

use std::sync::Arc;

use super::super::common::Common;
use super::super::durable::{Record, Report};
use super::super::event::{Denied, Granted, StoreFault};
use super::super::ids::{ReportId, RequestId, Ticket};
use super::super::snapshot::OutboxEntry;
use super::{LIMIT, Outbox};

/// How many of the waiting reports are shown; of the dead ones, all are.
pub const LISTED: usize = 100;

/// A change to a dead report on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Mending {
    ticket: Ticket,
    record: Record,
    request: RequestId,
}

impl Outbox {
    /// Puts a dead report back, or forgets it. The verdict comes once that is on disk.
    pub(in crate::core) fn mend(&mut self, common: &mut Common, request: RequestId, record: Record) {
        match self.may_mend(common, &record) {
            Ok(()) => {
                let ticket = common.store(vec![record.clone()]);
                self.mending.push(Mending { ticket, record, request });
            }
            Err(denied) => common.reply(request, Err(denied)),
        }
    }

    fn may_mend(&self, common: &Common, record: &Record) -> Result<(), Denied> {
        let Some(id) = mended_by(record) else { return Err(Denied::UnknownReport) };
        if !common.durable.dead.iter().any(|dead| dead.report.id == *id) {
            return Err(Denied::UnknownReport);
        }
        if self.mending.iter().any(|mending| mended_by(&mending.record) == Some(id)) {
            return Err(Denied::Phase("somebody else has just put this report back or dropped it".to_owned()));
        }
        if matches!(record, Record::Revived { .. }) {
            if common.phase.outcome().is_some() {
                let phase = common.phase.as_str();
                return Err(Denied::Phase(format!("the instance is {phase}: nothing is sent any more")));
            }
            if !self.has_room(common) {
                return Err(Denied::Full { limit: LIMIT });
            }
        }
        Ok(())
    }

    /// The store has finished with a batch.
    pub(super) fn mended(&mut self, common: &mut Common, ticket: &Ticket, result: Result<(), StoreFault>) {
        let Some(at) = self.mending.iter().position(|mending| mending.ticket == *ticket) else { return };
        let Mending { record, request, .. } = self.mending.remove(at);
        if result.is_ok() {
            common.apply(&record);
        }
        common.reply(request, result.map(|()| Granted::Done).map_err(Denied::Store));
    }

    /// Makes the copies that readers share, if the outbox has changed.
    pub(in crate::core) fn refresh(&mut self, common: &Common) {
        self.listed.refresh(common);
    }
}

fn mended_by(record: &Record) -> Option<&ReportId> {
    if let Record::Revived { report } | Record::Dropped { report } = record { Some(report) } else { None }
}

/// What readers share, each with the version that it is of.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    oldest: (u64, Arc<Vec<OutboxEntry>>),
    dead: (u64, Arc<Vec<OutboxEntry>>),
}

impl Listed {
    pub(super) fn of(common: &Common) -> Self {
        Self {
            oldest: (common.outbox_version, Arc::new(oldest(common))),
            dead: (common.dead_version, Arc::new(dead(common))),
        }
    }

    fn refresh(&mut self, common: &Common) {
        if self.oldest.0 != common.outbox_version {
            self.oldest = (common.outbox_version, Arc::new(oldest(common)));
        }
        if self.dead.0 != common.dead_version {
            self.dead = (common.dead_version, Arc::new(dead(common)));
        }
    }

    pub(super) fn oldest(&self) -> Arc<Vec<OutboxEntry>> {
        Arc::clone(&self.oldest.1)
    }

    pub(super) fn dead(&self) -> Arc<Vec<OutboxEntry>> {
        Arc::clone(&self.dead.1)
    }
}

fn oldest(common: &Common) -> Vec<OutboxEntry> {
    common.durable.outbox.iter().take(LISTED).map(|report| entry(report, None)).collect()
}

fn dead(common: &Common) -> Vec<OutboxEntry> {
    common.durable.dead.iter().map(|dead| entry(&dead.report, Some(dead.reason.clone()))).collect()
}

fn entry(report: &Report, reason: Option<String>) -> OutboxEntry {
    OutboxEntry {
        id: report.id.clone(),
        what: report.content.what(),
        label: report.content.label().to_owned(),
        accepted: report.accepted,
        reason,
    }
}
