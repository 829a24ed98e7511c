//! How fast an instance that is recycled may begin again.

use std::time::Duration;

/// A life of this length was a real one.
const REAL: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Counts short lives in a row: a game that falls over as soon as it stands must not take the host with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restraint {
    short: u32,
}

impl Restraint {
    /// How long to wait after a life of this length: nothing after a real one; 1 s, 2 s, 4 s to 60 s after short ones in a row.
    pub fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= REAL {
            self.short = 0;
            return Duration::ZERO;
        }
        self.short = self.short.saturating_add(1);
        Duration::from_secs(1 << (self.short - 1).min(6)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lives_in_a_row_wait_longer_and_a_real_one_begins_anew() {
        let mut restraint = Restraint::default();
        let mut pauses: Vec<u64> = (0..8).map(|_| restraint.pause(Duration::from_secs(3)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        pauses = [60, 3].map(|lived| restraint.pause(Duration::from_secs(lived)).as_secs()).to_vec();
        assert_eq!(pauses, [0, 1]);
        let mut worn = Restraint { short: u32::MAX };
        assert_eq!(worn.pause(Duration::ZERO), LONGEST);
    }
}
