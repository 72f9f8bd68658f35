//! The figures of `/metrics`, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tallow_core::Foreign;

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS_SECS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Weight of the latest batch in the moving mean of the time per picture.
const WEIGHT_OF_LATEST: f64 = 0.2;

/// Counts of what a server has done since it started.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// Number of requests for each status.
    requests: BTreeMap<u16, u64>,
    /// Number of answered requests for predictions in each bucket of time; the last bucket has no upper bound.
    buckets: [u64; BOUNDS_SECS.len() + 1],
    /// Sum of the times of these requests.
    secs: f64,
    /// Number of answered pictures, by the index of the model.
    pictures: BTreeMap<usize, u64>,
    n_unreadable: u64,
    n_batches: u64,
    /// Moving mean over the batches.
    secs_per_picture: f64,
}

impl Metrics {
    /// Counts a request by the status of its answer.
    pub(crate) fn answered(&self, status: u16) {
        *self.lock().requests.entry(status).or_default() += 1;
    }

    /// Counts an answered request for predictions and its time.
    pub(crate) fn took(&self, time: Duration) {
        let (secs, mut counts) = (time.as_secs_f64(), self.lock());
        counts.buckets[BOUNDS_SECS.partition_point(|&bound| bound < secs)] += 1;
        counts.secs += secs;
    }

    /// Counts a batch of the model with index `model`: its answered pictures, and those that could not be read.
    pub(crate) fn looked(&self, model: usize, n_answered: usize, n_unreadable: usize, time: Duration) {
        let mut counts = self.lock();
        *counts.pictures.entry(model).or_default() += n_answered as u64;
        counts.n_unreadable += n_unreadable as u64;
        counts.n_batches += 1;
        let secs = time.as_secs_f64() / (n_answered + n_unreadable).max(1) as f64;
        let weight = if counts.n_batches == 1 { 1.0 } else { WEIGHT_OF_LATEST };
        counts.secs_per_picture += weight * (secs - counts.secs_per_picture);
    }

    /// Estimates the time for `n_pictures` pictures in whole seconds, from 1 to 3600.
    pub(crate) fn wait_secs(&self, n_pictures: usize) -> u64 {
        (n_pictures as f64 * self.lock().secs_per_picture).ceil().clamp(1.0, 3600.0) as u64
    }

    /// Returns all figures as text. `models` are the models' names, `waiting` is the number of pictures in the queue, and
    /// `capacity` is the largest number that may wait.
    pub(crate) fn text<'a>(
        &self,
        models: impl Iterator<Item = &'a Foreign>,
        waiting: usize,
        capacity: usize,
    ) -> String {
        let counts = self.lock();
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = write!(text, "# HELP tallow_{name} {help}\n# TYPE tallow_{name} {kind}\n");
        };
        head(&mut text, "requests_total", "counter", "Requests by the status of their answer.");
        for (status, n) in &counts.requests {
            let _ = writeln!(text, "tallow_requests_total{{status=\"{status}\"}} {n}");
        }
        head(&mut text, "pictures_total", "counter", "Pictures that were answered, by model.");
        for (place, model) in models.enumerate() {
            let n = counts.pictures.get(&place).unwrap_or(&0);
            let _ = writeln!(text, "tallow_pictures_total{{model=\"{}\"}} {n}", model.in_label());
        }
        for (name, kind, help, value) in [
            ("unreadable_pictures_total", "counter", "Pictures that could not be read.", counts.n_unreadable),
            ("batches_total", "counter", "Batches that were computed.", counts.n_batches),
            ("queue_pictures", "gauge", "Pictures that wait.", waiting as u64),
            ("queue_capacity_pictures", "gauge", "Pictures that may wait.", capacity as u64),
        ] {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "tallow_{name} {value}");
        }
        let help = "Time of requests for predictions, from their head to their answer.";
        head(&mut text, "predict_seconds", "histogram", help);
        let mut sum = 0;
        for (i, n) in counts.buckets.iter().enumerate() {
            sum += n;
            let bound = BOUNDS_SECS.get(i).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "tallow_predict_seconds_bucket{{le=\"{bound}\"}} {sum}");
        }
        let _ =
            writeln!(text, "tallow_predict_seconds_sum {}\ntallow_predict_seconds_count {sum}", counts.secs);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(200);
        metrics.answered(503);
        for ms in [2, 3, 70_000] {
            metrics.took(Duration::from_millis(ms));
        }
        metrics.looked(1, 3, 1, Duration::from_secs(8));
        let text = metrics.text(["a", "b\"\n"].map(Foreign::from).iter(), 7, 9);
        for line in [
            "# TYPE tallow_requests_total counter",
            "tallow_requests_total{status=\"200\"} 2",
            "tallow_requests_total{status=\"503\"} 1",
            "tallow_pictures_total{model=\"a\"} 0",
            "tallow_pictures_total{model=\"b\\\"\\n\"} 3",
            "tallow_unreadable_pictures_total 1",
            "tallow_batches_total 1",
            "tallow_queue_pictures 7",
            "tallow_predict_seconds_bucket{le=\"0.001\"} 0",
            "tallow_predict_seconds_bucket{le=\"0.0025\"} 1",
            "tallow_predict_seconds_bucket{le=\"0.005\"} 2",
            "tallow_predict_seconds_bucket{le=\"10\"} 2",
            "tallow_predict_seconds_bucket{le=\"+Inf\"} 3",
            "tallow_predict_seconds_sum 70.005",
            "tallow_predict_seconds_count 3",
        ] {
            assert!(text.lines().any(|told| told == line), "no {line:?} in:\n{text}");
        }
        assert_eq!(metrics.wait_secs(10), 20);
        metrics.looked(0, 1, 0, Duration::from_secs(12));
        assert_eq!(metrics.wait_secs(1), 4, "2 and a fifth of the way to 12");
        assert_eq!(Metrics::default().wait_secs(5), 1, "nothing is known yet");
    }
}
