//! A machine that writes down what happens to it, and a world that does what the test wants.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rallyhere_agent::core::auth::AuthView;
use rallyhere_agent::core::machine::Machine;
use rallyhere_agent::core::process::GameEvent;
use rallyhere_agent::driver::{Tasks, World};
use rallyhere_agent::ports::Asked;
use tokio::task::AbortHandle;

/// What a toy is told to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Ends at once.
    Quick,
    /// Panics.
    Panicking,
    /// Never ends.
    Endless,
    /// Takes the endless one back.
    Abort,
}

/// Everything that happened, in order; shared with the test.
pub(crate) type Diary = Arc<Mutex<Vec<String>>>;

pub(crate) struct Toy {
    diary: Diary,
    jobs: VecDeque<Job>,
    deadline: Option<Instant>,
    /// Over after this many events and time-outs.
    left: usize,
}

impl Toy {
    pub(crate) fn new(diary: &Diary, jobs: &[Job], deadline: Option<Instant>, left: usize) -> Self {
        Self { diary: Arc::clone(diary), jobs: jobs.iter().copied().collect(), deadline, left }
    }

    fn write(&mut self, words: impl Into<String>) {
        self.diary.lock().unwrap().push(words.into());
        self.left = self.left.saturating_sub(1);
    }
}

impl Machine for Toy {
    type Event = String;
    type Action = Job;
    type Snapshot = usize;

    fn handle_event(&mut self, event: String, _now: Instant) {
        // "more:…" wants another job begun.
        match event.as_str() {
            "abort" => self.jobs.push_back(Job::Abort),
            "quick" => self.jobs.push_back(Job::Quick),
            _ => {}
        }
        self.write(event);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.take_if(|deadline| *deadline <= now).is_some() {
            self.write("time");
        } else {
            self.write("a turn for its own sake");
        }
    }

    fn poll_action(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn snapshot(&self) -> usize {
        self.left
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// Tells the diary when it is dropped.
struct Tell(Diary, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1.to_owned());
    }
}

pub(crate) struct ToyWorld {
    pub(crate) diary: Diary,
    pub(crate) shown: Vec<usize>,
    endless: Option<AbortHandle>,
}

impl ToyWorld {
    pub(crate) fn new(diary: &Diary) -> Self {
        Self { diary: Arc::clone(diary), shown: Vec::new(), endless: None }
    }
}

impl World<Toy> for ToyWorld {
    fn perform(&mut self, job: Job, tasks: &mut Tasks<String>) {
        match job {
            Job::Quick => {
                tasks.spawn(async { "task".to_owned() }, "fallback".to_owned());
            }
            Job::Panicking => {
                tasks.spawn(async { panic!("on purpose") }, "fallback".to_owned());
            }
            Job::Endless => {
                let tell = Tell(Arc::clone(&self.diary), "dropped");
                let endless = async move {
                    let _tell = tell;
                    std::future::pending().await
                };
                self.endless = Some(tasks.spawn(endless, "fallback".to_owned()));
            }
            Job::Abort => self.endless.take().unwrap().abort(),
        }
    }

    fn publish(&mut self, snapshot: usize) {
        self.shown.push(snapshot);
    }

    fn asked(&mut self, _asked: Asked) -> Option<String> {
        Some("asked".to_owned())
    }

    fn auth(&mut self, _view: Arc<AuthView>) -> Option<String> {
        Some("auth".to_owned())
    }

    fn game(&mut self, _event: GameEvent) -> Option<String> {
        Some("game".to_owned())
    }
}
