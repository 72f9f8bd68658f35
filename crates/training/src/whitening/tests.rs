//! Whitened patches have the variance 1 in every direction; filters are the same on any number of threads.

use tallow_dataset::load_sample;
use tallow_nn::{Conv2d, Conv2dConfig, Device, Padding, ParamStore, Tensors};

use super::*;

/// A model with a convolution of `c_out` filters of 2 x 2 pixels.
fn model(c_out: usize) -> Model {
    let mut params = ParamStore::new(3, &Device::Cpu);
    let config = Conv2dConfig { padding: Padding::Symmetric(0), ..Conv2dConfig::same(2) };
    let conv = Conv2d::new(&mut params.root().sub("conv"), 3, c_out, config).unwrap();
    Model { patch_filters: Some("conv.weight".into()), ..Model::new(conv, params) }
}

fn part() -> (Part, Input) {
    let data = load_sample().unwrap();
    (Part::whole(&data.train), Input { preprocess: None, normalization: data.normalization })
}

fn whitened(whitening: Whitening, n_threads: usize) -> (Tensors, String) {
    let (part, input) = part();
    let model = model(24);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let told = pool.install(|| whitening.apply(&model, &part, input)).unwrap();
    (model.params.to_tensors().unwrap(), told)
}

#[test]
fn what_the_filters_make_of_patches_has_variance_1_and_no_correlation() {
    let whitening = Whitening { images: 100, eps: 1e-9 };
    let (tensors, told) = whitened(whitening, 2);
    assert_eq!(
        told,
        "conv.weight is whitened: its filters are computed from the 2 x 2 patches of 100 training images"
    );
    let filters: Vec<f64> = tensors["conv.weight"].data.iter().map(|&x| f64::from(x)).collect();
    let (part, input) = part();
    let part = Part::new(&part.set, evenly(&part.indices, 100));
    let moments = Patches { c_in: 3, k_h: 2, k_w: 2 }.moments(&Feed::Images { part, input }).unwrap();
    for i in 0..12 {
        assert!((0..12).all(|k| filters[i * 12 + k] == -filters[(12 + i) * 12 + k]), "and its opposite");
        for j in 0..12 {
            let product: f64 =
                (0..144).map(|k| filters[i * 12 + k / 12] * moments[k] * filters[j * 12 + k % 12]).sum();
            assert!((product - f64::from(u8::from(i == j))).abs() < 1e-4, "{i}, {j}: {product}");
        }
    }
    assert_eq!(tensors["conv.bias"], model(24).params.to_tensors().unwrap()["conv.bias"], "it stays");
}

#[test]
fn any_number_of_threads_gives_the_same_bits_and_eps_tells() {
    let whitening = Whitening { images: 70, eps: 5e-4 };
    assert_eq!(whitened(whitening, 1), whitened(whitening, 3));
    assert_ne!(whitened(whitening, 1), whitened(Whitening { eps: 5e-3, ..whitening }, 1));
}

/// Compares the moments of one image with values by hand: patches in rows, elements by channel, row, column.
#[test]
fn moments_of_an_image() {
    let image = [1.0, 2.0, 3.0, /**/ 4.0, 5.0, 6.0];
    let patches = Patches { c_in: 1, k_h: 2, k_w: 2 };
    let sum = patches.sum_of(&image, 3);
    let of = |i: usize, j: usize| {
        let (a, b) = ([1.0, 2.0, 4.0, 5.0], [2.0, 3.0, 5.0, 6.0]);
        a[i] * a[j] + b[i] * b[j]
    };
    assert!((0..16).all(|k| sum[k] == of(k / 4, k % 4)), "{sum:?}");
    let two_channels = Patches { c_in: 2, k_h: 1, k_w: 1 }.sum_of(&image, 3);
    assert_eq!(two_channels, [1.0 + 9.0 + 25.0, 2.0 + 12.0 + 30.0, 44.0, 4.0 + 16.0 + 36.0]);
}

#[test]
fn images_are_taken_from_all() {
    assert_eq!(evenly(&[5, 6, 7, 8, 9], 2), [5, 7]);
    assert_eq!(evenly(&[5, 6, 7], 3), [5, 6, 7]);
}

#[test]
fn a_model_without_such_filters_is_refused() {
    let (part, input) = part();
    let error =
        |model: &Model| Whitening::default().apply(model, &part, input.clone()).unwrap_err().to_string();
    assert!(error(&Model { patch_filters: None, ..model(24) }).contains("leave the table out"));
    assert!(error(&model(20)).contains("has 20 filters, but patches have 12 directions"));
    let frozen = model(24);
    frozen.params.freeze(|_| true);
    assert!(error(&frozen).contains("does not learn"));
    assert!(Whitening { images: 0, eps: 1.0 }.validate().is_err());
    assert!(Whitening { images: 1, eps: 0.0 }.validate().is_err());
}
