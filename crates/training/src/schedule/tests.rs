//! Compares schedules with sequences that can be checked by eye and with PyTorch's schedulers, and reads them from a recipe.

use super::*;

/// A schedule from the lines of a `[schedule]` table.
fn read(lines: &str) -> Result<Schedule, String> {
    toml::from_str(lines).map_err(|e| e.to_string())
}

fn schedule(lines: &str) -> Schedule {
    let schedule = read(lines).unwrap();
    assert_eq!(schedule.validate(), Ok(()));
    schedule
}

fn factors(schedule: &Schedule, n_steps: u64, steps_per_epoch: u64) -> Vec<f64> {
    (0..n_steps).map(|step| schedule.factor(step, steps_per_epoch)).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12);
    assert!(close, "found    {found:?}\nexpected {expected:?}");
}

#[test]
fn constant() {
    assert_eq!(factors(&schedule("kind = 'constant'"), 4, 2), [1.0; 4]);
    let warm = schedule("kind = 'constant'\nwarmup_epochs = 2");
    assert_eq!(factors(&warm, 6, 2), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
}

#[test]
fn step() {
    let plain = schedule("kind = 'step'\nevery_epochs = 2\ngamma = 0.5");
    assert_eq!(factors(&plain, 9, 2), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]);
    // the warm-up comes first, then two epochs at the full rate
    let warm = schedule("kind = 'step'\nwarmup_epochs = 1\nevery_epochs = 2\ngamma = 0.5");
    assert_eq!(factors(&warm, 8, 2), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]);
}

#[test]
fn cosine() {
    let to_zero = schedule("kind = 'cosine'\nhorizon_epochs = 4\nfinal_factor = 0");
    let half = std::f64::consts::FRAC_1_SQRT_2 / 2.0;
    assert_close(&factors(&to_zero, 6, 1), &[1.0, 0.5 + half, 0.5, 0.5 - half, 0.0, 0.0]);
    let warm = schedule("kind = 'cosine'\nwarmup_epochs = 2\nhorizon_epochs = 4\nfinal_factor = 0.2");
    assert_close(&factors(&warm, 7, 1), &[0.5, 1.0, 1.0, 0.6, 0.2, 0.2, 0.2]);
}

#[test]
fn one_cycle() {
    let cycle = "kind = 'one_cycle'\npeak_at = 0.25\ninitial_factor = 0.2\nfinal_factor = 0.1\n";
    let plain = schedule(&format!("{cycle}horizon_epochs = 4"));
    let expected = [0.2, 0.6, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.1];
    assert_close(&factors(&plain, 10, 2), &expected);
    // a warm-up ends where the cycle begins, and shortens the cycle
    let warm = schedule(&format!("{cycle}horizon_epochs = 6\nwarmup_epochs = 2"));
    assert_close(&factors(&warm, 14, 2), &[&[0.05, 0.1, 0.15, 0.2], &expected[..]].concat());
}

#[test]
fn linear() {
    let plain = schedule("kind = 'linear'\nhorizon_epochs = 2\nfinal_factor = 0");
    assert_eq!(factors(&plain, 6, 2), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    // 1.25 epochs of 2 steps are 3 steps, rounded from 2.5
    let warm = schedule("kind = 'linear'\nwarmup_epochs = 1.25\nhorizon_epochs = 2.5\nfinal_factor = 0.5");
    assert_close(&factors(&warm, 7, 2), &[1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 0.75, 0.5, 0.5]);
}

/// `tests/fixtures/gen_schedules.py` recorded the factors of PyTorch's schedulers.
#[test]
fn as_pytorch_step_by_step() {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        schedule: Schedule,
        steps_per_epoch: u64,
        factors: Vec<f64>,
    }
    let golden: Golden = serde_json::from_str(include_str!("../../tests/fixtures/schedules.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in golden.cases {
        let found = factors(&case.schedule, case.factors.len() as u64, case.steps_per_epoch);
        assert_close(&found, &case.factors);
    }
}

const EVERY_KIND: [&str; 5] = [
    "kind = 'constant'",
    "kind = 'step'\nevery_epochs = 3\ngamma = 0.1",
    "kind = 'cosine'\nfinal_factor = 0.01",
    "kind = 'one_cycle'\npeak_at = 0.2\ninitial_factor = 0.2\nfinal_factor = 0.07",
    "kind = 'linear'\nfinal_factor = 0.3",
];

/// The warm-up reaches the rate that follows it, neighbouring steps have similar factors, and every factor is in [0, 1].
#[test]
fn no_jump_at_the_end_of_the_warmup() {
    for kind in EVERY_KIND {
        let schedule = schedule(&format!("{kind}\nwarmup_epochs = 5")).resolve(20);
        let factors = factors(&schedule, 25 * 100, 100);
        assert_eq!(factors[499], factors[500], "{kind}");
        assert!(factors.iter().all(|f| (0.0..=1.0).contains(f)), "{kind}");
        if !kind.contains("step") {
            assert!(factors.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.005), "{kind}");
        }
    }
}

#[test]
fn beyond_the_horizon_the_last_value_holds() {
    for (kind, last) in EVERY_KIND.into_iter().zip([None, None, Some(0.01), Some(0.07), Some(0.3)]) {
        let schedule = schedule(kind).resolve(7);
        assert_eq!(schedule.horizon_epochs().is_some(), last.is_some());
        let Some(last) = last else { continue };
        assert!(schedule.factor(7 * 13 - 1, 13) > last, "{kind}");
        assert_eq!([schedule.factor(7 * 13, 13), schedule.factor(u64::MAX, 13)], [last, last], "{kind}");
        // extended to 9 epochs: the horizon that the run was started with stays
        assert_eq!(schedule.clone().resolve(9), schedule);
    }
}

#[test]
fn without_a_horizon_it_is_endlessly_far_away() {
    assert_eq!(factors(&schedule("kind = 'linear'\nfinal_factor = 0"), 3, 1), [1.0; 3]);
}

#[test]
fn no_step_and_one_step() {
    for kind in EVERY_KIND {
        let schedule = schedule(kind).resolve(1);
        assert!(schedule.factor(0, 0).is_finite() && schedule.factor(3, 0).is_finite(), "{kind}");
        let first = if kind.contains("one_cycle") { 0.2 } else { 1.0 };
        assert_eq!(schedule.factor(0, 1), first, "{kind}");
    }
}

#[test]
fn only_a_constant_without_warmup_is_constant() {
    let constant = EVERY_KIND.map(|kind| schedule(kind).is_constant());
    assert_eq!(constant, [true, false, false, false, false]);
    assert!(!schedule("kind = 'constant'\nwarmup_epochs = 1").is_constant());
}

#[test]
fn a_recipe_written_out_reads_back() {
    for kind in EVERY_KIND {
        let written = schedule(kind).resolve(20);
        let text = toml::to_string(&written).unwrap();
        assert_eq!(read(&text).unwrap(), written, "{text}");
        assert_eq!(read(&toml::to_string(&schedule(kind)).unwrap()).unwrap(), schedule(kind));
    }
}

#[test]
fn a_table_that_cannot_be_read_names_the_key() {
    for (lines, named) in [
        ("kind = 'cosin'", "unknown variant `cosin`, expected one of `constant`"),
        ("warmup_epochs = 1", "missing field `kind`"),
        ("kind = 'constant'\nhorizon_epochs = 3", "unknown field `horizon_epochs`"),
        ("kind = 'step'\nevery_epochs = 3\ngama = 0.1", "unknown field `gama`"),
        ("kind = 'step'\nevery_epochs = 3", "missing field `gamma`"),
        (
            "kind = 'step'\nevery_epochs = 1.5\ngamma = 0.1",
            "every_epochs: invalid type: floating point `1.5`",
        ),
        ("kind = 'step'\nevery_epochs = -3\ngamma = 0.1", "every_epochs: invalid value: integer `-3`"),
        ("kind = 'linear'\nfinal_factor = 'low'", "final_factor: invalid type: string \"low\""),
        ("kind = 'linear'\nfinal_factor = 0\nhorizon_epochs = true", "horizon_epochs: invalid type: boolean"),
    ] {
        let message = read(lines).unwrap_err();
        assert!(message.contains(named), "{lines}\n{message}");
    }
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    for (lines, message) in [
        (
            "kind = 'constant'\nwarmup_epochs = -1",
            "schedule.warmup_epochs must be 0 or more, and finite, it is -1",
        ),
        (
            "kind = 'constant'\nwarmup_epochs = nan",
            "schedule.warmup_epochs must be 0 or more, and finite, it is NaN",
        ),
        ("kind = 'step'\nevery_epochs = 0\ngamma = 0.1", "schedule.every_epochs must be 1 or more, it is 0"),
        ("kind = 'step'\nevery_epochs = 1\ngamma = 0", "schedule.gamma must be positive, it is 0"),
        (
            "kind = 'cosine'\nfinal_factor = -0.1",
            "schedule.final_factor must be 0 or more, and finite, it is -0.1",
        ),
        (
            "kind = 'one_cycle'\npeak_at = 1.5\ninitial_factor = 0\nfinal_factor = 0",
            "schedule.peak_at must lie in (0, 1), it is 1.5",
        ),
        (
            "kind = 'one_cycle'\npeak_at = 0.5\ninitial_factor = inf\nfinal_factor = 0",
            "schedule.initial_factor must be 0 or more, and finite, it is inf",
        ),
        (
            "kind = 'linear'\nwarmup_epochs = 5\nhorizon_epochs = 3\nfinal_factor = 0",
            "schedule.horizon_epochs must be more than warmup_epochs, which is 5, it is 3",
        ),
    ] {
        assert_eq!(read(lines).unwrap().validate().unwrap_err().to_string(), message);
    }
    // a run shorter than its warm-up
    let too_short = schedule("kind = 'cosine'\nwarmup_epochs = 5\nfinal_factor = 0").resolve(5);
    assert!(too_short.validate().unwrap_err().to_string().starts_with("schedule.horizon_epochs must"));
}
