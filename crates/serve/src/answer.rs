//! The answer about a picture as JSON, with the keys of `trainer predict --json`.

use serde::Serialize;
use tallow_core::Foreign;
use tallow_metrics::most_probable;

use crate::served::Card;

/// A model's answer about one picture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answered {
    file: Foreign,
    /// The most probable first.
    predictions: Vec<Prediction>,
    /// The share of known pictures that are at least as unlike the training pictures as this one
    /// ([`typicality`](tallow_metrics::typicality)); `None` if the model cannot tell.
    typicality: Option<f64>,
    /// Whether the picture is unlike the training pictures; `None` if the model cannot tell.
    none_of_these: Option<bool>,
    /// The nearest training pictures; left out of the JSON if the server has no training pictures of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<Vec<Nearest>>,
}

#[derive(Clone, Debug, Serialize)]
struct Prediction {
    class: Foreign,
    probability: f64,
}

/// A training picture near a posted one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Nearest {
    pub(crate) class: Foreign,
    /// Path of its file below the data set's folder; `None` if it has no file of its own.
    pub(crate) file: Option<Foreign>,
    /// Cosine similarity of the features; 1 for the same picture.
    pub(crate) similarity: f32,
    /// Path of its image on this server.
    pub(crate) picture: String,
}

impl Answered {
    /// Creates the answer about the picture `file`. `log_probs` are the natural logarithms of the probabilities of all classes of
    /// the model `card`; the answer has the `top_k` most probable ones.
    pub(crate) fn new(
        file: Foreign,
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

/// A picture without an answer, and the reason.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failed {
    pub(crate) file: Foreign,
    pub(crate) reason: String,
    #[serde(skip)]
    pub(crate) fault: Fault,
}

/// The cause of a failure, which determines the status of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file is not a picture, or the picture cannot be decoded.
    Unreadable,
    /// The picture has too many pixels.
    TooLarge,
    /// The model or the program failed.
    Ours,
}

/// The answer to a request.
#[derive(Serialize)]
pub(crate) struct Answers<'a> {
    pub(crate) model: &'a Foreign,
    pub(crate) pictures: Vec<Answered>,
    pub(crate) failed: Vec<Failed>,
}
