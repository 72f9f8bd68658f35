//! The visible output of a run: pictures, page and charts at its end; `data grid`; `report --open`; colour.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;

use crate::support::{Sandbox, TINY, trainer};
use serde_json::Value;
use tallow_dataset::load_sample;

/// Returns the entries of `images/index.json` with a role.
fn entries(index: &Value, role: &str) -> Vec<(String, u32, String)> {
    let all = index["pictures"].as_array().unwrap().iter().filter(|entry| entry["role"] == role);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|e| (text(&e["file"]), e["index"].as_u64().unwrap() as u32, text(&e["class"]))).collect()
}

/// Returns the pixels of an RGB picture of 32 x 32.
fn pixels(sandbox: &Sandbox, file: &str) -> Vec<u8> {
    let png = sandbox.read(&format!("run/images/{file}"));
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; 32 * 32 * 3];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn a_run_ends_with_pictures_a_page_and_charts() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    assert_eq!(ran.stdout.lines().last(), Some("Report run/report.html"));
    let index = sandbox.json("run/images/index.json");
    let data = load_sample().unwrap();
    for (role, set) in [("sample", &data.train), ("test", &data.test)] {
        for (file, i, class) in entries(&index, role) {
            assert_eq!(pixels(&sandbox, &file), *set.read(i as usize).unwrap().pixels, "{file}");
            assert_eq!(class, set.class_names()[set.label(i as usize) as usize].raw(), "{file}");
        }
    }
    assert!(entries(&index, "near").is_empty(), "a network that learns as a whole keeps no features");
    let (samples, augmented) = (entries(&index, "sample"), entries(&index, "augmented"));
    let keys = |entries: &[(String, u32, String)]| entries.iter().map(|e| e.1).collect::<Vec<_>>();
    assert_eq!((samples.len(), keys(&samples)), (25, keys(&augmented)));
    assert_eq!(samples.iter().map(|e| &e.2).collect::<BTreeSet<_>>().len(), 10, "all classes");
    let changed =
        samples.iter().zip(&augmented).filter(|(s, a)| pixels(&sandbox, &s.0) != pixels(&sandbox, &a.0));
    assert!(changed.count() > 15);
    assert_eq!(
        (&index["train_counts"], &index["image_px"]),
        (&serde_json::json!(vec![6; 10]), &serde_json::json!([32, 32]))
    );
    let page = sandbox.text("run/report.html");
    let n_test = entries(&index, "test").len();
    assert!(n_test >= 12 && page.matches("src=\"data:image/png;base64,").count() >= 50 + n_test);
    assert!(!page.contains("This run folder is incomplete"));
    for name in ["confusion", "samples", "augmented"] {
        assert!(sandbox.read(&format!("run/plots/{name}.png")).starts_with(b"\x89PNG"), "{name}");
    }
}

#[test]
fn a_run_without_augmentation_shows_each_image_once() {
    let sandbox = Sandbox::new();
    let plain = "--set augment.flip=none --set augment.crop_padding_px=0 --set augment.crop_fill=zero";
    sandbox.trainer(&format!("{TINY} {plain} --run-dir run")).ok();
    let index = sandbox.json("run/images/index.json");
    assert_eq!((entries(&index, "sample").len(), entries(&index, "augmented").len()), (25, 0));
}

/// The results stay, scripts can see what is missing, and the next resume makes it.
#[test]
fn a_report_that_cannot_be_written_has_a_status_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    for file in ["run/report.html", "run/summary.json"] {
        fs::remove_file(sandbox.path(file)).unwrap();
    }
    sandbox.write("run/report.html/in the way", "");
    let ran = sandbox.trainer("train --resume run --offline").ends_with(3);
    assert!(ran.stdout.contains("Test accuracy") && !ran.stdout.contains("Report run"), "{}", ran.stdout);
    ran.says(&[
        "error: the model is trained and tested, but its report could not be written: ",
        "run/report.html",
        "To try again: trainer --resume run",
    ]);
    let summary = sandbox.read("run/summary.json");
    let mut told = sandbox.trainer("train --resume run --offline --json").ends_with(3).json();
    let missing = told.as_object_mut().unwrap().remove("missing");
    assert_eq!(missing, Some(serde_json::json!(["report"])));
    assert_eq!(told, serde_json::from_slice::<Value>(&summary).unwrap());

    fs::remove_dir_all(sandbox.path("run/report.html")).unwrap();
    let ran = sandbox.trainer("train --resume run --offline --json").ok();
    assert_eq!(ran.stdout.as_bytes(), summary, "nothing is missing, and nothing was tested again");
    assert!(sandbox.text("run/report.html").contains("</html>"));
}

#[test]
fn a_run_that_was_over_keeps_its_report_and_gets_one_that_is_missing() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.write("run/report.html", "mine");
    sandbox.trainer("train --resume run --offline").ok();
    assert_eq!(sandbox.text("run/report.html"), "mine");
    fs::remove_file(sandbox.path("run/report.html")).unwrap();
    sandbox.trainer("train --resume run --offline").ok();
    assert!(sandbox.text("run/report.html").contains("</html>"));
    sandbox.write("run/report.html", "of two epochs");
    sandbox.write("run/images/test-9999.png", "of two epochs");
    let json = sandbox
        .trainer("train --resume run --offline --epochs 3 --json")
        .ok()
        .says(&["Report run/report.html"]);
    assert_eq!(json.json()["epochs_run"], 3);
    assert!(sandbox.text("run/report.html").contains("</html>"));
    assert!(!sandbox.path("run/images/test-9999.png").exists());
}

#[test]
fn the_grid_shows_what_a_run_of_the_recipe_shows() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --seed 3 --run-dir run")).ok();
    let drawn = sandbox.trainer("data grid --recipe run/recipe.toml --json").ok().json();
    assert_eq!((&drawn["picture"], &drawn["dataset"]), (&"grid.png".into(), &"sample".into()));
    let drawn = drawn["images"].as_array().unwrap();
    let index = sandbox.json("run/images/index.json");
    let of_run: Vec<u32> = entries(&index, "sample").into_iter().map(|entry| entry.1).collect();
    assert_eq!(drawn.iter().map(|image| image["index"].as_u64().unwrap() as u32).collect::<Vec<_>>(), of_run);
    let told = sandbox.trainer("data grid --augmented --dataset sample --out other.png").ok().stdout;
    assert_eq!(told, "other.png\n");
    assert_ne!(sandbox.read("grid.png"), sandbox.read("other.png"));
    sandbox.trainer("data grid --dataset cifar10").fails(&["cargo xtask fetch-data"]);
    sandbox.trainer("data grid --dataset sample --out no/where.png").fails(&["no/where.png"]);
}

/// Replaces the program that opens pages on a desktop by one that records its argument and exits with `status`.
#[cfg(target_os = "linux")]
#[test]
fn a_page_is_opened_and_is_there_where_it_cannot_be() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    for (status, says) in [(0, ""), (3, "report.html could not be opened")] {
        sandbox.write("bin/xdg-open", format!("#!/bin/sh\necho \"$1\" > opened\nexit {status}\n"));
        fs::set_permissions(sandbox.path("bin/xdg-open"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = trainer("report run --open");
        command.env("PATH", sandbox.path("bin"));
        let ran = sandbox.start_command(command, "report run --open").wait().ok();
        assert_eq!(ran.stdout, "run/report.html\n");
        crate::support::wait_until("the page is opened", || sandbox.path("opened").exists());
        assert!(ran.says(&[says]).stdout.ends_with("report.html\n"));
        assert!(sandbox.text("opened").ends_with("run/report.html\n"));
    }
}

#[test]
fn the_confusion_matrix_is_coloured_only_for_those_who_see_it() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let eval = |variables: &[(&str, &str)]| {
        let mut command = trainer("eval run");
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        sandbox.start_command(command, "eval run").wait().ok().stdout
    };
    let plain = eval(&[]);
    assert!(plain.contains("true class") && plain.contains("Rows: true; columns: predicted"), "{plain}");
    assert!(!plain.contains('\u{1b}'));
    let colored = eval(&[("CLICOLOR_FORCE", "1")]);
    assert!(colored.contains("\u{1b}[31m"), "{colored}");
    assert_eq!(eval(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), plain);
    let codes = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m"];
    assert_eq!(codes.iter().fold(colored, |text, code| text.replace(code, "")), plain);
}
