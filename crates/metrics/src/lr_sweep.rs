//! The arithmetic of a learning-rate finder: which rates are tried, how the losses are smoothed, and which rate they speak for.
//!
//! Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", <https://arxiv.org/abs/1506.01186> (2015),
//! section 3.3; in the form of fastai's `lr_find` (fastai/callback/schedule.py).

use serde::Serialize;

/// The weight of what came before in the smoothed loss.
const SMOOTHING: f64 = 0.98;
/// A smoothed loss of so many times the least one has diverged.
const DIVERGED: f64 = 4.0;
/// One step in so many is left out at the beginning, where the smoothed loss is of few.
const LEFT_OUT_FIRST: usize = 10;
/// So many steps are left out at the end, where the loss may be on its way up.
const LEFT_OUT_LAST: usize = 5;
/// A valley that is shorter, or falls by less than this share, is noise.
const MIN_VALLEY: usize = 6;
const MIN_FALL: f64 = 0.01;

/// One step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SweepPoint {
    /// The rate of the step.
    pub rate: f64,
    /// The loss of its batch, before the update.
    pub loss: f64,
    /// The exponential mean of the losses so far.
    pub smoothed: f64,
}

/// The losses of steps at growing rates.
#[derive(Clone, Debug, PartialEq)]
pub struct LrSweep {
    /// The first and the last rate.
    range: [f64; 2],
    /// How many steps there are in all.
    n_steps: usize,
    points: Vec<SweepPoint>,
    /// The exponential sum behind the smoothed loss, and the weight that is still missing in it.
    sum: f64,
    missing: f64,
}

/// The rate that a sweep speaks for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SuggestedRate {
    /// The middle of the valley, on a logarithmic scale.
    pub rate: f64,
    /// Where the valley begins and where it ends.
    pub valley: [f64; 2],
    /// The smoothed loss there.
    pub valley_loss: [f64; 2],
}

impl LrSweep {
    /// A sweep of `n_steps` steps, at least 2, at rates from `range[0]` to `range[1]`, both above 0.
    pub fn new(range: [f64; 2], n_steps: usize) -> Self {
        Self { range, n_steps: n_steps.max(2), points: Vec::new(), sum: 0.0, missing: 1.0 }
    }

    /// The rate of the next step, `low (high / low)^(i / (n - 1))` of step i from 0; none where the sweep is over: after its last
    /// step, or when the loss has diverged.
    pub fn next_rate(&self) -> Option<f64> {
        let [low, high] = self.range;
        let i = self.points.len();
        let share = i as f64 / (self.n_steps - 1) as f64;
        (i < self.n_steps && !self.has_diverged()).then(|| low * libm::exp(share * libm::log(high / low)))
    }

    /// Adds the loss of a step at [`next_rate`](Self::next_rate).
    pub fn add(&mut self, rate: f64, loss: f64) {
        self.sum = SMOOTHING * self.sum + (1.0 - SMOOTHING) * loss;
        self.missing *= SMOOTHING;
        self.points.push(SweepPoint { rate, loss, smoothed: self.sum / (1.0 - self.missing) });
    }

    /// How many steps it takes, unless the loss diverges before.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// The steps so far.
    pub fn points(&self) -> &[SweepPoint] {
        &self.points
    }

    /// Whether the smoothed loss is no number any more, or more than four times the least one.
    pub fn has_diverged(&self) -> bool {
        let least = self.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        self.points
            .last()
            .is_some_and(|last| !last.smoothed.is_finite() || last.smoothed > DIVERGED * least.max(0.0))
    }

    /// The middle of the longest valley: fastai's rule. The valley is the longest falling subsequence of the smoothed losses, told
    /// by its last step and by how many it has; so neither a noisy step nor how deep a single one falls decides. None where
    /// the loss never falls by more than noise.
    pub fn suggestion(&self) -> Option<SuggestedRate> {
        let last = self.points.len().saturating_sub(LEFT_OUT_LAST);
        let kept = self.points.get(self.n_steps / LEFT_OUT_FIRST..last)?;
        let (end, length) = longest_fall(kept)?;
        let begin = end + 1 - length;
        let [from, to] = [begin, end].map(|i| kept[i]);
        if length < MIN_VALLEY || to.smoothed > (1.0 - MIN_FALL) * from.smoothed {
            return None;
        }
        let middle = end + length / 3 + length / 6 - length;
        Some(SuggestedRate {
            rate: kept[middle].rate,
            valley: [from.rate, to.rate],
            valley_loss: [from.smoothed, to.smoothed],
        })
    }
}

/// The last step of the longest falling subsequence of the smoothed losses, the first of those of one length, and how long it is;
/// steps behind one that is no number do not count.
fn longest_fall(points: &[SweepPoint]) -> Option<(usize, usize)> {
    let mut lengths: Vec<usize> = Vec::new();
    for point in points.iter().take_while(|point| point.smoothed.is_finite()) {
        let above = points.iter().zip(&lengths).filter(|(before, _)| before.smoothed > point.smoothed);
        lengths.push(1 + above.map(|(_, length)| *length).max().unwrap_or(0));
    }
    let longest = *lengths.iter().max()?;
    Some((lengths.iter().position(|&length| length == longest)?, longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All steps of a sweep from 1e-7 to 10, whose losses are `loss` of the step.
    fn swept(n_steps: usize, loss: impl Fn(f64) -> f64) -> LrSweep {
        let mut sweep = LrSweep::new([1e-7, 10.0], n_steps);
        while let Some(rate) = sweep.next_rate() {
            sweep.add(rate, loss(sweep.points().len() as f64));
        }
        sweep
    }

    /// A loss that falls around step 60, rises from step 82 on, and is noisy.
    fn noisy(step: f64) -> f64 {
        let noise = 0.05 * ((step as u32 * 7 % 5) as f64 - 2.0) / 2.0;
        let rise = if step > 82.0 { 0.02 * (step - 82.0) * (step - 82.0) } else { 0.0 };
        2.3 + noise - 1.5 / (1.0 + libm::exp(-(step - 60.0) / 5.0)) + rise
    }

    #[test]
    fn rates_grow_by_one_factor_from_the_first_to_the_last() {
        let sweep = swept(5, |_| 1.0);
        let rates: Vec<f64> = sweep.points().iter().map(|point| point.rate).collect();
        for (found, expected) in rates.iter().zip([1e-7, 1e-5, 1e-3, 1e-1, 10.0]) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!((rates.len(), sweep.has_diverged()), (5, false));
    }

    /// `valley(lrs[10:-5], losses[10:-5], 100)` of fastai 2, in Python, on losses smoothed as its recorder does.
    #[test]
    fn the_suggestion_is_fastais() {
        let found = swept(100, noisy).suggestion().unwrap();
        assert!((found.rate / 0.004862601580065354 - 1.0).abs() < 1e-10, "{found:?}");
        assert!((found.valley_loss[1] / 1.5721125465805204 - 1.0).abs() < 1e-10, "{found:?}");
        assert!(found.valley[0] < found.rate && found.rate < found.valley[1]);
    }

    #[test]
    fn a_sweep_ends_where_the_loss_diverges() {
        let sweep = swept(100, |step| if step < 50.0 { 2.0 - 0.01 * step } else { 1e3 });
        assert_eq!((sweep.points().len(), sweep.has_diverged()), (51, true));
        assert!(sweep.suggestion().is_some(), "it fell before");
        for broken in [f64::NAN, f64::INFINITY] {
            let sweep = swept(100, |step| if step < 50.0 { 2.0 - 0.01 * step } else { broken });
            assert_eq!(sweep.points().len(), 51, "{broken}");
            assert_eq!(sweep.next_rate(), None);
            assert!(sweep.suggestion().unwrap().rate < 1e-3, "{broken}");
        }
    }

    #[test]
    fn where_the_loss_does_not_fall_nothing_is_suggested() {
        assert_eq!(swept(100, |_| 2.0).suggestion(), None);
        assert_eq!(swept(100, |step| 2.0 + step).suggestion(), None);
        assert_eq!(swept(100, |step| 2.0 + 0.01 * (step % 2.0)).suggestion(), None, "noise");
        assert_eq!(swept(100, |_| f64::NAN).suggestion(), None);
        assert_eq!(swept(2, |_| 2.0).suggestion(), None);
        assert_eq!(LrSweep::new([1e-3, 1.0], 0).suggestion(), None);
    }
}
