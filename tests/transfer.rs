//! Transfer learning, end to end: weights from a folder, features that are computed once and cached, and heads on them.

use std::fs;

use crate::drawn::{CLASSES, draw, picture};
use crate::support::{Sandbox, TINY, changed, trainer};
use serde_json::{Value, json};
use tallow_nn::{HostTensor, Init, decode, encode};

/// A head on a frozen ResNet-18 at 32 pixels, with some images of the sample.
const HEAD: &str = "--recipe resnet18-head --dataset sample --offline --weights weights --set model.input_px=[32,32] \
     --set data.train_subset=100 --set batch_size=50 --set epochs=2 --set augment.flip=random";

/// Creates a folder `weights` in the hub's format, with untrained weights.
fn with_weights() -> Sandbox {
    with_weights_of("resnet18")
}

fn with_weights_of(architecture: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let table = tallow_models::architecture(architecture).unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    let tensors = model.params.to_tensors().unwrap();
    sandbox.write("weights/model.safetensors", encode(&tensors, "{}").unwrap());
    let config = r#"{"architecture": "resnet18", "num_classes": 1000,
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;
    sandbox.write("weights/config.json", config.replace("resnet18", architecture));
    sandbox
}

/// Returns the files of features, with their bytes.
fn features(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    all_features(sandbox).into_iter().filter(|(name, _)| name.starts_with("data/")).collect()
}

/// Returns the files of features in all data folders.
fn all_features(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    let is_shard = |name: &String| name.contains("/features/") && name.ends_with(".safetensors");
    let all = sandbox.everything().into_iter().filter(is_shard);
    all.map(|name| (name.clone(), sandbox.read(&name))).collect()
}

/// Returns the features alone; the seconds stored with them differ each time.
fn numbers(files: &[(String, Vec<u8>)]) -> Vec<(&str, HostTensor)> {
    let of = |bytes: &[u8]| decode(bytes).unwrap().0.remove("features").unwrap();
    files.iter().map(|(name, bytes)| (name.as_str(), of(bytes))).collect()
}

#[test]
fn features_are_computed_once_and_serve_every_head() {
    let sandbox = with_weights();
    let first = sandbox.trainer(&format!("{HEAD} --run-dir first")).ok();
    assert!(!first.stderr.contains("classifier"), "a network without one is no news: {}", first.stderr);
    let made = features(&sandbox);
    assert_eq!(made.len(), 3, "training images, their mirror images, test images");
    // the saved model includes backbone and head
    let score = sandbox.trainer("eval first --json").ok().json();
    assert_eq!(score["accuracy"], sandbox.json("first/summary.json")["test"]["accuracy"]);

    // a damaged shard is noticed and computed again with the same bits; the others are not touched
    let (damaged, whole) = (&made[0].0, &made[1].0);
    let mut bytes = made[0].1.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    sandbox.write(damaged, &bytes);
    let untouched = fs::metadata(sandbox.path(whole)).unwrap().modified().unwrap();
    let second = sandbox.trainer(&format!("{HEAD} --seed 1 --set model.head.hidden=8 --run-dir second")).ok();
    assert!(second.stderr.contains("is damaged"), "{}", second.stderr);
    assert!(numbers(&features(&sandbox)) == numbers(&made));
    assert_eq!(fs::metadata(sandbox.path(whole)).unwrap().modified().unwrap(), untouched);
    sandbox.trainer("eval second").ok();
}

/// Features are cached by picture. If a folder grows, is sorted anew and renamed, only new pictures are computed. The result
/// has the same bits as without a cache.
#[test]
fn only_new_pictures_are_computed() {
    let sandbox = with_weights();
    draw(&sandbox, "photos", &CLASSES);
    let head = "--recipe resnet18-head --offline --weights weights --set model.input_px=[32,32] --set batch_size=8 \
         --set epochs=2 --set augment.flip=none";
    let n_of_shards = |data: &str| -> Vec<usize> {
        let of_data = |(name, _): &(String, Vec<u8>)| name.starts_with(&format!("{data}/features/"));
        let n = |(_, bytes): &(String, Vec<u8>)| decode(bytes).unwrap().0["features"].shape[0];
        let mut n: Vec<usize> = all_features(&sandbox).iter().filter(|file| of_data(file)).map(n).collect();
        n.sort_unstable();
        n
    };
    sandbox.trainer(&format!("{head} --dataset photos --run-dir first")).ok();
    let before = n_of_shards("data");
    assert_eq!(before.iter().sum::<usize>(), 39, "every picture once");
    // three new pictures, one removed, one renamed, one with another class
    for i in 20..23 {
        sandbox.write(&format!("photos/owl/{i}.png"), picture(2, i));
    }
    fs::remove_file(sandbox.path("photos/cat/00.png")).unwrap();
    fs::rename(sandbox.path("photos/cat/01.png"), sandbox.path("photos/cat/renamed.png")).unwrap();
    fs::rename(sandbox.path("photos/dog/02.png"), sandbox.path("photos/owl/moved.png")).unwrap();
    sandbox.trainer(&format!("{head} --dataset photos --run-dir second")).ok();
    let after = n_of_shards("data");
    assert_eq!(after.iter().sum::<usize>(), 42, "the three new ones: {after:?}");
    let secs = |run: &str| {
        let summary = sandbox.json(&format!("{run}/summary.json"));
        ["features_own_seconds", "features_seconds"].map(|key| summary[key].as_f64().unwrap())
    };
    let ([own, all], [new, second]) = (secs("first"), secs("second"));
    assert!(own > 0.0 && own == all && new > 0.0 && new < second, "{own} of {all}, {new} of {second}");
    sandbox.trainer(&format!("{head} --dataset photos --seed 1 --run-dir third")).ok();
    assert_eq!((secs("third"), n_of_shards("data")), ([0.0, second], after));

    sandbox.trainer(&format!("{head} --dataset photos --data-dir fresh --run-dir alone")).ok();
    assert_eq!(n_of_shards("fresh").iter().sum::<usize>(), 41);
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        assert!(sandbox.read(&format!("second/{file}")) == sandbox.read(&format!("alone/{file}")), "{file}");
    }
}

/// Features from seeded weights and the sample, by instruction set and precision: SHA-256 of the features of all 3,000
/// images. Cached features are reused as long as `kernels_version` is the same, so it must change when these numbers do.
#[cfg(target_arch = "x86_64")]
const FEATURES_OF_VERSION: (u64, [(&str, &str, &str, &str); 6]) = (
    3,
    [
        ("resnet18", "avx2", "f32", "9306156376cadd52cc5313ebc5b2e10da3816d996db0a3839540cae37cb4eafc"),
        ("resnet18", "avx512", "f32", "9306156376cadd52cc5313ebc5b2e10da3816d996db0a3839540cae37cb4eafc"),
        (
            "resnet18",
            "avx512bf16",
            "bf16",
            "42c618c2316dd737d8ec00f420e451934c935cd1fdeedafadc3192d90e4df870",
        ),
        (
            "tf_efficientnet_lite0",
            "avx2",
            "f32",
            "b2c6496f791bdc13490a7ec4193361052e0bfcca6e39aedabe3db74f64b0e7b8",
        ),
        (
            "tf_efficientnet_lite0",
            "avx512",
            "f32",
            "b2c6496f791bdc13490a7ec4193361052e0bfcca6e39aedabe3db74f64b0e7b8",
        ),
        (
            "tf_efficientnet_lite0",
            "avx512bf16",
            "bf16",
            "003645a7a82cca751c0fcd3b5bbb9f347701b55ce9ad84796e2eb63d6cb042e6",
        ),
    ],
);

#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_that_give_other_numbers_have_another_version() {
    let (version, goldens) = FEATURES_OF_VERSION;
    for (network, isa, precision, expected) in goldens {
        let sandbox = with_weights_of(network);
        let head = changed(HEAD, "--set augment.flip=none --set epochs=1 --run-dir run");
        let mut command = trainer(&format!("{head} --set model.name={network} --precision {precision}"));
        command.env("TALLOW_ISA", isa);
        let ran = sandbox.start_command(command, isa).wait();
        if tallow_nn::detect_isa(Some(isa)).is_err() {
            ran.fails(&[&format!("TALLOW_ISA: this processor does not have {isa}")]);
            assert!(features(&sandbox).is_empty(), "nothing is computed on a processor without {isa}");
            continue;
        }
        ran.ok();
        let files = features(&sandbox);
        let key = files[0].0.rsplit_once('/').unwrap().0;
        assert_eq!(sandbox.json(&format!("{key}/key.json"))["key"]["kernels_version"], version);
        let mut shards: Vec<Vec<f32>> = numbers(&files).into_iter().map(|(_, of)| of.data).collect();
        shards.sort_by_key(Vec::len); // the test shard first, whatever the names
        let bytes: Vec<u8> = shards.concat().iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = tallow_core::digest::of_bytes(&bytes);
        assert_eq!(
            found, expected,
            "{network}, {isa} in {precision}: the kernels give other features than version {version} did: raise KERNELS_VERSION in \
             crates/training/src/features.rs, and write down the new digests here"
        );
    }
}

/// The report shows the most confident errors beside the training images with the most similar features, among those that
/// were trained on.
#[test]
fn errors_are_shown_beside_the_training_images_that_are_most_alike() {
    let sandbox = with_weights();
    sandbox.trainer(&format!("{HEAD} --run-dir run")).ok();
    let index = sandbox.json("run/images/index.json");
    let near: Vec<&Value> =
        index["pictures"].as_array().unwrap().iter().filter(|entry| entry["role"] == "near").collect();
    assert_eq!(near.len(), 12 * 3);
    let data = tallow_dataset::load_sample().unwrap();
    for three in near.chunks(3) {
        let similarity = |entry: &Value| entry["near"][1].as_f64().unwrap();
        assert!(three.iter().all(|entry| entry["near"][0] == three[0]["near"][0]));
        assert!(three.is_sorted_by(|a, b| similarity(a) >= similarity(b)) && similarity(three[0]) <= 1.0001);
        for entry in three {
            let label = data.train.label(entry["index"].as_u64().unwrap() as usize) as usize;
            assert_eq!(entry["class"], *data.train.class_names()[label].raw());
            assert!(sandbox.path(&format!("run/images/{}", entry["file"].as_str().unwrap())).is_file());
        }
    }
    let page = sandbox.text("run/report.html");
    assert_eq!(page.matches("class=\"near\"").count(), 12);
    assert!(page.contains(": similarity 0.") && page.contains("look most like it to the backbone"));
}

#[test]
fn caches_are_listed_and_removed() {
    let sandbox = with_weights();
    assert_eq!(sandbox.trainer("data caches").ok().stdout, "No features are kept in data/features.\n");
    sandbox.trainer(&format!("{HEAD} --run-dir mirrored")).ok().says(&[" for the features of 5000 images"]);
    let plain = HEAD.replace("[32,32]", "[20,24]");
    sandbox.trainer(&changed(&plain, "--set augment.flip=none --run-dir plain")).ok();
    sandbox.write("data/features/mine/notes.txt", "");

    let list = || sandbox.trainer("data caches --json").ok().json();
    let caches = list();
    let [newer, older] = &caches.as_array().unwrap()[..] else { panic!("{caches}") };
    assert_eq!(
        (&newer["about"]["key"]["trunk"], &newer["n_mirrored"]),
        (&json!("resnet18 20x24 layer2+layer3+layer4"), &json!(0))
    );
    assert_eq!(older["about"]["key"]["trunk"], "resnet18 32x32 layer2+layer3+layer4");
    for cache in [newer, older] {
        assert_eq!(cache["n_pictures"], 3000, "2,000 to train on, and 1,000 of the test");
        let folder = sandbox.path(cache["path"].as_str().unwrap());
        let sizes = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert_eq!(cache["n_bytes"], sizes.sum::<u64>());
    }

    // a missing shard is noticed, and the list for people shows the same
    let [newer, older] = [newer, older].map(|cache| cache["key"].as_str().unwrap());
    let of_test = |(_, bytes): &(String, Vec<u8>)| {
        let text = decode(bytes).unwrap().1.unwrap();
        text.matches('-').count() == 1000
    };
    let shards = features(&sandbox);
    let (shard, _) = shards.iter().find(|file| file.0.contains(older) && of_test(file)).unwrap();
    fs::remove_file(sandbox.path(shard)).unwrap();
    assert_eq!((&list()[1]["n_pictures"], &list()[1]["n_mirrored"]), (&json!(2000), &json!(2000)));
    let listed = sandbox.trainer("data caches").ok().stdout;
    for part in [
        &format!("{older}  resnet18 32x32 layer2+layer3+layer4, 896 features a picture\n"),
        "    2000 pictures, 2000 mirrored\n",
        "last used just now\n2 caches, ",
    ] {
        assert!(listed.contains(part), "{listed}");
    }

    sandbox.trainer("data caches --remove").fails(&["--all"]);
    sandbox.trainer(&format!("data caches --remove {newer} --all")).fails(&["--all"]);
    sandbox.trainer("data caches --all").ends_with(2);
    sandbox.trainer("data caches --unused-days 3").ends_with(2);
    let none = sandbox.trainer("data caches --remove --unused-days 3 --json").ok().json();
    assert_eq!(none, json!({"removed": [], "freed_bytes": 0}), "both were used just now");
    sandbox
        .trainer(&format!("data caches --remove {newer} mine"))
        .fails(&["--remove mine: there is no such cache"]);
    assert_eq!(list().as_array().unwrap().len(), 2, "nothing is removed unless every key is right");
    let freed = &caches[0]["n_bytes"];
    let removed = sandbox.trainer(&format!("data caches --remove {} --json", &newer[..15])).ok().json();
    assert_eq!(removed, json!({"removed": [newer], "freed_bytes": freed}));
    let said = sandbox.trainer("data caches --remove --all").ok();
    assert!(said.stdout.ends_with("freed, 1 cache removed\n") && said.stderr.contains(older), "{said:?}");
    assert_eq!(list(), json!([]));
    assert_eq!(fs::read_dir(sandbox.path("data/features")).unwrap().count(), 1, "what is no cache stays");
    sandbox.trainer(&changed(&plain, "--set augment.flip=none --run-dir again")).ok();
    assert_eq!(sandbox.read("again/model.safetensors"), sandbox.read("plain/model.safetensors"));
}

#[test]
fn a_head_goes_on_bit_for_bit_and_only_on_its_own_weights() {
    let sandbox = with_weights();
    sandbox.trainer(&changed(HEAD, "--set epochs=3 --run-dir whole")).ok();
    sandbox.trainer(&changed(HEAD, "--set epochs=3 --run-dir parts --threads 1")).ok();
    assert_eq!(sandbox.read("whole/model.safetensors"), sandbox.read("parts/model.safetensors"));
    // checkpoints hold only the head
    assert!(sandbox.read("whole/checkpoints/last").len() < 1_000_000);

    let bytes = sandbox.read("weights/model.safetensors");
    let mut other = bytes.clone();
    let last = other.len() - 2;
    other[last] ^= 1;
    sandbox.write("weights/model.safetensors", other);
    sandbox.trainer("train --resume whole --epochs 4 --offline").fails(&["frozen weights", "--weights"]);
    sandbox.write("weights/model.safetensors", bytes);
    sandbox.trainer("train --resume whole --epochs 4 --offline").ok();
}

/// A frozen backbone may come from another run: a resumed run gets it from there again.
#[test]
fn a_head_on_the_backbone_of_another_run_goes_on() {
    let sandbox = with_weights();
    let tuned =
        "--set data.train_subset=40 --val-fraction 0 --set model.unfreeze=all --set epochs=1 --run-dir tuned";
    sandbox.trainer(&changed(HEAD, tuned)).ok();
    sandbox.trainer(&changed(HEAD, "--init-from tuned --set epochs=1 --run-dir head")).ok();
    sandbox.trainer("--resume head --epochs 2 --offline").ok();
    fs::remove_dir_all(sandbox.path("tuned")).unwrap();
    sandbox.trainer("--resume head --epochs 3 --offline").fails(&["tuned"]);
}

#[test]
fn what_does_not_fit_is_said() {
    let sandbox = with_weights();
    sandbox
        .trainer(&format!("{HEAD} --set model.name=resnet50"))
        .fails(&["weights are of a resnet18", "resnet50"]);
    sandbox.trainer(&format!("{HEAD} --set augment.cutout_px=4")).fails(&["augment", "once per image"]);
    sandbox.trainer(&HEAD.replace("--weights weights", "--weights nowhere")).fails(&["nowhere"]);
}

/// Progressive resizing: an epoch of smaller images trains like a run at that size.
#[test]
fn the_first_epochs_may_have_smaller_images() {
    let sandbox = with_weights();
    let train = "--set data.train_subset=40 --val-fraction 0 --set model.unfreeze=all --set epochs=1";
    sandbox.trainer(&changed(HEAD, &format!("{train} --set data.size_factors=[0.5] --run-dir half"))).ok();
    let small = HEAD.replace("[32,32]", "[16,16]");
    sandbox.trainer(&changed(&small, &format!("{train} --run-dir small"))).ok();
    sandbox.trainer(&changed(HEAD, &format!("{train} --run-dir full"))).ok();
    assert_eq!(sandbox.text("half/history.csv"), sandbox.text("small/history.csv"));
    assert_ne!(sandbox.text("half/history.csv"), sandbox.text("full/history.csv"));
    let weights = |run: &str| decode(&sandbox.read(&format!("{run}/model.safetensors"))).unwrap().0;
    assert!(weights("half") == weights("small"));
    // the test uses the model's own size
    let [half, small] =
        ["half", "small"].map(|run| sandbox.json(&format!("{run}/summary.json"))["test"].clone());
    assert_ne!(half, small);

    sandbox.trainer(&format!("{HEAD} --set data.size_factors=[0.5]")).fails(&["data.size_factors", "frozen"]);
    sandbox
        .trainer(&format!("{TINY} --set data.size_factors=[0.5]"))
        .fails(&["data.size_factors", "one size"]);
    sandbox.trainer(&format!("{HEAD} --set data.size_factors=[0]")).fails(&["data.size_factors", "above 0"]);
}

/// The input size is the model's, not the data's.
#[test]
fn a_cnn_may_be_built_for_another_size_than_the_images() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&changed(TINY, "--set model.input_px=[16,20] --run-dir run")).ok();
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], sandbox.json("run/summary.json")["test"]["accuracy"]);
}

/// A vision transformer: its file may have a mask token, which is not used, and image sizes are multiples of its patch size.
#[test]
fn a_head_on_dinov2() {
    let sandbox = Sandbox::new();
    let mut table = tallow_models::architecture("vit_small_patch14_dinov2").unwrap().reference_table();
    table.insert("input_px".into(), vec![14, 14].into());
    let model = tallow_models::build(&table, 10, 0, &tallow_nn::Device::Cpu).unwrap();
    let mut tensors = model.params.frozen_tensors().unwrap();
    for (name, tensor) in &mut tensors {
        tensor.data = Init::he_normal(400).values(tensor.data.len(), 0, name);
    }
    tensors.insert("mask_token".to_owned(), HostTensor { shape: vec![1, 384], data: vec![0.0; 384] });
    sandbox.write("weights.safetensors", encode(&tensors, "{}").unwrap());

    let head = "--recipe dinov2-head --dataset sample --offline --weights weights.safetensors \
         --set model.input_px=[14,14] --set data.train_subset=100 --set batch_size=50 --set epochs=2";
    let ran = sandbox.trainer(&format!("{head} --run-dir run")).ok();
    ran.says(&[
        "classifier head: the network's classifier keeps its initial weights",
        "images/s: ",
        "for the features of 3000 images",
    ]);
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], sandbox.json("run/summary.json")["test"]["accuracy"]);
    let caches = sandbox.trainer("data caches --json").ok().json();
    assert_eq!(caches[0]["about"]["n_features"], 768);
    assert_eq!(
        caches[0]["about"]["key"]["mean"][0], 0.485,
        "pixels are ImageNet's where a bare file says nothing"
    );

    // the same bits on one thread; and wrong sizes are reported before anything is computed
    let made = features(&sandbox);
    fs::rename(sandbox.path("data"), sandbox.path("of all threads")).unwrap();
    sandbox.trainer(&format!("{head} --threads 1 --run-dir one")).ok();
    assert!(numbers(&features(&sandbox)) == numbers(&made));
    sandbox.trainer(&head.replace("[14,14]", "[32,32]")).fails(&["model.input_px", "multiple of 14"]);
}

/// Trains the last stage alone, then all stages: one step each.
#[test]
fn stages_are_unfrozen() {
    let sandbox = with_weights();
    for unfreeze in ["layer4", "all"] {
        let few = "--set data.train_subset=40 --set epochs=1 --val-fraction 0 --set model.unfreeze=";
        sandbox.trainer(&changed(HEAD, &format!("{few}{unfreeze} --run-dir {unfreeze}"))).ok();
        sandbox.trainer(&format!("eval {unfreeze}")).ok();
    }
}

/// A fold that is trained again begins with the pretrained weights, and is not trained without them.
#[test]
fn a_fold_is_trained_again_from_the_pretrained_weights() {
    let sandbox = with_weights();
    draw(&sandbox, "photos", &CLASSES);
    let args =
        HEAD.replace("--dataset sample", "--dataset photos").replace("--set data.train_subset=100 ", "");
    sandbox
        .trainer(&changed(
            &args,
            "--folds 2 --set model.unfreeze=all --set epochs=1 --set batch_size=20 --run-dir run",
        ))
        .ok();
    let table = "run/folds/2/evaluation/predictions_test.csv";
    let before = sandbox.read(table);
    fs::remove_dir_all(sandbox.path("run/folds/2")).unwrap();
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    fs::rename(sandbox.path("weights"), sandbox.path("moved")).unwrap();
    let refused = sandbox.trainer("--resume run --offline");
    refused.fails(&["are no longer where the run had them", "a fold is trained again", "put them back"]);
    fs::rename(sandbox.path("moved"), sandbox.path("weights")).unwrap();
    sandbox.trainer("--resume run --offline").ok();
    assert!(sandbox.read(table) == before);
}
