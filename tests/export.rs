//! Tests `trainer export`, `summary` and `explain`: ONNX files, the page for a browser, lists of layers, and activation maps.
//! `cargo xtask check-onnx` checks what the ONNX files compute, and `tests/browser/web.py` checks the page.

use std::fs;

use crate::support::{Sandbox, TINY};

/// Creates a sandbox with a finished run in `run`, and two of its test images as PNGs.
fn with_run(args: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} {args} --run-dir run")).ok();
    let images = fs::read_dir(sandbox.path("run/images")).unwrap().map(|entry| entry.unwrap().path());
    let tests = images.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("test-"));
    for (path, name) in tests.take(2).zip(["a.png", "b.png"]) {
        fs::copy(path, sandbox.path(name)).unwrap();
    }
    sandbox
}

fn contains(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn an_onnx_file_has_the_names_of_all_that_a_caller_needs() {
    let sandbox = with_run("--set evaluation.flip=true");
    let told = sandbox.trainer("export run").ok().stdout;
    for text in
        ["run/model.onnx", "images: bytes (N, 32, 32, 3)", "(N, 10)", "resize the whole picture to 32 x 32"]
    {
        assert!(told.contains(text), "{told}");
    }
    let file = sandbox.read("run/model.onnx");
    for text in
        ["class_names", "\"automobile\"", "probabilities", "logits", "features.0.weight", "tallow", "Gather"]
    {
        assert!(contains(&file, text), "{text}");
    }
    let halves =
        sandbox.trainer("export run/model.safetensors --weights f16 --out half.onnx --json").ok().json();
    assert_eq!(halves["bytes"], sandbox.read("half.onnx").len());
    assert_eq!(halves["onnx"]["input_shape"], serde_json::json!([32, 32, 3]));
    assert!(sandbox.read("half.onnx").len() < file.len());
    sandbox.trainer("export run").ok(); // a second export gives the same bytes
    assert_eq!(sandbox.read("run/model.onnx"), file);
}

#[test]
fn a_page_comes_with_its_model() {
    let sandbox = with_run("");
    let told = sandbox.trainer("export run --format web").ok().stdout;
    assert!(told.contains("onnxruntime-web") && told.contains("README.txt"), "{told}");
    let about = sandbox.json("run/web/model.json");
    assert_eq!(about["classes"][1], "automobile");
    assert_eq!(about["preprocess"]["size_px"], serde_json::json!([32, 32]));
    let page = sandbox.text("run/web/index.html");
    for file in ["page.js", "fit.js", "style.css"] {
        assert!(page.contains(file) && !sandbox.read(&format!("run/web/{file}")).is_empty(), "{file}");
    }
    assert!(!page.contains("http"), "it fetches nothing from elsewhere");
    sandbox.trainer("export run").ok();
    assert_eq!(sandbox.read("run/web/model.onnx"), sandbox.read("run/model.onnx"));
}

#[test]
fn safetensors_go_where_they_are_asked_to() {
    let sandbox = with_run("");
    sandbox.trainer("export run --format safetensors").fails(&["--out"]);
    sandbox.trainer("export run --format safetensors --weights f16 --out x").fails(&["--weights f16"]);
    sandbox.trainer("export run --format safetensors --out copy.safetensors").ok();
    assert_eq!(sandbox.read("copy.safetensors"), sandbox.read("run/model.safetensors"));
    sandbox.trainer("export nowhere").fails(&["nowhere"]);
}

#[test]
fn layers_are_listed_with_their_sizes() {
    let sandbox = with_run("");
    let told = sandbox.trainer("summary run").ok().stdout;
    let [first, last] = [told.lines().nth(1).unwrap(), told.lines().last().unwrap()];
    // 4 kernels of 3 x 3 x 3 with a bias each, on 32 x 32 places
    assert!(first.contains("features.0") && first.contains("4 x 32 x 32"), "{told}");
    assert!(first.contains("112") && first.contains("110,592"), "{told}");
    assert!(last.contains("5,382"), "{told}");
    let document = sandbox.trainer("summary --recipe cnn --classes 100 --json").ok().json();
    assert_eq!(document["architecture"], "cnn");
    assert_eq!(document["layers"].as_array().unwrap().last().unwrap()["output"], serde_json::json!([100]));
    let wider = sandbox.trainer("summary --recipe cnn --set model.dense=256 --json").ok().json();
    assert_eq!(
        wider["layers"].as_array().unwrap().iter().filter(|layer| layer["output"][0] == 256).count(),
        2,
        "{wider}"
    );
    sandbox.trainer("summary run --set model.dense=256").ends_with(2);
}

#[test]
fn pictures_are_explained() {
    let sandbox = with_run("");
    let told = sandbox.trainer("explain run a.png b.png --class cat --json").ok().json();
    assert_eq!(told["pictures"][1]["class"], "cat");
    assert_eq!(told["pictures"][0]["map"], "run/explanations/a-cat.png");
    for map in ["a-cat.png", "b-cat.png"] {
        assert!(sandbox.read(&format!("run/explanations/{map}")).starts_with(b"\x89PNG"));
    }
    sandbox.trainer("explain run a.png --class cta").fails(&["cta", "did you mean \"cat\"?"]);
    sandbox.write("bad.png", b"no picture");
    sandbox.trainer("explain run bad.png a.png --out maps").ends_with(1).says(&["bad.png"]);
    assert_eq!(fs::read_dir(sandbox.path("maps")).unwrap().count(), 1, "the other picture has its map");
    assert!(sandbox.text("run/report.html").contains("spoke for the wrong class"));
}
