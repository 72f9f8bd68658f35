//! Averages of the weights in whole runs: resumed with the same bits, in validation and in the finished model.

use std::fs;
use std::path::Path;

use tallow_core::{Silent, StopFlag, StopSignal};
use tallow_dataset::load_sample;
use tallow_nn::{
    BatchNorm2d, BatchNormConfig, Device, Flatten, Linear, Model, ParamStore, Sequential, Tensors,
};
use tallow_training::{
    Event, Outcome, Override, Recipe, RunPlace, Session, TrainData, Watch, load_recipe, read_model,
};

/// Four epochs of two steps.
fn recipe(averaging: &[(&str, toml::Value)]) -> Recipe {
    let mut overrides = vec![
        Override::new("epochs", 4),
        Override::new("batch_size", 32),
        Override::new("data.train_subset", 64),
        Override::new("optimizer.lr", 1e-3),
    ];
    overrides.extend(
        averaging.iter().map(|(key, value)| Override::new(&format!("averaging.{key}"), value.clone())),
    );
    load_recipe("cnn", &overrides).unwrap()
}

fn ema() -> Recipe {
    recipe(&[("kind", "ema".into()), ("decay", 0.5.into())])
}

fn last_epochs(epochs: i64) -> Recipe {
    recipe(&[("kind", "last_epochs".into()), ("epochs", epochs.into())])
}

fn model() -> Model {
    let mut params = ParamStore::new(0, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(BatchNorm2d::new(&mut params.root().sub("bn"), 3, BatchNormConfig::default()).unwrap());
    network.push(Flatten);
    network.push(Linear::new(&mut params.root().sub("fc"), 32 * 32 * 3, 10, true).unwrap());
    Model::new(network, params)
}

/// Runs a session and requests a stop when `interrupt` returns true.
fn run(session: &mut Session, interrupt: impl Fn(&Event) -> bool) -> Outcome {
    let stop = StopFlag::default();
    let mut on_event = |event: &Event| {
        if interrupt(event) {
            stop.raise(StopSignal::Interrupt);
        }
    };
    session.run(&mut Watch { on_event: &mut on_event, progress: &Silent, stop: &stop }).unwrap()
}

fn start(recipe: &Recipe, folder: &Path) -> Session {
    let data = TrainData::new(load_sample().unwrap(), recipe).unwrap();
    Session::start(recipe.clone(), model(), data, &RunPlace::At(folder.to_owned())).unwrap()
}

/// Runs to the end; returns the final weights and the history.
fn whole(recipe: &Recipe, folder: &Path) -> (Tensors, String) {
    let outcome = run(&mut start(recipe, folder), |_| false);
    assert!(matches!(outcome, Outcome::Finished(_)));
    (read_model(folder).unwrap().weights, fs::read_to_string(folder.join("history.csv")).unwrap())
}

#[test]
fn resumed_is_as_in_one_go() {
    for (i, recipe) in [ema(), last_epochs(3)].iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let expected = whole(recipe, &folder.path().join("whole"));
        let parts = folder.path().join("parts");
        // in the fourth epoch, when the average contains the end of an epoch, or some steps
        let at = |event: &Event| matches!(event, Event::Epoch { record, .. } if record.epoch == 3);
        assert!(matches!(run(&mut start(recipe, &parts), at), Outcome::Interrupted(_)));
        let data = TrainData::new(load_sample().unwrap(), recipe).unwrap();
        let mut session = Session::resume(recipe.clone(), model(), data, &parts, None).unwrap();
        assert!(matches!(run(&mut session, |_| false), Outcome::Finished(_)));
        let history = fs::read_to_string(parts.join("history.csv")).unwrap();
        assert!((read_model(&parts).unwrap().weights, history) == expected, "kind {i}");
    }
}

/// The rate of an extension begins again, and so does the average: after four epochs and a fifth, it is the fifth epoch
/// alone.
#[test]
fn an_extension_averages_its_own_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let extended = |recipe: &Recipe, name: &str| {
        let place = folder.path().join(name);
        whole(recipe, &place);
        let longer = Recipe { epochs: recipe.epochs + 1, ..recipe.clone() };
        let data = TrainData::new(load_sample().unwrap(), recipe).unwrap();
        let mut session = Session::resume(longer, model(), data, &place, Some(1e-4)).unwrap();
        assert!(matches!(run(&mut session, |_| false), Outcome::Finished(_)));
        // whatever validation says: the history has the figures of the averaged weights
        fs::read(place.join("history.csv")).unwrap()
    };
    let last_row = |history: Vec<u8>| String::from_utf8(history).unwrap().lines().last().unwrap().to_owned();
    let [averaged, alone] = [last_epochs(3), last_epochs(1)].map(|recipe| {
        let name = format!("{:?}", recipe.averaging);
        last_row(extended(&recipe, &name))
    });
    assert_eq!(averaged, alone, "validation of the fifth epoch sees its weights alone");
}

/// Averaging changes the weights of validation and of the finished model, but not those that training continues with.
#[test]
fn validation_and_the_finished_model_are_averaged_training_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, raw_history) = whole(&recipe(&[]), &folder.path().join("raw"));
    let (last, last_history) = whole(&last_epochs(1), &folder.path().join("last"));
    assert!(last == raw && last_history == raw_history, "the mean of one epoch is that epoch");

    let column = |history: &str, name: &str| -> Vec<String> {
        let mut lines = history.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let at = lines.next().unwrap().iter().position(|column| *column == name).unwrap();
        lines.map(|line| line[at].to_owned()).collect()
    };
    for (i, recipe) in [ema(), last_epochs(3)].iter().enumerate() {
        let (averaged, history) = whole(recipe, &folder.path().join(format!("averaged-{i}")));
        assert_eq!(column(&history, "loss"), column(&raw_history, "loss"));
        assert_ne!(column(&history, "val_loss")[3], column(&raw_history, "val_loss")[3]);
        for name in ["fc.weight", "bn.weight", "bn.running_mean"] {
            assert!(averaged[name] != raw[name], "{name}");
        }
        // the last three epochs alone have an average of the second kind; an exponential average begins with the first step
        assert_eq!(column(&history, "val_loss")[0] == column(&raw_history, "val_loss")[0], i == 1);
    }
}

/// The mean of the last two epochs, from runs that end with each of them.
#[test]
fn the_mean_is_of_the_weights_after_each_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let constant = |recipe: Recipe, epochs| {
        let schedule = toml::from_str("kind = \"constant\"").unwrap();
        Recipe { schedule, epochs, ..recipe }
    };
    let [third, fourth] =
        [3, 4].map(|n| whole(&constant(recipe(&[]), n), &folder.path().join(n.to_string())).0);
    let mean = whole(&constant(last_epochs(2), 4), &folder.path().join("mean")).0;
    for name in ["fc.weight", "bn.running_var"] {
        for ((&a, &b), &mean) in third[name].data.iter().zip(&fourth[name].data).zip(&mean[name].data) {
            assert!((mean - (a + b) / 2.0).abs() <= 1e-6 * mean.abs().max(1e-3), "{name}: {a}, {b}, {mean}");
        }
    }
}
