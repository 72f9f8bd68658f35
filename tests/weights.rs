//! Weights that do not fit or are not finite, and a training that makes weights non-finite: each is reported in a sentence,
//! by name. A stop while weights are downloaded keeps what came.

#[path = "../crates/fetch/tests/server/mod.rs"]
mod server;

use std::fs;

use crate::support::{Ran, Sandbox, TINY, TINY_MODEL, read_safetensors, with_description};
use server::{Server, range_start, ranged, silent_after, with_head};
use tallow_nn::{HostTensor, Tensors, decode, encode};

/// A head on the features of a small ResNet.
const HEAD: &str = "--recipe resnet18-head --dataset sample --offline --set model.input_px=[32,32] \
     --set data.train_subset=40 --set epochs=1";

/// Returns the error message, without earlier output.
#[track_caller]
fn error_of(ran: Ran) -> String {
    let ran = ran.fails(&[]);
    ran.stderr[ran.stderr.find("error: ").unwrap()..].trim().to_owned()
}

/// Returns the tensors of an untrained network of the registry.
fn tensors_of(name: &str, n_classes: usize) -> Tensors {
    let table = tallow_models::architecture(name).unwrap().reference_table();
    tallow_models::build(&table, n_classes, 0, &tallow_nn::Device::Cpu).unwrap().params.to_tensors().unwrap()
}

#[test]
fn weights_of_another_architecture_are_refused_in_one_sentence() {
    let sandbox = Sandbox::new();
    sandbox.write("cnn.safetensors", encode(&tensors_of("cnn", 10), "{}").unwrap());
    let error = error_of(sandbox.trainer(&format!("{HEAD} --weights cnn.safetensors")));
    for part in [
        "cnn.safetensors",
        "no weights of a resnet18",
        " tensors are missing (bn1.bias, ",
        " tensors are unexpected (",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(error.len() < 500 && error.lines().count() == 1, "{} characters: {error}", error.len());

    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let wider = TINY_MODEL.replace("[4,4,8,8]", "[6,4,8,8]");
    for source in ["run", "run/model.safetensors"] {
        let error =
            error_of(sandbox.trainer(&format!("{wider} --train-subset 60 --epochs 1 --init-from {source}")));
        for part in
            [source, "the file has a cnn", "have a different shape (", "has the shape [", "the same [model]"]
        {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
        assert!(error.len() < 600, "{} characters: {error}", error.len());
    }
}

/// Returns a copy of the model file with one number replaced, and without a digest.
fn spoilt(sandbox: &Sandbox, tensor: &str, value: f32) -> Vec<u8> {
    let bytes = with_description(&sandbox.read("run/model.safetensors"), |_| ());
    let (header, _) = read_safetensors(&bytes);
    let at = 8
        + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
        + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    [&bytes[..at], &value.to_le_bytes(), &bytes[at + 4..]].concat()
}

#[test]
fn a_model_file_with_numbers_that_are_none_is_refused_by_its_tensor() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.write("bad/a.png", "nobody looks at it");
    for value in [f32::NAN, f32::INFINITY] {
        sandbox.write("bad.safetensors", spoilt(&sandbox, "classifier.0.weight", value));
        for command in [
            "eval bad.safetensors",
            "predict bad.safetensors bad",
            &format!("{TINY} --init-from bad.safetensors"),
        ] {
            sandbox.trainer(command).fails(&[
                "bad.safetensors: it holds 1 NaN or infinite number of 4096 in the tensor classifier.0.weight",
                "--lr",
                "--precision f32",
                "another model file",
            ]);
        }
    }
}

#[test]
fn pretrained_weights_with_numbers_that_are_none_are_refused_by_their_tensor() {
    let sandbox = Sandbox::new();
    let mut tensors = tensors_of("resnet18", 1000);
    tensors.get_mut("layer2.0.conv1.weight").unwrap().data[7] = f32::NAN;
    sandbox.write("nan.safetensors", encode(&tensors, "{}").unwrap());
    sandbox.trainer(&format!("{HEAD} --weights nan.safetensors")).fails(&[
        "nan.safetensors holds 1 NaN or infinite number of ",
        "in the tensor layer2.0.conv1.weight",
        "another with --weights",
    ]);
}

/// One step per epoch: its loss comes from the weights before it, and only validation sees the resulting weights.
const ONE_STEP: &str = "--dataset sample --offline --train-subset 16 --epochs 2 --batch-size 16 --lr 1e30 \
     --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1] --set model.dense=8 --set model.input_px=[32,32]";

#[test]
fn a_validation_without_numbers_ends_the_run_and_says_why() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(&format!("{ONE_STEP} --run-dir run"));
    ran.fails(&[
        "validation: the model's answer to image ",
        "--lr",
        "--precision f32",
        "last good checkpoint",
    ]);
    assert!(!sandbox.text("run/history.csv").contains("NaN"));
    assert!(!sandbox.path("run/model.safetensors").exists());
    // the checkpoint from before is kept, so the run can be resumed from it
    let state = fs::metadata(sandbox.path("run/checkpoints/last")).unwrap();
    assert!(state.len() > 0 && !sandbox.path("run/checkpoints/best").exists());
}

/// Without validation it goes unnoticed in training, but no checkpoint keeps weights that are not finite.
#[test]
fn weights_that_are_no_numbers_are_never_kept() {
    let sandbox = Sandbox::new();
    let lr = ONE_STEP.replace("--lr 1e30 ", "--lr 1e39 ").replace("--epochs 2", "--epochs 1");
    let ran = sandbox.trainer(&format!("{lr} --val-fraction 0 --run-dir run"));
    let ran = ran.fails(&["no longer finite", "--lr", "last good checkpoint"]);
    assert!(!ran.stderr.contains("0.0000"), "{}", ran.stderr);
    assert!(!sandbox.path("run/model.safetensors").exists());
    // finite, but too large for finite logits
    let ran = sandbox.trainer(&format!("{} --val-fraction 0 --run-dir large", lr.replace("1e39", "1e30")));
    ran.fails(&["test: the model's answer to image ", "not a finite number"]);
    assert!(!sandbox.path("large/model.safetensors").exists());
}

/// If only one tensor does not fit, the message names it.
#[test]
fn a_single_tensor_is_named() {
    let sandbox = Sandbox::new();
    let mut tensors = tensors_of("resnet18", 1000);
    let kept = tensors.remove("layer1.0.bn1.bias").unwrap();
    sandbox.write("less.safetensors", encode(&tensors, "{}").unwrap());
    let ran = sandbox.trainer(&format!("{HEAD} --weights less.safetensors"));
    ran.fails(&["less.safetensors", "layer1.0.bn1.bias is missing"]);
    tensors.insert("layer1.0.bn1.bias".to_owned(), HostTensor { shape: vec![1, 64], data: kept.data });
    let bytes = encode(&tensors, "{}").unwrap();
    assert_eq!(decode(&bytes).unwrap().0, tensors);
    sandbox.write("shape.safetensors", bytes);
    let ran = sandbox.trainer(&format!("{HEAD} --weights shape.safetensors"));
    ran.fails(&["shape.safetensors", "layer1.0.bn1.bias has the shape [1, 64], expected [64]"]);
}

/// Before the download, which goes to an invalid address here.
#[test]
fn the_licence_of_weights_is_told_before_they_are_got() {
    let sandbox = Sandbox::new();
    let said = |args: &str| {
        let mut command = crate::support::trainer(&format!("--dataset sample {args}"));
        command.env("HF_HOME", sandbox.path("hf")).env("HF_ENDPOINT", "http://127.0.0.1:9");
        sandbox.start_command(command, args).wait().ends_with(1).stderr
    };
    let published = said("--recipe lite0-head");
    assert!(
        published.starts_with("Weights hf:timm/tf_efficientnet_lite0.in1k, under the licence Apache-2.0\n"),
        "{published}"
    );
    let other = said("--recipe lite0-head --weights hf:somebody/lite0");
    assert!(
        other.starts_with("Weights hf:somebody/lite0, for the licence see their page on the hub\n"),
        "{other}"
    );
    assert!(!said("--recipe lite0-head --weights nowhere").contains("licence"), "those are the user's own");
}

/// However the download began: weights that are named, or those of the backbone that is chosen for own pictures, or of those that
/// are tried.
#[cfg(unix)]
#[test]
fn a_stop_ends_a_download_of_weights_and_the_next_run_continues_it() {
    let named = format!("{} --weights hf:timm/tiny", HEAD.replace("--offline ", ""));
    for args in [named.as_str(), "--dataset photos", "--dataset photos --backbone auto"] {
        let content = vec![7; 300_000];
        let sha256 = tallow_core::digest::of_bytes(&content);
        let listing = format!(
            r#"{{"sha": "{}", "siblings": [{{"rfilename": "model.safetensors",
                "lfs": {{"sha256": "{sha256}", "size": 300000}}}}]}}"#,
            "a".repeat(40)
        );
        let server = Server::answering(move |request| match range_start(request) {
            _ if request.starts_with("get /api/") => with_head(listing.as_bytes(), "200 OK", ""),
            None => silent_after(&content, 100_000),
            Some(_) => ranged(&content),
        });
        let sandbox = crate::drawn::photos();
        let start = || {
            let mut command = crate::support::trainer(args);
            command.env("HF_ENDPOINT", &server.url).env("HF_HOME", sandbox.path("hf"));
            command.env("ALL_PROXY", "http://127.0.0.1:9"); // not for loopback addresses
            command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE").env_remove("HF_TOKEN");
            sandbox.start_command(command, args)
        };
        let files = |ending: &str| {
            let is_one = |name: &String| name.ends_with(&format!("{sha256}{ending}"));
            sandbox
                .everything()
                .into_iter()
                .filter(is_one)
                .map(|name| sandbox.path(&name))
                .collect::<Vec<_>>()
        };
        let first = start();
        crate::support::wait_until("100,000 bytes are there", || {
            files(".part").iter().any(|part| fs::metadata(part).is_ok_and(|part| part.len() == 100_000))
        });
        first.signal("INT");
        let ran = first.wait().ends_with(130).says(&["Stopped.", "the same command"]);
        assert!(
            !ran.stderr.contains("error") && !ran.stderr.contains("no pretrained weights"),
            "{}",
            ran.stderr
        );
        assert_eq!((files("").len(), files(".part").len()), (0, 1), "{args}");

        let second = start();
        crate::support::wait_until("the download is complete", || !files("").is_empty());
        drop(second);
        let ranges: Vec<_> = server.requests().iter().filter_map(|head| range_start(head)).collect();
        assert_eq!(ranges[0], 100_000, "{args}");
        assert!(fs::read(&files("")[0]).unwrap() == vec![7; 300_000] && files(".part").is_empty(), "{args}");
    }
}
