//! Draws of the photograph augmentations: ranges, distributions, independence, and refused settings.

use std::ops::Range;

use tallow_dataset::{Augment, CropFill, Flip, Jitter, RandomResizedCrop, Transform, Warp};

/// All augmentations for photographs together.
fn all() -> Augment {
    Augment {
        crop_fill: CropFill::Reflect,
        random_resized_crop: Some(RandomResizedCrop::default()),
        rotation_deg: 30.0,
        zoom: 0.2,
        shift: 0.1,
        brightness: 0.4,
        contrast: 0.3,
        saturation: 2.0,
        random_erasing: 0.25,
        ..Augment::default()
    }
}

#[test]
fn parts_have_the_area_and_the_proportions_asked_for() {
    let crop = RandomResizedCrop { scale: [0.2, 0.6], ratio: [0.5, 2.0] };
    let augment = Augment { random_resized_crop: Some(crop), ..Augment::default() };
    let (mut areas, mut logs, n) = (0.0, 0.0, 10_000);
    for index in 0..n {
        let (rows, columns) = augment.draw(5, 0, index, 300, 400).warp.unwrap().part.unwrap();
        assert!(rows.end <= 300 && columns.end <= 400);
        let area = (rows.len() * columns.len()) as f64 / 120_000.0;
        let ratio = columns.len() as f64 / rows.len() as f64;
        assert!((0.198..0.602).contains(&area) && (0.495..2.02).contains(&ratio), "{area} {ratio}");
        areas += area;
        logs += ratio.ln();
    }
    // Parts that do not fit are drawn again. This favours smaller parts and, in a wide image, wider ones.
    let (mean, log) = (areas / f64::from(n), logs / f64::from(n));
    assert!((0.37..0.402).contains(&mean) && (0.0..0.1).contains(&log), "{mean} {log}");
}

#[test]
fn a_part_that_never_fits_is_the_largest_in_the_middle() {
    let part = |ratio, height, width| {
        let crop = RandomResizedCrop { scale: [1.0, 1.0], ratio: [ratio, ratio] };
        let augment = Augment { random_resized_crop: Some(crop), ..Augment::default() };
        augment.draw(0, 0, 0, height, width).warp.unwrap().part.unwrap()
    };
    assert_eq!(part(1.0, 10, 41), (0..10, 15..25));
    assert_eq!(part(1.0, 41, 10), (15..25, 0..10));
    assert_eq!(part(2.0, 40, 60), (5..35, 0..60));
}

#[test]
fn what_is_drawn_stays_in_its_range_and_fills_it() {
    let (augment, n) = (all(), 10_000);
    let drawn: Vec<Transform> = (0..n).map(|index| augment.draw(1, 2, index, 40, 60)).collect();
    let check = |range: Range<f64>, value: &dyn Fn(&Transform) -> f64| {
        let values: Vec<f64> = drawn.iter().map(value).collect();
        let length = range.end - range.start;
        assert!(values.iter().all(|v| (range.start - 1e-6..=range.end + 1e-6).contains(v)), "{range:?}");
        let mean = values.iter().sum::<f64>() / f64::from(n);
        // standard deviation of the mean: length / sqrt(12 n), 0.003 of the length
        assert!((mean - (range.start + range.end) / 2.0).abs() < 0.015 * length, "{range:?}: {mean}");
        let fills = |from: f64| values.iter().any(|v| (v - from).abs() < 0.01 * length);
        assert!(fills(range.start) && fills(range.end), "{range:?}");
    };
    let warp = |t: &Transform| t.warp.clone().unwrap();
    check(-30.0..30.0, &|t| warp(t).rotation_deg);
    check(0.8..1.2, &|t| warp(t).zoom);
    check(-4.0..4.0, &|t| warp(t).shift_px.0);
    check(-6.0..6.0, &|t| warp(t).shift_px.1);
    check(0.6..1.4, &|t| f64::from(t.jitter.unwrap().brightness));
    check(0.7..1.3, &|t| f64::from(t.jitter.unwrap().contrast));
    check(0.0..3.0, &|t| f64::from(t.jitter.unwrap().saturation));
    let erased: Vec<_> = drawn.iter().filter_map(|t| t.erased.clone()).collect();
    assert!(erased.len().abs_diff(2_500) < 220, "{}", erased.len()); // standard deviation 43
    let area = |r: &(Range<usize>, Range<usize>)| r.0.len() as f64 * r.1.len() as f64 / 2_400.0;
    let ratio = |r: &(Range<usize>, Range<usize>)| r.0.len() as f64 / r.1.len() as f64;
    assert!(erased.iter().all(|r| (0.017..0.345).contains(&area(r)) && (0.25..4.0).contains(&ratio(r))));
    assert!(erased.iter().all(|r| r.0.len() < 40 && r.0.end <= 40 && r.1.len() < 60 && r.1.end <= 60));
    let mean = erased.iter().map(area).sum::<f64>() / erased.len() as f64;
    assert!((0.15..0.18).contains(&mean), "{mean}");
}

/// An additional change leaves the draws of the other changes unchanged. Flip, crop and cutout are drawn as before.
#[test]
fn every_change_has_numbers_of_its_own() {
    let old = Augment { flip: Flip::Random, crop_padding_px: 4, cutout_px: 5, ..Augment::default() };
    let new = Augment { crop_fill: CropFill::Zero, ..all() };
    let both = Augment { flip: Flip::Random, crop_padding_px: 4, cutout_px: 5, ..new.clone() };
    for index in 0..50 {
        let draw = |augment: &Augment| augment.draw(3, 1, index, 20, 30);
        let (a, b, both) = (draw(&old), draw(&new), draw(&both));
        assert_eq!(both, Transform { flip: a.flip, shift: a.shift, cutout: a.cutout.clone(), ..b.clone() });
        let fewer = draw(&Augment { random_resized_crop: None, brightness: 0.0, ..new.clone() });
        let (all, fewer_warp) = (b.warp.unwrap(), fewer.warp.unwrap());
        assert_eq!(Warp { part: None, ..all }, fewer_warp);
        assert_eq!(Jitter { brightness: 1.0, ..b.jitter.unwrap() }, fewer.jitter.unwrap());
        assert_eq!(b.erased, fewer.erased);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |augment: Augment| augment.validate(20, 30).unwrap_err().to_string();
    type Set = fn(&mut Augment, f64);
    let set: [(&str, Set, f64); 7] = [
        ("rotation_deg", |a, v| a.rotation_deg = v, 181.0),
        ("zoom", |a, v| a.zoom = v, 1.0),
        ("shift", |a, v| a.shift = v, 1.1),
        ("brightness", |a, v| a.brightness = v, 11.0),
        ("contrast", |a, v| a.contrast = v, 11.0),
        ("saturation", |a, v| a.saturation = v, 11.0),
        ("random_erasing", |a, v| a.random_erasing = v, 1.1),
    ];
    for (field, set, too_much) in set {
        for value in [-0.1, too_much, f64::NAN] {
            let mut augment = all();
            augment.validate(20, 30).unwrap();
            set(&mut augment, value);
            let message = said(augment);
            assert!(message.starts_with(&format!("augment.{field} = {value}: expected 0 to ")), "{message}");
        }
    }
    let crop = |scale, ratio| {
        said(Augment { random_resized_crop: Some(RandomResizedCrop { scale, ratio }), ..Augment::default() })
    };
    assert!(crop([0.0, 1.0], [1.0, 1.0]).contains("random_resized_crop.scale = [0, 1]"));
    assert!(
        crop([0.5, 0.4], [1.0, 1.0]).contains("scale") && crop([0.5, 1.1], [1.0, 1.0]).contains("up to 1")
    );
    assert!(crop([0.5, 1.0], [0.0, 1.0]).contains("ratio") && crop([0.5, 1.0], [1.0, 0.9]).contains("ratio"));
    assert!(crop([f64::NAN, 1.0], [1.0, 1.0]).contains("scale"));
}

#[test]
fn a_recipe_names_what_it_wants() {
    let text = "rotation_deg = 30.0\nzoom = 0.2\nshift = 0.1\nbrightness = 0.4\ncontrast = 0.3\nsaturation = 2.0\n\
                random_erasing = 0.25\ncrop_fill = 'reflect'\n[random_resized_crop]\nscale = [0.08, 1.0]";
    let read: Augment = toml::from_str(text).unwrap();
    assert_eq!(read, all());
    assert_eq!(toml::from_str::<Augment>(&toml::to_string(&read).unwrap()).unwrap(), read);
    assert!(toml::from_str::<Augment>("[random_resized_crop]\nsize = 3").is_err());
}
