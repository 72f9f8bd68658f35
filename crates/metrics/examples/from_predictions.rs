//! From log-probabilities to the figures: `cargo run -p tallow-metrics --example from_predictions`.
#![allow(clippy::print_stdout)]

use tallow_metrics::{
    Bands, ClassificationReport, ConfusionMatrix, Foreign, MetricsError, Predictions, top_k_accuracy,
    wilson_interval,
};

fn main() -> Result<(), MetricsError> {
    let names = ["cat", "dog", "ship"].map(Foreign::from);
    // the probabilities of cat, dog and ship that a model gave to each of six images
    let probabilities: [[f32; 3]; 6] = [
        [0.80, 0.15, 0.05],
        [0.40, 0.55, 0.05],
        [0.30, 0.60, 0.10],
        [0.20, 0.70, 0.10],
        [0.05, 0.05, 0.90],
        [0.10, 0.10, 0.80],
    ];
    let log_probs = probabilities.iter().flatten().map(|p| p.ln()).collect();
    let predictions = Predictions::new(3, vec![0, 0, 1, 1, 2, 2], log_probs, (0..6).collect())?;

    let matrix = ConfusionMatrix::from_predictions(&predictions);
    print!("{}", ClassificationReport::new(&matrix).to_text(&names)?);

    let [low, high] = wilson_interval(matrix.n_correct(), matrix.n(), 0.95)?;
    println!("\n95 % of such intervals hold the true accuracy: {low:.3} to {high:.3}");
    if let (Some(nll), Some(top_2)) = (predictions.mean_nll(), top_k_accuracy(&predictions, 2)) {
        println!("mean negative log-likelihood {nll:.4}, accuracy among the best two {top_2:.2}\n");
    }

    let bands = Bands::default();
    for (class, name) in names.iter().enumerate() {
        if let Some(found) = bands.of_class(&matrix, class) {
            println!("{}: {}", name.shown(), bands.sentence(found.band));
        }
    }
    Ok(())
}
