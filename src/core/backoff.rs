//! When to try again: jitter under a doubling ceiling, Retry-After as a lower bound, and no end.
//!
//! The first retry is spread over its whole ceiling. That is what keeps a fleet that was cut at once from coming back at once.
//! Later ones wait for half of theirs at least: they are spread already, and in an outage a fleet must not send more than in peace.

use std::time::{Duration, Instant};

use backoff::Clock;
use backoff::backoff::Backoff as _;
use backoff::exponential::ExponentialBackoff;
use fastrand::Rng;

/// The longest wait that a Retry-After can ask for (backend.md, trap 13).
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(15 * 60);
/// No retry comes sooner than this, whatever the dice say.
const FLOOR: Duration = Duration::from_millis(100);

/// The shape of a back-off: the ceiling of the first wait, and of all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Ceiling of the first wait.
    pub base: Duration,
    /// Ceiling that is never exceeded, except by Retry-After.
    pub cap: Duration,
}

impl Policy {
    /// Ceilings in milliseconds.
    pub const fn millis(base: u64, cap: u64) -> Self {
        Self { base: Duration::from_millis(base), cap: Duration::from_millis(cap) }
    }

    /// Ceilings in seconds.
    pub const fn secs(base: u64, cap: u64) -> Self {
        Self { base: Duration::from_secs(base), cap: Duration::from_secs(cap) }
    }
}

/// One thing that is tried until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    policy: Policy,
    ceiling: Duration,
    failures: u32,
    /// Successes in a row since the last failure, as far as they matter.
    calm: u32,
    until: Option<Instant>,
}

/// So many successes in a row make the next failure a first one again. Fewer do not: against a backend that fails every
/// other call, quick first retries would be more traffic than peace.
const CALM: u32 = 3;

impl Retry {
    /// Nothing has failed yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ceiling: policy.base, failures: 0, calm: 0, until: None }
    }

    /// It failed; gives the wait, which is also kept.
    pub fn failed(&mut self, now: Instant, rng: &mut Rng, retry_after: Option<Duration>) -> Duration {
        let part = if self.failures == 0 { rng.f64() } else { 0.5 + 0.5 * rng.f64() };
        let jitter = self.ceiling.mul_f64(part).max(FLOOR);
        let wait = retry_after.unwrap_or_default().min(RETRY_AFTER_CAP) + jitter;
        self.ceiling = grown(self.ceiling, self.policy, now);
        self.failures = self.failures.saturating_add(1);
        self.calm = 0;
        self.until = Some(now + wait);
        wait
    }

    /// Makes the wait longer, if it would end before that.
    pub fn not_before(&mut self, soonest: Instant) {
        self.until = self.until.max(Some(soonest));
    }

    /// It succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.until = None;
        self.calm = self.calm.saturating_add(1);
        if self.calm >= CALM {
            self.ceiling = self.policy.base;
        }
    }

    /// Something happened that makes it worth trying at once.
    pub fn reset(&mut self) {
        *self = Self::new(self.policy);
    }

    /// Whether it may be tried now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// When it may be tried again, if it has to wait.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// How often in a row it has failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A clock that stands still: the crate's growth curve wants one, and the core has none.
#[derive(Debug, Clone)]
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }
}

fn grown(ceiling: Duration, policy: Policy, now: Instant) -> Duration {
    let mut curve = ExponentialBackoff {
        current_interval: ceiling,
        initial_interval: policy.base,
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: policy.cap,
        start_time: now,
        // The crate would give up after 15 minutes otherwise.
        max_elapsed_time: None,
        clock: Still(now),
    };
    curve.next_backoff();
    curve.current_interval
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::clock::now()
    }

    #[test]
    fn ceilings_double_up_to_the_cap_and_never_end() {
        let (now, mut rng) = (start(), Rng::with_seed(1));
        let mut retry = Retry::new(Policy::secs(2, 60));
        let mut ceilings = Vec::new();
        for _ in 0..200 {
            ceilings.push(retry.ceiling.as_secs());
            let wait = retry.failed(now, &mut rng, None);
            assert!(wait >= FLOOR && wait <= Duration::from_secs(60), "{wait:?}");
        }
        assert_eq!(&ceilings[..7], &[2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(ceilings[199], 60);
    }

    #[test]
    fn the_first_retry_is_spread_over_its_whole_ceiling() {
        let now = start();
        let waits: Vec<f64> = (0..1000)
            .map(|seed| {
                let mut rng = Rng::with_seed(seed);
                Retry::new(Policy::secs(15, 60)).failed(now, &mut rng, None).as_secs_f64()
            })
            .collect();
        let mean = waits.iter().sum::<f64>() / 1000.0;
        assert!((6.5..8.5).contains(&mean), "mean {mean}");
        assert!(waits.iter().any(|w| *w < 1.0) && waits.iter().any(|w| *w > 14.0));
    }

    #[test]
    fn retry_after_is_a_lower_bound_and_has_a_cap() {
        let (now, mut rng) = (start(), Rng::with_seed(7));
        let mut retry = Retry::new(Policy::secs(2, 60));
        let wait = retry.failed(now, &mut rng, Some(Duration::from_secs(120)));
        assert!(wait >= Duration::from_secs(120) && wait <= Duration::from_secs(122), "{wait:?}");
        assert!(!retry.is_ready(now + Duration::from_secs(119)));
        assert!(retry.is_ready(now + wait));
        let wait = retry.failed(now, &mut rng, Some(Duration::from_secs(86_400)));
        assert!(wait < Duration::from_secs(1000), "{wait:?}");
    }

    #[test]
    fn three_successes_in_a_row_make_the_next_failure_a_first_one_and_fewer_do_not() {
        let (now, mut rng) = (start(), Rng::with_seed(1));
        let mut retry = Retry::new(Policy::secs(2, 60));
        for _ in 0..3 {
            retry.failed(now, &mut rng, None);
        }
        for expected in [16, 16, 2, 2] {
            retry.succeeded();
            assert!(retry.is_ready(now) && retry.until().is_none() && retry.failures() == 0, "it may go at once");
            assert_eq!(retry.ceiling.as_secs(), expected);
        }
        retry.failed(now, &mut rng, None);
        assert_eq!((retry.failures(), retry.ceiling.as_secs()), (1, 4));
        retry.succeeded();
        assert_eq!(retry.ceiling.as_secs(), 4, "the row begins anew with every failure");
    }
}
