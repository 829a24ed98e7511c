//! A simulated world: time, what is due when, and the loop over it. Everything follows from the seed.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rallyhere_agent::clock;
use rallyhere_agent::core::call::{Answer, Call, Failure, FailureKind, LoggedIn};
use rallyhere_agent::core::ids::{CallId, Generation};
use rallyhere_agent::core::process::GameEvent;

use crate::backend::{Backend, Told};
use crate::node::Node;
use crate::options::{Fault, Options};

/// After the troubles: long enough for the longest back-off and the longest Retry-After.
pub(crate) const CALM: Duration = Duration::from_secs(45 * 60);
/// How often the rules that need no event are looked at.
const AUDIT: Duration = Duration::from_secs(30);

/// What can be due.
#[derive(Debug)]
pub(crate) enum What {
    /// A loop wants to be woken.
    Wake,
    AuthWake,
    /// A request reaches the backend.
    Arrive(u64),
    /// Nobody holds the poll any longer.
    Held(u64),
    /// An answer reaches the agent.
    Return(u64, Box<(Result<Answer, Failure>, Option<Told>)>),
    /// The same answer again.
    Again(CallId, Box<Result<Answer, Failure>>),
    /// A login comes back, with a token or a failure.
    Login(CallId, Generation, bool, Result<(LoggedIn, usize), Failure>),
    /// The disk takes what waits.
    Commit,
    /// A failed store tries again.
    Tick,
    /// The host starts the agent.
    Boot,
    /// It is killed at last.
    Die(bool),
    /// The game.
    Game(GameStep),
    /// A disk is well again.
    Heal,
    /// The provider binds the allocation.
    Bind,
    /// It is time for a fault of this kind.
    Chaos(Fault),
    /// The game reports something.
    Report,
    /// The backend writes notifications.
    Publish,
    /// The whole environment is well again.
    Lull,
    /// Look at all rules.
    Audit,
    /// The troubles are over; everything must be well; everybody must have ended.
    Calm,
    Settled,
    End,
}

/// What a game does next.
#[derive(Debug)]
pub(crate) enum GameStep {
    Connects,
    Ready,
    Looks,
    Is(GameEvent),
    /// It has or has not taken what was pushed.
    Took(rallyhere_agent::core::ids::NotificationId),
}

#[derive(Debug)]
struct Due {
    at: Instant,
    order: u64,
    node: usize,
    /// The process that it is meant for; 0 for any.
    life: u32,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) id: CallId,
    pub(crate) call: Call,
    pub(crate) token: (Generation, usize),
    pub(crate) sent: Instant,
    pub(crate) until: Instant,
    /// How often the holder of the session had changed, as far as the sender knew.
    pub(crate) knew: u64,
    /// It has reached the backend, or never will.
    pub(crate) arrived: bool,
    /// The backend holds it.
    pub(crate) held: bool,
    /// Nobody waits for it any more.
    pub(crate) closed: bool,
}

/// How nothing works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    Refused,
    BlackHole,
    Unavailable(Option<Duration>),
}

/// A token that the backend gave.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) dead: bool,
    pub(crate) ends: Option<Instant>,
}

/// What is the same for a whole world, by its seed.
#[derive(Debug)]
pub(crate) struct Climate {
    /// How much there is of each fault.
    pub(crate) intensity: [f64; Fault::ALL.len()],
    /// How long tokens live.
    pub(crate) lifetime: Duration,
    /// Whether the backend says so.
    pub(crate) tells_lifetime: bool,
    pub(crate) can_refresh: bool,
    /// A proxy cuts polls that are held for so long.
    pub(crate) idle_limit: Option<Duration>,
}

/// The first broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) after: Duration,
    pub(crate) words: String,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    due: BinaryHeap<Due>,
    order: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) backend: Backend,
    pub(crate) flights: HashMap<u64, Flight>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) dice: Rng,
    pub(crate) climate: Climate,
    pub(crate) outage: Option<Outage>,
    pub(crate) calm: bool,
    pub(crate) names: u64,
    /// Faults so far, injected or skipped.
    pub(crate) faults: u64,
    pub(crate) injected: [u64; Fault::ALL.len()],
    pub(crate) broken: Option<Broken>,
    /// Reports that were on their way when their process died.
    pub(crate) flew: Vec<BTreeSet<String>>,
    pub(crate) calls: u64,
    pub(crate) events: u64,
    pub(crate) crashes: u64,
    print: u64,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) print: u64,
    pub(crate) broken: Option<Broken>,
    pub(crate) faults: u64,
    pub(crate) injected: [u64; Fault::ALL.len()],
    pub(crate) calls: u64,
    pub(crate) events: u64,
    pub(crate) crashes: u64,
}

/// Runs a world to its end, or to the first broken rule. The clock that production code may look at stands still meanwhile.
pub(crate) fn run(options: &Options) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { World::new(options.clone()).run() })
}

impl World {
    fn new(options: Options) -> Self {
        let mut dice = Rng::with_seed(options.seed);
        let start = clock::now();
        let intensity = Fault::ALL.map(|_| [0.0, 0.3, 1.0, 3.0][dice.usize(..4)]);
        let cadence = Duration::from_secs([5, 10, 10, 20, 30, 60][dice.usize(..6)]);
        let mismatch = [(FailureKind::Forbidden, 403), (FailureKind::Conflict, 409), (FailureKind::NotFound, 404)]
            [dice.usize(..3)];
        let climate = Climate {
            intensity,
            lifetime: Duration::from_secs(dice.u64(600..7200)),
            tells_lifetime: dice.u8(..4) > 0,
            can_refresh: dice.bool(),
            idle_limit: [None, None, Some(Duration::from_secs(12)), Some(Duration::from_secs(20))][dice.usize(..4)],
        };
        let flew = vec![BTreeSet::new(); options.agents];
        let nodes: Vec<Node> = (0..options.agents).map(|at| Node::new(at, options.seed)).collect();
        Self {
            options,
            start,
            now: start,
            due: BinaryHeap::new(),
            order: 0,
            nodes,
            backend: Backend::new(cadence, mismatch),
            flights: HashMap::new(),
            tokens: Vec::new(),
            dice,
            climate,
            outage: None,
            calm: false,
            names: 0,
            faults: 0,
            injected: [0; Fault::ALL.len()],
            broken: None,
            flew,
            calls: 0,
            events: 0,
            crashes: 0,
            print: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn run(mut self) -> Outcome {
        for at in 0..self.nodes.len() {
            if self.options.absent.contains(&at) {
                continue;
            }
            self.assign(at);
            let wait = Duration::from_millis(self.nodes[at].dice.u64(..60_000));
            self.later(wait, at, 0, What::Boot);
            self.begin_chaos(at);
        }
        self.later(AUDIT, 0, 0, What::Audit);
        self.later(self.options.span, 0, 0, What::Calm);
        self.later(self.options.span + CALM, 0, 0, What::Settled);
        while self.broken.is_none()
            && let Some(due) = self.due.pop()
        {
            self.now = self.now.max(due.at);
            if matches!(due.what, What::End) {
                self.ended();
                break;
            }
            self.happen(due);
        }
        Outcome {
            print: self.print,
            broken: self.broken,
            faults: self.faults,
            injected: self.injected,
            calls: self.calls,
            events: self.events,
            crashes: self.crashes,
        }
    }

    fn happen(&mut self, due: Due) {
        let Due { node, life, .. } = due;
        if life != 0 && self.nodes[node].life != life && !matches!(due.what, What::Arrive(_)) {
            return;
        }
        if let Some(until) = self.nodes[node].stalled.filter(|until| *until > self.now)
            && is_of_the_process(&due.what)
        {
            self.push(until, node, life, due.what);
            return;
        }
        self.events += 1;
        if self.options.trace && !matches!(due.what, What::Wake | What::AuthWake | What::Audit) {
            println!("{:>14.6} n{node} {:?}", (self.now - self.start).as_secs_f64(), due.what);
        }
        self.mix(due.order);
        self.mix(node as u64);
        match due.what {
            What::Wake => self.wake(node),
            What::AuthWake => self.auth_wake(node),
            What::Arrive(flight) => self.arrive(flight),
            What::Held(flight) => self.release(flight, None),
            What::Return(flight, answer) => self.returns(flight, *answer),
            What::Again(id, result) => self.again(node, id, *result),
            What::Login(id, generation, refresh, result) => self.logged_in(node, id, generation, refresh, result),
            What::Commit => self.commit(node),
            What::Tick => self.tick(node),
            What::Boot => self.boot(node),
            What::Die(power) => self.crash(node, power),
            What::Game(step) => self.game(node, step),
            What::Heal => self.heal(node),
            What::Bind => self.bind(node),
            What::Chaos(fault) => self.chaos(node, fault),
            What::Report => self.report(node),
            What::Publish => self.publish(node),
            What::Lull => self.outage = None,
            What::Audit => {
                self.audit();
                self.later(AUDIT, 0, 0, What::Audit);
            }
            What::Calm => self.becalm(),
            What::Settled => self.settled(),
            What::End => {}
        }
    }

    /// Adds to the print of this run.
    pub(crate) fn mix(&mut self, value: u64) {
        self.print = (self.print ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn push(&mut self, at: Instant, node: usize, life: u32, what: What) {
        self.order += 1;
        let nanos = u64::try_from((at - self.start).as_nanos()).unwrap_or(u64::MAX);
        self.mix(nanos);
        self.due.push(Due { at, order: self.order, node, life, what });
    }

    pub(crate) fn later(&mut self, wait: Duration, node: usize, life: u32, what: What) {
        self.push(self.now + wait, node, life, what);
    }

    /// For the process that runs on this host now.
    pub(crate) fn soon(&mut self, millis: std::ops::Range<u64>, node: usize, what: What) {
        let wait = Duration::from_millis(self.nodes[node].dice.u64(millis));
        self.later(wait, node, self.nodes[node].life, what);
    }

    pub(crate) fn break_rule(&mut self, node: usize, words: impl std::fmt::Display) {
        let after = self.now - self.start;
        self.broken.get_or_insert_with(|| Broken { after, words: format!("n{node}: {words}") });
    }

    /// Whether a fault of this kind happens here and now; `chance` is for a world of normal intensity.
    pub(crate) fn fault(&mut self, node: usize, fault: Fault, chance: f64) -> bool {
        let intensity = self.climate.intensity[fault as usize];
        if self.nodes[node].dice.f64() >= chance * intensity || self.calm || self.options.without.contains(&fault) {
            return false;
        }
        let number = self.faults;
        self.faults += 1;
        if self.options.skip.contains(number) {
            return false;
        }
        self.injected[fault as usize] += 1;
        if self.options.trace {
            println!("{:>14.6} n{node} FAULT {number} {}", (self.now - self.start).as_secs_f64(), fault.word());
        }
        true
    }

    pub(crate) fn take_off(&mut self, flight: Flight) -> u64 {
        self.calls += 1;
        self.flights.insert(self.calls, flight);
        self.calls
    }

    /// Nobody waits for a call any more. One that has not arrived may still do so.
    pub(crate) fn give_up(&mut self, at: u64) {
        let Some(flight) = self.flights.get_mut(&at) else { return };
        flight.closed = true;
        if flight.arrived {
            self.flights.remove(&at);
        }
    }
}

/// Whether something waits while the process stands still.
fn is_of_the_process(what: &What) -> bool {
    match what {
        What::Wake
        | What::AuthWake
        | What::Return(..)
        | What::Again(..)
        | What::Login(..)
        | What::Commit
        | What::Tick
        | What::Game(_)
        | What::Report => true,
        What::Arrive(_)
        | What::Held(_)
        | What::Boot
        | What::Die(_)
        | What::Heal
        | What::Bind
        | What::Chaos(_)
        | What::Publish
        | What::Lull
        | What::Audit
        | What::Calm
        | What::Settled
        | What::End => false,
    }
}
