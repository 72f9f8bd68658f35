//! Writes the nodes before and after the network: from bytes to normalised maps, the views, and from logits to probabilities.

use crate::builder::{Attribute, Builder};
use crate::{Classifier, INPUT, LOGITS, PROBABILITIES, View, proto};

/// Writes `(byte / 255 - mean) / std` as maps (N, 3, H, W). Each operation is in f32, as in training.
pub(crate) fn normalised(builder: &mut Builder, classifier: &Classifier<'_>) -> String {
    let white = builder.float("input/white", 255.0);
    let mean = builder.floats("input/mean", &[1, 3, 1, 1], &classifier.mean);
    let std = builder.floats("input/std", &[1, 3, 1, 1], &classifier.std);
    let to = Attribute::Int("to", i64::from(proto::FLOAT));
    let levels = builder.node("input/levels", "Cast", &[INPUT], &[to]);
    let perm = Attribute::Ints("perm", vec![0, 3, 1, 2]);
    let maps = builder.node("input/maps", "Transpose", &[&levels], &[perm]);
    let shares = builder.node("input/shares", "Div", &[&maps, &white], &[]);
    let centred = builder.node("input/centred", "Sub", &[&shares, &mean], &[]);
    builder.node("input/normalised", "Div", &[&centred, &std], &[])
}

/// Writes the views of all images, view by view: (V * N, 3, H, W). Without views, returns the images unchanged.
pub(crate) fn views(builder: &mut Builder, images: &str, views: &[View]) -> String {
    let mut seen = Vec::with_capacity(views.len());
    for (number, view) in views.iter().enumerate() {
        let name = format!("view{number}");
        let rows = gathered(builder, &format!("{name}/rows"), images, &view.rows, 2);
        seen.push(gathered(builder, &format!("{name}/columns"), &rows, &view.columns, 3));
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    match seen.is_empty() {
        true => images.to_owned(),
        false => builder.node("views", "Concat", &seen, &[Attribute::Int("axis", 0)]),
    }
}

/// Writes a gather of the indices `order` along an axis. If they are 0, 1, 2, ..., returns the tensor unchanged.
fn gathered(builder: &mut Builder, name: &str, x: &str, order: &[usize], axis: i64) -> String {
    if order.iter().enumerate().all(|(place, &from)| place == from) {
        return x.to_owned();
    }
    let order: Vec<i64> = order.iter().map(|&from| from as i64).collect();
    let order = builder.ints(&format!("{name}/order"), &order);
    builder.node(name, "Gather", &[x, &order], &[Attribute::Int("axis", axis)])
}

/// Writes the outputs: the weighted mean of the views' logits, and the softmax of this mean divided by the temperature.
pub(crate) fn answers(builder: &mut Builder, network: &str, n_classes: usize, classifier: &Classifier<'_>) {
    match classifier.views {
        [] => builder.named_node(LOGITS, "Identity", &[network], &[]),
        views => {
            let sizes = builder.ints("views/sizes", &[views.len() as i64, -1, n_classes as i64]);
            let apart = builder.node("views/logits", "Reshape", &[network, &sizes], &[]);
            let weights: Vec<f32> = views.iter().map(|view| view.weight).collect();
            let weights = builder.floats("views/weights", &[views.len(), 1, 1], &weights);
            let weighed = builder.node("views/weighed", "Mul", &[&apart, &weights], &[]);
            let axis = builder.ints("views/axis", &[0]);
            builder.named_node(LOGITS, "ReduceSum", &[&weighed, &axis], &[Attribute::Int("keepdims", 0)]);
        }
    }
    let temperature = builder.float("temperature", classifier.temperature as f32);
    let calibrated = builder.node("calibrated", "Div", &[LOGITS, &temperature], &[]);
    builder.named_node(PROBABILITIES, "Softmax", &[&calibrated], &[Attribute::Int("axis", -1)]);
}
