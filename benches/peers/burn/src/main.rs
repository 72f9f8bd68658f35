//! burn as a peer: the reference network on burn's CPU backend flex, training or at rest, in slices of time.
//!
//! It obeys the protocol of the other workers (benches/peers/timing.py): warm up, say so in a line of JSON, then for each
//! line of standard input work for so many seconds and answer with the rate. Only `cnn` in f32 is here: flex multiplies
//! bf16 by way of f32. What is compared with it, and when, is compare.py's business.
#![forbid(unsafe_code)]

mod network;

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Instant;

use burn::nn::loss::CrossEntropyLoss;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::Distribution;

use network::{Cnn, N_CLASSES};

const LR: f64 = 0.01;
/// Until there were so many steps, or so many seconds of them.
const WARM_UP_STEPS: usize = 3;
const WARM_UP_SECS: f64 = 3.0;

/// The arguments, named as those of `trainer bench`.
struct Arguments {
    train: bool,
    batch_size: usize,
    size: usize,
    threads: usize,
}

/// A network with something to work on.
struct Work {
    /// None while a step moves it through the optimiser.
    model: Option<Cnn>,
    optimizer: ModuleOptimizer,
    images: Tensor<4>,
    targets: Tensor<1, Int>,
    train: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let mut work = Work::new(&arguments);
    let (began, mut n_steps) = (Instant::now(), 0);
    while n_steps < WARM_UP_STEPS && (n_steps == 0 || began.elapsed().as_secs_f64() < WARM_UP_SECS) {
        work.step()?;
        n_steps += 1;
    }
    say(r#"{"ready": true, "name": "burn 0.22 (flex)", "how": "f32"}"#)?;
    for line in io::stdin().lines() {
        let secs: f64 = line?.trim().parse()?;
        let (began, mut n_steps) = (Instant::now(), 0);
        while n_steps == 0 || began.elapsed().as_secs_f64() < secs {
            work.step()?;
            n_steps += 1;
        }
        let secs = began.elapsed().as_secs_f64();
        let rate = (n_steps * arguments.batch_size) as f64 / secs;
        say(&format!(r#"{{"images_per_second": {rate}, "n_steps": {n_steps}, "secs": {secs}}}"#))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

impl Arguments {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { train: true, batch_size: 128, size: 32, threads: 2 };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word}: expected --KEY=VALUE"))?;
            let number = || match value.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{word}: expected a number above 0")),
            };
            match (key, value) {
                ("--model", "cnn") | ("--precision", "f32") => {}
                ("--mode", "train") => arguments.train = true,
                ("--mode", "infer") => arguments.train = false,
                ("--batch-size", _) => arguments.batch_size = number()?,
                ("--size", _) => arguments.size = number()?,
                ("--threads", _) => arguments.threads = number()?,
                _ => return Err(format!("{word}: this is not measured here")),
            }
        }
        Ok(arguments)
    }
}

impl Work {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { train, batch_size: n, size, .. } = *arguments;
        let device = if train { Device::flex().autodiff() } else { Device::flex() };
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(true);
        let targets: Vec<i32> = (0..n).map(|i| (i % N_CLASSES) as i32).collect();
        Self {
            model: Some(Cnn::new(size, &device)),
            optimizer: SgdConfig::new().with_momentum(Some(momentum)).init(),
            images: Tensor::random([n, 3, size, size], Distribution::Normal(0.0, 1.0), &device),
            targets: Tensor::from_data(targets.as_slice(), &device),
            train,
        }
    }

    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        let model = self.model.take().ok_or("a step failed before")?;
        let logits = model.forward(self.images.clone());
        self.model = Some(match self.train {
            true => {
                let loss =
                    CrossEntropyLoss::new(None, &logits.device()).forward(logits, self.targets.clone());
                let grads = GradientsParams::from_grads(loss.backward(), &model);
                let model = self.optimizer.step(LR, model, grads);
                if !loss.into_scalar::<f32>().is_finite() {
                    return Err("the loss is no longer finite".into());
                }
                model
            }
            false => {
                logits.into_data();
                model
            }
        });
        Ok(())
    }
}
