//! The output of the small commands, word for word, and that of a run without a terminal.

use std::fs;
use std::process::Command;

use crate::support::{Sandbox, TINY, repository};
use serde_json::{Value, json};

#[test]
fn recipes_are_listed() {
    let expected = "\
cnn                The reference network with a modern protocol: 20 epochs.
cnn-5              The recipe cnn in 5 epochs: less regularisation, since there is less time to overfit.
cnn-muon           The recipe cnn with Muon in place of AdamW, and six views of each tested picture: two points more on \
CIFAR-10.
speedrun           Aims at 94 % on CIFAR-10 in 9 epochs: the settings of Keller Jordan's record with Muon, \
https://arxiv.org/abs/2404.00498.
quick              Beats the Keras baseline's 73.11 % on CIFAR-10 in little more than a minute: a narrower speedrun, one epoch in \
smaller batches.
photos             Your own pictures: a linear head on the features of a frozen EfficientNet-Lite0, computed once per \
picture and kept.
photos-cnn         Your own pictures without pretrained weights: the reference network, trained from the start on small \
copies of them.
keras              The Keras baseline's second run: Adam at 1e-3, batches of 32, up to 20 epochs, early stopping and a rate \
that is cut on plateaus, both watching the validation loss.
keras-5            The Keras baseline's first run: Adam at 1e-4, batches of 32, 5 epochs.
keras-resnet       The Keras baseline's pretrained ResNet as far as its protocol shows: 20 epochs, batches of 32, Adam at \
1e-4, images as they are, 32 x 32.
resnet50-head      A linear head on the features of a frozen ResNet-50 at 128 pixels, computed once per image and kept.
resnet50-head-64   The recipe resnet50-head at 64 pixels.
resnet18-head      The recipe resnet50-head on a ResNet-18.
lite0-head         The recipe resnet50-head on an EfficientNet-Lite0: several times as fast.
lite0-finetune     An EfficientNet-Lite0 that learns as a whole at 128 pixels: some points more accurate than a frozen \
one, in a minute instead of seconds.
resnet50-finetune  A ResNet-50 that learns as a whole, its early layers more slowly; batch-norm statistics stay fixed.
dinov2-head        A linear head on the features of a frozen DINOv2 ViT-S/14 at 126 pixels, computed in f32.

To print a recipe: trainer recipes NAME. Your own recipe is a file ending in .toml that begins with base = \"cnn\".
All keys with their meaning: trainer recipes --keys. The differences between two recipes: trainer recipes diff A B.
";
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer("recipes").ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
    let listed = sandbox.trainer("recipes --json").ok().json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    let expected = [
        "cnn",
        "cnn-5",
        "cnn-muon",
        "speedrun",
        "quick",
        "photos",
        "photos-cnn",
        "keras",
        "keras-5",
        "keras-resnet",
        "resnet50-head",
        "resnet50-head-64",
        "resnet18-head",
        "lite0-head",
        "lite0-finetune",
        "resnet50-finetune",
        "dinov2-head",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_recipe_is_printed_as_it_stands_and_is_one() {
    let sandbox = Sandbox::new();
    for name in [
        "cnn",
        "cnn-5",
        "cnn-muon",
        "speedrun",
        "quick",
        "keras",
        "keras-5",
        "keras-resnet",
        "resnet50-head-64",
        "resnet50-finetune",
    ] {
        let text = fs::read_to_string(repository().join(format!("assets/recipes/{name}.toml"))).unwrap();
        assert_eq!(sandbox.trainer(&format!("recipes {name}")).ok().stdout, text);
        assert_eq!(sandbox.trainer(&format!("recipes {name} --json")).ok().json()["name"], name);
    }
    // in a file, it is the same recipe under another name
    sandbox.write("mine.toml", sandbox.trainer("recipes keras-5").ok().stdout);
    let tiny = TINY.replace("--epochs 2", "--epochs 1");
    sandbox.trainer(&format!("--recipe mine.toml {tiny}")).ok().says(&["run folder runs/mine-1"]);
    assert_eq!(sandbox.json("runs/mine-1/summary.json")["recipe"], "mine");
}

#[test]
fn data_info_prints_shapes_as_the_keras_baseline_does() {
    let expected = "\
Data set              sample: 3,000 images of CIFAR-10
Training data shape   (2000, 32, 32, 3)
Training labels shape (2000, 1)
Test data shape       (1000, 32, 32, 3)
Test labels shape     (1000, 1)
Pixels                0 to 255, red green blue
Mean, per channel     [0.49247167, 0.4839601, 0.44753215]
Deviation             [0.24558681, 0.24249633, 0.260852]
Normalised by         [0.49139968, 0.48215842, 0.4465309] and [0.24703223, 0.24348512, 0.26158783], those of the full data set
Digest                104fc31ae016ad176a1b6d808eb9de4dd80847a970ffb0f9ebd59009284958fb

label  class                training     test
    0  airplane                  200      100
    1  automobile                200      100
    2  bird                      200      100
    3  cat                       200      100
    4  deer                      200      100
    5  dog                       200      100
    6  frog                      200      100
    7  horse                     200      100
    8  ship                      200      100
    9  truck                     200      100
";
    let sandbox = Sandbox::new();
    for args in ["data info", "data info --dataset sample"] {
        let ran = sandbox.trainer(args).ok();
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
    }
    let info = sandbox.trainer("data info --json").ok().json();
    let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "dataset",
            "about",
            "digest",
            "train_shape",
            "test_shape",
            "classes",
            "mean",
            "std",
            "normalized_by"
        ]
    );
    assert_eq!(info["train_shape"], json!([2_000, 32, 32, 3]));
    assert_eq!(info["classes"][3], json!({"name": "cat", "n_train": 200, "n_test": 100}));
    assert_eq!(sandbox.everything(), [""; 0]);
}

#[test]
fn data_verify_names_every_file() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.trainer("data verify --dataset sample").ok().stdout, "ok       the embedded sample\n");

    assert_eq!(sandbox.trainer("data verify").ok().stdout, "ok       the embedded sample\n");

    sandbox.write("there/cifar-10-batches-bin/data_batch_1.bin", "");
    let ran = sandbox.trainer("data verify --data-dir there").ends_with(1);
    let expected = "\
WRONG    there/cifar-10-batches-bin/data_batch_1.bin: \
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, \
expected cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5
MISSING  there/cifar-10-batches-bin/data_batch_2.bin
MISSING  there/cifar-10-batches-bin/data_batch_3.bin
MISSING  there/cifar-10-batches-bin/data_batch_4.bin
MISSING  there/cifar-10-batches-bin/data_batch_5.bin
MISSING  there/cifar-10-batches-bin/test_batch.bin
";
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.stderr, "Get the files again: remove the folder and run cargo xtask fetch-data\n");
    let verdicts = sandbox.trainer("data verify --data-dir there --json").ends_with(1).json();
    let is_ok: Vec<bool> = verdicts.as_array().unwrap().iter().map(|v| v["ok"].as_bool().unwrap()).collect();
    assert_eq!(is_ok, [false; 6]);
}

/// The output in a log file or in continuous integration: whole lines, no control characters, all figures that Keras shows.
#[test]
fn a_run_without_a_terminal_tells_plain_lines() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(TINY).ok();
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let banner = [
        "Data   sample (3,000 images of CIFAR-10); 60 train, 200 val, 1,000 test; 10 classes",
        "Model  cnn, 5,382 parameters; recipe cnn, seed 0, 2 epochs",
    ];
    assert_eq!(lines[..2], banner);
    assert!(
        lines[2].starts_with("On     cpu (") && lines[2].ends_with("; run folder runs/cnn-1"),
        "{}",
        lines[2]
    );
    let columns = "  epoch     time  images/s    loss  accuracy  val_loss  val_accuracy       rate";
    assert_eq!(lines[3], columns);
    assert!(!ran.stderr.contains(['\r', '\u{1b}']) && ran.stderr.ends_with('\n'), "{:?}", ran.stderr);

    let history = tallow_metrics::parse_history(&sandbox.text("runs/cnn-1/history.csv")).unwrap();
    let epochs = lines.iter().filter(|line| line.contains("/2 "));
    assert_eq!((epochs.clone().count(), history.len()), (2, 2));
    for (line, row) in epochs.zip(&history) {
        let start = format!("    {}/2 ", row.epoch);
        // the middle has times, which depend on this machine
        let end = format!(
            "  {:.4}  {:>8.4}  {:>8.4}  {:>12.4}  {:>9}",
            row.loss,
            row.accuracy,
            row.val_loss.unwrap(),
            row.val_accuracy.unwrap(),
            format!("{:.3e}", row.learning_rate)
        );
        assert!(line.starts_with(&start) && line.ends_with(&end), "{line:?} is not {start:?} … {end:?}");
        assert_eq!(line.len(), columns.len(), "{line:?}");
    }
}

/// A pipe and NO_COLOR get no colour codes, however long the output is.
#[test]
fn diagnostics_in_a_pipe_have_no_colours() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer("-vv recipes").ok().says(&["DEBUG", "instruction set"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

/// Small steps in the processor's fastest precision. The figures vary from run to run, but must be consistent.
#[test]
fn bench_says_how_fast_and_where_the_time_goes() {
    let sandbox = Sandbox::new();
    for mode in ["train", "infer"] {
        let figures = sandbox
            .trainer(&format!("bench --mode {mode} --batch-size 2 --size 16 --threads 2 --json"))
            .ok()
            .json();
        let number = |key: &str| figures[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", figures[key]));
        assert_eq!((&figures["model"], &figures["mode"]), (&json!("cnn"), &json!(mode)));
        assert_eq!((&figures["input_px"], &figures["n_threads"]), (&json!([16, 16]), &json!(2)));
        let rate = number("images_per_second");
        assert!(rate > 0.0 && (rate * number("step_secs") / 2.0 - 1.0).abs() < 1e-6);
        assert!(number("images_per_second_min") <= rate && rate <= number("images_per_second_max"));
        assert!(number("gflops") > 0.0 && number("n_steps") >= 5.0);

        let parts = figures["parts"].as_array().unwrap();
        let sum = |key: &str| parts.iter().map(|part| part[key].as_f64().unwrap()).sum::<f64>();
        assert!((sum("share") - 1.0).abs() < 0.01, "{}", sum("share"));
        assert!((sum("secs_per_step") / number("profiled_step_secs") - 1.0).abs() < 0.01);
        let names: Vec<&str> = parts.iter().map(|part| part["op"].as_str().unwrap()).collect();
        assert_eq!(names.last(), Some(&"other"));
        assert_eq!(names.contains(&"conv2d_weight_grad"), mode == "train", "{names:?}");
        assert_eq!(names.contains(&"sgd_step"), mode == "train", "{names:?}");
        let dense = parts.iter().find(|part| part["op"] == "linear_forward" && part["shape"] == "128->10");
        assert_eq!(dense.unwrap()["calls_per_step"], 1.0);
    }
    let printed = sandbox.trainer("bench --batch-size 1 --size 8 --threads 1").ok().stdout;
    assert!(printed.contains("images/s (median of") && printed.contains("\nother "), "{printed}");
    assert_eq!(sandbox.everything(), [""; 0]);
}

/// As a contestant of benches/peers: one answer for each line of standard input, and the program ends with its input.
#[test]
fn bench_works_in_slices_when_it_is_told_to() {
    let sandbox = Sandbox::new();
    let told = |lines: &str| {
        let mut shell = Command::new("sh");
        let script = "printf %b \"$1\" | \"$0\" bench --slices --batch-size 2 --size 16 --threads 1";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_trainer"), lines]);
        let ran = sandbox.start_command(shell, "bench --slices").wait();
        let answers = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (ran, answers)
    };
    let (ran, answers): (_, Vec<Value>) = told("0.3\\n 1e-9 \\n");
    assert_eq!((ran.ok().stderr.as_str(), answers.len()), ("", 3));
    assert_eq!((&answers[0]["ready"], &answers[0]["name"]), (&json!(true), &json!("Tallow")));
    for slice in &answers[1..] {
        let number = |key: &str| slice[key].as_f64().unwrap_or_else(|| panic!("{key}: {slice}"));
        assert!((number("images_per_second") * number("secs") / 2.0 / number("n_steps") - 1.0).abs() < 1e-9);
    }
    let secs = answers[1]["secs"].as_f64().unwrap();
    assert!(secs > 0.15 && answers[1]["n_steps"].as_u64() >= Some(1), "{}", answers[1]);
    assert_eq!(answers[2]["n_steps"], 1);

    for lines in ["soon\\n", "0\\n", "-1\\n", "inf\\n"] {
        let (ran, answers) = told(lines);
        ran.ends_with(1).says(&["error: standard input", "expected seconds"]);
        assert_eq!(answers.len(), 1, "{lines}");
    }
}

#[test]
fn bench_refuses_what_it_cannot_measure() {
    let sandbox = Sandbox::new();
    sandbox.trainer("bench --model vgg").fails(&["--model", "\"vgg\"", "cnn"]);
    sandbox.trainer("bench --batch-size 0").fails(&["--batch-size 0", "expected 1 to"]);
    sandbox.trainer("bench --batch-size 99999999999999999").fails(&["--batch-size", "expected 1 to"]);
    sandbox.trainer("bench --size 4").fails(&["model.input_px", "cannot be halved 3 times"]);
}

/// The scripts know every command; bash reads its own where there is one.
#[test]
fn completions_and_man_pages_are_of_all_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.trainer(&format!("completions {shell}")).ok().stdout;
        for word in ["train", "predict", "export", "find-lr", "suspects"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = sandbox.trainer("completions bash").ok().stdout;
    sandbox.write("trainer.bash", script);
    if let Ok(done) = Command::new("bash").arg("-n").arg(sandbox.path("trainer.bash")).status() {
        assert!(done.success(), "bash cannot read its completions");
    }
    let document = sandbox.trainer("completions fish --json").ok().json();
    assert_eq!(document["shell"], "fish");
    assert_eq!(sandbox.trainer("man pages --json").ok().json()["folder"], "pages");
    let page = sandbox.text("pages/trainer-data-suspects.1");
    assert!(page.contains("suspects"), "{page}");
    assert!(!sandbox.path("pages/trainer-man.1").exists(), "a hidden command has no page");
}
