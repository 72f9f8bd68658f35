//! Readers of texts: recipes, costs, and the tables and summaries of runs.

use std::path::Path;
use std::sync::LazyLock;

use tallow_core::Foreign;
use tallow_core::keys::KeyTable;
use tallow_metrics::{
    CostTable, EpochRecord, Predictions, Summary, history_to_csv, parse_history, parse_predictions_csv,
    predictions_to_csv,
};
use tallow_models::{architecture_of, architectures, with_model_keys};
use tallow_training::{parse_recipe, recipe_keys, recipe_names, recipe_text};

use super::{owned, text};

/// A file in a folder that does not exist, so that no recipe finds a `base` beside it.
const ORIGIN: &str = "no/such/folder/fuzzed.toml";

/// The classes of cost tables and predictions.
const CLASSES: [&str; 3] = ["cat", "=dog", "a \"b\",\nc"];

fn classes() -> [Foreign; 3] {
    CLASSES.map(Foreign::from)
}

static KEYS: LazyLock<KeyTable> = LazyLock::new(|| with_model_keys(recipe_keys()));

/// A recipe is resolved: what is missing is filled in. A resolved recipe is written and read unchanged.
pub(super) fn recipe(bytes: &[u8]) -> bool {
    let Some(Ok(recipe)) = text(bytes).map(|text| parse_recipe(text, Path::new(ORIGIN), &KEYS)) else {
        return false;
    };
    let written = recipe.to_toml().expect("a recipe that was read can be written");
    let again =
        parse_recipe(&written, Path::new(ORIGIN), &KEYS).unwrap_or_else(|e| panic!("{e}:\n{written}"));
    // as text, because a NaN is not equal to itself
    assert_eq!(again.to_toml().expect("a recipe that was read can be written"), written);
    true
}

pub(super) fn recipes() -> Vec<Vec<u8>> {
    let built_in = recipe_names().filter_map(recipe_text);
    let mut inputs = vec![b"base = \"quick\"\nepochs = 3\nseed = 7\n".to_vec()];
    inputs.extend(built_in.map(|text| text.as_bytes().to_vec()));
    inputs
}

/// The `[model]` table of a recipe or of a model file decides the size of a network, which is known before anything is built.
pub(super) fn network(bytes: &[u8]) -> bool {
    let Some(Ok(table)) = text(bytes).map(toml::from_str::<toml::Table>) else { return false };
    let size = architecture_of(&table).and_then(|architecture| architecture.size(&table, 10));
    size.is_ok_and(|size| size.n_values > 0)
}

pub(super) fn networks() -> Vec<Vec<u8>> {
    let tables = architectures().iter().map(|architecture| architecture.reference_table());
    let text = |table| toml::to_string(&table).expect("a table can be written").into_bytes();
    tables.map(text).collect()
}

pub(super) fn costs(bytes: &[u8]) -> bool {
    let Some(Ok(table)) = text(bytes).map(|text| CostTable::from_toml(text, &classes())) else {
        return false;
    };
    for target in 0..CLASSES.len() {
        for predicted in 0..CLASSES.len() {
            let price = table.price(target, predicted);
            assert!(price >= 0.0 && price.is_finite(), "{price}");
        }
    }
    true
}

pub(super) fn cost_tables() -> Vec<Vec<u8>> {
    owned(&[
        "currency = \"EUR\"\nask_a_person = 0.4\ndefault_value = 3\n[value]\ncat = 2\n[[price]]\n\
         true = \"cat\"\npredicted = \"=dog\"\nprice = 5.5\n",
        "",
    ])
}

pub(super) fn history(bytes: &[u8]) -> bool {
    let Some(Ok(records)) = text(bytes).map(parse_history) else { return false };
    let written = history_text(&records);
    let again = parse_history(&written).unwrap_or_else(|e| panic!("{e}:\n{written}"));
    assert_eq!(history_text(&again), written);
    true
}

fn history_text(records: &[EpochRecord]) -> String {
    let is_validated = |record: &EpochRecord| record.val_accuracy.or(record.val_loss).is_some();
    history_to_csv(records, records.iter().any(is_validated))
}

pub(super) fn histories() -> Vec<Vec<u8>> {
    owned(&[
        "epoch,accuracy,loss,optimized_loss,val_accuracy,val_loss,learning_rate\n\
         1,0.5,1.25,1.5,0.25,0.3333333333333333,0.0000001\n2,0.5,1.25,1.5,,0.5,0.001\n",
        "epoch,accuracy,loss,optimized_loss,learning_rate\n1,0.30000000000000004,2,2.5,0.00001\n",
        "epoch,accuracy,loss,val_accuracy,val_loss,learning_rate\n1,0.5,2,0.25,-inf,NaN\n",
        "epoch,accuracy,loss,learning_rate\r\n\r\n1,0.5,2,0.00001\r\n",
    ])
}

pub(super) fn predictions(bytes: &[u8]) -> bool {
    let Some(Ok(table)) = text(bytes).map(parse_predictions_csv) else { return false };
    let written = predictions_to_csv(&table.predictions, &table.class_names, Some(&table.files));
    let written = written.expect("predictions that were read can be written");
    let again = parse_predictions_csv(&written).unwrap_or_else(|e| panic!("{e}:\n{written}"));
    assert_eq!(again, table);
    true
}

/// Returns predictions for `n` pictures of [`CLASSES`]; every fourth is wrong.
pub(super) fn some_predictions(n: u32) -> String {
    let c = CLASSES.len();
    let targets: Vec<u32> = (0..n).map(|i| i % c as u32).collect();
    let best = |i: u32| (i + u32::from(i.is_multiple_of(4))) as usize % c;
    let rows = (0..n).flat_map(|i| (0..c).map(move |class| if class == best(i) { -0.25 } else { -2.2 }));
    let predictions = Predictions::new(c, targets, rows.collect(), (0..n).collect()).expect("predictions");
    let files: Vec<Foreign> = (0..n).map(|i| format!("-{i}/a,b.png").into()).collect();
    predictions_to_csv(&predictions, &classes(), Some(&files)).expect("predictions can be written")
}

pub(super) fn prediction_tables() -> Vec<Vec<u8>> {
    let mut inputs = vec![some_predictions(5).into_bytes()];
    inputs.extend(owned(&[
        "index,file,true,predicted,log_prob:cat,log_prob:dog\n7,a.png,cat,cat,-0.25,-1.5\n2,,dog,cat,-0.1,-inf\n",
        "index,true,predicted,log_prob:''x\n0,''x,''x,0\n",
    ]));
    inputs
}

pub(super) fn summary(bytes: &[u8]) -> bool {
    let Ok(summary) = serde_json::from_slice::<Summary>(bytes) else { return false };
    let written = serde_json::to_string_pretty(&summary).expect("a summary can be written");
    let again: Summary = serde_json::from_str(&written).unwrap_or_else(|e| panic!("{e}:\n{written}"));
    assert_eq!(again, summary);
    true
}

pub(super) const SUMMARY: &str = r#"{"run_dir":"runs/x","dataset":"<b>pets</b>","dataset_about":"3 images","data_digest":"d",
"n_train":20,"n_val":5,"n_test":12,"model":"cnn","pretrained":{"origin":"hf:a/b@c","licence":null},"n_parameters":1234,
"n_trained_parameters":12,"recipe":"r","seed":18446744073709551615,"device":"cpu","isa":"avx2","precision":"f32","threads":2,
"epochs_run":2,"best_epoch":2,"train_seconds":0.1,"features_seconds":2.0,"features_own_seconds":0.5,
"images_per_second":0.30000000000000004,"peak_rss_bytes":734003200,"val":{"accuracy":0.5,"loss":1.5},
"test":{"accuracy":0.75,"loss":0.5,"accuracy_interval":[0.5,1.0]},"folds":{"n_images":[6,6],"accuracies":[0.5,1.0],
"accuracy":0.75,"loss":0.5,"accuracy_interval":[0.5,1.0],"predictions":"evaluation/predictions_test.csv"},
"caveats":[{"kind":"validated_on_test"},{"kind":"start_unknown","from":"runs/a","dataset":""}]}"#;

pub(super) fn summaries() -> Vec<Vec<u8>> {
    let plain = r#"{"run_dir":"r","dataset":"d","data_digest":"d","n_train":1,"n_val":0,"n_test":0,"model":"cnn","n_parameters":1,
"recipe":"r","seed":0,"device":"cpu","isa":"avx2","precision":"f32","threads":1,"epochs_run":0,"best_epoch":null,
"train_seconds":0,"images_per_second":0,"peak_rss_bytes":null,"val":null,"test":null}"#;
    owned(&[SUMMARY, plain])
}
