//! A network as a list of operations. The operations of an inference pass are recorded, not computed.
//!
//! [`Graph::record`] runs a forward pass on [`Backend::Graph`]. On this backend each layer appends backend-independent operations
//! ([`Op`]) instead of computing, so a model needs no second description. Writing the operations in a file format is left to
//! others.

mod op;

use candle_core::Device;

pub use self::op::{Constant, Op};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::error::Result;

/// A tensor of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The images, (N, C, H, W).
    Input,
    /// The result of the node with this index.
    Node(usize),
}

/// An operation and its place in the network.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The operands.
    pub inputs: Vec<Value>,
    /// Shape of the result without the batch: (C, H, W) for a map, (C) for a vector, (T, C) for tokens.
    pub shape: Vec<usize>,
}

impl Node {
    /// Returns the name of the layer that recorded the node, such as `layer1.0.conv1`; `None` if the layer has no parameters.
    pub fn layer(&self) -> Option<&str> {
        let name = &self.op.constants().next()?.name;
        Some(name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer))
    }

    /// Returns the number of values in the result for one image.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether the result has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A network for inference, as operations on (N, C, H, W) maps in an order in which they can run. The batch size N is dynamic.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Channels, rows and columns of the images.
    pub input: [usize; 3],
    /// The operations.
    pub nodes: Vec<Node>,
    /// The result of the network.
    pub output: Value,
}

impl Graph {
    /// Records the operations of `forward` on images of `input` channels, rows and columns.
    ///
    /// # Errors
    /// If the images do not fit, or a layer cannot be recorded.
    pub fn record(input: [usize; 3], forward: impl FnOnce(Act, &mut Ctx) -> Result<Act>) -> Result<Self> {
        let [c, h, w] = input;
        let mut ctx = Ctx::record(&Device::Cpu);
        let images = Act::graph(Dims { n: 1, c, h, w }, Value::Input);
        let output = forward(images, &mut ctx)?.as_value("output")?;
        Ok(Self { input, nodes: ctx.into_nodes(), output })
    }

    /// Returns the shape of `value` without the batch.
    pub fn shape(&self, value: Value) -> &[usize] {
        match value {
            Value::Input => &self.input,
            Value::Node(index) => &self.nodes[index].shape,
        }
    }

    /// Returns the number of multiply-adds of node `index` for one image. Only operations that sum products count: convolutions,
    /// linear layers and matrix products.
    pub fn multiply_adds(&self, index: usize) -> usize {
        let node = &self.nodes[index];
        let per_number = match &node.op {
            Op::Conv2d { weight, .. } => weight.shape[1..].iter().product(),
            Op::Linear { weight, .. } => weight.shape[1],
            Op::MatMul => *self.shape(node.inputs[0]).last().unwrap_or(&0),
            _ => 0,
        };
        node.len() * per_number
    }
}

impl Ctx {
    /// Appends an operation. `shape` is the shape of its result without the batch.
    pub(crate) fn node(&mut self, op: Op, inputs: &[&Act], shape: Vec<usize>) -> Result<Act> {
        let n = inputs.first().map_or(1, |x| x.dims().n);
        let dims = match *shape.as_slice() {
            [c] => Dims { n, c, h: 1, w: 1 },
            [c, h, w] => Dims { n, c, h, w },
            [tokens, c] => Dims { n, c, h: tokens, w: 1 },
            _ => Dims { n, c: shape.iter().product(), h: 1, w: 1 },
        };
        let inputs = inputs.iter().map(|x| x.as_value(op.name())).collect::<Result<Vec<_>>>()?;
        let index = self.push_node(Node { op, inputs, shape });
        Ok(Act::graph(dims, Value::Node(index)))
    }

    /// Appends an operation with the operand `x` and a result of the same shape.
    pub(crate) fn map_node(&mut self, op: Op, x: &Act) -> Result<Act> {
        let shape = self.shape_of(x)?;
        self.node(op, &[x], shape)
    }

    /// Returns the shape of a recorded activation without the batch.
    pub(crate) fn shape_of(&self, x: &Act) -> Result<Vec<usize>> {
        Ok(match x.as_value("graph")? {
            Value::Input => vec![x.dims().c, x.dims().h, x.dims().w],
            Value::Node(index) => self.nodes()[index].shape.clone(),
        })
    }

    /// Returns `x` as a map for each image. A vector becomes a map of one pixel.
    pub(crate) fn as_map(&mut self, x: &Act) -> Result<Act> {
        let shape = self.shape_of(x)?;
        match *shape {
            [c] => self.node(Op::Reshape(vec![c, 1, 1]), &[x], vec![c, 1, 1]),
            _ => Ok(x.clone()),
        }
    }

    /// Returns `x` as a vector for each image, in C, H, W order.
    pub(crate) fn flat(&mut self, x: &Act) -> Result<Act> {
        let shape = self.shape_of(x)?;
        match shape.len() {
            1 => Ok(x.clone()),
            _ => self.node(Op::Flatten, &[x], vec![shape.iter().product()]),
        }
    }
}
