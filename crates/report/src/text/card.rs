//! A model card: the README.md that a model hub shows beside `model.safetensors`.

use std::fmt::Write as _;

use tallow_core::Foreign;
use tallow_metrics::{Bands, Caveat, PretrainedWeights, Summary};
use tallow_run_files::{SUMMARY, TEST_PREDICTIONS};

use crate::analysis::{Test, Trust};
use crate::chart::grouped;
use crate::error::{ReportError, Result};
use crate::record::RunRecord;
use crate::times::{duration, epochs};

/// Largest number of classes that are named in a sentence.
const MAX_NAMES: usize = 40;
/// Largest number of rows of the table; if there are more classes, those with the lowest F1 are shown.
const MAX_ROWS: usize = 60;

/// Returns the text of a model card: Hugging Face metadata, figures with their intervals, bands, calibration, intended
/// use, data, and how to load the model from Rust and from Python.
///
/// # Errors
/// If the run has no summary or no test predictions, because it has not finished or they are damaged.
pub fn model_card(run: &RunRecord) -> Result<String> {
    let missing = |what: &str| {
        let damage = run.problems.iter().find(|problem| problem.raw().starts_with(&format!("{what}:")));
        let problem = match damage {
            Some(damage) => format!("a model card cannot be made: {}", damage.shown()),
            None => format!("has no {what}, but a model card needs it: finish the run first"),
        };
        ReportError::Missing { run: run.name.clone(), problem }
    };
    let summary = run.summary.as_ref().ok_or_else(|| missing(SUMMARY))?;
    let test = Test::of(run)?.ok_or_else(|| missing(TEST_PREDICTIONS))?;
    let trust = Trust::of(run, &test)?;
    let name = run.name.in_markdown();
    let (model, dataset) = (summary.model.in_markdown_code(), summary.dataset.in_markdown());
    let classes: Vec<String> = test.class_names.iter().take(MAX_NAMES).map(Foreign::in_markdown).collect();
    let more = if test.class_names.len() > MAX_NAMES { ", …" } else { "" };
    let about =
        summary.dataset_about.as_ref().map(|about| format!(" ({})", about.in_markdown())).unwrap_or_default();
    let mut out = metadata(run, &test);
    // writing to a String cannot fail
    let _ = write!(
        out,
        "\n\
         # {name}\n\n\
         {}{model}, an image classifier with {}, trained on {dataset}{about} by Tallow (Rust, Candle).\n\n\
         It distinguishes {} classes: {}{more}.\n\n\
         ## Figures\n\n\
         {}\n\
         ## Classes\n\n\
         {}\n\
         ## Probabilities\n\n\
         {}\n",
        warnings(run),
        match summary.n_trained_parameters.filter(|&n| n != summary.n_parameters) {
            Some(trained) => format!(
                "{} parameters, of which {} were trained",
                grouped(summary.n_parameters as f64, 0),
                grouped(trained as f64, 0)
            ),
            None => format!("{} parameters", grouped(summary.n_parameters as f64, 0)),
        },
        test.class_names.len(),
        classes.join(", "),
        figures(run, &test),
        bands(&test),
        calibration(&trust),
    );
    let (height, width) = run.pictures.image_px.map_or((None, None), |[h, w]| (Some(h), Some(w)));
    let size = height.zip(width).map(|(h, w)| format!(" of {w} × {h} pixels")).unwrap_or_default();
    let _ = write!(
        out,
        "\n\
         ## Intended use\n\n\
         Images{size} like those of {dataset}, each showing one of the classes above. The model also \
         answers for any other image, with the same confidence: an image of none of these classes still \
         gets one{}. Not for decisions about people. A person should check the answers for classes that are \
         called failing.\n\n\
         ## Data\n\n\
         {}",
        match &run.novelty {
            Some(_) => " (Tallow also reports how usual an image is, and so notices many of them)",
            None => "",
        },
        data(run)
    );
    out.push_str(&licence(summary));
    out.push_str(&loading(run));
    Ok(out)
}

/// YAML between two lines of `---`.
fn metadata(run: &RunRecord, test: &Test<'_>) -> String {
    let unnamed = Foreign::default();
    let (dataset, model) = run.summary.as_ref().map_or((&unnamed, &unnamed), |s| (&s.dataset, &s.model));
    let metric = |kind: &str, name: &str, value: f64| {
        format!("          - type: {kind}\n            name: {name}\n            value: {value:.4}\n")
    };
    format!(
        "---\npipeline_tag: image-classification\ntags:\n  - image-classification\n  - candle\n  - tallow\n  - {}\n\
         datasets:\n  - {}\nmetrics:\n  - accuracy\n  - f1\nmodel-index:\n  - name: {}\n    results:\n      - task:\n          \
         type: image-classification\n        dataset:\n          type: {}\n          name: {}\n          split: test\n        \
         metrics:\n{}{}---\n",
        model.in_yaml(),
        dataset.in_yaml(),
        run.name.in_yaml(),
        dataset.in_yaml(),
        dataset.in_yaml(),
        metric("accuracy", "Accuracy", test.accuracy()),
        metric("f1", "Macro F1", test.report.macro_avg.f1_score),
    )
}

/// The caveats of the run, placed before all figures.
fn warnings(run: &RunRecord) -> String {
    let quoted = |caveat: &Caveat| format!("> **Read the figures with care.** {}\n\n", md(caveat.sentence()));
    run.caveats().iter().map(quoted).collect()
}

fn figures(run: &RunRecord, test: &Test<'_>) -> String {
    let [low, high] = test.accuracy_interval.map(|share| 100.0 * share);
    let mut rows = vec![
        (tested_on(run), grouped(test.matrix.n() as f64, 0)),
        (
            "accuracy".to_owned(),
            format!("{:.2} % (95 % interval {low:.2} to {high:.2})", 100.0 * test.accuracy()),
        ),
    ];
    if let Some((class, share)) = test.matrix.largest_class() {
        let always = format!("accuracy of always “{}”", test.class_names[class].in_markdown());
        rows.push((always, format!("{:.2} %", 100.0 * share)));
    }
    rows.extend(
        test.top_k().iter().map(|(k, a)| (format!("top-{k} accuracy"), format!("{:.2} %", 100.0 * a))),
    );
    rows.push(("macro F1".to_owned(), format!("{:.2} %", 100.0 * test.report.macro_avg.f1_score)));
    if let Some(loss) = test.predictions.mean_nll() {
        rows.push(("cross-entropy".to_owned(), format!("{loss:.4}")));
    }
    if let Some(s) = &run.summary {
        rows.push((
            "training".to_owned(),
            format!(
                "{}, {}{}, {} ({}, {})",
                epochs(s.epochs_run),
                duration(s.train_seconds),
                s.features_text(duration)
                    .map(|text| format!(" (the backbone's features {text})"))
                    .unwrap_or_default(),
                s.device.in_markdown(),
                s.isa.in_markdown(),
                s.precision.in_markdown()
            ),
        ));
    }
    if let Some(versions) = run.events.versions() {
        rows.push(("made with".to_owned(), md(versions)));
    }
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!(
        "| figure | value |\n| --- | --- |\n{rows}\nOne run with one seed: another seed gives a different model.\n"
    )
}

fn bands(test: &Test<'_>) -> String {
    let bands = Bands::default();
    const HEAD: &str = "| class | precision | recall | F1 | band | most often taken for |\n| --- | --- | --- | --- | --- | --- |\n";
    let mut out = String::new();
    let f1 = |class: &usize| test.report.classes[*class].f1_score;
    let mut classes: Vec<usize> = (0..test.class_names.len()).collect();
    if classes.len() > MAX_ROWS {
        classes.retain(|&class| !test.is_untested(class));
        classes.sort_by(|a, b| f1(a).total_cmp(&f1(b))); // stable
        classes.truncate(MAX_ROWS);
        let _ = writeln!(out, "The {} with the lowest F1 of {}.\n", classes.len(), test.class_names.len());
    }
    out.push_str(HEAD);
    for class in classes {
        let (scores, name) = (test.report.classes[class], &test.class_names[class]);
        let found =
            |score: f64| if test.is_untested(class) { "–".to_owned() } else { format!("{score:.3}") };
        let band = bands.of_class(&test.matrix, class);
        let word = band.map_or("no images", |b| b.band.name());
        let other = band.and_then(|b| {
            Some(format!(
                "{} ({:.0} of 1,000)",
                test.class_names[b.confused_with?].in_markdown(),
                b.errors_per_1000
            ))
        });
        let _ = writeln!(
            out,
            "| {} | {:.3} | {} | {} | {word} | {} |",
            name.in_markdown(),
            scores.precision,
            found(scores.recall),
            found(scores.f1_score),
            other.unwrap_or_default()
        );
    }
    let _ = write!(
        out,
        "\nBands, by the worst single confusion of a class: up to {} of 1,000 images acceptable, up to {} can be improved, above that failing.\n",
        bands.acceptable_up_to, bands.improvable_up_to
    );
    out
}

fn calibration(trust: &Trust) -> String {
    let ece =
        |i: usize| trust.states.get(i).map(|state| format!("{:.2} %", 100.0 * state.ece)).unwrap_or_default();
    match trust.temperature {
        Some(t) => format!(
            "Expected calibration error on test (15 bins): {}; {} after dividing the logits by the temperature {t:.4}, \
             fitted on {}.",
            ece(0),
            ece(1),
            if trust.is_by_folds { "the same answers of the folds" } else { "validation" }
        ),
        None => {
            format!("Expected calibration error on test (15 bins): {}. No temperature was fitted.", ece(0))
        }
    }
}

fn data(run: &RunRecord) -> String {
    let Some(s) = &run.summary else { return String::new() };
    format!(
        "{}: {} images to train on, {}. SHA-256 of the data: {}. Recipe {}, seed {}; `recipe.toml` of the \
         run has all settings.\n",
        s.dataset.in_markdown(),
        grouped(s.n_train as f64, 0),
        others(run, s),
        s.data_digest.in_markdown_code(),
        s.recipe.in_markdown_code(),
        s.seed
    )
}

/// Describes the images that the figures are about.
fn tested_on(run: &RunRecord) -> String {
    match run.summary.as_ref().and_then(|s| s.folds.as_ref().filter(|_| s.is_tested_by_folds())) {
        Some(folds) => format!(
            "images, each classified by the one of {} folds’ models that had not seen it",
            folds.accuracies.len()
        ),
        None => "test images".to_owned(),
    }
}

/// Describes the images that were not trained on.
fn others(run: &RunRecord, s: &Summary) -> String {
    let val = match (s.n_val, &s.folds) {
        (_, Some(folds)) => format!("held out in {} folds", folds.accuracies.len()),
        (0, None) => "none for validation".to_owned(),
        _ if run.caveats().contains(&Caveat::ValidatedOnTest) => "the test images for validation".to_owned(),
        (n, None) => format!("{} for validation", grouped(n as f64, 0)),
    };
    let once = if run.caveats().is_empty() { ", which was looked at once, after training" } else { "" };
    match s.is_tested_by_folds() {
        true => format!("{val}, none for a test"),
        false => format!("{val}, {} for the test{once}", grouped(s.n_test as f64, 0)),
    }
}

/// Describes the origin and licence of the pretrained weights.
fn licence(summary: &Summary) -> String {
    let Some(PretrainedWeights { origin, licence }) = &summary.pretrained else { return String::new() };
    // a path on the owner's disk does not belong on a card
    let origin = match origin.raw().starts_with("hf:") {
        true => origin.in_markdown_code(),
        false => "files of the owner".to_owned(),
    };
    let licence = match licence {
        Some(licence) => {
            format!(
                "Their licence is {}; it also binds everyone who passes this model on.",
                licence.in_markdown()
            )
        }
        None => "Their licence is unknown: check it before you pass this model on.".to_owned(),
    };
    format!("\n## Licence\n\nTraining began with pretrained weights: {origin}. {licence}\n")
}

fn loading(run: &RunRecord) -> String {
    let n_classes = run.test.as_ref().map_or(0, |table| table.class_names.len());
    format!(
        "\n\
         ## Loading it\n\n\
         Rust, with the crates of Tallow:\n\n\
         ```rust\n\
         let saved = tallow_training::read_model(\"model.safetensors\".as_ref())?;\n\
         let device = tallow_training::device(\"cpu\")?;\n\
         let model = tallow_models::build(&saved.info.model, saved.info.class_names.len(), 0, &device)?; // \
         {n_classes} classes\n\
         model.params.load_tensors(&saved.weights)?;\n\
         ```\n\n\
         Python: the weights have torchvision's or timm's names and PyTorch's layout (OIHW), and the file \
         holds its own description.\n\n\
         ```python\n\
         import json\n\
         from safetensors import safe_open\n\n\
         with safe_open(\"model.safetensors\", framework=\"pt\") as file:\n    \
         info = json.loads(file.metadata()[\"tallow\"])  # class_names, mean, std, preprocess, model\n    \
         names = [name for name in file.keys() if not name.startswith(\"novelty.\")]\n    \
         weights = {{name: file.get_tensor(name) for name in names}}\n\
         ```\n\n\
         Input: RGB in 0..1, fitted as `preprocess` says (size, fit, interpolation), then normalised per channel with `mean` \
         and `std`. For programs without Tallow, `trainer export` writes the whole network as an ONNX file.\n"
    )
}

/// Returns a sentence that holds names, as Markdown.
fn md(sentence: String) -> String {
    Foreign::from(sentence).in_markdown()
}
