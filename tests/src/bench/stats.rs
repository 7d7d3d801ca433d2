//! What a series of samples comes to. Pure.

use serde::Serialize;

/// The samples of one measure on one system, and what is told of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// All of them in the order they were taken.
    pub samples: Vec<f64>,
}

impl Summary {
    /// Sums up `samples`; None when there are none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max, samples: samples.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_samples() {
        let cases: [(&[f64], _); 4] = [
            (&[], None),
            (&[3.0], Some((3.0, 3.0, 3.0))),
            (&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0))),
            (&[4.0, 1.0, 2.0, 3.0], Some((2.5, 1.0, 4.0))),
        ];
        for (samples, expected) in cases {
            let found = Summary::of(samples).map(|summary| (summary.median, summary.min, summary.max));
            assert_eq!(found, expected, "{samples:?}");
        }
    }
}
