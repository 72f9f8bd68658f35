//! Vision transformers with timm's names, as frozen backbones: their shapes and their `[model]` table. The computation is left to
//! `tallow-nn`'s `VisionTransformer`.
//!
//! DINOv2's ViT-S/14: Oquab et al. 2023, <https://arxiv.org/abs/2304.07193>. Features are the class token and the mean of the
//! patch tokens, both after the last norm, which are the input of the published linear classifiers on the last block. Positions
//! are interpolated as in the paper's code, but without its offset of 0.1 patches, as in Hugging Face's transformers.
//!
//! ViT-S/16: Steiner et al. 2021, <https://arxiv.org/abs/2106.10270>. Features are the class token after the last norm, which is
//! the input of timm's classifier. Positions are interpolated as in timm.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    Model, ParamStore, PositionResize, TokenFeatures, VisionTransformer, VisionTransformerConfig,
};

use crate::architecture::{Architecture, InputSizes, PublishedWeights, parse};
use crate::backbone::{Backbone, BatchNormMode, Learning, Unfreeze};
use crate::error::ModelError;
use crate::head::HeadConfig;
use crate::weights::PretrainedInput;

/// The differences between these networks. Width, depth and heads are the same in every ViT-S.
struct Variant {
    /// timm's name.
    name: &'static str,
    patch_px: usize,
    /// Patches in a row, and in a column, of the images that positions were learnt on.
    n_side: usize,
    /// Rows and columns of the largest images.
    max_px: usize,
    positions: PositionResize,
    layer_scale: bool,
    features: TokenFeatures,
}

const DINOV2_S14: Variant = Variant {
    name: "vit_small_patch14_dinov2",
    patch_px: 14,
    n_side: 37,
    max_px: 518,
    positions: PositionResize::Bicubic,
    layer_scale: true,
    features: TokenFeatures::ClassAndMean,
};

const S16: Variant = Variant {
    name: "vit_small_patch16_224",
    patch_px: 16,
    n_side: 14,
    max_px: 512,
    positions: PositionResize::AntialiasedBicubic,
    layer_scale: false,
    features: TokenFeatures::Class,
};

/// timm's name of the classifier.
const CLASSIFIER: &str = "head";
const DINOV2_WEIGHTS: &str = "hf:timm/vit_small_patch14_dinov2.lvd142m";
const S16_WEIGHTS: &str = "hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k";

/// The network `vit_small_patch14_dinov2`.
pub(crate) const PATCH14_DINOV2: Architecture = Architecture {
    name: DINOV2_S14.name,
    sizes: InputSizes::Patches { patch_px: DINOV2_S14.patch_px, max_px: DINOV2_S14.max_px },
    classifier: CLASSIFIER,
    weights: Some(PublishedWeights {
        source: DINOV2_WEIGHTS,
        licence: "Apache-2.0",
        input: PretrainedInput::imagenet(518, 1.0),
    }),
    reference: || reference(DINOV2_WEIGHTS),
    input_px: |table| Ok(parse::<VitConfig>(table)?.input_px),
    build: |table, n_classes, params| build(&DINOV2_S14, &parse(table)?, n_classes, params),
};

/// The network `vit_small_patch16_224`.
pub(crate) const PATCH16_224: Architecture = Architecture {
    name: S16.name,
    sizes: InputSizes::Patches { patch_px: S16.patch_px, max_px: S16.max_px },
    classifier: CLASSIFIER,
    weights: Some(PublishedWeights {
        source: S16_WEIGHTS,
        licence: "Apache-2.0",
        input: PretrainedInput::inception(224, 0.9),
    }),
    reference: || reference(S16_WEIGHTS),
    input_px: |table| Ok(parse::<VitConfig>(table)?.input_px),
    build: |table, n_classes, params| build(&S16, &parse(table)?, n_classes, params),
};

/// The `[model]` table of a frozen vision transformer with a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Rows and columns of the images: equal, and a multiple of the patch size (14 up to 518, or 16 up to 512).
    pub input_px: [usize; 2],
    /// Source of the weights, as text of a [`WeightsSource`](crate::weights::WeightsSource). Building the network does not load
    /// them: the caller does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The layers that turn features into logits.
    #[serde(default)]
    pub head: HeadConfig,
}

fn reference(weights: &str) -> toml::Table {
    let mut table = toml::toml! { input_px = [224, 224] };
    table.insert("weights".into(), weights.into());
    table
}

/// Builds the network. Only its head learns.
fn build(
    variant: &Variant,
    config: &VitConfig,
    n_classes: usize,
    mut params: ParamStore,
) -> Result<Model, ModelError> {
    config.validate(variant)?;
    let Variant { name, patch_px, n_side, positions, layer_scale, features, .. } = *variant;
    let input_px = config.input_px;
    let network = VisionTransformerConfig {
        input_px,
        patch_px,
        n_side,
        positions,
        width: 384,
        depth: 12,
        heads: 6,
        layer_scale,
        features,
    };
    let what = match features {
        TokenFeatures::Class => "class token",
        TokenFeatures::ClassAndMean => "class and mean patch token",
    };
    let backbone = Backbone {
        layer: VisionTransformer::new(&mut params.root(), network)?,
        n_features: network.n_features(),
        description: format!("{name} {}x{}, {what}, exact GELU", input_px[0], input_px[1]),
        last_stage: &["blocks.11"],
    };
    let learning = Learning { unfreeze: Unfreeze::None, batch_norm: BatchNormMode::Frozen };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

impl VitConfig {
    fn validate(&self, Variant { patch_px, max_px, .. }: &Variant) -> Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        let [h, w] = self.input_px;
        if h != w || h == 0 || h % patch_px != 0 || h > *max_px {
            let problem =
                format!("expected the same multiple of {patch_px} twice, up to {max_px}, found {h} x {w}");
            return refuse("input_px", problem);
        }
        if self.weights.is_none() {
            let problem = "a frozen network needs pretrained weights: name some with --weights";
            return refuse("weights", problem.into());
        }
        self.head.validate()
    }
}

#[cfg(test)]
mod tests {
    use tallow_nn::Device;

    use super::*;

    fn error(variant: &Variant, input_px: &str) -> String {
        let config = toml::from_str(&format!("input_px = {input_px}\nweights = \"x\"")).unwrap();
        build(variant, &config, 10, ParamStore::new(0, &Device::Cpu)).err().unwrap().to_string()
    }

    #[test]
    fn sizes_that_positions_cannot_be_had_for_are_refused() {
        for input_px in ["[0, 0]", "[64, 64]", "[532, 532]", "[126, 112]"] {
            let message = error(&DINOV2_S14, input_px);
            assert!(message.contains("the same multiple of 14 twice, up to 518"), "{input_px}: {message}");
        }
        for input_px in ["[0, 0]", "[126, 126]", "[528, 528]", "[128, 112]"] {
            let message = error(&S16, input_px);
            assert!(message.contains("the same multiple of 16 twice, up to 512"), "{input_px}: {message}");
        }
    }
}
