//! The registry: the list of architectures. Each is defined in a file of its own.

use tallow_nn::{Device, Model, Tensors};

use crate::architecture::Architecture;
use crate::error::ModelError;
use crate::{cnn, convnext, efficientnet_lite, hgnetv2, mobilenetv4, resnet, speedrun, vit};

/// All architectures, in alphabetical order. ResNets have torchvision's names; their weights were trained on ImageNet-1k.
static ARCHITECTURES: [Architecture; 19] = [
    cnn::ARCHITECTURE,
    convnext::CONVNEXT_ATTO,
    convnext::CONVNEXT_NANO,
    convnext::CONVNEXT_PICO,
    convnext::CONVNEXT_TINY,
    hgnetv2::HGNETV2_B0,
    hgnetv2::HGNETV2_B2,
    hgnetv2::HGNETV2_B4,
    mobilenetv4::CONV_MEDIUM,
    mobilenetv4::CONV_SMALL,
    resnet::architecture::<101>("resnet101", "hf:timm/resnet101.a1h_in1k"),
    resnet::architecture::<152>("resnet152", "hf:timm/resnet152.a1h_in1k"),
    resnet::architecture::<18>("resnet18", "hf:timm/resnet18.a1_in1k"),
    resnet::architecture::<34>("resnet34", "hf:timm/resnet34.a1_in1k"),
    resnet::architecture::<50>("resnet50", "hf:timm/resnet50.a1_in1k"),
    speedrun::ARCHITECTURE,
    efficientnet_lite::ARCHITECTURE,
    vit::PATCH14_DINOV2,
    vit::PATCH16_224,
];

/// Returns all architectures, in alphabetical order.
pub fn architectures() -> &'static [Architecture] {
    &ARCHITECTURES
}

/// Returns the architecture called `name`.
///
/// # Errors
/// If there is no such architecture; the message lists the known names.
pub fn architecture(name: &str) -> Result<&'static Architecture, ModelError> {
    let found = ARCHITECTURES.iter().find(|architecture| architecture.name == name);
    let nearest =
        || tallow_core::did_you_mean(name, ARCHITECTURES.iter().map(|architecture| architecture.name));
    found.ok_or_else(|| ModelError::UnknownName { name: name.to_owned(), known: names(), nearest: nearest() })
}

/// Returns the architecture that a `[model]` table names.
///
/// # Errors
/// If the table has no name, an unknown name, or the name of a custom network.
pub fn architecture_of(table: &toml::Table) -> Result<&'static Architecture, ModelError> {
    match table.get("name").and_then(toml::Value::as_str) {
        Some(tallow_nn::CUSTOM) => Err(ModelError::Custom),
        Some(name) => architecture(name),
        None => Err(ModelError::NoName { known: names() }),
    }
}

/// Builds the network of `table` on `device` for `n_classes` classes. `seed` decides the initial weights.
///
/// # Errors
/// If there is no such architecture, or a key is missing, unknown or out of range.
pub fn build(table: &toml::Table, n_classes: usize, seed: u64, device: &Device) -> Result<Model, ModelError> {
    architecture_of(table)?.build(table, n_classes, seed, device)
}

/// Builds the network of `table` on `device` for `n_classes` classes, with the weights `tensors`. These are compared with the
/// network's shapes before memory is requested for it: a table from a file cannot ask for more values than the file has.
///
/// # Errors
/// As [`build`], and if the weights are not exactly those of the network.
pub fn build_with(
    table: &toml::Table,
    n_classes: usize,
    device: &Device,
    tensors: &Tensors,
) -> Result<Model, ModelError> {
    let architecture = architecture_of(table)?;
    architecture.shapes(table, n_classes)?.params.check_tensors(tensors)?;
    let model = architecture.build(table, n_classes, 0, device)?;
    model.params.load_tensors(tensors)?;
    Ok(model)
}

fn names() -> String {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::InputSizes;
    use crate::weights::{PretrainedConfig, WeightsSource};

    fn error(text: &str) -> String {
        let table = toml::from_str(text).unwrap();
        build(&table, 10, 0, &Device::Cpu).err().unwrap().to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("").contains("model.name is missing"));
        assert!(error("name = \"vgg\"").contains("\"vgg\"") && error("name = \"vgg\"").contains("cnn"));
        let message = error("name = \"cnn\"\nwidht = 3");
        assert!(
            message.contains("\"model.widht\" (with model.name = cnn): did you mean \"model.widths\"?"),
            "{message}"
        );
        let sized = |sizes: &str| error(&format!("name = \"cnn\"\n{sizes}"));
        assert!(
            sized("input_px = [1000000000, 32]\nwidths = [8, 8]\ndropout = [0]\ndense = 8")
                .contains("expected 1 to 4096 rows and columns, found [1000000000, 32]")
        );
        let dense = sized("input_px = [32, 32]\nwidths = [8, 8]\ndropout = [0]\ndense = 1000000000000");
        assert_eq!(dense, "model.dense: expected 1 to 65536, found 1000000000000");
        let hidden = error("name = \"resnet18\"\nhead = { hidden = 1000000000000 }");
        assert_eq!(hidden, "model.head.hidden: expected 1 to 65536, found 1000000000000");
        let many = sized("input_px = [4096, 4096]\nwidths = [8, 65536]\ndropout = [0]\ndense = 65536");
        assert!(many.contains("the network would have more than 2147483648 values"), "{many}");
        assert!(error("name = \"custom\"").contains("only that program can build it"));
        let message = error("name = \"cnn\"\nwidths = [8, 8]\ndropout = 0.1");
        assert!(message.starts_with("model.dropout takes a list of numbers in [0, 1)"), "{message}");
        let message = error("name = \"cnn\"\nunfreeze = \"none\"");
        assert!(message.contains("model.unfreeze is a key of model.name = resnet18 or"), "{message}");
        let message = error("name = \"resnet-50\"");
        assert!(message.contains("did you mean \"resnet50\"?"), "{message}");
        assert!(
            architecture("vgg")
                .unwrap_err()
                .to_string()
                .contains("speedrun, tf_efficientnet_lite0, vit_small_patch14_dinov2")
        );
    }

    #[test]
    fn names_are_in_order_and_each_is_found() {
        assert!(architectures().is_sorted_by(|a, b| a.name < b.name));
        for expected in architectures() {
            let table = expected.reference_table();
            assert_eq!(table["name"].as_str(), Some(expected.name));
            assert!(std::ptr::eq(architecture_of(&table).unwrap(), expected));
            assert!(expected.input_px(&table).unwrap()[0] >= 32);
        }
    }

    /// Checks name and width of the classifier, the size of the images, and whether there is a trunk.
    #[test]
    fn networks_are_what_the_table_says_of_them() {
        for name in [
            "cnn",
            "speedrun",
            "resnet18",
            "mobilenetv4_conv_small",
            "hgnetv2_b0",
            "convnext_atto",
            "tf_efficientnet_lite0",
            "vit_small_patch14_dinov2",
            "vit_small_patch16_224",
        ] {
            let architecture = architecture(name).unwrap();
            let table = architecture.reference_table();
            let model = architecture.build(&table, 7, 0, &Device::Cpu).unwrap();
            let classifier = model.params.get(&format!("{}.weight", architecture.classifier));
            assert_eq!(classifier.map(|weight| weight.shape()[0]), Some(7), "{name}");
            assert_eq!(model.input_px, Some(architecture.input_px(&table).unwrap()));
            assert_eq!(model.trunk.is_some(), matches!(architecture.sizes, InputSizes::Patches { .. }));
        }
    }

    #[test]
    fn published_weights_are_of_their_architecture_and_say_what_they_want() {
        for Architecture { name, weights, .. } in architectures() {
            let Some(weights) = weights else { continue };
            let source: WeightsSource = weights.source.parse().unwrap();
            assert!(matches!(source, WeightsSource::Hub(model) if model.id().contains(&format!("/{name}."))));
            let input = &weights.input;
            assert!(input.mean.is_some() && input.std.is_some() && input.input_px.is_some(), "{name}");
            assert!(input.interpolation.is_some() && input.crop_fraction.is_some(), "{name}");
            assert_eq!(architecture(name).unwrap().pretrained_input(&PretrainedConfig::default()), *input);
        }
        assert!(architecture("cnn").unwrap().weights.is_none());
    }

    #[test]
    fn the_reference_network_is_that_of_its_recipe() {
        let recipe: toml::Table = toml::from_str(include_str!("../../../assets/recipes/cnn.toml")).unwrap();
        assert_eq!(Some(&architecture("cnn").unwrap().reference_table()), recipe["model"].as_table());
    }

    #[test]
    fn the_input_size_is_known_without_building() {
        let table =
            toml::from_str("name = \"cnn\"\ninput_px = [24, 40]\nwidths = [8, 8]\ndropout = [0]\ndense = 8");
        let table = table.unwrap();
        assert_eq!(architecture_of(&table).unwrap().input_px(&table).unwrap(), [24, 40]);
    }
}
