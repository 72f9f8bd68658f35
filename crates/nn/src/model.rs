//! A network together with its parameters: what is trained, evaluated and saved.

use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::graph::Graph;
use crate::layers::Layer;
use crate::params::ParamStore;

/// What the `[model]` table of a run names where a program made the network by itself: no architecture has this name.
pub const CUSTOM: &str = "custom";

/// The frozen part of a network, which gives features.
pub struct Trunk {
    /// From images to features.
    pub layer: Box<dyn Layer>,
    /// What decides features besides weights and images: architecture, strides, input size.
    pub description: String,
    /// Numbers per image.
    pub n_features: usize,
}

/// A network and the store that its layers declared their parameters in.
pub struct Model {
    /// From a batch of images to features, where that part is frozen whole: features then are computed once per image.
    pub trunk: Option<Trunk>,
    /// From a batch of images, or of the trunk's features, to logits.
    pub network: Box<dyn Layer>,
    /// The parameters and buffers of both.
    pub params: ParamStore,
    /// Rows and columns of the images that the network was built for: others are resized to it. `None`: images come as they
    /// are.
    pub input_px: Option<[usize; 2]>,
    /// Whether a program made the network by itself, and not from a table that names an architecture.
    pub is_custom: bool,
    /// The weight (c_out, c_in, k_h, k_w) of the convolution that reads the images themselves, where its filters can be made
    /// from the training images: directions of patches and their opposites.
    pub patch_filters: Option<String>,
}

impl Model {
    /// A program's own model, without a trunk, which takes images as they are.
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

    /// Logits of a batch of images.
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
