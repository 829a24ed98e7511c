//! The game's side of an instance: does its process live, is it ready, what do we vouch for, and what is told of its end.
//!
//! * [`life`]: its process: started once, told to stop, ended by force.
//! * [`verdict`]: one verdict on its health from everybody who knows something: never a word for a dead game.
//! * [`ending`] and [`fault`]: what an end means, and the words of the reports.
//! * [`row`]: failures in a row are told once.
//! * [`report`]: the reports. They are on disk in one batch before anything is started again.
//! * [`said`]: what it said about itself, and whether it is ready.
//!
//! A failure before the backend has us as its host waits a while for that (see [`WORD`]): nobody could be told of it otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Note, Outcome};
use super::common::Common;
use super::drain::Drain;
use super::durable::{Content, Record};
use super::instance::{CustomData, Health};
use super::params::{Process, Readiness, Target};
use super::phase::Phase;
use super::process::{End, Figures, GameEvent, Order, ProbeResult};
use super::snapshot::{GameView, ProbeView};
use super::timers::earliest;

mod ending;
mod fault;
mod life;
mod report;
mod row;
mod said;
mod verdict;

pub use fault::Fault;
pub(super) use report::{Filing, fubar};

use ending::{Ending, Moment};
use life::{Life, Occasion, Over, State};
use row::Telling;
use verdict::{Cause, Fusion, Known, Verdict};

/// How long the news of a game that failed at its very start waits for the backend to take us as its host.
const WORD: Duration = Duration::from_secs(20);
/// What the agent ends with when its game could not be started: a shell's word for a command that is not there.
const NOT_STARTED: u8 = 127;
/// What it ends with when its game cannot even be killed: 128 + SIGKILL.
const NOT_ENDED: u8 = 137;

/// The machine of the game.
#[derive(Debug, Clone)]
pub(super) struct Game {
    fusion: Fusion,
    life: Life,
    figures: Figures,
    /// The silence of this episode was reported.
    silence_reported: bool,
    /// That probes fail was reported in this episode.
    probes_reported: bool,
    /// It did not become ready in its time.
    late: bool,
    /// That was reported, or was not for the sake of quiet.
    late_told: bool,
    /// Reports that are due.
    filed: Vec<Filing>,
    /// A local client that is a game was there.
    pub(super) client_seen: bool,
}

impl Game {
    pub(super) fn new(common: &Common) -> Self {
        let known = match common.params.process {
            Process::Unknown => Known::Nothing,
            Process::Ours | Process::Watched => Known::Idle,
        };
        Self {
            fusion: Fusion::new(&common.params, known, common.now),
            life: Life::new(common.params.process),
            figures: Figures::default(),
            silence_reported: false,
            probes_reported: false,
            late: false,
            late_told: false,
            filed: Vec::new(),
            client_seen: false,
        }
    }

    /// What we vouch for.
    pub(super) fn verdict(&self) -> Health {
        self.fusion.verdict().health
    }

    /// Why, in words.
    pub(super) fn reason(&self) -> Arc<str> {
        Arc::clone(&self.fusion.verdict().reason)
    }

    /// Whether its process is to be started or looked for, as soon as it is known for whom.
    pub(super) fn wants_start(&self, common: &Common) -> bool {
        let over = common.durable.closed || common.durable.superseded;
        let alive = match common.phase {
            Phase::Resolving | Phase::Registering | Phase::Loading | Phase::Serving => true,
            Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => false,
        };
        self.life.is_unstarted() && alive && !over
    }

    /// The order to start goes out.
    pub(super) fn start(&mut self, common: &mut Common, order: Order) {
        self.life.starting();
        self.fusion.process_is(Known::Awaited, common.now);
        if self.life.is_ours() {
            Self::begins_anew(common);
        }
        common.act(Action::Game(order));
    }

    /// Whether the end of the agent has to wait for a game that we started.
    pub(super) fn is_held(&self) -> bool {
        self.life.is_held()
    }

    /// Whether its process was there and is gone.
    pub(super) fn is_over(&self) -> bool {
        self.life.over().is_some()
    }

    /// Whether it ended by a failure.
    pub(super) fn has_failed(&self) -> bool {
        self.life.over().is_some_and(|over| over.failed)
    }

    /// How an agent ends that has not been superseded.
    pub(super) fn outcome(&self) -> Outcome {
        self.life.over().map_or(Outcome::Ended, |over| over.outcome)
    }

    /// How long a drain that begins now may wait for the game.
    pub(super) fn drain_time(&self, common: &Common) -> Duration {
        self.life.drain_time(&common.params, self.client_seen, self.late)
    }

    /// Why the instance is to be taken down for the game's sake, if it is.
    pub(super) fn wants_end(&self, common: &Common) -> Option<String> {
        if self.waits_for_a_host(common).is_some_and(|until| common.now < until) {
            return None;
        }
        let words = self.life.over().map(|over| over.words.to_string());
        words.or_else(|| self.late.then(|| "the game did not become ready in game.ready_timeout".to_owned()))
    }

    fn waits_for_a_host(&self, common: &Common) -> Option<Instant> {
        let waits = match common.phase {
            // Nobody has been told of an instance yet, and perhaps nobody ever will.
            Phase::Resolving if common.params.target == Target::Awaited => false,
            Phase::Resolving | Phase::Registering => true,
            Phase::Loading | Phase::Serving | Phase::Draining | Phase::Closing | Phase::Ended | Phase::Superseded => {
                false
            }
        };
        self.life.over().filter(|over| waits && over.failed).map(|over| over.at + WORD)
    }

    /// A sign of life, without a verdict.
    pub(super) fn beats(&mut self, common: &Common) {
        self.silence_reported = false;
        self.fusion.beats(common.now);
    }

    /// POST /v1/health: a verdict and a sign of life.
    pub(super) fn says_health(&mut self, common: &Common, status: Health, reason: Option<String>) {
        self.silence_reported = false;
        let reason = reason.unwrap_or_else(|| format!("the game says {}", status.as_str()));
        self.fusion.says(status, Arc::from(reason), common.now);
    }

    /// POST /v1/shutdown: it is done, and ends by itself.
    pub(super) fn says_done(&mut self, common: &Common) {
        self.life.says_done(common.now);
    }

    /// An adapter tells something.
    pub(super) fn handle(&mut self, common: &mut Common, drain: &Drain, event: GameEvent) {
        match event {
            GameEvent::Started { pid } => {
                if self.life.started(pid) {
                    self.fusion.process_is(Known::Running, common.now);
                }
            }
            GameEvent::NotStarted { why } => {
                if self.life.is_expected() {
                    self.not_started(common, drain, &why);
                }
            }
            GameEvent::ReadyLine => {
                if common.params.readiness == Readiness::Log && self.life.is_expected() {
                    Self::becomes_ready(common);
                }
            }
            GameEvent::Ended(end) => {
                if self.life.is_expected() {
                    self.ended(common, drain, &end);
                }
            }
            GameEvent::Probed { probe, result } => self.probed(common, probe, &result),
            GameEvent::Figures(figures) => self.figures = figures,
        }
    }

    fn probed(&mut self, common: &mut Common, probe: usize, result: &ProbeResult) {
        self.fusion.probed(&common.params, probe, result, common.now);
        if let Some(players) = result.players {
            common.players = Some(players);
        }
        if common.params.readiness == Readiness::Probe && self.fusion.is_found_healthy() {
            Self::becomes_ready(common);
        }
    }

    fn not_started(&mut self, common: &mut Common, drain: &Drain, why: &str) {
        let what = if self.life.is_ours() { "could not be started" } else { "was not found" };
        let words = format!("the game {what}: {why}");
        let verdict = self.fusion.verdict().clone();
        self.is_gone(common, drain, &words, NOT_STARTED, true);
        let data = report::facts(common, self, &verdict);
        self.file(common, Fault::GameNotStarted, report::NOT_STARTED, &words, data);
    }

    fn ended(&mut self, common: &mut Common, drain: &Drain, end: &End) {
        let moment = Moment {
            asked: self.life.asked(),
            ready: self.is_ready_inside(common),
            ending: drain.wanted().is_some() || common.phase.outcome().is_some(),
            late: self.late,
            lost: lost(self.fusion.verdict()),
        };
        let ending = ending::classify(end.status, end.oom_killed, &moment);
        let words = ending.words(end.status);
        let verdict = self.fusion.verdict().clone();
        self.figures = end.figures;
        self.is_gone(common, drain, &words, ending.exit_code(end.status), ending.fault().is_some());
        let mut data = report::facts(common, self, &verdict);
        report::put_end(&mut data, end, ending);
        self.tell(common, ending, &words, data);
    }

    /// Its process is gone, or never was.
    fn is_gone(&mut self, common: &mut Common, drain: &Drain, words: &str, code: u8, failed: bool) {
        let outcome = self.outcome_of(drain, code);
        let words: Arc<str> = Arc::from(words);
        if failed {
            common.note(Note::Warning { cause: "game_failed", words: words.to_string() });
        }
        self.fusion.process_is(Known::Gone(Arc::clone(&words)), common.now);
        self.life.ended(Over { words, outcome, failed, at: common.now });
    }

    /// An agent that was told to stop before its game ended has done so in good order, whatever its game ended with; and the end
    /// of a game that somebody else started is his business.
    fn outcome_of(&self, drain: &Drain, code: u8) -> Outcome {
        if drain.is_told() || !self.life.is_ours() { Outcome::Ended } else { Outcome::Game(code) }
    }

    /// Tells of the end of its process, as far as it is worth it.
    fn tell(&mut self, common: &mut Common, ending: Ending, words: &str, data: CustomData) {
        match ending.fault() {
            Some(fault) if !ending.is_reported_before() => {
                self.file(common, fault, report::ENDED, words, data);
            }
            // What was not told of for the sake of quiet is not told of now either.
            Some(_) if self.late && !self.late_told => {}
            Some(_) => self.file_event(common, report::ENDED, words, data),
            None => {
                if ending.is_good() && common.durable.failures.is_some() {
                    let records = vec![Record::Failures { failures: None }];
                    self.filed.push(Filing { contents: Vec::new(), records });
                }
                if ending.is_worth_an_event() {
                    self.file_event(common, report::ENDED, words, data);
                }
            }
        }
    }

    /// Files a failure: it is counted, and the backend is told what the count leaves to tell. Says whether it is told anything.
    fn file(&mut self, common: &Common, fault: Fault, code: &str, words: &str, mut data: CustomData) -> bool {
        if common.phase.outcome().is_some() {
            return false;
        }
        let (row, telling) = row::next(common.durable.failures.as_ref(), fault, common.wall());
        report::put_count(&mut data, fault, row.count);
        let error = match telling {
            Telling::Itself => Some(fault),
            Telling::Loop => Some(Fault::CrashLoop),
            Telling::Count | Telling::Nothing => None,
        };
        let mut contents: Vec<Content> =
            error.into_iter().map(|fault| fubar(common, fault.as_str().to_owned())).collect();
        if telling != Telling::Nothing {
            contents.push(report::event(common, code, words, data));
        }
        if !common.params.automatic_fubar {
            contents.clear();
        }
        let told = !contents.is_empty();
        self.filed.push(Filing { contents, records: vec![Record::Failures { failures: Some(row) }] });
        told
    }

    fn file_event(&mut self, common: &Common, code: &str, words: &str, data: CustomData) {
        if common.params.automatic_fubar && common.phase.outcome().is_none() {
            let contents = vec![report::event(common, code, words, data)];
            self.filed.push(Filing { contents, records: Vec::new() });
        }
    }

    /// Brings all up to date; gives the reports that are due.
    pub(super) fn advance(&mut self, common: &mut Common, drain: &Drain) -> Vec<Filing> {
        if self.fusion.judge(&common.params, common.now) {
            let Verdict { health, reason, .. } = self.fusion.verdict();
            common.note(Note::Verdict { health: *health, reason: reason.to_string() });
        }
        self.report_losses(common);
        if self.ready_by(common).is_some_and(|by| by <= common.now) {
            self.late = true;
            let seconds = common.params.ready_timeout.as_secs_f32();
            let words = format!("the game did not become ready in {seconds:.0} s (game.ready_timeout)");
            let data = report::facts(common, self, self.fusion.verdict());
            self.late_told = self.file(common, Fault::NeverReady, report::NOT_READY, &words, data);
        }
        let occasion = self.occasion(common);
        let outcome = self.outcome_of(drain, NOT_ENDED);
        let held = self.life.is_held();
        if let Some(order) = self.life.advance(&common.params, &occasion, outcome, common.now) {
            common.act(Action::Game(order));
        }
        if let Some(over) = self.life.over().filter(|_| held) {
            common.note(Note::Warning { cause: "game_not_ended", words: over.words.to_string() });
        }
        std::mem::take(&mut self.filed)
    }

    /// A heartbeat that fell silent and probes that fail are reported once an episode.
    fn report_losses(&mut self, common: &Common) {
        let loss = lost(self.fusion.verdict());
        // They may fail on behind a silence: only when they are well again is it another episode.
        self.probes_reported &= !self.fusion.is_well_probed();
        let reported = match loss {
            Some(Fault::HeartbeatLost) => &mut self.silence_reported,
            Some(_) => &mut self.probes_reported,
            None => return,
        };
        if *reported || !common.phase.is_attached() {
            return;
        }
        *reported = true;
        if let Some(fault) = loss.filter(|_| common.params.automatic_fubar) {
            let contents = vec![fubar(common, fault.as_str().to_owned())];
            self.filed.push(Filing { contents, records: Vec::new() });
        }
    }

    fn ready_by(&self, common: &Common) -> Option<Instant> {
        let waits = common.phase == Phase::Loading && !self.late && !self.is_over();
        waits.then(|| common.phase_since + common.params.ready_timeout)
    }

    fn occasion(&self, common: &Common) -> Occasion {
        Occasion { phase: common.phase, since: common.phase_since, heard: self.client_seen, late: self.late }
    }

    pub(super) fn poll_timeout(&self, common: &Common) -> Option<Instant> {
        earliest([
            self.fusion.poll_timeout(&common.params, common.now),
            self.ready_by(common),
            self.waits_for_a_host(common).filter(|until| *until > common.now),
            self.life.poll_timeout(&common.params, &self.occasion(common)),
        ])
    }

    fn probes(&self, common: &Common) -> Vec<ProbeView> {
        self.fusion.probes(&common.params)
    }

    /// What it shows of itself.
    pub(super) fn view(&self, common: &Common) -> GameView {
        let (pid, ended) = match self.life.state() {
            State::Unstarted | State::Starting => (None, None),
            State::Running { pid } => (Some(*pid), None),
            State::Over(over) => (None, Some(Arc::clone(&over.words))),
        };
        GameView { pid, ended, players: common.players, figures: self.figures, probes: self.probes(common) }
    }
}

/// What says that the game is dead although its process is there.
fn lost(verdict: &Verdict) -> Option<Fault> {
    match (verdict.health, verdict.cause) {
        (Health::Unhealthy, Cause::Silence) => Some(Fault::HeartbeatLost),
        (Health::Unhealthy, Cause::Probe) => Some(Fault::ProbesFailed),
        (_, Cause::Nobody | Cause::Said | Cause::Silence | Cause::Probe | Cause::Process) => None,
    }
}
