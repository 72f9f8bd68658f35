//! [`Act`], the input and output of layers: a batch of feature maps, or of feature vectors.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::error::{NnError, Result};
use crate::graph::Value;
use crate::host;
use crate::map::{Buffer, HostMap, MapElement};

/// The logical size of an [`Act`]: `n` images of `c` channels, `h` rows and `w` columns. A batch of feature vectors
/// has `h = w = 1`. The order in memory depends on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Images.
    pub n: usize,
    /// Channels, or features.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Dims {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.n * self.c * self.h * self.w
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for Dims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} channels x {} rows x {} columns", self.n, self.c, self.h, self.w)
    }
}

/// A batch of activations. Clones share the values.
#[derive(Clone, Debug)]
pub struct Act {
    dims: Dims,
    data: Data,
    needs_grad: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// (N, H, W, C) in main memory.
    Host(HostMap),
    /// (N, C, H, W), for feature vectors too.
    Candle(Tensor),
    /// A tensor of the graph that is being recorded.
    Graph(Value),
}

impl Act {
    pub(crate) fn host(dims: Dims, data: impl Into<HostMap>, needs_grad: bool) -> Self {
        let data = data.into();
        debug_assert_eq!(dims.len(), data.len());
        Self { dims, data: Data::Host(data), needs_grad }
    }

    /// On this path Candle itself keeps track of gradients, so `needs_grad` is `false`.
    pub(crate) fn candle(dims: Dims, tensor: Tensor) -> Self {
        debug_assert_eq!([dims.n, dims.c, dims.h, dims.w], *tensor.dims());
        Self { dims, data: Data::Candle(tensor), needs_grad: false }
    }

    pub(crate) fn graph(dims: Dims, value: Value) -> Self {
        Self { dims, data: Data::Graph(value), needs_grad: false }
    }

    /// Returns the logical size.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Whether any earlier layer, or the input, needs a gradient. If not, layers skip the computation.
    pub(crate) fn needs_grad(&self) -> bool {
        self.needs_grad
    }

    /// Returns the values of the kernel backend as `E`, without a copy unless the map is of the other type.
    pub(crate) fn as_map<E: MapElement>(&self, layer: &str) -> Result<Arc<Buffer<E>>> {
        match &self.data {
            Data::Host(data) => Ok(E::of(data)),
            Data::Candle(_) | Data::Graph(_) => {
                Err(NnError::shape(layer, "an activation of another path came to the kernel backend"))
            }
        }
    }

    /// Returns the values of the kernel backend in f32.
    pub(crate) fn as_host(&self, layer: &str) -> Result<Arc<Buffer<f32>>> {
        self.as_map(layer)
    }

    pub(crate) fn as_candle(&self, layer: &str) -> Result<&Tensor> {
        match &self.data {
            Data::Candle(tensor) => Ok(tensor),
            Data::Host(_) | Data::Graph(_) => {
                Err(NnError::shape(layer, "an activation of another path came to the Candle backend"))
            }
        }
    }

    /// The tensor of the graph that is being recorded.
    pub(crate) fn as_value(&self, layer: &str) -> Result<Value> {
        match self.data {
            Data::Graph(value) => Ok(value),
            Data::Host(_) | Data::Candle(_) => {
                Err(NnError::shape(layer, "an activation with numbers came to the recording backend"))
            }
        }
    }

    /// Returns the values in (N, H, W, C) order as f32, from any device. For a batch of feature vectors, such as logits, this
    /// order is row by row.
    ///
    /// # Errors
    /// If the device fails, or the activation was recorded and has no numbers.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        match &self.data {
            Data::Host(data) => Ok(f32::of(data).to_vec()),
            Data::Candle(tensor) => from_candle(tensor),
            Data::Graph(_) => Err(NnError::shape("to_vec", "a recorded activation has no numbers")),
        }
    }
}

/// Converts values in (N, H, W, C) order to an (N, C, H, W) tensor of the Candle backend.
pub(crate) fn to_candle(values: &[f32], dims: Dims, device: &Device) -> Result<Tensor> {
    let Dims { n, c, h, w } = dims;
    Ok(Tensor::from_slice(values, (n, h, w, c), device)?.permute((0, 3, 1, 2))?.contiguous()?)
}

/// Returns the values of an (N, C, H, W) tensor of the Candle backend in (N, H, W, C) order.
pub(crate) fn from_candle(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(host::to_vec(&tensor.permute((0, 2, 3, 1))?)?)
}
