//! `summary.json`: the last word of a run.

use serde::{Deserialize, Serialize};

use crate::{Caveat, FoldScores};

/// What a run was and what it came to. Written once, at its end; the order of the fields is the order in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run folder.
    pub run_dir: String,
    /// Which data were used, by name.
    pub dataset: String,
    /// What those are, where the name does not say it: "3,000 images of CIFAR-10".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_about: Option<String>,
    /// SHA-256 of the data.
    pub data_digest: String,
    /// How many images it was trained on.
    pub n_train: u64,
    /// How many images it was validated on; of a run by folds whose data have a test part, those that the folds held out.
    pub n_val: u64,
    /// How many images it was tested on; of a run by folds whose data have none, those that the folds held out.
    pub n_test: u64,
    /// The architecture, by name.
    pub model: String,
    /// The weights that training began with, where others had trained them; none in a summary of a program that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedWeights>,
    /// How many parameters the model has.
    pub n_parameters: u64,
    /// How many of them were trained: the others were frozen. None in a summary of a program that did not tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_trained_parameters: Option<u64>,
    /// The recipe, by name.
    pub recipe: String,
    /// The seed of every random stream.
    pub seed: u64,
    /// Where it was computed: "cpu", "cuda:0", "metal".
    pub device: String,
    /// The instruction set in use: "portable", "avx2", "avx512", "avx512bf16", "neon".
    pub isa: String,
    /// "f32" or "bf16".
    pub precision: String,
    /// How many threads computed.
    pub threads: u64,
    /// How many epochs were run, those before a resume included.
    pub epochs_run: u64,
    /// The epoch (from 1) with the best monitored value; none if nothing was monitored.
    pub best_epoch: Option<u64>,
    /// Seconds spent training, by the clock; of a run by folds, all models together.
    pub train_seconds: f64,
    /// Seconds that a frozen backbone took for the features of all training and test images, in this run or in the
    /// earlier one that computed them; none for a model without features that are kept.
    #[serde(default)]
    pub features_seconds: Option<f64>,
    /// How many of those seconds this run spent: for pictures whose features were not there already. None for a model without
    /// such features, and in a summary of a program that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_own_seconds: Option<f64>,
    /// Training images per second, validation not counted; of a head on features that are kept, those.
    pub images_per_second: f64,
    /// The most memory the process held at once; none where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// The score on the validation data; none for a run without validation. Of a run by folds whose data have a test part, what
    /// the folds' models said of the images that those had not seen.
    pub val: Option<SplitScore>,
    /// The score on the test data; none if there are no test data. Of a run by folds whose data have none, what the folds' models
    /// said of the images that those had not seen.
    pub test: Option<TestScore>,
    /// What the folds of a run said that was tested by them; none for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<FoldScores>,
    /// What takes something from the figures above; empty for a run whose test is honest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<Caveat>,
}

impl Summary {
    /// Whether the test score is that of the folds, as the data have no test part.
    pub fn is_tested_by_folds(&self) -> bool {
        self.folds.as_ref().is_some_and(|folds| folds.predictions.ends_with("predictions_test.csv"))
    }

    /// What there is to say of the features' time, by `duration`: what this run spent, and what was there; none for a model
    /// without features that are kept.
    pub fn features_text(&self, duration: impl Fn(f64) -> String) -> Option<String> {
        let all = self.features_seconds?;
        Some(match self.features_own_seconds {
            Some(0.0) => format!("were there already; computing them once took {}", duration(all)),
            Some(own) if own < 0.99 * all => {
                format!(
                    "took {}; others were there already, and had taken {}",
                    duration(own),
                    duration(all - own)
                )
            }
            _ => format!("took {}", duration(all)),
        })
    }

    /// What the model costs in time from nothing: training, and the features of a frozen backbone where it has one,
    /// whichever run computed them.
    pub fn model_seconds(&self) -> f64 {
        self.train_seconds + self.features_seconds.unwrap_or(0.0)
    }
}

/// A score on the validation data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitScore {
    /// Share of images classified rightly.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// A score on the test data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestScore {
    /// Share of images classified rightly.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// [`wilson_interval`](crate::wilson_interval) of the accuracy, or that of folds where they are the test: low, high.
    pub accuracy_interval: [f64; 2],
}

/// Weights that others trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainedWeights {
    /// A commit on a hub, or a path.
    pub origin: String,
    /// The licence that they say they are under, or that their hub's page is known to name: an SPDX identifier.
    pub licence: Option<String>,
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

    /// Summaries of builds that did not know the time of features can be read.
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
        assert_eq!(own(0.0), "were there already; computing them once took 30 s");
        assert_eq!(own(10.0), "took 10 s; others were there already, and had taken 20 s");
    }

    /// What a summary says beyond that, where there is anything to say.
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
