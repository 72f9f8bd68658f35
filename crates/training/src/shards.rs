//! The shards of a batch: parts of fixed sizes whose results are added in a fixed order.
//!
//! The cut and the order depend on the recipe alone. So a step gives the same bits whether one process computes all shards or
//! several processes compute some of them each.

use std::ops::Range;

use tallow_comm::Comm;
use tallow_dataset::{Batch, Mixed, Share};

use crate::error::{Result, TrainingError};

/// Number of shards of a batch that several processes share, unless the recipe says another one.
pub const SHARED_SHARDS: usize = 8;

/// Returns the shards of `n_shards` that this process computes.
///
/// # Errors
/// If there are more processes than shards, or a number of processes that makes no tree.
pub(crate) fn own_shards(n_shards: usize, comm: &Comm) -> Result<Share> {
    let world = comm.world();
    if !world.is_power_of_two() || world > n_shards {
        let problem = format!(
            "is {n_shards}, but there are {world} processes: their number must be a power of two up to the number of \
             shards"
        );
        return Err(TrainingError::Value { key: "shards", problem });
    }
    Ok(Share { n_shards, shards: Share::of_shard(comm.rank(), world, n_shards) })
}

/// Returns a copy of the images `range` of a batch.
pub(crate) fn shard_of(batch: &Batch, range: Range<usize>) -> Batch {
    let image_len = batch.height * batch.width * batch.channels;
    Batch {
        first_position: batch.first_position + range.start,
        images: batch.images[range.start * image_len..range.end * image_len].to_vec(),
        targets: batch.targets[range.clone()].to_vec(),
        mixed: batch
            .mixed
            .as_ref()
            .map(|mixed| Mixed { targets: mixed.targets[range.clone()].to_vec(), share: mixed.share }),
        indices: batch.indices[range.clone()].to_vec(),
        n: range.len(),
        height: batch.height,
        width: batch.width,
        channels: batch.channels,
    }
}

/// Sums items in the order of a binary tree over their positions: neighbours first, then neighbouring pairs, and so on. It holds
/// one partial sum per level.
pub(crate) struct TreeSum<T> {
    /// The partial sum of each level, which waits for its neighbour.
    levels: Vec<Option<T>>,
}

impl<T> Default for TreeSum<T> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

impl<T> TreeSum<T> {
    /// Adds the item of the next position.
    pub(crate) fn push(&mut self, item: T, add: impl Fn(T, T) -> T) {
        let mut sum = item;
        for level in &mut self.levels {
            match level.take() {
                Some(left) => sum = add(left, sum),
                None => {
                    *level = Some(sum);
                    return;
                }
            }
        }
        self.levels.push(Some(sum));
    }

    /// Iterates over the partial sums, the last one first: each stands left of the sum of all that are pushed after it.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &T> {
        self.levels.iter().flatten()
    }

    /// Returns the sum of all items; `None` if there were none.
    pub(crate) fn finish(self, add: impl Fn(T, T) -> T) -> Option<T> {
        self.levels.into_iter().flatten().reduce(|right, left| add(left, right))
    }
}

/// Adds `other` to `sum`, number by number.
pub(crate) fn add(mut sum: Vec<f32>, other: Vec<f32>) -> Vec<f32> {
    sum.iter_mut().zip(&other).for_each(|(sum, x)| *sum += x);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(items: &[&str]) -> Option<String> {
        let add = |a: String, b: String| format!("({a}+{b})");
        let mut sum = TreeSum::default();
        for item in items {
            sum.push((*item).to_owned(), add);
        }
        sum.finish(add)
    }

    #[test]
    fn sums_have_the_shape_of_a_tree() {
        let items = ["a", "b", "c", "d", "e", "f", "g", "h"];
        assert_eq!(tree(&items).unwrap(), "(((a+b)+(c+d))+((e+f)+(g+h)))");
        assert_eq!(tree(&items[..1]).unwrap(), "a");
        assert_eq!(tree(&items[..6]).unwrap(), "(((a+b)+(c+d))+(e+f))");
        assert_eq!(tree(&[]), None);
    }

    /// Halves of the items, summed apart and then together, are the sum of all: this is how two processes share the work.
    #[test]
    fn halves_add_up_to_the_whole() {
        let items = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let (left, right) = (tree(&items[..4]).unwrap(), tree(&items[4..]).unwrap());
        assert_eq!(tree(&items).unwrap(), format!("({left}+{right})"));
    }

    #[test]
    fn shards_cover_the_batch() {
        let ranges =
            |n, n_shards| (0..n_shards).map(|shard| Share::of_shard(shard, n_shards, n)).collect::<Vec<_>>();
        assert_eq!(ranges(10, 4), [0..2, 2..5, 5..7, 7..10]);
        assert_eq!(ranges(2, 4), [0..0, 0..1, 1..1, 1..2]);
        for n in 0..40 {
            let ranges = ranges(n, 8);
            assert_eq!((ranges[0].start, ranges[7].end), (0, n));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
