//! Compares the table of keys with what a recipe really reads, writes and leaves out.

use std::collections::BTreeSet;

use serde::Serialize;
use tallow_core::keys::{Unset, value_of};
use tallow_dataset::{Augment, Mix, Normalization};
use tallow_nn::{GroupOptimizer, OptimizerConfig, ParamGroup, SgdSettings};
use toml::{Table, Value};

use super::*;
use crate::checks::settings;
use crate::recipe::{DataConfig, LossConfig, Recipe};
use crate::recipe_source::{Override, load_recipe, recipe_names};
use crate::{Averaging, EarlyStopping, ReduceLrOnPlateau, Schedule};

/// Returns a value that the key accepts and that is in its range.
fn example(key: &Key) -> Value {
    if let Some(value) = text_of(key).and_then(value_of) {
        return value;
    }
    match (key.name, key.takes) {
        ("data.crop_fraction", _) => 0.5.into(),
        ("schedule.horizon_epochs", _) => 9.into(),
        ("model", _) => Value::Table([("name".to_owned(), "cnn".into())].into_iter().collect()),
        (_, Takes::Choice(words)) => words[0].into(),
        (_, Takes::Whole) => 2.into(),
        (_, Takes::Number) => 0.5.into(),
        (_, Takes::Text | Takes::Path) => "x".into(),
        (_, Takes::WordOrWeights(word)) => word.into(),
        (_, Takes::YesNo) => true.into(),
        (name, takes) => panic!("{name}: an example of {takes}"),
    }
}

fn text_of(key: &Key) -> Option<&'static str> {
    match key.unset {
        Unset::Is(text) => Some(text),
        _ => None,
    }
}

/// Returns the recipe cnn with `overrides`, with the kind of table that has `key`.
fn recipe_with(key: &Key, overrides: Vec<Override>) -> Recipe {
    let mut all = Vec::new();
    if let (Some(kind), Some(tag)) = (key.kinds.first(), tag_of(key)) {
        all.push(Override::new(&tag, *kind));
    }
    // a callback that lowers the rate is refused beside another schedule
    all.extend(key.name.starts_with("callbacks.reduce").then(|| Override::new("schedule.kind", "constant")));
    // data.fold requires data.folds
    all.extend((key.name == "data.fold").then(|| Override::new("data.folds", 5)));
    all.extend(overrides);
    load_recipe("cnn", &all).unwrap_or_else(|e| panic!("{}: {e}", key.name))
}

/// Returns the key that selects the kind of the table of `key`.
fn tag_of(key: &Key) -> Option<String> {
    let keys = recipe_keys();
    let outer = key.section().rsplit_once('.').map(|(outer, _)| outer);
    let sections = [Some(key.section()), outer].into_iter().flatten().filter_map(|name| keys.section(name));
    let (section, tag) = sections.filter_map(|section| Some((section.name, section.tag?))).next()?;
    Some(format!("{section}.{tag}"))
}

fn value_in(recipe: &Recipe, key: &str) -> Option<Value> {
    let mut value = Value::Table(Table::try_from(recipe).unwrap());
    for part in key.split('.') {
        value = value.get(part)?.clone();
    }
    Some(value)
}

fn same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || number(a).zip(number(b)).is_some_and(|(a, b)| a == b),
    }
}

#[test]
fn every_key_can_be_set() {
    for key in recipe_keys().keys() {
        let value = example(key);
        if let Some(name) = key.name.strip_prefix("param_groups.") {
            let group =
                Table::from_iter([("pattern".to_owned(), "*".into()), (name.to_owned(), value.clone())]);
            let mut overrides = vec![Override::new("param_groups", vec![Value::Table(group)])];
            // only Muon allows another optimiser for a group
            overrides.extend((name == "optimizer").then(|| Override::new("optimizer.kind", "muon")));
            let recipe = recipe_with(key, overrides);
            let groups = value_in(&recipe, "param_groups").unwrap();
            assert!(same(&groups[0][name], &value), "{}", key.name);
            continue;
        }
        if let Some(name) = key.name.strip_prefix("extensions.") {
            let mut extension = Table::from_iter([
                ("from_epoch".to_owned(), 20.into()),
                ("to_epoch".to_owned(), 30.into()),
                ("factor".to_owned(), 0.5.into()),
            ]);
            let value = if name == "factor" { value } else { extension[name].clone() };
            extension.insert(name.to_owned(), value.clone());
            let recipe = recipe_with(key, vec![Override::new("extensions", vec![Value::Table(extension)])]);
            assert!(same(&value_in(&recipe, "extensions").unwrap()[0][name], &value), "{}", key.name);
            continue;
        }
        let recipe = recipe_with(key, vec![Override::new(key.name, value.clone())]);
        let found = value_in(&recipe, key.name);
        // a value without effect is not written
        let is_left_out = found.is_none() && text_of(key).is_some();
        assert!(is_left_out || found.is_some_and(|found| same(&found, &value)), "{}: {value}", key.name);
    }
}

#[test]
fn every_key_that_recipes_have_is_in_the_table() {
    let keys = recipe_keys();
    for name in recipe_names() {
        for (key, _) in settings(&load_recipe(name, &[]).unwrap()).unwrap() {
            let is_known = keys.named(&key).next().is_some() || keys.section(&key).is_some();
            assert!(is_known || key.starts_with("model."), "{name}: {key}");
        }
    }
}

/// Returns the keys of a value with no field left out, which are all keys of its type.
fn keys_of(section: &str, value: &impl Serialize) -> BTreeSet<String> {
    fn names(section: &str, table: &Table) -> BTreeSet<String> {
        let name =
            |name: &String| if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        let inner = |key: &String, value: &Value| match value {
            Value::Table(table) if name(key) != "model" => names(&name(key), table),
            _ => [name(key)].into(),
        };
        table.iter().flat_map(|(key, value)| inner(key, value)).collect()
    }
    names(section, &Table::try_from(value).unwrap())
}

fn full_recipe() -> Recipe {
    let recipe = load_recipe("keras", &[]).unwrap();
    Recipe {
        max_grad_norm: Some(1.0),
        shards: Some(8),
        init_from: Some("x".into()),
        data: DataConfig {
            train_subset: Some(1),
            size_factors: vec![0.5],
            fit: Some(tallow_dataset::Fit::Pad),
            interpolation: Some(tallow_dataset::Interpolation::Linear),
            crop_fraction: Some(1.0),
            skip_bad: true,
            file_column: Some("a".into()),
            label_column: Some("b".into()),
            split_column: Some("c".into()),
            normalization: Some(Normalization::CIFAR10),
            folds: 2,
            fold: Some(1),
            ..recipe.data.clone()
        },
        augment: Augment { random_resized_crop: Some(Default::default()), ..Augment::default() },
        whitening: Some(crate::Whitening::default()),
        evaluation: crate::Views { flip: true, shift_px: 1 },
        mix: Mix { mixup_alpha: 1.0, cutmix_alpha: 1.0 },
        loss: LossConfig {
            class_weights: Some(crate::ClassWeights::List(vec![1.0])),
            reduction: tallow_nn::Reduction::Sum,
            ..LossConfig::default()
        },
        averaging: None,
        ..recipe
    }
}

/// The table has exactly the keys that serde knows, for each kind.
#[test]
fn the_table_has_all_keys_that_serde_knows_and_no_other() {
    let keys = recipe_keys();
    let known = |section: &str, kind: Option<&str>| -> BTreeSet<String> {
        let inside = format!("{section}.");
        let of = |key: &&Key| (key.name.starts_with(&inside) || section.is_empty()) && key.is_of(kind);
        keys.keys().iter().filter(of).map(|key| key.name.to_owned()).collect()
    };
    let tagged = ["optimizer.", "schedule.", "averaging.", "param_groups.", "extensions."];
    let untagged = |names: BTreeSet<String>| -> BTreeSet<String> {
        names.into_iter().filter(|name| !tagged.iter().any(|tag| name.starts_with(tag))).collect()
    };
    assert_eq!(untagged(keys_of("", &full_recipe())), untagged(known("", None)));
    let group = ParamGroup {
        pattern: "*".into(),
        n_dims: Some(1),
        lr_factor: 1.0,
        weight_decay: Some(0.0),
        optimizer: Some(GroupOptimizer::Sgd),
        until_epoch: Some(1.0),
    };
    assert_eq!(keys_of("param_groups", &group), known("param_groups", None));
    let extension = crate::Extension { from_epoch: 1, to_epoch: 2, factor: 1.0 };
    assert_eq!(keys_of("extensions", &extension), known("extensions", None));

    let (lr, weight_decay, beta1, beta2, eps) = (1.0, 0.0, 0.0, 0.0, 1.0);
    for (kind, optimizer) in [
        ("sgd", OptimizerConfig::Sgd { lr, momentum: 0.0, nesterov: false, weight_decay }),
        ("adam", OptimizerConfig::Adam { lr, beta1, beta2, eps, weight_decay }),
        ("adamw", OptimizerConfig::AdamW { lr, beta1, beta2, eps, weight_decay }),
        (
            "muon",
            OptimizerConfig::Muon {
                lr,
                momentum: 0.0,
                nesterov: false,
                ns_steps: 1,
                filter_norm: true,
                weight_decay,
                sgd: SgdSettings::default(),
            },
        ),
    ] {
        assert_eq!(keys_of("optimizer", &optimizer), known("optimizer", Some(kind)), "{kind}");
    }
    let (warmup_epochs, final_factor, horizon_epochs) = (0.0, 0.0, Some(1.0));
    for (kind, schedule) in [
        ("constant", Schedule::Constant { warmup_epochs }),
        ("step", Schedule::Step { warmup_epochs, every_epochs: 1, gamma: 0.5 }),
        ("cosine", Schedule::Cosine { warmup_epochs, horizon_epochs, final_factor }),
        (
            "one_cycle",
            Schedule::OneCycle {
                warmup_epochs,
                horizon_epochs,
                peak_at: 0.5,
                initial_factor: 0.0,
                final_factor,
            },
        ),
        ("linear", Schedule::Linear { warmup_epochs, horizon_epochs, final_factor }),
    ] {
        assert_eq!(keys_of("schedule", &schedule), known("schedule", Some(kind)), "{kind}");
    }
    for (kind, averaging) in
        [("ema", Averaging::Ema { decay: 0.5 }), ("last_epochs", Averaging::LastEpochs { epochs: 1 })]
    {
        assert_eq!(keys_of("averaging", &averaging), known("averaging", Some(kind)), "{kind}");
    }
}

/// If serde has a default for an absent key, it is the default that the table states.
#[test]
fn stated_values_are_those_of_serde() {
    let keys = recipe_keys();
    let mut n = 0;
    for key in keys.keys() {
        let Some(stated) = text_of(key).and_then(value_of) else { continue };
        let tag = tag_of(key);
        if tag.as_deref() == Some(key.name) {
            continue; // serde always requires the kind
        }
        let of_tag = tag.as_deref().and_then(|tag| keys.named(tag).next());
        let kind = key.kinds.first().or(of_tag.and_then(|tag| tag.takes.words().first())).copied();
        let others = keys.keys().iter().filter(|other| other.section() == key.section() && other.is_of(kind));
        let others = others.filter(|other| other.name != key.name);
        let mut table: Table = others.map(|other| (other.last().to_owned(), example(other))).collect();
        let is_told_here = keys.section(key.section()).is_some_and(|section| section.tag.is_some());
        table.extend(kind.filter(|_| is_told_here).map(|kind| ("kind".to_owned(), kind.into())));
        let Some(read) = read_directly(key.section(), table) else { continue };
        assert!(read.get(key.last()).is_none_or(|found| same(found, &stated)), "{}: {read}", key.name);
        n += 1;
    }
    assert!(n > 30, "serde has a value for {n} keys");
}

/// One key of an absent table is enough: the others get their stated values.
#[test]
fn stated_values_are_put_in() {
    let keys = recipe_keys();
    let is_optional = |key: &&Key| keys.section(key.section()).is_some_and(|section| section.is_optional);
    let mut n = 0;
    for key in keys.keys().iter().filter(is_optional).filter(|key| !key.name.starts_with("param_groups")) {
        let Some(stated) = text_of(key).and_then(value_of) else { continue };
        let is_beside = |other: &&Key| other.section() == key.section() && other.name != key.name;
        let overrides = match keys.keys().iter().find(is_beside) {
            _ if !key.kinds.is_empty() => Vec::new(), // the kind is enough
            Some(other) => vec![Override::new(other.name, example(other))],
            None => panic!("{} is alone in its table", key.name),
        };
        let found = value_in(&recipe_with(key, overrides), key.name);
        assert!(found.is_some_and(|found| same(&found, &stated)), "{}", key.name);
        n += 1;
    }
    assert!(n > 12, "{n} keys of tables that can be left out");
}

/// Reads a table with an absent key through serde; returns `None` if serde requires the key.
fn read_directly(section: &str, table: Table) -> Option<Table> {
    fn reread<T: Serialize + serde::de::DeserializeOwned>(table: Table) -> Option<Table> {
        Some(Table::try_from(table.try_into::<T>().ok()?).unwrap())
    }
    match section {
        "" => {
            let mut whole = Table::try_from(load_recipe("cnn", &[]).unwrap()).unwrap();
            whole.retain(|name, _| {
                table.contains_key(name) || ["model", "optimizer", "schedule"].contains(&name)
            });
            reread::<Recipe>(whole)
        }
        "data" => reread::<DataConfig>(table),
        "data.normalization" => reread::<Normalization>(table),
        "augment" => reread::<Augment>(table),
        "augment.random_resized_crop" => reread::<tallow_dataset::RandomResizedCrop>(table),
        "mix" => reread::<Mix>(table),
        "whitening" => reread::<crate::Whitening>(table),
        "evaluation" => reread::<crate::Views>(table),
        "loss" => reread::<LossConfig>(table),
        "optimizer" => reread::<OptimizerConfig>(table),
        "optimizer.sgd" => reread::<SgdSettings>(table),
        "param_groups" => reread::<ParamGroup>(table),
        "schedule" => reread::<Schedule>(table),
        "averaging" => reread::<Averaging>(table),
        "callbacks.early_stopping" => reread::<EarlyStopping>(table),
        "callbacks.reduce_lr_on_plateau" => reread::<ReduceLrOnPlateau>(table),
        other => panic!("{other}: which type reads it?"),
    }
}
