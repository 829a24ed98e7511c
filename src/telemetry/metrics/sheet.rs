//! Families and samples, as the encoder wants them.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};

use super::families::{Family, Kind};
use super::histogram::Histogram;

/// Where families go.
pub(super) struct Sheet<'a> {
    pub(super) encoder: DescriptorEncoder<'a>,
}

/// A value of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Sheet<'_> {
    /// Writes the head of a family; its samples come next.
    pub(super) fn family(&mut self, family: &'static Family) -> Result<Samples<'_>, fmt::Error> {
        let (stem, unit) = family.stem_and_unit();
        let encoder = self.encoder.encode_descriptor(stem, family.help, unit, family.kind.metric_type())?;
        Ok(Samples { family, encoder })
    }
}

/// The samples of one family.
pub(super) struct Samples<'a> {
    family: &'static Family,
    encoder: MetricEncoder<'a>,
}

impl Samples<'_> {
    /// One sample; the values are those of the family's labels, in their order.
    pub(super) fn add(&mut self, values: &[&str], value: impl Into<Value>) -> fmt::Result {
        self.put(values, value.into())
    }

    fn put(&mut self, values: &[&str], value: Value) -> fmt::Result {
        let kind = self.family.kind;
        let put = |encoder: &mut MetricEncoder<'_>| match (kind, value) {
            (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            (Kind::Gauge | Kind::States | Kind::Histogram, Value::Whole(value)) => encoder.encode_gauge(&value),
            (Kind::Gauge | Kind::States | Kind::Histogram, Value::Real(value)) => encoder.encode_gauge(&value),
        };
        if values.is_empty() {
            return put(&mut self.encoder);
        }
        let labels = self.labels(values);
        put(&mut self.encoder.encode_family(&labels)?)
    }

    /// One sample for each state, the last label; 1 for the one that is.
    pub(super) fn states(&mut self, values: &[&str], states: &[&'static str], now: Option<&str>) -> fmt::Result {
        for state in states {
            self.add(&[values, &[*state]].concat(), now == Some(*state))?;
        }
        Ok(())
    }

    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) -> fmt::Result {
        let (sum, buckets) = histogram.read();
        // Counted here and not beside the buckets: so the two agree while somebody observes.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let put = |encoder: &mut MetricEncoder<'_>| encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None);
        if values.is_empty() {
            return put(&mut self.encoder);
        }
        let labels = self.labels(values);
        put(&mut self.encoder.encode_family(&labels)?)
    }

    fn labels<'v>(&self, values: &[&'v str]) -> Vec<(&'static str, &'v str)> {
        debug_assert_eq!(self.family.labels.len(), values.len(), "{}", self.family.name);
        self.family.labels.iter().copied().zip(values.iter().copied()).collect()
    }
}
