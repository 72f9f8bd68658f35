//! `trainer bench`: measures how fast an architecture trains or infers on this processor, and where the time goes.
//!
//! A training step is complete, with forward pass, loss, backward pass and optimiser. Each step uses the same batch of synthetic
//! images in memory, so the time for loading data is not measured. `bench_text` formats the figures. `bench_slices` measures in
//! slices, which alternate with those of other programs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tallow_comm::Comm;
use tallow_core::{Purpose, Stream, memory};
use tallow_dataset::Batch;
use tallow_kernels::measured_peak_gflops;
use tallow_kernels::profile::{self, Span};
use tallow_nn::{
    Backend, CrossEntropy, Ctx, Device, Dims, NetworkSize, Optimizer, OptimizerConfig, Precision, TrainKey,
};
use tallow_training::{Content, Learner, peak_rss_bytes};

use crate::App;
use crate::args::{BenchArgs, BenchMode};
use crate::{bench_slices, bench_text, output, train};

const N_CLASSES: usize = 10;
const LR: f64 = 0.01;

/// Steps that do not count; they fill pools and caches.
const WARM_UP: Repeats = Repeats { min: 3, max: 3, secs: 0.0 };
const TIMED: Repeats = Repeats { min: 5, max: 101, secs: 3.0 };
/// Steps that measure where the time goes. They are separate from the timed steps.
const PROFILED: Repeats = Repeats { min: 2, max: 21, secs: 1.0 };

/// Largest number of floats in a batch of images: 1 GiB.
const MAX_INPUT_LEN: usize = 1 << 28;

/// Number of repetitions: at least `min`, then until `secs` have passed or `max` is reached.
struct Repeats {
    min: usize,
    max: usize,
    secs: f64,
}

/// The measured figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) model: String,
    pub(crate) mode: &'static str,
    pub(crate) precision: &'static str,
    /// The processor's name; `None` if the system does not report it.
    pub(crate) processor: Option<String>,
    pub(crate) isa: &'static str,
    pub(crate) n_threads: usize,
    pub(crate) batch_size: usize,
    pub(crate) input_px: [usize; 2],
    pub(crate) n_steps: usize,
    /// Images per second of the median step; the slowest and the fastest step follow.
    pub(crate) images_per_second: f64,
    pub(crate) images_per_second_min: f64,
    pub(crate) images_per_second_max: f64,
    pub(crate) step_secs: f64,
    /// GFLOP/s: the operations of convolutions and linear layers, divided by the time of the whole step. Products that
    /// Winograd's transforms save are counted as well.
    pub(crate) gflops: f64,
    /// Peak GFLOP/s of the processor without memory access; `None` if there are no kernels for its instruction set.
    pub(crate) peak_gflops: Option<f64>,
    pub(crate) share_of_peak: Option<f64>,
    pub(crate) peak_rss_bytes: Option<u64>,
    /// Mean duration of the profiled steps; the parts sum to it.
    pub(crate) profiled_step_secs: f64,
    pub(crate) parts: Vec<TimedPart>,
}

/// All calls of one kernel with one shape.
#[derive(Serialize)]
pub(crate) struct TimedPart {
    pub(crate) op: &'static str,
    pub(crate) shape: String,
    pub(crate) calls_per_step: f64,
    pub(crate) secs_per_step: f64,
    /// GFLOP/s; `None` for elementwise work.
    pub(crate) gflops: Option<f64>,
    /// Share of the profiled step, in [0, 1].
    pub(crate) share: f64,
}

/// A network with synthetic input.
pub(crate) struct Bench {
    mode: BenchMode,
    learner: Learner,
    dims: Dims,
    pixels: Vec<f32>,
    targets: Vec<u32>,
    n_steps: u64,
}

pub(crate) fn run(args: &BenchArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let mut bench = Bench::new(args)?;
    if args.slices {
        return bench_slices::run(bench, app);
    }
    let peak_before = bench.peak_gflops();
    repeat(&WARM_UP, app, || bench.step())?;
    let step_secs = repeat(&TIMED, app, || bench.step())?;
    let peak_rss_bytes = peak_rss_bytes();
    let profiled = repeat(&PROFILED, app, || {
        let (secs, spans) = profile::record(|| bench.step());
        Ok((secs?, spans))
    })?;
    if let Some(signal) = app.stop.raised() {
        return Ok(ExitCode::from(signal.exit_status()));
    }
    // of the two measurements, the larger is the less disturbed one
    let peak_gflops = peak_before.into_iter().chain(bench.peak_gflops()).max_by(f64::total_cmp);
    let measured = Measured { step_secs, profiled, peak_gflops, peak_rss_bytes };
    let figures = figures(args, &bench, measured);
    match app.global.json {
        true => output::json(&figures)?,
        false => output::line(&bench_text::text(&figures))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Repeats `work` and returns the results in order; ends early if a stop is requested.
fn repeat<T>(repeats: &Repeats, app: &App, mut work: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    let (start, mut results) = (Instant::now(), Vec::new());
    while results.len() < repeats.max
        && (results.len() < repeats.min || start.elapsed().as_secs_f64() < repeats.secs)
        && app.stop.raised().is_none()
    {
        results.push(work()?);
    }
    Ok(results)
}

/// Compares the maps of a batch of `n` images with the memory that is free.
fn check_memory(
    size: &NetworkSize,
    n: usize,
    mode: BenchMode,
    precision: Precision,
) -> Result<(), memory::Exhausted> {
    let n_maps = match mode {
        BenchMode::Train => size.n_kept,
        BenchMode::Infer => size.n_at_once,
    };
    let map_bytes = if precision == Precision::Bf16 { 2 } else { 4 };
    let pixels_bytes = size.n_input.saturating_mul(2 * 4); // the batch, and the step's copy of it
    memory::check(n_maps.saturating_mul(map_bytes).saturating_add(pixels_bytes).saturating_mul(n as u64))
}

impl Bench {
    fn new(args: &BenchArgs) -> Result<Self> {
        let architecture = tallow_models::architecture(&args.model).context("--model")?;
        let mut table = architecture.reference_table();
        if let Some(px) = args.size {
            let px = i64::try_from(px).with_context(|| format!("--size {px} is too large"))?;
            table.insert("input_px".to_owned(), vec![px; 2].into());
        }
        let [h, w] = architecture.input_px(&table)?;
        let len = [args.batch_size, h, w].into_iter().try_fold(3usize, usize::checked_mul);
        let len = len.filter(|len| (1..=MAX_INPUT_LEN).contains(len));
        let n = args.batch_size;
        let len = len.with_context(|| {
            format!("--batch-size {n} of {h} x {w} pixels: expected 1 to {MAX_INPUT_LEN} numbers in a batch")
        })?;
        let precision = args.precision.in_recipe().resolve(&Device::Cpu);
        check_memory(&architecture.size(&table, N_CLASSES)?, n, args.mode, precision)
            .with_context(|| format!("--batch-size {n} of {h} x {w} pixels"))?;
        let model = architecture.build(&table, N_CLASSES, 0, &Device::Cpu)?;
        let config = OptimizerConfig::Sgd { lr: LR, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
        let mut stream = Stream::new(0, Purpose::Test, 0, 0);
        Ok(Self {
            mode: args.mode,
            learner: Learner {
                criterion: CrossEntropy::default(),
                optimizer: Optimizer::new(&config, &[], &model.params)?,
                precision,
                max_grad_norm: None,
                n_shards: 1,
                order: None,
                model: model.into(),
            },
            dims: Dims { n, c: 3, h, w },
            pixels: (0..len).map(|_| stream.uniform_f32(-1.0, 1.0)).collect(),
            targets: (0..n).map(|_| stream.below(N_CLASSES as u32)).collect(),
            n_steps: 0,
        })
    }

    /// Measures the peak of multiplications and additions at this moment, in the precision of the steps.
    pub(crate) fn peak_gflops(&self) -> Option<f64> {
        match self.learner.precision {
            Precision::F32 => measured_peak_gflops::<f32>(),
            Precision::Bf16 => measured_peak_gflops::<half::bf16>(),
        }
    }

    pub(crate) fn precision(&self) -> &'static str {
        tallow_training::PrecisionSetting::from(self.learner.precision).as_str()
    }

    pub(crate) fn batch_size(&self) -> usize {
        self.dims.n
    }

    /// Takes one step; returns its seconds.
    pub(crate) fn step(&mut self) -> Result<f64> {
        let pixels = self.pixels.clone(); // a loader also hands over its own copy
        let start = Instant::now();
        match self.mode {
            BenchMode::Train => self.train(pixels)?,
            BenchMode::Infer => self.infer(pixels)?,
        }
        self.n_steps += 1;
        Ok(start.elapsed().as_secs_f64())
    }

    fn train(&mut self, pixels: Vec<f32>) -> Result<()> {
        let Dims { n, c: channels, h: height, w: width } = self.dims;
        let first_position = self.n_steps as usize * n;
        let key = TrainKey { seed: 0, epoch: 0, first_position: first_position as u64 };
        let targets = self.targets.clone();
        let indices = (0..n as u32).collect();
        let batch = Batch {
            first_position,
            images: pixels,
            targets,
            mixed: None,
            indices,
            n,
            height,
            width,
            channels,
        };
        let figures = self.learner.step(batch, Content::Images, key, LR, &Comm::alone())?;
        ensure!(figures.loss.is_finite(), "the loss became {}", figures.loss);
        Ok(())
    }

    fn infer(&self, pixels: Vec<f32>) -> Result<()> {
        let Learner { model, precision, .. } = &self.learner;
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu).with_precision(*precision);
        let x = ctx.input(pixels, self.dims)?;
        let logits = Content::Images.forward(model, x, &mut ctx)?.to_vec()?;
        ensure!(logits.len() == self.dims.n * N_CLASSES, "{} logits came out", logits.len());
        Ok(())
    }
}

/// Returns the processor's name on Linux.
fn processor_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()))
}

struct Measured {
    step_secs: Vec<f64>,
    profiled: Vec<(f64, Vec<Span>)>,
    peak_gflops: Option<f64>,
    peak_rss_bytes: Option<u64>,
}

fn figures(args: &BenchArgs, bench: &Bench, measured: Measured) -> Figures {
    let Measured { mut step_secs, profiled, peak_gflops, peak_rss_bytes } = measured;
    step_secs.sort_by(f64::total_cmp);
    let images_per_second = |secs: f64| bench.dims.n as f64 / secs;
    let n_steps = step_secs.len();
    let (fastest, median, slowest) = (step_secs[0], step_secs[n_steps / 2], step_secs[n_steps - 1]);
    let flops: u64 = profiled[0].1.iter().map(|span| span.flops).sum();
    let gflops = flops as f64 / median / 1e9;
    let (profiled_step_secs, parts) = parts(&profiled);
    Figures {
        model: args.model.clone(),
        mode: match args.mode {
            BenchMode::Train => "train",
            BenchMode::Infer => "infer",
        },
        precision: bench.precision(),
        processor: processor_name(),
        isa: tallow_kernels::isa().as_str(),
        n_threads: rayon::current_num_threads(),
        batch_size: bench.dims.n,
        input_px: [bench.dims.h, bench.dims.w],
        n_steps,
        images_per_second: images_per_second(median),
        images_per_second_min: images_per_second(slowest),
        images_per_second_max: images_per_second(fastest),
        step_secs: median,
        gflops,
        peak_gflops,
        share_of_peak: peak_gflops.map(|peak| gflops / peak),
        peak_rss_bytes,
        profiled_step_secs,
        parts,
    }
}

/// Returns the duration of the mean step and its parts, the longest first. `other` is last: the time outside kernels, in
/// which layers allocate memory, pass data on and do bookkeeping.
fn parts(profiled: &[(f64, Vec<Span>)]) -> (f64, Vec<TimedPart>) {
    let n_steps = profiled.len() as f64;
    let step_secs = profiled.iter().map(|(secs, _)| secs).sum::<f64>() / n_steps;
    let mut sums: BTreeMap<(&str, &str), (usize, f64, u64)> = BTreeMap::new();
    for span in profiled.iter().flat_map(|(_, spans)| spans) {
        let (n_calls, secs, flops) = sums.entry((span.op, &span.shape)).or_default();
        *n_calls += 1;
        *secs += span.secs;
        *flops += span.flops;
    }
    let mut parts: Vec<TimedPart> = sums
        .into_iter()
        .map(|((op, shape), (n_calls, secs, flops))| TimedPart {
            op,
            shape: shape.to_owned(),
            calls_per_step: n_calls as f64 / n_steps,
            secs_per_step: secs / n_steps,
            gflops: (flops > 0).then(|| flops as f64 / secs / 1e9),
            share: secs / n_steps / step_secs,
        })
        .collect();
    parts.sort_by(|a, b| b.secs_per_step.total_cmp(&a.secs_per_step));
    let other = (step_secs - parts.iter().map(|part| part.secs_per_step).sum::<f64>()).max(0.0);
    parts.push(TimedPart {
        op: "other",
        shape: String::new(),
        calls_per_step: 1.0,
        secs_per_step: other,
        gflops: None,
        share: other / step_secs,
    });
    (step_secs, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_the_same_shape_are_one_part_and_the_rest_is_other() {
        let span = |op, shape: &str, secs, flops| Span { op, shape: shape.to_owned(), secs, flops };
        let step = || {
            let spans = vec![
                span("relu", "8", 0.1, 0),
                span("conv2d_forward", "a", 0.1, 4_000_000_000),
                span("conv2d_forward", "a", 0.3, 4_000_000_000),
                span("conv2d_forward", "b", 0.3, 3_000_000_000),
            ];
            (1.0, spans)
        };
        let (step_secs, parts) = parts(&[step(), step()]);
        let shown: Vec<_> = parts
            .iter()
            .map(|p| {
                format!(
                    "{} {} {} {:.1} {:?} {:.1}",
                    p.op,
                    p.shape,
                    p.calls_per_step,
                    p.secs_per_step,
                    p.gflops.map(f64::round),
                    p.share
                )
            })
            .collect();
        assert_eq!(step_secs, 1.0);
        let expected = [
            "conv2d_forward a 2 0.4 Some(20.0) 0.4",
            "conv2d_forward b 1 0.3 Some(10.0) 0.3",
            "relu 8 1 0.1 None 0.1",
            "other  1 0.2 None 0.2",
        ];
        assert_eq!(shown, expected);
    }
}
