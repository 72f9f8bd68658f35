//! The registry: which architectures there are, and how a `[model]` table becomes one.

use serde::de::DeserializeOwned;
use tallow_nn::{Device, Model, ParamStore};

use crate::cnn::{self, CnnConfig};
use crate::dinov2::{self, Dinov2Config};
use crate::error::ModelError;
use crate::resnet::{self, ResnetConfig};
use crate::speedrun::{self, SpeedrunConfig};
use crate::weights::default_weights;

/// The names that a `[model]` table may have, in alphabetical order.
pub fn names() -> &'static [&'static str] {
    &["cnn", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "speedrun", dinov2::NAME]
}

/// The `[model]` table of an architecture as it is published, which is what measurements compare; `None` where there
/// is no such name.
pub fn reference_table(name: &str) -> Option<toml::Table> {
    match name {
        "cnn" => Some(toml::toml! {
            name = "cnn"
            input_px = [32, 32]
            widths = [32, 32, 64, 64, 128, 128]
            dropout = [0.0, 0.1, 0.2]
            dense = 128
        }),
        "speedrun" => Some(toml::toml! {
            name = "speedrun"
            input_px = [32, 32]
            widths = [64, 256, 256]
        }),
        name if resnet::NAMES.contains(&name) => {
            let mut table = toml::toml! { input_px = [224, 224] };
            table.insert("name".into(), name.into());
            Some(table)
        }
        dinov2::NAME => {
            let mut table = toml::toml! { input_px = [224, 224] };
            table.insert("name".into(), name.into());
            table.insert("weights".into(), default_weights(name)?.into());
            Some(table)
        }
        _ => None,
    }
}

/// The network that `table` describes, for `n_classes` classes, with the initial weights of `seed`, on `device`.
///
/// # Errors
/// If there is no such model, or a key is missing, unknown or out of range.
pub fn build(table: &toml::Table, n_classes: usize, seed: u64, device: &Device) -> Result<Model, ModelError> {
    let mut params = ParamStore::new(seed, device);
    match name(table)? {
        "cnn" => Ok(Model::new(cnn::build(&parse(table)?, n_classes, &mut params)?, params)),
        "speedrun" => Ok(Model::new(speedrun::build(&parse(table)?, n_classes, &mut params)?, params)),
        name if resnet::NAMES.contains(&name) => resnet::build(name, &parse(table)?, n_classes, params),
        dinov2::NAME => dinov2::build(&parse(table)?, n_classes, params),
        other => Err(unknown(other)),
    }
}

/// The rows and columns of the images that the model takes.
///
/// # Errors
/// As [`build`].
pub fn input_px(table: &toml::Table) -> Result<[usize; 2], ModelError> {
    match name(table)? {
        "cnn" => Ok(parse::<CnnConfig>(table)?.input_px),
        "speedrun" => Ok(parse::<SpeedrunConfig>(table)?.input_px),
        name if resnet::NAMES.contains(&name) => Ok(parse::<ResnetConfig>(table)?.input_px),
        dinov2::NAME => Ok(parse::<Dinov2Config>(table)?.input_px),
        other => Err(unknown(other)),
    }
}

/// Whether images of another size are resized to the one that the model takes; else they must have it.
///
/// # Errors
/// If the table names no model.
pub fn resizes(table: &toml::Table) -> Result<bool, ModelError> {
    let name = name(table)?;
    Ok(name == dinov2::NAME || resnet::NAMES.contains(&name))
}

/// The layer that tells classes apart, which pretrained weights of another task have in another width.
///
/// # Errors
/// If the table names no model.
pub fn classifier(table: &toml::Table) -> Result<&'static str, ModelError> {
    Ok(if name(table)? == dinov2::NAME { dinov2::CLASSIFIER } else { "fc" })
}

/// Mean and deviation, in 0..1, of the pixels that all weights of the architecture were trained on, where weights do not
/// say themselves; `None` where they may have been trained on anything.
///
/// # Errors
/// If the table names no model.
pub fn normalization(table: &toml::Table) -> Result<Option<[[f32; 3]; 2]>, ModelError> {
    const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
    Ok((name(table)? == dinov2::NAME).then_some(IMAGENET))
}

fn name(table: &toml::Table) -> Result<&str, ModelError> {
    match table.get("name").and_then(toml::Value::as_str) {
        Some(name) => Ok(name),
        None => Err(ModelError::NoName { known: names().join(", ") }),
    }
}

fn unknown(name: &str) -> ModelError {
    ModelError::UnknownName { name: name.to_owned(), known: names().join(", ") }
}

/// The table without its name, as the architecture's own configuration.
fn parse<T: DeserializeOwned>(table: &toml::Table) -> Result<T, ModelError> {
    let rest: toml::Table =
        table.iter().filter(|(k, _)| *k != "name").map(|(k, v)| (k.clone(), v.clone())).collect();
    rest.try_into().map_err(|e: toml::de::Error| ModelError::Table {
        name: table.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned(),
        problem: e.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let table = toml::from_str(text).unwrap();
        build(&table, 10, 0, &Device::Cpu).err().unwrap().to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error("").contains("model.name is missing"));
        assert!(error("name = \"vgg\"").contains("\"vgg\"") && error("name = \"vgg\"").contains("cnn"));
        assert!(error("name = \"cnn\"\nwidht = 3").contains("widht"));
        assert!(
            error("name = \"cnn\"\ninput_px = [32, 32]\nwidths = [8, 8]\ndropout = [0.1]").contains("dense")
        );
    }

    #[test]
    fn every_architecture_has_a_reference() {
        for name in names() {
            let table = reference_table(name).unwrap();
            assert_eq!(table["name"].as_str(), Some(*name));
            assert!(input_px(&table).unwrap()[0] >= 32);
        }
        assert_eq!(reference_table("vgg"), None);
    }

    #[test]
    fn the_reference_network_is_that_of_its_recipe() {
        let recipe: toml::Table = toml::from_str(include_str!("../../../assets/recipes/cnn.toml")).unwrap();
        assert_eq!(reference_table("cnn"), recipe["model"].as_table().cloned());
    }

    #[test]
    fn the_input_size_is_known_without_building() {
        let table =
            toml::from_str("name = \"cnn\"\ninput_px = [24, 40]\nwidths = [8, 8]\ndropout = [0]\ndense = 8");
        assert_eq!(input_px(&table.unwrap()).unwrap(), [24, 40]);
    }
}
