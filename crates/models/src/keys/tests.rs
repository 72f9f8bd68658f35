//! Compares the keys of `[model]` with the configuration types of the architectures.

use std::collections::BTreeSet;

use super::*;
use crate::architecture::parse;
use crate::cnn::CnnConfig;
use crate::registry::architectures;
use crate::resnet::ResnetConfig;
use crate::speedrun::SpeedrunConfig;
use crate::timm::TimmConfig;
use crate::vit::VitConfig;

fn named(name: &str) -> Table {
    [("name".to_owned(), Value::String(name.to_owned()))].into_iter().collect()
}

/// Parses the table as the architecture's configuration, and writes that as a table.
fn reread(table: &Table) -> Table {
    let name = table["name"].as_str().unwrap();
    match name {
        "cnn" => Table::try_from(parse::<CnnConfig>(table).unwrap()).unwrap(),
        "speedrun" => Table::try_from(parse::<SpeedrunConfig>(table).unwrap()).unwrap(),
        name if TIMM.contains(&name) => Table::try_from(parse::<TimmConfig>(table).unwrap()).unwrap(),
        "vit_small_patch14_dinov2" | "vit_small_patch16_224" => {
            Table::try_from(parse::<VitConfig>(table).unwrap()).unwrap()
        }
        _ => Table::try_from(parse::<ResnetConfig>(table).unwrap()).unwrap(),
    }
}

/// Whether two values are equal, up to rounding of numbers to f32.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || a.as_float().zip(b.as_float()).is_some_and(|(a, b)| (a - b).abs() < 1e-7),
    }
}

/// Returns a table with a value for every key that has no default.
fn everything(name: &str) -> Table {
    let mut table = named(name);
    for (key, value) in [
        ("model.weights", Value::from("w")),
        ("model.batch_norm", "live".into()),
        ("model.head.hidden", 3.into()),
    ] {
        if KEYS.iter().any(|k| k.name == key && k.is_of(Some(name))) {
            match key.strip_prefix("model.head.") {
                Some(last) => {
                    table.insert(
                        "head".into(),
                        Value::Table([(last.to_owned(), value)].into_iter().collect()),
                    );
                }
                None => drop(table.insert(key["model.".len()..].to_owned(), value)),
            }
        }
    }
    table
}

fn names(prefix: &str, table: &Table) -> BTreeSet<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) => names(&format!("{prefix}.{name}"), inner),
            _ => [format!("{prefix}.{name}")].into(),
        })
        .collect()
}

#[test]
fn the_table_has_the_keys_of_every_architecture_and_no_other() {
    for architecture in architectures() {
        let name = architecture.name;
        let known: BTreeSet<String> = KEYS
            .iter()
            .filter(|key| key.is_of(Some(name)) && key.name != "model.name")
            .map(|key| key.name.to_owned())
            .collect();
        assert_eq!(names("model", &reread(&everything(name))), known, "{name}");
    }
    let registered: Vec<&str> = architectures().iter().map(|architecture| architecture.name).collect();
    assert_eq!(NAMES, registered);
}

/// Defaults of serde must equal those of the keys; the other defaults come from the keys.
#[test]
fn a_name_alone_is_a_model_with_the_stated_values() {
    for architecture in architectures() {
        let mut alone = named(architecture.name);
        if architecture.name.starts_with("vit") {
            assert!(completed(&alone).unwrap_err().to_string().starts_with("model.weights is missing"));
            alone.insert("weights".into(), "w".into());
        }
        let table = completed(&alone).unwrap();
        let mut without_name = table.clone();
        without_name.remove("name");
        let read = reread(&table);
        for (key, value) in &without_name {
            let is_same = read.get(key).is_some_and(|found| same(found, value));
            assert!(is_same, "{}: {key} is {:?}", architecture.name, read.get(key));
        }
        assert_eq!(read.keys().filter(|key| *key != "head").count(), without_name.len(), "{read}");
    }
    let resnet: ResnetConfig = toml::from_str("input_px = [224, 224]").unwrap();
    let head = Table::try_from(resnet.head.clone()).unwrap();
    assert_eq!(Table::try_from(&resnet).unwrap(), reread(&named("resnet18")));
    assert_eq!((head["norm"].as_bool(), head["dropout"].as_float()), (Some(false), Some(0.0)));
    let whole = with_model_keys(KeyTable::default());
    for (key, value) in [("model.head.norm", Value::from(false)), ("model.head.dropout", 0.0.into())] {
        let Unset::Is(text) = whole.named(key).next().unwrap().unset else { panic!() };
        assert_eq!(tallow_core::keys::value_of(text), Some(value));
    }
}

#[test]
fn published_weights_are_the_registrys() {
    for architecture in architectures() {
        let mut entries =
            KEYS.iter().filter(|key| key.name == "model.weights" && key.is_of(Some(architecture.name)));
        let stated = entries.next().and_then(|key| key.on_choice).map(|text| text.trim_matches('"'));
        assert_eq!(stated, architecture.weights.as_ref().map(|weights| weights.source));
    }
}

#[test]
fn another_architecture_keeps_what_means_the_same_and_brings_its_weights() {
    let keys = with_model_keys(KeyTable::default());
    let choose = |text: &str, name: &str| {
        let mut table: Table = toml::from_str(text).unwrap();
        keys.choose(keys.section("model").unwrap(), &mut table, name);
        completed(&table).unwrap()
    };
    let head = "name='resnet50'\ninput_px=[96, 96]\nweights='hf:timm/resnet50.a1_in1k'\nunfreeze='none'\nhead.norm=true";
    let chosen = choose(head, "resnet18");
    assert_eq!(chosen["weights"].as_str(), Some("hf:timm/resnet18.a1_in1k"));
    assert_eq!((chosen["input_px"][0].as_integer(), chosen["unfreeze"].as_str()), (Some(96), Some("none")));
    let chosen = choose(head, "vit_small_patch14_dinov2");
    assert_eq!(
        (chosen["input_px"][0].as_integer(), chosen["head"]["norm"].as_bool()),
        (Some(224), Some(true))
    );
    let chosen = choose("name='speedrun'\ninput_px=[40, 40]\nwidths=[8]", "cnn");
    assert_eq!(
        (chosen["input_px"][0].as_integer(), chosen["widths"].as_array().unwrap().len()),
        (Some(40), 6)
    );
    let chosen = choose(&format!("{head}\nfeatures=['layer3', 'layer4']"), "tf_efficientnet_lite0");
    assert_eq!((chosen["input_px"][0].as_integer(), chosen["unfreeze"].as_str()), (Some(96), Some("none")));
    assert_eq!(chosen["features"].as_array().unwrap().len(), 4);
    let back = choose(
        "name='tf_efficientnet_lite0'\nfeatures=['stage4', 'head']\nunfreeze='none'\nweights='w'",
        "resnet50",
    );
    assert_eq!(back["features"].as_array().unwrap().len(), 3);
    assert_eq!(choose("name='cnn'", "resnet18").get("weights"), None);
    assert!(choose("name='cnn'", "vit_small_patch14_dinov2").contains_key("weights")); // weights are required there
}
