//! Stratified choices of images: splits into training and validation, and subsets.
//!
//! A choice is a function of the labels and the seed alone, so that a later `eval --split val` uses the same images.

use std::collections::HashSet;
use std::hash::Hash;

use tallow_core::{Purpose, Stream};

use crate::Error;

/// A split: indices into a training set. Both lists are ascending and have no index in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Images to train on.
    pub train: Vec<u32>,
    /// Images to validate on.
    pub val: Vec<u32>,
}

/// Splits the images with these `labels` into training and validation images, class by class.
///
/// Of each class, `round(val_fraction * count)` images validate. If that is 0, one image validates nevertheless,
/// provided that the class has at least 3 images and `val_fraction * count` is at least 0.25. Of a class with one or
/// two images, at least one always trains. The images are chosen by the stream (`seed`, split, `level`, class).
///
/// With `val_fraction` 0 all images train. `level` is 0 for the split into training and validation images, and 1 for
/// splitting test images off all images.
///
/// # Errors
/// If `val_fraction` is not in `[0, 1)`, leaves a class without training images, or is above 0 and leaves no image to
/// validate on; or if a label is not below `n_classes`.
pub fn stratified_split(
    labels: &[u32],
    n_classes: usize,
    val_fraction: f64,
    level: u64,
    seed: u64,
) -> Result<Split, Error> {
    let refuse = |reason: String| Error::ValFraction { fraction: val_fraction, reason };
    if !(0.0..1.0).contains(&val_fraction) {
        return Err(refuse("expected at least 0 and below 1".into()));
    }
    let mut split = Split { train: Vec::new(), val: Vec::new() };
    for (class, mut members) in
        members_of_classes(labels, 0..labels.len() as u32, n_classes)?.into_iter().enumerate()
    {
        let n_val = n_held_out(members.len(), val_fraction);
        if n_val == members.len() && n_val > 0 {
            return Err(refuse(format!(
                "class {class} has {n_val} images, so none would be left to train on"
            )));
        }
        Stream::new(seed, Purpose::Split, level, class as u64).shuffle(&mut members);
        split.val.extend(&members[..n_val]);
        split.train.extend(&members[n_val..]);
    }
    if val_fraction > 0.0 && split.val.is_empty() {
        return Err(refuse("no class is large enough to give an image; 0 trains without validation".into()));
    }
    split.train.sort_unstable();
    split.val.sort_unstable();
    Ok(split)
}

/// Returns how many of a class's `n` images a fraction takes: the rounded share. For `n` of at least 3, a share of at
/// least 0.25 that rounds to 0 is raised to 1, so that small classes are validated, too. For `n` of 1 or 2, at least
/// one image is left.
fn n_held_out(n: usize, fraction: f64) -> usize {
    let share = fraction * n as f64;
    match share.round() as usize {
        0 if n >= 3 && share >= 0.25 => 1,
        n_val if n < 3 => n_val.min(n.saturating_sub(1)),
        n_val => n_val,
    }
}

impl Split {
    /// Moves every validation image to the training side if a training image has the same `identity`. So no picture is
    /// ever on both sides.
    pub fn keep_copies_together<I: Eq + Hash>(&mut self, identity: impl Fn(u32) -> I) {
        if self.val.is_empty() {
            return;
        }
        let trained: HashSet<I> = self.train.iter().map(|&i| identity(i)).collect();
        let (copies, val) = self.val.iter().partition(|&&i| trained.contains(&identity(i)));
        let copies: Vec<u32> = copies;
        self.val = val;
        self.train.extend(copies);
        self.train.sort_unstable();
    }
}

/// Chooses `n` of `indices`, with class counts as equal as the data allows. The result is ascending.
///
/// A class with too few images gives all of them. A remainder that cannot be divided equally goes to the first classes.
/// The choice within a class uses the stream (`seed`, subset, 0, class), so a larger subset contains every smaller one.
///
/// # Errors
/// If `n` is 0 or larger than the number of `indices`, or if an index has no label.
pub fn stratified_subset(labels: &[u32], indices: &[u32], n: usize, seed: u64) -> Result<Vec<u32>, Error> {
    let refuse = |reason: String| Error::Subset { n, reason };
    if n == 0 {
        return Err(refuse("expected at least 1".into()));
    }
    if n > indices.len() {
        return Err(refuse(format!("there are {} images to choose from", indices.len())));
    }
    let n_classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut classes = members_of_classes(labels, indices.iter().copied(), n_classes)?;
    for (class, members) in classes.iter_mut().enumerate() {
        members.sort_unstable(); // so that the choice does not depend on the order of `indices`
        Stream::new(seed, Purpose::Subset, 0, class as u64).shuffle(members);
    }
    let counts: Vec<usize> = classes.iter().map(Vec::len).collect();
    let mut subset: Vec<u32> = classes
        .iter()
        .zip(shares(&counts, n))
        .flat_map(|(members, share)| &members[..share])
        .copied()
        .collect();
    subset.sort_unstable();
    Ok(subset)
}

/// Returns the images of each class, in the order of `indices`.
fn members_of_classes(
    labels: &[u32],
    indices: impl Iterator<Item = u32>,
    n_classes: usize,
) -> Result<Vec<Vec<u32>>, Error> {
    let mut classes = vec![Vec::new(); n_classes];
    for i in indices {
        let Some(&label) = labels.get(i as usize) else {
            return Err(Error::Images(format!("image {i} of {} was requested", labels.len())));
        };
        let Some(members) = classes.get_mut(label as usize) else {
            return Err(Error::Images(format!(
                "image {i} has label {label}, but there are {n_classes} classes"
            )));
        };
        members.push(i);
    }
    Ok(classes)
}

/// Divides `n` among classes of these `counts` (their sum is at least `n`), in rounds of one image per class. Returns
/// the share of each class.
fn shares(counts: &[usize], n: usize) -> Vec<usize> {
    let total = |level: usize| counts.iter().map(|&count| count.min(level)).sum::<usize>();
    // number of whole rounds: the largest number of images per class that `n` allows
    let largest = counts.iter().copied().max().unwrap_or(0);
    let rounds = (1..=largest).take_while(|&level| total(level) <= n).last().unwrap_or(0);
    let mut left = n - total(rounds);
    let share = |&count: &usize| {
        let extra = usize::from(count > rounds && left > 0);
        left -= extra;
        count.min(rounds) + extra
    };
    counts.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        result.unwrap_err().to_string()
    }

    fn counts(labels: &[u32], indices: &[u32], n_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; n_classes];
        indices.iter().for_each(|&i| counts[labels[i as usize] as usize] += 1);
        counts
    }

    proptest! {
        #[test]
        fn every_image_is_on_one_side_and_every_class_on_both(
            labels in prop::collection::vec(0u32..4, 30..200),
            percent in 1u32..40,
            seed: u64,
        ) {
            let fraction = f64::from(percent) / 100.0;
            let Ok(split) = stratified_split(&labels, 4, fraction, 0, seed) else {
                return Ok(()); // a class is too small; see the tests below
            };
            prop_assert!(split.train.is_sorted() && split.val.is_sorted());
            let mut all = [split.train.clone(), split.val.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(&all, &(0..labels.len() as u32).collect::<Vec<_>>());
            let expected = counts(&labels, &all, 4).into_iter().map(|n| {
                let share = fraction * n as f64;
                if n >= 3 && (0.25..0.5).contains(&share) { 1 } else { share.round() as usize }
            });
            prop_assert_eq!(counts(&labels, &split.val, 4), expected.collect::<Vec<_>>());
            prop_assert_eq!(stratified_split(&labels, 4, fraction, 0, seed).unwrap(), split);
        }

        #[test]
        fn a_subset_is_as_even_as_the_data_allows(
            labels in prop::collection::vec(0u32..4, 1..60),
            n in 1usize..60,
            seed: u64,
        ) {
            let n = n.min(labels.len());
            let indices: Vec<u32> = (0..labels.len() as u32).filter(|i| i % 3 != 1).collect();
            prop_assume!(n <= indices.len());
            let subset = stratified_subset(&labels, &indices, n, seed).unwrap();
            prop_assert!(subset.is_sorted_by(|a, b| a < b) && subset.iter().all(|i| indices.contains(i)));
            prop_assert_eq!(subset.len(), n);
            let (taken, there) = (counts(&labels, &subset, 4), counts(&labels, &indices, 4));
            let most = *taken.iter().max().unwrap();
            for class in 0..4 {
                // a class whose share is more than one below the largest has given all its images
                prop_assert!(taken[class] + 1 >= most || taken[class] == there[class], "{taken:?} of {there:?}");
            }
            if n > 1 {
                let smaller = stratified_subset(&labels, &indices, n - 1, seed).unwrap();
                prop_assert!(smaller.iter().all(|i| subset.contains(i)));
            }
        }
    }

    /// The choices of a seed must stay the same from version to version.
    #[test]
    fn choices_are_pinned() {
        let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
        assert_eq!(stratified_split(&labels, 2, 0.1, 0, 7).unwrap().val, PINNED_VAL);
        let all: Vec<u32> = (0..40).collect();
        assert_eq!(stratified_subset(&labels, &all, 5, 7).unwrap(), PINNED_SUBSET);
        let backwards: Vec<u32> = (0..40).rev().collect();
        assert_eq!(stratified_subset(&labels, &backwards, 5, 7).unwrap(), PINNED_SUBSET);
        assert_ne!(stratified_subset(&labels, &all, 5, 8).unwrap(), PINNED_SUBSET);
    }
    const PINNED_VAL: [u32; 4] = [10, 31, 35, 38];
    const PINNED_SUBSET: [u32; 5] = [6, 10, 14, 15, 35];

    #[test]
    fn fraction_0_trains_on_everything() {
        let split = stratified_split(&[0, 1, 1], 3, 0.0, 0, 0).unwrap();
        assert_eq!((split.train, split.val), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn a_fraction_that_cannot_be_is_refused() {
        for fraction in [1.0, 2.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(
                said(stratified_split(&[0; 9], 1, fraction, 0, 0))
                    .contains("expected at least 0 and below 1"),
                "{fraction}"
            );
        }
        let message = said(stratified_split(&[0, 0, 1, 1], 2, 0.1, 0, 0));
        assert!(message.contains("no class is large enough"), "{message}");
        let message = said(stratified_split(&[0, 2], 2, 0.5, 0, 0));
        assert!(message.contains("image 1 has label 2"), "{message}");
    }

    #[test]
    fn a_small_class_keeps_an_image_to_train_on_and_gives_one_where_it_can() {
        let labels = [vec![0; 20], vec![1; 2], vec![2; 1], vec![3; 4]].concat();
        let split = stratified_split(&labels, 4, 0.1, 0, 0).unwrap();
        assert_eq!(counts(&labels, &split.val, 4), [2, 0, 0, 1]);
        let split = stratified_split(&labels, 4, 0.6, 0, 0).unwrap();
        assert_eq!(counts(&labels, &split.train, 4), [8, 1, 1, 2]);
        assert_ne!(split, stratified_split(&labels, 4, 0.6, 1, 0).unwrap());
        let message = said(stratified_split(&labels, 4, 0.99, 0, 0));
        assert!(message.contains("class 0 has 20 images, so none would be left"), "{message}");
        assert!(said(stratified_split(&labels, 4, 0.0001, 0, 0)).contains("no class is large enough"));
    }

    #[test]
    fn copies_of_a_picture_are_never_on_both_sides() {
        let mut split = Split { train: vec![0, 2, 5], val: vec![1, 3, 4] };
        split.keep_copies_together(|i| ["a", "b", "c", "a", "d", "b"][i as usize]);
        assert_eq!(split, Split { train: vec![0, 1, 2, 3, 5], val: vec![4] });
    }

    #[test]
    fn a_subset_that_cannot_be_is_refused() {
        assert!(said(stratified_subset(&[0, 1], &[0, 1], 0, 0)).contains("at least 1"));
        assert!(said(stratified_subset(&[0, 1], &[0, 1], 3, 0)).contains("there are 2 images"));
        assert!(said(stratified_subset(&[0, 1], &[0, 2], 1, 0)).contains("image 2 of 2"));
    }

    #[test]
    fn shares_are_handed_out_in_rounds() {
        assert_eq!(shares(&[5, 1, 0, 5], 8), [4, 1, 0, 3]);
        assert_eq!(shares(&[5, 1, 0, 5], 11), [5, 1, 0, 5]);
        assert_eq!(shares(&[5, 5], 1), [1, 0]);
    }
}
