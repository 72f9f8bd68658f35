//! Class activation maps: how much each place of the last feature map speaks for a class.
//!
//! A pass for explanation is inference that keeps a tape from the last map on. The layer that turns the map into a vector marks
//! its input ([`Ctx::watch`]). The activation map of a class is `relu(sum over channels of a * d logit / d a)` at each place of
//! the map `a`. If global average pooling follows the map, this is the map of CAM and of Grad-CAM, up to a factor. If a linear
//! layer on the flattened map follows, this formula stays exact; Grad-CAM, with its mean over places, does not. Drawing maps is
//! left to others.
//!
//! # Source
//! Zhou et al. 2015, <https://arxiv.org/abs/1512.04150>; Selvaraju et al. 2016, <https://arxiv.org/abs/1610.02391>;
//! Draelos and Carin 2020, <https://arxiv.org/abs/2011.08891>

use candle_core::Device;

use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::map::{HostMap, MapElement as _};
use crate::model::Model;

/// How much each place of an image speaks for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap {
    /// The class.
    pub class: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The values row by row, in [0, 1]. The largest is 1. If no place speaks for the class, all are 0.
    pub values: Vec<f32>,
}

impl Model {
    /// Returns the activation map of each image for a class. `pixels` are normalised, (N, H, W, C). `classes` has the class of
    /// each image; `None` is the class with the largest logit.
    ///
    /// # Errors
    /// If the images do not fit, the device is not the CPU, or the network has no feature map before its vectors, like a vision
    /// transformer.
    ///
    /// # Panics
    /// If a class does not exist.
    pub fn activation_maps(
        &self,
        pixels: Vec<f32>,
        dims: Dims,
        classes: &[Option<usize>],
    ) -> Result<Vec<ActivationMap>> {
        let Device::Cpu = self.params.device() else {
            return Err(NnError::Device("activation maps are computed on the CPU: use --device cpu".into()));
        };
        let frozen: Vec<String> = self.params.frozen_names();
        self.params.freeze(|_| true); // keeps running statistics, and computes no gradients of parameters
        let maps = self.maps_of_frozen(pixels, dims, classes);
        self.params.freeze(|name| frozen.binary_search_by(|other| other.as_str().cmp(name)).is_ok());
        maps
    }

    fn maps_of_frozen(
        &self,
        pixels: Vec<f32>,
        dims: Dims,
        classes: &[Option<usize>],
    ) -> Result<Vec<ActivationMap>> {
        let mut ctx = Ctx::explain(&Device::Cpu);
        let x = ctx.input(pixels, dims)?;
        let logits = self.forward(x, &mut ctx)?;
        let Some(map) = ctx.take_watched() else {
            return Err(NnError::shape("explain", "the network has no map before its vectors to explain"));
        };
        let n_classes = logits.dims().c;
        let values = logits.to_vec()?;
        let largest =
            |row: &[f32]| (0..n_classes).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap_or(0);
        let rows = values.chunks_exact(n_classes).zip(classes);
        let classes: Vec<usize> = rows.map(|(row, class)| class.unwrap_or_else(|| largest(row))).collect();
        let mut one_hot = vec![0.0; values.len()];
        for (row, &class) in one_hot.chunks_exact_mut(n_classes).zip(&classes) {
            row[class] = 1.0;
        }
        let grads = ctx.backward(&logits, one_hot)?;
        let Dims { c, h, w, .. } = map.dims();
        let a = map.to_vec()?;
        let no_gradient = || NnError::shape("explain", "the last map has no influence on the logits");
        let da = grads.watched.ok_or_else(no_gradient)?;
        let of_image = |((a, da), &class): ((&[f32], &[f32]), &usize)| {
            let places = a.chunks_exact(c).zip(da.chunks_exact(c));
            let sums = places.map(|(a, da)| a.iter().zip(da).map(|(a, da)| a * da).sum::<f32>().max(0.0));
            let mut values: Vec<f32> = sums.collect();
            let largest = values.iter().copied().fold(0.0, f32::max);
            if largest > 0.0 {
                values.iter_mut().for_each(|value| *value /= largest);
            }
            ActivationMap { class, height: h, width: w, values }
        };
        let images = a.chunks_exact(c * h * w).zip(da.chunks_exact(c * h * w));
        Ok(images.zip(&classes).map(of_image).collect())
    }
}

impl Ctx {
    /// Marks `x`, a map that the calling layer turns into a vector, if this is a pass for explanation. Of several marked maps,
    /// the last counts.
    pub(crate) fn watch(&mut self, x: Act) -> Result<Act> {
        let Dims { h, w, .. } = x.dims();
        if !self.explains() || self.backend() != Backend::Kernels || h * w == 1 {
            return Ok(x);
        }
        let x = Act::host(x.dims(), x.as_host("explain")?, true);
        self.set_watched(x.clone());
        self.push_map(|da: HostMap, grads| {
            grads.watched.get_or_insert_with(|| f32::of(&da).to_vec()); // the backward pass reaches the last map first
            Ok(None)
        });
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Conv2d, Conv2dConfig, Dropout, Flatten, GlobalAvgPool, Linear, ParamStore, Relu, Sequential,
    };

    /// Creates a model of an identity convolution with two channels, the layer that makes vectors, and a linear layer with 3
    /// classes.
    fn model(is_pooled: bool) -> Model {
        let mut store = ParamStore::new(1, &Device::Cpu);
        let mut root = store.root();
        let mut network = Sequential::new();
        network.push(Conv2d::new(&mut root.sub("conv"), 2, 2, Conv2dConfig::same(1)).unwrap());
        network.push(Relu);
        let f_in = if is_pooled { 2 } else { 2 * 6 };
        match is_pooled {
            true => network.push(GlobalAvgPool),
            false => network.push(Flatten),
        }
        network.push(Dropout::new("dropout", 0.5).unwrap());
        network.push(Linear::new(&mut root.sub("fc"), f_in, 3, true).unwrap());
        let mut tensors = store.to_tensors().unwrap();
        tensors.get_mut("conv.weight").unwrap().data = vec![1.0, 0.0, 0.0, 1.0];
        tensors.get_mut("conv.bias").unwrap().data = vec![0.0; 2];
        store.load_tensors(&tensors).unwrap();
        Model::new(network, store)
    }

    const DIMS: Dims = Dims { n: 2, c: 2, h: 2, w: 3 };

    fn pixels() -> Vec<f32> {
        (0..DIMS.len()).map(|i| (i * 7 % 11) as f32).collect()
    }

    /// Compares the maps with the formula. The head is linear in the map, so its weights are the gradients.
    #[test]
    fn maps_are_those_of_the_formula() {
        for is_pooled in [true, false] {
            let model = model(is_pooled);
            let weight = model.params.to_tensors().unwrap()["fc.weight"].data.clone();
            let maps = model.activation_maps(pixels(), DIMS, &[Some(2), Some(0)]).unwrap();
            for (image, class) in [(0, 2), (1, 0)] {
                let place = |i: usize| {
                    let at = |channel: usize| match is_pooled {
                        true => weight[class * 2 + channel] / 6.0,
                        false => weight[class * 12 + channel * 6 + i], // C, H, W order
                    };
                    let a = &pixels()[(image * 6 + i) * 2..];
                    (a[0] * at(0) + a[1] * at(1)).max(0.0)
                };
                let expected: Vec<f32> = (0..6).map(place).collect();
                let largest = expected.iter().copied().fold(0.0, f32::max);
                assert_eq!([maps[image].height, maps[image].width], [2, 3]);
                for (value, expected) in maps[image].values.iter().zip(&expected) {
                    assert!((value - expected / largest.max(f32::MIN_POSITIVE)).abs() < 1e-5, "{maps:?}");
                }
            }
        }
    }

    #[test]
    fn frozen_parameters_stay_so_and_others_learn_again() {
        let model = model(true);
        model.params.freeze(|name| name.starts_with("conv"));
        model.activation_maps(pixels(), DIMS, &[None, None]).unwrap();
        let frozen: Vec<&str> = model.params.params().filter(|p| p.is_frozen()).map(|p| p.name()).collect();
        assert_eq!(frozen, ["conv.bias", "conv.weight"]);
    }

    #[test]
    fn a_network_without_a_map_is_refused() {
        let mut store = ParamStore::new(1, &Device::Cpu);
        let mut network = Sequential::new();
        network.push(Linear::new(&mut store.root().sub("fc"), 2, 3, true).unwrap());
        let dims = Dims { n: 1, c: 2, h: 1, w: 1 };
        let error = Model::new(network, store).activation_maps(vec![1.0; 2], dims, &[None]).unwrap_err();
        assert!(error.to_string().contains("no map"), "{error}");
    }
}
