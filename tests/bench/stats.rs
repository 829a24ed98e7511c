//! Measured values, and what is said of them.

/// The values of one figure, in its unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value below or at which this part of all values lies (nearest rank).
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn spread(&self) -> (f64, f64) {
        let min = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (min, max)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The values of a figure whose tail counts, in rounds, so that the tail has a spread too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<Sample>);

impl Rounds {
    pub(crate) fn push(&mut self, round: Sample) {
        self.0.push(round);
    }

    /// A quantile of all values together.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let all: Sample = self.0.iter().flat_map(|round| round.0.iter().copied()).collect();
        all.quantile(part)
    }

    /// The least and the greatest that a round had of it.
    pub(crate) fn spread(&self, part: f64) -> (f64, f64) {
        let rounds: Sample = self.0.iter().map(|round| round.quantile(part)).collect();
        rounds.spread()
    }

    pub(crate) fn runs(&self) -> String {
        format!("{}x{}", self.0.len(), self.0.first().map_or(0, Sample::len))
    }
}
