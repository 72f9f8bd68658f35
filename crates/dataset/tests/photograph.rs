//! Effects of the photograph augmentations on pixels, compared with torchvision (goldens) and with a naive sampling.

use tallow_dataset::{Augment, CropFill, Flip, Jitter, Normalization, RandomResizedCrop, Transform, Warp};

#[derive(serde::Deserialize)]
struct Goldens {
    jitters: Vec<JitterCase>,
    crops: Vec<CropCase>,
    affine: AffineCase,
    turned: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct JitterCase {
    factors: [f32; 3],
    out: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct CropCase {
    part: [usize; 4],
    out: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct AffineCase {
    out: Vec<f32>,
    inside: Vec<bool>,
}

fn goldens() -> Goldens {
    let text = std::fs::read_to_string("tests/fixtures/augment_torchvision.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

const SHAPE: [usize; 3] = [5, 7, 3];
const STILL: Warp = Warp { part: None, rotation_deg: 0.0, zoom: 1.0, shift_px: (0.0, 0.0) };
const NO_JITTER: Jitter = Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0 };

/// The picture of `fixtures/gen_augment.py`.
fn picture() -> Vec<u8> {
    let noise = |i: u32| {
        let x = (i + 1).wrapping_mul(2_654_435_761);
        ((x ^ (x >> 15)).wrapping_mul(2_246_822_519) >> 24) as u8
    };
    (0..105).map(noise).collect()
}

/// Applies a transform to the picture. Values are in 0 to 1.
fn apply(transform: &Transform) -> Vec<f32> {
    let table = Normalization { mean: [0.0; 3], std: [1.0; 3] }.table();
    let mut out = vec![f32::NAN; 105];
    transform.apply(&picture(), SHAPE, &table, &mut out);
    out
}

fn warped(warp: Warp) -> Transform {
    Transform { warp: Some(warp), ..Transform::IDENTITY }
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{i}: {a}, {b} is expected");
    }
}

#[test]
fn colours_are_torchvisions() {
    for case in goldens().jitters {
        let [brightness, contrast, saturation] = case.factors;
        let jitter = Some(Jitter { brightness, contrast, saturation });
        assert_near(&apply(&Transform { jitter, ..Transform::IDENTITY }), &case.out, 1e-5);
    }
}

/// Only positions within the part are compared: torchvision does not use neighbours beyond the centres of the part's
/// outermost pixels.
#[test]
fn a_resized_crop_is_torchvisions() {
    for CropCase { part: [top, left, height, width], out } in goldens().crops {
        let part = Some((top..top + height, left..left + width));
        let found = apply(&warped(Warp { part, ..STILL }));
        let inner = |i: usize, from: usize, to: usize| {
            let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            (0.0..=from as f64 - 1.0).contains(&at)
        };
        let mut n = 0;
        for i in (0..105).filter(|i| inner(i / 21, height, 5) && inner(i % 21 / 3, width, 7)) {
            assert!((found[i] - out[i]).abs() < 1e-5, "{i}: {}, {} is expected", found[i], out[i]);
            n += 1;
        }
        assert!(n >= 20, "{n}");
    }
}

#[test]
fn rotation_zoom_and_shift_are_torchvisions() {
    let goldens = goldens();
    assert_near(&apply(&warped(Warp { rotation_deg: 90.0, ..STILL })), &goldens.turned, 1e-5);
    let warp = Warp { part: None, rotation_deg: -25.0, zoom: 1.2, shift_px: (-1.0, 1.0) };
    let found = apply(&warped(warp));
    let inside: Vec<usize> = (0..105).filter(|i| goldens.affine.inside[i / 3]).collect();
    assert!(inside.len() > 45, "{}", inside.len());
    for i in inside {
        assert!((found[i] - goldens.affine.out[i]).abs() < 1e-5, "{i}: {}", found[i]);
    }
}

/// Returns the pixel at an integer (row, column), or the content there beyond the image.
fn pixel(row: isize, column: isize, channel: usize, fill: CropFill) -> Option<f64> {
    let reflect = |mut at: isize, length: isize| {
        while !(0..length).contains(&at) {
            at = if at < 0 { -at } else { 2 * (length - 1) - at };
        }
        at
    };
    let inside = (0..5).contains(&row) && (0..7).contains(&column);
    let (row, column) = (reflect(row, 5), reflect(column, 7));
    (inside || fill == CropFill::Reflect)
        .then(|| f64::from(picture()[(row * 7 + column) as usize * 3 + channel]) / 255.0)
}

/// Maps a position in the result back to the image, one change after the other, then interpolates between the four
/// pixels around it.
fn oracle(transform: &Transform, i: usize) -> f64 {
    let (channel, mut y, mut x) = (i % 3, (i / 21) as f64, (i % 21 / 3) as f64);
    let warp = transform.warp.as_ref().unwrap();
    if transform.flip {
        x = 6.0 - x;
    }
    (y, x) = (y + transform.shift.0 as f64, x + transform.shift.1 as f64);
    (y, x) = (y - warp.shift_px.0 - 2.0, x - warp.shift_px.1 - 3.0); // from the centre
    let angle = warp.rotation_deg * std::f64::consts::PI / 180.0;
    (y, x) = (y * angle.cos() + x * angle.sin(), x * angle.cos() - y * angle.sin());
    (y, x) = (y / warp.zoom + 2.0, x / warp.zoom + 3.0);
    if let Some((rows, columns)) = &warp.part {
        y = (y + 0.5) / 5.0 * rows.len() as f64 + rows.start as f64 - 0.5;
        x = (x + 0.5) / 7.0 * columns.len() as f64 + columns.start as f64 - 0.5;
    }
    if transform.fill == CropFill::Zero {
        if !(-0.5..=4.5).contains(&y) || !(-0.5..=6.5).contains(&x) {
            return 0.0;
        }
        (y, x) = (y.clamp(0.0, 4.0), x.clamp(0.0, 6.0));
    }
    let mut sum = 0.0;
    for (row, row_share) in [(y.floor(), 1.0 - (y - y.floor())), (y.floor() + 1.0, y - y.floor())] {
        for (column, share) in [(x.floor(), 1.0 - (x - x.floor())), (x.floor() + 1.0, x - x.floor())] {
            let value = pixel(row as isize, column as isize, channel, transform.fill);
            sum += value.unwrap_or(0.0) * row_share * share;
        }
    }
    sum
}

#[test]
fn one_sampling_is_as_good_as_step_by_step() {
    let augment = Augment {
        flip: Flip::Random,
        crop_padding_px: 2,
        rotation_deg: 70.0,
        zoom: 0.5,
        shift: 0.4,
        ..Augment::default()
    };
    let resized = Augment { random_resized_crop: Some(RandomResizedCrop::default()), ..augment.clone() };
    for augment in [augment, resized] {
        for (index, fill) in (0..200).flat_map(|i| [(i, CropFill::Zero), (i, CropFill::Reflect)]) {
            let transform = Augment { crop_fill: fill, ..augment.clone() }.draw(3, 1, index, 5, 7);
            let expected: Vec<f32> = (0..105).map(|i| oracle(&transform, i) as f32).collect();
            assert_near(&apply(&transform), &expected, 1e-5);
        }
    }
}

#[test]
fn whole_pixels_are_sampled_as_they_are_looked_up() {
    let table = Normalization::CIFAR10.table();
    for fill in [CropFill::Zero, CropFill::Reflect] {
        for (flip, shift) in [(false, (0, 0)), (true, (1, -2)), (false, (-4, 3)), (true, (3, 6))] {
            let looked_up = Transform { flip, shift, fill, ..Transform::IDENTITY };
            let sampled = Transform { warp: Some(STILL), jitter: Some(NO_JITTER), ..looked_up.clone() };
            let jittered = Transform { jitter: Some(NO_JITTER), ..looked_up.clone() };
            let mut values = [[0.0f32; 105]; 3];
            for (transform, out) in [looked_up, sampled, jittered].iter().zip(&mut values) {
                transform.apply(&picture(), SHAPE, &table, out);
            }
            assert_near(&values[1], &values[0], 2e-6);
            assert_eq!(values[1], values[2]);
        }
    }
}

#[test]
fn erased_is_the_mean_and_comes_last() {
    let table = Normalization::CIFAR10.table();
    let jitter = Some(Jitter { brightness: 1.5, ..NO_JITTER });
    let whole = Transform { jitter, warp: Some(STILL), ..Transform::IDENTITY };
    let erased = Transform { erased: Some((1..3, 4..7)), cutout: Some((0..1, 0..2)), ..whole.clone() };
    let (mut expected, mut found) = ([0.0; 105], [0.0; 105]);
    whole.apply(&picture(), SHAPE, &table, &mut expected);
    erased.apply(&picture(), SHAPE, &table, &mut found);
    for i in 0..105 {
        let (row, column) = (i / 21, i % 21 / 3);
        let gone = (1..3).contains(&row) && column >= 4 || row == 0 && column < 2;
        assert_eq!(found[i], if gone { 0.0 } else { expected[i] });
    }
}

#[test]
fn images_of_any_shape_and_channels_can_be_changed() {
    let augment = Augment {
        crop_fill: CropFill::Reflect,
        random_resized_crop: Some(RandomResizedCrop::default()),
        rotation_deg: 30.0,
        contrast: 0.3,
        saturation: 2.0,
        random_erasing: 0.25,
        ..Augment::default()
    };
    let table = Normalization::CIFAR10.table();
    for shape in [[1, 1, 1], [1, 9, 2], [9, 1, 3], [2, 3, 3]] {
        for index in 0..200 {
            let len = shape.iter().product();
            let mut out = vec![f32::NAN; len];
            let transform = augment.draw(0, 0, index, shape[0], shape[1]);
            transform.apply(&vec![200; len], shape, &table, &mut out);
            assert!(out.iter().all(|value| value.abs() < 5.0), "{transform:?}");
        }
    }
}
