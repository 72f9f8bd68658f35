//! One optimiser step composed from Candle operators, for devices other than the CPU. The same formulas as
//! `tallow_kernels::optim`, which says whose they are.

use candle_core::Tensor;

use super::OptimizerConfig;
use crate::error::Result;
use crate::params::Param;

/// One step of `param` on `slots`, in place.
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
        _ => unreachable!("an Adam optimiser has two slots per parameter"),
    };
    param.set(&new)
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
    use crate::optim::{Optimizer, Slots};
    use crate::params::ParamStore;

    /// Five steps by Candle operators, on the CPU, against five steps by the kernels.
    #[test]
    fn agrees_with_the_kernels() {
        let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
        let configs = [
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.1 },
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.1 },
            OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0 },
            OptimizerConfig::Adam { lr: 0.1, beta1, beta2, eps, weight_decay: 0.1 },
            OptimizerConfig::AdamW { lr: 0.1, beta1, beta2, eps, weight_decay: 0.1 },
        ];
        for config in configs {
            let run = |on_device: bool| {
                let mut store = ParamStore::new(3, &Device::Cpu);
                let w = store.root().param("w", &[5, 2], Init::Normal { std: 1.0 }).unwrap();
                let mut optimizer = Optimizer::new(&config, &[], &store).unwrap();
                if on_device {
                    let zeros = vec![w.var().zeros_like().unwrap(); config.slot_names().len()];
                    optimizer.slots.insert("w".into(), Slots::Device(zeros));
                }
                for step in 0..5 {
                    let mut grads = Gradients::default();
                    grads.add("w", &[5, 2], Init::Normal { std: 1.0 }.values(10, step, "grad")).unwrap();
                    optimizer.step(&store, &grads, config.lr()).unwrap();
                }
                store.to_tensors().unwrap()["w"].data.clone()
            };
            for (a, b) in run(true).iter().zip(run(false)) {
                assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{config:?}: {a} {b}");
            }
        }
    }
}
