//! How the backend judges an instance's health: by what is posted, and by whether it is posted often enough.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The word for an instance that nothing is heard of.
pub(super) const UNKNOWN: &str = "unknown";

/// GET /session/v1/instance/health/config.
#[derive(Debug, Clone, Copy)]
pub(super) struct HealthRules {
    /// Seconds between two posts, at least one.
    pub(super) cadence_seconds: u32,
    /// Posts missed in a row until the health is `unknown`.
    pub(super) missed_checks_before_unknown: u32,
}

impl HealthRules {
    /// The usual rules at a cadence.
    pub(super) fn new(cadence_seconds: u32) -> Self {
        Self { cadence_seconds: cadence_seconds.max(1), missed_checks_before_unknown: 3 }
    }

    /// InstanceHealthSettingsResponse.
    pub(super) fn document(self) -> Value {
        json!({
            "cadence_seconds": self.cadence_seconds,
            "unhealthy_health_check_percentage": 50.0,
            "missed_checks_before_unknown": self.missed_checks_before_unknown,
        })
    }

    fn patience(self) -> Duration {
        Duration::from_secs(u64::from(self.cadence_seconds) * u64::from(self.missed_checks_before_unknown))
    }
}

/// What was heard of one instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    last: Option<(Instant, String)>,
}

impl Pulse {
    /// Takes a post and gives `updated_instance_health`: what was sent, or `unknown` if too few came before it.
    pub(super) fn post(&mut self, sent: &str, now: Instant, rules: HealthRules) -> String {
        let answered = if self.is_lost(now, rules) { UNKNOWN } else { sent };
        self.last = Some((now, answered.to_owned()));
        answered.to_owned()
    }

    /// What the session document says: nothing before the first post.
    pub(super) fn shown(&self, now: Instant, rules: HealthRules) -> Option<&str> {
        let (_, answered) = self.last.as_ref()?;
        Some(if self.is_lost(now, rules) { UNKNOWN } else { answered })
    }

    fn is_lost(&self, now: Instant, rules: HealthRules) -> bool {
        self.last.as_ref().is_some_and(|(last, _)| now.saturating_duration_since(*last) >= rules.patience())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_posts_make_the_health_unknown_until_they_come_again() {
        let rules = HealthRules::new(10);
        let start = crate::clock::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.shown(at(1000), rules), None);
        assert_eq!(pulse.post("healthy", at(1000), rules), "healthy");
        assert_eq!(pulse.post("degraded", at(1029), rules), "degraded");
        assert_eq!(pulse.shown(at(1058), rules), Some("degraded"));
        assert_eq!(pulse.shown(at(1059), rules), Some("unknown"));
        assert_eq!(pulse.post("healthy", at(1059), rules), "unknown");
        assert_eq!(pulse.post("healthy", at(1069), rules), "healthy");
    }
}
