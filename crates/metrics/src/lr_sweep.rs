//! The arithmetic of a learning-rate finder: which rates are tried, how the losses are smoothed, and which rate they
//! suggest.
//!
//! Source of the sweep: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks",
//! <https://arxiv.org/abs/1506.01186> (2015), section 3.3. As in fastai's `lr_find`, the rate grows exponentially and the
//! sweep ends when the loss diverges.

use serde::Serialize;

/// Weight of the previous value in the running loss, an exponential moving average that detects divergence.
const RUNNING: f64 = 0.9;
/// The loss has diverged if the running loss is more than this many times its minimum.
const DIVERGED: f64 = 4.0;
/// Standard deviation of the Gaussian weights that smooth the losses, as a share of the number of steps.
const WIDTH: f64 = 0.03;
/// A loss counts for at most this many times the first loss, so that a diverging step does not affect the smoothed losses
/// before it.
const MAX_COUNTED: f64 = 1.5;
/// The first `n_steps / BEGINNING` steps are the beginning, where nothing is learnt yet.
const BEGINNING: usize = 10;
/// The suggested rate is the first at which this share of the fall is reached.
const FALLEN: f64 = 0.9;
/// A fall is noise if it is less than this share of the loss, or less than [`MIN_ERRORS`] standard errors of the smoothed
/// loss.
const MIN_FALL: f64 = 0.01;
const MIN_ERRORS: f64 = 3.0;

/// The losses of steps at growing rates.
#[derive(Clone, Debug, PartialEq)]
pub struct LrSweep {
    /// The first and the last rate.
    range: [f64; 2],
    /// Number of steps of the whole sweep.
    n_steps: usize,
    points: Vec<SweepPoint>,
    /// The running loss, and its minimum.
    running: f64,
    least: f64,
}

/// One step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SweepPoint {
    /// The rate of the step.
    pub rate: f64,
    /// The loss of its batch, before the update.
    pub loss: f64,
}

/// The rate that a sweep suggests, and the figures behind it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SuggestedRate {
    /// The first rate at which nine tenths of the fall are reached.
    pub rate: f64,
    /// Mean loss of the first steps.
    pub first_loss: f64,
    /// Minimum of the smoothed loss.
    pub least_loss: f64,
    /// The rate at that minimum.
    pub rate_of_least: f64,
}

impl LrSweep {
    /// Begins a sweep of `n_steps` steps, at least 2, at rates from `range[0]` to `range[1]`, both above 0.
    pub fn new(range: [f64; 2], n_steps: usize) -> Self {
        let (running, least) = (f64::NAN, f64::INFINITY);
        Self { range, n_steps: n_steps.max(2), points: Vec::new(), running, least }
    }

    /// Returns the rate of the next step, `low (high / low)^(i / (n - 1))` for step i, counted from 0. Returns `None`
    /// when the sweep is over: after its last step, or when the loss has diverged.
    pub fn next_rate(&self) -> Option<f64> {
        let [low, high] = self.range;
        let i = self.points.len();
        let share = i as f64 / (self.n_steps - 1) as f64;
        (i < self.n_steps && !self.has_diverged()).then(|| low * libm::exp(share * libm::log(high / low)))
    }

    /// Adds the loss of a step at [`next_rate`](Self::next_rate).
    pub fn add(&mut self, rate: f64, loss: f64) {
        self.running = match self.points.is_empty() {
            true => loss,
            false => RUNNING * self.running + (1.0 - RUNNING) * loss,
        };
        self.least = self.least.min(self.running);
        self.points.push(SweepPoint { rate, loss });
    }

    /// Returns the number of steps of the whole sweep; fewer are run if the loss diverges.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// Returns the steps so far.
    pub fn points(&self) -> &[SweepPoint] {
        &self.points
    }

    /// Returns whether the running loss is no longer finite, or is more than four times its minimum.
    pub fn has_diverged(&self) -> bool {
        !self.points.is_empty() && (!self.running.is_finite() || self.running > DIVERGED * self.least)
    }

    /// Returns the smoothed loss of each step, averaged over the steps before and after it. Unlike a running mean, it
    /// does not lag.
    pub fn smoothed(&self) -> Vec<f64> {
        let n = self.points.len();
        let width = (WIDTH * self.n_steps as f64).max(0.5);
        let highest = MAX_COUNTED * self.first_loss();
        let counted: Vec<f64> = self.points.iter().map(|point| point.loss.min(highest)).collect(); // NaN becomes `highest`
        let weights: Vec<f64> =
            (0..n).map(|apart| apart as f64 / width).map(|z| libm::exp(-0.5 * z * z)).collect();
        let at = |i: usize| {
            let weighted = (0..n).map(|j| (weights[i.abs_diff(j)], counted[j]));
            let (sum, weight) =
                weighted.fold((0.0, 0.0), |(s, w), (weight, loss)| (s + weight * loss, w + weight));
            sum / weight
        };
        (0..n).map(at).collect()
    }

    /// Returns the first rate at which nine tenths of the fall to the minimum of the smoothed loss are reached, or `None`
    /// if the loss does not fall by more than noise.
    ///
    /// The fall is measured from the mean of the first tenth of the steps. On CIFAR-10 (recipes `cnn`, `cnn-5` and
    /// `keras`, two seeds each, 100 steps) this rule gives 7.6e-4 to 1.3e-3, and up to 2.3e-3 if the losses are smoothed
    /// a third less or more. fastai's "valley", the middle of the longest falling stretch, gives 8.7e-6 to 1e-2 on the
    /// same losses: it counts the flat beginning as part of the valley, unless a running mean shifts it.
    pub fn suggestion(&self) -> Option<SuggestedRate> {
        let (smoothed, first_loss) = (self.smoothed(), self.first_loss());
        let (least, least_loss) =
            smoothed.iter().copied().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let fall = first_loss - least_loss;
        let is_noise = fall < MIN_FALL * first_loss || fall < MIN_ERRORS * self.error(&smoothed[..=least]);
        if least < self.n_steps / BEGINNING || !first_loss.is_finite() || is_noise {
            return None;
        }
        let not_fallen = first_loss - FALLEN * fall;
        let chosen = smoothed.iter().position(|&loss| loss <= not_fallen)?;
        let rate = |i: usize| self.points[i].rate;
        Some(SuggestedRate { rate: rate(chosen), first_loss, least_loss, rate_of_least: rate(least) })
    }

    /// Returns the mean loss of the first steps.
    fn first_loss(&self) -> f64 {
        let first = &self.points[..self.points.len().min((self.n_steps / BEGINNING).max(1))];
        first.iter().map(|point| point.loss).sum::<f64>() / first.len() as f64
    }

    /// Returns the standard error of a smoothed loss, estimated from the distances between the losses and the smoothed
    /// losses of the steps up to the minimum.
    fn error(&self, smoothed: &[f64]) -> f64 {
        let apart = smoothed.iter().zip(&self.points).map(|(smooth, point)| (smooth - point.loss).powi(2));
        let variance = apart.sum::<f64>() / smoothed.len() as f64;
        let n_averaged = 2.0 * std::f64::consts::PI.sqrt() * WIDTH * self.n_steps as f64; // effective number of averaged losses
        (variance / n_averaged.max(1.0)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All steps of a sweep from 1e-7 to 10; `loss` gives the loss of each step.
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

    /// Expected values: `scipy.ndimage.gaussian_filter1d(losses, 3, mode="constant")`, divided by the same filter of
    /// ones, and the rule in NumPy.
    #[test]
    fn the_rate_is_taken_where_nine_tenths_of_the_fall_are_made() {
        let sweep = swept(100, noisy);
        let (found, smoothed) = (sweep.suggestion().unwrap(), sweep.smoothed());
        let near = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found}, expected {expected}");
        };
        near(smoothed[0], 2.2941996432813423);
        near(smoothed[60], 1.5499794981334012);
        near(found.first_loss, 2.2999734049339127);
        near(found.least_loss, 0.8522543383452409);
        near(found.rate_of_least, 0.2420128264794383);
        near(found.rate, 0.054622772176843366);
    }

    #[test]
    fn a_sweep_ends_where_the_loss_diverges() {
        let falling = |step: f64| 2.0 - 0.01 * step;
        for broken in [1e3, f64::NAN, f64::INFINITY] {
            let sweep = swept(100, |step| if step < 60.0 { falling(step) } else { broken });
            assert_eq!((sweep.points().len(), sweep.has_diverged()), (61, true), "{broken}");
            assert_eq!(sweep.next_rate(), None);
            let found = sweep.suggestion().unwrap();
            let rate = |i: usize| sweep.points()[i].rate;
            assert!(rate(45) < found.rate && found.rate < found.rate_of_least, "{broken}: {found:?}");
            assert!(found.rate_of_least <= rate(59) && found.least_loss > 1.3, "{broken}: {found:?}");
        }
    }

    #[test]
    fn where_the_loss_does_not_fall_nothing_is_suggested() {
        assert_eq!(swept(100, |_| 2.0).suggestion(), None);
        assert_eq!(swept(100, |step| 2.0 + step).suggestion(), None);
        assert_eq!(swept(100, |step| 2.0 + 0.1 * (step % 2.0)).suggestion(), None, "noise");
        assert_eq!(swept(100, |_| f64::NAN).suggestion(), None);
        assert_eq!(swept(2, |_| 2.0).suggestion(), None);
        assert_eq!(LrSweep::new([1e-3, 1.0], 0).suggestion(), None);
    }
}
