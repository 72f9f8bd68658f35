//! The names of a run folder's files, relative to the folder. A name that two crates or two commands know stands here, and
//! nowhere else.

/// Everything that was decided; usable as input.
pub const RECIPE: &str = "recipe.toml";
/// The backbones that were tried before the run began.
pub const RACE: &str = "race.json";
/// One row per epoch.
pub const HISTORY: &str = "history.csv";
/// What happened, with times. A process that works on the run holds a lock on it.
pub const EVENTS: &str = "events.jsonl";
/// The start of the name of TensorBoard's file; the time of its creation follows.
pub const EVENT_FILE_PREFIX: &str = "events.out.tfevents.";
/// The trained model.
pub const MODEL: &str = "model.safetensors";
/// The outcome. A run that has it is over.
pub const SUMMARY: &str = "summary.json";

/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The checkpoint that a run resumes from.
pub const LAST_CHECKPOINT: &str = "checkpoints/last";
/// The checkpoint before that.
pub const PREVIOUS_CHECKPOINT: &str = "checkpoints/previous";
/// The checkpoint of the best epoch.
pub const BEST_CHECKPOINT: &str = "checkpoints/best";
/// The steps of the run's end that were taken, a line each. It is there from before the summary is written until the last step
/// is taken.
pub const ENDING: &str = "checkpoints/ending";

/// The folder of the final evaluation.
pub const EVALUATION: &str = "evaluation";
/// The predictions for the validation images.
pub const VAL_PREDICTIONS: &str = "evaluation/predictions_val.csv";
/// The predictions for the test images.
pub const TEST_PREDICTIONS: &str = "evaluation/predictions_test.csv";
/// The confusion matrix of the test.
pub const CONFUSION_MATRIX: &str = "evaluation/confusion_matrix.csv";
/// The classification report of the test, as text.
pub const REPORT_TEXT: &str = "evaluation/report.txt";
/// The classification report of the test, as JSON.
pub const REPORT_JSON: &str = "evaluation/report.json";
/// The worth of the detector of new pictures.
pub const NOVELTY: &str = "evaluation/novelty.json";

/// The folder of the runs of folds, numbered from 1.
pub const FOLDS: &str = "folds";
/// The folder of the models from before an extension.
pub const EARLIER: &str = "before-extension";

/// The folder of the pictures that the report shows.
pub const IMAGES: &str = "images";
/// The description of these pictures.
pub const IMAGE_INDEX: &str = "images/index.json";
/// The report page.
pub const PAGE: &str = "report.html";
/// The folder of the page's charts.
pub const PLOTS: &str = "plots";
/// The model card.
pub const CARD: &str = "README.md";
/// The model as an ONNX file.
pub const ONNX: &str = "model.onnx";
/// The folder of a web page that runs the model.
pub const WEB: &str = "web";
/// The folder of maps that explain answers.
pub const EXPLANATIONS: &str = "explanations";
/// The page of suspect labels; their table lies beside it.
pub const SUSPECTS: &str = "suspects.html";

/// Sizes and digests of the other files.
pub const MANIFEST: &str = "manifest.json";

/// Whether the file `name` is one that the end of a run, after its results, writes or writes again: the page with its pictures
/// and charts, TensorBoard's file, the race, and the list of the steps that were taken.
pub fn is_of_end(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or(name);
    name == ENDING || [PAGE, PLOTS, IMAGES, RACE].contains(&first) || first.starts_with(EVENT_FILE_PREFIX)
}
