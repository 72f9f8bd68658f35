//! Pictures that were decoded once and are kept at the model's size, as long as there is memory for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::fit::Preprocess;

/// How many bytes may be kept, for all sets that share it.
#[derive(Debug)]
pub struct KeptBudget(AtomicUsize);

impl KeptBudget {
    /// This many bytes.
    pub fn new(n_bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(n_bytes)))
    }

    /// Takes `n_bytes` out of the budget, if they are there.
    pub(crate) fn take(&self, n_bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(n_bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Pictures of a set as one way of fitting leaves them.
#[derive(Debug)]
pub(crate) struct Kept {
    preprocess: Preprocess,
    budget: Arc<KeptBudget>,
    pictures: Vec<OnceLock<Box<[u8]>>>,
}

impl Kept {
    /// With these pictures already there, whose bytes were taken out of the budget.
    pub(crate) fn with(
        pictures: Vec<Option<Box<[u8]>>>,
        preprocess: Preprocess,
        budget: Arc<KeptBudget>,
    ) -> Self {
        let cell = |picture: Option<Box<[u8]>>| picture.map_or_else(OnceLock::new, OnceLock::from);
        Self { preprocess, budget, pictures: pictures.into_iter().map(cell).collect() }
    }

    /// Whether this is about pictures fitted in this way.
    pub(crate) fn is_of(&self, preprocess: &Preprocess) -> bool {
        self.preprocess == *preprocess
    }

    /// Picture `i`, if it is kept.
    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        self.pictures[i].get().map(|pixels| &**pixels)
    }

    /// Keeps picture `i`, if there is room.
    pub(crate) fn put(&self, i: usize, pixels: &[u8]) {
        if self.pictures[i].get().is_none() && self.budget.take(pixels.len()) {
            let _ = self.pictures[i].set(pixels.into()); // another thread put the same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{Fit, Interpolation};

    #[test]
    fn pictures_are_kept_as_long_as_there_is_room() {
        let squash = Preprocess {
            size_px: [1, 2],
            fit: Fit::Squash,
            crop_fraction: 1.0,
            interpolation: Interpolation::Bilinear,
        };
        let budget = KeptBudget::new(15);
        let [a, b] = [0, 1].map(|_| Kept::with(vec![None, None], squash, Arc::clone(&budget)));
        a.put(0, &[1; 6]);
        a.put(0, &[2; 6]); // costs nothing
        b.put(1, &[3; 6]);
        a.put(1, &[4; 6]);
        assert_eq!((a.get(0), a.get(1)), (Some(&[1; 6][..]), None));
        assert_eq!((b.get(0), b.get(1)), (None, Some(&[3; 6][..])));
        assert!(a.is_of(&squash) && !a.is_of(&Preprocess { size_px: [2, 1], ..squash }));
    }
}
