//! Measures the speed of depthwise convolutions at the shapes of EfficientNet-Lite0 at 224 pixels, and at some shapes of ConvNeXt
//! and MobileNetV4, whose numbers of channels are powers of two: `cargo bench -p tallow-kernels --bench depthwise`.
//!
//! A number after `--` is the number of images (default 1). Each figure is the best of several runs. GB/s count each
//! number that must be read or written once. The number of threads is rayon's (`RAYON_NUM_THREADS`), the instruction
//! set is that of `TALLOW_ISA`.
#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

use std::time::Instant;

use half::bf16;
use tallow_core::{Purpose, Stream};
use tallow_kernels::*;

/// A figure is the best of at least `MIN_RUNS` runs, and of all runs that fit into `RUN_SECS`.
const MIN_RUNS: usize = 3;
const RUN_SECS: f64 = 0.1;

/// Side of the maps, channels, side of the kernel, stride.
const ROWS: [(usize, usize, usize, usize); 18] = [
    (112, 32, 3, 1),
    (112, 96, 3, 2),
    (56, 144, 3, 1),
    (56, 144, 5, 2),
    (28, 240, 5, 1),
    (28, 240, 3, 2),
    (14, 480, 3, 1),
    (14, 480, 5, 1),
    (14, 672, 5, 1),
    (14, 672, 5, 2),
    (7, 1152, 5, 1),
    (7, 1152, 3, 1),
    (28, 128, 7, 1),
    (14, 256, 7, 1),
    (7, 512, 7, 1),
    (16, 256, 5, 1),
    (8, 1024, 3, 1),
    (4, 1024, 5, 1),
];

fn main() {
    let n = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1);
    table::<f32>("f32", n);
    table::<bf16>("bf16", n);
}

fn table<E: Element>(element: &str, n: usize) {
    let (isa, n_threads) = (isa().as_str(), rayon::current_num_threads());
    let peak = measured_peak_gflops::<f32>().unwrap_or(f64::NAN); // products are f32
    println!("{isa} {element}, {n} images, {n_threads} threads: ms, GFLOP/s (peak {peak:.1}), GB/s");
    println!("{:<22} {:>22} {:>22} {:>22} {:>22}", "", "forward", "folded, ReLU", "input", "weight");
    for row in ROWS {
        table_row::<E>(n, row);
    }
    println!();
}

fn table_row<E: Element>(n: usize, (side, c, k, stride): (usize, usize, usize, usize)) {
    let s = DepthwiseShape { n, h: side, w: side, c, k, stride, padding: Padding::Symmetric(k / 2) };
    let [mut x, mut dy, mut y, mut dx] =
        [s.x_len(), s.y_len(), s.y_len(), s.x_len()].map(|len| random::<E>(len + LINE));
    let (x, dy, y, dx) = (aligned(&mut x), aligned(&mut dy), aligned(&mut y), aligned(&mut dx));
    let (weight, bias) = (random::<f32>(s.weight_len()), random::<f32>(c));
    let mut dweight = vec![0.0; s.weight_len()];
    let folded = FoldedDepthwise::new(k, &weight, &vec![1.0; c], bias);
    let secs = [
        best_secs(|| depthwise_forward(&s, x, &weight, None, y)),
        best_secs(|| folded.forward(&s, x, After::Relu, y)),
        best_secs(|| depthwise_input_grad(&s, dy, &weight, dx)),
        best_secs(|| depthwise_weight_grad(&s, x, dy, &mut dweight)),
    ];
    let (flops, bytes) = (2 * s.y_len() * k * k, (s.x_len() + s.y_len()) * size_of::<E>());
    let figures = secs.map(|secs| {
        format!("{:.3} {:>6.1} {:>6.1}", secs * 1e3, flops as f64 / secs / 1e9, bytes as f64 / secs / 1e9)
    });
    let label = format!("{k}x{k}/{stride} {side}x{side}x{c}");
    println!("{label:<22} {:>22} {:>22} {:>22} {:>22}", figures[0], figures[1], figures[2], figures[3]);
}

/// Size of a cache line in bytes.
const LINE: usize = 64;

/// Returns all but [`LINE`] numbers of `map`, from the first number that begins a cache line. An allocator for maps
/// aligns them like this; the system's allocator does not.
fn aligned<E>(map: &mut [E]) -> &mut [E] {
    let (len, skipped) = (map.len() - LINE, map.as_ptr().align_offset(LINE));
    &mut map[skipped..skipped + len]
}

fn best_secs(mut kernel: impl FnMut()) -> f64 {
    let (start, mut n_runs, mut best) = (Instant::now(), 0, f64::INFINITY);
    while n_runs < MIN_RUNS || start.elapsed().as_secs_f64() < RUN_SECS {
        let run = Instant::now();
        kernel();
        best = best.min(run.elapsed().as_secs_f64());
        n_runs += 1;
    }
    best
}

fn random<E: Element>(len: usize) -> Vec<E> {
    let mut stream = Stream::new(0, Purpose::Test, 0, len as u64);
    (0..len).map(|_| E::from_f32(stream.uniform_f32(-1.0, 1.0))).collect()
}
