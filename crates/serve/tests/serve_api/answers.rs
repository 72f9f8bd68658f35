//! Answers have the predictor's bits, whatever other requests arrive at the same time.

use std::sync::Arc;

use serde_json::Value;
use tallow_core::{Silent, StopFlag};
use tallow_dataset::{Files, ImageSet};
use tallow_metrics::most_probable;
use tallow_serve::Limits;
use tallow_training::TrainingError;

use crate::http::{FORM, begin, finish, form, get, post, post_form, send};
use crate::support::{CLASSES, Server, noise, plain, predictor, wait_until};

/// Returns the classes and probabilities of each picture, as the predictor computes them from a file.
fn expected(seed: u64, pictures: &[Vec<u8>]) -> Vec<Vec<(String, f64)>> {
    let folder = tempfile::tempdir().unwrap();
    let path = |(i, bytes): (usize, &Vec<u8>)| {
        let path = folder.path().join(i.to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths = pictures.iter().enumerate().map(path).collect();
    let names = CLASSES.map(tallow_dataset::Foreign::from).into();
    let set = ImageSet::of(Arc::new(Files::unseen(paths)), vec![0; pictures.len()], names, None).unwrap();
    let mut told = Vec::new();
    let done = predictor(seed, &Arc::default()).predict::<TrainingError>(
        &Arc::new(set),
        &Silent,
        &StopFlag::default(),
        |answer| {
            let top = most_probable(&answer.log_probs.unwrap(), CLASSES.len());
            told.push(top.into_iter().map(|(class, p)| (CLASSES[class].to_owned(), p)).collect());
            Ok(())
        },
    );
    assert!(done.unwrap());
    told
}

/// Returns the classes and probabilities of a picture in an answer.
fn told(picture: &Value) -> Vec<(String, f64)> {
    let predictions = picture["predictions"].as_array().unwrap();
    let told = |p: &Value| (p["class"].as_str().unwrap().to_owned(), p["probability"].as_f64().unwrap());
    predictions.iter().map(told).collect()
}

#[test]
fn a_picture_gets_the_same_bits_in_whatever_batch() {
    let server = Server::start(Limits::default());
    let pictures: Vec<Vec<u8>> = (0..9).map(noise).collect();
    let expected = expected(0, &pictures);
    for (picture, expected) in pictures.iter().zip(&expected) {
        let answer = post(server.address, "/predict?top_k=9", picture).with(200).json();
        assert_eq!((&answer["model"], &answer["pictures"][0]["file"]), (&"first".into(), &"-".into()));
        assert_eq!(told(&answer["pictures"][0]), *expected);
    }
    let names: Vec<String> = (0..9).map(|i| format!("{i}.png")).collect();
    let files = || names.iter().map(String::as_str).zip(pictures.iter().map(Vec::as_slice));
    let answer = post_form(server.address, "/predict?top_k=4", files()).with(200).json();
    let all = answer["pictures"].as_array().unwrap();
    assert_eq!(all.iter().map(|picture| picture["file"].as_str().unwrap()).collect::<Vec<_>>(), names);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected);

    // requests that wait for the same batch
    server.watched[0].hold();
    let first = begin(server.address, "POST", "/predict?top_k=4", &[], &pictures[0]);
    wait_until("the first is looked at", || server.watched[0].batches().len() == 11);
    let waiting: Vec<_> = pictures
        .iter()
        .map(|picture| begin(server.address, "POST", "/predict?top_k=4", &[], picture))
        .collect();
    wait_until("the others wait", || {
        get(server.address, "/metrics").text().contains("tallow_queue_pictures 9")
    });
    server.watched[0].let_go();
    assert_eq!(told(&finish(first).json()["pictures"][0]), expected[0]);
    for (stream, expected) in waiting.into_iter().zip(&expected) {
        assert_eq!(told(&finish(stream).with(200).json()["pictures"][0]), *expected);
    }
    assert_eq!(server.watched[0].batches()[9..], [9, 1, 9], "what gathered was looked at together");
}

#[test]
fn each_model_answers_for_itself() {
    let server = Server::start(Limits::default());
    let picture = noise(1);
    for (seed, name) in [(0, "first"), (1, "second")] {
        let answer = post(server.address, &format!("/predict?model={name}&top_k=4"), &picture).json();
        assert_eq!(answer["model"], name);
        assert_eq!(told(&answer["pictures"][0]), expected(seed, std::slice::from_ref(&picture))[0]);
    }
    assert_eq!((server.watched[0].batches(), server.watched[1].batches()), (vec![1], vec![1]));
    let answer = post(server.address, "/predict", &picture).json();
    assert_eq!(told(&answer["pictures"][0]).len(), 3, "as on the command line");
    let keys: Vec<&String> = answer["pictures"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["file", "predictions", "typicality", "none_of_these"]);
}

#[test]
fn what_cannot_be_read_costs_the_others_nothing() {
    let server = Server::start(Limits { max_pixels: 1000, ..Limits::default() });
    let (good, other, large) = (noise(0), noise(1), plain(40, 40, 9));
    let cut = &good[..good.len() / 2];
    let files = [
        ("a.png", &*good),
        ("cut.png", cut),
        ("text.jpg", b"hello"),
        ("large.png", &large),
        ("b.png", &other),
    ];
    let answer = post_form(server.address, "/predict", files).with(200).json();
    let files = |key: &str| -> Vec<String> {
        answer[key].as_array().unwrap().iter().map(|of| of["file"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (files("pictures"), files("failed")),
        (
            vec!["a.png".into(), "b.png".into()],
            vec!["cut.png".to_owned(), "text.jpg".into(), "large.png".into()]
        )
    );
    let reasons: Vec<&str> = answer["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| failed["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons[..2], ["ends early: the PNG is cut short", "text, not a picture"]);
    assert_eq!(reasons[2], "too large: 40 x 40 pixels, expected at most 1000 pixels for this format");
    assert_eq!(
        answer["pictures"][1]["predictions"],
        post(server.address, "/predict", &other).json()["pictures"][0]["predictions"]
    );

    // if none can be read, the status says so
    post(server.address, "/predict", b"hello").refuses(400, &["text, not a picture"]);
    post(server.address, "/predict", b"").refuses(400, &["an empty file"]);
    post(server.address, "/predict", &large).refuses(413, &["too large"]);
    let both = post_form(server.address, "/predict", [("large", &*large), ("x", b"x")]);
    assert_eq!(both.refuses(400, &["none of the 2 pictures"]).json()["failed"].as_array().unwrap().len(), 2);
}

#[test]
fn a_picture_that_breaks_the_model_breaks_it_for_no_other() {
    let server = Server::start(Limits::default());
    let good = noise(3);
    for (level, said) in [(255, "a white picture"), (0, "which is a bug")] {
        server.watched[0].hold();
        let n_before = server.watched[0].batches().len();
        let first = begin(server.address, "POST", "/predict", &[], &good);
        wait_until("the first is looked at", || server.watched[0].batches().len() > n_before);
        let broken = begin(server.address, "POST", "/predict", &[], &plain(6, 8, level));
        let beside = begin(server.address, "POST", "/predict", &[FORM], &form([("good", &*good)]));
        wait_until("both wait", || {
            get(server.address, "/metrics").text().contains("tallow_queue_pictures 2")
        });
        server.watched[0].let_go();
        finish(broken).refuses(500, &[said]);
        let told = finish(beside).with(200).json();
        assert_eq!(told["pictures"][0]["predictions"], finish(first).json()["pictures"][0]["predictions"]);
    }
}

#[test]
fn a_picture_may_be_called_whatever_its_sender_calls_it() {
    let server = Server::start(Limits::default());
    let picture = noise(0);
    for (kind, body) in [
        ("image/png", &picture),
        ("image/jpeg", &picture), // its first bytes say what it is
        ("application/octet-stream", &picture),
        ("application/x-www-form-urlencoded", &picture), // curl's default
    ] {
        send(server.address, "POST", "/predict", &[("Content-Type", kind)], body).with(200);
    }
    send(server.address, "POST", "/predict", &[], &picture).with(200);
    let name = "<img src=x onerror=alert(1)>";
    let answer = post_form(server.address, "/predict", [(name, &*picture)]).with(200);
    assert_eq!(answer.json()["pictures"][0]["file"], name);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}
