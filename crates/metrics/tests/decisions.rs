//! Compares calibration, paired tests, coverage and costs with NumPy, SciPy and scikit-learn. `fixtures/gen_decisions.py`
//! made the fixture, which names the versions it was made with.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tallow_metrics::{
    ConfusionMatrix, CostTable, Decision, Foreign, Predictions, clopper_pearson_lower, compare_paired,
    coverage_curve, expected_calibration_error, fit_temperature, promised_threshold, reliability_bins,
    with_temperature,
};

fn golden() -> Value {
    serde_json::from_str(include_str!("fixtures/decisions.json")).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap()
}

fn model(golden: &Value, key: &str) -> Predictions {
    let log_probs: Vec<f32> = get::<Vec<f64>>(golden, key).into_iter().map(|x| x as f32).collect();
    let targets: Vec<u32> = get(golden, "targets");
    let indices = (0..targets.len() as u32).collect();
    Predictions::new(get(golden, "n_classes"), targets, log_probs, indices).unwrap()
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
    assert!(near, "{what}: {found}, expected {expected}");
}

#[test]
fn calibration_is_that_of_numpy() {
    let golden = golden();
    for (key, of, n_bins) in [("reliability_15", "first", 15), ("reliability_4", "second", 4)] {
        let (expected, p) = (&golden[key], model(&golden, of));
        let bins = reliability_bins(&p, n_bins);
        assert_eq!(bins.iter().map(|b| b.n).collect::<Vec<_>>(), get::<Vec<u64>>(expected, "n"));
        assert_eq!(
            bins.iter().map(|b| b.n_correct).collect::<Vec<_>>(),
            get::<Vec<u64>>(expected, "n_correct")
        );
        for (bin, mean) in bins.iter().zip(get::<Vec<f64>>(expected, "mean_confidence")) {
            assert_near(bin.mean_confidence, mean, 1e-12, key);
        }
        let ece = expected_calibration_error(&p, n_bins).unwrap();
        assert_near(ece, get(expected, "ece"), 1e-12, key);
    }
}

#[test]
fn the_temperature_is_that_of_a_general_minimiser() {
    let golden = golden();
    for of in ["first", "second"] {
        let expected = &golden[format!("temperature_{of}")];
        let p = model(&golden, of);
        let temperature = fit_temperature(&p).unwrap();
        assert_near(temperature, get(expected, "temperature"), 1e-6, of);
        let nll = with_temperature(&p, temperature).unwrap().mean_nll().unwrap();
        assert_near(nll, get(expected, "nll"), 1e-6, of);
    }
}

/// Predictions of two models: only the first is right on `b` images, only the second on `c` images.
fn disagreeing(b: usize, c: usize) -> [Predictions; 2] {
    let n = b + c + 1;
    let of = |wrong: std::ops::Range<usize>| {
        let row = |i| if wrong.contains(&i) { [-2.4, -0.1] } else { [-0.1, -2.4] };
        Predictions::new(2, vec![0; n], (0..n).flat_map(row).collect(), (0..n as u32).collect()).unwrap()
    };
    [of(b..b + c), of(0..b)]
}

#[test]
fn mcnemars_p_value_is_that_of_binomtest() {
    for case in get::<Vec<Value>>(&golden(), "mcnemar") {
        let [first, second] = disagreeing(get(&case, "b"), get(&case, "c"));
        let found = compare_paired(&first, &second, 0.95, 0).unwrap();
        let expected: f64 = get(&case, "p");
        let near = (found.p_value - expected).abs() <= 1e-9 * expected;
        assert!(near, "{case}: {}", found.p_value);
    }
}

#[test]
fn a_comparison_is_that_of_scipy() {
    let golden = golden();
    let found = compare_paired(&model(&golden, "first"), &model(&golden, "second"), 0.95, 0).unwrap();
    let expected = &golden["paired"];
    assert_eq!(found.n_only_first, get::<u64>(expected, "b"));
    assert_eq!(found.n_only_second, get::<u64>(expected, "c"));
    assert_near(found.difference, get(expected, "difference"), 1e-12, "difference");
    assert_near(found.p_value, get(expected, "p"), 1e-10, "p-value");
    // The fixture was made with other draws: the ends differ by chance, in steps of one image of 400.
    let [low, high] = found.difference_interval;
    assert!((low - get::<f64>(expected, "low")).abs() <= 0.0051, "{low}");
    assert!((high - get::<f64>(expected, "high")).abs() <= 0.0051, "{high}");
}

#[test]
fn coverage_is_that_of_a_sorted_list() {
    let golden = golden();
    let p = model(&golden, "first");
    let expected = &golden["coverage"];
    let n_correct: Vec<u64> = get(expected, "n_correct");
    for point in coverage_curve(&p) {
        assert_eq!(point.n_correct, n_correct[point.n_answered as usize - 1]);
    }
}

#[test]
fn the_exact_bound_is_that_of_scipy() {
    for case in get::<Vec<Value>>(&golden(), "clopper_pearson") {
        let found =
            clopper_pearson_lower(get(&case, "k"), get(&case, "n"), get(&case, "confidence")).unwrap();
        assert_near(found, get(&case, "low"), 1e-9, &case.to_string());
    }
}

#[test]
fn promises_are_those_of_scipys_bounds() {
    let golden = golden();
    let p = model(&golden, "first");
    for (wanted, expected) in golden["coverage"]["promised"].as_object().unwrap() {
        let found = promised_threshold(&p, wanted.parse().unwrap(), 0.95).unwrap();
        assert_eq!(found.is_some(), !expected.is_null(), "{wanted}");
        if let Some(promise) = found {
            assert_eq!(promise.point.n_answered, expected[0].as_u64().unwrap(), "{wanted}");
            assert_near(promise.accuracy_at_least, expected[1].as_f64().unwrap(), 1e-9, wanted);
        }
    }
}

fn cost_table(expected: &Value, with_person: bool) -> CostTable {
    let prices: Vec<f64> = get(expected, "prices");
    let names: Vec<Foreign> = (0..5).map(|class| format!("c{class}").into()).collect();
    let mut text = if with_person { format!("ask_a_person = {}\n", expected["ask"]) } else { String::new() };
    for (i, price) in prices.iter().enumerate().filter(|(i, _)| i / 5 != i % 5) {
        text += &format!("[[price]]\ntrue = \"c{}\"\npredicted = \"c{}\"\nprice = {price:?}\n", i / 5, i % 5);
    }
    CostTable::from_toml(&text, &names).unwrap()
}

#[test]
fn costs_and_decisions_are_those_of_numpy() {
    let golden = golden();
    let (expected, p) = (&golden["costs"], model(&golden, "first"));
    let (alone, with_person) = (cost_table(expected, false), cost_table(expected, true));
    let classes: Vec<u32> = get(expected, "least_cost_class");
    let asked: Vec<bool> = get(expected, "asked");
    for i in 0..p.len() {
        assert_eq!(alone.decide(p.row(i)), Decision::Answer(classes[i]), "{i}");
        assert_eq!(with_person.decide(p.row(i)) == Decision::Ask, asked[i], "{i}");
    }
    let cost = |key: &str, found: f64| assert_near(found, get(expected, key), 1e-12, key);
    cost("per_1000_argmax", alone.evaluate_argmax(&p).cost_per_1000);
    cost("per_1000_least", alone.evaluate(&p, |row| alone.decide(row)).cost_per_1000);
    cost("per_1000_with_person", with_person.evaluate(&p, |row| with_person.decide(row)).cost_per_1000);
    let matrix = ConfusionMatrix::from_predictions(&p);
    for (found, expected) in alone.class_costs(&matrix).iter().zip(get::<Vec<f64>>(expected, "class_costs")) {
        assert_near(*found, expected, 1e-12, "class");
    }
}
