//! Reads `events.out.tfevents.*` of the built binary with a reader that shares no code with the writer.
//! `tests/python/check_run.py` uses TensorBoard's own reader.

use crate::support::{Sandbox, TINY, TINY_MODEL, wait_until};
use crate::tfevents::{fields, records};
use tallow_metrics::parse_history;

/// The content of an event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    step: u64,
    tag: String,
    scalar: Option<f32>,
}

/// Reads the only event file in `run`, without its first record, which has the version.
#[track_caller]
fn events(sandbox: &Sandbox, run: &str) -> Vec<Event> {
    let prefix = format!("{run}/events.out.tfevents.");
    let names: Vec<String> =
        sandbox.everything().into_iter().filter(|name| name.starts_with(&prefix)).collect();
    let [name] = &names[..] else { panic!("{names:?}") };
    let bytes = sandbox.read(name);
    let records = records(&bytes);
    assert_eq!(fields(records[0])[1], (3, b"brain.Event:2".to_vec()));
    let mut events = Vec::new();
    for record in &records[1..] {
        let event = fields(record);
        assert_eq!(event.iter().map(|field| field.0).collect::<Vec<_>>(), [1, 2, 5]);
        let step = u64::from_le_bytes(event[1].1[..].try_into().unwrap());
        for (_, value) in fields(&event[2].1) {
            let value = fields(&value);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            let scalar = value.iter().find(|field| field.0 == 2);
            let scalar = scalar.map(|(_, bytes)| f32::from_le_bytes(bytes[..].try_into().unwrap()));
            events.push(Event { step, tag, scalar });
        }
    }
    events
}

#[test]
fn a_run_is_logged() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY_MODEL} --train-subset 60 --epochs 6 --batch-size 16 --run-dir run")).ok();
    let events = events(&sandbox, "run");
    let of = |tag: &str| -> Vec<(u64, f32)> {
        let of_tag = events.iter().filter(|event| event.tag == tag);
        of_tag.map(|event| (event.step, event.scalar.unwrap())).collect()
    };
    let history = parse_history(&sandbox.text("run/history.csv")).unwrap();
    let expected = |read: fn(&tallow_metrics::EpochRecord) -> Option<f64>| -> Vec<(u64, f32)> {
        history.iter().map(|row| (row.epoch, read(row).unwrap() as f32)).collect()
    };
    assert_eq!(of("loss/train"), expected(|row| Some(row.loss)));
    assert_eq!(of("loss/val"), expected(|row| row.val_loss));
    assert_eq!(of("accuracy/train"), expected(|row| Some(row.accuracy)));
    assert_eq!(of("accuracy/val"), expected(|row| row.val_accuracy));
    assert_eq!(of("learning_rate"), expected(|row| Some(row.learning_rate)));
    assert!(of("images_per_second").iter().all(|(_, rate)| *rate > 0.0));
    // 4 steps per epoch, one of 10 is written; the 20th ends the 5th epoch
    let steps = |tag: &str| of(tag).into_iter().map(|(step, _)| step).collect::<Vec<_>>();
    for tag in ["step/loss", "step/accuracy", "step/learning_rate"] {
        assert_eq!(steps(tag), [10, 20], "{tag}");
    }
    assert_eq!(of("step/learning_rate")[1].1, history[4].learning_rate as f32);
    let test = &sandbox.json("run/summary.json")["test"];
    assert_eq!(of("accuracy/test"), [(6, test["accuracy"].as_f64().unwrap() as f32)]);
    let others: Vec<&str> =
        events.iter().filter(|event| event.scalar.is_none()).map(|event| &*event.tag).collect();
    let session = ["_hparams_/session_start_info", "_hparams_/session_end_info"];
    let pictures = ["confusion matrix/test", "images/samples", "images/augmented"];
    assert_eq!(others, [&["recipe", session[0], session[1]][..], &pictures].concat());
}

#[test]
fn a_run_without_validation_has_no_curves_of_it() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --val-fraction 0 --run-dir run")).ok();
    assert!(!events(&sandbox, "run").iter().any(|event| event.tag.ends_with("/val")));
}

/// After a kill, no step is logged twice and none is missing. The same holds after an extension, which removes the end of the
/// run from the log.
#[test]
fn a_run_that_was_killed_and_extended_is_logged_as_one_left_alone() {
    let sandbox = Sandbox::new();
    let args = format!("{TINY_MODEL} --train-subset 60 --epochs 100 --batch-size 16");
    let run = |name: &str| format!("{args} --run-dir {name}");
    sandbox.trainer(&run("alone")).ok();
    let mut running = sandbox.start(&run("run"));
    wait_until("some epochs are over", || {
        let history = std::fs::read_to_string(sandbox.path("run/history.csv")).unwrap_or_default();
        history.lines().count() > 4 || !running.is_at_work()
    });
    assert!(running.kill(), "it was over before it could be killed");
    sandbox.trainer("--resume run").ok();
    // apart from the rate, the log does not depend on time
    let steady = |run: &str| -> Vec<Event> {
        events(&sandbox, run).into_iter().filter(|event| event.tag != "images_per_second").collect()
    };
    assert_eq!(steady("run"), steady("alone"));
    sandbox.trainer("--resume run").ok();
    assert_eq!(steady("run"), steady("alone"), "a run that is over stays as it is");

    sandbox.trainer("--resume run --epochs 101").ok();
    let extended = steady("run");
    let tested: Vec<u64> =
        extended.iter().filter(|event| event.tag == "accuracy/test").map(|event| event.step).collect();
    assert_eq!(tested, [101]);
}
