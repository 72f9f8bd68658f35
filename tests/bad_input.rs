//! Mistakes of users and defects of files: each gives a message that names the file or field and a remedy, a status other
//! than 0, and no half-written output.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use crate::support::{Ran, Sandbox, TINY, TINY_MODEL, changed, trainer};

/// The length of a file of CIFAR-10 in bytes, and of a record in it.
const BATCH_BYTES: u64 = 30_730_000;
const RECORD_BYTES: u64 = 3_073;

const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// Runs each command (after [`TINY_MODEL`], if it begins with `+`), checks its status and message, and checks that it leaves
/// no files.
fn refused(sandbox: &Sandbox, cases: &[(&str, i32, &[&str])]) {
    let before = sandbox.everything();
    for (args, status, message) in cases {
        let args = match args.strip_prefix('+') {
            Some(args) => changed(TINY_MODEL, args),
            None => (*args).to_owned(),
        };
        let ran = sandbox.trainer(&args).ends_with(*status).says(message);
        assert!(ran.stderr.starts_with("error: "), "{args}:\n{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args}");
        assert_eq!(sandbox.everything(), before, "{args} left something");
    }
}

#[test]
fn flags_out_of_range() {
    let sandbox = Sandbox::new();
    refused(
        &sandbox,
        &[
            (
                "--recipe nope",
                1,
                &[
                    "no recipe \"nope\"",
                    "cnn, cnn-5, cnn-muon, speedrun, quick, photos, photos-cnn, keras",
                    ".toml",
                ],
            ),
            (
                "recipes nope",
                1,
                &["no recipe \"nope\"", "cnn, cnn-5, cnn-muon, speedrun, quick, photos, photos-cnn, keras"],
            ),
            ("--recipe nope.toml", 1, &["nope.toml", "No such file"]),
            ("+ --epochs 0", 1, &["epochs must be at least 1, it is 0"]),
            ("+ --epochs 1.5", 2, &["--epochs", "1.5"]),
            ("+ --batch-size 0", 1, &["batch_size must be at least 1, it is 0"]),
            ("+ --batch-size 18446744073709551615", 1, &["--batch-size 18446744073709551615 is too large"]),
            ("+ --seed -1", 2, &["--seed", "-1"]),
            ("+ --seed 9223372036854775808", 1, &["--seed 9223372036854775808 is too large"]),
            ("+ --threads 0", 1, &["--threads must be 1 to 1024, it is 0"]),
            ("+ --threads 1025", 1, &["--threads must be 1 to 1024, it is 1025"]),
            ("eval x --threads 0", 1, &["--threads must be 1 to 1024"]),
            ("+ --val-fraction 1.5", 1, &["data.val_fraction must lie in [0, 1), it is 1.5"]),
            ("+ --val-fraction 1", 1, &["data.val_fraction must lie in [0, 1), it is 1"]),
            ("+ --val-fraction -0.5", 1, &["data.val_fraction must lie in [0, 1), it is -0.5"]),
            ("+ --val-fraction NaN", 1, &["data.val_fraction must lie in [0, 1), it is NaN"]),
            ("+ --val-fraction 0.0001", 1, &["validation fraction 0.0001", "no class is large enough"]),
            ("+ --val-fraction 0.9999", 1, &["validation fraction 0.9999", "none would be left to train on"]),
            ("+ --val-fraction 0.1 --validate-on test", 2, &["--val-fraction", "--validate-on"]),
            ("+ --validate-on train", 2, &["--validate-on", "test"]),
            ("+ --train-subset 0", 1, &["data.train_subset must be at least 1, it is 0"]),
            ("+ --train-subset 1801", 1, &["a training subset of 1801 images: there are 1800"]),
            ("+ --lr -1", 1, &["lr must be 0 or more, it is -1"]),
            ("+ --lr NaN", 1, &["lr must be 0 or more, it is NaN"]),
            ("+ --lr much", 2, &["--lr", "much"]),
            ("+ --precision f16", 2, &["--precision", "f16", "f32"]),
            ("+ --init-from nowhere", 1, &["nowhere", "No such file"]),
            ("--no-such-flag", 2, &["--no-such-flag"]),
            ("no-such-command", 2, &["no-such-command"]),
            ("-q -v", 2, &["--quiet", "--verbose"]),
        ],
    );
}

#[test]
fn devices_that_are_not_there() {
    let sandbox = Sandbox::new();
    refused(
        &sandbox,
        &[
            ("+ --device tpu", 1, &["unknown device \"tpu\"", "auto, cpu, cuda, cuda:N or metal"]),
            ("+ --device cuda:x", 1, &["cuda:x", "\"x\" is not a number"]),
        ],
    );
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    refused(
        &sandbox,
        &[
            ("+ --device cuda", 1, &["device cuda:0 is not available", "--device cpu", "--features cuda"]),
            ("+ --device metal", 1, &["device metal is not available", "--device cpu", "--features metal"]),
        ],
    );
}

#[test]
fn keys_and_values_of_recipes() {
    let sandbox = Sandbox::new();
    sandbox.write("key.toml", "base = \"cnn\"\nepoch = 3");
    sandbox.write("table.toml", "base = \"cnn\"\n[optimiser]\nlr = 0.1");
    sandbox.write("type.toml", "base = \"cnn\"\nepochs = \"many\"");
    sandbox.write("syntax.toml", "epochs = = 3");
    sandbox.write("base.toml", "base = \"nope\"");
    sandbox.write("itself.toml", "base = \"itself.toml\"");
    sandbox.write("empty.toml", "");
    sandbox.write("bytes.toml", [0xff, 0xfe]);
    sandbox.write("folder.toml/file", "");
    refused(
        &sandbox,
        &[
            ("--recipe key.toml", 1, &["recipe key.toml", "no key \"epoch\"", "did you mean \"epochs\"?"]),
            (
                "--recipe table.toml",
                1,
                &["recipe table.toml", "no key \"optimiser\"", "did you mean \"optimizer\"?"],
            ),
            (
                "--recipe type.toml",
                1,
                &["recipe type.toml", "epochs takes a whole number", "the text \"many\""],
            ),
            ("--recipe syntax.toml", 1, &["recipe syntax.toml", "line 1, column 10"]),
            ("--recipe base.toml", 1, &["no recipe \"nope\"", "cnn-5"]),
            ("--recipe itself.toml", 1, &["recipe itself.toml", "base", "build on each other"]),
            ("--recipe empty.toml", 1, &["recipe empty.toml", "epochs is missing: it takes a whole number"]),
            ("--recipe bytes.toml", 1, &["recipe bytes.toml", "not UTF-8"]),
            ("--recipe folder.toml", 1, &["folder.toml", "not a regular file"]),
            ("+ --set epoch=3", 1, &["--set epoch=3: there is no key \"epoch\"", "did you mean \"epochs\"?"]),
            ("+ --set optimizer.lrr=3", 1, &["no key \"optimizer.lrr\"", "did you mean \"optimizer.lr\"?"]),
            (
                "+ --set epochs=many",
                1,
                &["epochs takes a whole number of 1 or more; found the text \"many\""],
            ),
            ("+ --set epochs.x=1", 1, &["epochs takes a whole number", "no key is called \"epochs.x\""]),
            ("+ --set seed=-1", 1, &["seed takes a whole number; found -1"]),
            ("+ --set epochs", 1, &["--set", "expected key=value", "\"epochs\""]),
            ("+ --set name=../up", 1, &["name must be usable as a folder's name", "../up"]),
            ("+ --set max_grad_norm=0", 1, &["max_grad_norm must be above 0"]),
            ("+ --set loss.label_smoothing=1", 1, &["loss.label_smoothing must lie in [0, 1)"]),
            ("+ --set schedule.peak_at=2", 1, &["schedule.peak_at must lie in (0, 1), it is 2"]),
            (
                "+ --set schedule.gamma=0.5",
                1,
                &["schedule.gamma is a key of schedule.kind = step, here", "one_cycle"],
            ),
            ("+ --set optimizer.beta1=1", 1, &["optimizer.beta1 must lie in [0, 1), it is 1"]),
            ("+ --set param_groups=[{pattern=\"x\"}]", 1, &["param_groups: no parameter matches \"x\""]),
            ("+ --set augment.cutout_px=33", 1, &["augment.cutout_px = 33", "at most 32"]),
            ("+ --set model.name=vgg", 1, &["model.name takes one of cnn, ", "\"vgg\""]),
            ("+ --set model.depth=3", 1, &["no key \"model.depth\"", "trainer recipes --keys model"]),
            ("+ --set model.widths=[4]", 1, &["model.widths", "even number"]),
            ("+ --set model.dropout=[1.0,0]", 1, &["model.dropout", "2 rates in [0, 1)"]),
        ],
    );
}

#[test]
fn instruction_sets() {
    let sandbox = Sandbox::new();
    for name in ["nonsense", "", "AVX2"] {
        let mut command = trainer("recipes");
        command.env("TALLOW_ISA", name);
        let ran = sandbox.start_command(command, "TALLOW_ISA").wait();
        let expected =
            format!("error: TALLOW_ISA: unknown instruction set {name:?}; expected one of portable, ");
        assert!(ran.fails(&[]).stderr.starts_with(&expected));
    }
    let mut command = trainer("recipes");
    command.env("TALLOW_CONV", "f6");
    let ran = sandbox.start_command(command, "TALLOW_CONV").wait();
    let expected =
        "error: TALLOW_CONV: unknown method \"f6\"; expected one of direct, f2, f4; or unset TALLOW_CONV";
    assert!(ran.fails(&[]).stderr.starts_with(expected));
    let mut command = trainer(TINY);
    command.env("TALLOW_ISA", "portable");
    sandbox.start_command(command, "TALLOW_ISA=portable").wait().ok();
    assert_eq!(sandbox.json("runs/cnn-1/summary.json")["isa"], "portable");
}

/// A number of threads that no machine has is refused, wherever it comes from; what the libraries ignore stays ignored.
#[test]
fn too_many_threads() {
    let sandbox = Sandbox::new();
    let with = |variable: &str, n: &str, args: &str| {
        let mut command = trainer(args);
        command.env(variable, n);
        sandbox.start_command(command, &format!("{variable}={n} trainer {args}")).wait()
    };
    for variable in ["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS", "CANDLE_NUM_THREADS"] {
        for args in [TINY, "data info --dataset sample", "recipes", "train --threads 1"] {
            let expected = format!("error: {variable} must be 1 to 1024, it is 100000");
            assert!(with(variable, "100000", args).fails(&[]).stderr.starts_with(&expected), "{args}");
        }
        for n in ["1", "0", "", "many"] {
            with(variable, n, "recipes").ok();
        }
    }
    with("RAYON_NUM_THREADS", &"1".repeat(30), "data info --dataset sample").ok(); // not a number that rayon takes
}

#[test]
fn run_folders_that_cannot_be() {
    let sandbox = Sandbox::new();
    sandbox.write("runs", "a file where the folder of runs should be");
    refused(
        &sandbox,
        &[
            ("+ --train-subset 60", 1, &["cannot create the folder runs"]),
            ("+ --run-dir runs/mine", 1, &["cannot create the folder runs"]),
            ("+ --run-dir runs", 1, &["runs exists already"]),
            ("--resume runs", 1, &["runs is not a run folder"]),
            ("eval runs", 1, &["runs"]),
        ],
    );
}

#[test]
fn data_that_are_not_there() {
    let sandbox = Sandbox::new();
    let (ten, hundred) = ("cargo xtask fetch-data`", "cargo xtask fetch-data --dataset cifar100`");
    refused(
        &sandbox,
        &[
            (
                "--dataset nope",
                1,
                &["unknown data set \"nope\"", "auto, cifar10, cifar100, cifar100-coarse, sample"],
            ),
            ("--dataset cifar10", 1, &["CIFAR-10 is not in data/cifar-10-batches-bin", ten]),
            ("--dataset cifar10 --data-dir there", 1, &["there/cifar-10-batches-bin", ten]),
            ("--dataset cifar100", 1, &["CIFAR-100 is not in data/cifar-100-binary", hundred]),
            ("data info --dataset cifar10", 1, &["data/cifar-10-batches-bin", ten]),
            ("data info --dataset nope", 1, &["unknown data set \"nope\""]),
            ("data verify --dataset cifar10", 1, &["data/cifar-10-batches-bin", ten]),
            ("data verify --dataset nope", 1, &["unknown data set \"nope\""]),
        ],
    );
}

/// Creates a data folder with files of the right length without content, which take no space on disk; `spoil` gets the first.
fn with_cifar10(n_files: usize, spoil: impl FnOnce(&mut File)) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in &FILES[..n_files] {
        let name = format!("data/cifar-10-batches-bin/{name}");
        sandbox.write(&name, "");
        File::options().write(true).open(sandbox.path(&name)).unwrap().set_len(BATCH_BYTES).unwrap();
    }
    let first = sandbox.path("data/cifar-10-batches-bin/data_batch_1.bin");
    spoil(&mut File::options().write(true).open(first).unwrap());
    sandbox
}

/// No command replaces damaged data by the sample.
fn every_command_refuses(sandbox: &Sandbox, message: &[&str]) {
    let message = [message, &["cifar-10-batches-bin", "get it again with `cargo xtask fetch-data`"]].concat();
    let cases = ["--dataset cifar10", "--offline", "data info", "data info --dataset cifar10"];
    refused(sandbox, &cases.map(|args| (args, 1, &message[..])));
}

#[test]
fn a_cifar_file_that_was_cut_off() {
    let sandbox = with_cifar10(1, |file| file.set_len(BATCH_BYTES - 1).unwrap());
    every_command_refuses(&sandbox, &["data_batch_1.bin has 30729999 bytes, expected 30730000", "cut short"]);
}

#[test]
fn a_cifar_file_that_is_too_long() {
    let sandbox = with_cifar10(1, |file| file.set_len(BATCH_BYTES + 1).unwrap());
    every_command_refuses(&sandbox, &["data_batch_1.bin has 30730001 bytes", "not the official file"]);
}

#[test]
fn a_cifar_label_out_of_range() {
    let sandbox = with_cifar10(1, |file| {
        file.seek(SeekFrom::Start(3 * RECORD_BYTES)).unwrap();
        file.write_all(&[10]).unwrap();
    });
    every_command_refuses(&sandbox, &["data_batch_1.bin, record 3: label 10, expected 0 to 9"]);
}

#[test]
fn cifar_files_that_are_missing_or_no_photographs() {
    let sandbox = with_cifar10(1, |_| {});
    refused(&sandbox, &[("--dataset cifar10", 1, &["data_batch_2.bin", "No such file"])]);
    let sandbox = with_cifar10(5, |_| {});
    let message = ["50000 training images of class \"airplane\", expected 5000"];
    refused(&sandbox, &[("data info --dataset cifar10", 1, &message)]);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --lr 1e30 --run-dir run")).fails(&[
        "the loss became ",
        "in epoch 1, step 2, at learning rate 5",
        "--lr",
        "schedule.warmup_epochs",
        "max_grad_norm",
        "the last good checkpoint is kept",
    ]);
    let expected = ["checkpoints", "checkpoints/last", "events.jsonl", "history.csv", "recipe.toml"]
        .map(|f| format!("run/{f}"));
    let mut names = sandbox.everything();
    names.retain(|name| !name.contains(".tfevents."));
    assert_eq!(names[1..], expected);
}

/// Runs `trainer` with a limit of `n_bytes` on file sizes: for longer files the disk is full.
#[cfg(unix)]
fn with_short_files(sandbox: &Sandbox, n_bytes: usize, args: &str) -> Ran {
    let mut command = Command::new("sh");
    // a signal comes before the error, unless it is ignored; the limit counts blocks of 512 bytes
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" {args}", n_bytes / 512);
    command.arg("-c").arg(script).arg(trainer("").get_program());
    sandbox.start_command(command, &format!("ulimit -f; trainer {args}")).wait()
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_the_start() {
    let sandbox = Sandbox::new();
    let ran = with_short_files(&sandbox, 8 << 10, TINY);
    ran.fails(&["cannot write ", "runs/.new-run-", "checkpoints/last", "File too large"]);
    let ran = with_short_files(&sandbox, 8 << 10, &format!("{TINY} --run-dir new/deep/run"));
    ran.fails(&["cannot write ", "new/deep/.new-run-", "checkpoints/last"]);
    assert_eq!(sandbox.everything(), [""; 0]);
}

/// The disk has room for the checkpoints, but not for the predictions on the test images.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_the_end() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir alone")).ok();
    let go_on = "To go on from the last checkpoint after correcting this: trainer --resume run";
    let ran = with_short_files(&sandbox, 100 << 10, &format!("{TINY} --run-dir run"));
    ran.fails(&["cannot write run/evaluation/predictions_test.csv", go_on]);
    assert!(!sandbox.everything().iter().any(|name| name.contains(".tmp")), "{:?}", sandbox.everything());
    assert!(!sandbox.path("run/summary.json").exists());
    sandbox.trainer("--resume run").ok();
    for name in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        assert!(sandbox.read(&format!("run/{name}")) == sandbox.read(&format!("alone/{name}")), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_in_the_middle() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let log = sandbox.path("run/events.jsonl");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let remedy = "(free some space or choose another folder)";
    let ran = sandbox.trainer("--resume run --epochs 3");
    ran.fails(&["cannot write run/events.jsonl: No space left on device", remedy, "--resume run"]);
    fs::remove_file(&log).unwrap();
    sandbox.trainer("--resume run --epochs 3").ok();
}

#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_is_full_or_closed() {
    let sandbox = Sandbox::new();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(trainer("").get_program());
        sandbox.start_command(command, script).wait()
    };
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.trainer(&format!("{TINY} --seed 1 --run-dir other")).ok();
    for command in [
        "--help",
        "--version",
        "help eval",
        "recipes",
        "recipes cnn",
        "recipes --json",
        "data info --dataset sample",
        "data verify --dataset sample",
        "data caches",
        "runs .",
        "eval run",
        "report run",
        "compare run other",
        "card run",
        "--resume run",
        "--resume run --json",
        "predict run run/images/sample-0.png",
    ] {
        let told = ["cannot write to standard output", "No space left on device"];
        shell(&format!("\"$0\" {command} >/dev/full")).fails(&told);
    }
    for command in ["recipes", "recipes cnn", "eval run", "--help"] {
        let closed = shell(&format!("{{ sleep 0.2; \"$0\" {command}; echo status $? >&2; }} | true")).ok();
        assert_eq!(closed.stderr, "status 0\n", "{command}");
    }
}

/// A run does not need a reader for its messages: with a full or a closed standard error it ends as usual.
#[cfg(target_os = "linux")]
#[test]
fn messages_without_a_reader_are_dropped() {
    let sandbox = Sandbox::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for (run, stderr) in [("full", full().into()), ("closed", std::process::Stdio::from(closed))] {
        let mut command = crate::support::trainer(&format!("{TINY} -v --run-dir {run}"));
        let status =
            command.current_dir(sandbox.path(".")).stderr(stderr).stdin(std::process::Stdio::null()).status();
        assert!(status.unwrap().success(), "{run}");
        assert!(sandbox.path(&format!("{run}/report.html")).exists(), "{run}");
    }
    let mut command = crate::support::trainer("eval nowhere");
    let status = command.current_dir(sandbox.path(".")).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1), "an error stays one");
}

/// A report goes to a device by writing to it: the device stays.
#[cfg(unix)]
#[test]
fn a_device_is_written_to_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    std::os::unix::fs::symlink("/dev/null", sandbox.path("null")).unwrap();
    sandbox.trainer("export run --out null").ok();
    assert!(std::fs::metadata(sandbox.path("null")).unwrap().file_type().is_char_device());
    assert!(std::fs::symlink_metadata(sandbox.path("null")).unwrap().is_symlink());
}

/// Slips in naming data and runs: the message says what was meant.
#[test]
fn names_that_are_nearly_right() {
    let sandbox = crate::drawn::photos();
    sandbox.write("cifar-10-batches-bin/data_batch_1.bin", "");
    sandbox.write("runs/photos-1/model.safetensors", "");
    refused(
        &sandbox,
        &[
            ("photos", 2, &["photos is not a command", "trainer --dataset photos"]),
            ("train photos", 2, &["unexpected argument photos", "--dataset photos"]),
            ("data info photos", 2, &["unexpected argument photos", "--dataset photos"]),
            ("--dataset photo", 1, &["did you mean \"photos\"?"]),
            ("--dataset labels.csv", 1, &["labels.csv does not exist"]),
            ("--dataset cifar-10-batches-bin", 1, &["cifar-10-batches-bin/data_batch_1.bin", "fetch-data"]),
            ("predict photos/cat/00.png runs/photos-1", 1, &["is a picture", "first"]),
            ("predict photos-1 photos/cat/00.png", 1, &["did you mean runs/photos-1?"]),
            ("export photos-1", 1, &["did you mean runs/photos-1?"]),
        ],
    );
    let ran = sandbox.trainer("--dataset photos --epochs 0").fails(&["epochs must be at least 1"]);
    assert!(!ran.stderr.contains("pictures of"), "told before the pictures are listed: {}", ran.stderr);
}
