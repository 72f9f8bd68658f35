//! Recipes by name and from files, and the effect of overrides.

use super::*;
use crate::recipe::PrecisionSetting;

#[test]
fn built_in_recipes_are_valid_and_survive_their_own_text() {
    for name in recipe_names() {
        let recipe = load_recipe(name, &[]).unwrap();
        assert_eq!(recipe.name, name);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.toml");
        std::fs::write(&path, recipe.to_toml().unwrap()).unwrap();
        assert_eq!(load_recipe(path.to_str().unwrap(), &[]).unwrap(), recipe);
    }
}

#[test]
fn overrides_replace_and_unknown_ones_are_refused() {
    let set = |text: &str| load_recipe("cnn", &[Override::parse(text).unwrap()]);
    assert_eq!(set("epochs=3").unwrap().epochs, 3);
    assert_eq!(set("optimizer.lr=0.125").unwrap().optimizer.lr(), 0.125);
    assert_eq!(set("precision=f32").unwrap().precision, PrecisionSetting::F32);
    let error = |text: &str| set(text).unwrap_err().to_string();
    let message = error("optimizer.lrr=1");
    assert!(
        message.starts_with(
            "--set optimizer.lrr=1: there is no key \"optimizer.lrr\": did you mean \"optimizer.lr\"?"
        ),
        "{message}"
    );
    assert!(error("epoch=3").contains("did you mean \"epochs\"?"));
    assert!(error("lr=3").contains("did you mean \"optimizer.lr\"?"));
    assert_eq!(
        error("epochs=many"),
        "--set epochs=many: epochs takes a whole number of 1 or more; found the text \"many\""
    );
    assert!(error("epochs.x=1").contains("it is not a table"));
    assert!(error("batch_size=0").contains("batch_size"));
    assert!(Override::parse("epochs").unwrap_err().to_string().contains("key=value"));
}

#[test]
fn another_kind_replaces_the_whole_table() {
    let mut base: Table =
        toml::from_str("[schedule]\nkind = 'cosine'\nfinal_factor = 0\n[a]\nx = 1\ny = 2").unwrap();
    merge(&mut base, toml::from_str("[schedule]\nkind = 'constant'\n[a]\ny = 3").unwrap());
    assert_eq!(base, toml::from_str("[schedule]\nkind = 'constant'\n[a]\nx = 1\ny = 3").unwrap());
}

#[test]
fn one_override_is_enough_for_another_kind_or_a_table_that_was_not_there() {
    let load = |source: &str, texts: &[&str]| {
        let overrides: Vec<_> = texts.iter().map(|text| Override::parse(text).unwrap()).collect();
        Table::try_from(load_recipe(source, &overrides).unwrap()).unwrap()
    };
    let table = |text: &str| Value::Table(toml::from_str(text).unwrap());
    assert_eq!(
        load("cnn", &["schedule.kind=cosine"])["schedule"],
        table("kind='cosine'\nwarmup_epochs=0.0\nfinal_factor=0.0")
    );
    let step = table("kind='step'\nwarmup_epochs=2.0\nevery_epochs=3\ngamma=0.1");
    // in any order; values with the same meaning in both kinds stay
    let texts = ["schedule.every_epochs=3", "schedule.warmup_epochs=2", "schedule.kind=step"];
    assert_eq!(load("cnn", &texts)["schedule"], step);
    assert_eq!(
        load("cnn", &["schedule.kind=linear", "schedule.final_factor=0.5"])["schedule"]["final_factor"]
            .as_float(),
        Some(0.5)
    );
    assert_eq!(
        load("cnn", &["optimizer.kind=sgd"])["optimizer"],
        table("kind='sgd'\nlr=0.01\nmomentum=0.0\nnesterov=false\nweight_decay=0.0")
    );
    assert_eq!(
        load("keras", &["optimizer.kind=adamw"])["optimizer"],
        table("kind='adamw'\nlr=0.001\nbeta1=0.9\nbeta2=0.999\neps=1e-7\nweight_decay=0.0")
    );
    let stopping = load("cnn", &["callbacks.early_stopping.patience=3"]);
    assert_eq!(
        stopping["callbacks"]["early_stopping"],
        table("monitor='val_loss'\npatience=3\nmin_delta=0.0\nrestore_best_weights=true")
    );
    let lowering = load("cnn", &["schedule.kind=constant", "callbacks.reduce_lr_on_plateau.factor=0.5"]);
    assert_eq!(lowering["callbacks"]["reduce_lr_on_plateau"]["patience"].as_integer(), Some(10));
    assert_eq!(load("cnn", &["averaging.decay=0.9"])["averaging"], table("kind='ema'\ndecay=0.9"));
    assert_eq!(load("cnn", &["averaging.epochs=2"])["averaging"], table("kind='last_epochs'\nepochs=2"));
    assert_eq!(load("cnn", &["averaging.kind=last_epochs"])["averaging"]["epochs"].as_integer(), Some(5));
    let crop = load("cnn", &["augment.random_resized_crop.scale=[0.5, 1]"]);
    assert_eq!(crop["augment"]["random_resized_crop"]["ratio"].as_array().unwrap().len(), 2);
    let mean = load("cnn", &["data.normalization.mean=[0.5, 0.5, 0.5]"]);
    assert_eq!(mean["data"]["normalization"]["std"][0].as_float(), Some(1.0));
    assert_eq!(load("cnn", &["loss.class_weights.cat=2"])["loss"]["class_weights"], table("cat=2.0"));
}

/// Files and overrides get the same values for what they leave out.
#[test]
fn a_file_that_names_a_kind_gets_the_stated_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.toml").to_string_lossy().into_owned();
    let text = "epochs=2\nbatch_size=8\nmodel.name='cnn'\noptimizer.kind='adam'\nschedule.kind='one_cycle'\n[callbacks.early_stopping]";
    std::fs::write(&path, text).unwrap();
    let recipe = load_recipe(&path, &[]).unwrap();
    assert_eq!((recipe.name.raw(), recipe.optimizer.lr()), ("short", 0.001));
    assert_eq!(recipe.callbacks.early_stopping.unwrap().patience, 10);
    std::fs::write(&path, text.replace("optimizer.kind='adam'", "optimizer.lr=0.1")).unwrap();
    let message = load_recipe(&path, &[]).unwrap_err().to_string();
    assert!(
        message.contains("short.toml: optimizer.kind is missing: it takes one of sgd, adam, adamw"),
        "{message}"
    );
    std::fs::write(&path, "base='cnn'\nepochs=0").unwrap();
    let message = load_recipe(&path, &[]).unwrap_err().to_string();
    assert!(message.contains("short.toml: epochs must be at least 1"), "{message}");
    std::fs::write(&path, "base='cnn'\nschedule.gamma=1").unwrap();
    let message = load_recipe(&path, &[]).unwrap_err().to_string();
    assert!(
        message.contains("short.toml: schedule.gamma is a key of schedule.kind = step, here"),
        "{message}"
    );
}

/// Paths in a recipe are texts of paths: bytes that are not UTF-8 survive, and all else stays as it was.
#[cfg(unix)]
#[test]
fn paths_of_any_bytes_survive_a_recipe_and_lead_to_one() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let named = |name: &[u8]| PathBuf::from(OsStr::from_bytes(name));
    let plain = load_recipe("cnn", &[Override::new("data.data_dir", "a b/ü")]).unwrap();
    assert!(plain.to_toml().unwrap().contains("data_dir = \"a b/ü\""));
    let recipe = Recipe { init_from: Some(named(b"r\xfcn\\xE9")), ..plain };
    let data = crate::DataConfig { data_dir: named(b"d\xe4ta\\x"), ..recipe.data.clone() };
    let recipe = Recipe { data, ..recipe };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(named(b"\xe4.toml"));
    std::fs::write(&path, recipe.to_toml().unwrap()).unwrap();
    assert_eq!(load_recipe(&path, &[]).unwrap(), recipe);

    let of = |name: &[u8]| folder.path().join(named(name));
    std::fs::write(of(b"b.toml"), "base = '\\xE4.toml'\nseed = 7").unwrap();
    assert_eq!(load_recipe(of(b"b.toml"), &[]).unwrap().init_from, recipe.init_from);
    let absolute = toml::Value::String(tallow_core::path_text(&path));
    std::fs::write(of(b"\xfc.toml"), format!("base = {absolute}")).unwrap();
    assert_eq!(load_recipe(of(b"\xfc.toml"), &[]).unwrap().data, recipe.data);
    let message = load_recipe(Path::new(OsStr::from_bytes(b"\xff.toml")), &[]).unwrap_err().to_string();
    assert!(message.contains("cannot read"), "{message}");
}

#[test]
fn a_file_may_build_on_another_but_not_on_itself() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    write("a.toml", "base = 'cnn'\nseed = 7");
    let b = write("b.toml", "base = 'a.toml'\nbatch_size = 64");
    let recipe = load_recipe(&b, &[]).unwrap();
    assert_eq!((recipe.name.raw(), recipe.seed, recipe.batch_size), ("b", 7, 64));
    let loops = write("c.toml", "base = 'c.toml'");
    assert!(load_recipe(&loops, &[]).unwrap_err().to_string().contains("build on each other"));
    assert!(load_recipe("nope", &[]).unwrap_err().to_string().contains("cnn-5"));
    assert!(load_recipe("cnn5", &[]).unwrap_err().to_string().ends_with("did you mean \"cnn-5\"?"));
}

#[test]
fn a_callback_without_what_it_watches_is_refused() {
    let error = |text: &[&str]| {
        let overrides: Vec<_> = text.iter().map(|t| Override::parse(t).unwrap()).collect();
        load_recipe("keras", &overrides).unwrap_err().to_string()
    };
    let message = error(&["data.val_fraction=0", "data.validate_on=split"]);
    assert!(message.contains("val_fraction is 0"), "{message}");
    let message = error(&["schedule={kind='linear', final_factor=0.0}"]);
    assert!(message.contains("constant"), "{message}");
}
