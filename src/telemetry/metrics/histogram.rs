//! Durations in buckets, without a lock: an observation is two additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many durations there were, by their upper bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    /// In seconds, ascending.
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    /// Of all durations, in nanoseconds: that is enough for 584 years.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sum in seconds, and each upper bound with the number of durations below it and above the one before.
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        (Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64(), bounds.zip(counts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0.5, 1.0]);
        for millis in [0, 500, 501, 1000, 1001, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (sum, buckets) = histogram.read();
        assert_eq!(buckets, [(0.5, 2), (1.0, 2), (f64::INFINITY, 2)]);
        assert!((sum - 63.002).abs() < 1e-9, "{sum}");
    }
}
