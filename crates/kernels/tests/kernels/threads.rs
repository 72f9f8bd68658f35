//! The bits are the same on 1, 2 and 16 threads, for sizes that give many pieces of work.

use tallow_kernels::optim::{AdamConfig, MuonConfig, SgdConfig, adam_step, muon_step, sgd_step};
use tallow_kernels::*;

use crate::random;

/// Runs `kernels` in pools of 1, 2 and 16 threads and compares the bits of the results that it returns.
#[track_caller]
fn assert_same_bits(kernels: impl Fn() -> Vec<Vec<f32>> + Sync) {
    let bits = |n_threads| -> Vec<Vec<u32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let results = pool.install(&kernels);
        results.into_iter().map(|result| result.into_iter().map(f32::to_bits).collect()).collect()
    };
    let one = bits(1);
    assert!(one.iter().flatten().any(|&bits| bits != 0));
    assert!(bits(2) == one, "2 threads give other bits than 1");
    for _ in 0..3 {
        assert!(bits(16) == one, "16 threads give other bits than 1");
    }
}

#[test]
fn convolution() {
    for (k, stride) in [(3, 1), (3, 2), (1, 1)] {
        let s = ConvShape {
            n: 6,
            h: 33,
            w: 31,
            c_in: 16,
            c_out: 24,
            k_h: k,
            k_w: k,
            stride,
            padding: Padding::Symmetric(k / 2),
        };
        let (x, weight, dy) = (random(1, s.x_len()), random(2, s.weight_len()), random(3, s.y_len()));
        let bias = random(4, s.c_out);
        assert_same_bits(|| {
            let (mut y, mut dx) = (vec![0.0; s.y_len()], vec![0.0; s.x_len()]);
            let (mut dweight, mut dbias) = (vec![0.0; s.weight_len()], vec![0.0; s.c_out]);
            conv2d_forward(&s, &x, &weight, Some(&bias), &mut y);
            conv2d_input_grad(&s, &dy, &weight, &mut dx);
            conv2d_weight_grad(&s, &x, &dy, &mut dweight);
            channel_sums(&dy, s.c_out, &mut dbias);
            vec![y, dx, dweight, dbias]
        });
    }
}

#[test]
fn depthwise_convolution() {
    for (c, k, stride) in [(24, 3, 1), (24, 5, 2), (7, 3, 1), (24, 3, 3)] {
        let s = DepthwiseShape { n: 9, h: 33, w: 61, c, k, stride, padding: Padding::Same };
        let (x, weight, dy) = (random(1, s.x_len()), random(2, s.weight_len()), random(3, s.y_len()));
        let folded = FoldedDepthwise::new(k, &weight, &random(4, c), random(5, c));
        assert_same_bits(|| {
            let (mut y, mut dx) = (vec![0.0; s.y_len()], vec![0.0; s.x_len()]);
            let (mut dweight, mut a) = (vec![0.0; s.weight_len()], vec![0.0; s.y_len()]);
            let moments = depthwise_forward_with_moments(&s, &x, &weight, None, &mut y);
            depthwise_input_grad(&s, &dy, &weight, &mut dx);
            depthwise_weight_grad(&s, &x, &dy, &mut dweight);
            folded.forward(&s, &x, After::Silu, &mut a);
            let moments = moments.sums.iter().chain(&moments.squares).map(|&sum| sum as f32).collect();
            vec![y, dx, dweight, a, moments]
        });
    }
}

#[test]
fn self_attention() {
    let s = AttentionShape { n: 3, tokens: 150, heads: 3, head_width: 40 };
    let qkv = random(1, 3 * s.n * s.tokens * s.width());
    assert_same_bits(|| {
        let mut y = vec![0.0; s.n * s.tokens * s.width()];
        attention(&s, &qkv, &mut y);
        vec![y]
    });
}

#[test]
fn linear_and_loss() {
    let (n, f_in, f_out) = (200, 300, 150);
    let (x, weight) = (random(1, n * f_in), random(2, f_in * f_out));
    let targets: Vec<u32> = (0..n as u32).map(|i| i % f_out as u32).collect();
    assert_same_bits(|| {
        let (mut y, mut dy) = (vec![0.0; n * f_out], vec![0.0; n * f_out]);
        let (mut dx, mut dweight, mut losses) = (vec![0.0; n * f_in], vec![0.0; f_in * f_out], vec![0.0; n]);
        linear_forward(n, f_in, f_out, &x, &weight, None, &mut y);
        let means = softmax_cross_entropy(
            n,
            f_out,
            &y,
            targets[..].into(),
            None,
            0.1,
            Reduction::Mean,
            &mut losses,
            Some(&mut dy),
        );
        linear_input_grad(n, f_in, f_out, &dy, &weight, &mut dx);
        linear_weight_grad(n, f_in, f_out, &x, &dy, &mut dweight);
        log_softmax(n, f_out, &y.clone(), &mut y);
        vec![y, dy, dx, dweight, losses, vec![means.mean, means.plain_mean]]
    });
}

#[test]
fn norm_and_activations() {
    let (c, len) = (24, 24 * 7001);
    let (x, dy, gamma) = (random(1, len), random(2, len), random(3, c));
    assert_same_bits(|| {
        let (mut mean, mut var, mut y, mut dx) = (vec![0.0; c], vec![0.0; c], vec![0.0; len], vec![0.0; len]);
        let (mut dgamma, mut dbeta, mut through) = (vec![0.0; c], vec![0.0; c], vec![0.0; len]);
        batch_norm_stats(&x, c, &mut mean, &mut var);
        scale_shift(&x, &var, &mean, &mut y);
        batch_norm_backward(&x, &dy, &mean, &var, &gamma, Some(&mut dx), &mut dgamma, &mut dbeta);
        relu(&dx, &mut through);
        relu_backward(&through, &x, &mut dx);
        gelu(&x, &mut through);
        gelu_backward(&through, &dy, &mut y);
        vec![mean, var, y, dx, dgamma, dbeta, through]
    });
}

#[test]
fn squeeze_and_excite() {
    let (n, hw, c) = (3, 7001, 24);
    let (x, dy, gate) = (random(1, n * hw * c), random(2, n * hw * c), random(3, n * c));
    assert_same_bits(|| {
        let (mut y, mut dx, mut dgate) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; n * c]);
        scale_channels(n, hw, c, &x, &gate, &mut y);
        scale_channels_backward(n, hw, c, &x, &gate, &dy, &mut dx, &mut dgate);
        vec![y, dx, dgate]
    });
}

#[test]
fn layer_norms() {
    let (rows, c) = (3001, 40);
    let (x, dy, gamma) = (random(1, rows * c), random(2, rows * c), random(3, c));
    assert_same_bits(|| {
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut mean, mut inv_std) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
        layer_norm(1e-6, &x, &gamma, &gamma, &mut y, &mut mean, &mut inv_std);
        let saved = LayerNormState { x: &x, mean: &mean, inv_std: &inv_std, gamma: &gamma };
        layer_norm_backward(&saved, &dy, &mut dx, &mut dgamma, &mut dbeta);
        vec![y, dx, dgamma, dbeta]
    });
}

#[test]
fn pooling() {
    let s = PoolShape { n: 7, h: 31, w: 29, c: 12, k_h: 3, k_w: 3, stride: 2, padding: 1 };
    let (x, dy) = (random(1, s.x_len()), random(2, s.y_len()));
    assert_same_bits(|| {
        let (mut max, mut winners, mut avg) =
            (vec![0.0; s.y_len()], vec![0; s.y_len()], vec![0.0; s.y_len()]);
        let (mut dx_max, mut dx_avg) = (vec![0.0; s.x_len()], vec![0.0; s.x_len()]);
        max_pool2d(&s, &x, &mut max, &mut winners);
        max_pool2d_backward(&s, &dy, &winners, &mut dx_max);
        avg_pool2d(&s, &x, &mut avg);
        avg_pool2d_backward(&s, &dy, &mut dx_avg);
        vec![max, avg, dx_max, dx_avg, winners.into_iter().map(f32::from).collect()]
    });
}

#[test]
fn optimisers() {
    let len = 100_003;
    let g = random(1, len);
    let sgd = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 1e-3, nesterov: true };
    let adam =
        AdamConfig { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true };
    assert_same_bits(|| {
        let (mut p, mut buffer, mut m, mut v) =
            (random(2, len), vec![0.0; len], vec![0.0; len], vec![0.0; len]);
        sgd_step(&mut p, &g, Some(&mut buffer), &sgd, true);
        adam_step(&mut p, &g, &mut m, &mut v, &adam, 1);
        vec![p, buffer, m, v]
    });
}

#[test]
fn muon() {
    let [lr, momentum, weight_decay] = [0.24, 0.6, 0.1];
    let cfg = MuonConfig { lr, momentum, nesterov: true, ns_steps: 3, filter_norm: true, weight_decay };
    for (rows, cols) in [(70, 1001), (1001, 70)] {
        let g = random(1, rows * cols);
        assert_same_bits(|| {
            let (mut p, mut buffer) = (random(2, rows * cols), vec![0.0; rows * cols]);
            muon_step(&mut p, &g, Some(&mut buffer), rows, &cfg);
            muon_step(&mut p, &g, Some(&mut buffer), rows, &cfg);
            vec![p, buffer]
        });
    }
}
