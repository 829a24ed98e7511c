//! Makes a world that breaks a rule smaller, for as long as it breaks one: a shorter time, fewer hosts, fewer kinds of faults,
//! and then fewer faults, by halves.

use std::time::Duration;

use rallyhere_agent::clock;

use crate::options::{Fault, Options};
use crate::world::{self, Outcome};

/// Shrinking takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(240);

/// Which rule is broken: its words without names and numbers.
pub(crate) fn rule(outcome: &Outcome) -> Option<String> {
    let words = &outcome.broken.as_ref()?.words;
    let plain = words.chars().take_while(|c| *c != '(').filter(|c| c.is_ascii_alphabetic());
    Some(plain.take(40).collect())
}

/// The smallest world found, and what it comes to.
pub(crate) fn smallest(options: Options, outcome: Outcome) -> (Options, Outcome) {
    let began = clock::now();
    let broken = rule(&outcome);
    let (mut best, mut found) = (options, outcome);
    let attempt = |candidate: Options, best: &mut Options, found: &mut Outcome| {
        if began.elapsed() > PATIENCE || candidate == *best {
            return false;
        }
        let outcome = world::run(&candidate);
        let fails = rule(&outcome) == broken;
        if fails {
            (*best, *found) = (candidate, outcome);
        }
        fails
    };
    loop {
        let before = best.clone();
        // Nothing after the break matters, unless it is one of the calm.
        if let Some(broken) = found.broken.clone() {
            for part in [0.0, 0.5, 0.9, 1.0] {
                let span = Duration::from_secs((broken.after.as_secs_f64() * part) as u64 + 1);
                if span < best.span && attempt(Options { span, ..best.clone() }, &mut best, &mut found) {
                    break;
                }
            }
        }
        for at in 0..best.agents {
            let mut absent = best.absent.clone();
            absent.insert(at);
            attempt(Options { absent, ..best.clone() }, &mut best, &mut found);
        }
        for fault in Fault::ALL {
            let mut without = best.without.clone();
            if found.injected[fault as usize] > 0 && without.insert(fault) {
                attempt(Options { without, ..best.clone() }, &mut best, &mut found);
            }
        }
        let mut size = found.faults.next_power_of_two() / 2;
        while size > 0 {
            let mut from = 0;
            while from < found.faults {
                let skip = best.skip.with(from, from + size);
                attempt(Options { skip, ..best.clone() }, &mut best, &mut found);
                from += size;
            }
            size /= 2;
        }
        if best == before || began.elapsed() > PATIENCE {
            // Kinds of which nothing is left say nothing.
            return (best, found);
        }
    }
}
