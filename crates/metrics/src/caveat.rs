//! Caveats: facts that make a run's figures look better than they are, or that leave open whether they do. They are part
//! of the run's record, so that every place that shows a figure can show its caveats beside it.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

/// A fact about how a run came to be that limits what its figures prove.
///
/// A run has no caveats if its validation images were split from its training images, it started from randomly
/// initialised weights, and it was tested once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Caveat {
    /// Validation used the test images: learning rates, epochs and the temperature were chosen on them.
    ValidatedOnTest,
    /// The run started from the weights of another run that had validated on the same test images.
    StartValidatedOnTest {
        /// The other run, or its model file.
        from: Foreign,
    },
    /// The run started from weights that had been trained on some of its validation images.
    StartTrainedOnValidation {
        /// The other run, or its model file.
        from: Foreign,
        /// Number of its validation images that those weights had been trained on.
        n: u64,
    },
    /// The run started from the weights of a model that had been tested on the same test images.
    StartTested {
        /// The other run, or its model file.
        from: Foreign,
    },
    /// The run started from weights that were trained on other data. It is unknown which images those weights have seen.
    StartUnknown {
        /// The other run, or its model file.
        from: Foreign,
        /// Name of the data that those weights were trained on; empty if unknown.
        dataset: Foreign,
    },
    /// The run was extended after its model had been tested.
    ExtendedAfterTest {
        /// Number of epochs after which the model had been tested.
        epochs: u64,
    },
}

impl Caveat {
    /// Returns `known`, completed with what the recipe says: whether validation used the test images, and which weights
    /// the run started from. Older programs did not write these two caveats into their records.
    pub fn complete(known: Vec<Self>, validates_on_test: bool, init_from: Option<Foreign>) -> Vec<Self> {
        let on_test =
            (validates_on_test && !known.contains(&Self::ValidatedOnTest)).then_some(Self::ValidatedOnTest);
        let is_of_start = |caveat: &Self| match caveat {
            Self::ValidatedOnTest | Self::ExtendedAfterTest { .. } => false,
            Self::StartValidatedOnTest { .. }
            | Self::StartTrainedOnValidation { .. }
            | Self::StartTested { .. }
            | Self::StartUnknown { .. } => true,
        };
        let start = init_from.filter(|_| !known.iter().any(is_of_start));
        let start = start.map(|from| Self::StartUnknown { from, dataset: Foreign::default() });
        on_test.into_iter().chain(known).chain(start).collect()
    }

    /// Returns whether the run made decisions on test images, so that its test score is too good.
    pub fn spoils_test(&self) -> bool {
        match self {
            Self::ValidatedOnTest | Self::StartValidatedOnTest { .. } => true,
            Self::StartTrainedOnValidation { .. }
            | Self::StartTested { .. }
            | Self::StartUnknown { .. }
            | Self::ExtendedAfterTest { .. } => false,
        }
    }

    /// Returns whether validation images were trained on, or are the test images, so that choices made on them may not
    /// hold.
    pub fn spoils_validation(&self) -> bool {
        match self {
            Self::ValidatedOnTest | Self::StartTrainedOnValidation { .. } => true,
            Self::StartValidatedOnTest { .. }
            | Self::StartTested { .. }
            | Self::StartUnknown { .. }
            | Self::ExtendedAfterTest { .. } => false,
        }
    }

    /// Returns what happened and what follows from it, as sentences that end in a full stop. They are safe to show.
    pub fn sentence(&self) -> String {
        match self {
            Self::ValidatedOnTest => {
                "Validation used the test images: the run made its decisions on them, so the test accuracy \
                 is not an honest estimate."
                    .to_owned()
            }
            Self::StartValidatedOnTest { from } => format!(
                "The run began with the weights of {}. These weights were validated on these test images, so \
                 the test accuracy is not an honest estimate.",
                from.shown()
            ),
            Self::StartTrainedOnValidation { from, n } => format!(
                "The run began with the weights of {}. These weights had been trained on {n} of this \
                 run's validation images, so the validation figures are too good. So are the probabilities \
                 and thresholds that were chosen on validation.",
                from.shown()
            ),
            Self::StartTested { from } => format!(
                "The run began with the weights of {}. These weights had already been tested on the \
                 same images, so this is not the first look at the test images.",
                from.shown()
            ),
            Self::StartUnknown { from, dataset } if dataset.is_empty() => format!(
                "The run began with the weights of {}. It is not known whether these weights have seen this \
                 run's validation or test images. If they have, the figures of this run are too good.",
                from.shown()
            ),
            Self::StartUnknown { from, dataset } => format!(
                "The run began with the weights of {}, which were trained on other data ({}). It \
                 is not known whether those data share images with this run's validation or test images. If \
                 they do, the figures of this run are too good.",
                from.shown(),
                dataset.shown()
            ),
            Self::ExtendedAfterTest { epochs } => format!(
                "The run was extended after {epochs} epochs, after its model had been tested. So this is \
                 not the first look at the test images."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_this() {
        let caveats = vec![
            Caveat::ValidatedOnTest,
            Caveat::StartTrainedOnValidation { from: "runs/a".into(), n: 3 },
            Caveat::ExtendedAfterTest { epochs: 20 },
        ];
        let text = r#"[{"kind":"validated_on_test"},{"kind":"start_trained_on_validation","from":"runs/a","n":3},{"kind":"extended_after_test","epochs":20}]"#;
        assert_eq!(serde_json::to_string(&caveats).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vec<Caveat>>(text).unwrap(), caveats);
    }

    #[test]
    fn what_an_older_record_does_not_say_its_recipe_does() {
        let extended = Caveat::ExtendedAfterTest { epochs: 20 };
        let unknown = Caveat::StartUnknown { from: "a".into(), dataset: Foreign::default() };
        let complete = |known: &[Caveat], on_test, from: Option<&str>| {
            Caveat::complete(known.to_vec(), on_test, from.map(Foreign::from))
        };
        assert_eq!(
            complete(std::slice::from_ref(&extended), true, Some("a")),
            [Caveat::ValidatedOnTest, extended.clone(), unknown]
        );
        let whole = [Caveat::ValidatedOnTest, Caveat::StartTested { from: "a".into() }];
        assert_eq!(complete(&whole, true, Some("a")), whole);
        assert_eq!(complete(&[], false, None), []);
    }

    #[test]
    fn a_second_look_spoils_nothing_but_is_said() {
        let look = Caveat::StartTested { from: "runs/a".into() };
        assert!(!look.spoils_test() && !look.spoils_validation());
        assert!(look.sentence().contains("runs/a") && look.sentence().contains("not the first look"));
        assert!(Caveat::ValidatedOnTest.spoils_test() && Caveat::ValidatedOnTest.spoils_validation());
    }
}
