//! `trainer seeds`: trains one recipe with several seeds and summarises the runs; two such series are compared.
#![cfg(unix)]

use crate::support::{Sandbox, TINY, changed, wait_until};
use serde_json::{Value, json};

/// Makes a series of two small runs in `series`.
fn series(sandbox: &Sandbox, changes: &str) {
    sandbox.trainer(&format!("seeds {} --seeds 2 --out series", changed(TINY, changes))).ok();
}

/// Returns the rows of a table below its header, split into columns.
#[track_caller]
fn rows(sandbox: &Sandbox, table: &str) -> Vec<Vec<String>> {
    let text = sandbox.text(table);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn near(found: &Value, expected: f64) -> bool {
    (found.as_f64().unwrap() - expected).abs() < 1e-12
}

#[test]
fn each_seed_is_a_run_and_the_mean_has_an_interval() {
    let sandbox = Sandbox::new();
    let told = sandbox.trainer(&format!("seeds {TINY} --seeds 2")).ok();
    let told = told.says(&["Run 1 of 2, seed 0\n", "Run 2 of 2, seed 1\n", "Seed 1: "]);
    let folder = "runs/cnn-seeds";
    // each run equals the one that train makes with that seed
    sandbox.trainer(&format!("{TINY} --seed 1 --run-dir alone")).ok();
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv", "recipe.toml"] {
        let [alone, of_series] = ["alone".to_owned(), format!("{folder}/seed-1")]
            .map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(alone == of_series, "{file}");
    }
    let summaries = [0, 1].map(|seed| sandbox.json(&format!("{folder}/seed-{seed}/summary.json")));
    let [a, b] = summaries.each_ref().map(|summary| summary["test"]["accuracy"].as_f64().unwrap());
    let table = rows(&sandbox, &format!("{folder}/seeds.csv"));
    assert_eq!(table[0][..3], ["0".to_owned(), "seed-0".to_owned(), a.to_string()]);
    assert_eq!(table[1][..3], ["1".to_owned(), "seed-1".to_owned(), b.to_string()]);
    let mean =
        format!("Test accuracy {:.2} % ± {:.2} (mean", 50.0 * (a + b), 100.0 * (a - b).abs() / 2f64.sqrt());
    for part in [
        &mean,
        "of 2 seeds; 95 % interval of the mean ",
        "\nSeconds of a run ",
        "\nTable runs/cnn-seeds/seeds.csv",
    ] {
        assert!(told.stdout.contains(part), "no {part} in {}", told.stdout);
    }
    // again: nothing is left to do, and JSON is printed
    let before = sandbox.read(&format!("{folder}/seed-0/summary.json"));
    let again = sandbox.trainer(&format!("seeds {TINY} --seeds 2 --json")).ok();
    assert!(!again.stderr.contains("Run 1 of 2"), "{}", again.stderr);
    assert!(sandbox.read(&format!("{folder}/seed-0/summary.json")) == before);
    let figures = again.json();
    let accuracy = &figures["test_accuracy"];
    assert_eq!((&accuracy["n"], figures["runs"][1]["seed"].as_u64()), (&json!(2), Some(1)));
    assert!(
        near(&accuracy["mean"], (a + b) / 2.0) && near(&accuracy["deviation"], (a - b).abs() / 2f64.sqrt())
    );
    // Student's t with 1 degree of freedom is 12.706...
    let half_width = 12.706204736174694 * (a - b).abs() / 2.0;
    assert!(near(&accuracy["interval"][1], (a + b) / 2.0 + half_width), "{accuracy}");
    let seconds = summaries.map(|summary| summary["train_seconds"].as_f64().unwrap());
    assert!(near(&figures["seconds"]["mean"], (seconds[0] + seconds[1]) / 2.0));
    // more seeds add to the table, and `runs` lists them
    sandbox.trainer(&format!("seeds {TINY} --first-seed 7 --seeds 1")).ok().says(&["Run 1 of 1, seed 7\n"]);
    assert_eq!(rows(&sandbox, &format!("{folder}/seeds.csv")).len(), 3);
    let listed = sandbox.trainer(&format!("runs {folder} --sort name --json")).ok().json();
    let names: Vec<&Value> = listed["runs"].as_array().unwrap().iter().map(|run| &run["name"]).collect();
    assert_eq!(names, ["seed-0", "seed-1", "seed-7"]);
    sandbox.trainer("runs").ok().says(&["several seeds: trainer runs runs/cnn-seeds\n"]);
}

/// Interrupted in its second run and killed in its third: finished runs are kept, and the others end with the same bits.
#[test]
fn an_interrupted_series_goes_on() {
    let sandbox = Sandbox::new();
    let args = changed(TINY, "--set precision=f32").replace("--epochs 2", "--epochs 30");
    sandbox.trainer(&format!("seeds {args} --seeds 3 --out alone")).ok();
    let command = format!("seeds {args} --seeds 3 --out run --threads 1");
    let epochs = |seed: u32| sandbox.n_epochs(&format!("run/seed-{seed}"));
    let mut running = sandbox.start(&command);
    wait_until("the second run trains", || epochs(1) >= 2 || !running.is_at_work());
    running.signal("INT");
    let stopped = running.wait().ends_with(130);
    let go_on = "trainer seeds --recipe run/series.toml --seeds 3 --out run --threads 1 --offline";
    let stopped = stopped.says(&[&format!("Stopped. To go on: {go_on}\n")]);
    assert_eq!(stopped.stdout, "");
    assert!(!sandbox.path("run/seed-1/summary.json").exists());
    assert_eq!(rows(&sandbox, "run/seeds.csv").len(), 1);
    let first = sandbox.read("run/seed-0/summary.json");

    let mut running = sandbox.start(go_on.strip_prefix("trainer ").unwrap());
    wait_until("the third run trains", || epochs(2) >= 2 || !running.is_at_work());
    let was_killed = running.kill();
    let ended = sandbox.trainer(&command).ok();
    assert_eq!(ended.stderr.contains("Going on with epoch"), was_killed, "{}", ended.stderr);
    assert!(sandbox.read("run/seed-0/summary.json") == first, "what is over is not made anew");
    for seed in 0..3 {
        for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
            let [alone, run] = ["alone", "run"].map(|s| sandbox.read(&format!("{s}/seed-{seed}/{file}")));
            assert!(alone == run, "seed {seed}: {file} is not as that of a series left alone");
        }
    }
    assert_eq!(rows(&sandbox, "run/seeds.csv").len(), 3);
}

/// A run whose summary the system cannot look at is not left out. A link to itself stands for a disk that fails.
#[test]
fn a_run_that_cannot_be_looked_at_is_not_left_out() {
    let sandbox = Sandbox::new();
    series(&sandbox, "");
    let table = sandbox.read("series/seeds.csv");
    for name in ["seed-0/summary.json", "seed-0/recipe.toml", "series.toml"] {
        let path = sandbox.path(&format!("series/{name}"));
        std::fs::rename(&path, sandbox.path("aside")).unwrap();
        std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
        sandbox.trainer(&format!("seeds {TINY} --seeds 2 --out series")).fails(&["cannot read ", name]);
        assert!(sandbox.read("series/seeds.csv") == table, "{name}");
        std::fs::rename(sandbox.path("aside"), &path).unwrap();
    }
}

#[test]
fn another_recipe_in_the_same_folder_is_refused() {
    let sandbox = Sandbox::new();
    series(&sandbox, "");
    let table = sandbox.read("series/seeds.csv");
    let others = [
        (changed(TINY, "--set optimizer.lr=0.5"), "optimizer.lr  0.004          0.5\n"),
        (TINY.replace("--epochs 2", "--epochs 3"), "epochs  2              3\n"),
        (changed(TINY, "--recipe cnn-5"), "loss.label_smoothing"),
        (changed(TINY, "--validate-on test"), "data.validate_on  \"split\"        \"test\"\n"),
        (changed(TINY, "--precision f32"), "precision  \"auto\"         \"f32\"\n"),
    ];
    for (args, difference) in others {
        let refused = sandbox.trainer(&format!("seeds {args} --seeds 3 --out series"));
        refused.fails(&["series holds runs of another recipe", "--out", difference]);
    }
    assert!(sandbox.read("series/seeds.csv") == table && !sandbox.path("series/seed-2").exists());
    // if nothing was trained, no folder is left
    let absent = TINY.replace("sample", "cifar10");
    sandbox
        .trainer(&format!("seeds {absent} --seeds 1 --out new"))
        .fails(&["cannot load the data set cifar10"]);
    sandbox.trainer(&format!("seeds {TINY} --set modell.dense=8 --seeds 1 --out new")).fails(&["modell"]);
    assert!(!sandbox.path("new").exists());
    sandbox.write("other/notes.txt", "");
    sandbox
        .trainer(&format!("seeds {TINY} --seeds 1 --out other"))
        .fails(&["other is not empty and is not a series of seeds"]);
    sandbox.trainer(&format!("seeds {TINY} --seeds 1 --out series/seeds.csv")).fails(&["series/seeds.csv"]);
    sandbox.trainer(&format!("seeds {TINY} --out new")).ends_with(2).says(&["--seeds"]);
    sandbox.trainer(&format!("seeds {TINY} --seeds 0")).ends_with(2).says(&["--seeds"]);
    for flag in ["--resume series/seed-0", "--seed 3", "--run-dir x", "--backbone auto"] {
        sandbox
            .trainer(&format!("seeds {TINY} --seeds 2 {flag}"))
            .ends_with(2)
            .says(&["unexpected argument"]);
    }
}

/// Makes a series with these test accuracies, for seeds from `first` on.
fn with_accuracies(sandbox: &Sandbox, name: &str, first: u64, accuracies: &[f64]) {
    let mut summary = sandbox.json("series/seed-0/summary.json");
    sandbox.write(&format!("{name}/series.toml"), sandbox.read("series/series.toml"));
    for (seed, accuracy) in (first..).zip(accuracies) {
        summary["seed"] = seed.into();
        summary["test"]["accuracy"] = (*accuracy).into();
        sandbox.write(&format!("{name}/seed-{seed}/summary.json"), summary.to_string());
        sandbox.write(&format!("{name}/seed-{seed}/recipe.toml"), "");
    }
}

/// The figures are from SciPy: `ttest_rel` and `ttest_ind(equal_var=False)`, with `confidence_interval(0.95)`.
#[test]
fn two_series_are_compared_by_their_seeds() {
    let sandbox = Sandbox::new();
    series(&sandbox, "");
    let a = [0.8528, 0.8561, 0.8497, 0.8540, 0.8514];
    with_accuracies(&sandbox, "a", 0, &a);
    with_accuracies(&sandbox, "b", 0, &[0.8571, 0.8575, 0.8549, 0.8563, 0.8569]);
    with_accuracies(&sandbox, "c", 0, &[0.861, 0.8564, 0.8577]);
    with_accuracies(&sandbox, "d", 3, &a);
    let told = sandbox.trainer("compare a b").ok();
    let sentence = "b is better than a: its mean test accuracy is 0.37 points higher, with 95 % confidence by 0.15 to 0.60 points \
         (5 pairs of runs with the same seed).";
    assert!(told.stdout.contains(sentence), "{}", told.stdout);
    assert!(
        told.stdout.starts_with("series  seeds  test accuracy  deviation   95 % interval"),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout.contains("\na           5        85.28 %       0.24  84.98 to 85.58  "),
        "{}",
        told.stdout
    );
    let told = sandbox.trainer("compare b a").ok();
    assert!(told.stdout.contains(
        "a is worse than b: its mean test accuracy is 0.37 points lower, with 95 % confidence by 0.15 to"
    ));
    let told = sandbox.trainer("compare a c").ok();
    assert!(
        told.stdout.contains("by 0.09 to 1.02 points (5 and 3 runs with different seeds, by Welch's test)"),
        "{}",
        told.stdout
    );
    let told = sandbox.trainer("compare a d").ok();
    assert!(
        told.stdout.contains("d is not told apart from a: its mean test accuracy is 0.00 points"),
        "{}",
        told.stdout
    );

    let figures = sandbox.trainer("compare a b --json").ok().json();
    assert_eq!((&figures["verdict"], &figures["test"]), (&json!("better"), &json!("paired")));
    assert!(near(&figures["test_accuracy"]["p_value"], 0.009862035824164313), "{figures}");
    assert_eq!(sandbox.trainer("compare a c --json").ok().json()["test"], "welch");

    // series that cannot be compared
    with_accuracies(&sandbox, "one", 0, &[0.5]);
    sandbox.trainer("compare a one").fails(&["one has 1 run", "--seeds"]);
    sandbox.trainer("compare a series/seed-0").fails(&["series/seed-0 is not a series of seeds"]);
    sandbox.trainer("compare a b c").fails(&["two series"]);
    with_accuracies(&sandbox, "none", 0, &[]);
    sandbox.trainer("compare a none").fails(&["none has no finished run"]);
    let mut other = sandbox.json("c/seed-0/summary.json");
    other["data_digest"] = "0".into();
    sandbox.write("c/seed-0/summary.json", other.to_string());
    sandbox.trainer("compare a c").fails(&["different data"]);
    sandbox.write("c/seed-0/summary.json", "{");
    sandbox.trainer("compare a c").fails(&["c/seed-0/summary.json cannot be read"]);
}
