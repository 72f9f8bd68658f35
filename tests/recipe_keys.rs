//! The keys of recipes: their list and page, nearly right names, contradicting arguments, and the differences of two recipes.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Sandbox, TINY, TINY_MODEL, repository, wait_until};

/// Words of Rust and its libraries that mean nothing to people who train a model.
const NOT_FOR_PEOPLE: [&str; 12] = [
    "f32`",
    "f64",
    "u64",
    "usize",
    "i64",
    "bool",
    "Option",
    "String",
    "invalid type",
    "unknown variant",
    "unknown field",
    "missing field",
];

/// `cargo xtask recipe-keys` sets the variable; then this test writes the page instead.
#[test]
fn the_page_is_that_of_the_table() {
    let printed = Sandbox::new().trainer("recipes --keys --markdown").ok().stdout;
    let path = repository().join("docs/recipe-keys.md");
    if std::env::var_os("TALLOW_WRITE_PAGES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &printed).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == printed,
        "docs/recipe-keys.md is not what the table of keys says: cargo xtask recipe-keys writes it"
    );
}

#[test]
fn keys_are_listed_in_plain_words() {
    let sandbox = Sandbox::new();
    let all = sandbox.trainer("recipes --keys").ok().stdout;
    for section in [
        "At the top",
        "[data.normalization]",
        "[augment]",
        "[mix]",
        "[model]",
        "[[param_groups]]",
        "[callbacks.early_stopping]",
    ] {
        assert!(all.contains(&format!("{section}  ")), "{section}: {all}");
    }
    for word in NOT_FOR_PEOPLE {
        assert!(!all.contains(word), "{word}");
    }
    let one = sandbox.trainer("recipes --keys schedule.gamma").ok().stdout;
    let expected = "\
[schedule]  The learning rate over the run, as a factor on optimizer.lr

  schedule.gamma
      Ratio of each rate to the one before.
      Takes a number above 0; left out: 0.1; with schedule.kind = step
      Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html
";
    assert_eq!(one, expected);
    let callbacks = sandbox.trainer("recipes --keys callbacks").ok().stdout;
    assert!(
        callbacks.contains("callbacks.early_stopping.patience")
            && callbacks.contains("callbacks.reduce_lr_on_plateau.factor")
    );
    assert!(!callbacks.contains("schedule.gamma"));

    let listed = sandbox.trainer("recipes --keys optimizer.lr --json").ok().json();
    let found: Vec<(&Value, &Value)> =
        listed.as_array().unwrap().iter().map(|e| (&e["kinds"], &e["default"])).collect();
    let of_adams = json!(["adam", "adamw"]);
    let expected =
        [(&json!(["sgd"]), &json!(0.01)), (&of_adams, &json!(0.001)), (&json!(["muon"]), &json!(0.02))];
    assert_eq!(found, expected);
    let listed = sandbox.trainer("recipes --keys --json").ok().json();
    assert!(
        listed.as_array().unwrap().iter().any(|entry| entry["key"] == "epochs" && entry["required"] == true)
    );
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["key"] == "model.dense" && entry["unit"] == "units")
    );

    sandbox.trainer("recipes --keys schedul").fails(&["no keys \"schedul\"", "did you mean \"schedule\"?"]);
    sandbox.trainer("recipes --keys early_stoping").fails(&["did you mean \"callbacks.early_stopping\"?"]);
}

#[test]
fn names_that_are_nearly_right() {
    let sandbox = Sandbox::new();
    sandbox.write("mine.toml", "base = \"cnn\"\n[optimizer]\nlrr = 0.1");
    sandbox.write("choice.toml", "base = \"cnn\"\nprecision = \"f23\"");
    sandbox.write("kind.toml", "base = \"cnn\"\n[schedule]\nkind = \"cosin\"");
    for (args, message) in [
        ("--recipe cnn5", "did you mean \"cnn-5\"?"),
        ("recipes keras-restnet", "did you mean \"keras-resnet\"?"),
        ("recipes diff cnn cnn5", "did you mean \"cnn-5\"?"),
        ("--dataset cifar-10", "did you mean \"cifar10\"?"),
        ("data info --dataset smaple", "did you mean \"sample\"?"),
        ("bench --model resnet-50", "did you mean \"resnet50\"?"),
        ("+ --set model.name=resnet-50", "did you mean \"resnet50\"?"),
        ("+ --set model.widhts=[4,4]", "no key \"model.widhts\": did you mean \"model.widths\"?"),
        (
            "+ --set optimizer.lrr=1",
            "--set optimizer.lrr=1: there is no key \"optimizer.lrr\": did you mean \"optimizer.lr\"?",
        ),
        ("+ --set lr=1", "did you mean \"optimizer.lr\"?"),
        ("+ --set patience=3", "did you mean \"callbacks.early_stopping.patience\"?"),
        (
            "+ --set precision=f23",
            "precision takes one of auto, f32, bf16; found the text \"f23\": did you mean \"f32\"?",
        ),
        ("+ --set loss.class_weights.catt=2", "names the class \"catt\""),
        ("+ --set loss.class_weights.catt=2", "did you mean \"cat\"?"),
        (
            "--recipe mine.toml",
            "recipe mine.toml: there is no key \"optimizer.lrr\": did you mean \"optimizer.lr\"?",
        ),
        (
            "--recipe choice.toml",
            "recipe choice.toml: precision takes one of auto, f32, bf16; found the text \"f23\"",
        ),
        (
            "--recipe kind.toml",
            "schedule.kind takes one of constant, step, cosine, one_cycle, linear; found the text \"cosin\": did you mean \"cosine\"?",
        ),
    ] {
        let args = args.strip_prefix('+').map_or(args.to_owned(), |args| format!("{TINY_MODEL}{args}"));
        let ran = sandbox.trainer(&args).fails(&[message]);
        for word in NOT_FOR_PEOPLE {
            assert!(!ran.stderr.contains(word), "{args}: {}", ran.stderr);
        }
    }
}

#[test]
fn arguments_that_disagree_are_refused() {
    let sandbox = Sandbox::new();
    let refused = |args: &str, parts: &[&str]| {
        let ran = sandbox.trainer(&format!("{TINY_MODEL} {args}")).ends_with(2).says(parts);
        assert!(ran.stderr.starts_with("error: ") && ran.stdout.is_empty(), "{}", ran.stderr);
    };
    refused("--epochs 3 --set epochs=5", &["--epochs 3 and --set epochs=5 set epochs to different values"]);
    refused("--set seed=1 --set seed=2", &["--set seed=1 and --set seed=2 set seed"]);
    refused("--lr 0.1 --set optimizer={kind=\"sgd\",lr=0.2}", &["--lr 0.1", "set optimizer.lr to different"]);
    assert_eq!(sandbox.everything(), [""; 0]);
    sandbox
        .trainer(&format!("{TINY} --set epochs=2 --set batch_size=16 --lr 0.01 --set optimizer.lr=1e-2"))
        .ok();
}

/// Settings that used to need others beside them: each makes a run on its own.
#[test]
fn one_setting_is_enough() {
    let sandbox = Sandbox::new();
    let tiny = TINY.replace("--epochs 2", "--epochs 1");
    for (i, set) in [
        "schedule.kind=cosine",
        "schedule.kind=constant",
        "optimizer.kind=sgd",
        "callbacks.early_stopping.patience=3",
        "averaging.decay=0.9",
        "averaging.epochs=1",
    ]
    .into_iter()
    .enumerate()
    {
        sandbox.trainer(&format!("{tiny} --set {set} --run-dir run{i}")).ok();
    }
    assert!(
        sandbox
            .text("run0/recipe.toml")
            .contains("kind = \"cosine\"\nwarmup_epochs = 0.0\nhorizon_epochs = 1.0\nfinal_factor = 0.0")
    );
    assert!(sandbox.text("run3/recipe.toml").contains("patience = 3"));
    // another model, which is checked completely before anything else happens
    let ran = sandbox.trainer("--dataset sample --offline --set model.name=speedrun --set model.dense=3");
    ran.fails(&["model.dense is a key of model.name = cnn, here model.name is speedrun"]);
    let speedrun = "--dataset sample --offline --train-subset 20 --epochs 1 --set model.name=speedrun --set model.widths=[4,4,4]";
    sandbox.trainer(&format!("{speedrun} --run-dir speedrun")).ok();
}

#[test]
fn differences_are_told_key_by_key() {
    let sandbox = Sandbox::new();
    let expected = "\
key                      cnn              cnn-5
augment.crop_padding_px  4                2
epochs                   20               5
loss.label_smoothing     0.1              0.05
model.dropout            [0.0, 0.1, 0.2]  [0.0, 0.0, 0.1]
";
    assert_eq!(sandbox.trainer("recipes diff cnn cnn-5").ok().stdout, expected);
    sandbox.write("same.toml", "base = \"cnn\"\nschedule.final_factor = 0");
    assert_eq!(
        sandbox.trainer("recipes diff cnn same.toml").ok().stdout,
        "cnn and same.toml are the same recipe\n"
    );
    let diff = sandbox.trainer("recipes diff cnn same.toml --json").ok().json();
    assert_eq!(diff, json!({"a": "cnn", "b": "same.toml", "differences": []}));

    sandbox.trainer(&format!("{TINY} --set schedule.kind=cosine --run-dir run")).ok();
    let diff = sandbox.trainer("recipes diff cnn run --json").ok().json();
    let of = |key: &str| {
        let all = diff["differences"].as_array().unwrap();
        all.iter().find(|difference| difference["key"] == key).cloned()
    };
    assert_eq!(of("epochs").unwrap(), json!({"key": "epochs", "a": 20, "b": 2}));
    assert_eq!(of("schedule.peak_at").unwrap(), json!({"key": "schedule.peak_at", "a": 0.25, "b": null}));
    assert_eq!(of("name"), None);
    assert!(sandbox.trainer("recipes run").ok().stdout.contains("kind = \"cosine\""));
    assert_eq!(sandbox.trainer("recipes same.toml --json").ok().json()["name"], "same");
    sandbox.trainer("recipes diff cnn").ends_with(2);
    sandbox.trainer("recipes diff cnn nowhere/").fails(&["nowhere/"]);
}

#[test]
fn help_leads_to_the_options_and_keys_of_training() {
    let sandbox = Sandbox::new();
    let help = sandbox.trainer("--help").ok().stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("`trainer train --help` lists all options of training"), "{help}");
    assert!(help.contains("`trainer recipes --keys`"), "{help}");
    assert!(sandbox.trainer("train --help").ok().stdout.contains("trainer recipes --keys"));
    // the program's name alone trains; before that, it tells how to find the other commands
    let running = sandbox.start("");
    wait_until("it says what can be chosen", || running.stderr().contains("\n"));
    assert!(
        running.stderr().starts_with("Training with the recipe cnn. For its options: trainer train --help")
    );
    running.kill();
}
