//! The reader of run folders, and everything that is made of one: page, card, list and comparison.

use std::fs;

use tallow_core::digest;
use tallow_report::{
    Comparison, ListedRun, Options, RunRecord, RunState, comparison_figures, comparison_report,
    comparison_text, model_card, run_report, runs_text,
};
use tallow_run_files::{MANIFEST, Manifest};

use super::records::{SUMMARY, some_predictions};
use super::{joined, owned, parts, scratch};

/// The files of a run folder that are read.
const FILES: [&str; 9] = [
    "recipe.toml",
    "summary.json",
    "history.csv",
    "events.jsonl",
    "evaluation/predictions_val.csv",
    "evaluation/predictions_test.csv",
    "evaluation/novelty.json",
    "race.json",
    "images/index.json",
];

/// The input has the files of a folder (see [`parts`]). Whatever can be read of them can be shown.
pub(super) fn run_folder(bytes: &[u8]) -> bool {
    let folder = scratch();
    let path = folder.path();
    fs::create_dir(path.join("evaluation")).expect("a folder");
    fs::create_dir(path.join("images")).expect("a folder");
    fs::write(path.join("images/a.png"), b"\x89PNG\r\n\x1a\n").expect("a file");
    for (name, content) in parts(bytes).iter().filter(|(name, _)| FILES.contains(name)) {
        fs::write(path.join(name), content).expect("a file");
    }
    let Ok(run) = RunRecord::read(path) else { return false };
    let is_whole = run.problems.is_empty();
    if let Ok(report) = run_report(&run, &Options::default()) {
        assert!(!report.html.contains("<script"), "the page has a script");
    }
    let _ = model_card(&run);
    let brief = RunRecord::read_brief(path).expect("a run that can be read whole can be listed");
    let listed = ListedRun { state: RunState::of(&brief, false), record: brief };
    runs_text(&[listed], Some(80));
    let runs = [run.clone(), run];
    if let Ok(comparison) = Comparison::new(&runs) {
        comparison_report(&comparison, path);
        comparison_text(&comparison);
        serde_json::to_string(&comparison_figures(&comparison)).expect("figures can be written");
    }
    is_whole
}

pub(super) fn run_folders() -> Vec<Vec<u8>> {
    let recipe = "name = \"r\"\nepochs = 2\nseed = 1\n[data]\nvalidate_on = \"test\"\n[optimizer]\nkind = \"sgd\"\nlr = 0.1\n";
    let history = "epoch,accuracy,loss,optimized_loss,val_accuracy,val_loss,learning_rate\n\
                   1,0.5,1,1.5,0.5,1.25,0.1\n2,0.75,0.5,1,0.5,1,0.05\n";
    let predictions = some_predictions(24);
    let files: [(&str, &[u8]); FILES.len()] = [
        ("recipe.toml", recipe.as_bytes()),
        ("summary.json", SUMMARY.as_bytes()),
        ("history.csv", history.as_bytes()),
        ("events.jsonl", EVENTS.as_bytes()),
        ("evaluation/predictions_val.csv", predictions.as_bytes()),
        ("evaluation/predictions_test.csv", predictions.as_bytes()),
        ("evaluation/novelty.json", NOVELTY.as_bytes()),
        ("race.json", RACE.as_bytes()),
        ("images/index.json", PICTURES.as_bytes()),
    ];
    let mut inputs = vec![joined(&files)];
    inputs.extend((0..files.len()).map(|i| joined(&[files[0], files[i]])));
    inputs.extend(owned(&["=== summary.json\n{}\n"]));
    inputs
}

/// Compares a folder with a manifest. Nothing outside the folder is looked at: there is a file beside it, with a digest that a
/// manifest may state and a path that it may not.
pub(super) fn manifest(bytes: &[u8]) -> bool {
    let folder = scratch();
    let run = folder.path().join("run");
    fs::create_dir_all(run.join("more")).expect("a folder");
    for name in ["run/a", "run/more/b", "outside"] {
        fs::write(folder.path().join(name), name).expect("a file");
    }
    fs::write(run.join(MANIFEST), bytes).expect("a file");
    let Ok(Some(manifest)) = Manifest::read(&run) else { return false };
    let files = ["a", "more/b"].map(|name| run.join(name));
    for entry in manifest.files() {
        let found = entry.compare(&run);
        assert_eq!(manifest.file(&entry.path), Some(entry));
        if let Ok(None) = found {
            // as paths, which are equal in several spellings
            assert!(files.contains(&run.join(&entry.path)), "{}", entry.path);
        }
    }
    manifest.unknown(&run).expect("the folder can be listed");
    true
}

pub(super) fn manifests() -> Vec<Vec<u8>> {
    let entry = |path: &str, content: &str| {
        let (n, sha256) = (content.len(), digest::of_bytes(content.as_bytes()));
        format!(r#"{{"path":"{path}","bytes":{n},"sha256":"{sha256}"}}"#)
    };
    let whole = format!(
        r#"{{"version":1,"files":[{},{},{}]}}"#,
        entry("a", "run/a"),
        entry("gone", ""),
        entry("more/b", "run/more/b")
    );
    let out = format!(r#"{{"version":1,"files":[{}]}}"#, entry("../outside", "outside"));
    owned(&[&whole, &out, r#"{"version":1,"files":[]}"#])
}

const EVENTS: &str = r#"{"version":1,"time_unix_secs":5.5,"event":"started","epoch":1,"batch":0,"program":{"tallow":"0.1.0","candle":"0.11.1","git_commit":"c0ffee-dirty"}}
{"version":1,"event":"epoch","record":{"epoch":1,"loss":1.0},"points":[{"at":0.5,"loss":1.25,"learning_rate":0.1}]}
{"version":1,"event":"rate_lowered","epoch":1,"from":0.1,"to":0.05}
{"version":1,"event":"notice","text":"<b>"}
{"version":1,"event":"stopped_early","epoch":2}
{"version":1,"event":"best_restored","epoch":1}
"#;

const NOVELTY: &str = r#"{"version":1,"false_alarm_rate":0.05,"n_known":100,"test":{"n":24,"n_alarms":2,"n_right_of_alarms":1,
"n_right":18},"left_out":[{"class":"cat","n":8,"noticed":0.5,"auroc":0.9}],"curve":[[0.0,0.0],[0.05,0.5],[1.0,1.0]],"most_unlike":[[3,0.01]]}
"#;

const RACE: &str = r#"{"version":1,"n_images":1000,"n_folds":5,"tried":[{"model":"resnet18","weights":"hf:a/b","input_px":64,
"accuracy":0.9,"accuracy_interval":[0.88,0.92],"ms_per_image":3.5,"run_secs":100.0}],"chosen":0,"left_out":[["x","<why>"]],
"time_secs":600.0,"planned_secs":500.0,"took_secs":null}
"#;

const PICTURES: &str = r#"{"version":1,"image_px":[32,32],"train_counts":[8,8,8],"pictures":[
{"file":"a.png","role":"sample","class":"cat","index":1,"name":"cat/<1>.png"}]}
"#;
