//! Everything that is done to an agent. A scenario is a plan and a play; how it is judged, it does not know.

mod answers;
mod clocks;
mod limits;
mod network;
mod outages;
mod stalls;
mod steps;
mod storms;

use std::future::Future;
use std::pin::Pin;

use crate::run::{Plan, Run};

/// What happens in a run; it ends with the agent's end in good order.
pub(crate) type Play = Box<dyn for<'a> FnOnce(&'a mut Run) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether it is in the selection of CI.
    pub(crate) quick: bool,
    pub(crate) plan: Plan,
    pub(crate) play: Play,
    /// Why it cannot be played here.
    pub(crate) obstacle: Option<String>,
}

impl Scenario {
    fn new(
        name: impl Into<String>,
        plan: Plan,
        play: impl for<'a> FnOnce(&'a mut Run) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), quick: false, plan, play: Box::new(play), obstacle: None }
    }

    /// The same, in the selection of CI.
    fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    fn unless(mut self, obstacle: Option<String>) -> Self {
        self.obstacle = obstacle;
        self
    }
}

/// The calls that every life makes.
const CALLS: [&str; 8] = ["login", "read_session", "register", "update", "health_config", "health", "poll", "fubar"];

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    // Those that may have to wait long for a back-off begin first.
    all.extend(answers::scenarios());
    all.extend(steps::scenarios());
    all.extend(network::scenarios());
    all.extend(outages::scenarios());
    all.extend(storms::scenarios());
    all.extend(clocks::scenarios());
    all.extend(stalls::scenarios());
    all.extend(limits::scenarios());
    all
}
