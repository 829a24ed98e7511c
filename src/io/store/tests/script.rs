//! Batches as an agent makes them, and the judgement on what a restart found of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::engine::{Engine, is_refusable};
use super::super::payload::Mirror;
use super::super::queue::Batch;
use super::fake::FakeDisk;
use crate::core::durable::{Content, Durable, Record, Report, SaidState};
use crate::core::ids::{InstanceName, NotificationId, ReportId};
use crate::core::instance::Notification;

pub(super) fn name(instance: u8) -> InstanceName {
    InstanceName::parse(&format!("game-{instance}")).unwrap()
}

pub(super) fn report_id(number: usize) -> ReportId {
    ReportId::parse(&format!("r{number:05}")).unwrap()
}

pub(super) fn accepted(number: usize) -> Record {
    Record::Accepted(Report {
        id: report_id(number),
        key: number.is_multiple_of(2).then(|| format!("key-{number}")),
        accepted: Timestamp::from_second(1_790_000_000 + number as i64).unwrap(),
        content: Content::Fubar {
            error: format!("it broke, {number} times: \"ü\"\n"),
            source_provider: None,
            matchmaking_profile_id: None,
            region: "eu".to_owned(),
        },
    })
}

pub(super) fn notification_id(number: usize) -> NotificationId {
    NotificationId::parse(&format!("n{number:05}")).unwrap()
}

pub(super) fn page(first: usize, count: usize, message: &str) -> Record {
    let notification = |number| {
        Arc::new(Notification {
            notification_id: notification_id(number),
            created: "2026-11-22T10:15:00Z".to_owned(),
            message: message.to_owned(),
            rh_url: None,
            etag: None,
            custom_data: BTreeMap::new(),
        })
    };
    Record::Page {
        cursor: notification_id(first + count - 1),
        notifications: (first..first + count).map(notification).collect(),
    }
}

pub(super) fn said(number: usize) -> Record {
    Record::Said(SaidState { ready: true, version: Some(format!("1.0.{number}")), ..SaidState::default() })
}

pub(super) fn batch(instance: u8, records: Vec<Record>) -> Batch {
    Batch { instance: name(instance), records, reply: None }
}

/// One step of a random script: what, of which instance, and which of several.
pub(super) type Step = (u8, u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Answered: on disk.
    Sure,
    /// Refused.
    Refused,
    /// Refused, but the disk would not take it back.
    Doubt,
    /// Not answered when the process died.
    Open,
}

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) steps: Vec<(InstanceName, Vec<Record>, Fate)>,
    number: usize,
}

impl History {
    /// The next batch of a script.
    fn next(&mut self, (kind, instance, pick): Step) -> Batch {
        self.number += 1;
        let number = self.number * 10;
        let instance = instance % 3;
        let mine = |of: fn(&Record) -> Option<usize>, any: bool| {
            let of_mine = self
                .steps
                .iter()
                .filter(|(name_of, _, fate)| *name_of == name(instance) && (any || matches!(fate, Fate::Sure)));
            let all: Vec<usize> = of_mine.flat_map(|(_, records, _)| records.iter().filter_map(of)).collect();
            all.get(usize::from(pick) % all.len().max(1)).copied()
        };
        let report = |record: &Record| {
            let Record::Accepted(report) = record else { return None };
            report.id.as_str()[1..].parse().ok()
        };
        let cursor = |record: &Record| {
            let Record::Page { cursor, .. } = record else { return None };
            cursor.as_str()[1..].parse().ok()
        };
        let records = match kind % 12 {
            0..=2 => vec![accepted(number)],
            3 => vec![accepted(number), said(number), accepted(number + 1)],
            4 | 5 => match mine(report, false) {
                Some(report) => vec![Record::Sent { report: report_id(report) }],
                None => vec![Record::Attached],
            },
            6 => match mine(report, false) {
                Some(report) => vec![Record::Dead { report: report_id(report), reason: "gone".to_owned() }],
                None => vec![Record::Attached],
            },
            7 | 8 => vec![page(number, 1 + usize::from(pick) % 3, "hello")],
            9 => match mine(cursor, true) {
                Some(through) => vec![Record::Acked { through: notification_id(through) }],
                None => vec![],
            },
            10 => vec![said(number)],
            _ => vec![if pick > 250 { Record::Closed } else { Record::Cadence { millis: number as u64 } }],
        };
        batch(instance, records)
    }

    /// Commits the next steps in one go, and notes what came of them.
    pub(super) fn commit(&mut self, engine: &mut Engine<FakeDisk>, disk: &FakeDisk, steps: &[Step]) {
        let batches: Vec<Batch> = steps.iter().map(|step| self.next(*step)).collect();
        let verdicts = engine.commit(&batches);
        let dead = disk.is_dead();
        for (batch, verdict) in batches.into_iter().zip(verdicts) {
            let fate = match verdict {
                _ if dead => Fate::Open,
                Ok(()) => Fate::Sure,
                Err(_) if engine.status().in_doubt => Fate::Doubt,
                Err(_) => Fate::Refused,
            };
            self.steps.push((batch.instance, batch.records, fate));
        }
        self.clear(engine, disk);
    }

    pub(super) fn tick(&mut self, engine: &mut Engine<FakeDisk>, disk: &FakeDisk) {
        engine.tick();
        self.clear(engine, disk);
    }

    /// What was in doubt is not any more.
    fn clear(&mut self, engine: &Engine<FakeDisk>, disk: &FakeDisk) {
        if !engine.status().in_doubt && !disk.is_dead() {
            for (_, _, fate) in &mut self.steps {
                if *fate == Fate::Doubt {
                    *fate = Fate::Refused;
                }
            }
        }
    }

    pub(super) fn count(&self, fate: Fate) -> usize {
        self.steps.iter().filter(|(_, _, of)| *of == fate).count()
    }

    /// What is to be found once the disk is well: everything but refused reports.
    pub(super) fn expected(&self) -> Mirror {
        let mut mirror = Mirror::new();
        for (instance, records, fate) in &self.steps {
            let records: Vec<_> =
                records.iter().filter(|record| *fate == Fate::Sure || !is_refusable(record)).collect();
            if !records.is_empty() {
                let durable = mirror.entry(instance.clone()).or_default();
                records.into_iter().for_each(|record| durable.apply(record));
            }
        }
        mirror
    }

    /// Whether a restart may find this.
    pub(super) fn judge(&self, recovered: &Mirror) -> Result<(), String> {
        (0..3).map(name).try_for_each(|name| {
            let nothing = Durable::default();
            let durable = recovered.get(&name).unwrap_or(&nothing);
            self.judge_one(&name, durable).map_err(|wrong| format!("{name}: {wrong}\n{durable:#?}\n{:#?}", self.steps))
        })
    }

    fn judge_one(&self, name: &InstanceName, found: &Durable) -> Result<(), String> {
        let mine = || {
            let mine = self.steps.iter().filter(|(instance, _, _)| instance == name);
            mine.flat_map(|(_, records, fate)| records.iter().map(move |record| (record, *fate)))
        };
        // Values: the last sure one, or one after it that was not certainly lost.
        let value = |of: fn(&Record) -> Option<String>| {
            let mut may = vec![None];
            for (value, fate) in mine().filter_map(|(record, fate)| Some((of(record)?, fate))) {
                if fate == Fate::Sure {
                    may.clear();
                }
                may.push(Some(value));
            }
            may
        };
        let cadence = value(|record| {
            let Record::Cadence { millis } = record else { return None };
            Some(millis.to_string())
        });
        let version = value(|record| {
            let Record::Said(said) = record else { return None };
            said.version.clone()
        });
        let cursor = value(|record| {
            let Record::Page { cursor, .. } = record else { return None };
            Some(cursor.to_string())
        });
        let closed = value(|record| matches!(record, Record::Closed).then(String::new));
        for (what, may, is) in [
            ("cadence", cadence, found.cadence_millis.map(|millis| millis.to_string())),
            ("version", version, found.said.version.clone()),
            ("cursor", cursor, found.cursor.as_ref().map(ToString::to_string)),
            ("closed", closed, found.closed.then(String::new)),
        ] {
            if !may.contains(&is) {
                return Err(format!("{what} is {is:?}, not one of {may:?}"));
            }
        }
        let outbox: Vec<_> = found.outbox.iter().map(|report| &report.id).collect();
        let inbox: Vec<_> = found.inbox.iter().map(|notification| &notification.notification_id).collect();
        if !outbox.is_sorted_by(|a, b| a < b) || !inbox.is_sorted_by(|a, b| a < b) {
            return Err("out of order, or twice".to_owned());
        }
        for (record, fate) in mine() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are values, judged above")]
            match record {
                Record::Accepted(report) => {
                    let waiting = outbox.contains(&&report.id);
                    let dead = found.dead.iter().any(|dead| dead.report.id == report.id);
                    let key = found.keys.iter().any(|key| key.report == report.id);
                    let mut over = mine().filter(|(record, _)| {
                        matches!(record, Record::Sent { report: id } | Record::Dead { report: id, .. } if *id == report.id)
                    });
                    let gone = over.clone().any(|(_, fate)| fate == Fate::Sure);
                    let wrong = match fate {
                        Fate::Refused => waiting || dead || key,
                        Fate::Sure if gone => waiting,
                        Fate::Sure => (over.next().is_none() && !waiting) || key != report.key.is_some(),
                        Fate::Doubt | Fate::Open => false,
                    };
                    if wrong {
                        return Err(format!("{fate:?} {} waiting {waiting} dead {dead} key {key}", report.id));
                    }
                }
                Record::Page { notifications, .. } => {
                    for notification in notifications {
                        let id = &notification.notification_id;
                        let mut acks =
                            mine().filter(|(record, _)| matches!(record, Record::Acked { through } if through >= id));
                        let gone = acks.clone().any(|(_, fate)| fate == Fate::Sure);
                        let there = inbox.contains(&id);
                        if gone && there || fate == Fate::Sure && acks.next().is_none() && !there {
                            return Err(format!("{fate:?} {id} there {there}, acknowledged {gone}"));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
