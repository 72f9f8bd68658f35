//! Finds the training images that are nearest to another image in the feature space of a frozen backbone.

use rayon::prelude::*;

use super::Features;
use crate::feed::Feed;
use crate::session::Session;

/// A training image near another image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Index in the training set.
    pub index: u32,
    /// Cosine similarity of the two images' features; 1 for the same picture.
    pub similarity: f32,
}

impl Session {
    /// Returns the `n` training images nearest to the test image `index`, the nearest first; none if the run does not train
    /// on features. If folds are the test, the test image is itself a training image. Then images of its own fold are left
    /// out, as that fold's model had not seen them.
    pub(crate) fn nearest(&self, index: u32, n: usize) -> Vec<Near> {
        let feeds = self.feeds.as_ref();
        let features = |feed: &Feed| match feed {
            Feed::Features { features, .. } => Some(features.clone()),
            Feed::Images { .. } => None,
        };
        let Some((train, test)) = feeds.and_then(|feeds| features(&feeds.train).zip(features(&feeds.test)))
        else {
            return Vec::new();
        };
        let among = &self.data.train.indices;
        let query = test.row(index, false);
        match self.data.folds.as_ref().filter(|_| self.is_tested_by_folds()) {
            Some(folds) => {
                let is_other = |&&i: &&u32| folds[i as usize] != folds[index as usize];
                nearest(query, &train, &among.iter().filter(is_other).copied().collect::<Vec<_>>(), n)
            }
            None => nearest(query, &train, among, n),
        }
    }
}

/// Returns the `n` images of `among` with the largest cosine similarity to `query`. Equal similarities are ordered by index.
fn nearest(query: &[f32], features: &Features, among: &[u32], n: usize) -> Vec<Near> {
    let length = |row: &[f32]| dot(row, row).sqrt().max(f32::MIN_POSITIVE);
    let of_query = length(query);
    let near = |&index: &u32| {
        let row = features.row(index, false);
        Near { index, similarity: dot(query, row) / (of_query * length(row)) }
    };
    let mut all: Vec<Near> = among.par_iter().map(near).collect();
    all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index)));
    all.truncate(n);
    all
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_point_the_same_way() {
        let plain =
            vec![1.0, 0.0, /**/ 0.0, 2.0, /**/ 5.0, 5.0, /**/ 4.0, 0.0, /**/ 0.0, 0.0];
        let features = Features { width: 2, plain, mirrored: Vec::new(), secs: 0.0, own_secs: 0.0 };
        let found = |among: &[u32]| -> Vec<u32> {
            nearest(&[2.0, 0.1], &features, among, 3).iter().map(|near| near.index).collect()
        };
        assert_eq!(
            found(&[0, 1, 2, 3, 4]),
            [0, 3, 2],
            "length does not count, and of equals the first is first"
        );
        assert_eq!(found(&[4, 2]), [2, 4], "nothing is far from all, and no number");
        let near = nearest(&[2.0, 0.0], &features, &[0], 1);
        assert_eq!(near, [Near { index: 0, similarity: 1.0 }]);
    }
}
