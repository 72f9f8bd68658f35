//! Trains a custom small network on the embedded sample: `train_small FOLDER` leaves the run in the folder.
#![forbid(unsafe_code)]

use std::error::Error;

use tallow_core::{Silent, StopFlag};
use tallow_dataset::load_sample;
use tallow_nn::{
    BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Flatten, Linear, MaxPool2d, Model, NnError, ParamStore, Relu,
    Sequential,
};
use tallow_training::{Event, Outcome, Override, RunPlace, Session, TrainData, Watch, load_recipe};

/// A convolution, its batch norm and a linear layer, for images of 32 x 32 pixels.
fn network(params: &mut ParamStore) -> Result<Sequential, NnError> {
    let mut network = Sequential::new();
    network.push(Conv2d::new(&mut params.root().sub("conv"), 3, 8, Conv2dConfig::same(3))?);
    network.push(BatchNorm2d::new(&mut params.root().sub("bn"), 8, BatchNormConfig::default())?);
    network.push(Relu);
    network.push(MaxPool2d { k: 4, stride: 4, padding: 0 });
    network.push(Flatten);
    network.push(Linear::new(&mut params.root().sub("fc"), 8 * 8 * 8, 10, true)?);
    Ok(network)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: train_small FOLDER")?;
    let settings = ["name=small", "model={name=\"small\"}", "epochs=2", "batch_size=50", "optimizer.lr=0.01"];
    let settings = settings.into_iter().map(Override::parse).collect::<Result<Vec<_>, _>>()?;
    let recipe = load_recipe("cnn", &settings)?;
    let mut params = ParamStore::new(recipe.seed, &tallow_nn::device("cpu")?);
    let model = Model::new(network(&mut params)?, params);
    let data = TrainData::new(load_sample()?, &recipe)?;

    let mut session = Session::start(recipe, model, data, &RunPlace::Under(folder.into()))?;
    let outcome = session.run(&mut Watch {
        on_event: &mut |event| {
            if let Event::Epoch { record, .. } = event {
                println!("epoch {}: accuracy {:.3}", record.epoch, record.accuracy);
            }
        },
        progress: &Silent,
        stop: &StopFlag::default(),
    })?;
    if let Outcome::Finished(summary) = outcome {
        println!("test accuracy {:.3}", summary.test.ok_or("no test images")?.accuracy);
    }
    Ok(())
}
