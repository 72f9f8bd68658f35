//! `summary.json`: the final record of a run.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

use crate::{Caveat, FoldScores};

/// The setup and the results of a run. It is written once, at the end of the run; the order of the fields is the order in
/// the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run folder.
    pub run_dir: Foreign,
    /// Name of the data set.
    pub dataset: Foreign,
    /// Description of the data, if the name does not say it: "3,000 images of CIFAR-10".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_about: Option<Foreign>,
    /// SHA-256 of the data.
    pub data_digest: Foreign,
    /// Number of training images.
    pub n_train: u64,
    /// Number of validation images. For a run by folds whose data have a test part: number of images that the folds held
    /// out.
    pub n_val: u64,
    /// Number of test images. For a run by folds whose data have no test part: number of images that the folds held out.
    pub n_test: u64,
    /// The architecture, by name.
    pub model: Foreign,
    /// The pretrained weights that training started from; `None` without pretrained weights, and in summaries of older
    /// programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedWeights>,
    /// Number of parameters of the model.
    pub n_parameters: u64,
    /// Number of parameters that were trained; the others were frozen. `None` in summaries of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_trained_parameters: Option<u64>,
    /// The recipe, by name.
    pub recipe: Foreign,
    /// The seed of every random stream.
    pub seed: u64,
    /// The device that computed: "cpu", "cuda:0", "metal".
    pub device: Foreign,
    /// The instruction set in use: "portable", "avx2", "avx512", "avx512bf16", "neon".
    pub isa: Foreign,
    /// The precision of the computation: "f32" or "bf16".
    pub precision: Foreign,
    /// Number of threads that computed.
    pub threads: u64,
    /// Number of epochs that were run, including those before a resume.
    pub epochs_run: u64,
    /// The epoch (from 1) with the best monitored value; `None` if nothing was monitored.
    pub best_epoch: Option<u64>,
    /// Wall time of training, in seconds; for a run by folds, of all its models together.
    pub train_seconds: f64,
    /// Time that a frozen backbone took to compute the features of all training and test images, in seconds, in this run
    /// or in an earlier run that stored them. `None` for a model without stored features.
    #[serde(default)]
    pub features_seconds: Option<f64>,
    /// The part of `features_seconds` that this run spent, on pictures whose features were not stored yet. `None` for a
    /// model without stored features, and in summaries of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_own_seconds: Option<f64>,
    /// Training images per second, validation not counted. For a head on stored features: stored features per second.
    pub images_per_second: f64,
    /// Peak memory of the process, in bytes; `None` if the system does not report it.
    pub peak_rss_bytes: Option<u64>,
    /// The score on the validation data; `None` for a run without validation. For a run by folds whose data have a test
    /// part: the score on the images that the folds held out, each classified by the model of the fold that held it out.
    pub val: Option<SplitScore>,
    /// The score on the test data; `None` without test data. For a run by folds whose data have no test part: the score
    /// on the images that the folds held out, each classified by the model of the fold that held it out.
    pub test: Option<TestScore>,
    /// The scores over the folds; `None` for a run without folds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<FoldScores>,
    /// Facts that limit what the figures above prove; empty for a run with an honest test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<Caveat>,
}

impl Summary {
    /// Returns whether the test score is that of the folds because the data have no test part.
    pub fn is_tested_by_folds(&self) -> bool {
        self.folds.as_ref().is_some_and(|folds| folds.predictions.raw().ends_with("predictions_test.csv"))
    }

    /// Describes the time for the features, formatted with `duration`: the time that this run spent, and the time for
    /// features that were already stored. Returns `None` for a model without stored features.
    pub fn features_text(&self, duration: impl Fn(f64) -> String) -> Option<String> {
        let all = self.features_seconds?;
        Some(match self.features_own_seconds {
            Some(0.0) => format!("were already stored; computing them once took {}", duration(all)),
            Some(own) if own < 0.99 * all => {
                format!(
                    "took {}; others were already stored, and had taken {}",
                    duration(own),
                    duration(all - own)
                )
            }
            _ => format!("took {}", duration(all)),
        })
    }

    /// Returns the time to make the model from scratch, in seconds: training, plus the features of a frozen backbone if
    /// it has one, even if an earlier run computed them.
    pub fn model_seconds(&self) -> f64 {
        self.train_seconds + self.features_seconds.unwrap_or(0.0)
    }
}

/// A score on the validation data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitScore {
    /// Share of images classified correctly.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// A score on the test data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestScore {
    /// Share of images classified correctly.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Interval of the accuracy: low, high. It is a [`wilson_interval`](crate::wilson_interval), or
    /// [`folds_interval`](crate::folds_interval) if the folds are the test.
    pub accuracy_interval: [f64; 2],
}

/// Pretrained weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainedWeights {
    /// Where the weights came from: a commit on a hub, or a path.
    pub origin: Foreign,
    /// Licence of the weights, as an SPDX identifier: the one that the weights state, or the one known from their page on
    /// the hub.
    pub licence: Option<Foreign>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "run_dir": "runs/cnn-5-1",
  "dataset": "cifar10",
  "data_digest": "c1d0…",
  "n_train": 45000,
  "n_val": 5000,
  "n_test": 10000,
  "model": "cnn",
  "n_parameters": 550570,
  "recipe": "cnn-5",
  "seed": 18446744073709551615,
  "device": "cpu",
  "isa": "avx2",
  "precision": "f32",
  "threads": 2,
  "epochs_run": 5,
  "best_epoch": null,
  "train_seconds": 0.1,
  "features_seconds": null,
  "images_per_second": 0.30000000000000004,
  "peak_rss_bytes": 734003200,
  "val": null,
  "test": {
    "accuracy": 0.7311,
    "loss": 0.7923,
    "accuracy_interval": [
      0.7222,
      0.7396
    ]
  }
}"#;

    #[test]
    fn the_text_is_this() {
        let summary: Summary = serde_json::from_str(TEXT).unwrap();
        assert_eq!(serde_json::to_string_pretty(&summary).unwrap(), TEXT);
        assert_eq!((summary.seed, summary.images_per_second), (u64::MAX, 0.1 + 0.2));
    }

    /// Summaries of older programs, which did not record the time for features, can be read.
    #[test]
    fn features_count_where_there_are_any() {
        let old = TEXT.replace("  \"features_seconds\": null,\n", "");
        let mut summary: Summary = serde_json::from_str(&old).unwrap();
        assert_eq!((summary.features_seconds, summary.model_seconds()), (None, 0.1));
        summary.features_seconds = Some(2.0);
        assert_eq!(summary.model_seconds(), 2.1);
    }

    #[test]
    fn the_time_of_features_is_what_this_run_spent() {
        let mut summary: Summary = serde_json::from_str(TEXT).unwrap();
        let text = |summary: &Summary| summary.features_text(|secs| format!("{secs} s"));
        assert_eq!(text(&summary), None);
        summary.features_seconds = Some(30.0);
        assert_eq!(text(&summary).unwrap(), "took 30 s");
        let mut own = |secs| {
            summary.features_own_seconds = Some(secs);
            text(&summary).unwrap()
        };
        assert_eq!(own(30.0), "took 30 s");
        assert_eq!(own(0.0), "were already stored; computing them once took 30 s");
        assert_eq!(own(10.0), "took 10 s; others were already stored, and had taken 20 s");
    }

    /// The fields that only some summaries have.
    #[test]
    fn what_is_not_said_of_every_run_is_read_back() {
        let more = TEXT
            .replace("\"data_digest\"", "\"dataset_about\": \"3,000 images\",\n  \"data_digest\"")
            .replace("\"recipe\"", "\"n_trained_parameters\": 10,\n  \"recipe\"")
            .replace(
                "\"features_seconds\": null",
                "\"features_seconds\": 2.0,\n  \"features_own_seconds\": 0.5",
            )
            .replace(
                "    ]\n  }\n}",
                "    ]\n  },\n  \"caveats\": [\n    {\n      \"kind\": \"validated_on_test\"\n    }\n  ]\n}",
            );
        let summary: Summary = serde_json::from_str(&more).unwrap();
        assert_eq!(serde_json::to_string_pretty(&summary).unwrap(), more);
        assert_eq!(
            (summary.caveats, summary.features_own_seconds),
            (vec![Caveat::ValidatedOnTest], Some(0.5))
        );
    }
}
