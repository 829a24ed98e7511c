//! A model checker over the production core: two agents with their logins and disks, one backend, one network.
//!
//! Every order of messages, crashes, losses, stops and time-outs within a budget is gone through, breadth first, and from every
//! state the world is let be fair until its goal is reached. `rules` has what must hold in each state and step. Races that no
//! client can avoid without a fence (a self-registered instance: POST, PATCH or DELETE after a look that was true when it was
//! taken) are counted and printed, and no rule is waived for an allocated one.

mod backend;
mod delivery;
mod fencing;
mod game;
mod host;
mod login;
mod print;
mod rules;
mod stop;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use world::{Budget, Step, World};

/// A fair world reaches its goal within so many steps.
const FAIR_STEPS: usize = 400;

/// What an exploration has seen.
#[derive(Debug, Default)]
struct Seen {
    states: usize,
    steps: usize,
    /// Races that no unfenced client can avoid, with how often each was met.
    races: BTreeMap<&'static str, usize>,
}

/// What must come about in the end if nothing fails any more; says what is missing.
type Goal = fn(&World) -> Result<(), String>;

struct Explorer {
    first: World,
    /// How each state was first reached.
    nodes: Vec<(usize, Step)>,
    visited: HashSet<u64>,
    /// Prints of states from which the goal is reached.
    good: HashSet<u64>,
    goal: Goal,
    seen: Seen,
}

/// Goes through every state that the budget allows, and from each on to the goal.
fn explore(name: &str, first: World, goal: Goal) -> Seen {
    let begun = crate::clock::now();
    let mut explorer = Explorer {
        nodes: vec![(0, Step::Tick)],
        visited: HashSet::new(),
        good: HashSet::new(),
        goal,
        seen: Seen::default(),
        first: first.clone(),
    };
    explorer.run(first);
    let seen = explorer.seen;
    // Whoever reads the test's output wants to know how much was looked at.
    eprintln!("{name}: {} states, {} steps, races {:?}, {:?}", seen.states, seen.steps, seen.races, begun.elapsed());
    seen
}

impl Explorer {
    fn run(&mut self, first: World) {
        self.enter(&first, first.print(), 0);
        let mut layer = vec![(first, 0)];
        // Ticks used grow from layer to layer, so that every state is met first with the most time left.
        while !layer.is_empty() {
            let mut later = Vec::new();
            while let Some((world, node)) = layer.pop() {
                for step in world.steps() {
                    self.seen.steps += 1;
                    let mut next = world.clone();
                    next.take(step);
                    for race in &next.races {
                        *self.seen.races.entry(race).or_default() += 1;
                    }
                    let print = next.print();
                    let key = key(print, next.budget);
                    if next.broken.is_none() && !self.visited.insert(key) {
                        continue;
                    }
                    self.nodes.push((node, step));
                    let node = self.nodes.len() - 1;
                    self.enter(&next, print, node);
                    if step == Step::Tick {
                        later.push((next, node));
                    } else {
                        layer.push((next, node));
                    }
                }
            }
            layer = later;
        }
        self.seen.states = self.visited.len();
    }

    fn enter(&mut self, world: &World, mut print: u64, node: usize) {
        if let Some(words) = &world.broken {
            panic!("{words}\n{}", self.trace(node, &[]));
        }
        if self.good.contains(&print) {
            return;
        }
        let mut world = world.clone();
        let mut path = Vec::new();
        let mut prints = Vec::new();
        while !self.good.contains(&print) {
            prints.push(print);
            let missing = (self.goal)(&world);
            let Err(missing) = missing else { break };
            let step = world.fair_step();
            path.push(step);
            world.take(step);
            print = world.print();
            if let Some(words) = &world.broken {
                panic!("{words}\n{}", self.trace(node, &path));
            }
            assert!(path.len() < FAIR_STEPS, "not reached: {missing}\n{}", self.trace(node, &path[..60]));
        }
        self.good.extend(prints);
    }

    fn trace(&self, mut node: usize, fair: &[Step]) -> String {
        let mut steps = Vec::new();
        while node != 0 {
            let (before, step) = self.nodes[node];
            steps.push(step);
            node = before;
        }
        steps.reverse();
        let mut world = self.first.clone();
        let mut lines = vec![format!("      {}", world.standing())];
        let begun = world.now;
        for (turn, step) in steps.iter().chain(fair).enumerate() {
            if turn >= steps.len() {
                world.fair_step();
            }
            let words = world.describe(*step);
            world.take(*step);
            lines.push(format!("{:6.1} {words}\n         -> {}", (world.now - begun).as_secs_f64(), world.standing()));
        }
        lines.join("\n")
    }
}

fn key(print: u64, budget: Budget) -> u64 {
    let mut hasher = DefaultHasher::new();
    print.hash(&mut hasher);
    Budget { ticks: 0, ..budget }.hash(&mut hasher);
    hasher.finish()
}
