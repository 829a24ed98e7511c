//! Who says things to an agent, remembers what was promised, and compares it with what arrived.

use std::collections::BTreeMap;

use rallyhere_agent::simulator::RequestRecord;
use serde_json::{Value, json};

use crate::process::agent::Agent;
use crate::process::generations::as_told;
use crate::process::home::Home;
use crate::process::socket;
use crate::process::stage::{SESSION, Stage, until};

/// What the game says of itself with its `ready`.
pub(super) fn said() -> Value {
    json!({"public_conn_str": "unreal://192.0.2.7:7777", "custom_data": {"mode": "ctf"}})
}

/// Posts to the agent; `None` if it died over it.
pub(super) async fn ask(agent: &mut Agent, home: &Home, line: &str, body: Option<Value>) -> Option<(u16, Value)> {
    let (method, path) = line.split_once(' ').unwrap();
    until(&format!("an answer to {line}, or the end"), async || {
        match socket::call(&home.socket(), method, path, body.as_ref()).await {
            Ok((status, text)) => Some(Some((status, serde_json::from_str(&text).unwrap()))),
            Err(_) => {
                // Not there yet, or gone. One that lives and cuts is asked again, which the ledger would show.
                (!agent.is_running()).then_some(None)
            }
        }
    })
    .await
}

/// One report or event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    /// Who wrote it.
    pub(super) writer: usize,
    /// Its number among those of the writer.
    pub(super) number: usize,
}

impl Told {
    /// The words by which it is known on the other side.
    pub(super) fn words(&self) -> String {
        format!("w{}-{}", self.writer, self.number)
    }

    fn read(words: &str) -> Option<Self> {
        let (writer, number) = words.strip_prefix('w')?.split_once('-')?;
        Some(Self { writer: writer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// The ids of a page of notifications.
pub(super) fn ids(page: &Value) -> Vec<&str> {
    let entries = page["notifications"].as_array().unwrap();
    entries.iter().map(|entry| entry["notification_id"].as_str().unwrap()).collect()
}

/// What came of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sums {
    pub(super) accepted: usize,
    pub(super) arrived: usize,
    pub(super) copies: usize,
    pub(super) notifications: usize,
    pub(super) repeats: usize,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.accepted += more.accepted;
        self.arrived += more.arrived;
        self.copies += more.copies;
        self.notifications += more.notifications;
        self.repeats += more.repeats;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// What got its 202, and the id it got.
    accepted: BTreeMap<Told, String>,
    /// Ids of notifications, as the backend wrote them.
    pub(super) published: Vec<String>,
    /// So many of them were seen by the game.
    seen: usize,
    /// So many are acknowledged, and the agent said so.
    acknowledged: usize,
    /// So many may be: the answer did not come.
    perhaps: usize,
    /// Seen again.
    repeats: usize,
    /// The last request before each kill.
    kills: Vec<u64>,
}

impl Witness {
    /// The agent has been killed.
    pub(super) fn killed(&mut self, stage: &Stage) {
        self.kills.push(stage.simulator.read_ledger(|ledger| ledger.requests_total));
    }

    /// A 202.
    pub(super) fn accepted(&mut self, told: &Told, answer: &Value) {
        let id = answer["report_id"].as_str().or_else(|| answer["event_id"].as_str()).unwrap().to_owned();
        let before = self.accepted.insert(told.clone(), id.clone());
        assert!(before.as_ref().is_none_or(|before| *before == id), "{told:?} was {before:?}, and is {id}");
    }

    /// How many there were.
    pub(super) fn accepted_so_far(&self) -> usize {
        self.accepted.len()
    }

    /// Whether the backend has all that was accepted.
    pub(super) fn has_all_arrived(&self, stage: &Stage) -> bool {
        let arrivals = arrivals(stage);
        self.accepted.keys().all(|told| arrivals.iter().any(|(arrived, _)| arrived == told))
    }

    /// A page of notifications: everything that waits, from the oldest, without a gap.
    pub(super) fn read(&mut self, page: &Value) -> Option<String> {
        let ids = ids(page);
        let first = ids.first()?;
        let at = self.published.iter().position(|id| id == first).unwrap_or(usize::MAX);
        assert!(at == self.acknowledged || at == self.perhaps, "{at}: after {} or {}", self.acknowledged, self.perhaps);
        (self.acknowledged, self.perhaps) = (at, at);
        assert_eq!(ids, self.published[at..at + ids.len()], "in order, each once");
        self.repeats += self.seen.saturating_sub(at).min(ids.len());
        self.seen = self.seen.max(at + ids.len());
        ids.last().map(|id| (*id).to_owned())
    }

    /// The game is done with the oldest that waits: which that is.
    pub(super) fn oldest(&self) -> Option<String> {
        (self.acknowledged < self.seen).then(|| self.published[self.acknowledged].clone())
    }

    /// An acknowledgement goes out.
    pub(super) fn acknowledging(&mut self, id: &str) {
        self.perhaps = self.published.iter().position(|published| published == id).unwrap() + 1;
    }

    /// It was answered.
    pub(super) fn acknowledged(&mut self) {
        self.acknowledged = self.perhaps;
    }

    /// Whether all that was published has been seen and acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.acknowledged == self.published.len()
    }

    pub(super) fn done(&self) -> usize {
        self.acknowledged
    }

    /// Compares everything with the ledger.
    #[track_caller]
    pub(super) fn judge(&self, stage: &Stage) -> Sums {
        let arrivals = arrivals(stage);
        let mut copies = 0;
        let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
        let mut seen: BTreeMap<&Told, u64> = BTreeMap::new();
        let mut copies_of_kill: BTreeMap<usize, usize> = BTreeMap::new();
        for (told, request) in &arrivals {
            if seen.insert(told, *request).is_some() {
                copies += 1;
                let life = self.kills.iter().filter(|kill| *kill < request).count();
                assert!(life > 0, "{told:?} came twice, and nothing had been killed");
                *copies_of_kill.entry(life).or_default() += 1;
            } else {
                let last = newest.insert(told.writer, told.number);
                assert!(last < Some(told.number), "{told:?} came after {last:?}");
            }
        }
        let worst = copies_of_kill.values().max().copied().unwrap_or_default();
        assert!(
            worst <= 1,
            "one delivery is in flight at a kill, and {worst} came twice: {arrivals:?} {:?}",
            self.kills
        );
        let lost: Vec<&Told> = self.accepted.keys().filter(|told| !seen.contains_key(told)).collect();
        assert!(lost.is_empty(), "lost: {lost:?} of {arrivals:?}");
        assert_eq!(self.acknowledged, self.published.len(), "notifications that never came");
        Sums {
            accepted: self.accepted.len(),
            arrived: seen.len(),
            copies,
            notifications: self.published.len(),
            repeats: self.repeats,
        }
    }
}

/// The reports and events that the backend took, in order, with the numbers of their requests.
pub(super) fn arrivals(stage: &Stage) -> Vec<(Told, u64)> {
    let told = |request: &RequestRecord| {
        let body =
            request.body.as_ref().filter(|_| request.processed && request.status.is_none_or(|status| status == 200))?;
        let (what, body) = as_told(request.call?, body)?;
        let words = if what == "fubar" { &body["error"] } else { &body["event_code"] };
        Some((Told::read(words.as_str()?)?, request.number))
    };
    stage.requests().iter().filter_map(told).collect()
}

/// What must hold of the instance itself, however often its agent was killed.
#[track_caller]
pub(super) fn judge_instance(stage: &Stage) {
    let registrations = stage.simulator.read_ledger(|ledger| ledger.of("register").filter(|r| r.processed).count());
    assert_eq!(registrations, 1, "registrations");
    let mut was_joinable = false;
    for update in stage.requests().iter().filter(|request| request.call == Some("update") && request.processed) {
        let status = &update.body.as_ref().unwrap()["join_status"];
        assert!(!was_joinable || status == "joinable", "back to {status}");
        was_joinable |= status == "joinable";
    }
    let shown = stage.instance(SESSION);
    assert_eq!(shown["join_status"], "joinable");
    assert_eq!(shown["join_params"]["public_conn_str"], said()["public_conn_str"]);
    assert_eq!(shown["custom_data"], said()["custom_data"]);
}
