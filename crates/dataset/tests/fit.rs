//! Fitting pictures to the input size, compared with Pillow and torchvision (goldens), and for extreme shapes.

use proptest::prelude::*;
use tallow_dataset::{Fit, Fitter, Interpolation, Preprocess};

#[derive(serde::Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    kind: String,
    shape: [usize; 3],
    preprocess: Preprocess,
    out: String,
}

impl Case {
    fn expected(&self) -> Vec<u8> {
        let digits = self.out.as_bytes().chunks(2);
        digits.map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 16).unwrap()).collect()
    }
}

/// The pictures of `fixtures/gen_fit.py`.
fn picture(kind: &str, [height, width, channels]: [usize; 3]) -> Vec<u8> {
    let noise = |i: usize| {
        let x = (i as u32 + 1).wrapping_mul(2_654_435_761);
        ((x ^ (x >> 15)).wrapping_mul(2_246_822_519) >> 24) as u8
    };
    let wave = |i: usize| {
        let (row, column, channel) = (i / channels / width, i / channels % width, i % channels);
        let phase = (row * 7 + column * 11 + channel * 90) % 510;
        phase.min(509 - phase) as u8
    };
    let n = height * width * channels;
    if kind == "noise" { (0..n).map(noise).collect() } else { (0..n).map(wave).collect() }
}

fn fitted(preprocess: Preprocess, image: &[u8], shape: [usize; 3]) -> Vec<u8> {
    let [height, width] = preprocess.size_px;
    let mut out = vec![77; height * width * shape[2]];
    Fitter::new(preprocess).unwrap().apply(image, shape, &mut out).unwrap();
    out
}

fn squash(size_px: [usize; 2]) -> Preprocess {
    Preprocess { size_px, fit: Fit::Squash, crop_fraction: 1.0, interpolation: Interpolation::Bilinear }
}

/// Every byte is within one level, and at least 99 of 100 bytes are equal.
#[test]
fn bytes_are_pillows() {
    let text = std::fs::read_to_string("tests/fixtures/fit_pillow.json").unwrap();
    let goldens: Goldens = serde_json::from_str(&text).unwrap();
    let (mut n, mut n_same) = (0, 0);
    for case in &goldens.cases {
        let expected = case.expected();
        let found = fitted(case.preprocess, &picture(&case.kind, case.shape), case.shape);
        assert_eq!(found.len(), expected.len());
        let far = found.iter().zip(&expected).position(|(a, b)| a.abs_diff(*b) > 1);
        let what = (&case.kind, case.shape, case.preprocess);
        assert_eq!(far, None, "{what:?}: {:?}", far.map(|i| (found[i], expected[i])));
        n += found.len();
        n_same += found.iter().zip(&expected).filter(|(a, b)| a == b).count();
    }
    assert_eq!(goldens.cases.len(), 58);
    assert!(n_same as f64 > 0.99 * n as f64, "{n_same} of {n}");
}

/// Equals `torch.nn.functional.interpolate(mode="bilinear")`, rounded; the numbers are those of `resize.rs`.
#[test]
fn linear_looks_at_the_nearest_pixels_only() {
    let linear = |size_px| Preprocess { interpolation: Interpolation::Linear, ..squash(size_px) };
    let image = [0, 50, 100, 150, 200, 250];
    let expected = [0, 20, 50, 80, 100, 75, 95, 125, 155, 175, 150, 170, 200, 230, 250];
    assert_eq!(fitted(linear([3, 5]), &image, [2, 3, 1]), expected);
    let stripes: Vec<u8> = (0..64).map(|i| if i % 8 == 0 { 255 } else { 0 }).collect();
    assert_eq!(fitted(linear([1, 8]), &stripes, [1, 64, 1]), [0; 8]); // interpolated between pixels 3 and 4 of each 8
    assert!(fitted(squash([1, 8]), &stripes, [1, 64, 1]).iter().all(|&value| value > 0));
}

#[test]
fn a_picture_of_the_input_size_is_copied() {
    let image = picture("noise", [19, 23, 3]);
    for fit in [Fit::Squash, Fit::Crop, Fit::Pad] {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Linear] {
            let preprocess = Preprocess { fit, interpolation, ..squash([19, 23]) };
            assert_eq!(fitted(preprocess, &image, [19, 23, 3]), image);
        }
    }
}

#[test]
fn a_picture_that_only_needs_cutting_keeps_its_bytes() {
    let image = picture("noise", [5, 9, 2]);
    let cut = fitted(Preprocess { fit: Fit::Crop, ..squash([5, 5]) }, &image, [5, 9, 2]);
    for (row, out) in image.chunks_exact(18).zip(cut.chunks_exact(10)) {
        assert_eq!(out, &row[4..14]);
    }
}

#[test]
fn one_fitter_serves_pictures_of_any_shape_in_any_order() {
    for fit in [Fit::Squash, Fit::Crop, Fit::Pad] {
        let preprocess = Preprocess { fit, ..squash([12, 10]) };
        let mut fitter = Fitter::new(preprocess).unwrap();
        for shape in [[40, 7, 3], [3, 3, 1], [8, 90, 3], [12, 10, 3], [2, 31, 2]] {
            let image = picture("noise", shape);
            let mut out = vec![0; 120 * shape[2]];
            fitter.apply(&image, shape, &mut out).unwrap();
            assert_eq!(out, fitted(preprocess, &image, shape));
        }
    }
}

/// A uniform grey picture stays grey, whatever its shape: the weights sum to 1, and every byte of the output is
/// written.
#[test]
fn extreme_shapes_are_fitted() {
    for shape in [[1, 1, 3], [1, 40, 3], [4000, 16_000, 1], [1, 300_000, 3], [600_000, 1, 1], [700_000, 2, 3]]
    {
        let image = vec![93; shape.iter().product()];
        for fit in [Fit::Squash, Fit::Crop, Fit::Pad] {
            for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
                let preprocess =
                    Preprocess { fit, interpolation, crop_fraction: 0.875, ..squash([224, 192]) };
                let out = fitted(preprocess, &image, shape);
                let white = if fit == Fit::Pad { 255 } else { 93 };
                assert!(out.iter().all(|&value| value == 93 || value == white), "{shape:?} {fit:?}");
                assert!(out.contains(&93));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_shape_can_be_fitted(
        shape in [1..70usize, 1..70usize, 1..4usize], size_px in [1..40usize, 1..40usize],
        fraction in 0.01..=1.0f64, which in 0..9usize,
    ) {
        let fit = [Fit::Squash, Fit::Crop, Fit::Pad][which % 3];
        let interpolation =
            [Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Linear][which / 3];
        let preprocess = Preprocess { size_px, fit, crop_fraction: fraction, interpolation };
        let out = fitted(preprocess, &vec![200; shape.iter().product()], shape);
        prop_assert!(out.iter().all(|&value| value == 200 || fit == Fit::Pad && value == 255));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |preprocess: Preprocess| preprocess.validate().unwrap_err().to_string();
    assert!(said(squash([0, 5])).contains("preprocess.size_px = [0, 5]"), "{}", said(squash([0, 5])));
    assert!(said(squash([5, 65_536])).contains("1 to 65535"));
    for crop_fraction in [0.0, 1.01, f64::NAN, -1.0] {
        let message = said(Preprocess { crop_fraction, ..squash([5, 5]) });
        assert!(message.contains("crop_fraction") && message.contains("0.01 to 1"), "{message}");
        assert!(Fitter::new(Preprocess { crop_fraction, ..squash([5, 5]) }).is_err());
    }
    let mut fitter = Fitter::new(squash([2, 2])).unwrap();
    let mut apply = |bytes: usize, shape, out: usize| {
        fitter.apply(&vec![0; bytes], shape, &mut vec![0; out]).unwrap_err().to_string()
    };
    assert!(apply(0, [0, 3, 3], 12).contains("not a picture"));
    assert!(apply(36, [3, 3, 4], 16).contains("not a picture"));
    assert!(apply(26, [3, 3, 3], 12).contains("26 bytes for 3 x 3 x 3"));
    assert!(apply(27, [3, 3, 3], 13).contains("13 bytes for 2 x 2 x 3"));
    assert!(apply(0, [usize::MAX, 2, 1], 4).contains("not a picture"));
}

#[test]
fn a_table_names_what_it_wants() {
    let text = "size_px = [224, 192]\nfit = \"crop\"\ncrop_fraction = 0.875\ninterpolation = \"bicubic\"\n";
    let read: Preprocess = toml::from_str(text).unwrap();
    let expected = Preprocess {
        size_px: [224, 192],
        fit: Fit::Crop,
        crop_fraction: 0.875,
        interpolation: Interpolation::Bicubic,
    };
    assert_eq!(read, expected);
    assert_eq!(toml::to_string(&read).unwrap(), text);
    assert!(toml::from_str::<Preprocess>(&format!("{text}colour = 1")).is_err());
}
