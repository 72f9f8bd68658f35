//! Optimiser steps on one parameter, in place. SGD and Adam take one pass over its memory; Muon has its own file.
//!
//! Settings are f64, as in PyTorch, because `1 - beta2` would lose digits in f32. The parameter and its state are
//! f32. The caller chooses the learning rate of each parameter and keeps the state.

mod muon;

pub use muon::{MuonConfig, muon_step, orthogonalize};

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::profile;

/// Settings of [`sgd_step`], with the names of `torch.optim.SGD`; `dampening` is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the buffer that is kept at each step. Ignored without a buffer.
    pub momentum: f64,
    /// L2 penalty: `weight_decay` times the parameter is added to the gradient.
    pub weight_decay: f64,
    /// Whether to use Nesterov momentum. Ignored without a buffer.
    pub nesterov: bool,
}

/// Performs one step of `torch.optim.SGD`:
///
/// ```text
/// g = g + weight_decay * p
/// buffer = momentum * buffer + g          (at the first step: g)
/// p = p - lr * buffer                     (Nesterov: lr * (g + momentum * buffer); without a buffer: lr * g)
/// ```
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>
pub fn sgd_step(
    p: &mut [f32],
    g: &[f32],
    momentum_buffer: Option<&mut [f32]>,
    cfg: &SgdConfig,
    first_step: bool,
) {
    let _span = profile::parameters("sgd_step");
    check_len("sgd_step", "g", g.len(), p.len());
    let (lr, weight_decay) = (cfg.lr as f32, cfg.weight_decay as f32);
    let Some(buffer) = momentum_buffer else {
        let chunks = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
        return chunks.for_each(|(p, g)| {
            for (p, &g) in p.iter_mut().zip(g) {
                *p -= lr * (g + weight_decay * *p);
            }
        });
    };
    check_len("sgd_step", "momentum_buffer", buffer.len(), p.len());
    let momentum = cfg.momentum as f32;
    // coefficients of g and of the buffer in the step
    let (of_g, of_buffer) = if cfg.nesterov { (lr, lr * momentum) } else { (0.0, lr) };
    let chunks = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(buffer.par_chunks_mut(CHUNK));
    chunks.for_each(|((p, g), buffer)| {
        for ((p, &g), buffer) in p.iter_mut().zip(g).zip(buffer) {
            let g = g + weight_decay * *p;
            *buffer = if first_step { g } else { momentum * *buffer + g };
            *p -= of_g * g + of_buffer * *buffer;
        }
    });
}

/// Settings of [`adam_step`], with the names of `torch.optim.Adam` and `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the first moment that is kept at each step.
    pub beta1: f64,
    /// Share of the second moment that is kept at each step.
    pub beta2: f64,
    /// Constant added to the square root of the second moment.
    pub eps: f64,
    /// Weight decay; see `decoupled`.
    pub weight_decay: f64,
    /// Whether weight decay shrinks the parameter by the share `lr * weight_decay` (AdamW), or is an L2 penalty in
    /// the gradient (Adam).
    pub decoupled: bool,
}

/// Performs one step of `torch.optim.AdamW` (`decoupled`) or `torch.optim.Adam`. At the first step, `t` is 1, and `m`
/// and `v` must be 0:
///
/// ```text
/// p = p - lr * weight_decay * p  (AdamW)  or  g = g + weight_decay * p  (Adam)
/// m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g^2
/// p = p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Kingma and Ba, <https://arxiv.org/abs/1412.6980>; Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>.
pub fn adam_step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], cfg: &AdamConfig, t: u64) {
    let _span = profile::parameters("adam_step");
    check_len("adam_step", "g", g.len(), p.len());
    check_len("adam_step", "m", m.len(), p.len());
    check_len("adam_step", "v", v.len(), p.len());
    let step_size = (cfg.lr / (1.0 - libm::pow(cfg.beta1, t as f64))) as f32;
    let root_scale = (1.0 / (1.0 - libm::pow(cfg.beta2, t as f64)).sqrt()) as f32;
    let (kept, l2) = match cfg.decoupled {
        true => ((1.0 - cfg.lr * cfg.weight_decay) as f32, 0.0),
        false => (1.0, cfg.weight_decay as f32),
    };
    let (beta1, new1) = (cfg.beta1 as f32, (1.0 - cfg.beta1) as f32);
    let (beta2, new2) = (cfg.beta2 as f32, (1.0 - cfg.beta2) as f32);
    let eps = cfg.eps as f32;
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(moments).for_each(|((p, g), (m, v))| {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g + l2 * *p;
            *m = beta1 * *m + new1 * g;
            *v = beta2 * *v + new2 * (g * g);
            *p = kept * *p - step_size * *m / (v.sqrt() * root_scale + eps);
        }
    });
}
