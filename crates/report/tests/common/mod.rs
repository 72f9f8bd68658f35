//! Run folders of any shape for the tests.

use std::fs;
use std::path::Path;

use tallow_metrics::{
    EpochRecord, Foreign, Predictions, Summary, TestScore, history_to_csv, predictions_to_csv,
};

/// `n` predictions for `c` classes by a fixed rule, about three out of four correct; another `salt` gives another model.
pub(crate) fn predictions(n: usize, c: usize, salt: usize) -> Predictions {
    let targets: Vec<u32> = (0..n).map(|i| (i % c) as u32).collect();
    let mut log_probs = Vec::with_capacity(n * c);
    for (i, &target) in targets.iter().enumerate() {
        let wrong = (i * 7919 + salt * 104_729) % 100 < 25;
        let best = if wrong { (target as usize + 1 + i % (c - 1).max(1)) % c } else { target as usize };
        let sure = 0.5 + 0.49 * ((i * 31 + salt) % 97) as f64 / 97.0;
        let rest = (1.0 - sure) / (c - 1) as f64;
        log_probs.extend((0..c).map(|class| if class == best { sure.ln() } else { rest.ln() } as f32));
    }
    Predictions::new(c, targets, log_probs, (0..n as u32).collect()).unwrap()
}

/// Writes a complete run folder with these classes to `path`.
pub(crate) fn write_run(path: &Path, class_names: &[Foreign], salt: usize) {
    fs::create_dir_all(path.join("evaluation")).unwrap();
    let n = 8 * class_names.len().max(25);
    let p = predictions(n, class_names.len(), salt);
    for split in ["val", "test"] {
        let csv = predictions_to_csv(&p, class_names, None).unwrap();
        fs::write(path.join(format!("evaluation/predictions_{split}.csv")), csv).unwrap();
    }
    let record = |epoch| EpochRecord {
        epoch,
        accuracy: 0.5,
        loss: 1.0,
        optimized_loss: Some(1.5),
        val_accuracy: Some(0.5),
        val_loss: Some(1.25),
        learning_rate: 0.001,
    };
    let records: Vec<EpochRecord> = (1..=3).map(record).collect();
    fs::write(path.join("history.csv"), history_to_csv(&records, true)).unwrap();
    fs::write(
        path.join("recipe.toml"),
        "name = \"r\"\nbatch_size = 8\n[optimizer]\nkind = \"sgd\"\nlr = 0.1\n",
    )
    .unwrap();
    fs::write(path.join("summary.json"), serde_json::to_string(&summary(&p, salt)).unwrap()).unwrap();
}

fn summary(p: &Predictions, salt: usize) -> Summary {
    let accuracy = p.accuracy().unwrap();
    Summary {
        pretrained: None,
        run_dir: "r".into(),
        dataset: "<b>data</b>".into(),
        dataset_about: None,
        data_digest: "d".into(),
        n_train: 10,
        n_val: p.len() as u64,
        n_test: p.len() as u64,
        model: "cnn".into(),
        n_parameters: 1234,
        n_trained_parameters: None,
        recipe: "r".into(),
        seed: salt as u64,
        device: "cpu".into(),
        isa: "avx2".into(),
        precision: "f32".into(),
        threads: 2,
        epochs_run: 3,
        best_epoch: Some(2),
        train_seconds: 60.0,
        features_seconds: None,
        features_own_seconds: None,
        images_per_second: 100.0,
        peak_rss_bytes: None,
        val: None,
        test: Some(TestScore { accuracy, loss: 1.0, accuracy_interval: [0.1, 0.9] }),
        folds: None,
        caveats: Vec::new(),
    }
}

/// A PNG of one pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0,
    1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x60, 0,
    0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];
