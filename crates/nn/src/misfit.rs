//! Describes in one sentence why tensors do not fit a network: how many are missing, of another shape, or unknown, with examples.
//! Also finds tensors with NaN or infinite values.

use std::collections::BTreeMap;
use std::fmt;

use crate::weights::Tensors;

/// Number of tensors of each kind that are named.
const N_EXAMPLES: usize = 2;

/// Longest name that is shown. Names come from a file, so they can be of any length.
const MAX_NAME_CHARS: usize = 100;

/// The differences between the tensors found and those expected. Displays as the end of a sentence: "12 of 40 tensors are missing
/// (…)".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfit {
    /// Number of expected tensors.
    pub n_expected: usize,
    /// Names of the missing tensors.
    pub missing: Vec<String>,
    /// One text per tensor of another shape, with both shapes.
    pub other_shape: Vec<String>,
    /// Names of the unexpected tensors.
    pub unexpected: Vec<String>,
}

impl Misfit {
    /// Compares names and shapes of `found` with those `expected`. Returns `None` if they fit.
    pub(crate) fn between(expected: &BTreeMap<String, Vec<usize>>, found: &Tensors) -> Option<Self> {
        let mut misfit = Self { n_expected: expected.len(), ..Self::default() };
        for (name, shape) in expected {
            match found.get(name) {
                None => misfit.missing.push(short(name)),
                Some(t) if t.shape != *shape => {
                    let text = format!("{} has the shape {:?}, expected {shape:?}", short(name), t.shape);
                    misfit.other_shape.push(text);
                }
                Some(t) if t.data.len() != shape.iter().product::<usize>() => {
                    let n = t.data.len();
                    let text =
                        format!("{} has {n} elements, which does not match the shape {shape:?}", short(name));
                    misfit.other_shape.push(text);
                }
                Some(_) => {}
            }
        }
        misfit.unexpected =
            found.keys().filter(|name| !expected.contains_key(*name)).map(|name| short(name)).collect();
        let fits = misfit.missing.is_empty() && misfit.other_shape.is_empty() && misfit.unexpected.is_empty();
        (!fits).then_some(misfit)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match &self.missing[..] {
            [] => {}
            [name] => parts.push(format!("{name} is missing")),
            names => parts.push(format!(
                "{} of {} tensors are missing ({})",
                names.len(),
                self.n_expected,
                examples(names, ", ")
            )),
        }
        match &self.other_shape[..] {
            [] => {}
            [text] => parts.push(text.clone()),
            texts => parts.push(format!(
                "{} tensors have a different shape ({})",
                texts.len(),
                examples(texts, "; ")
            )),
        }
        match &self.unexpected[..] {
            [] => {}
            [name] => parts.push(format!("{name} is unexpected")),
            names => {
                parts.push(format!("{} tensors are unexpected ({})", names.len(), examples(names, ", ")))
            }
        }
        f.write_str(&parts.join(", "))
    }
}

/// Joins the first texts of a list.
fn examples(texts: &[String], between: &str) -> String {
    let more = if texts.len() > N_EXAMPLES { format!("{between}…") } else { String::new() };
    format!("{}{more}", texts[..texts.len().min(N_EXAMPLES)].join(between))
}

/// Shortens a name, and replaces characters that are not safe to print.
fn short(name: &str) -> String {
    let name = tallow_core::shown(name);
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into_owned(),
    }
}

/// A tensor with NaN or infinite values. Displays as "1 NaN or infinite number of 432 in the tensor conv1.weight".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub tensor: String,
    /// Number of its values that are NaN or infinite.
    pub n: usize,
    /// Number of all its values.
    pub n_numbers: usize,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, n, n_numbers } = self;
        let numbers = if *n == 1 { "number" } else { "numbers" };
        write!(f, "{n} NaN or infinite {numbers} of {n_numbers} in the tensor {tensor}")
    }
}

/// Returns the first tensor, by name, with a value that is NaN or infinite. Infinite running variances are allowed.
pub fn first_non_finite(tensors: &Tensors) -> Option<NonFinite> {
    tensors.iter().find_map(|(name, tensor)| {
        // an infinite variance turns its channel off, and is common in weights that were stored in f16
        let may_be_endless = name.ends_with("running_var");
        let is_good = |v: &f32| v.is_finite() || (may_be_endless && *v == f32::INFINITY);
        let n = tensor.data.iter().filter(|v| !is_good(v)).count();
        (n > 0).then(|| NonFinite { tensor: short(name), n, n_numbers: tensor.data.len() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::HostTensor;

    fn of(shapes: &[(String, Vec<usize>)]) -> Tensors {
        let tensor =
            |shape: &Vec<usize>| HostTensor { shape: shape.clone(), data: vec![0.0; shape.iter().product()] };
        shapes.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect()
    }

    fn layers(names: std::ops::Range<usize>, width: usize) -> Vec<(String, Vec<usize>)> {
        names.map(|i| (format!("layer{i}.weight"), vec![width, 3])).collect()
    }

    #[test]
    fn a_single_tensor_is_named_and_many_are_counted() {
        let expected: BTreeMap<_, _> = layers(0..8, 4).into_iter().collect();
        let message = |found: Vec<(String, Vec<usize>)>| {
            Misfit::between(&expected, &of(&found)).map(|misfit| misfit.to_string())
        };
        assert_eq!(message(layers(0..8, 4)), None);
        assert_eq!(message(layers(1..8, 4)).unwrap(), "layer0.weight is missing");
        let mut mixed = layers(3..6, 4);
        mixed.extend(layers(6..8, 5));
        mixed.extend(layers(10..13, 4));
        assert_eq!(
            message(mixed).unwrap(),
            "3 of 8 tensors are missing (layer0.weight, layer1.weight, …), 2 tensors have a different shape (layer6.weight \
             has the shape [5, 3], expected [4, 3]; layer7.weight has the shape [5, 3], expected [4, 3]), 3 tensors \
             are unexpected (layer10.weight, layer11.weight, …)"
        );
    }

    /// 500 tensors, as in a large network, with long names.
    #[test]
    fn the_sentence_stays_short() {
        let expected: BTreeMap<_, _> = layers(0..500, 4).into_iter().collect();
        let strange: Vec<_> =
            (0..500).map(|i| (format!("\u{1b}{}{i}", "x".repeat(5_000)), vec![1])).collect();
        let text = Misfit::between(&expected, &of(&strange)).unwrap().to_string();
        assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
        assert!(text.starts_with("500 of 500 tensors are missing (layer0.weight, "), "{text}");
    }

    #[test]
    fn numbers_that_are_none_are_found() {
        let mut tensors = of(&layers(0..3, 2));
        assert_eq!(first_non_finite(&tensors), None);
        tensors.get_mut("layer1.weight").unwrap().data[4] = f32::NEG_INFINITY;
        tensors.get_mut("layer2.weight").unwrap().data[0] = f32::NAN;
        let variance = HostTensor { shape: vec![2], data: vec![f32::INFINITY, 1.0] };
        let mut endless = Tensors::from_iter([("bn1.running_var".to_owned(), variance)]);
        assert_eq!(first_non_finite(&endless), None);
        endless.get_mut("bn1.running_var").unwrap().data[1] = f32::NAN;
        assert!(first_non_finite(&endless).is_some());
        let text = first_non_finite(&tensors).unwrap().to_string();
        assert_eq!(text, "1 NaN or infinite number of 6 in the tensor layer1.weight");
    }
}
