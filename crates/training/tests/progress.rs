//! Progress bars of a run: there is at most one at a time, and each ends however the work is left.

use std::sync::{Arc, Mutex};

use tallow_core::{Progress, StopFlag, StopSignal, Unit};
use tallow_dataset::{Augment, Error, Identity, ImageSet, ImageSource, Picture, load_sample};
use tallow_nn::{Device, Flatten, Linear, Model, ParamStore, Sequential, Trunk};
use tallow_training::{
    Event, Outcome, Override, Recipe, Result, RunPlace, Session, TrainData, Watch, load_recipe,
};

/// The course of a run and its end.
#[derive(Clone, Copy, Default)]
struct Way {
    /// Trains on features of a frozen trunk instead of images.
    with_trunk: bool,
    /// The part whose second image cannot be read.
    unreadable: Option<&'static str>,
    /// Requests a stop when this bar begins.
    stop_at_bar: Option<&'static str>,
    /// Requests a stop after this step.
    stop_at_step: Option<u64>,
    /// The learning rate.
    lr: Option<f64>,
}

/// The labels of the bars begun so far, and whether a bar is open.
#[derive(Default)]
struct Bars {
    begun: Mutex<Vec<String>>,
    is_open: Mutex<bool>,
    stop: StopFlag,
    stop_at: Option<&'static str>,
}

impl Progress for Bars {
    fn begin(&self, label: &str, _total: Option<u64>, _unit: Unit) {
        assert!(
            !std::mem::replace(&mut *self.is_open.lock().unwrap(), true),
            "{label} begins within another"
        );
        self.begun.lock().unwrap().push(label.to_owned());
        if self.stop_at == Some(label) {
            self.stop.raise(StopSignal::Interrupt);
        }
    }
    fn advance(&self, _done: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {
        assert!(std::mem::take(&mut *self.is_open.lock().unwrap()), "it had ended");
    }
    fn say(&self, _line: &str) {}
}

/// A set with one unreadable image.
struct Unreadable {
    set: Arc<ImageSet>,
    index: usize,
}

impl ImageSource for Unreadable {
    fn len(&self) -> usize {
        self.set.len()
    }
    fn read(&self, i: usize) -> std::result::Result<Picture<'_>, Error> {
        if i == self.index {
            return Err(Error::Images("one is damaged".into()));
        }
        self.set.read(i)
    }
    fn identity(&self, i: usize) -> Identity {
        self.set.identity(i)
    }
}

fn model(with_trunk: bool) -> Model {
    let mut params = ParamStore::new(0, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(Flatten);
    network.push(Linear::new(&mut params.root().sub("fc"), 32 * 32 * 3, 10, true).unwrap());
    let trunk = Trunk { layer: Box::new(Flatten), description: "flat".into(), n_features: 32 * 32 * 3 };
    Model { trunk: with_trunk.then_some(trunk), input_px: Some([32, 32]), ..Model::new(network, params) }
}

fn data(recipe: &Recipe, unreadable: Option<&str>) -> TrainData {
    let mut data = TrainData::new(load_sample().unwrap(), recipe).unwrap();
    let part = match unreadable {
        Some("train") => &mut data.train,
        Some("val") => data.val.as_mut().unwrap(),
        Some("test") => &mut data.test,
        _ => return data,
    };
    let source = Unreadable { set: part.set.clone(), index: part.indices[1] as usize };
    let (labels, names) = (part.set.labels().to_vec(), part.set.class_names().clone());
    part.set = Arc::new(ImageSet::of(Arc::new(source), labels, names, None).unwrap());
    if unreadable == Some("train") {
        data.dataset.train = data.train.set.clone();
    }
    data
}

/// Runs the way; returns the outcome and the label of the last bar.
fn go(way: Way) -> (Result<Outcome>, String) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = load_recipe(
        "cnn",
        &[
            Override::new("epochs", 2),
            Override::new("batch_size", 32),
            Override::new("data.train_subset", 96),
            Override::new("data.data_dir", folder.path().to_str().unwrap()),
            Override::new("optimizer.lr", way.lr.unwrap_or(1e-3)),
        ],
    );
    let recipe = Recipe { augment: Augment::default(), ..recipe.unwrap() };
    let place = RunPlace::At(folder.path().join("run"));
    let data = data(&recipe, way.unreadable);
    let mut session = Session::start(recipe, model(way.with_trunk), data, &place).unwrap();
    let stop = StopFlag::default();
    let bars = Bars { stop: stop.clone(), stop_at: way.stop_at_bar, ..Bars::default() };
    let mut on_event = |event: &Event| {
        if matches!(event, Event::Step { step, .. } if Some(*step) == way.stop_at_step) {
            stop.raise(StopSignal::Interrupt);
        }
    };
    let outcome = session.run(&mut Watch { on_event: &mut on_event, progress: &bars, stop: &stop });
    assert!(!*bars.is_open.lock().unwrap(), "{:?}: the last one never ended", bars.begun);
    let last = bars.begun.lock().unwrap().last().cloned();
    (outcome, last.unwrap())
}

#[test]
fn a_whole_run_ends_every_bar() {
    for with_trunk in [false, true] {
        let (outcome, last) = go(Way { with_trunk, ..Way::default() });
        assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
        assert_eq!(last, "test");
    }
}

#[test]
fn a_stop_ends_the_bar() {
    let features = "features of the train images";
    let ways = [
        ("epoch 1/2", Way { stop_at_step: Some(2), ..Way::default() }),
        ("epoch 2/2", Way { stop_at_step: Some(5), with_trunk: true, ..Way::default() }),
        ("validation", Way { stop_at_bar: Some("validation"), ..Way::default() }),
        ("test", Way { stop_at_bar: Some("test"), ..Way::default() }),
        (features, Way { stop_at_bar: Some(features), with_trunk: true, ..Way::default() }),
    ];
    for (bar, way) in ways {
        let (outcome, last) = go(way);
        assert!(matches!(outcome, Ok(Outcome::Interrupted(StopSignal::Interrupt))), "{bar}: {outcome:?}");
        assert_eq!(last, bar);
    }
}

#[test]
fn an_image_that_cannot_be_read_ends_the_bar() {
    let ways = [
        ("epoch 1/2", Way { unreadable: Some("train"), ..Way::default() }),
        ("validation", Way { unreadable: Some("val"), ..Way::default() }),
        ("test", Way { unreadable: Some("test"), ..Way::default() }),
        (
            "features of the train images",
            Way { unreadable: Some("train"), with_trunk: true, ..Way::default() },
        ),
    ];
    for (bar, way) in ways {
        let (outcome, last) = go(way);
        assert!(outcome.unwrap_err().to_string().contains("one is damaged"), "{bar}");
        assert_eq!(last, bar);
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_bar() {
    let (outcome, last) = go(Way { lr: Some(1e30), ..Way::default() });
    assert!(outcome.unwrap_err().to_string().contains("the loss became"));
    assert_eq!(last, "epoch 1/2");
}
