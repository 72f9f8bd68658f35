//! "None of these", end to end: a run on a frozen backbone's features stores a detector of new pictures, `predict` prints its
//! result, and the report shows how well it works.

use crate::drawn::{CLASSES, TINY_RUN, draw, photos, png};
use crate::support::Sandbox;
use tallow_core::{Purpose, Stream};
use tallow_nn::{decode, encode};

pub(crate) const HEAD: &str = "--recipe resnet18-head --offline --weights weights --set model.input_px=[32,32] --set batch_size=8 \
     --set epochs=2 --set augment.flip=none --dataset photos --run-dir run";

/// Number of pictures of each class.
const N_OF_CLASS: u64 = 25;

/// Creates a sandbox with drawn pictures and untrained weights.
pub(crate) fn with_weights() -> Sandbox {
    let sandbox = Sandbox::new();
    let table = tallow_models::architecture("resnet18").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    sandbox.write("weights/model.safetensors", encode(&model.params.to_tensors().unwrap(), "{}").unwrap());
    let config = r#"{"architecture": "resnet18", "num_classes": 1000, "license": "cc-by-4.0",
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;
    sandbox.write("weights/config.json", config);
    draw(&sandbox, "photos", &CLASSES.map(|(name, _)| (name, N_OF_CLASS)));
    sandbox
}

#[test]
fn a_picture_of_another_kind_is_none_of_these() {
    let sandbox = with_weights();
    sandbox.trainer(HEAD).ok();
    let mut noise = Stream::new(0, Purpose::Test, 9, 0);
    let pixels: Vec<u8> = (0..3 * 40 * 40).map(|_| noise.next_u32() as u8).collect();
    sandbox.write("noise.png", png(40, 40, &pixels));
    sandbox.write("broken.png", b"no picture");

    let said = sandbox.trainer("predict run photos noise.png broken.png --json");
    assert_eq!(said.status, Some(1), "one cannot be read");
    let said = said.json();
    let pictures = said["pictures"].as_array().unwrap();
    let n = 3 * N_OF_CLASS as usize;
    assert_eq!(pictures.len(), n + 1);
    let typicality = |i: usize| pictures[i]["typicality"].as_f64().unwrap();
    let is_none = |i: usize| pictures[i]["none_of_these"].as_bool().unwrap();
    assert!((0..=n).all(|i| is_none(i) == (typicality(i) <= 0.05)));
    assert!(is_none(n), "noise: {}", typicality(n));
    let n_alarms = (0..n).filter(|&i| is_none(i)).count();
    assert!(n_alarms <= 6, "{n_alarms} of the {n} pictures, most of which it has learnt from");
    let alone = sandbox.trainer("predict run noise.png --json --threads 1").ok().json();
    assert_eq!(alone["pictures"][0]["typicality"], pictures[n]["typicality"], "the same bits");

    let lines = sandbox.trainer("predict run noise.png").ok().stdout;
    assert!(lines.trim_end().ends_with("none of these? it is unlike the training pictures"), "{lines}");
    sandbox.trainer("predict run photos noise.png --csv answers.csv").ok();
    let csv = sandbox.text("answers.csv");
    assert!(csv.lines().next().unwrap().ends_with(",typicality,none_of_these"), "{csv}");
    assert!(csv.lines().last().unwrap().ends_with(&format!(",{},true", typicality(n))), "{csv}");
}

#[test]
fn the_report_says_how_well_it_works() {
    let sandbox = with_weights();
    sandbox.trainer(HEAD).ok();
    let record = sandbox.json("run/evaluation/novelty.json");
    assert_eq!(
        record["n_known"], 60,
        "validation is too small: the folds of the training pictures say what is usual"
    );
    assert_eq!(record["test"]["n"], 15);
    let left_out: Vec<&str> =
        record["left_out"].as_array().unwrap().iter().map(|class| class["class"].as_str().unwrap()).collect();
    assert_eq!(left_out, ["cat", "dog", "owl"]);
    let page = sandbox.text("run/report.html");
    let part = page.split_once("id=\"novelty\"").unwrap().1;
    assert!(part.contains("The least usual test images") && part.contains("Each class treated as new"));
    assert_eq!(part.split_once("</section>").unwrap().0.matches("class=\"file\"").count(), 12);
    assert!(sandbox.path("run/plots/novelty.svg").is_file());
    sandbox.trainer("card run").ok();
    let card = sandbox.text("run/README.md");
    assert!(card.contains("Tallow also reports how usual an image is"), "{card}");
    assert!(card.contains("## Licence") && card.contains("Their licence is cc-by-4.0"), "{card}");
    assert_eq!(sandbox.json("run/summary.json")["pretrained"]["licence"], "cc-by-4.0");
    // with folds, every picture is a test picture, predicted by its fold's model
    sandbox.trainer(&format!("{} --folds 3", HEAD.replace("--run-dir run", "--run-dir by-folds"))).ok();
    let record = sandbox.json("by-folds/evaluation/novelty.json");
    assert_eq!((&record["n_known"], &record["test"]), (&75.into(), &serde_json::Value::Null));
    assert!(sandbox.text("by-folds/report.html").contains("id=\"novelty\""));
}

#[test]
fn a_file_whose_numbers_do_not_fit_is_refused() {
    let sandbox = with_weights();
    sandbox.trainer(HEAD).ok();
    let (mut tensors, metadata) = decode(&sandbox.read("run/model.safetensors")).unwrap();
    tensors.remove("novelty.basis").unwrap();
    sandbox.write("other/model.safetensors", encode(&tensors, &metadata.clone().unwrap()).unwrap());
    sandbox
        .trainer("predict other/model.safetensors photos/cat/00.png")
        .fails(&["novelty.", "the file that the run wrote"]);
    // without these tensors it is an ordinary model
    tensors.retain(|name, _| !name.starts_with("novelty."));
    sandbox.write("other/model.safetensors", encode(&tensors, &metadata.unwrap()).unwrap());
    let said = sandbox.trainer("predict other/model.safetensors photos/cat/00.png --json").ok().json();
    assert!(said["pictures"][0]["typicality"].is_null() && said["pictures"][0]["none_of_these"].is_null());
}

#[test]
fn a_network_without_a_frozen_part_does_not_know() {
    let sandbox = photos();
    sandbox.trainer(&format!("--dataset photos --run-dir run --epochs 1 {TINY_RUN}")).ok();
    let said = sandbox.trainer("predict run photos/cat/00.png --json").ok().json();
    assert!(said["pictures"][0]["typicality"].is_null());
    assert!(!sandbox.text("run/report.html").contains("id=\"novelty\""));
}
