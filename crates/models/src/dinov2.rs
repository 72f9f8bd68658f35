//! DINOv2's ViT-S/14 as a frozen backbone: candle-transformers' network, in its own (N, C, H, W), run by Candle.
//!
//! Source: Oquab et al. 2023, <https://arxiv.org/abs/2304.07193>. Names are timm's, which are the paper's code's. Features
//! are what the published linear classifiers on the last block read: the class token and the mean of the patch tokens, both
//! after the last norm.
//!
//! candle-transformers 0.11 takes one image at a time, ends with a classifier of 1,000 classes, and takes the nearest
//! neighbours of positions where images are smaller than 518 pixels. All three are decided by tensors that it asks for, so
//! it is given others ([`Handed`]): the class token and the positions as often as there are images, positions interpolated
//! as the paper's code does, and the identity as a classifier. What stays: GELU's tanh form and 1e-5 in norms, where the
//! paper's code has the exact form and 1e-6.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Module, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::dinov2::vit_small;
use serde::{Deserialize, Serialize};
use tallow_nn::{CandleModel, CandleModule, Model, ParamStore};

use crate::architecture::{Architecture, InputSizes, PublishedWeights, parse};
use crate::backbone::{Backbone, BatchNormMode, Learning, Unfreeze};
use crate::error::ModelError;
use crate::head::HeadConfig;
use crate::weights::PretrainedInput;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: NAME,
    sizes: InputSizes::Patches { patch_px: PATCH_PX, max_px: MAX_PX },
    classifier: CLASSIFIER,
    weights: Some(PublishedWeights {
        source: WEIGHTS,
        licence: "Apache-2.0",
        input: PretrainedInput::imagenet(MAX_PX, 1.0),
    }),
    reference: || {
        let mut table = toml::toml! { input_px = [224, 224] };
        table.insert("weights".into(), WEIGHTS.into());
        table
    },
    input_px: |table| Ok(parse::<Dinov2Config>(table)?.input_px),
    build: |table, n_classes, params| build(&parse(table)?, n_classes, params),
};

/// timm's name.
const NAME: &str = "vit_small_patch14_dinov2";
const WEIGHTS: &str = "hf:timm/vit_small_patch14_dinov2.lvd142m";
/// timm's name.
const CLASSIFIER: &str = "head";

/// Rows and columns of a patch.
const PATCH_PX: usize = 14;
/// Patches in a row and in a column of the images that positions were learnt on, 518 pixels.
const N_SIDE: usize = 37;
const MAX_PX: usize = N_SIDE * PATCH_PX;
/// The width of a token.
const WIDTH: usize = 384;
/// Class token and mean patch token.
const N_FEATURES: usize = 2 * WIDTH;
/// Outputs of candle-transformers' classifier.
const N_OUTPUTS: usize = 1000;
/// Tokens that go through at once: so many that weights are read seldom, so few that attention takes little memory.
const MAX_TOKENS: usize = 4096;

/// The `[model]` table of a DINOv2 with a head of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dinov2Config {
    /// Rows and columns of the images: the same multiple of 14, up to 518.
    pub input_px: [usize; 2],
    /// Where the weights come from, as [`WeightsSource`](crate::weights::WeightsSource) reads it; whoever builds the network
    /// loads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// What turns features into logits.
    #[serde(default)]
    pub head: HeadConfig,
}

/// The network; all but its head is frozen.
fn build(
    config: &Dinov2Config,
    n_classes: usize,
    mut params: ParamStore,
) -> std::result::Result<Model, ModelError> {
    config.validate()?;
    let [side, _] = config.input_px;
    let layer = CandleModel::new(&mut params.root(), move |vb| network(vb, side / PATCH_PX))?;
    let backbone = Backbone {
        layer,
        n_features: N_FEATURES,
        description: format!("{NAME} {side}x{side}, class and mean patch token, f32"),
        last_stage: &["blocks.11"],
    };
    let learning = Learning { unfreeze: Unfreeze::None, batch_norm: BatchNormMode::Frozen };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

impl Dinov2Config {
    fn validate(&self) -> std::result::Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        let [h, w] = self.input_px;
        if h != w || h == 0 || h % PATCH_PX != 0 || h > MAX_PX {
            let problem =
                format!("expected the same multiple of {PATCH_PX} twice, up to {MAX_PX}, found {h} x {w}");
            return refuse("input_px", problem);
        }
        if self.weights.is_none() {
            let problem = "a frozen network without weights gives no features: name some with --weights";
            return refuse("weights", problem.into());
        }
        self.head.validate()
    }
}

/// candle-transformers' network without its classifier, for images of `n` x `n` patches.
fn network(vb: VarBuilder<'_>, n: usize) -> Result<CandleModule> {
    let (dtype, device) = (vb.dtype(), vb.device().clone());
    let asked = Mutex::new(BTreeMap::new());
    vit_small(VarBuilder::from_backend(Box::new(Asking { vb, n, asked: &asked }), dtype, device))?;
    let tensors = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Box::new(Features { tensors, max_images: (MAX_TOKENS / (1 + n * n)).max(1) }))
}

/// What the classifier reads, for any number of images.
struct Features {
    /// All that the network asks for, as for a single image.
    tensors: BTreeMap<String, Tensor>,
    /// How many go through at once.
    max_images: usize,
}

impl Module for Features {
    /// The network is put together for each number of images; that copies no weights.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let n_images = x.dim(0)?;
        let mut features = Vec::new();
        for first in (0..n_images).step_by(self.max_images) {
            let x = x.narrow(0, first, self.max_images.min(n_images - first))?;
            let handed = Handed { tensors: &self.tensors, n_images: x.dim(0)? };
            let network =
                vit_small(VarBuilder::from_backend(Box::new(handed), DType::F32, x.device().clone()))?;
            features.push(network.forward(&x)?.narrow(1, 0, N_FEATURES)?);
        }
        Tensor::cat(&features, 0)
    }
}

/// Passes on what the network asks for, and notes what it gets.
struct Asking<'a, 'b> {
    vb: VarBuilder<'a>,
    n: usize,
    asked: &'b Mutex<BTreeMap<String, Tensor>>,
}

impl SimpleBackend for Asking<'_, '_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = match name {
            "head.weight" => {
                let rest = Tensor::zeros((N_OUTPUTS - N_FEATURES, N_FEATURES), dtype, device)?;
                Tensor::cat(&[&Tensor::eye(N_FEATURES, dtype, device)?, &rest], 0)?
            }
            "head.bias" => Tensor::zeros(shape, dtype, device)?,
            "pos_embed" => resampled(&self.vb.get_with_hints(shape, name, init)?, self.n)?,
            _ => self.vb.get_with_hints(shape, name, init)?,
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        bail!("{name} is asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.vb.contains_tensor(name)
    }
}

/// Hands out tensors: what joins the patches of each image, as often as there are images.
struct Handed<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    n_images: usize,
}

impl SimpleBackend for Handed<'_> {
    fn get(
        &self,
        _shape: Shape,
        name: &str,
        _init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else { bail!("{name} was not asked for before") };
        match name {
            "cls_token" | "pos_embed" => tensor.repeat((self.n_images, 1, 1)),
            _ => Ok(tensor.clone()),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

/// Positions (1, 1 + 37 * 37, width) as positions (1, 1 + n * n, width): the class token's, and of the patches' what
/// `torch.nn.functional.interpolate(size=(n, n), mode="bicubic")` gives, as transformers has it.
fn resampled(positions: &Tensor, n: usize) -> Result<Tensor> {
    if n == N_SIDE {
        return Ok(positions.clone());
    }
    let learnt: Vec<f32> = positions.flatten_all()?.to_vec1()?;
    let (class, patches) = learnt.split_at(WIDTH);
    let mut out = class.to_vec();
    for i in 0..n {
        for j in 0..n {
            let mut position = [0.0; WIDTH];
            for (row, row_share) in taps(i, n) {
                for (column, column_share) in taps(j, n) {
                    let share = (row_share * column_share) as f32;
                    let from = &patches[(row * N_SIDE + column) * WIDTH..];
                    position.iter_mut().zip(from).for_each(|(out, from)| *out += share * from);
                }
            }
            out.extend(position);
        }
    }
    Tensor::from_vec(out, (1, 1 + n * n, WIDTH), positions.device())
}

/// The four of 37 between which number `i` of `n` lies, and their shares (a = -0.75); what lies beyond an end is the end.
fn taps(i: usize, n: usize) -> [(usize, f64); 4] {
    let at = (i as f64 + 0.5) * N_SIDE as f64 / n as f64 - 0.5;
    let t = at - at.floor();
    let a = -0.75;
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    let shares = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    [0, 1, 2, 3].map(|k| {
        let place = (at.floor() as isize + k as isize - 1).clamp(0, N_SIDE as isize - 1);
        (place as usize, shares[k])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input_px: &str) -> String {
        let config = toml::from_str(&format!("input_px = {input_px}\nweights = \"x\"")).unwrap();
        build(&config, 10, ParamStore::new(0, &Device::Cpu)).err().unwrap().to_string()
    }

    #[test]
    fn sizes_that_positions_cannot_be_had_for_are_refused() {
        for input_px in ["[0, 0]", "[64, 64]", "[532, 532]", "[126, 112]"] {
            assert!(error(input_px).contains("the same multiple of 14 twice, up to 518"), "{input_px}");
        }
    }

    /// `F.interpolate(x, size=2, mode="bicubic")` of the squares 0, 1, 4, …, 36 ** 2, as a line.
    #[test]
    fn bicubic_values_are_pytorchs() {
        let value = |i| taps(i, 2).iter().map(|&(k, share)| share * (k * k) as f64).sum::<f64>();
        for (i, expected) in [(0, 75.671875), (1, 745.046875)] {
            assert!((value(i) - expected).abs() < 1e-9, "{} {expected}", value(i));
        }
    }
}
