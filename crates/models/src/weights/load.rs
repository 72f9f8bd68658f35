//! Reads a safetensors file, and loads its tensors into a network's parameters.

use std::fmt;
use std::path::Path;

use tallow_core::files;
use tallow_nn::{NnError, ParamStore, Tensors};

use super::error::WeightsError;

/// Largest file that is read, in bytes. The largest backbones in use with a trained head have about 5 GB.
pub(super) const MAX_MODEL_BYTES: u64 = 8 << 30;

/// Name of the token that replaces hidden patches in the pretraining of a vision transformer. It is not used afterwards.
const MASK_TOKEN: &str = "mask_token";

/// Returns the tensors of a safetensors file in f16, bf16 or f32 as f32, without PyTorch's `num_batches_tracked` and without
/// `mask_token`, which only pretraining uses.
///
/// The file is read, not mapped into memory, so it may change or be deleted afterwards.
///
/// # Errors
/// If the file cannot be read, is damaged, or holds another type, or if a tensor holds NaN or infinity. The message names the
/// file, and the tensor in the last case.
pub fn read(path: &Path) -> Result<Tensors, WeightsError> {
    let bytes = files::read_at_most(path, MAX_MODEL_BYTES)?;
    match tallow_nn::decode(&bytes) {
        Ok((mut tensors, _)) => {
            tensors.remove(MASK_TOKEN);
            match tallow_nn::first_non_finite(&tensors) {
                Some(broken) => Err(WeightsError::NonFinite { path: path.to_owned(), broken }),
                None => Ok(tensors),
            }
        }
        Err(NnError::Exhausted(exhausted)) => {
            Err(WeightsError::Exhausted { path: path.to_owned(), exhausted })
        }
        Err(source) => Err(WeightsError::Damaged { path: path.to_owned(), source }),
    }
}

/// The result of [`load_into`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of tensors loaded.
    pub n_loaded: usize,
    /// Set if the classifier of the file has another width. The network's classifier is then unchanged.
    pub replaced_classifier: Option<WidthChange>,
}

/// A classifier that was not loaded, because its number of classes differs. Displays as a sentence for users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WidthChange {
    /// The layer's name.
    pub classifier: String,
    /// Classes in the file; 0: the file has no classifier.
    pub n_file: usize,
    /// Classes in the network; 0: the network has no classifier, or a classifier of several layers.
    pub n_network: usize,
}

impl fmt::Display for WidthChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { classifier, n_file, n_network } = self;
        match (n_file, n_network) {
            (0, _) => write!(
                f,
                "the weights have no classifier {classifier}: the network's classifier keeps its initial \
                 weights"
            ),
            (_, 0) => write!(f, "the network has no classifier: {classifier} of the weights is left out"),
            _ => write!(
                f,
                "the classifier {classifier} of the weights has {n_file} classes, the network's classifier \
                 has {n_network}: it keeps its initial weights"
            ),
        }
    }
}

/// Overwrites all parameters and buffers with `tensors`. If any tensor does not fit, it changes nothing.
///
/// `classifier` names the last layer, such as `fc` in torchvision's ResNets. The network's classifier stays unchanged if the
/// number of classes differs between file and network, or if only one of the two has a classifier.
///
/// # Errors
/// [`tallow_nn::NnError::Weights`] states how many tensors are missing, extra or of another shape, with examples.
pub fn load_into(
    params: &ParamStore,
    mut tensors: Tensors,
    classifier: &str,
) -> Result<Report, WeightsError> {
    let n_tensors = tensors.len();
    let change = width_change(params, &tensors, classifier);
    if change.is_some() {
        let prefix = format!("{classifier}."); // the network's classifier may have several layers
        tensors.retain(|name, _| !name.starts_with(&prefix));
        let n_loaded = tensors.len();
        let kept = params.to_tensors()?.into_iter().filter(|(name, _)| name.starts_with(&prefix));
        tensors.extend(kept);
        params.load_tensors(&tensors)?;
        return Ok(Report { n_loaded, replaced_classifier: change });
    }
    params.load_tensors(&tensors)?;
    Ok(Report { n_loaded: n_tensors, replaced_classifier: None })
}

/// Returns the widths of the two classifiers if nothing but the width differs. A classifier without weight or without bias, or
/// with another number of inputs, is a misfit like any other tensor.
fn width_change(params: &ParamStore, tensors: &Tensors, classifier: &str) -> Option<WidthChange> {
    let shapes_of = |shape: &dyn Fn(&str) -> Option<Vec<usize>>| {
        (shape(&format!("{classifier}.weight")), shape(&format!("{classifier}.bias")))
    };
    let prefix = format!("{classifier}.");
    let file_has_none = !tensors.keys().any(|name| name.starts_with(&prefix));
    let file = shapes_of(&|name| tensors.get(name).map(|t| t.shape.clone()));
    let network = shapes_of(&|name| params.get(name).map(|p| p.shape().to_vec()));
    let (n_file, file_features) = dense(&file)?;
    let (n_network, network_features) = dense(&network)?;
    let same_features = n_file == 0 || n_network == 0 || file_features == network_features;
    let change = WidthChange { classifier: classifier.to_owned(), n_file, n_network };
    let starts_anew = file_has_none && params.params().any(|param| param.name().starts_with(&prefix));
    (starts_anew || n_file != n_network && same_features).then_some(change)
}

/// Returns outputs and inputs of a dense layer with these shapes of weight and bias; zeros if both are absent, and `None` if the
/// shapes do not fit each other.
fn dense(shapes: &(Option<Vec<usize>>, Option<Vec<usize>>)) -> Option<(usize, usize)> {
    match (shapes.0.as_deref(), shapes.1.as_deref()) {
        (None, None) => Some((0, 0)),
        (Some(&[n, features]), Some(&[n_bias])) if n == n_bias => Some((n, features)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tallow_nn::{BatchNorm2d, BatchNormConfig, HostTensor, Linear};

    use super::*;

    /// Returns a batch norm `bn1` of 3 channels and, if `n_classes` is not 0, a classifier `fc` with 3 inputs.
    fn network(n_classes: usize, seed: u64) -> ParamStore {
        let mut store = ParamStore::new(seed, &tallow_nn::device("cpu").unwrap());
        BatchNorm2d::new(&mut store.root().sub("bn1"), 3, BatchNormConfig::default()).unwrap();
        if n_classes > 0 {
            Linear::new(&mut store.root().sub("fc"), 3, n_classes, true).unwrap();
        }
        store
    }

    /// Returns weights that differ from all initial weights.
    fn trained(n_classes: usize) -> Tensors {
        let mut tensors = network(n_classes, 1).to_tensors().unwrap();
        tensors.values_mut().flat_map(|t| &mut t.data).for_each(|v| *v += 0.5);
        tensors
    }

    fn without(mut tensors: Tensors, name: &str) -> Tensors {
        tensors.remove(name).unwrap();
        tensors
    }

    #[test]
    fn weights_that_fit_are_loaded_whole() {
        let store = network(10, 0);
        let report = load_into(&store, trained(10), "fc").unwrap();
        assert_eq!(report, Report { n_loaded: 6, replaced_classifier: None });
        assert_eq!(store.to_tensors().unwrap(), trained(10));
    }

    #[test]
    fn a_classifier_of_another_width_is_left_as_it_was_and_that_is_said() {
        for (n_file, n_network, says) in [
            (1000, 10, "has 1000 classes, the network's classifier has 10"),
            (0, 10, "have no classifier"),
            (10, 0, "left out"),
        ] {
            let store = network(n_network, 0);
            let before = store.to_tensors().unwrap();
            let report = load_into(&store, trained(n_file), "fc").unwrap();
            let change = report.replaced_classifier.unwrap();
            assert_eq!((change.n_file, change.n_network, report.n_loaded), (n_file, n_network, 4));
            assert!(change.to_string().contains(says), "{change}");
            for (name, tensor) in store.to_tensors().unwrap() {
                let expected = if name.starts_with("fc.") { &before[&name] } else { &trained(n_file)[&name] };
                assert_eq!(tensor, *expected, "{name}");
            }
        }
    }

    #[test]
    fn a_classifier_of_several_layers_starts_anew_where_the_file_has_none() {
        let mut store = network(0, 0);
        Linear::new(&mut store.root().sub("fc").sub(1), 3, 10, true).unwrap();
        let before = store.to_tensors().unwrap();
        let report = load_into(&store, trained(0), "fc").unwrap();
        assert_eq!(report.n_loaded, 4);
        assert!(
            report
                .replaced_classifier
                .unwrap()
                .to_string()
                .contains("the network's classifier keeps its initial weights")
        );
        let after = store.to_tensors().unwrap();
        assert_eq!(after["fc.1.weight"], before["fc.1.weight"]);
        assert_eq!(after["bn1.weight"], trained(0)["bn1.weight"]);
        // weight without bias is a misfit
        let mut half = trained(0);
        half.insert("fc.1.weight".to_owned(), before["fc.1.weight"].clone());
        assert!(load_into(&store, half, "fc").unwrap_err().to_string().contains("fc.1.bias is missing"));
    }

    #[test]
    fn everything_that_does_not_fit_is_named_and_nothing_is_changed() {
        let mut wrong = without(trained(1000), "bn1.running_mean");
        wrong.get_mut("bn1.bias").unwrap().shape = vec![1, 3];
        wrong.insert("conv1.weight".to_owned(), HostTensor { shape: vec![1], data: vec![0.0] });
        let store = network(10, 0);
        let message = load_into(&store, wrong, "fc").unwrap_err().to_string();
        for part in
            ["bn1.running_mean is missing", "bn1.bias has the shape [1, 3]", "conv1.weight is unexpected"]
        {
            assert!(message.contains(part), "{message}");
        }
        assert!(!message.contains("fc."), "{message}");
        assert_eq!(store.to_tensors().unwrap(), network(10, 0).to_tensors().unwrap());
    }

    #[test]
    fn half_a_classifier_or_one_on_other_features_is_a_misfit() {
        let message = |tensors| load_into(&network(10, 0), tensors, "fc").unwrap_err().to_string();
        assert!(message(without(trained(1000), "fc.bias")).contains("fc.bias is missing"));
        let mut other = trained(1000);
        other.insert("fc.weight".to_owned(), HostTensor { shape: vec![1000, 4], data: vec![0.0; 4000] });
        assert!(message(other).contains("fc.weight has the shape [1000, 4], expected [10, 3]"));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let bytes = tallow_nn::encode(&trained(10), "").unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), trained(10));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("model.safetensors") && message.contains("damaged"), "{message}");
    }
}
