//! What may go wrong with a connection, and where: the front asks here before each step.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::sync::watch;

use crate::timeline::{Recorder, What};

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Close,
    /// With a reset.
    Reset,
    /// Not at all: nothing comes any more.
    Hang,
}

/// The step of a connection at which something goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// After it was accepted.
    Accept,
    /// Inside the handshake of TLS, after the client's first words.
    Tls,
    /// The handshake is answered with something else.
    NotTls,
    /// A certificate that nobody has signed.
    Stranger,
    /// After the request's head.
    Head,
    /// After the whole request, before the backend has seen it.
    Body,
    /// After the backend has acted, before the answer's first byte.
    Processed,
    /// Inside the answer's head.
    AnswerHead,
    /// Inside the answer's body, or at the end of its head if it has none.
    AnswerBody,
    /// In place of the answer: these bytes. The backend has acted.
    Instead(Arc<Vec<u8>>),
    /// The right answer, a byte at a time, so many milliseconds apart.
    Drip(u64),
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ill {
    pub(crate) step: Step,
    pub(crate) end: End,
}

impl Ill {
    pub(crate) fn new(step: Step, end: End) -> Self {
        Self { step, end }
    }

    /// Whether it meets a connection before there is a request on it.
    fn is_early(&self) -> bool {
        matches!(self.step, Step::Accept | Step::Tls | Step::NotTls | Step::Stranger)
    }

    pub(crate) fn words(&self) -> String {
        let step = match &self.step {
            Step::Instead(bytes) => {
                let line: Vec<u8> =
                    bytes.iter().copied().take(40).take_while(|byte| !byte.is_ascii_control()).collect();
                format!("{} bytes instead: {}", bytes.len(), String::from_utf8_lossy(&line))
            }
            Step::Drip(every) => format!("a byte every {every} ms"),
            step => format!("{step:?}"),
        };
        format!("{step}, {:?}", self.end)
    }
}

/// An ill that waits for its call.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// `None`: any call.
    pub(crate) call: Option<&'static str>,
    /// `None`: for ever.
    pub(crate) times: Option<u32>,
    pub(crate) ill: Ill,
}

/// What goes wrong at random.
#[derive(Debug, Clone)]
pub(crate) struct Storm {
    pub(crate) random: Rng,
    /// The part of connections and of requests that something happens to.
    pub(crate) part: f64,
    pub(crate) menu: Vec<Ill>,
}

/// What the front does with everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Connections are taken and nothing is ever said on them, also on those that are open.
    BlackHole,
}

/// All that is wrong now. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Ills {
    state: Arc<Mutex<State>>,
    gate: watch::Sender<Gate>,
    recorder: Recorder,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    storm: Option<Storm>,
    close_each: bool,
    connections: u64,
}

impl Ills {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { state: Arc::default(), gate: watch::Sender::new(Gate::Open), recorder }
    }

    pub(crate) fn add(&self, call: Option<&'static str>, times: Option<u32>, ill: Ill) {
        self.state.lock().unwrap().rules.push(Rule { call, times, ill });
    }

    pub(crate) fn storm(&self, storm: Storm) {
        self.state.lock().unwrap().storm = Some(storm);
    }

    /// Every connection is closed after one answer, so that every call needs one of its own.
    pub(crate) fn close_each(&self, on: bool) {
        self.state.lock().unwrap().close_each = on;
    }

    pub(crate) fn closes_each(&self) -> bool {
        self.state.lock().unwrap().close_each
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        state.rules.clear();
        state.storm = None;
    }

    /// How many rules still wait for their call.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().unwrap().rules.len()
    }

    pub(crate) fn set_gate(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    pub(crate) fn gate(&self) -> watch::Receiver<Gate> {
        self.gate.subscribe()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> u64 {
        self.state.lock().unwrap().connections
    }

    /// What happens to a new connection.
    pub(crate) fn meets(&self) -> Option<Ill> {
        self.state.lock().unwrap().connections += 1;
        self.strike("", Ill::is_early, |rule| rule.call.is_none())
    }

    /// What happens to a request.
    pub(crate) fn strikes(&self, call: &str) -> Option<Ill> {
        self.strike(call, |ill| !ill.is_early(), |rule| rule.call.is_none_or(|wanted| wanted == call))
    }

    fn strike(&self, call: &str, kind: impl Fn(&Ill) -> bool, fits: impl Fn(&Rule) -> bool) -> Option<Ill> {
        let mut state = self.state.lock().unwrap();
        let found = state.rules.iter().position(|rule| kind(&rule.ill) && fits(rule));
        let ill = if let Some(at) = found {
            let rule = &mut state.rules[at];
            let ill = rule.ill.clone();
            if let Some(times) = &mut rule.times {
                *times -= 1;
                if *times == 0 {
                    state.rules.remove(at);
                }
            }
            Some(ill)
        } else {
            state.storm.as_mut().and_then(|storm| {
                if storm.random.f64() >= storm.part {
                    return None;
                }
                let menu: Vec<&Ill> = storm.menu.iter().filter(|ill| kind(ill)).collect();
                menu.get(storm.random.usize(..menu.len().max(1))).map(|ill| (*ill).clone())
            })
        };
        if let Some(ill) = &ill {
            self.recorder.note(What::Met { call: call.to_owned(), ill: ill.words() });
        }
        ill
    }
}
