//! The steps that follow a run's results: in order, remembered across kills and failures, with the weights that were tested.

use std::cell::{Cell, RefCell};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tallow_core::{Silent, StopFlag};
use tallow_dataset::load_sample;
use tallow_nn::{Device, Flatten, Linear, Model, ParamStore, Sequential};
use tallow_training::{
    EndStep, Event, Outcome, Override, Recipe, RunFolder, RunPlace, Session, TrainData, Watch, load_recipe,
    read_model,
};

/// Two epochs of two steps. Nothing improves by 100, so that the run keeps the weights of its first epoch.
fn recipe() -> Recipe {
    let callback = "callbacks.early_stopping={patience=9, min_delta=100.0}";
    let overrides = [
        Override::new("epochs", 2),
        Override::new("batch_size", 32),
        Override::new("data.train_subset", 64),
        Override::new("optimizer.lr", 1e-3),
        Override::parse(callback).unwrap(),
    ];
    load_recipe("cnn", &overrides).unwrap()
}

fn model() -> Model {
    let mut params = ParamStore::new(0, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(Flatten);
    network.push(Linear::new(&mut params.root().sub("fc"), 32 * 32 * 3, 10, true).unwrap());
    Model::new(network, params)
}

/// Starts the run in `folder`, or resumes it.
fn session(folder: &Path, recipe: Recipe) -> Session {
    let data = TrainData::new(load_sample().unwrap(), &recipe).unwrap();
    match folder.exists() {
        true => Session::resume(recipe, model(), data, folder, None).unwrap(),
        false => Session::start(recipe, model(), data, &RunPlace::At(folder.to_owned())).unwrap(),
    }
}

/// What becomes of a step.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Fails,
    IsKilled,
}

/// Runs the session with the steps a, b and c, of which one may have a `fate`, and returns those that were begun.
fn steps_of(mut session: Session, fate: Option<(&'static str, Fate)>) -> String {
    let begun = RefCell::new(String::new());
    let step = |name: &'static str| EndStep {
        name,
        take: Box::new({
            let begun = &begun;
            move |session: &Session| {
                begun.borrow_mut().push_str(name);
                let tested = read_model(session.run_dir()).unwrap().weights;
                assert!(session.model().params.to_tensors().unwrap() == tested, "{name} sees other weights");
                match fate {
                    Some((of, Fate::IsKilled)) if of == name => panic!("killed"),
                    Some((of, Fate::Fails)) => of != name,
                    _ => true,
                }
            }
        }),
    };
    let steps = ["a", "b", "c"].map(step);
    let stop = StopFlag::default();
    let mut watch = Watch { on_event: &mut |_| {}, progress: &Silent, stop: &stop };
    let run = catch_unwind(AssertUnwindSafe(|| session.run_with(&mut watch, &steps)));
    match run {
        Ok(outcome) => assert!(matches!(outcome.unwrap(), Outcome::Finished(_))),
        Err(_) => assert!(fate.is_some_and(|(_, fate)| fate == Fate::IsKilled)),
    }
    drop((session, steps));
    begun.into_inner()
}

fn ending(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("checkpoints/ending")).ok()
}

#[test]
fn a_run_goes_on_with_the_step_that_was_not_taken() {
    for fate in [Fate::Fails, Fate::IsKilled] {
        for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            let begun = steps_of(session(&run, recipe()), Some((name, fate)));
            // a failed step does not stop the others
            let expected = if fate == Fate::Fails { "abc" } else { &"abc"[..=i] };
            assert_eq!(begun, expected, "{name}");
            let taken: String = "abc"[..i].chars().map(|name| format!("{name}\n")).collect();
            assert_eq!(ending(&run), Some(taken), "{name}");
            assert!(!RunFolder::has_ended(&run).unwrap());
            let summary = fs::read(run.join("summary.json")).unwrap();

            assert_eq!(steps_of(session(&run, recipe()), None), "abc"[i..], "{name}");
            assert_eq!(ending(&run), None);
            assert!(RunFolder::has_ended(&run).unwrap());
            assert!(fs::read(run.join("summary.json")).unwrap() == summary, "the results are final");
            assert_eq!(steps_of(session(&run, recipe()), None), "", "the run is over");
        }
    }
}

#[test]
fn the_steps_of_a_run_that_is_over_are_repeated_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut first = session(&run, recipe());
    first.repeat_end(); // nothing to repeat
    assert_eq!(steps_of(first, None), "abc");
    let mut again = session(&run, recipe());
    again.repeat_end();
    assert_eq!(steps_of(again, Some(("c", Fate::IsKilled))), "abc");
    assert_eq!(ending(&run).as_deref(), Some("a\nb\n"));
}

/// Nobody can follow a link to itself: here it stands for a disk that fails. A run whose files the system cannot look at has
/// neither ended nor not ended, and is not evaluated again.
#[cfg(unix)]
#[test]
fn what_the_system_cannot_tell_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert_eq!(steps_of(session(&run, recipe()), None), "abc");
    let in_place_of = |name: &str, look: &dyn Fn() -> String| {
        let (path, aside) = (run.join(name), folder.path().join("aside"));
        let was_there = fs::rename(&path, &aside).is_ok();
        std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
        let error = look();
        assert!(error.contains(name), "{name}: {error}");
        fs::remove_file(&path).unwrap();
        assert!(!was_there || fs::rename(&aside, &path).is_ok());
    };
    for name in ["summary.json", "checkpoints/ending"] {
        in_place_of(name, &|| RunFolder::has_ended(&run).unwrap_err().to_string());
        in_place_of(name, &|| {
            let data = TrainData::new(load_sample().unwrap(), &recipe()).unwrap();
            let resumed = Session::resume(recipe(), model(), data, &run, None);
            resumed.err().expect("the run is not begun anew").to_string()
        });
    }
    in_place_of("checkpoints/ending", &|| RunFolder::steps_taken(&run).unwrap_err().to_string());
    assert!(RunFolder::has_ended(&run).unwrap() && run.join("manifest.json").is_file());
}

/// Without steps, a caller's run ends with its summary, and an end that another caller left open stays open.
#[test]
fn a_caller_without_steps_leaves_those_of_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let n_events = Cell::new(0);
    let run_alone = || {
        let stop = StopFlag::default();
        let mut on_event = |_: &Event| n_events.set(n_events.get() + 1);
        let mut watch = Watch { on_event: &mut on_event, progress: &Silent, stop: &stop };
        assert!(matches!(session(&run, recipe()).run(&mut watch).unwrap(), Outcome::Finished(_)));
    };
    run_alone();
    assert!(RunFolder::has_ended(&run).unwrap() && n_events.get() > 4);
    fs::write(run.join("checkpoints/ending"), "a\n").unwrap();
    run_alone();
    assert_eq!(ending(&run).as_deref(), Some("a\n"));
}
