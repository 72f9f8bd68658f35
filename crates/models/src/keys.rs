//! The keys of a recipe's `[model]` table for each architecture: their types, their ranges and their defaults.
//!
//! A test compares them with the architectures' configuration types.

use tallow_core::keys::{Extent, Key, KeyTable, Section, Takes, Unset};
use toml::{Table, Value};

use crate::error::ModelError;

const NAMES: &[&str] = &[
    "cnn",
    "convnext_atto",
    "convnext_nano",
    "convnext_pico",
    "convnext_tiny",
    "hgnetv2_b0",
    "hgnetv2_b2",
    "hgnetv2_b4",
    "mobilenetv4_conv_medium",
    "mobilenetv4_conv_small",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "speedrun",
    "tf_efficientnet_lite0",
    "vit_small_patch14_dinov2",
    "vit_small_patch16_224",
];
const SMALL: &[&str] = &["cnn", "speedrun"];
const RESNETS: &[&str] = &["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"];
const DINOV2: &[&str] = &["vit_small_patch14_dinov2"];
const VIT_S16: &[&str] = &["vit_small_patch16_224"];
/// timm's convolutional backbones with batch norm.
const TIMM_NORM: &[&str] = &[
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "tf_efficientnet_lite0",
    "hgnetv2_b0",
    "hgnetv2_b2",
    "hgnetv2_b4",
];
const CONVNEXTS: &[&str] = &["convnext_atto", "convnext_nano", "convnext_pico", "convnext_tiny"];
/// All of timm's convolutional backbones.
const TIMM: &[&str] = &joined::<10>(&[TIMM_NORM, CONVNEXTS]);
/// All backbones with batch norm.
const WITH_NORM: &[&str] = &joined::<11>(&[RESNETS, TIMM_NORM]);
/// Backbones with the key `unfreeze`: all of their layers can be trained on from pretrained weights.
const CONVOLUTIONAL: &[&str] = &joined::<15>(&[RESNETS, TIMM]);
const WITH_HEAD: &[&str] = &joined::<17>(&[CONVOLUTIONAL, DINOV2, VIT_S16]);

/// Joins the names of all `lists`, which must be `N` in total.
const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut n, mut list) = (0, 0);
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].len() {
            all[n] = lists[list][i];
            n += 1;
            i += 1;
        }
        list += 1;
    }
    assert!(n == N);
    all
}

const SECTIONS: &[Section] = &[
    Section::new("model", "The architecture").tagged("name"),
    Section::new("model.head", "The head, which turns a backbone's features into logits"),
];

const STAGES: Takes = Takes::Choices(&["layer1", "layer2", "layer3", "layer4"]);
const MAPS: Takes = Takes::Choices(&["stage1", "stage2", "stage3", "stage4", "head"]);
const SPEEDRUN: &str = "https://arxiv.org/abs/2404.00498";
const RESNET: &str = "https://arxiv.org/abs/1512.03385";
const INPUT_PX: Key = Key::new(
    "model.input_px",
    Takes::Wholes(2),
    "Rows and columns of the images. Other sizes are resized to them.",
)
.unit("px");

/// Returns the key for pretrained weights of the architectures `of`; `published` are the weights of the timm library.
const fn weights(of: &'static [&'static str], published: &'static str) -> Key {
    Key::new(
        "model.weights",
        Takes::Text,
        "Pretrained weights: a folder with config.json and model.safetensors, a file, or hf:OWNER/NAME@REVISION.",
    )
    .of(of)
    .or_else("none: training starts from random weights")
    .on_choice(published)
    .source("https://arxiv.org/abs/2110.00476")
}

const KEYS: &[Key] = &[
    Key::new("model.name", Takes::Choice(NAMES), "Name of the architecture, as in torchvision or timm."),
    Key { kinds: SMALL, ..INPUT_PX }.or("[32, 32]"),
    Key { kinds: CONVOLUTIONAL, ..INPUT_PX }.or("[224, 224]"),
    Key { kinds: DINOV2, ..INPUT_PX }
        .range("that are equal, a multiple of 14 and at most 518")
        .or("[224, 224]"),
    Key { kinds: VIT_S16, ..INPUT_PX }
        .range("that are equal, a multiple of 16 and at most 512")
        .or("[224, 224]"),
    Key::new(
        "model.widths",
        Takes::Wholes(0),
        "Channels of each convolution. Two convolutions form a stage, and each stage halves rows and \
         columns.",
    )
    .range("from 1 to 65,536, an even number of them")
    .unit("channels")
    .of(&["cnn"])
    .or("[32, 32, 64, 64, 128, 128]"),
    Key::new("model.widths", Takes::Wholes(0), "Channels of each group. Each group halves rows and columns.")
        .range("from 1 to 65,536")
        .unit("channels")
        .of(&["speedrun"])
        .or("[64, 256, 256]")
        .source(SPEEDRUN),
    Key::new("model.norm_eps", Takes::Number, "Number that batch norms add to the variance.")
        .range("above 0")
        .of(&["speedrun"])
        .or("1e-5")
        .source(SPEEDRUN),
    Key::new(
        "model.norm_momentum",
        Takes::Number,
        "The share of the new batch in the running statistics of batch norms.",
    )
    .range("in [0, 1]")
    .unit("share")
    .of(&["speedrun"])
    .or("0.1")
    .source(SPEEDRUN),
    Key::new(
        "model.norm_scale",
        Takes::YesNo,
        "Whether batch norms learn a scale for each channel in addition to the shift.",
    )
    .of(&["speedrun"])
    .or("true")
    .source(SPEEDRUN),
    Key::new(
        "model.init",
        Takes::Choice(&["torch", "dirac"]),
        "Initial 3x3 filters: as in PyTorch, or (dirac) the first filters each pass one channel on \
         unchanged.",
    )
    .of(&["speedrun"])
    .or("\"torch\"")
    .source("https://arxiv.org/abs/1706.00388"),
    Key::new(
        "model.scaled_head",
        Takes::YesNo,
        "Whether the head's weights start with standard deviation 1, and logits are divided by the number \
         of features.",
    )
    .of(&["speedrun"])
    .or("false")
    .source(SPEEDRUN),
    Key::new("model.dropout", Takes::Numbers(0), "The dropout rate after each stage.")
        .range("in [0, 1), one for each pair of model.widths")
        .of(&["cnn"])
        .or("[0.0, 0.1, 0.2]")
        .source("https://jmlr.org/papers/v15/srivastava14a.html"),
    Key::new("model.dense", Takes::Whole, "Units of the hidden dense layer.")
        .range("from 1 to 65,536")
        .unit("units")
        .of(&["cnn"])
        .or("128"),
    weights(&["resnet18"], "\"hf:timm/resnet18.a1_in1k\""),
    weights(&["resnet34"], "\"hf:timm/resnet34.a1_in1k\""),
    weights(&["resnet50"], "\"hf:timm/resnet50.a1_in1k\""),
    weights(&["resnet101"], "\"hf:timm/resnet101.a1h_in1k\""),
    weights(&["resnet152"], "\"hf:timm/resnet152.a1h_in1k\""),
    weights(&["mobilenetv4_conv_small"], "\"hf:timm/mobilenetv4_conv_small.e2400_r224_in1k\"")
        .source("https://arxiv.org/abs/2404.10518"),
    weights(&["mobilenetv4_conv_medium"], "\"hf:timm/mobilenetv4_conv_medium.e500_r256_in1k\"")
        .source("https://arxiv.org/abs/2404.10518"),
    weights(&["tf_efficientnet_lite0"], "\"hf:timm/tf_efficientnet_lite0.in1k\"")
        .source("https://arxiv.org/abs/1905.11946"),
    weights(&["hgnetv2_b0"], "\"hf:timm/hgnetv2_b0.ssld_stage2_ft_in1k\"")
        .source("https://arxiv.org/abs/2103.05959"),
    weights(&["hgnetv2_b2"], "\"hf:timm/hgnetv2_b2.ssld_stage2_ft_in1k\"")
        .source("https://arxiv.org/abs/2103.05959"),
    weights(&["hgnetv2_b4"], "\"hf:timm/hgnetv2_b4.ssld_stage2_ft_in1k\"")
        .source("https://arxiv.org/abs/2103.05959"),
    weights(&["convnext_atto"], "\"hf:timm/convnext_atto.d2_in1k\"")
        .source("https://arxiv.org/abs/2201.03545"),
    weights(&["convnext_nano"], "\"hf:timm/convnext_nano.in12k_ft_in1k\"")
        .source("https://arxiv.org/abs/2201.03545"),
    weights(&["convnext_pico"], "\"hf:timm/convnext_pico.d1_in1k\"")
        .source("https://arxiv.org/abs/2201.03545"),
    weights(&["convnext_tiny"], "\"hf:timm/convnext_tiny.in12k_ft_in1k\"")
        .source("https://arxiv.org/abs/2201.03545"),
    Key { unset: Unset::Refused, ..weights(DINOV2, "\"hf:timm/vit_small_patch14_dinov2.lvd142m\"") }
        .source("https://arxiv.org/abs/2304.07193"),
    Key {
        unset: Unset::Refused,
        ..weights(VIT_S16, "\"hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k\"")
    }
    .source("https://arxiv.org/abs/2106.10270"),
    Key::new(
        "model.unfreeze",
        Takes::Choice(&["none", "last", "layer4", "all"]),
        "The part that learns besides the head: nothing, the last stage and everything after it (for a \
         ResNet, layer4 means the same), or everything. With none, features are computed once per image and \
         kept.",
    )
    .of(CONVOLUTIONAL)
    .or("\"all\""),
    Key::new(
        "model.batch_norm",
        Takes::Choice(&["frozen", "live"]),
        "The statistics that batch norms use in the part that learns: those of the weights, which stay \
         fixed, or those of each batch.",
    )
    .of(WITH_NORM)
    .or_else("frozen with weights, live without")
    .source("https://arxiv.org/abs/1502.03167"),
    Key::new("model.features", STAGES, "The features are the averaged maps of these stages, side by side.")
        .range("in this order, layer4 among them")
        .of(RESNETS)
        .or("[\"layer4\"]")
        .on_choice("[\"layer2\", \"layer3\", \"layer4\"]"),
    Key::new(
        "model.features",
        MAPS,
        "The features are these averaged maps, side by side: those of the stages, and that of the layers \
         after them (head).",
    )
    .range("in this order, head among them")
    .of(TIMM)
    .or("[\"head\"]")
    .on_choice("[\"stage2\", \"stage3\", \"stage4\", \"head\"]"),
    Key::new(
        "model.downsample_in_bottleneck",
        Takes::YesNo,
        "Whether a bottleneck that halves the map has its stride in the first convolution, as in the paper, \
         instead of the second. Pretrained weights set this key.",
    )
    .of(RESNETS)
    .or("false")
    .source(RESNET),
    Key::new("model.head.norm", Takes::YesNo, "Whether a batch norm first standardises the features.")
        .of(WITH_HEAD)
        .or("false"),
    Key::new("model.head.hidden", Takes::Whole, "Units of a hidden layer with ReLU.")
        .range("from 1 to 65,536")
        .unit("units")
        .of(WITH_HEAD)
        .or_else("no hidden layer: a linear head"),
    Key::new("model.head.dropout", Takes::Number, "The dropout rate before each dense layer.")
        .range("in [0, 1)")
        .of(WITH_HEAD)
        .or("0.0"),
];

/// Returns `keys` with the keys of `[model]` tables added.
pub fn with_model_keys(keys: KeyTable) -> KeyTable {
    keys.with(SECTIONS, KEYS)
}

/// Returns the `[model]` table with the defaults of the keys that it leaves out. Refuses keys and values that its architecture
/// does not have.
pub(crate) fn completed(model: &Table) -> Result<Table, ModelError> {
    let keys = with_model_keys(KeyTable::default());
    let mut whole: Table = [("model".to_owned(), Value::Table(model.clone()))].into_iter().collect();
    keys.fill(&mut whole);
    keys.check(&whole, Extent::Whole).map_err(ModelError::Table)?;
    Ok(match whole.remove("model") {
        Some(Value::Table(table)) => table,
        _ => Table::new(), // unreachable: the table was inserted above
    })
}

#[cfg(test)]
mod tests;
