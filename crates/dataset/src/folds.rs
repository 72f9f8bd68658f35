//! Stratified folds for cross-validation. The folds are a function of labels, groups and seed alone.

use std::collections::HashMap;

use tallow_core::{Purpose, Stream};

use crate::Error;

/// Level of the random streams of the folds; see [`stratified_split`](crate::stratified_split).
const LEVEL: u64 = 2;

/// Returns the fold of each image, counted from 0. Every fold holds out nearly the same number of images of each class.
/// The images of a group, which are the same photograph, are in the same fold.
///
/// `groups` gives the group of each image as any number; an image without near-duplicates has a group of its own.
/// Groups are assigned class by class, in an order drawn from the stream (`seed`, split, 2, class), larger groups
/// first. A group with different labels belongs to the class of its first image. Each group goes to the fold that has
/// the fewest images of the class. Ties go to the fold with the fewest images of all classes, then to the first fold.
///
/// # Errors
/// If there are fewer than two folds, or fewer groups than folds.
///
/// # Panics
/// If `groups` and `labels` have different lengths.
pub fn stratified_folds(
    labels: &[u32],
    groups: &[u32],
    n_folds: usize,
    seed: u64,
) -> Result<Vec<u32>, Error> {
    assert_eq!(labels.len(), groups.len(), "each image has a group");
    let mut places = HashMap::new();
    let mut members: Vec<Vec<u32>> = Vec::new(); // the images of each group; groups in the order of their first images
    for (i, group) in groups.iter().enumerate() {
        let place = *places.entry(group).or_insert(members.len());
        if place == members.len() {
            members.push(Vec::new());
        }
        members[place].push(i as u32);
    }
    if n_folds < 2 || members.len() < n_folds {
        return Err(Error::Folds { n_folds, n_groups: members.len() });
    }
    let n_classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut of_classes: Vec<Vec<Vec<u32>>> = vec![Vec::new(); n_classes];
    for group in members {
        of_classes[labels[group[0] as usize] as usize].push(group);
    }
    let (mut folds, mut n_of_all) = (vec![0; labels.len()], vec![0; n_folds]);
    for (class, mut of_class) in of_classes.into_iter().enumerate() {
        Stream::new(seed, Purpose::Split, LEVEL, class as u64).shuffle(&mut of_class);
        of_class.sort_by_key(|group| std::cmp::Reverse(group.len())); // stable: keeps the drawn order among groups of one size
        let mut n_of_class = vec![0; n_folds];
        for group in of_class {
            let fold = (0..n_folds).min_by_key(|&fold| (n_of_class[fold], n_of_all[fold])).unwrap_or(0);
            n_of_class[fold] += group.len();
            n_of_all[fold] += group.len();
            group.into_iter().for_each(|i| folds[i as usize] = fold as u32);
        }
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn folds_are_even_in_every_class_and_groups_stay_together(
            images in prop::collection::vec((0u32..4, 0u32..3), 20..120),
            n_folds in 2usize..7,
            seed: u64,
        ) {
            let labels: Vec<u32> = images.iter().map(|image| image.0).collect();
            // about one in three images joins the group of the image before it
            let mut groups: Vec<u32> = Vec::new();
            for (i, image) in images.iter().enumerate() {
                let joins = image.1 == 0 && i > 0 && labels[i - 1] == labels[i];
                groups.push(if joins { groups[i - 1] } else { i as u32 });
            }
            let Ok(folds) = stratified_folds(&labels, &groups, n_folds, seed) else { return Ok(()) };
            prop_assert!(folds.iter().all(|&fold| (fold as usize) < n_folds));
            for (i, j) in (0..images.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
                prop_assert!(groups[i] != groups[j] || folds[i] == folds[j]);
            }
            let size = |group| groups.iter().filter(|&&g| g == group).count();
            let count = |fold, class| (0..images.len()).filter(|&i| folds[i] == fold && labels[i] == class).count();
            for class in 0..4 {
                let largest = groups.iter().map(|&group| size(group)).max().unwrap_or(1);
                let counts: Vec<usize> = (0..n_folds as u32).map(|fold| count(fold, class)).collect();
                let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
                prop_assert!(most - least <= largest, "{counts:?}");
            }
            prop_assert_eq!(stratified_folds(&labels, &groups, n_folds, seed).unwrap(), folds);
        }
    }

    /// The folds of a seed must stay the same from version to version.
    #[test]
    fn choices_are_pinned() {
        let labels = [0, 1, 0, 1, 0, 1, 0, 1, 2];
        let groups = [0, 1, 2, 3, 0, 5, 6, 7, 8];
        assert_eq!(stratified_folds(&labels, &groups, 3, 7).unwrap(), PINNED);
        assert_ne!(stratified_folds(&labels, &groups, 3, 8).unwrap(), PINNED);
    }
    const PINNED: [u32; 9] = [0, 1, 1, 0, 0, 1, 2, 2, 2];

    #[test]
    fn what_cannot_be_folded_is_refused() {
        let refused = |n_folds| stratified_folds(&[0, 0, 1], &[0, 0, 1], n_folds, 0).unwrap_err().to_string();
        assert_eq!(
            refused(3),
            "cannot make 3 folds of 2 different pictures: expected at least 2 folds, and at least one picture for each"
        );
        assert!(refused(1).starts_with("cannot make 1 folds"));
    }
}
