//! What to do about a file of a run folder that is missing or has changed.

use std::path::Path;

use tallow_core::files;
use tallow_core::shown::shell_word;
use tallow_run_files::{
    CARD, CHECKPOINTS, EVALUATION, EXPLANATIONS, FOLDS, HISTORY, IMAGES, MODEL, ONNX, PAGE, PLOTS, SUMMARY,
    SUSPECTS, WEB,
};

/// Returns the remedy for the file `name` of the run folder `run`.
pub(super) fn remedy(name: &str, run: &Path) -> String {
    let (folder, run) = (run, shell_word(run));
    let is_of_suspects = Path::new(name).file_stem() == Path::new(SUSPECTS).file_stem();
    match name.split('/').next().unwrap_or(name) {
        PAGE | PLOTS => format!("trainer report {run} writes it again"),
        CARD => format!(
            "trainer card {run} writes it again; to keep your own, remove its entry from manifest.json"
        ),
        ONNX => format!("trainer export {run} writes it again"),
        WEB => format!("trainer export {run} --format web writes it again"),
        EXPLANATIONS => format!("trainer explain {run} PICTURE writes it again"),
        _ if is_of_suspects => format!("trainer data suspects {run} writes it again"),
        IMAGES => format!("remove {run}/{PAGE}, and trainer --resume {run} draws pictures and page again"),
        FOLDS => {
            let fold = name.split('/').take(2).fold(folder.to_owned(), |path, part| path.join(part));
            fold_again(&shell_word(&fold), &run)
        }
        MODEL | HISTORY | EVALUATION | SUMMARY => match whole_of(folder) {
            Some(whole) => fold_again(&run, &shell_word(whole)),
            None => format!(
                "restore it from a copy; or remove {run}/{SUMMARY}, and trainer --resume {run} writes the results \
                 again from the last checkpoint"
            ),
        },
        CHECKPOINTS => {
            "restore it from a copy; the results do not need it, but an extension of the run does".to_owned()
        }
        _ => "restore it from a copy".to_owned(),
    }
}

/// Returns the remedy for a file of the run in `fold`, which is a fold of `run`: its checkpoints went away when it was tested.
fn fold_again(fold: &str, run: &str) -> String {
    format!(
        "restore it from a copy; or remove {fold} and {run}/{SUMMARY}, and trainer --resume {run} trains that fold again"
    )
}

/// Returns the run that `run` is a fold of, by its place.
fn whole_of(run: &Path) -> Option<&Path> {
    let folds = run.parent().filter(|folder| folder.file_name().is_some_and(|name| name == FOLDS))?;
    Some(files::folder_of(folds))
}
