//! Weights of the classes in the loss. A recipe gives them as a list, by class name, or as `balanced`, which derives them
//! from the training images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

/// The value of `loss.class_weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"balanced\", a list of numbers, or a table of numbers by class name"
)]
pub enum ClassWeights {
    /// `"balanced"`: all classes have the same total weight, however many images they have.
    Word(Balanced),
    /// One weight for each class, in the order of the classes.
    List(Vec<f64>),
    /// Weights by class name; classes that are not named have weight 1.
    ByName(BTreeMap<String, f64>),
}

/// The word `balanced`: a class has the weight `n_images / (n_classes * n_images_of_the_class)` over the training images, as
/// in scikit-learn's `compute_class_weight`. Classes without images have weight 0 and are not counted in `n_classes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balanced {
    /// The only value.
    Balanced,
}

impl ClassWeights {
    /// Returns the first weight that is negative or not a finite f32, if any.
    pub(crate) fn out_of_range(&self) -> Option<f64> {
        let given: Vec<f64> = match self {
            Self::Word(_) => Vec::new(),
            Self::List(weights) => weights.clone(),
            Self::ByName(weights) => weights.values().copied().collect(),
        };
        given.into_iter().find(|weight| !(*weight >= 0.0 && (*weight as f32).is_finite()))
    }

    /// Returns a weight for each of `class_names`, which have `counts` training images.
    ///
    /// # Errors
    /// If the number of weights is wrong, a class name is unknown, or no training image has a weight above 0, so that nothing
    /// could be learnt; the message says which.
    pub(crate) fn resolve(&self, class_names: &[Foreign], counts: &[usize]) -> Result<Vec<f32>, String> {
        let weights = self.of_classes(class_names, counts)?;
        let is_learnt = |(weight, count): (&f32, &usize)| *weight > 0.0 && *count > 0;
        match weights.iter().zip(counts).any(is_learnt) {
            true => Ok(weights),
            false => Err("is 0 for every class that has training images, so nothing can be learnt: give at \
                          least one of them a weight above 0"
                .into()),
        }
    }

    fn of_classes(&self, class_names: &[Foreign], counts: &[usize]) -> Result<Vec<f32>, String> {
        match self {
            Self::Word(Balanced::Balanced) => Ok(balanced(counts)),
            Self::List(weights) if weights.len() != class_names.len() => Err(format!(
                "has {} entries, expected one for each of {} classes",
                weights.len(),
                class_names.len()
            )),
            Self::List(weights) => Ok(weights.iter().map(|&weight| weight as f32).collect()),
            Self::ByName(weights) => {
                match weights.keys().find(|name| !class_names.iter().any(|class| class == *name)) {
                    Some(name) => {
                        let nearest = tallow_core::did_you_mean(name, class_names.iter().map(Foreign::raw));
                        Err(format!(
                            "names the class {name:?}, which does not exist; the classes are {}{nearest}",
                            class_names.iter().map(Foreign::shown).collect::<Vec<_>>().join(", ")
                        ))
                    }
                    None => Ok(class_names
                        .iter()
                        .map(|name| weights.get(name.raw()).map_or(1.0, |&w| w as f32))
                        .collect()),
                }
            }
        }
    }
}

fn balanced(counts: &[usize]) -> Vec<f32> {
    let (n, n_classes) = (counts.iter().sum::<usize>(), counts.iter().filter(|&&count| count > 0).count());
    let weight = |&count: &usize| match count {
        0 => 0.0,
        _ => (n as f64 / (n_classes as f64 * count as f64)) as f32,
    };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(toml: &str) -> Result<Vec<f32>, String> {
        #[derive(Deserialize)]
        struct Loss {
            class_weights: ClassWeights,
        }
        let loss: Loss = toml::from_str(toml).map_err(|e| e.to_string())?;
        loss.class_weights.resolve(&["cat", "dog", "fox"].map(Foreign::from), &[10, 0, 30])
    }

    #[test]
    fn each_form_gives_a_weight_a_class() {
        assert_eq!(resolved("class_weights = [1, 2.5, 0]").unwrap(), [1.0, 2.5, 0.0]);
        assert_eq!(resolved("class_weights = { fox = 2, cat = 0.5 }").unwrap(), [0.5, 1.0, 2.0]);
        // 40 images of 2 classes: 40 / (2 * 10) and 40 / (2 * 30)
        assert_eq!(resolved("class_weights = \"balanced\"").unwrap(), [2.0, 0.0, 2.0 / 3.0]);
        assert_eq!(balanced(&[7, 7]), [1.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = resolved("class_weights = { wolf = 2 }").unwrap_err();
        assert_eq!(message, "names the class \"wolf\", which does not exist; the classes are cat, dog, fox");
        let message = resolved("class_weights = { dgo = 2 }").unwrap_err();
        assert!(message.ends_with("the classes are cat, dog, fox: did you mean \"dog\"?"), "{message}");
        assert!(resolved("class_weights = [1, 2]").unwrap_err().contains("has 2 entries"));
        for wrong in ["\"balance\"", "3", "[\"cat\"]"] {
            let message = resolved(&format!("class_weights = {wrong}")).unwrap_err();
            assert!(message.contains("expected \"balanced\", a list of numbers, or a table"), "{message}");
        }
        // of these classes, dog has no images; 1e-50 is 0 in f32
        for none in ["[0, 0, 0]", "[0, 5, 0]", "{ cat = 0, fox = 0 }", "[1e-50, 0, 0]"] {
            let message = resolved(&format!("class_weights = {none}")).unwrap_err();
            assert!(
                message.starts_with("is 0 for every class that has training images"),
                "{none}: {message}"
            );
        }
        assert_eq!(ClassWeights::List(vec![1.0, -2.0]).out_of_range(), Some(-2.0));
        assert_eq!(ClassWeights::List(vec![1.0, 1e39]).out_of_range(), Some(1e39));
        assert_eq!(
            ClassWeights::ByName([("cat".into(), f64::INFINITY)].into()).out_of_range(),
            Some(f64::INFINITY)
        );
    }
}
