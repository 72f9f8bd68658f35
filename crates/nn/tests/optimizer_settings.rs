//! An optimiser's settings in a recipe: defaults, unknown keys, ranges.

use serde_json::{from_value, json, to_value};
use tallow_nn::{Device, NnError, Optimizer, OptimizerConfig, ParamGroup, ParamStore, SgdSettings};

#[test]
fn what_is_left_out_has_pytorchs_default() {
    let sgd: OptimizerConfig = from_value(json!({"kind": "sgd", "lr": 0.1})).unwrap();
    assert_eq!(sgd, OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 });
    let (lr, beta1, beta2, eps, weight_decay) = (0.1, 0.9, 0.999, 1e-8, 0.0);
    let adam: OptimizerConfig = from_value(json!({"kind": "adam", "lr": 0.1})).unwrap();
    assert_eq!(adam, OptimizerConfig::Adam { lr, beta1, beta2, eps, weight_decay });
    let adamw: OptimizerConfig = from_value(json!({"kind": "adamw", "lr": 0.1})).unwrap();
    assert_eq!(adamw, OptimizerConfig::AdamW { lr, beta1, beta2, eps, weight_decay });
    assert_eq!(from_value::<OptimizerConfig>(to_value(&adamw).unwrap()).unwrap(), adamw);
    let muon: OptimizerConfig = from_value(json!({"kind": "muon", "lr": 0.1})).unwrap();
    let sgd = SgdSettings { lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    let (momentum, nesterov, ns_steps, filter_norm) = (0.95, true, 5, false);
    let expected = OptimizerConfig::Muon { lr, momentum, nesterov, ns_steps, filter_norm, weight_decay, sgd };
    assert_eq!(muon, expected);
    assert_eq!(from_value::<OptimizerConfig>(to_value(&muon).unwrap()).unwrap(), muon);
    let partly = json!({"kind": "muon", "lr": 0.1, "sgd": {"lr": 0.01}});
    assert_eq!(from_value::<OptimizerConfig>(partly).unwrap(), muon);
    let group: ParamGroup = from_value(json!({"pattern": "*.bias"})).unwrap();
    assert_eq!((group.n_dims, group.lr_factor, group.weight_decay), (None, 1.0, None));
    assert_eq!((group.optimizer, group.until_epoch), (None, None));
}

#[test]
fn unknown_settings_are_refused() {
    for wrong in [
        json!({"kind": "sgd", "lr": 0.1, "momentun": 0.9}),
        json!({"kind": "adam", "lr": 0.1, "momentum": 0.9}),
        json!({"kind": "lion", "lr": 0.1}),
        json!({"kind": "sgd"}),
        json!({"kind": "sgd", "lr": 0.1, "sgd": {"lr": 0.1}}),
        json!({"kind": "muon", "lr": 0.1, "sgd": {"beta1": 0.1}}),
    ] {
        assert!(from_value::<OptimizerConfig>(wrong.clone()).is_err(), "{wrong}");
    }
    assert!(from_value::<ParamGroup>(json!({"pattern": "*", "lr": 0.1})).is_err());
    assert!(from_value::<ParamGroup>(json!({"pattern": "*", "optimizer": "adam"})).is_err());
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for (name, wrong) in [
        ("lr", json!({"kind": "sgd", "lr": -0.1})),
        ("weight_decay", json!({"kind": "adamw", "lr": 0.1, "weight_decay": -1.0})),
        ("momentum", json!({"kind": "sgd", "lr": 0.1, "momentum": 1.0})),
        ("momentum", json!({"kind": "sgd", "lr": 0.1, "nesterov": true})),
        ("beta1", json!({"kind": "adam", "lr": 0.1, "beta1": 1.0})),
        ("beta2", json!({"kind": "adam", "lr": 0.1, "beta2": -0.5})),
        ("eps", json!({"kind": "adam", "lr": 0.1, "eps": 0.0})),
        ("optimizer.lr", json!({"kind": "muon", "lr": 0.0})),
        ("optimizer.momentum", json!({"kind": "muon", "lr": 0.1, "momentum": 0.0})),
        ("optimizer.weight_decay", json!({"kind": "muon", "lr": 0.1, "weight_decay": -1.0})),
        ("optimizer.ns_steps", json!({"kind": "muon", "lr": 0.1, "ns_steps": 0})),
        ("optimizer.ns_steps", json!({"kind": "muon", "lr": 0.1, "ns_steps": 100})),
        ("optimizer.sgd.lr", json!({"kind": "muon", "lr": 0.1, "sgd": {"lr": -1.0}})),
        ("optimizer.sgd.momentum", json!({"kind": "muon", "lr": 0.1, "sgd": {"momentum": 1.0}})),
        ("optimizer.sgd.momentum", json!({"kind": "muon", "lr": 0.1, "sgd": {"momentum": 0.0}})),
        ("optimizer.sgd.weight_decay", json!({"kind": "muon", "lr": 0.1, "sgd": {"weight_decay": -1.0}})),
    ] {
        let config: OptimizerConfig = from_value(wrong).unwrap();
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(&format!("{name} must")), "{message}");
        assert!(Optimizer::new(&config, &[], &ParamStore::new(0, &Device::Cpu)).is_err());
    }
}

#[test]
fn groups_out_of_range_are_refused_with_their_pattern() {
    let mut store = ParamStore::new(0, &Device::Cpu);
    tallow_nn::Linear::new(&mut store.root().sub("fc"), 2, 3, true).unwrap();
    let config: OptimizerConfig = from_value(json!({"kind": "sgd", "lr": 0.1})).unwrap();
    let refusal = |group: serde_json::Value| -> NnError {
        Optimizer::new(&config, &[from_value(group).unwrap()], &store).err().unwrap()
    };
    let message = refusal(json!({"pattern": "fc.*", "lr_factor": -2.0})).to_string();
    assert!(message.contains("fc.*") && message.contains("-2"), "{message}");
    assert!(refusal(json!({"pattern": "layer4.*"})).to_string().contains("layer4.*"));
    for until_epoch in [0.0, -1.0] {
        let message = refusal(json!({"pattern": "fc.*", "until_epoch": until_epoch})).to_string();
        assert!(
            message.contains("\"fc.*\": until_epoch must be above 0") && message.contains("lr_factor = 0"),
            "{message}"
        );
    }
    let message = refusal(json!({"pattern": "fc.*", "optimizer": "sgd"})).to_string();
    assert!(
        message.contains("optimizer = \"sgd\" works only with optimizer.kind = \"muon\": leave it out"),
        "{message}"
    );
}
