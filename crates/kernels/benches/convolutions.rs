//! Measures the speed of convolutions in GFLOP/s, by instruction set and type:
//! `cargo bench -p tallow-kernels --bench convolutions`.
//!
//! A name after `--`, such as `speedrun` or `bf16`, selects the tables that have it in their title. Each figure is
//! the best of several runs; the number of threads is rayon's (`RAYON_NUM_THREADS`). `TALLOW_ISA` is read once per
//! process, so this program starts itself again for each instruction set that the processor has.
#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

use std::process::Command;
use std::time::Instant;

use half::bf16;
use tallow_core::{Purpose, Stream};
use tallow_kernels::*;

/// Instruction sets, and whether their bf16 or their f32 kernels are measured. The last one has the f32 kernels of
/// the second.
const ISAS: [(&str, bool); 3] = [("avx2", false), ("avx512", false), ("avx512bf16", true)];

/// This variable is set if this program started itself.
const CHILD_VARIABLE: &str = "TALLOW_BENCH_CHILD";

/// A figure is the best of at least `MIN_RUNS` runs, and of all runs that fit into `RUN_SECS`.
const MIN_RUNS: usize = 3;
const RUN_SECS: f64 = 0.1;

/// Number of images, side of the maps, input channels, output channels, side of the kernel, stride. The padding keeps
/// the size of the maps; a 2x2 kernel has none.
type Row = (usize, usize, usize, usize, usize, usize);

const CNN: &[Row] = &[
    (128, 32, 3, 32, 3, 1),
    (128, 32, 32, 32, 3, 1),
    (128, 16, 32, 64, 3, 1),
    (128, 16, 64, 64, 3, 1),
    (128, 8, 64, 128, 3, 1),
    (128, 8, 128, 128, 3, 1),
];

const SPEEDRUN: &[Row] = &[
    (256, 32, 3, 24, 2, 1),
    (256, 31, 24, 64, 3, 1),
    (256, 15, 64, 64, 3, 1),
    (256, 15, 64, 256, 3, 1),
    (256, 7, 256, 256, 3, 1),
    (256, 3, 256, 256, 3, 1),
];

/// One layer of each kind at 64 pixels, then the 1x1 layers of the first stage at 224 pixels, where maps have 56
/// rows.
const RESNET50: &[Row] = &[
    (64, 64, 3, 64, 7, 2),
    (64, 16, 64, 256, 1, 1),
    (64, 16, 256, 512, 1, 2),
    (64, 16, 128, 128, 3, 2),
    (64, 8, 128, 512, 1, 1),
    (64, 8, 512, 128, 1, 1),
    (64, 4, 256, 256, 3, 1),
    (64, 4, 256, 1024, 1, 1),
    (64, 4, 1024, 256, 1, 1),
    (64, 4, 1024, 2048, 1, 2),
    (64, 2, 512, 512, 3, 1),
    (64, 2, 512, 2048, 1, 1),
    (64, 2, 2048, 512, 1, 1),
    (16, 56, 64, 256, 1, 1),
    (16, 56, 256, 64, 1, 1),
];

/// 3x3 with stride 1 at the sizes that networks have.
fn grid() -> Vec<Row> {
    let sides = [7, 8, 14, 16, 28, 32];
    sides.into_iter().flat_map(|side| [32, 64, 128, 256].map(|c| (32, side, c, c, 3, 1))).collect()
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')); // cargo passes `--bench`
    if std::env::var_os(CHILD_VARIABLE).is_some() {
        let is_bf16 = ISAS.iter().any(|&(name, is_bf16)| name == isa().as_str() && is_bf16);
        return if is_bf16 { tables::<bf16>("bf16", filter) } else { tables::<f32>("f32", filter) };
    }
    let program = std::env::current_exe().expect("the benchmark has a path");
    for (name, _) in ISAS {
        if let Err(e) = detect_isa(Some(name)) {
            println!("{e}\n");
            continue;
        }
        let mut child = Command::new(&program);
        child.args(&filter).env(ISA_VARIABLE, name).env(CHILD_VARIABLE, "1");
        let status = child.status().expect("the benchmark can start itself");
        assert!(status.success(), "{name}: {status}");
    }
}

/// Prints all tables of the instruction set in use.
fn tables<E: Element>(element: &str, filter: Option<String>) {
    let networks = [("cnn", CNN), ("speedrun", SPEEDRUN), ("resnet50", RESNET50), ("3x3", &grid())];
    let peak = measured_peak_gflops::<E>().unwrap_or(f64::NAN);
    for (network, rows) in networks {
        let title = format!("{} {element} {network}", isa().as_str());
        if filter.as_ref().is_some_and(|filter| !title.contains(filter.as_str())) {
            continue;
        }
        let n_threads = rayon::current_num_threads();
        println!("{title}: GFLOP/s on {n_threads} threads, peak {peak:.1}");
        println!("{:<32} {:>10} {:>10} {:>10}", "", "forward", "input", "weight");
        for &row in rows {
            table_row::<E>(row);
        }
        println!();
    }
}

fn table_row<E: Element>((n, side, c_in, c_out, k, stride): Row) {
    let padding = (k - 1) / 2;
    let s = ConvShape {
        n,
        h: side,
        w: side,
        c_in,
        c_out,
        k_h: k,
        k_w: k,
        stride,
        padding: Padding::Symmetric(padding),
    };
    let (x, dy) = (random::<E>(s.x_len()), random::<E>(s.y_len()));
    let weight = random::<f32>(s.weight_len());
    let (mut y, mut dx) = (vec![E::default(); s.y_len()], vec![E::default(); s.x_len()]);
    let mut dweight = vec![0.0; s.weight_len()];
    let flops = (2 * s.y_len() * k * k * c_in) as f64;

    let forward = flops / best_secs(|| conv2d_forward(&s, &x, &weight, None, &mut y));
    // training needs no gradient of an image
    let input = (c_in > 3).then(|| flops / best_secs(|| conv2d_input_grad(&s, &dy, &weight, &mut dx)));
    let weight = flops / best_secs(|| conv2d_weight_grad(&s, &x, &dy, &mut dweight));

    let label = format!("{n} x {side}x{side}  {k}x{k}/{stride} {c_in}->{c_out}");
    let input = input.map_or(String::new(), |rate| format!("{:.1}", rate / 1e9));
    println!("{label:<32} {:>10.1} {input:>10} {:>10.1}", forward / 1e9, weight / 1e9);
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
