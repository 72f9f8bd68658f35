//! A network together with its parameters: what is trained, evaluated and saved.

use crate::layers::Layer;
use crate::params::ParamStore;

/// A network and the store that its layers declared their parameters in.
pub struct Model {
    /// From a batch of images to logits.
    pub network: Box<dyn Layer>,
    /// The parameters and buffers of `network`.
    pub params: ParamStore,
}
