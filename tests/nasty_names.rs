//! Names that hold commands for a terminal, markup, formulas and line ends, through every command: nothing that is printed or
//! written for people obeys them, and files for programs give them back.
//!
//! The names are those of class folders, picture files, run folders and recipes, and the texts in the files of a run that
//! somebody else made.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::drawn::{TINY_RUN, picture};
use crate::support::{Ran, Sandbox, read_safetensors, trainer, with_description, with_header};
use serde_json::{Value, json};
use tallow_metrics::parse_predictions_csv;

/// The class folders.
const NASTY: [&str; 15] = [
    "\u{1b}[31mred\u{1b}[0m",
    "\u{1b}]8;;http:evil\u{7}link\u{1b}]8;;\u{7}",
    "over\rwritten\u{8}\u{7f}",
    "two\nlines\n",
    "c1\u{9b}2J\u{85}\u{90}",
    "bidi\u{202e}gpj\u{2066}\u{200f}",
    "<script>alert(1)<img src=x onerror=alert(2)>",
    "[x](javascript:alert(1)) ![y](z) www.a.b",
    "=HYPERLINK(\"evil\",\"x\")",
    "@SUM(1)\t|a|b|",
    "-1+1: # &a *b* !c",
    "`code` ``` <!-- ~~x~~",
    "\"double\", 'single'",
    "'tis {{a}} {% b %} \\u001b %s",
    "Größe 猫",
];

/// The data, a run, a copy of it, and a recipe: their names are nasty, too.
const DATA: &str = "pictures \u{1b}[2J<b> [d](javascript:1)";
const RUN: &str = "runs/=run\u{1b}]0;t\u{7}<i> [r](javascript:2)";
const COPY: &str = "runs/@copy\n\u{202e}`";
const RECIPE: &str = "recipe\u{9b}1m.toml";

/// Whether a terminal or the text after it obeys the character.
fn acts(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[track_caller]
fn is_calm(what: &str, text: &str) {
    let at = text.find(acts).map(|at| &text.as_bytes()[at.saturating_sub(80)..text.len().min(at + 20)]);
    assert!(at.is_none(), "{what}: {:?}", String::from_utf8_lossy(at.unwrap_or_default()));
}

/// Runs `trainer`, and checks that nobody has to obey what it prints.
#[track_caller]
fn run(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let mut command = trainer("");
    command.args(args);
    let ran = sandbox.start_command(command, &format!("trainer {args:?}")).wait();
    is_calm(&ran.command, &ran.stdout);
    is_calm(&ran.command, &ran.stderr);
    ran
}

/// Does the same with `--json`, and returns the document.
#[track_caller]
fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    run(sandbox, &[args, &["--json"]].concat()).ok().json()
}

#[track_caller]
fn train(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let tiny: Vec<&str> = TINY_RUN.split_whitespace().collect();
    run(sandbox, &[&["train", "--epochs", "1"], args, &tiny].concat()).ok()
}

/// Draws four pictures of each class; the first of each class has the name of another class.
fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    for (class, name) in NASTY.iter().enumerate() {
        for i in 0..4 {
            let file = if i == 0 { NASTY[(class + 1) % NASTY.len()].to_owned() } else { i.to_string() };
            sandbox
                .write(&format!("{DATA}/{name}/{file}.png"), picture(class % 3, 4 * class as u64 % 20 + i));
        }
    }
    sandbox
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Checks that no tag of the page or picture runs or fetches anything, and no address leaves it.
#[track_caller]
fn is_harmless_markup(what: &str, html: &str) {
    is_calm(what, html);
    assert!(!html.contains("<script") && !html.contains("<img src=x"), "{what}");
    for tag in html.split('<').skip(1).filter(|tag| !tag.starts_with('/')) {
        let tag = tag.split('>').next().unwrap();
        let attributes: String = tag.split('"').step_by(2).collect(); // without the values
        assert!(!attributes.contains(" on"), "{what}: {tag}");
    }
    for attribute in [" href=\"", " src=\""] {
        for value in html.split(attribute).skip(1) {
            let is_here = ["#", "./", "data:image/png;base64,"].iter().any(|start| value.starts_with(start));
            assert!(is_here, "{what}: {attribute}{}", &value[..value.len().min(80)]);
        }
    }
}

/// Checks that a spreadsheet takes every cell for a text or a number.
#[track_caller]
fn is_no_formula(what: &str, csv: &str) {
    let rows = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes()).into_records();
    for cell in rows.flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()) {
        let is_run = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && cell.parse::<f64>().is_err();
        assert!(!is_run, "{what}: {cell:?}");
    }
}

#[track_caller]
fn names_of(list: &Value, key: &str) -> BTreeSet<String> {
    let name = |entry: &Value| match key {
        "" => entry.as_str().unwrap().to_owned(),
        key => entry[key].as_str().unwrap().to_owned(),
    };
    list.as_array().unwrap().iter().map(name).collect()
}

/// Returns the names of the classes in a report.
#[track_caller]
fn classes_of(report: &Value) -> BTreeSet<String> {
    let is_class = |key: &&String| !["accuracy", "macro avg", "weighted avg"].contains(&key.as_str());
    report.as_object().unwrap().keys().filter(is_class).cloned().collect()
}

fn nasty() -> BTreeSet<String> {
    NASTY.map(str::to_owned).into()
}

/// Checks the texts, tables and pages of the run folder.
#[track_caller]
fn is_safe_run(sandbox: &Sandbox, run: &str) {
    let file = |name: &str| sandbox.text(&format!("{run}/{name}"));
    is_calm("report.txt", &file("evaluation/report.txt"));
    for name in ["predictions_test.csv", "confusion_matrix.csv"] {
        is_no_formula(name, &file(&format!("evaluation/{name}")));
    }
    let table = parse_predictions_csv(&file("evaluation/predictions_test.csv")).unwrap();
    assert_eq!(table.class_names.iter().map(|name| name.raw().to_owned()).collect::<BTreeSet<_>>(), nasty());
    let description = read_safetensors(&sandbox.read(&format!("{run}/model.safetensors"))).0;
    let description: Value =
        serde_json::from_str(description["__metadata__"]["tallow"].as_str().unwrap()).unwrap();
    assert_eq!(names_of(&description["class_names"], ""), nasty());
    let dataset = sandbox.path(DATA).canonicalize().unwrap();
    let recipe: toml::Table = file("recipe.toml").parse().unwrap();
    assert_eq!(recipe["data"]["dataset"].as_str(), dataset.to_str());
    is_harmless_markup("report.html", &file("report.html"));
    let plots = fs::read_dir(sandbox.path(&format!("{run}/plots"))).unwrap();
    for plot in plots.map(|plot| plot.unwrap().path()).filter(|path| path.extension().unwrap() == "svg") {
        is_harmless_markup(plot.to_str().unwrap(), &fs::read_to_string(&plot).unwrap());
    }
}

/// Checks the model card: no HTML and no link, and front matter of one line per value.
#[track_caller]
fn is_safe_card(card: &str) {
    is_calm("README.md", card);
    let (front, text) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    for line in front.lines() {
        let (key, value) =
            line.split_once(": ").unwrap_or_else(|| line.split_at(line.find("- ").map_or(0, |at| at + 1)));
        let value = value.trim();
        assert!(!key.contains(['"', '<', '[', '`']), "{line}");
        match value.starts_with('"') {
            true => drop(serde_json::from_str::<String>(value).unwrap_or_else(|e| panic!("{line}: {e}"))),
            false => {
                assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || "-_. :".contains(c)), "{line}")
            }
        }
    }
    let recipe = "`=<U+001B>[2J<b>[n](javascript:3)`"; // as code
    assert!(text.contains(recipe), "{text}");
    let prose = text.split("## Loading it").next().unwrap().replace(recipe, "");
    assert!(!prose.contains('<') && !prose.contains("](") && !prose.contains("!["), "{prose}");
    for line in prose.lines().filter(|line| line.starts_with('|')) {
        let n_cells = line.replace("\\|", "").matches('|').count();
        assert!(n_cells == 3 || n_cells == 7, "{line}");
    }
    assert!(prose.contains("&#91;x&#93;(javascript:alert(1))"), "the name itself can be read:\n{prose}");
}

#[test]
fn no_command_obeys_the_names_of_the_data() {
    let sandbox = photos();
    let info = json(&sandbox, &["data", "info", "--dataset", DATA]);
    assert_eq!(names_of(&info["classes"], "name"), nasty());
    assert_eq!(info["dataset"], DATA);
    for command in ["info", "verify"] {
        run(&sandbox, &["data", command, "--dataset", DATA]).ok();
    }
    run(&sandbox, &["data", "grid", "--dataset", DATA, "--out", "g\u{1b}[2J.png"]).ok();
    run(&sandbox, &["data", "duplicates", "--dataset", DATA, "--out", "d\u{1b}[2J.csv"]).ok();
    is_no_formula("duplicates", &sandbox.text("d\u{1b}[2J.csv"));

    let recipe = "base = \"photos-cnn\"\nname = \"=\\u001B[2J<b>[n](javascript:3)\"\n";
    sandbox.write(RECIPE, recipe);
    train(&sandbox, &["--dataset", DATA, "--recipe", RECIPE, "--run-dir", RUN]);
    is_safe_run(&sandbox, RUN);

    assert_eq!(classes_of(&json(&sandbox, &["eval", RUN])["report"]), nasty());
    run(&sandbox, &["eval", RUN, "--dataset", DATA]).ok();
    let pictures = format!("{DATA}/{}", NASTY[0]);
    let answers = json(&sandbox, &["predict", RUN, &pictures]);
    assert_eq!(names_of(&answers["classes"], ""), nasty());
    let file = format!("{pictures}/{}.png", NASTY[1]);
    assert!(names_of(&answers["pictures"], "file").contains(&file), "{answers}");
    run(&sandbox, &["predict", RUN, &pictures]).ok();
    run(&sandbox, &["predict", RUN, "--top-k", "9", "--csv", "a\u{9b}.csv", &pictures]).ok();
    is_no_formula("answers", &sandbox.text("a\u{9b}.csv"));
    run(&sandbox, &["predict", RUN, "absent\u{1b}[2J", RECIPE]).ends_with(1);
    run(&sandbox, &["explain", RUN, "--class", NASTY[3], &file]).ok();
    run(&sandbox, &["explain", RUN, "--class", "\u{1b}[31mrad\u{1b}[0m", &file]).fails(&["did you mean"]);
    for format in ["onnx", "web"] {
        run(&sandbox, &["export", RUN, "--format", format]).ok();
    }
    run(&sandbox, &["summary", RUN]).ok();
    run(&sandbox, &["report", RUN]).ok();
    run(&sandbox, &["card", RUN]).ok();
    is_safe_card(&sandbox.text(&format!("{RUN}/README.md")));

    copy(&sandbox.path(RUN), &sandbox.path(COPY));
    run(&sandbox, &["compare", RUN, COPY]).ok();
    run(&sandbox, &["report", RUN, COPY, "--out", "c\u{1b}<b>.html"]).ok();
    is_harmless_markup("comparison", &sandbox.text("c\u{1b}<b>.html"));
    run(&sandbox, &["runs", "runs"]).ok();
    let runs = json(&sandbox, &["runs", "runs"]);
    let expected: BTreeSet<String> = [RUN, COPY].map(|run| run["runs/".len()..].to_owned()).into();
    assert_eq!(names_of(&runs["runs"], "name"), expected);
    run(&sandbox, &["recipes", "diff", RECIPE, RUN]).ok();
    run(&sandbox, &["train", "--resume", RUN]).ok();
}

#[test]
fn no_command_obeys_the_names_in_folds() {
    let sandbox = photos();
    train(&sandbox, &["--dataset", DATA, "--folds", "2", "--run-dir", RUN]);
    run(&sandbox, &["data", "suspects", RUN]).ok();
    is_no_formula("suspects", &sandbox.text(&format!("{RUN}/suspects.csv")));
    is_harmless_markup("suspects", &sandbox.text(&format!("{RUN}/suspects.html")));
    run(&sandbox, &["report", RUN]).ok();
    is_safe_run(&sandbox, RUN);
}

/// Names that no file system allows, from a table of labels.
#[test]
fn no_command_obeys_the_names_of_a_table() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(5_000);
    let classes = ["bell\u{7}\u{1b}", "</td></script><script src=//evil>", &long, "a\u{2028}b", "=1\r\n2"];
    let mut table = "file,label\n".to_owned();
    for (class, name) in classes.iter().enumerate() {
        for i in 0..6 {
            let file = format!("{class}-{i}.png");
            sandbox.write(&format!("photos/{file}"), picture(class % 3, 6 * (class / 3) as u64 + i));
            table += &format!("{file},\"{name}\"\n");
        }
    }
    sandbox.write("photos/labels.csv", table);
    train(&sandbox, &["--dataset", "photos/labels.csv", "--run-dir", "run"]);
    let expected: BTreeSet<String> = classes.map(str::to_owned).into();
    assert_eq!(classes_of(&json(&sandbox, &["eval", "run"])["report"]), expected);
    run(&sandbox, &["eval", "run"]).ok();
    run(&sandbox, &["predict", "run", "photos/0-0.png", "--top-k", "9"]).ok();
    run(&sandbox, &["card", "run"]).ok();
    is_calm("README.md", &sandbox.text("run/README.md"));
    assert!(!sandbox.text("run/README.md").contains('<'));
    is_harmless_markup("report.html", &sandbox.text("run/report.html"));
    let table = parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap();
    assert_eq!(table.class_names.iter().map(|name| name.raw().to_owned()).collect::<BTreeSet<_>>(), expected);
}

/// A run folder that came from elsewhere: its files say whatever their author likes.
#[test]
fn no_command_obeys_the_files_of_a_run() {
    let sandbox = photos();
    let evil = "\u{1b}]0;evil\u{7}\r\u{9b}2J\u{202e}<script>[l](javascript:4)";
    train(&sandbox, &["--dataset", DATA, "--run-dir", "run"]);
    fs::remove_file(sandbox.path("run/manifest.json")).unwrap(); // it would tell of every change
    let mut summary = sandbox.json("run/summary.json");
    for key in ["run_dir", "dataset", "dataset_about", "model", "recipe", "device", "isa", "precision"] {
        summary[key] = json!(evil);
    }
    summary["pretrained"] = json!({ "origin": format!("hf:{evil}"), "licence": evil });
    summary["caveats"] = json!([{ "kind": "start_unknown", "from": evil, "dataset": evil }]);
    sandbox.write("run/summary.json", summary.to_string());
    let mut index = sandbox.json("run/images/index.json");
    for key in ["class", "name"] {
        index["pictures"][0][key] = json!(evil);
    }
    index["pictures"][1]["file"] = json!(evil);
    sandbox.write("run/images/index.json", index.to_string());
    sandbox.write("run/evaluation/report.txt", format!("{evil}\n"));
    let event = json!({ "version": 1, "event": "notice", "text": evil });
    let start = json!({ "version": 1, "event": "started", "epoch": 1, "batch": 0,
        "program": { "tallow": evil, "candle": evil, "git_commit": evil } });
    sandbox.write("run/events.jsonl", format!("{start}\n{event}\n"));

    run(&sandbox, &["report", "run"]).ok();
    is_harmless_markup("report.html", &sandbox.text("run/report.html"));
    run(&sandbox, &["card", "run"]).ok();
    is_calm("README.md", &sandbox.text("run/README.md"));
    run(&sandbox, &["runs", "."]).ok();
    assert_eq!(json(&sandbox, &["runs", "."])["runs"][0]["dataset"], evil);
    run(&sandbox, &["export", "run"]).ok();
    run(&sandbox, &["train", "--resume", "run"]).ok();

    let model = sandbox.read("run/model.safetensors");
    let renamed = with_description(&model, |description| {
        description["class_names"][0] = json!(evil);
        description["dataset"] = json!(evil);
        description["recipe"] = json!(evil);
    });
    sandbox.write("model.safetensors", renamed);
    let file = format!("{DATA}/{}/1.png", NASTY[0]);
    run(&sandbox, &["predict", "model.safetensors", &file, "--top-k", "99"]).ok();
    run(&sandbox, &["eval", "model.safetensors"]).ends_with(1);
    run(&sandbox, &["eval", "model.safetensors", "--dataset", DATA]).ok();
    run(&sandbox, &["export", "model.safetensors"]).ok();
    let model = with_description(&model, |_| {}); // without the digest, which would tell of the change
    let (mut header, tensors) = read_safetensors(&model);
    let first = tensors.keys().next().unwrap();
    header[evil] = header.as_object_mut().unwrap().remove(first).unwrap();
    sandbox.write("model.safetensors", with_header(&model, &header));
    for args in [["summary", "model.safetensors"], ["export", "model.safetensors"]] {
        run(&sandbox, &args).fails(&["unexpected"]);
    }

    let whole = sandbox.text("run/summary.json");
    let broken = |key: &str| whole.replacen(&format!("\"{key}\""), &format!("\"{key}\u{9b}\u{202e}`\""), 1);
    sandbox.write("run/summary.json", broken("model"));
    sandbox.write("run/recipe.toml", format!("name = \"{evil}\"\n"));
    sandbox.write("run/history.csv", format!("{evil},\n{evil}\n"));
    sandbox.write(
        "run/images/index.json",
        format!("{{\"version\": \"{}\"}}", evil.replace(char::is_control, "\u{9b}")),
    );
    run(&sandbox, &["runs", "."]).ok();
    run(&sandbox, &["report", "run"]).ok();
    is_harmless_markup("report.html", &sandbox.text("run/report.html"));
    run(&sandbox, &["compare", "run", "run"]);
    for args in [&["card", "run"][..], &["recipes", "diff", "run", "run"], &["--resume", "run"]] {
        run(&sandbox, args).ends_with(1);
    }
}

/// Messages about what the user typed, and about files that cannot be read.
#[test]
fn no_message_obeys_what_it_quotes() {
    let sandbox = Sandbox::new();
    let evil = "\u{1b}[2J\u{9b}1m\u{202e}\r";
    let escaped = "\\u001B[2J\\u009B1m\\u202E\\r";
    for (name, text) in [
        ("key", format!("base = \"cnn\"\n\"{escaped}\" = 1\n")),
        ("value", format!("base = \"cnn\"\nprecision = \"{escaped}\"\n")),
        ("kind", format!("base = \"cnn\"\nschedule.kind = \"{escaped}\"\n")),
        ("model", format!("base = \"cnn\"\n[model]\nname = \"{escaped}\"\n")),
        ("inner", format!("base = \"cnn\"\n[model]\nname = \"cnn\"\n\"{escaped}\" = 2\n")),
        ("syntax", format!("base = \"cnn\"\nname = {evil}\n")),
        ("base", format!("base = \"{escaped}\"\n")),
        ("class", format!("base = \"cnn\"\n[loss.class_weights]\n\"{escaped}\" = 2\n")),
        ("data", format!("base = \"cnn\"\n[data]\ndataset = \"{escaped}\"\n")),
        ("device", format!("base = \"cnn\"\ndevice = \"{escaped}\"\n")),
        ("start", format!("base = \"cnn\"\ninit_from = \"{escaped}\"\n")),
        ("weights", format!("base = \"cnn\"\n[model]\nname = \"resnet18\"\nweights = \"{escaped}\"\n")),
    ] {
        let file = format!("{name}{evil}.toml");
        sandbox.write(&file, text);
        run(&sandbox, &["train", "--offline", "--recipe", &file, "--run-dir", "run"]).ends_with(1);
    }
    for args in [
        &["train", "--recipe", evil][..],
        &["train", "--set", evil],
        &["train", "--dataset", evil],
        &["train", "--resume", evil],
        &["eval", "--split", evil],
        &["data", "info", evil],
        &["recipes", "--keys", evil],
        &["report", evil, "--open"],
        &["runs", evil, "--json"],
        &["serve", "--host", evil],
    ] {
        assert!(run(&sandbox, args).status.is_some_and(|status| status != 0), "{args:?}");
    }
}
