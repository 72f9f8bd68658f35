//! Measures the speed of each kernel at the shapes of the reference network, batch 128:
//! `cargo bench -p tallow-kernels`.
//!
//! The network: 3x3 convolutions 3-32-32 at 32x32 pixels, 32-64-64 at 16x16 and 64-128-128 at 8x8, each with batch
//! norm and ReLU, a 2x2 max-pool after every second one, dense 2048-128-10. Each line is the best of several runs;
//! the last line is the time of a training step as the sum of these. The number of threads is rayon's
//! (`RAYON_NUM_THREADS`). `convolutions.rs` measures all shapes, types and instruction sets of convolutions.
#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

use std::time::Instant;

use tallow_core::{Purpose, Stream};
use tallow_kernels::optim::{AdamConfig, MuonConfig, SgdConfig, adam_step, muon_step, sgd_step};
use tallow_kernels::*;

const BATCH: usize = 128;
const RUNS: usize = 12;

/// The convolutions: side of the maps, channels in, channels out.
const CONVS: [(usize, usize, usize); 6] =
    [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128), (8, 128, 128)];

/// Adds up the best times.
#[derive(Default)]
struct Bench {
    total_secs: f64,
}

impl Bench {
    /// Runs `kernel`, prints the best time and `work` per second in units of 1e9, and counts the time.
    fn run(&mut self, label: &str, work: f64, unit: &str, mut kernel: impl FnMut()) {
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            let start = Instant::now();
            kernel();
            best = best.min(start.elapsed().as_secs_f64());
        }
        self.total_secs += best;
        println!("{label:<44} {:>8.3} ms {:>8.1} {unit}", best * 1e3, work / best / 1e9);
    }

    fn flops(&mut self, label: &str, flops: usize, kernel: impl FnMut()) {
        self.run(label, flops as f64, "GFLOP/s", kernel);
    }

    fn bytes(&mut self, label: &str, n_floats: usize, kernel: impl FnMut()) {
        self.run(label, n_floats as f64 * 4.0, "GB/s", kernel);
    }
}

fn random(len: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Purpose::Test, 0, len as u64);
    (0..len).map(|_| stream.uniform_f32(-1.0, 1.0)).collect()
}

fn convolution(bench: &mut Bench, side: usize, c_in: usize, c_out: usize) {
    let s = ConvShape {
        n: BATCH,
        h: side,
        w: side,
        c_in,
        c_out,
        k_h: 3,
        k_w: 3,
        stride: 1,
        padding: Padding::Symmetric(1),
    };
    let (x, weight, bias, dy) = (random(s.x_len()), random(s.weight_len()), random(c_out), random(s.y_len()));
    let (mut y, mut dx, mut dweight) =
        (vec![0.0; s.y_len()], vec![0.0; s.x_len()], vec![0.0; s.weight_len()]);
    let mut dbias = vec![0.0; c_out];
    let flops = 2 * s.y_len() * 9 * c_in;
    let label = |what: &str| format!("conv 3x3 {c_in}-{c_out} at {side}x{side} {what}");
    bench.flops(&label("forward"), flops, || conv2d_forward(&s, &x, &weight, Some(&bias), &mut y));
    if c_in > 3 {
        bench.flops(&label("input gradient"), flops, || conv2d_input_grad(&s, &dy, &weight, &mut dx));
    }
    bench.flops(&label("weight gradient"), flops, || conv2d_weight_grad(&s, &x, &dy, &mut dweight));
    bench.bytes(&label("bias gradient"), dy.len(), || channel_sums(&dy, c_out, &mut dbias));
}

fn norm_and_activation(bench: &mut Bench, side: usize, c: usize) {
    let len = BATCH * side * side * c;
    let (x, dy) = (random(len), random(len));
    let (gamma, inv_std) = (random(c), random(c));
    let (mut mean, mut var, mut y) = (vec![0.0; c], vec![0.0; c], vec![0.0; len]);
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; len], vec![0.0; c], vec![0.0; c]);
    let label = |what: &str| format!("{what} {side}x{side}x{c}");
    bench.bytes(&label("batch_norm_stats"), len, || batch_norm_stats(&x, c, &mut mean, &mut var));
    bench.bytes(&label("scale_shift"), 2 * len, || scale_shift(&x, &gamma, &inv_std, &mut y));
    bench.bytes(&label("relu"), 2 * len, || relu(&x, &mut y));
    bench.bytes(&label("relu_backward"), 3 * len, || relu_backward(&y, &dy, &mut dx));
    bench.bytes(&label("batch_norm_backward"), 5 * len, || {
        batch_norm_backward(&x, &dy, &mean, &inv_std, &gamma, Some(&mut dx), &mut dgamma, &mut dbeta);
    });
}

fn pooling(bench: &mut Bench, side: usize, c: usize) {
    let s = PoolShape { n: BATCH, h: side, w: side, c, k_h: 2, k_w: 2, stride: 2, padding: 0 };
    let (x, dy) = (random(s.x_len()), random(s.y_len()));
    let (mut y, mut argmax, mut dx) = (vec![0.0; s.y_len()], vec![0; s.y_len()], vec![0.0; s.x_len()]);
    bench.bytes(&format!("max_pool2d 2x2 {side}x{side}x{c}"), x.len() + 2 * y.len(), || {
        max_pool2d(&s, &x, &mut y, &mut argmax);
    });
    bench.bytes(&format!("max_pool2d_backward 2x2 {side}x{side}x{c}"), x.len() + 2 * y.len(), || {
        max_pool2d_backward(&s, &dy, &argmax, &mut dx);
    });
}

fn dense(bench: &mut Bench, f_in: usize, f_out: usize) {
    let (x, weight, dy) = (random(BATCH * f_in), random(f_in * f_out), random(BATCH * f_out));
    let (mut y, mut dx, mut dweight) =
        (vec![0.0; BATCH * f_out], vec![0.0; BATCH * f_in], vec![0.0; f_in * f_out]);
    let flops = 2 * BATCH * f_in * f_out;
    bench.flops(&format!("linear {f_in}-{f_out} forward"), flops, || {
        linear_forward(BATCH, f_in, f_out, &x, &weight, None, &mut y);
    });
    bench.flops(&format!("linear {f_in}-{f_out} input gradient"), flops, || {
        linear_input_grad(BATCH, f_in, f_out, &dy, &weight, &mut dx);
    });
    bench.flops(&format!("linear {f_in}-{f_out} weight gradient"), flops, || {
        linear_weight_grad(BATCH, f_in, f_out, &x, &dy, &mut dweight);
    });
}

/// Measures kernels that the reference network does not use in a step, for comparison. They do not count in the sum.
fn others() {
    let mut bench = Bench::default();
    let len = BATCH * 32 * 32 * 32;
    let (x, mut y) = (random(len), vec![0.0; len]);
    let dy = random(len);
    bench.bytes("gelu 32x32x32", 2 * len, || gelu(&x, &mut y));
    bench.bytes("gelu_backward 32x32x32", 3 * len, || gelu_backward(&x, &dy, &mut y));
    for (h, c_in, c_out, k, stride) in [(32, 64, 128, 1, 1), (32, 64, 128, 3, 2), (32, 64, 128, 1, 2)] {
        let s = ConvShape {
            n: 32,
            h,
            w: h,
            c_in,
            c_out,
            k_h: k,
            k_w: k,
            stride,
            padding: Padding::Symmetric(k / 2),
        };
        let (x, weight, dy) = (random(s.x_len()), random(s.weight_len()), random(s.y_len()));
        let (mut y, mut dx, mut dweight) =
            (vec![0.0; s.y_len()], vec![0.0; s.x_len()], vec![0.0; s.weight_len()]);
        let flops = 2 * s.y_len() * k * k * c_in;
        let label = |what: &str| format!("conv {k}x{k}/{stride} {c_in}-{c_out} at {h}x{h} {what}");
        bench.flops(&label("forward"), flops, || conv2d_forward(&s, &x, &weight, None, &mut y));
        bench.flops(&label("input gradient"), flops, || conv2d_input_grad(&s, &dy, &weight, &mut dx));
        bench.flops(&label("weight gradient"), flops, || conv2d_weight_grad(&s, &x, &dy, &mut dweight));
    }
    let n = 1_000_000;
    let (mut p, g, mut m, mut v) = (random(n), random(n), vec![0.0; n], vec![0.0; n]);
    let adam =
        AdamConfig { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    bench.bytes("adam_step, 1 M parameters", 7 * n, || adam_step(&mut p, &g, &mut m, &mut v, &adam, 1));
    let [lr, momentum, weight_decay] = [0.24, 0.6, 0.0];
    let muon = MuonConfig { lr, momentum, nesterov: true, ns_steps: 3, filter_norm: true, weight_decay };
    for (rows, cols) in [(64, 576), (256, 576), (256, 2304)] {
        let (mut p, g, mut buffer) = (random(rows * cols), random(rows * cols), vec![0.0; rows * cols]);
        let flops = muon.ns_steps * (4 * rows * rows * cols + 2 * rows * rows * rows);
        bench.flops(&format!("muon_step {rows}x{cols}"), flops, || {
            muon_step(&mut p, &g, Some(&mut buffer), rows, &muon);
        });
    }
}

fn main() {
    let mut bench = Bench::default();
    for (side, c_in, c_out) in CONVS {
        convolution(&mut bench, side, c_in, c_out);
        norm_and_activation(&mut bench, side, c_out);
    }
    for (side, c) in [(32, 32), (16, 64), (8, 128)] {
        pooling(&mut bench, side, c);
    }
    dense(&mut bench, 2048, 128);
    dense(&mut bench, 128, 10);
    let (logits, mut losses, mut dlogits) = (random(BATCH * 10), vec![0.0; BATCH], vec![0.0; BATCH * 10]);
    bench.bytes("softmax_cross_entropy 128x10", 2 * BATCH * 10, || {
        let _ = softmax_cross_entropy(
            BATCH,
            10,
            &logits,
            [3; BATCH][..].into(),
            None,
            0.1,
            Reduction::Mean,
            &mut losses,
            Some(&mut dlogits),
        );
    });
    let (mut p, g, mut buffer) = (random(550_000), random(550_000), random(550_000));
    let sgd = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: true };
    bench.bytes("sgd_step, 550,000 parameters", 5 * 550_000, || {
        sgd_step(&mut p, &g, Some(&mut buffer), &sgd, false);
    });
    println!("\nnot part of a step of the reference network:");
    others();
    let images_per_sec = BATCH as f64 / bench.total_secs;
    println!(
        "\na step on {BATCH} images: {:.1} ms, {images_per_sec:.0} images/s on {} threads, {}",
        bench.total_secs * 1e3,
        rayon::current_num_threads(),
        isa().as_str()
    );
}
