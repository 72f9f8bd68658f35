//! What keeps tensors from being a network's, said in one sentence: how many are missing, of another shape, or unknown, with
//! examples; and tensors whose numbers are none.

use std::collections::BTreeMap;
use std::fmt;

use crate::weights::Tensors;

/// So many tensors of a kind are named.
const N_EXAMPLES: usize = 2;

/// No name is shown longer: they are a file's, and may be anything.
const MAX_NAME_CHARS: usize = 100;

/// Why tensors are not those that are expected. Displays as a sentence without its subject: "12 of 40 tensors are missing
/// (…)".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfit {
    /// How many tensors are expected.
    pub n_expected: usize,
    /// The names of those that are not there.
    pub missing: Vec<String>,
    /// One entry per tensor of another shape, which says both.
    pub other_shape: Vec<String>,
    /// The names of those that nobody expects.
    pub unexpected: Vec<String>,
}

impl Misfit {
    /// Compares `found` with what is `expected`, names and shapes; none if they fit.
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
                    let text = format!("{} has {n} elements, too many or too few for {shape:?}", short(name));
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
            texts => parts.push(format!("{} have another shape ({})", texts.len(), examples(texts, "; "))),
        }
        match &self.unexpected[..] {
            [] => {}
            [name] => parts.push(format!("{name} is not part of it")),
            names => parts.push(format!("{} are not part of it ({})", names.len(), examples(names, ", "))),
        }
        f.write_str(&parts.join(", "))
    }
}

/// The first of many.
fn examples(texts: &[String], between: &str) -> String {
    let more = if texts.len() > N_EXAMPLES { format!("{between}…") } else { String::new() };
    format!("{}{more}", texts[..texts.len().min(N_EXAMPLES)].join(between))
}

/// A name that may be shown.
fn short(name: &str) -> String {
    let name = tallow_core::shown(name);
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into_owned(),
    }
}

/// A tensor with numbers that are none. Displays as "1 NaN or infinite number of 432 in the tensor conv1.weight".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub tensor: String,
    /// How many of its numbers are NaN or infinite.
    pub n: usize,
    /// How many numbers it has.
    pub n_numbers: usize,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, n, n_numbers } = self;
        let numbers = if *n == 1 { "number" } else { "numbers" };
        write!(f, "{n} NaN or infinite {numbers} of {n_numbers} in the tensor {tensor}")
    }
}

/// The first tensor, by name, with a number that is NaN or infinite.
pub fn first_non_finite(tensors: &Tensors) -> Option<NonFinite> {
    tensors.iter().find_map(|(name, tensor)| {
        // a variance that is endless turns its channel off, and is common where weights went through f16
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
            "3 of 8 tensors are missing (layer0.weight, layer1.weight, …), 2 have another shape (layer6.weight has the \
             shape [5, 3], expected [4, 3]; layer7.weight has the shape [5, 3], expected [4, 3]), 3 are not part of it \
             (layer10.weight, layer11.weight, …)"
        );
    }

    /// As many tensors as a large network has, with names of any length.
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
