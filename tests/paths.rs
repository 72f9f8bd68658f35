//! Paths are bytes: folders and files whose names are not UTF-8 work in every command, and text files hold their names in a
//! form that gives the same bytes back. And what is not a regular file is refused: nothing waits, and nothing reads without
//! end.
#![cfg(target_os = "linux")] // some systems refuse such names

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::drawn::{CLASSES, TINY_RUN, photos, picture};
use crate::support::{Ran, Sandbox, TINY, trainer};
use serde_json::Value;
use tallow_core::path_of;
use tallow_metrics::parse_predictions_csv;

/// Returns the path of these bytes in the sandbox.
fn place(sandbox: &Sandbox, bytes: &[u8]) -> PathBuf {
    sandbox.path("").join(OsStr::from_bytes(bytes))
}

/// Runs `trainer` with the words of `args`, of any bytes.
#[track_caller]
fn run(sandbox: &Sandbox, args: &[u8]) -> Ran {
    let mut command = trainer("");
    command.args(args.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).map(OsStr::from_bytes));
    sandbox.start_command(command, &format!("trainer {}", args.escape_ascii())).wait()
}

/// Draws pictures whose folder and names are not UTF-8; two names of each class differ in such a byte alone.
fn fotos(sandbox: &Sandbox) {
    for (class, (name, n)) in CLASSES.iter().enumerate() {
        let folder = place(sandbox, b"f\xf6tos").join(name);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..*n {
            let stem = match i {
                0 => b"caf\xe9".to_vec(),
                1 => b"caf\xe8".to_vec(),
                i => format!("{i:02}").into_bytes(),
            };
            fs::write(folder.join(OsStr::from_bytes(&[&stem[..], b".png"].concat())), picture(class, i))
                .unwrap();
        }
    }
}

/// Returns the files that `answers` names; each must exist, and no two may be the same.
#[track_caller]
fn files_in(sandbox: &Sandbox, answers: &Value) -> BTreeSet<PathBuf> {
    let answers = answers["pictures"].as_array().unwrap();
    let files: BTreeSet<PathBuf> =
        answers.iter().map(|answer| path_of(answer["file"].as_str().unwrap())).collect();
    assert_eq!(files.len(), answers.len());
    assert!(files.iter().all(|file| sandbox.path("").join(file).is_file()), "{files:?}");
    files
}

fn recipe_in(sandbox: &Sandbox, run: &[u8]) -> toml::Table {
    fs::read_to_string(place(sandbox, run).join("recipe.toml")).unwrap().parse().unwrap()
}

const TRAIN: &[u8] = b"--dataset f\xf6tos --data-dir d\xe4ta --recipe photos-cnn";

fn train(more: &[u8]) -> Vec<u8> {
    [TRAIN, TINY_RUN.as_bytes(), more].join(&b' ')
}

#[test]
fn a_run_whose_every_path_is_bytes() {
    let sandbox = Sandbox::new();
    fotos(&sandbox);
    run(&sandbox, &train(b"--epochs 1 --run-dir r\xfcn")).ok();
    let of_run = |name: &str| place(&sandbox, b"r\xfcn").join(name);
    let text = |name: &str| fs::read_to_string(of_run(name)).unwrap();
    let recipe = recipe_in(&sandbox, b"r\xfcn");
    let [dataset, data_dir] = ["dataset", "data_dir"].map(|key| recipe["data"][key].as_str().unwrap());
    assert!(dataset.ends_with("/f\\xF6tos") && data_dir.ends_with("/d\\xE4ta"), "{recipe}");
    let summary: Value = serde_json::from_str(&text("summary.json")).unwrap();
    assert_eq!((&summary["run_dir"], &summary["dataset"]), (&"r\\xFCn".into(), &"f\\xF6tos".into()));
    let table = parse_predictions_csv(&text("evaluation/predictions_test.csv")).unwrap();
    let files: BTreeSet<PathBuf> = table.files.iter().map(|file| path_of(file.raw())).collect();
    assert_eq!(files.len(), table.files.len());
    assert!(files.iter().all(|file| place(&sandbox, b"f\xf6tos").join(file).is_file()), "{files:?}");

    // the run goes on, and is tested, on the same data from the paths in its recipe
    run(&sandbox, b"--resume r\xfcn --epochs 2").ok();
    let score = run(&sandbox, b"eval r\xfcn --json").ok().json();
    let summary: Value = serde_json::from_str(&text("summary.json")).unwrap();
    assert_eq!((&score["model"], &score["accuracy"]), (&"r\\xFCn".into(), &summary["test"]["accuracy"]));
    assert!(!place(&sandbox, b"data").exists(), "another data folder was made");
    let scans: Vec<_> = fs::read_dir(place(&sandbox, b"d\xe4ta/scans")).unwrap().flatten().collect();
    let n_kept = fs::read_to_string(scans[0].path()).unwrap().lines().count() - 1;
    assert_eq!((scans.len(), n_kept), (1, 39), "the scan of every picture is kept");

    run(&sandbox, &train(b"--epochs 1 --init-from r\xfcn --run-dir zw\xf6lf")).ok();
    let recipe = recipe_in(&sandbox, b"zw\xf6lf");
    assert!(recipe["init_from"].as_str().unwrap().ends_with("/r\\xFCn"), "{recipe}");
    run(&sandbox, b"--recipe zw\xf6lf/recipe.toml --run-dir as\xfe").ok();
    let model = |run: &[u8]| fs::read(place(&sandbox, run).join("model.safetensors")).unwrap();
    assert!(model(b"zw\xf6lf") == model(b"as\xfe"));
}

#[test]
fn commands_take_paths_of_bytes_and_tell_them() {
    let sandbox = Sandbox::new();
    fotos(&sandbox);
    run(&sandbox, &train(b"--epochs 1 --run-dir r\xfcn")).ok();
    run(&sandbox, &train(b"--epochs 1 --seed 1 --run-dir r\xfbn")).ok();

    let together = run(&sandbox, b"predict r\xfcn f\xf6tos --json --csv \xe4.csv").ok().json();
    assert_eq!(files_in(&sandbox, &together).len(), 39);
    let csv = fs::read_to_string(place(&sandbox, b"\xe4.csv")).unwrap();
    assert!(
        csv.contains("f\\xF6tos/cat/caf\\xE9.png,") && csv.contains("f\\xF6tos/cat/caf\\xE8.png,"),
        "{csv}"
    );
    let one = run(&sandbox, b"predict r\xfcn/model.safetensors f\xf6tos/owl/caf\xe9.png --json").ok().json();
    assert_eq!(one["pictures"][0]["file"], "f\\xF6tos/owl/caf\\xE9.png");
    let gone = run(&sandbox, b"predict r\xfcn caf\xe9.png --json").ends_with(1).json();
    assert_eq!(gone["failed"][0]["file"], "caf\\xE9.png");

    let told = run(&sandbox, b"report r\xfcn --out s\xe9ite.html --json").ok().json();
    let made = |text: &Value| sandbox.path("").join(path_of(text.as_str().unwrap()));
    assert_eq!(made(&told["report"]), place(&sandbox, b"s\xe9ite.html"));
    let plots = told["plots"].as_array().unwrap();
    assert!(
        plots
            .iter()
            .all(|plot| made(plot).starts_with(place(&sandbox, b"s\xe9ite-plots")) && made(plot).exists())
    );
    run(&sandbox, b"report r\xfcn r\xfbn --out \xfcber.html").ok();
    let page = fs::read_to_string(place(&sandbox, b"\xfcber.html")).unwrap();
    assert!(page.contains("href=\"./r%FCn/report.html\"") && page.contains("href=\"./r%FBn/report.html\""));
    let compared = run(&sandbox, b"compare r\xfcn r\xfbn --json").ok().json();
    assert_eq!(
        (&compared["runs"][0]["path"], &compared["runs"][1]["run"]),
        (&"r\\xFCn".into(), &"r\\xFBn".into())
    );
    assert_eq!(run(&sandbox, b"card r\xfcn --json").ok().json()["card"], "r\\xFCn/README.md");
    let listed = run(&sandbox, b"runs . --sort name --json").ok().json();
    assert_eq!(
        (&listed["runs"][0]["name"], &listed["runs"][1]["path"]),
        (&"r\\xFBn".into(), &"./r\\xFCn".into())
    );

    let exported = run(&sandbox, b"export r\xfcn --out m\xf6del.onnx --json").ok().json();
    assert_eq!(made(&exported["file"]), place(&sandbox, b"m\xf6del.onnx"));
    let drawn = run(
        &sandbox,
        b"explain r\xfcn f\xf6tos/cat/caf\xe9.png f\xf6tos/cat/caf\xe8.png --out m\xe4ps --json",
    );
    let maps = drawn.ok().json()["pictures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| made(&p["map"]))
        .collect::<BTreeSet<_>>();
    assert!(maps.len() == 2 && maps.iter().all(|map| map.is_file()), "{maps:?}");
    for command in [
        &b"data info --dataset f\xf6tos --data-dir d\xe4ta"[..],
        b"data verify --dataset f\xf6tos --data-dir d\xe4ta",
        b"data duplicates --dataset f\xf6tos --data-dir d\xe4ta --out p\xe4ire.csv",
        b"data grid --recipe r\xfcn/recipe.toml --out gr\xefd.png",
        b"data caches --data-dir d\xe4ta",
        b"recipes r\xfcn",
        b"recipes r\xfcn/recipe.toml",
        b"recipes diff r\xfcn r\xfbn/recipe.toml",
        b"summary r\xfcn",
        b"summary --recipe r\xfcn/recipe.toml",
        b"eval r\xfcn --dataset f\xf6tos --data-dir d\xe4ta",
    ] {
        run(&sandbox, &[command, b" --json"].concat()).ok().json();
    }
}

#[test]
fn series_and_folds_in_folders_of_bytes() {
    let sandbox = Sandbox::new();
    fotos(&sandbox);
    let args = [&b"seeds"[..], TRAIN, TINY_RUN.as_bytes(), b"--epochs 1 --seeds 1 --out r\xebihe --json"]
        .join(&b' ');
    let told = run(&sandbox, &args).ok().json();
    assert_eq!((&told["series"], &told["table"]), (&"r\\xEBihe".into(), &"r\\xEBihe/seeds.csv".into()));
    run(&sandbox, b"seeds --recipe r\xebihe/series.toml --seeds 1 --out r\xebihe").ok();

    run(&sandbox, &train(b"--epochs 1 --folds 2 --run-dir f\xe4lten")).ok();
    let found = run(&sandbox, b"data suspects f\xe4lten --json").ok().json();
    assert_eq!(found["csv"], "f\\xE4lten/suspects.csv");
}

#[test]
fn a_class_whose_name_is_no_text_is_refused_at_once() {
    let sandbox = photos();
    let folder = place(&sandbox, b"photos/k\xe4tze");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("0.png"), picture(0, 20)).unwrap();
    let said = ["photos/k\\xE4tze: the name of this folder is not UTF-8 text", "rename the folder"];
    for command in
        ["--dataset photos --run-dir run", "data info --dataset photos", "data verify --dataset photos"]
    {
        sandbox.trainer(command).fails(&said);
    }
    assert!(!sandbox.path("run").exists() && !sandbox.path("data").exists());
}

/// Makes one thing of each kind that is neither a file nor a folder, with this suffix, in the sandbox.
fn no_files(sandbox: &Sandbox, suffix: &str) -> [String; 3] {
    let names = ["fifo", "zero", "socket"].map(|kind| format!("{kind}{suffix}"));
    let [fifo, zero, socket] = names.each_ref().map(|name| sandbox.path(name));
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    symlink("/dev/zero", zero).unwrap();
    // a socket keeps its name when it is closed
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    names
}

/// A FIFO without a writer, a device without an end and a socket are named, wherever a file is expected.
#[test]
fn what_is_no_file_is_refused_wherever_a_file_is_expected() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    for (suffix, command) in [
        (".toml", "--recipe @"),
        (".toml", "report run --costs @"),
        (".csv", "data info --dataset @"),
        (".zip", "data info --dataset @"),
        (".safetensors", "eval @"),
        (".safetensors", "predict @ run/images/sample-00.png"),
        (".safetensors", "summary @"),
        (".safetensors", "--init-from @ --dataset sample --offline"),
        (".safetensors", "--recipe resnet18-head --dataset sample --offline --weights @"),
    ] {
        for name in no_files(&sandbox, suffix) {
            sandbox.trainer(&command.replace('@', &name)).fails(&[name.as_str()]);
            fs::remove_file(sandbox.path(&name)).unwrap();
        }
    }
    for name in no_files(&sandbox, ".png") {
        let answers = sandbox.trainer(&format!("predict run {name} --json")).ends_with(1).json();
        let reason = answers["failed"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("not a regular file"), "{name}: {reason}");
    }
}

/// The files of a run folder, too: the report names what it cannot read.
#[test]
fn a_run_folder_with_something_else_in_place_of_a_file() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir runs/run")).ok();
    for name in
        ["recipe.toml", "summary.json", "history.csv", "events.jsonl", "evaluation/predictions_test.csv"]
    {
        let path = sandbox.path("runs/run").join(name);
        let bytes = fs::read(&path).unwrap();
        for kind in ["fifo", "zero"] {
            fs::remove_file(&path).unwrap();
            match kind {
                "fifo" => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                _ => symlink("/dev/zero", &path).unwrap(),
            }
            let said = sandbox.trainer("report runs/run --out page.html").says(&[name, "not a regular file"]);
            assert!(matches!(said.status, Some(0 | 1)), "{name}, {kind}: {}", said.stderr);
            sandbox.trainer("runs").ok();
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}
