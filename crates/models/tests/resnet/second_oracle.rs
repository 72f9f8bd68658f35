//! The second oracle: candle-transformers' ResNets, which share no code with ours on the kernel backend.
//!
//! They use torchvision's names. They have the stride only in the 3x3 convolution (v1.5), and cannot train: their batch norms
//! always use the running statistics.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Func, Module as _, VarBuilder};
use candle_transformers::models::resnet;
use tallow_nn::{Backend, Ctx, Device, Dims, Model};

use crate::{GOLDENS, TOLERANCE, assert_close, closed_form, dims, logits, network};

type New = fn(usize, VarBuilder<'static>) -> Result<Func<'static>>;

/// Returns candle-transformers' network with the weights of `model`.
fn oracle(model: &Model, new: New) -> Func<'static> {
    let tensors = model.params.to_tensors().unwrap();
    let tensor = |t: tallow_nn::HostTensor| Tensor::from_vec(t.data, t.shape, &Device::Cpu).unwrap();
    let tensors: HashMap<_, _> = tensors.into_iter().map(|(name, t)| (name, tensor(t))).collect();
    new(GOLDENS.n_classes, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap()
}

fn oracle_logits(oracle: &Func<'_>, batch: [usize; 3]) -> Vec<f32> {
    let Dims { n, c, h, w } = dims(batch);
    let x = Tensor::from_vec(closed_form::images(dims(batch), 0), (n, h, w, c), &Device::Cpu).unwrap();
    let x = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    oracle.forward(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn logits_are_candle_transformers() {
    let oracles: [(&str, New); 2] = [("resnet18", resnet::resnet18), ("resnet50", resnet::resnet50)];
    for (name, new) in oracles {
        let model = network(name, false);
        let oracle = oracle(&model, new);
        for batch in [[2, 64, 64], [1, 37, 90]] {
            let ours = logits(&model, Ctx::eval(Backend::Kernels, &Device::Cpu), batch);
            let what = format!("{name}, {batch:?}");
            assert_close(&what, &ours, &oracle_logits(&oracle, batch), TOLERANCE);
        }
    }
}
