//! A table of many runs for a terminal, with as many columns as fit.

use std::fmt::Write as _;

use crate::honesty::is_honest;
use crate::record::RunRecord;
use crate::shown::{columns, fitted, padded, shown};
use crate::state::RunState;
use crate::times::utc;
use tallow_core::{Foreign, duration};

/// A run in a list of runs.
#[derive(Clone, Debug)]
pub struct ListedRun {
    /// The content of its small files ([`RunRecord::read_brief`]).
    pub record: RunRecord,
    /// The progress of the run.
    pub state: RunState,
}

impl ListedRun {
    /// Returns the name of the data set, or of the user's folder or file.
    pub fn dataset(&self) -> Option<Foreign> {
        let of_recipe = || {
            let text = self.record.recipe_value(&["data", "dataset"])?;
            let last = text.raw().rsplit(['/', '\\']).find(|part| !part.is_empty());
            Some(last.map_or_else(|| text.clone(), Foreign::from))
        };
        self.record.summary.as_ref().map(|s| s.dataset.clone()).or_else(of_recipe)
    }

    /// Returns the architecture.
    pub fn model(&self) -> Option<Foreign> {
        let of_recipe = || self.record.recipe_value(&["model", "name"]);
        self.record.summary.as_ref().map(|s| s.model.clone()).or_else(of_recipe)
    }

    /// Returns the name of the recipe.
    pub fn recipe(&self) -> Option<Foreign> {
        let of_recipe = || self.record.recipe_value(&["name"]);
        self.record.summary.as_ref().map(|s| s.recipe.clone()).or_else(of_recipe)
    }

    /// Returns the seed.
    pub fn seed(&self) -> Option<u64> {
        let of_recipe = || self.record.recipe_value(&["seed"])?.raw().parse().ok();
        self.record.summary.as_ref().map(|s| s.seed).or_else(of_recipe)
    }

    /// Returns the accuracy on the test images and its 95 % interval; `None` until the run has finished.
    pub fn test_accuracy(&self) -> Option<(f64, [f64; 2])> {
        let test = self.record.summary.as_ref()?.test?;
        Some((test.accuracy, test.accuracy_interval))
    }

    /// Returns the accuracy on the validation images: of the finished model, or of the last epoch so far.
    pub fn val_accuracy(&self) -> Option<f64> {
        let of_summary = self.record.summary.as_ref().and_then(|s| s.val).map(|val| val.accuracy);
        of_summary.or_else(|| self.record.history.last()?.val_accuracy)
    }

    /// Returns the number of finished epochs.
    pub fn n_epochs(&self) -> Option<u64> {
        let of_history = || self.record.history.last().map(|record| record.epoch);
        self.record.summary.as_ref().map(|s| s.epochs_run).or_else(of_history)
    }

    /// Returns the time that the model took, in seconds; `None` until the run has finished.
    pub fn seconds(&self) -> Option<f64> {
        self.record.summary.as_ref().map(|s| s.model_seconds())
    }

    /// Returns the start time, in seconds since 1970-01-01 UTC.
    pub fn started_unix_secs(&self) -> Option<f64> {
        self.record.events.started_unix_secs
    }
}

/// The columns of the table. If there is no room, the columns in `DROPPED` are removed one after the other, so that the
/// name, the state and the accuracy stay.
const HEADER: [&str; 12] = [
    "run",
    "state",
    "data",
    "model",
    "recipe",
    "seed",
    "accuracy",
    "95 % interval",
    "validation",
    "epochs",
    "time",
    "started (UTC)",
];
const IS_TEXT: [bool; 12] = [true, true, true, true, true, false, false, false, false, false, false, false];
const DROPPED: [usize; 9] = [8, 10, 3, 5, 2, 11, 9, 4, 7];
/// If there is no room, names of runs are cut to the first of these widths, and names of data sets, models and recipes to
/// the second. If that is not enough, names of runs are cut further, down to the third.
const MAX_NAME_COLUMNS: usize = 28;
const MAX_TEXT_COLUMNS: usize = 16;
const MIN_NAME_COLUMNS: usize = 8;

/// Explains the mark beside an accuracy.
const NOT_HONEST: &str = "* Decisions may have been made on the test images: this test accuracy is not an honest estimate. The report says why.";

/// Returns a table of `runs`, in their order, not wider than `max_columns` if possible. Below it are the explanation of
/// the mark and the problems of damaged runs.
pub fn runs_text(runs: &[ListedRun], max_columns: Option<usize>) -> String {
    let marks = runs.iter().any(is_marked);
    let mut rows: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| row(run, marks)));
    if marks {
        rows[0][6].push(' ');
    }
    let kept = fit(&mut rows, max_columns);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for &(i, width) in &kept {
            if i > 0 {
                line.push_str("  ");
            }
            let field = &row[i];
            match IS_TEXT[i] {
                true => line.push_str(&padded(field, width)),
                false => {
                    line.push_str(&format!("{}{field}", " ".repeat(width.saturating_sub(columns(field)))))
                }
            }
        }
        let _ = writeln!(out, "{}", line.trim_end()); // writing to a String cannot fail
    }
    if marks {
        let _ = writeln!(out, "\n{NOT_HONEST}");
    }
    for run in runs {
        if let RunState::Damaged(why) = &run.state {
            let _ = writeln!(out, "\n{}: {}", shown(&run.record.name), shown(why));
        }
    }
    out
}

fn is_marked(run: &ListedRun) -> bool {
    run.test_accuracy().is_some() && !is_honest(&run.record)
}

fn row(run: &ListedRun, marks: bool) -> Vec<String> {
    let of = |value: Option<String>| value.unwrap_or("-".to_owned());
    let named = |value: Option<Foreign>| of(value.as_ref().map(shown));
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mark = match marks {
        true if is_marked(run) => "*",
        true => " ",
        false => "",
    };
    let test = run.test_accuracy();
    vec![
        shown(&run.record.name),
        run.state.to_string(),
        named(run.dataset()),
        named(run.model()),
        named(run.recipe()),
        of(run.seed().map(|seed| seed.to_string())),
        of(test.map(|(accuracy, _)| percent(accuracy))) + mark,
        of(test.map(|(_, [low, high])| format!("{:.2} to {:.2}", 100.0 * low, 100.0 * high))),
        of(run.val_accuracy().map(percent)),
        of(run.n_epochs().map(|n| n.to_string())),
        of(run.seconds().map(duration)),
        of(run.started_unix_secs().map(|secs| utc(secs).trim_end_matches(" UTC").to_owned())),
    ]
}

/// Cuts texts and removes columns until a line fits. Returns the remaining columns, each with its width.
fn fit(rows: &mut [Vec<String>], max_columns: Option<usize>) -> Vec<(usize, usize)> {
    let width = |rows: &[Vec<String>], i: usize| rows.iter().map(|row| columns(&row[i])).max().unwrap_or(0);
    let total = |rows: &[Vec<String>], kept: &[usize]| {
        kept.iter().map(|&i| width(rows, i) + 2).sum::<usize>().saturating_sub(2)
    };
    let cut = |rows: &mut [Vec<String>], i: usize, max: usize| {
        rows.iter_mut().for_each(|row| row[i] = fitted(&row[i], max));
    };
    let mut kept: Vec<usize> = (0..HEADER.len()).collect();
    if let Some(max_columns) = max_columns
        && total(rows, &kept) > max_columns
    {
        cut(rows, 0, MAX_NAME_COLUMNS);
        (2..=4).for_each(|i| cut(rows, i, MAX_TEXT_COLUMNS));
        let mut dropped = DROPPED.iter();
        while total(rows, &kept) > max_columns
            && let Some(column) = dropped.next()
        {
            kept.retain(|i| i != column);
        }
        let over = total(rows, &kept).saturating_sub(max_columns);
        if over > 0 {
            let name = width(rows, 0).saturating_sub(over).max(MIN_NAME_COLUMNS);
            cut(rows, 0, name);
        }
    }
    kept.into_iter().map(|i| (i, width(rows, i))).collect()
}

#[cfg(test)]
mod tests {
    use tallow_metrics::{Summary, TestScore};

    use super::*;
    use crate::record::RunEvents;
    use crate::state::Epochs;

    fn listed(name: &str, recipe: &str, state: RunState, test: Option<TestScore>) -> ListedRun {
        let table = toml::from_str(recipe).unwrap();
        let summary = test.map(|test| {
            let text = r#"{"run_dir": "r", "dataset": "cifar10", "data_digest": "", "n_train": 1, "n_val": 1, "n_test": 1,
                "model": "cnn", "n_parameters": 1, "recipe": "cnn-5", "seed": 3, "device": "cpu", "isa": "avx2",
                "precision": "f32", "threads": 2, "epochs_run": 5, "best_epoch": null, "train_seconds": 171.0,
                "images_per_second": 1.0, "peak_rss_bytes": null, "val": {"accuracy": 0.5, "loss": 1.0}, "test": null}"#;
            let summary: Summary = serde_json::from_str(text).unwrap();
            Summary { test: Some(test), ..summary }
        });
        let record = RunRecord {
            path: name.into(),
            name: name.into(),
            recipe: Some((recipe.into(), table)),
            summary,
            is_ending: false,
            is_extended: false,
            is_unread: false,
            history: vec![],
            events: RunEvents { started_unix_secs: Some(951_782_400.0), ..Default::default() },
            val: None,
            test: None,
            novelty: None,
            race: None,
            pictures: Default::default(),
            problems: vec![],
        };
        ListedRun { record, state }
    }

    fn some() -> Vec<ListedRun> {
        let test = TestScore { accuracy: 0.8528, loss: 0.5, accuracy_interval: [0.8457, 0.8596] };
        let recipe = "name = 'keras'\nepochs = 20\nseed = 7\n[model]\nname = 'cnn'\n[data]\ndataset = '/srv/photos/'\n";
        vec![
            listed("cnn-5-1", recipe, RunState::Finished, Some(test)),
            listed("keras-1", &format!("{recipe}validate_on = 'test'"), RunState::Finished, Some(test)),
            listed("keras-2", recipe, RunState::Interrupted(Epochs { n_done: 3, n: Some(20) }), None),
            listed("strange\u{1b}", recipe, RunState::Damaged("summary.json: no\u{1b}".into()), None),
        ]
    }

    #[test]
    fn the_table_is_this() {
        let expected = "\
run              state             data     model  recipe  seed  accuracy    95 % interval  validation  epochs    time     started (UTC)
cnn-5-1          finished          cifar10  cnn    cnn-5      3   85.28 %   84.57 to 85.96     50.00 %       5  2m 51s  2000-02-29 00:00
keras-1          finished          cifar10  cnn    cnn-5      3   85.28 %*  84.57 to 85.96     50.00 %       5  2m 51s  2000-02-29 00:00
keras-2          interrupted 3/20  photos   cnn    keras      7         -                -           -       -       -  2000-02-29 00:00
strange<U+001B>  damaged           photos   cnn    keras      7         -                -           -       -       -  2000-02-29 00:00

* Decisions may have been made on the test images: this test accuracy is not an honest estimate. The report says why.

strange<U+001B>: summary.json: no<U+001B>
";
        assert_eq!(runs_text(&some(), None), expected);
    }

    #[test]
    fn columns_go_where_there_is_no_room_and_the_most_telling_stay() {
        let mut runs = some();
        runs[0].record.name = "a name of a run that is long, and longer still".into();
        for width in 45..160 {
            let text = runs_text(&runs, Some(width));
            let table: Vec<&str> = text.lines().take(5).collect();
            assert!(table.iter().all(|line| columns(line) <= width), "{width}:\n{text}");
            assert!(
                table[0].starts_with("run ") && table[0].contains("state") && table[0].contains("accuracy")
            );
        }
        let text = runs_text(&some(), Some(80));
        let header: Vec<&str> = text.lines().next().unwrap().split("  ").filter(|h| !h.is_empty()).collect();
        let header: Vec<&str> = header.into_iter().map(str::trim).collect();
        assert_eq!(header, ["run", "state", "recipe", "accuracy", "95 % interval", "epochs"], "{text}");
    }
}
