//! One optimiser step composed from Candle operators, for devices other than the CPU. The formulas are those of
//! `tallow_kernels::optim`, which names their sources.

use candle_core::Tensor;

use super::OptimizerConfig;
use crate::error::Result;
use crate::params::Param;

/// Updates `param` and its state `slots` by one step.
pub(super) fn step(
    config: &OptimizerConfig,
    param: &Param,
    grad: &Tensor,
    slots: &mut [Tensor],
    lr: f64,
    weight_decay: f64,
    t: u64,
) -> Result<()> {
    let p = param.var().as_detached_tensor();
    let new = match (config, slots) {
        (&OptimizerConfig::Sgd { momentum, nesterov, .. }, slots) => {
            let grad = (grad + (&p * weight_decay)?)?;
            let direction = match slots.first_mut() {
                None => grad,
                Some(buffer) => {
                    *buffer = ((&*buffer * momentum)? + &grad)?;
                    if nesterov { (grad + (&*buffer * momentum)?)? } else { buffer.clone() }
                }
            };
            (p - (direction * lr)?)?
        }
        (&OptimizerConfig::Adam { beta1, beta2, eps, .. }, [m, v]) => {
            let grad = (grad + (&p * weight_decay)?)?;
            (&p - adam_change(&grad, m, v, (beta1, beta2, eps), lr, t)?)?
        }
        (&OptimizerConfig::AdamW { beta1, beta2, eps, .. }, [m, v]) => {
            let shrunk = (p * (1.0 - lr * weight_decay))?;
            (shrunk - adam_change(grad, m, v, (beta1, beta2, eps), lr, t)?)?
        }
        (&OptimizerConfig::Muon { momentum, nesterov, ns_steps, filter_norm, .. }, slots) => {
            let direction = match slots.first_mut() {
                None => grad.clone(),
                Some(buffer) => {
                    *buffer = ((&*buffer * momentum)? + grad)?;
                    if nesterov { (grad + (&*buffer * momentum)?)? } else { buffer.clone() }
                }
            };
            let [rows, rest] = [p.dim(0)?, p.elem_count() / p.dim(0)?.max(1)].map(|n| n as f64);
            let update = orthogonalize(&direction.flatten_from(1)?, ns_steps)?.reshape(p.shape())?;
            let p = match filter_norm {
                true => (p.broadcast_div(&norm(&p)?.maximum(f32::MIN_POSITIVE)?)? * rows.sqrt())?,
                false => p,
            };
            ((p * (1.0 - lr * weight_decay))? - (update * (lr * (rows / rest).max(1.0).sqrt()))?)?
        }
        _ => unreachable!("an Adam optimiser has two slots per parameter"),
    };
    param.set(&new)
}

/// Orthogonalises the matrix as `tallow_kernels::optim::orthogonalize` does.
fn orthogonalize(matrix: &Tensor, ns_steps: usize) -> candle_core::Result<Tensor> {
    let (rows, cols) = matrix.dims2()?;
    let wide = if rows > cols { matrix.t()?.contiguous()? } else { matrix.clone() };
    let mut x = wide.broadcast_div(&norm(&wide)?.maximum(1e-7)?)?;
    for _ in 0..ns_steps {
        let gram = x.matmul(&x.t()?)?;
        let of_x = ((&gram * -4.7750)? + (gram.matmul(&gram)? * 2.0315)?)?.matmul(&x)?;
        x = ((x * 3.4445)? + of_x)?;
    }
    if rows > cols { x.t()?.contiguous() } else { Ok(x) }
}

/// Returns the Frobenius norm.
fn norm(x: &Tensor) -> candle_core::Result<Tensor> {
    x.sqr()?.sum_all()?.sqrt()
}

fn adam_change(
    grad: &Tensor,
    m: &mut Tensor,
    v: &mut Tensor,
    (beta1, beta2, eps): (f64, f64, f64),
    lr: f64,
    t: u64,
) -> candle_core::Result<Tensor> {
    *m = ((&*m * beta1)? + (grad * (1.0 - beta1))?)?;
    *v = ((&*v * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
    let correction = |beta: f64| 1.0 - libm::pow(beta, t as f64);
    let denominator = ((v.sqrt()? / correction(beta2).sqrt())? + eps)?;
    (&*m / denominator)? * (lr / correction(beta1))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::gradients::Gradients;
    use crate::init::Init;
    use crate::optim::{Optimizer, SgdSettings, Slots};
    use crate::params::ParamStore;

    fn muon(momentum: f64, nesterov: bool, ns_steps: usize, filter_norm: bool) -> OptimizerConfig {
        let sgd = SgdSettings { lr: 0.05, momentum, nesterov, weight_decay: 0.1 };
        OptimizerConfig::Muon { lr: 0.1, momentum, nesterov, ns_steps, filter_norm, weight_decay: 0.1, sgd }
    }

    /// Compares five steps by Candle operators, on the CPU, with five steps by the kernels.
    #[test]
    fn agrees_with_the_kernels() {
        let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
        let configs = [
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.1 },
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.1 },
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0 },
            OptimizerConfig::Adam { lr: 0.1, beta1, beta2, eps, weight_decay: 0.1 },
            OptimizerConfig::AdamW { lr: 0.1, beta1, beta2, eps, weight_decay: 0.1 },
            muon(0.95, false, 5, false),
            muon(0.6, true, 3, true),
            muon(0.0, false, 3, true),
        ];
        let shapes: [(&str, &[usize]); 4] =
            [("a", &[5, 2]), ("b", &[2, 3, 2, 1]), ("c", &[4]), ("d", &[3, 3])];
        for config in configs {
            let run = |on_device: bool| {
                let mut store = ParamStore::new(3, &Device::Cpu);
                let normal = Init::Normal { std: 1.0 };
                for (name, shape) in shapes {
                    store.root().param(name, shape, normal).unwrap();
                }
                let mut optimizer = Optimizer::new(&config, &[], &store).unwrap();
                for param in store.params().filter(|_| on_device) {
                    let n = optimizer.slot_names(param.name()).len();
                    let zeros = vec![param.var().zeros_like().unwrap(); n];
                    optimizer.slots.insert(param.name().to_owned(), Slots::Device(zeros));
                }
                for step in 0..5 {
                    let mut grads = Gradients::default();
                    for (name, shape) in shapes {
                        let values = normal.values(shape.iter().product(), step, &format!("grad of {name}"));
                        grads.add(name, shape, values).unwrap();
                    }
                    optimizer.step(&store, &grads, config.lr()).unwrap();
                }
                let tensors = store.to_tensors().unwrap();
                tensors.into_values().flat_map(|tensor| tensor.data).collect::<Vec<_>>()
            };
            // each Newton-Schulz iteration enlarges rounding errors by its slope
            let tolerance = if let OptimizerConfig::Muon { .. } = config { 1e-5 } else { 1e-6 };
            for (a, b) in run(true).iter().zip(run(false)) {
                assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{config:?}: {a} {b}");
            }
        }
    }
}
