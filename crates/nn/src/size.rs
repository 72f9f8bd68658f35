//! How much a network computes with: the numbers of its values, known from its recorded operations and the shapes of its parameters
//! before memory is requested for any of them. What is done with these numbers is left to the caller.
//!
//! All of them are lower bounds of what a pass needs, so that a network that fits is never refused by them.

use std::collections::BTreeSet;

use crate::ctx::Ctx;
use crate::error::Result;
use crate::graph::{Graph, Node, Op, Value};
use crate::model::Model;

/// The part of the largest map that inference holds at least. Fused layers hold no map whole that is up to 6 times as wide as
/// those around it, or 4 times as large because pooling follows.
const HELD_SHARE: u64 = 8;

/// Numbers of values of a network. Numbers that would not fit into 64 bits are the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSize {
    /// All parameters and buffers.
    pub n_values: u64,
    /// Parameters and buffers that training changes.
    pub n_learned: u64,
    /// Numbers of an image's pixels, or of its features if the network has a frozen trunk.
    pub n_input: u64,
    /// Maps of one image that a training pass keeps for its backward pass, at least.
    pub n_kept: u64,
    /// Maps of one image that inference has at once, at least.
    pub n_at_once: u64,
}

impl Model {
    /// Returns the sizes of the network for images of `h` x `w` pixels. Copies no values if its parameters are only
    /// [shapes](crate::ParamStore::shapes).
    ///
    /// # Errors
    /// If the images do not fit, or a layer runs code that cannot be recorded.
    pub fn size(&self, [h, w]: [usize; 2]) -> Result<NetworkSize> {
        let mut n_trunk = 0;
        let graph = Graph::record([3, h, w], |x, ctx: &mut Ctx| {
            let Some(trunk) = &self.trunk else { return self.network.forward(x, ctx) };
            let features = trunk.layer.forward(x, ctx)?;
            n_trunk = ctx.nodes().len();
            self.network.forward(features, ctx)
        })?;
        let of_params = |is_wanted: &dyn Fn(bool) -> bool| {
            let wanted = self.params.all().filter(|param| is_wanted(param.is_frozen()));
            wanted.fold(0u64, |sum, param| sum.saturating_add(product(param.shape())))
        };
        let learns = |node: &Node| {
            let mut learned = node.op.constants().filter(|constant| constant.is_learned);
            learned.any(|constant| self.params.get(&constant.name).is_some_and(|param| !param.is_frozen()))
        };
        let first = graph.nodes.iter().position(learns).unwrap_or(graph.nodes.len());
        let largest = graph.nodes.iter().map(|node| product(&node.shape)).max().unwrap_or(0);
        Ok(NetworkSize {
            n_values: of_params(&|_| true),
            n_learned: of_params(&|is_frozen| !is_frozen),
            n_input: match &self.trunk {
                Some(trunk) => trunk.n_features as u64,
                None => product(&graph.input),
            },
            n_kept: kept(&graph, first.max(n_trunk), n_trunk),
            n_at_once: largest / HELD_SHARE,
        })
    }
}

/// Returns the values of the maps that layers from the node `first` on keep for their backward pass: what products and norms read.
/// An activation keeps what it reads unless a norm wrote that, as it is then one layer with the norm. Maps before the node `n_trunk`
/// are not computed in training.
fn kept(graph: &Graph, first: usize, n_trunk: usize) -> u64 {
    let is_norm = |input: &Value| matches!(input, Value::Node(index) if matches!(graph.nodes[*index].op, Op::BatchNorm { .. }));
    let keeps = |node: &&Node| match node.op {
        Op::Conv2d { .. } | Op::Linear { .. } | Op::MatMul | Op::BatchNorm { .. } | Op::LayerNorm { .. } => {
            true
        }
        Op::Gelu | Op::Silu | Op::HardSwish => !node.inputs.iter().any(is_norm),
        _ => false,
    };
    let read = graph.nodes.iter().skip(first).filter(keeps).flat_map(|node| &node.inputs);
    let maps: BTreeSet<usize> = read
        .filter_map(|input| match input {
            Value::Node(index) if *index >= n_trunk => Some(*index),
            _ => None,
        })
        .collect();
    maps.into_iter().fold(0, |sum, index| sum.saturating_add(product(&graph.nodes[index].shape)))
}

fn product(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product, &size| product.saturating_mul(size as u64))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::{Conv2d, Conv2dConfig, Flatten, Linear, Relu, Sequential};
    use crate::params::ParamStore;

    /// A convolution of 4 channels, ReLU, and a dense layer for 5 classes, on images of 6 x 7.
    fn model(mut params: ParamStore) -> Model {
        let mut network = Sequential::new();
        let mut root = params.root();
        network.push(Conv2d::new(&mut root.sub("conv"), 3, 4, Conv2dConfig::same(3)).unwrap());
        network.push(Relu);
        network.push(Flatten);
        network.push(Linear::new(&mut root.sub("fc"), 4 * 6 * 7, 5, true).unwrap());
        Model::new(network, params)
    }

    #[test]
    fn sizes_are_counted_without_values() {
        let shapes = model(ParamStore::shapes());
        let n_values = (4 * 3 * 9 + 4) + (5 * 168 + 5);
        let expected = NetworkSize {
            n_values,
            n_learned: n_values,
            n_input: 126,
            n_kept: 168, // what the dense layer reads
            n_at_once: 168 / HELD_SHARE,
        };
        assert_eq!(shapes.size([6, 7]).unwrap(), expected);
        let whole = model(ParamStore::new(0, &Device::Cpu));
        assert_eq!(whole.size([6, 7]).unwrap(), expected, "the same as that of the network itself");
        assert_eq!(shapes.params.n_parameters(), whole.params.n_parameters());

        shapes.params.freeze(|name| name.starts_with("conv"));
        let head = shapes.size([6, 7]).unwrap();
        assert_eq!((head.n_learned, head.n_kept), (845, 168), "only the dense layer learns");
        shapes.params.check_tensors(&whole.params.to_tensors().unwrap()).unwrap();
    }

    /// A network of 2^40 values would take 4 TiB.
    #[test]
    fn a_store_of_shapes_takes_no_memory_but_has_the_same_limit() {
        let mut store = ParamStore::shapes();
        let large = Linear::new(&mut store.root().sub("a"), 1 << 15, 1 << 15, false);
        assert!(large.is_ok() && store.n_parameters() == 1 << 30);
        let error = Linear::new(&mut store.root().sub("b"), 1 << 20, 1 << 20, false).err().unwrap();
        assert!(error.to_string().contains("more than 2147483648 values"), "{error}");
    }

    #[test]
    fn products_beyond_64_bits_are_the_largest_number() {
        assert_eq!(product(&[usize::MAX, 2]), u64::MAX);
        assert_eq!(product(&[]), 1);
    }
}
