//! Effects of augmentation on pixels, for images that are higher than wide or wider than high.

use tallow_dataset::{Augment, CropFill, Flip, Transform};

/// `table[channel][byte] = byte + 1000 * channel`: a value shows its byte and its channel.
fn table() -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| std::array::from_fn(|byte| byte as f32 + 1000.0 * channel as f32))
}

/// Applies a transform to an image of one channel.
fn apply(transform: &Transform, image: &[u8], height: usize, width: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; image.len()];
    transform.apply(image, [height, width, 1], &table(), &mut out);
    out
}

const IMAGE_2_X_3: [u8; 6] = [
    1, 2, 3, //
    4, 5, 6,
];

#[test]
fn a_flip_changes_left_and_right_and_not_top_and_bottom() {
    let flip = Transform { flip: true, ..Transform::IDENTITY };
    assert_eq!(apply(&Transform::IDENTITY, &IMAGE_2_X_3, 2, 3), [1., 2., 3., 4., 5., 6.]);
    assert_eq!(apply(&flip, &IMAGE_2_X_3, 2, 3), [3., 2., 1., 6., 5., 4.]);
    assert_eq!(apply(&flip, &IMAGE_2_X_3, 3, 2), [2., 1., 4., 3., 6., 5.]);
}

#[test]
fn channels_stay_together_and_in_order() {
    let flip = Transform { flip: true, ..Transform::IDENTITY };
    let mut out = [0.0; 6];
    flip.apply(&[10, 20, 30, 40, 50, 60], [1, 2, 3], &table(), &mut out);
    assert_eq!(out, [40., 1050., 2060., 10., 1020., 2030.]);
}

#[test]
fn a_crop_shows_zeros_beyond_the_border() {
    let crop = |shift| Transform { shift, ..Transform::IDENTITY };
    assert_eq!(apply(&crop((1, 0)), &IMAGE_2_X_3, 2, 3), [4., 5., 6., 0., 0., 0.]);
    assert_eq!(apply(&crop((-1, 1)), &IMAGE_2_X_3, 2, 3), [0., 0., 0., 2., 3., 0.]);
    assert_eq!(apply(&crop((0, -2)), &IMAGE_2_X_3, 2, 3), [0., 0., 1., 0., 0., 4.]);
    // the fill is the byte 0, before normalisation
    let mut out = [0.0; 2];
    let mut table = table();
    table[0][0] = -7.0;
    crop((0, 1)).apply(&[8, 9], [1, 2, 1], &table, &mut out);
    assert_eq!(out, [9., -7.]);
}

#[test]
fn a_reflection_does_not_repeat_the_border() {
    let row = [10, 11, 12, 13];
    let crop = |columns| Transform { shift: (0, columns), fill: CropFill::Reflect, ..Transform::IDENTITY };
    // like `torch.nn.functional.pad(..., mode="reflect")`: 13 12 11 | 10 11 12 13 | 12 11 10
    assert_eq!(apply(&crop(-3), &row, 1, 4), [13., 12., 11., 10.]);
    assert_eq!(apply(&crop(-1), &row, 1, 4), [11., 10., 11., 12.]);
    assert_eq!(apply(&crop(3), &row, 1, 4), [13., 12., 11., 10.]);
    let rows = Transform { shift: (2, 0), ..crop(0) };
    assert_eq!(apply(&rows, &row, 4, 1), [12., 13., 12., 11.]);
}

#[test]
fn the_flip_comes_after_the_crop_and_cutout_last() {
    let crop = Transform { flip: true, shift: (0, 1), ..Transform::IDENTITY };
    assert_eq!(apply(&crop, &IMAGE_2_X_3, 2, 3), [0., 3., 2., 0., 6., 5.]);
    let all = Transform { cutout: Some((1..2, 1..3)), ..crop };
    let mut table = table();
    table[0].iter_mut().for_each(|value| *value += 100.0);
    let mut out = [0.0; 6];
    all.apply(&IMAGE_2_X_3, [2, 3, 1], &table, &mut out);
    assert_eq!(out, [100., 103., 102., 100., 0., 0.]); // cutout is the mean: 0 after normalisation
}

#[test]
fn what_is_drawn_depends_on_seed_epoch_and_image() {
    let augment = Augment {
        flip: Flip::Random,
        crop_padding_px: 4,
        crop_fill: CropFill::Reflect,
        cutout_px: 5,
        ..Augment::default()
    };
    let draw = |seed, epoch, index| augment.draw(seed, epoch, index, 20, 30);
    assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
    assert_eq!(draw(1, 2, 3).fill, CropFill::Reflect);
    let places = |change: fn(u32) -> (u64, u64, u32)| {
        let all = (0..20).map(|i| draw(change(i).0, change(i).1, change(i).2).shift);
        all.collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(places(|i| (u64::from(i), 0, 0)) > 10);
    assert!(places(|i| (0, u64::from(i), 0)) > 10);
    assert!(places(|i| (0, 0, i)) > 10);
}

/// The draws of a seed must stay the same from version to version.
#[test]
fn draws_are_pinned() {
    let augment = Augment { flip: Flip::Random, crop_padding_px: 4, cutout_px: 5, ..Augment::default() };
    let drawn = [0, 1, 2].map(|index| augment.draw(9, 3, index, 32, 32));
    let expected =
        [(true, (0, 4), (2..7, 0..5)), (true, (1, 1), (27..32, 18..23)), (false, (-4, -4), (2..7, 17..22))];
    for (drawn, (flip, shift, cutout)) in drawn.into_iter().zip(expected) {
        assert_eq!(drawn, Transform { flip, shift, cutout: Some(cutout), ..Transform::IDENTITY });
    }
}

#[test]
fn shifts_and_cutouts_are_uniform_and_within_their_bounds() {
    let augment = Augment { crop_padding_px: 2, cutout_px: 4, ..Augment::default() };
    let (height, width, n) = (6, 9, 20_000u32);
    let (mut rows, mut columns) = ([0u32; 5], [0u32; 5]);
    let mut covered = [[0u32; 9]; 6];
    for index in 0..n {
        let drawn = augment.draw(0, 0, index, height, width);
        assert!(!drawn.flip);
        rows[(drawn.shift.0 + 2) as usize] += 1;
        columns[(drawn.shift.1 + 2) as usize] += 1;
        let (square_rows, square_columns) = drawn.cutout.unwrap();
        // the square is centred on a pixel, so at least half of each side is within the image
        assert!((2..=4).contains(&square_rows.len()) && (2..=4).contains(&square_columns.len()));
        for row in square_rows {
            square_columns.clone().for_each(|column| covered[row][column] += 1);
        }
    }
    // standard deviation of a count: sqrt(20,000 * 0.2 * 0.8) = 57; five of them are allowed
    assert!(rows.iter().chain(&columns).all(|&count| count.abs_diff(n / 5) < 285), "{rows:?} {columns:?}");
    // A pixel (r, c) is covered if the centre's row is in r-1 to r+2 and its column in c-1 to c+2, as far as these
    // exist: 4/6 * 4/9 in the middle, 3/6 * 3/9 in the upper left corner, 2/6 * 2/9 in the lower right corner. The
    // standard deviation is at most 65.
    let expected = |probability: f64| (f64::from(n) * probability) as u32;
    assert!(covered[2][4].abs_diff(expected(16.0 / 54.0)) < 330, "{}", covered[2][4]);
    assert!(covered[0][0].abs_diff(expected(9.0 / 54.0)) < 330, "{}", covered[0][0]);
    assert!(covered[5][8].abs_diff(expected(4.0 / 54.0)) < 330, "{}", covered[5][8]);
}

#[test]
fn random_flips_are_even_and_leave_the_crops_alone() {
    let with = |flip| Augment { flip, crop_padding_px: 4, ..Augment::default() };
    let n_flipped = (0..10_000).filter(|&i| with(Flip::Random).draw(0, 3, i, 8, 8).flip).count();
    assert!(n_flipped.abs_diff(5_000) < 250, "{n_flipped}"); // standard deviation 50
    for index in 0..100 {
        let shift = |flip| with(flip).draw(0, 3, index, 8, 8).shift;
        assert_eq!(shift(Flip::None), shift(Flip::Random));
        assert_eq!(shift(Flip::None), shift(Flip::Alternate));
    }
}

#[test]
fn alternating_flips_show_every_image_both_ways_in_two_epochs() {
    let augment = Augment { flip: Flip::Alternate, ..Augment::default() };
    let flipped = |epoch, index| augment.draw(5, epoch, index, 8, 8).flip;
    for index in 0..200 {
        for epoch in 0..6 {
            assert_ne!(flipped(epoch, index), flipped(epoch + 1, index));
        }
    }
    let n_flipped = (0..10_000).filter(|&index| flipped(0, index)).count();
    assert!(n_flipped.abs_diff(5_000) < 250, "{n_flipped}");
}

#[test]
fn what_does_not_fit_the_images_is_refused() {
    let said = |augment: Augment| augment.validate(20, 30).unwrap_err().to_string();
    for fill in [CropFill::Zero, CropFill::Reflect] {
        let padded = |crop_padding_px| Augment { crop_padding_px, crop_fill: fill, ..Augment::default() };
        assert!(
            said(padded(20)).contains("crop_padding_px = 20: expected at most 19"),
            "{}",
            said(padded(20))
        );
        padded(19).validate(20, 30).unwrap();
    }
    let cut = |cutout_px| Augment { cutout_px, ..Augment::default() };
    assert!(said(cut(21)).contains("cutout_px = 21: expected at most 20"), "{}", said(cut(21)));
    cut(20).validate(20, 30).unwrap();
}

#[test]
fn a_recipe_names_what_it_wants_and_nothing_else() {
    let read = |text: &str| toml::from_str::<Augment>(text);
    assert_eq!(read("").unwrap(), Augment::default());
    let all = Augment {
        flip: Flip::Alternate,
        crop_padding_px: 2,
        crop_fill: CropFill::Reflect,
        cutout_px: 8,
        ..Augment::default()
    };
    assert_eq!(read("flip='alternate'\ncrop_padding_px=2\ncrop_fill='reflect'\ncutout_px=8").unwrap(), all);
    assert_eq!(read(&toml::to_string(&all).unwrap()).unwrap(), all);
    assert!(read("vertical_flip = true").unwrap_err().to_string().contains("vertical_flip"));
    let identity = Augment::default().draw(1, 2, 3, 4, 5);
    assert_eq!(identity, Transform::IDENTITY);
}
