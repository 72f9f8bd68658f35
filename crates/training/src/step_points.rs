//! The steps of an epoch for a chart. There are too many to draw each, so a few steps form one point.

use serde::{Deserialize, Serialize};
use tallow_metrics::WeightedMean;

/// Number of points per epoch, if it has at least this many steps.
const PER_EPOCH: usize = 32;

/// Some consecutive steps of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepPoint {
    /// Position of their middle in the epoch, as a share of its steps.
    pub at: f64,
    /// The mean cross-entropy of the steps.
    pub loss: f64,
    /// The learning rate of the first step.
    pub learning_rate: f64,
}

/// The points of an unfinished epoch. The point of a step depends only on the step's number, so a resumed run continues with
/// the same points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StepPoints(Vec<Open>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    number: usize,
    loss: WeightedMean,
    learning_rate: f64,
}

impl StepPoints {
    /// Adds the step `step`, from 0, of `n_steps`.
    pub(crate) fn add(&mut self, step: usize, n_steps: usize, loss: f64, learning_rate: f64) {
        let number = step * PER_EPOCH.min(n_steps) / n_steps.max(1);
        match self.0.last_mut().filter(|last| last.number == number) {
            Some(last) => last.loss.add(loss, 1),
            None => {
                let mut first = Open { number, loss: WeightedMean::default(), learning_rate };
                first.loss.add(loss, 1);
                self.0.push(first);
            }
        }
    }

    /// Returns the points of an epoch that had `n_steps`.
    pub(crate) fn into_points(self, n_steps: usize) -> Vec<StepPoint> {
        let n = PER_EPOCH.min(n_steps).max(1) as f64;
        let point = |open: Open| {
            let at = (open.number as f64 + 0.5) / n;
            Some(StepPoint { at, loss: open.loss.mean()?, learning_rate: open.learning_rate })
        };
        self.0.into_iter().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_together_by_their_number() {
        let mut points = StepPoints::default();
        (0..64).for_each(|step| points.add(step, 64, step as f64, 0.5 + step as f64));
        let points = points.into_points(64);
        assert_eq!(points.len(), 32);
        assert_eq!(points[1], StepPoint { at: 1.5 / 32.0, loss: 2.5, learning_rate: 2.5 });
        let mut few = StepPoints::default();
        (0..3).for_each(|step| few.add(step, 3, 1.0, 0.1));
        assert_eq!(few.into_points(3).iter().map(|p| p.at).collect::<Vec<_>>(), [0.5 / 3.0, 0.5, 2.5 / 3.0]);
    }

    #[test]
    fn a_point_goes_on_after_a_resume() {
        let mut points = StepPoints::default();
        points.add(0, 64, 1.0, 0.1);
        let text = serde_json::to_string(&points).unwrap();
        let mut resumed: StepPoints = serde_json::from_str(&text).unwrap();
        for points in [&mut points, &mut resumed] {
            points.add(1, 64, 2.0, 0.2);
        }
        assert_eq!(points, resumed);
    }
}
