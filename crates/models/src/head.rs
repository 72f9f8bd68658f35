//! The head: turns a backbone's features into logits. Joining the two is left to `backbone.rs`.

use serde::{Deserialize, Serialize};
use tallow_nn::{BatchNorm2d, BatchNormConfig, Dropout, Linear, Relu, Scope, Sequential};

use crate::architecture::check_width;
use crate::error::ModelError;

/// Layers that turn features into logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Whether a batch norm standardises the features first.
    pub norm: bool,
    /// Units of a hidden layer with ReLU; `None`: a linear head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// The dropout rate before each dense layer.
    pub dropout: f32,
}

impl HeadConfig {
    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        self.hidden.map_or(Ok(()), |hidden| check_width("head.hidden", hidden))?;
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("head.dropout", format!("expected a rate in [0, 1), found {}", self.dropout));
        }
        Ok(())
    }

    /// Builds the head. A default head is one dense layer in `scope` itself, like `fc` in torchvision. The layers of any other
    /// head are numbered in `scope`, in the order of a PyTorch `Sequential(norm, dropout, linear, relu, dropout, linear)` without
    /// the absent layers.
    pub(crate) fn build(
        &self,
        scope: &mut Scope<'_>,
        n_features: usize,
        n_classes: usize,
    ) -> Result<Sequential, ModelError> {
        let mut head = Sequential::new();
        if *self == Self::default() {
            head.push(Linear::new(scope, n_features, n_classes, true)?);
            return Ok(head);
        }
        if self.norm {
            let scope = &mut scope.sub(head.len());
            head.push(BatchNorm2d::new(scope, n_features, BatchNormConfig::default())?);
        }
        let widths = self.hidden.into_iter().chain([n_classes]).collect::<Vec<_>>();
        let mut f_in = n_features;
        for (i, &f_out) in widths.iter().enumerate() {
            if self.dropout > 0.0 {
                let name = scope.sub(head.len()).name().to_owned();
                head.push(Dropout::new(&name, self.dropout)?);
            }
            let scope = &mut scope.sub(head.len());
            head.push(Linear::new(scope, f_in, f_out, true)?);
            if i + 1 < widths.len() {
                head.push(Relu);
            }
            f_in = f_out;
        }
        Ok(head)
    }
}
