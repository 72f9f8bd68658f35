//! `trainer verify`: whatever changes in a finished run or in a model file is told, with a remedy; and the commands that read
//! such a file do not use it.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Sandbox, TINY, wait_until, with_description};
use serde_json::Value;
use tallow_core::{Purpose, Stream};

/// Returns a sandbox with a finished run, `run`.
fn with_run() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox
}

/// Returns the names of all files of the run, without the run's own name.
fn files_of(sandbox: &Sandbox, run: &str) -> Vec<String> {
    let names = sandbox.everything().into_iter().filter(|name| sandbox.path(name).is_file());
    names.filter_map(|name| name.strip_prefix(&format!("{run}/")).map(str::to_owned)).collect()
}

/// Verifies `path` and returns the findings about it.
#[track_caller]
fn verified(sandbox: &Sandbox, path: &str, status: i32) -> Value {
    let document = sandbox.trainer(&format!("verify {path} --json")).ends_with(status).json();
    assert_eq!(document["ok"], status == 0, "{document}");
    let found = document["verified"][0].clone();
    assert_eq!(found["path"], path, "{found}");
    assert_eq!(found["ok"], status == 0, "{found}");
    found
}

/// Asserts that exactly the file `name` of the run has a problem, which has all of `parts`.
#[track_caller]
fn only_differs(sandbox: &Sandbox, name: &str, parts: &[&str]) {
    let found = verified(sandbox, "run", 1);
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{name}: {found}");
    assert_eq!(problems[0]["file"], name, "{found}");
    let text = format!("{} {}", problems[0]["problem"], problems[0]["remedy"]);
    for part in parts {
        assert!(text.contains(part), "{name}: no {part:?} in {text}");
    }
}

#[track_caller]
fn texts(found: &Value, key: &str) -> Vec<String> {
    found[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Changes one digit of the last log-probability of a table of predictions, so that it can still be read.
fn with_another_digit(table: &[u8]) -> Vec<u8> {
    let mut table = table.to_vec();
    let at = table.iter().rposition(u8::is_ascii_digit).unwrap();
    table[at] = if table[at] == b'5' { b'6' } else { b'5' };
    table
}

/// Lowers all log-probabilities of the last row of a table, so that it can still be read.
fn with_another_loss(table: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(table).unwrap().trim_end();
    let (before, last) = text.rsplit_once('\n').unwrap();
    let lowered = |(i, field): (usize, &str)| match field.parse::<f32>() {
        Ok(log_prob) if i > 0 => (log_prob - 1.0).to_string(),
        _ => field.to_owned(),
    };
    let last: Vec<String> = last.split(',').enumerate().map(lowered).collect();
    format!("{before}\n{}\n", last.join(",")).into_bytes()
}

#[test]
fn every_file_of_a_run_is_recorded_and_every_change_is_told() {
    let sandbox = with_run();
    sandbox.write("picture.png", sandbox.read("run/images/sample-00.png"));
    for command in ["card run", "export run", "export run --format web", "explain run picture.png"] {
        sandbox.trainer(command).ok();
    }
    let told = sandbox.trainer("verify run").ok();
    assert!(told.stdout.starts_with("run: nothing differs\n  "), "{}", told.stdout);
    for part in [
        "files as recorded",
        "model.safetensors matches",
        "3 checkpoints match",
        "test.csv gives",
        "val.csv gives",
    ] {
        assert!(told.stdout.contains(part), "no {part:?} in {}", told.stdout);
    }
    let mut names = files_of(&sandbox, "run");
    names.retain(|name| name != "manifest.json");
    let manifest = sandbox.json("run/manifest.json");
    let recorded: Vec<&str> =
        manifest["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(recorded, names);
    assert_eq!(verified(&sandbox, "run", 0)["unknown"], Value::Array(vec![]));

    // one file of each folder, and each file beside them
    let mut of_folder: BTreeMap<&str, &String> = BTreeMap::new();
    for name in &names {
        of_folder.entry(name.split('/').next().unwrap()).or_insert(name);
    }
    assert_eq!(of_folder.len(), 15, "{of_folder:?}");
    for (i, name) in of_folder.into_values().enumerate() {
        let path = format!("run/{name}");
        let whole = sandbox.read(&path);
        let mut random = Stream::new(0, Purpose::Test, 0, i as u64);
        let mut flipped = whole.clone();
        flipped[random.below(whole.len() as u32) as usize] ^= 1 << random.below(8);
        sandbox.write(&path, flipped);
        only_differs(&sandbox, name, &["has other content than was recorded"]);
        if i % 2 == 0 {
            sandbox.write(&path, &whole[..whole.len() - 1]);
            only_differs(&sandbox, name, &[&format!("{} were recorded", whole.len())]);
        } else {
            fs::remove_file(sandbox.path(&path)).unwrap();
            only_differs(&sandbox, name, &["is missing"]);
        }
        sandbox.write(&path, whole);
    }
    // something else in the place of a file
    let (page, aside) = (sandbox.path("run/report.html"), sandbox.path("aside"));
    fs::rename(&page, &aside).unwrap();
    fs::create_dir(&page).unwrap();
    let remedy = ["expected a regular file: move it away", "trainer report run writes it again"];
    only_differs(&sandbox, "report.html", &["is a folder, ", remedy[0], remedy[1]]);
    fs::remove_dir(&page).unwrap();
    #[cfg(unix)]
    {
        assert!(std::process::Command::new("mkfifo").arg(&page).status().unwrap().success());
        only_differs(&sandbox, "report.html", &["is a FIFO (a named pipe), ", remedy[0], remedy[1]]);
        fs::remove_file(&page).unwrap();
    }
    fs::rename(&aside, &page).unwrap();

    sandbox.write("run/notes.txt", "mine");
    assert_eq!(texts(&verified(&sandbox, "run", 0), "unknown"), ["notes.txt"]);
    let told = sandbox.trainer("verify run").ok().stdout;
    assert!(told.ends_with("\n  not recorded, so not checked: notes.txt\n"), "{told}");
}

/// No command takes figures from a table that has changed, and none hides the change.
#[test]
fn a_changed_digit_of_a_prediction_reaches_no_figure() {
    let sandbox = with_run();
    for name in files_of(&sandbox, "run") {
        sandbox.write(&format!("other/{name}"), sandbox.read(&format!("run/{name}")));
    }
    let table = "evaluation/predictions_test.csv";
    sandbox.trainer("compare run other").ok();
    sandbox.write(&format!("run/{table}"), with_another_digit(&sandbox.read(&format!("run/{table}"))));
    only_differs(&sandbox, table, &["other content", "remove run/summary.json", "trainer --resume run"]);
    let says = [table, "has other content than was recorded in manifest.json", "trainer verify run"];
    sandbox.trainer("compare run other").fails(&says);
    sandbox.trainer("card run").fails(&says);
    sandbox.trainer("report run").ok().says(&says);
    assert!(sandbox.text("run/report.html").contains("This run folder is incomplete"));
    only_differs(&sandbox, table, &["other content"]); // the page was recorded anew, the table was not

    // the remedy that it names
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    sandbox.trainer("--resume run --offline").ok();
    verified(&sandbox, "run", 0);
    assert!(sandbox.read(&format!("run/{table}")) == sandbox.read(&format!("other/{table}")));
}

/// A flipped bit used to cost accuracy without a word.
#[test]
fn a_damaged_model_file_is_used_by_no_command() {
    let sandbox = with_run();
    let whole = sandbox.read("run/model.safetensors");
    let header_bytes = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut random = Stream::new(0, Purpose::Test, 0, 1);
    let seeded = (0..1_000).map(|_| random.below(whole.len() as u32) as usize);
    let places = (0..header_bytes).chain([header_bytes, whole.len() - 1]).chain(seeded);
    for (i, at) in places.enumerate() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (i % 8);
        sandbox.write("bad.safetensors", flipped);
        let read = tallow_training::read_model(&sandbox.path("bad.safetensors"));
        assert!(read.is_err(), "byte {at}, bit {}", i % 8);
    }

    let mut flipped = whole.clone();
    flipped[whole.len() - 1_000] ^= 0x40;
    sandbox.write("bad.safetensors", &flipped);
    sandbox.write("run/model.safetensors", &flipped);
    sandbox.write("pictures/a.png", "nobody looks at it");
    let mut commands = vec![
        "eval bad.safetensors".to_owned(),
        "eval run".to_owned(),
        "predict bad.safetensors pictures".to_owned(),
        "explain bad.safetensors pictures".to_owned(),
        "summary bad.safetensors".to_owned(),
        "export bad.safetensors".to_owned(),
        "export bad.safetensors --format safetensors --out copy.safetensors".to_owned(),
        format!("{TINY} --init-from bad.safetensors"),
        "--recipe resnet18-head --dataset sample --offline --weights bad.safetensors".to_owned(),
    ];
    if cfg!(feature = "serve") {
        commands.push("serve bad.safetensors --port 0".to_owned());
    }
    for command in commands {
        sandbox.trainer(&command).fails(&["does not match the digest that it carries"]);
    }
    let problem = verified(&sandbox, "bad.safetensors", 1)["problems"][0]["problem"].clone();
    assert!(problem.as_str().unwrap().contains("use an intact copy"), "{problem}");
    only_differs(&sandbox, "model.safetensors", &["other content", "restore it from a copy"]);
}

#[test]
fn a_model_file_is_verified_by_its_own_digest() {
    let sandbox = with_run();
    let whole = sandbox.read("run/model.safetensors");
    sandbox.trainer("export run --format safetensors --out copy.safetensors").ok();
    assert_eq!(texts(&verified(&sandbox, "copy.safetensors", 0), "checked").len(), 1);
    // of an older version, or changed on purpose
    sandbox.write("old.safetensors", with_description(&whole, |_| ()));
    sandbox.trainer("eval old.safetensors").ok();
    let found = verified(&sandbox, "old.safetensors", 0);
    assert!(texts(&found, "notes")[0].contains("carries no digest"), "{found}");
    sandbox.trainer("export old.safetensors --format safetensors --out new.safetensors").ok();
    assert_eq!(sandbox.read("new.safetensors"), whole);
    // the model of another run in its place
    sandbox.trainer(&format!("{TINY} --seed 1 --run-dir other")).ok();
    sandbox.write("run/model.safetensors", sandbox.read("other/model.safetensors"));
    only_differs(&sandbox, "model.safetensors", &["recorded"]);
    let found = verified(&sandbox, "run", 1);
    assert!(texts(&found, "checked").iter().any(|text| text.contains("matches the digest")), "{found}");
}

/// An older version wrote no manifest: what carries a digest, can be computed again or must be readable is checked.
#[test]
fn a_run_without_a_manifest_is_checked_as_far_as_it_can_be() {
    let sandbox = with_run();
    fs::remove_file(sandbox.path("run/manifest.json")).unwrap();
    let found = verified(&sandbox, "run", 0);
    assert!(texts(&found, "notes")[0].contains("there is no manifest.json"), "{found}");
    assert_eq!(texts(&found, "checked").len(), 4, "{found}");

    let damaged = |name: &str, damage: &dyn Fn(&[u8]) -> Vec<u8>, parts: &[&str]| {
        let path = format!("run/{name}");
        let whole = sandbox.read(&path);
        sandbox.write(&path, damage(&whole));
        only_differs(&sandbox, name, parts);
        sandbox.write(&path, whole);
    };
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        bytes
    };
    damaged("model.safetensors", &flipped, &["does not match the digest"]);
    damaged("checkpoints/previous", &flipped, &["does not match its digest"]);
    damaged("evaluation/predictions_test.csv", &with_another_loss, &["gives a loss of", "summary.json says"]);
    damaged(
        "evaluation/predictions_val.csv",
        &|bytes| bytes[..bytes.len() - 1].to_vec(),
        &["ends in the middle"],
    );
    damaged("history.csv", &|_| b"epoch\n".to_vec(), &["--resume run"]);
    let without_last_line = |bytes: &[u8]| {
        let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        bytes[..=end].to_vec()
    };
    damaged("evaluation/predictions_test.csv", &without_last_line, &["999 predictions", "says 1000"]);
    let summary = sandbox.json("run/summary.json");
    damaged(
        "evaluation/predictions_test.csv",
        &|bytes| {
            // the summary is changed in its place
            let mut summary = summary.clone();
            summary["test"]["accuracy"] = 0.9999.into();
            sandbox.write("run/summary.json", summary.to_string());
            bytes.to_vec()
        },
        &["gives an accuracy of", "summary.json says 0.9999"],
    );
    sandbox.write("run/summary.json", serde_json::to_string_pretty(&summary).unwrap());
    fs::remove_file(sandbox.path("run/evaluation/predictions_test.csv")).unwrap();
    only_differs(&sandbox, "evaluation/predictions_test.csv", &["is missing"]);

    // a link to itself stands for a disk that fails
    #[cfg(unix)]
    for name in ["model.safetensors", "checkpoints/best", "summary.json"] {
        let path = sandbox.path(&format!("run/{name}"));
        let whole = sandbox.read(&format!("run/{name}"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
        let found = verified(&sandbox, "run", 1).to_string();
        assert!(found.contains(&format!("cannot read run/{name}: ")), "{name}: {found}");
        fs::remove_file(&path).unwrap();
        sandbox.write(&format!("run/{name}"), whole);
    }

    // another command does not make up a manifest
    sandbox.trainer("report run").ok();
    assert!(!sandbox.path("run/manifest.json").exists());
}

#[test]
fn a_run_at_work_has_no_manifest_and_gets_one_at_each_end() {
    let sandbox = Sandbox::new();
    let (running, gag) = sandbox.start_gagged(&format!("{TINY} --run-dir run"));
    wait_until("the run folder is there", || sandbox.path("run").exists());
    let found = verified(&sandbox, "run", 0);
    assert!(texts(&found, "notes")[0].contains("a process works on the run"), "{found}");
    drop(gag);
    running.kill();
    if !sandbox.path("run/manifest.json").exists() {
        let found = verified(&sandbox, "run", 0);
        assert!(texts(&found, "notes")[0].contains("trainer --resume run goes on"), "{found}");
    }
    sandbox.trainer("--resume run").ok();
    verified(&sandbox, "run", 0);

    // killed between the manifest and the summary
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    only_differs(&sandbox, "summary.json", &["is missing", "trainer --resume run"]);
    let (running, _gag) = sandbox.start_gagged("--resume run --epochs 200");
    wait_until("it goes on", || sandbox.text("run/recipe.toml").contains("epochs = 200"));
    assert!(!sandbox.path("run/manifest.json").exists());
    running.kill();
    sandbox.trainer(&format!("{TINY} --run-dir again")).ok();
    for command in ["card again", "export again"] {
        sandbox.trainer(command).ok();
    }
    sandbox.trainer("--resume again --epochs 3").ok();
    let found = verified(&sandbox, "again", 0);
    assert_eq!(found["unknown"], Value::Array(vec![]), "{found}");
    let manifest = sandbox.text("again/manifest.json");
    for name in ["before-extension/epoch-2/model.safetensors", "README.md", "model.onnx"] {
        assert!(manifest.contains(name), "no {name} in {manifest}");
    }

    // what other commands wrote is checked while the run is at work, and after it
    sandbox.write("again/README.md", "changed");
    let differs = |run: &str| {
        let found = verified(&sandbox, run, 1);
        assert_eq!(found["problems"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["problems"][0]["file"], "README.md", "{found}");
        texts(&found, "notes")
    };
    let (running, _gag) = sandbox.start_gagged("--resume again --epochs 200");
    wait_until("it goes on", || !sandbox.path("again/summary.json").exists());
    assert!(differs("again")[0].contains("a process works on the run"));
    running.kill();
    assert!(differs("again")[0].contains("trainer --resume again goes on"));
    sandbox.trainer(&format!("{TINY} --run-dir third")).ok();
    sandbox.trainer("card third").ok();
    sandbox.write("third/README.md", "changed");
    sandbox.trainer("--resume third --epochs 3").ok();
    assert!(differs("third").is_empty());
}

/// Killed between its results and its last file, a run is neither whole nor damaged.
#[test]
fn an_end_that_is_not_complete_is_told_from_damage() {
    let sandbox = with_run();
    assert_eq!(verified(&sandbox, "run", 0)["left_to_make"], Value::Null);
    sandbox.write("run/checkpoints/ending", "pictures\n");
    fs::remove_file(sandbox.path("run/report.html")).unwrap();
    sandbox.write("run/plots/confusion.svg", "a part of a chart");
    sandbox.write("run/plots/new.svg", "a chart");
    let left = ["its report", "its pictures for TensorBoard", "the digests of these files"];
    let found = verified(&sandbox, "run", 3);
    assert_eq!(texts(&found, "left_to_make"), left);
    assert_eq!((&found["problems"], &found["unknown"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let told = sandbox.trainer("verify run run/model.safetensors").ends_with(3).stdout;
    for part in [
        "run: nothing differs, but something is left to make\n",
        "the end of this run is not complete; left to make: its report, ",
        "; trainer --resume run completes it\n",
        "files as recorded",
        "run/model.safetensors: nothing differs\n",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    // all steps were taken, and only the list of them is left
    let taken = "pictures\nreport\ntensorboard\nrace\nmanifest\n";
    sandbox.write("run/checkpoints/ending", taken);
    assert_eq!(texts(&verified(&sandbox, "run", 3), "left_to_make"), [""; 0]);

    // damage of the results counts for more
    let table = "run/evaluation/predictions_test.csv";
    let whole = sandbox.read(table);
    sandbox.write(table, with_another_digit(&whole));
    let found = verified(&sandbox, "run", 1);
    assert_eq!((texts(&found, "left_to_make").len(), found["problems"].as_array().unwrap().len()), (0, 1));
    sandbox.write(table, whole);

    // a process is at it
    let events = fs::File::open(sandbox.path("run/events.jsonl")).unwrap();
    events.lock().unwrap();
    let found = verified(&sandbox, "run", 0);
    assert!(texts(&found, "notes")[0].contains("a process makes the rest"), "{found}");
    drop(events);

    sandbox.write("run/checkpoints/ending", "pictures\n");
    sandbox.trainer("--resume run").ok();
    verified(&sandbox, "run", 0);
}

#[test]
fn what_is_no_run_or_model_is_told_and_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    sandbox.trainer("verify").ends_with(2).says(&["<RUN|MODEL>"]);
    sandbox.trainer(&format!("{TINY} --run-dir runs/a")).ok();
    sandbox.write("series/series.toml", "");
    sandbox.write("page.safetensors", "<html>");
    for (path, part) in [
        ("nowhere", "nowhere"),
        ("runs", "trainer verify runs/*"),
        ("series", "a series of seeds without a run that can be read"),
        ("page.safetensors", "not a readable safetensors file"),
    ] {
        let problem = verified(&sandbox, path, 1)["problems"][0]["problem"].clone();
        assert!(problem.as_str().unwrap().contains(part), "{problem}");
    }
    sandbox.trainer(&format!("{TINY} --run-dir series/seed-7")).ok();
    let verified = sandbox.trainer("verify --json series runs/a").ok().json()["verified"].clone();
    let paths: Vec<&str> = verified.as_array().unwrap().iter().map(|v| v["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["series/seed-7", "runs/a"], "the runs of a series stand in its place");
    let told = sandbox.trainer("verify nowhere runs/a runs/a/model.safetensors").ends_with(1).stdout;
    let heads: Vec<&str> = told.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        heads,
        ["nowhere: 1 problem", "runs/a: nothing differs", "runs/a/model.safetensors: nothing differs"]
    );
    sandbox.write("runs/a/manifest.json", "{");
    let told = sandbox.trainer("verify runs/a").ends_with(1).stdout;
    assert!(told.contains("runs/a/manifest.json: ") && told.contains("restore it from a copy"), "{told}");
    sandbox.trainer("report runs/a").ends_with(1).says(&["manifest.json"]);
}
