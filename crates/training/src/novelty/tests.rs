//! New pictures are told from known ones, and a file gives back the same bits.

use tallow_core::rng::{Purpose, Stream};
use tallow_metrics::{FALSE_ALARM_RATE, auroc};

use super::Novelty;
use super::relative_mahalanobis::RelativeMahalanobis;

const WIDTH: usize = 40;

/// Returns rows around the centres of `classes`, in turn, with a large common part along some features.
fn rows(n: usize, classes: std::ops::Range<u64>, draw: u64) -> (Vec<f32>, Vec<u32>) {
    let mut stream = Stream::new(draw, Purpose::Test, 1, classes.start);
    let n_classes = classes.end - classes.start;
    let mut rows = Vec::new();
    for i in 0..n as u64 {
        let mut centre = Stream::new(0, Purpose::Test, 0, classes.start + i % n_classes);
        let common = stream.unit_f32() * 40.0; // large in all pictures alike
        rows.extend((0..WIDTH).map(|feature| {
            let place = centre.unit_f32() - 0.5;
            let noise = (0..4).map(|_| stream.unit_f32() - 0.5).sum::<f32>() * 0.5;
            place + noise + if feature % 3 == 0 { common } else { 0.0 } + 5.0
        }));
    }
    (rows, (0..n as u64).map(|i| (i % n_classes) as u32).collect())
}

fn fitted(n: usize) -> RelativeMahalanobis {
    let (mut features, classes) = rows(n, 0..5, 1);
    RelativeMahalanobis::fit(&mut features, &classes, 5).unwrap()
}

#[test]
fn what_is_new_stands_out() {
    let score = fitted(400);
    let (known, new) = (score.scores(&rows(300, 0..5, 2).0), score.scores(&rows(300, 5..8, 3).0));
    let area = auroc(&known, &new).unwrap();
    assert!(area > 0.95, "{area}");
    let novelty = Novelty::new(score, known);
    let alarms = |features: &[f32]| {
        let typicalities = novelty.typicalities(features);
        typicalities.iter().filter(|t| **t <= FALSE_ALARM_RATE).count() as f64 / typicalities.len() as f64
    };
    let (of_known, of_new) = (alarms(&rows(2000, 0..5, 4).0), alarms(&rows(300, 5..8, 5).0));
    assert!((0.02..0.09).contains(&of_known) && of_new > 0.7, "{of_known} {of_new}");
    // numbers far from any picture
    assert!(novelty.typicalities(&[1e4; WIDTH])[0] < 0.01);
}

/// Computes the formula with all directions and both covariances in full.
#[test]
fn the_score_is_the_formula() {
    let (n, n_classes) = (60, 5);
    let (features, classes) = rows(n, 0..5, 1);
    let row =
        |i: usize| -> Vec<f64> { features[i * WIDTH..][..WIDTH].iter().map(|v| f64::from(*v)).collect() };
    let mean_of = |wanted: &dyn Fn(usize) -> bool| -> Vec<f64> {
        let chosen: Vec<usize> = (0..n).filter(|i| wanted(*i)).collect();
        (0..WIDTH).map(|f| chosen.iter().map(|&i| row(i)[f]).sum::<f64>() / chosen.len() as f64).collect()
    };
    let mean = mean_of(&|_| true);
    let std: Vec<f64> = (0..WIDTH)
        .map(|f| ((0..n).map(|i| (row(i)[f] - mean[f]).powi(2)).sum::<f64>() / n as f64).sqrt())
        .collect();
    let scaled = |x: &[f64]| -> Vec<f64> { (0..WIDTH).map(|f| (x[f] - mean[f]) / std[f]).collect() };
    let centres: Vec<Vec<f64>> =
        (0..n_classes).map(|c| scaled(&mean_of(&|i| classes[i] as usize == c))).collect();
    let covariance = |about: &dyn Fn(usize) -> Vec<f64>| -> Vec<f64> {
        let mut sum = vec![0.0; WIDTH * WIDTH];
        for i in 0..n {
            let x: Vec<f64> = scaled(&row(i)).iter().zip(about(i)).map(|(a, b)| a - b).collect();
            (0..WIDTH * WIDTH).for_each(|at| sum[at] += x[at / WIDTH] * x[at % WIDTH] / n as f64);
        }
        let sphere = (0..WIDTH).map(|f| sum[f * WIDTH + f]).sum::<f64>() / WIDTH as f64;
        let shrinkage = WIDTH as f64 / (n + WIDTH) as f64;
        sum.iter_mut().for_each(|v| *v *= 1.0 - shrinkage);
        (0..WIDTH).for_each(|f| sum[f * WIDTH + f] += shrinkage * sphere);
        sum
    };
    let within =
        super::triangle::inverse_cholesky(&covariance(&|i| centres[classes[i] as usize].clone()), WIDTH);
    let total = super::triangle::inverse_cholesky(&covariance(&|_| vec![0.0; WIDTH]), WIDTH);
    let length = |turn: &[f64], x: &[f64]| -> f64 {
        turn.chunks_exact(WIDTH).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>().powi(2)).sum()
    };
    let expected = |x: &[f64]| {
        let x = scaled(x);
        let of_class = |centre: &Vec<f64>| {
            length(&within, &x.iter().zip(centre).map(|(a, b)| a - b).collect::<Vec<_>>())
        };
        centres.iter().map(of_class).fold(f64::INFINITY, f64::min) - length(&total, &x)
    };
    let score = RelativeMahalanobis::fit(&mut features.clone(), &classes, n_classes).unwrap();
    let others = rows(20, 0..8, 9).0;
    for (i, score) in score.scores(&others).into_iter().enumerate() {
        let x: Vec<f64> = others[i * WIDTH..][..WIDTH].iter().map(|v| f64::from(*v)).collect();
        let expected = expected(&x);
        assert!((f64::from(score) - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{score} {expected}");
    }
}

#[test]
fn a_picture_has_the_same_bits_alone_and_among_others() {
    let (score, (features, _)) = (fitted(200), rows(70, 0..8, 6));
    let alone: Vec<f32> = features.chunks_exact(WIDTH).flat_map(|row| score.scores(row)).collect();
    assert_eq!(score.scores(&features), alone);
}

#[test]
fn tensors_hold_all_of_it() {
    let novelty = Novelty::new(fitted(200), (0..2500).map(|i| i as f32).collect());
    assert_eq!(novelty.known.len(), super::MAX_KNOWN);
    assert_eq!((novelty.known[0], novelty.known[999]), (1.0, 2497.0), "ends and middle are held");
    let tensors = novelty.to_tensors();
    assert_eq!(Novelty::from_tensors(tensors.clone()), Some(novelty));
    for name in tensors.keys() {
        let mut lacking = tensors.clone();
        lacking.remove(name);
        assert_eq!(Novelty::from_tensors(lacking), None, "without {name}");
        let mut other = tensors.clone();
        other.get_mut(name).unwrap().shape.push(2);
        if name != super::KNOWN {
            assert_eq!(Novelty::from_tensors(other), None, "{name} of another shape");
        }
    }
}

#[test]
fn what_does_not_differ_is_not_fitted() {
    assert_eq!(RelativeMahalanobis::fit(&mut [1.0; 60], &[0, 1, 0, 1, 0, 1], 2), None);
    assert_eq!(RelativeMahalanobis::fit(&mut [1.0, 2.0], &[0], 1), None);
}
