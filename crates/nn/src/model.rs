//! A network together with its parameters, to be trained, evaluated and saved.

use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::graph::Graph;
use crate::layers::Layer;
use crate::params::ParamStore;

/// The name in the `[model]` table of a run if a program built the network by its own code. No architecture has this name.
pub const CUSTOM: &str = "custom";

/// The frozen part of a network, which computes features.
pub struct Trunk {
    /// Computes features from images.
    pub layer: Box<dyn Layer>,
    /// Everything that features depend on besides weights and images, as text: architecture, strides, input size.
    pub description: String,
    /// Features per image.
    pub n_features: usize,
}

/// A network and the store that its layers declared their parameters in.
pub struct Model {
    /// Computes features from a batch of images, if this whole part is frozen. Features are then computed once per image.
    pub trunk: Option<Trunk>,
    /// Computes logits from a batch of images, or of the trunk's features.
    pub network: Box<dyn Layer>,
    /// The parameters and buffers of both.
    pub params: ParamStore,
    /// Rows and columns of the images that the network was built for. Other images are resized to them. `None`: images are not
    /// resized.
    pub input_px: Option<[usize; 2]>,
    /// Whether a program built the network by its own code, and not from a table that names an architecture.
    pub is_custom: bool,
    /// Name of the weight (c_out, c_in, k_h, k_w) of the convolution that reads the images, if its filters can be computed from
    /// the training images as directions of patches and their opposites.
    pub patch_filters: Option<String>,
}

impl Model {
    /// Returns a model of a program's own network: without a trunk, and without resizing of images.
    pub fn new(network: impl Layer + 'static, params: ParamStore) -> Self {
        Self {
            trunk: None,
            network: Box::new(network),
            params,
            input_px: None,
            is_custom: true,
            patch_filters: None,
        }
    }

    /// Returns the logits of a batch of images.
    ///
    /// # Errors
    /// If the images do not fit, or the device fails.
    pub fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = match &self.trunk {
            Some(trunk) => trunk.layer.forward(x, ctx)?,
            None => x,
        };
        self.network.forward(x, ctx)
    }

    /// The operations from images (N, 3, rows, columns) to logits.
    ///
    /// # Errors
    /// If the images do not fit, or a layer runs code that cannot be recorded.
    pub fn graph(&self, [h, w]: [usize; 2]) -> Result<Graph> {
        Graph::record([3, h, w], |x, ctx| self.forward(x, ctx))
    }
}
