//! Tests the page of one run: its figures, its safety, and incomplete run folders.

#[allow(dead_code)]
mod common;

use std::fs;
use std::path::Path;

use common::{PNG, write_run};
use tallow_metrics::{Foreign, Predictions, predictions_to_csv};
use tallow_report::{Options, RunRecord, model_card, run_report, surest_wrong_images, wanted_test_images};

fn fixture() -> RunRecord {
    RunRecord::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run")).unwrap()
}

fn page(path: &Path) -> String {
    run_report(&RunRecord::read(path).unwrap(), &Options::default()).unwrap().html
}

fn names(c: usize) -> Vec<Foreign> {
    (0..c).map(|i| format!("class {i}").into()).collect()
}

/// Checks that a page has no element or attribute that runs or fetches something, and no address except anchors in the
/// page and data URLs.
fn assert_safe(html: &str) {
    for forbidden in ["<script", "<iframe", "<link", "<object", "\u{202e}", "\u{1b}"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for tag in html.split('<').skip(1).filter(|tag| !tag.starts_with('/')) {
        let tag = tag.split('>').next().unwrap();
        let names: String = tag.split('"').step_by(2).collect(); // without the values
        assert!(!names.contains(" on") && !names.contains(" style="), "{tag}");
    }
    for (attribute, allowed) in [(" href=\"", "#"), (" src=\"", "data:image/png;base64,")] {
        assert!(html.split(attribute).skip(1).all(|value| value.starts_with(allowed)), "{attribute}");
    }
}

#[test]
fn the_figures_are_those_of_scikit_learn_and_scipy() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("fixtures/expected.json")).unwrap();
    let run = fixture();
    assert_eq!(run.problems, [""; 0]);
    let html = run_report(&run, &Options::default()).unwrap().html;
    let expected = golden["on_the_page"].as_object().unwrap();
    assert!(expected.len() >= 12);
    for (what, text) in expected {
        assert!(html.contains(text.as_str().unwrap()), "{what}: {text}");
    }
    for text in [
        "2023-11-14 22:13 UTC",
        "551,466",
        "<dt>Git commit</dt><dd>abc123</dd>",
        "<dt>Versions</dt><dd>Tallow 0.3.7, Candle 0.9.9</dd>",
        "rate cut",
        "best epoch",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

/// The summary (what the model can do, where it fails, what may be left to it, what to do next) comes before the
/// evidence.
#[test]
fn the_page_opens_with_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(4), 0);
    let html = page(folder.path());
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text}"));
    let order = [
        "In short</h2>",
        "classified correctly",
        "Where it fails",
        "The pair with the most errors",
        "What it may decide alone",
    ];
    let order =
        [&order[..], &["What to do next", "id=\"errors\"", "id=\"test\"", "id=\"business\"", "id=\"run\""]]
            .concat();
    assert!(
        order.windows(2).all(|pair| at(pair[0]) < at(pair[1])),
        "{:?}",
        order.iter().map(|t| at(t)).collect::<Vec<_>>()
    );
    assert!(html.contains("Test on more pictures: with 200"), "an interval of 12 points is wide");
    assert!(
        html.contains("No answers can be accepted with a promised accuracy of 95.00 %"),
        "a quarter is wrong, however sure"
    );
}

/// Every caveat stands above the figures.
#[test]
fn caveats_and_notes_stand_above_all_figures() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(4), 0);
    let notice =
        r#"{"version":1,"event":"notice","text":"3 of 40 test pictures look like <training> pictures"}"#;
    fs::write(folder.path().join("events.jsonl"), format!("{notice}\n{notice}\n")).unwrap();
    let mut run = RunRecord::read(folder.path()).unwrap();
    let look = |run: &RunRecord| run_report(run, &Options::default()).unwrap().html;
    let html = look(&run);
    assert_eq!(html.matches("look like &lt;training&gt; pictures").count(), 1, "said once");
    assert!(!html.contains("not an honest estimate"));
    let start = tallow_metrics::Caveat::StartUnknown { from: "runs/<a>".into(), dataset: "pets".into() };
    run.summary.as_mut().unwrap().caveats = vec![tallow_metrics::Caveat::ValidatedOnTest, start];
    let html = look(&run);
    for text in [
        "The test accuracy of this run is not an honest estimate",
        "weights of runs/&lt;a&gt;",
        "look like &lt;training",
    ] {
        assert!(html.find(text).unwrap() < html.find("classified correctly").unwrap(), "{text}");
    }
    assert!(html.contains("Get an honest figure before you rely on it"));
    assert!(!html.contains("the test confirms"), "nothing is confirmed by images that were chosen on");
}

#[test]
fn charts_tell_their_values_and_as_files_what_they_are_of() {
    let report = run_report(&fixture(), &Options::default()).unwrap();
    let title = |text: &str| assert!(report.html.contains(&format!("<title>{text}")), "{text}");
    title("validation, epoch 1: ");
    title("cat: ");
    let accuracy = report.charts.iter().find(|chart| chart.name == "accuracy").unwrap();
    assert!(!accuracy.origin.is_empty() && accuracy.to_svg().contains(&accuracy.origin));
    assert!(
        !report.html.contains(&format!(">{}<", accuracy.origin)),
        "the page itself says it once, in its heading"
    );
}

#[test]
fn a_page_asks_for_nothing_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = [
        "<script>alert(1)</script>",
        "\" onload=\"alert(1)",
        "</style></svg><b>",
        "]]>&amp;",
        "a\u{202e}b\u{1b}[2J\n",
        "猫 🐕 Größe",
        "javascript:alert(1)",
        " ",
        "x",
        "'",
    ];
    write_run(folder.path(), &hostile.map(Foreign::from), 0);
    let report = run_report(&RunRecord::read(folder.path()).unwrap(), &Options::default()).unwrap();
    assert_safe(&report.html);
    assert!(report.html.contains("default-src 'none'; style-src 'sha256-"));
    assert!(
        report.html.contains("&lt;script&gt;alert(1)&lt;/script&gt;")
            && report.html.contains("a&lt;U+202E&gt;b")
    );
    for chart in &report.charts {
        assert!(chart.to_png(1.0).is_ok(), "{} is well-formed", chart.name);
    }
    let card = model_card(&RunRecord::read(folder.path()).unwrap()).unwrap();
    assert!(card.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{card}");
    assert!(card.contains("a&lt;U+202E&gt;b&lt;U+001B&gt;"), "{card}");
    let (_, text) = card.split_once("\n---\n").unwrap(); // the metadata are quoted, and never shown
    assert!(!text.contains('<') && !card.contains(['\u{202e}', '\u{1b}']), "{card}");
    assert_safe(
        &report.charts.iter().map(|c| c.to_svg()).collect::<String>().replace("javascript:alert(1)", ""),
    );
}

#[test]
fn any_number_of_classes_and_any_length_of_name_fits() {
    for c in [2, 10, 21, 200, 400] {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<Foreign> =
            (0..c).map(|i| format!("a <b>{}of class {i}", "long name ".repeat(5)).into()).collect();
        write_run(folder.path(), &names, 0);
        let report = run_report(&RunRecord::read(folder.path()).unwrap(), &Options::default()).unwrap();
        assert!(report.html.len() < 3_000_000, "{c}: {} bytes", report.html.len());
        for chart in &report.charts {
            assert!(chart.width_px <= 900.0 && chart.height_px <= 1200.0, "{} of {c} classes", chart.name);
            chart.to_png(1.0).unwrap();
        }
    }
}

/// With several hundred classes, the worst come first and the rest is folded away.
#[test]
fn of_many_classes_the_worst_are_open() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(400), 0);
    let run = RunRecord::read(folder.path()).unwrap();
    let html = run_report(&run, &Options::default()).unwrap().html;
    let (_, report) = html.split_once("the lowest F1 first: 30 of 400").unwrap();
    let (open, rest) = report.split_once("<summary>The other 370</summary>").unwrap();
    let f1 = |table: &str| -> Vec<f64> {
        let rows = table.split("</table>").next().unwrap().split("<tr>").skip(1);
        rows.filter_map(|row| row.split("<td").nth(3)?.split(['>', '<']).nth(1)?.parse().ok()).collect()
    };
    let all = [f1(open), f1(rest)].concat();
    assert!(all.len() == 400 && all.is_sorted(), "{}", all.len());
    assert!(html.contains("Recall: the 30 lowest of 400"));
    let card = model_card(&run).unwrap();
    assert!(card.contains("The 60 with the lowest F1 of 400.") && card.lines().count() < 200);
}

/// Unknown scores of a class are not shown as bad scores.
#[test]
fn classes_without_a_test_image_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let names = names(3);
    write_run(folder.path(), &names, 0);
    let log_probs =
        [[0.8f32, 0.1, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]].concat().iter().map(|p| p.ln()).collect();
    let test = Predictions::new(3, vec![0, 1, 0], log_probs, vec![0, 1, 2]).unwrap();
    let csv = predictions_to_csv(&test, &names, None).unwrap();
    fs::write(folder.path().join("evaluation/predictions_test.csv"), csv).unwrap();
    let report = run_report(&RunRecord::read(folder.path()).unwrap(), &Options::default()).unwrap();
    let html = &report.html;
    assert!(html.contains("1 of 3 classes have no test image: class 2."));
    assert!(html.contains("always answering “class 0” would be right for 66.67 %"));
    let row = html.split("class 2</span></th>").nth(1).unwrap().split("</tr>").next().unwrap();
    assert_eq!(row.matches('–').count(), 4, "{row}");
    assert!(!html.contains("NaN"));
    let recall = report.charts.iter().find(|chart| chart.name == "recall").unwrap();
    assert!(recall.desc.contains("class 1") && !recall.desc.contains("class 2"));
}

#[test]
fn element_ids_are_used_once() {
    let html = run_report(&fixture(), &Options::default()).unwrap().html;
    let mut ids: Vec<&str> =
        html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(n > 20 && ids.len() == n, "{} of {n}", ids.len());
    for label in
        html.split("aria-labelledby=\"").skip(1).flat_map(|rest| rest.split('"').next().unwrap().split(' '))
    {
        assert!(ids.contains(&label), "{label}");
    }
}

#[test]
fn an_unfinished_run_shows_what_is_there_and_says_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(3), 0);
    fs::remove_file(folder.path().join("summary.json")).unwrap();
    fs::remove_file(folder.path().join("evaluation/predictions_test.csv")).unwrap();
    let html = page(folder.path());
    assert!(html.contains("The run has not ended") && html.contains("summary.json is missing"));
    assert!(html.contains("predictions_test.csv is missing") && html.contains("id=\"learning\""));
    assert!(!html.contains("id=\"test\""));
}

#[test]
fn a_damaged_file_is_named_with_its_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(3), 0);
    let history = folder.path().join("history.csv");
    fs::write(&history, fs::read_to_string(&history).unwrap().replacen("0.5", "<i>", 1)).unwrap();
    fs::write(folder.path().join("summary.json"), "{\"run_dir\": 5}").unwrap();
    fs::write(folder.path().join("recipe.toml"), [0xff, 0xfe]).unwrap();
    let problems = RunRecord::read(folder.path()).unwrap().problems;
    assert!(problems[0].raw().starts_with("recipe.toml: byte 0 is not UTF-8"), "{problems:?}");
    assert!(problems[1].raw().starts_with("summary.json: invalid type: integer"), "{problems:?}");
    assert_eq!(problems[2], "history.csv: line 2, column accuracy: found \"<i>\", expected a number");
    assert_safe(&page(folder.path()));
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| RunRecord::read(path).unwrap_err().to_string();
    assert!(error(folder.path()).ends_with("it has neither recipe.toml nor summary.json nor history.csv"));
    assert!(error(&folder.path().join("absent")).ends_with("there is no such folder"));
}

#[test]
fn pictures_are_shown_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &names(3), 0);
    let run = RunRecord::read(folder.path()).unwrap();
    let wanted = wanted_test_images(&run.test.as_ref().unwrap().predictions);
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    let mut entries = vec![
        serde_json::json!({"file": "sample-00.png", "role": "sample", "class": "<b>", "index": 3}),
        serde_json::json!({"file": "../summary.json", "role": "sample", "class": "x", "index": 4}),
        serde_json::json!({"file": "text.png", "role": "augmented", "class": "x", "index": 5}),
    ];
    fs::write(images.join("sample-00.png"), PNG).unwrap();
    fs::write(images.join("text.png"), "no picture").unwrap();
    for index in &wanted {
        let file = format!("test-{index}.png");
        fs::write(images.join(&file), PNG).unwrap();
        entries.push(serde_json::json!({"file": file, "role": "test", "class": "class 0", "index": index}));
    }
    let surest = surest_wrong_images(&run.test.as_ref().unwrap().predictions)[0];
    fs::write(images.join("near-0.png"), PNG).unwrap();
    let near = serde_json::json!({"file": "near-0.png", "role": "near", "class": "<i>", "index": 9, "near": [surest, 0.875]});
    entries.push(near);
    let index = serde_json::json!({"version": 1, "image_px": [32, 48], "train_counts": [4, 5, 6], "pictures": entries});
    fs::write(images.join("index.json"), index.to_string()).unwrap();

    let run = RunRecord::read(folder.path()).unwrap();
    assert_eq!(run.problems.len(), 2, "{:?}", run.problems);
    assert!(run.problems[0].raw().starts_with("images/../summary.json: expected the name of a file"));
    assert_eq!(run.problems[1], "images/text.png: is not a PNG file");
    let html = run_report(&run, &Options::default()).unwrap().html;
    assert!(html.contains("alt=\"image 3, &lt;b&gt;\"") && html.contains("48 × 32 pixels"));
    assert!(html.contains("Training images per class"));
    assert!(html.contains("title=\"&lt;i&gt;, training image 9: similarity 0.875\""));
    for index in wanted {
        assert!(html.contains(&format!("alt=\"image {index}, class 0\"")), "{index}");
    }
    assert_safe(&html);
}

#[test]
fn costs_and_a_target_are_part_of_the_page() {
    let run = fixture();
    let costs = "currency = \"€ <b>\"\nask_a_person = 0.2\n[value]\ncat = 3\n".to_owned();
    let options = Options { costs: Some(costs), target_accuracy: Some(0.75) };
    let report = run_report(&run, &options).unwrap();
    assert!(
        report.html.contains("€ &lt;b&gt;")
            && report.html.contains("For an accuracy of <strong>75.00 %</strong>")
    );
    assert!(report.charts.iter().any(|chart| chart.name == "coverage-cost"));
    assert_safe(&report.html);

    let unreachable = Options { target_accuracy: Some(0.999_999), ..Options::default() };
    let mut never_sure = run.clone();
    never_sure.val = run.val.clone().map(|mut table| {
        let p = &table.predictions;
        let targets = p.all_predicted().iter().map(|class| (class + 1) % 4).collect();
        table.predictions =
            tallow_metrics::Predictions::new(4, targets, p.log_probs().to_vec(), p.indices().to_vec())
                .unwrap();
        table
    });
    assert!(run_report(&never_sure, &unreachable).unwrap().html.contains("cannot be promised"));

    let error = |options: &Options| run_report(&run, options).unwrap_err().to_string();
    let no_class = Options { costs: Some("[value]\ncow = 1\n".into()), ..Options::default() };
    assert!(error(&no_class).starts_with("costs: value.cow: there is no class"));
    assert!(error(&Options { target_accuracy: Some(98.0), ..Options::default() }).contains("such as 0.98"));
}

#[test]
fn a_card_says_what_a_hub_asks_for() {
    let card = model_card(&fixture()).unwrap();
    assert!(card.starts_with("---\npipeline_tag: image-classification\n"));
    assert!(
        card.contains("value: 0.7325")
            && card.contains("| accuracy | 73.25 % (95 % interval 68.71 to 77.35) |")
    );
    assert!(card.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !card.contains('<'));
    let mut unfinished = fixture();
    unfinished.summary = None;
    assert!(model_card(&unfinished).unwrap_err().to_string().contains("finish the run first"));
}
