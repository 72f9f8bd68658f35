//! What is said of a picture, in the words of `trainer predict --json`.

use serde::Serialize;
use tallow_metrics::most_probable;

use crate::served::Card;

/// What a model says about a picture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answered {
    file: String,
    /// The most probable first.
    predictions: Vec<Prediction>,
    /// The share of pictures like the training pictures that are at least as unlike them as this one; none where the model does not
    /// know.
    typicality: Option<f64>,
    /// Whether it is unlike anything that the model was trained on.
    none_of_these: Option<bool>,
    /// The training pictures that are nearest to it; left out where the model knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<Vec<Nearest>>,
}

#[derive(Clone, Debug, Serialize)]
struct Prediction {
    class: String,
    probability: f64,
}

/// A training picture near a posted one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Nearest {
    pub(crate) class: String,
    /// Its file below the data set's folder, where it has one.
    pub(crate) file: Option<String>,
    /// 1 for the same picture.
    pub(crate) similarity: f32,
    /// Where this server shows it.
    pub(crate) picture: String,
}

impl Answered {
    /// Of the picture `file`, from the logarithms of the probabilities of all classes of the model `card`.
    pub(crate) fn new(
        file: String,
        card: &Card,
        top_k: usize,
        log_probs: &[f32],
        typicality: Option<f64>,
        nearest: Option<Vec<Nearest>>,
    ) -> Self {
        let told = |(class, probability): (usize, f64)| (card.classes[class].clone(), probability);
        let top = most_probable(log_probs, top_k).into_iter().map(told).collect();
        let answer = tallow_metrics::Answer { file, top, typicality };
        Self {
            none_of_these: answer.is_none_of_these(),
            typicality,
            file: answer.file,
            predictions: answer
                .top
                .into_iter()
                .map(|(class, probability)| Prediction { class, probability })
                .collect(),
            nearest,
        }
    }
}

/// Why there is no answer about a picture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failed {
    pub(crate) file: String,
    pub(crate) reason: String,
    #[serde(skip)]
    pub(crate) fault: Fault,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file is no picture that can be read.
    Unreadable,
    /// It has too many pixels.
    TooLarge,
    /// The model or the program failed.
    Ours,
}

/// The answer to a request.
#[derive(Serialize)]
pub(crate) struct Answers<'a> {
    pub(crate) model: &'a str,
    pub(crate) pictures: Vec<Answered>,
    pub(crate) failed: Vec<Failed>,
}
