//! Measured values and what is said about them.

use std::time::Duration;

/// Values of one figure.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample(Vec<f64>);

impl Sample {
    /// Of all these values.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// In seconds.
    pub(super) fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn median(&self) -> f64 {
        match (self.0.len() / 2, self.0.len() % 2) {
            (0, 0) => f64::NAN,
            (half, 0) => f64::midpoint(self.0[half - 1], self.0[half]),
            (half, _) => self.0[half],
        }
    }

    /// The smallest value that at least so many percent of the values do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn greatest(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        let of = |values: &[u32]| {
            let mut sample = Sample::default();
            values.iter().for_each(|value| sample.push(f64::from(*value)));
            sample
        };
        for (values, median, p95) in [
            (&[3][..], 3.0, 3.0),
            (&[4, 2], 3.0, 4.0),
            (&[5, 1, 3], 3.0, 5.0),
            (&(1..=20).collect::<Vec<_>>(), 10.5, 19.0),
            (&(1..=100).collect::<Vec<_>>(), 50.5, 95.0),
        ] {
            let sample = of(values);
            assert!((sample.median() - median).abs() < 1e-9, "{values:?}");
            assert!((sample.percentile(95) - p95).abs() < 1e-9, "{values:?}");
        }
        assert!(Sample::default().median().is_nan());
    }
}
