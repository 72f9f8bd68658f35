//! Pictures that were decoded once and are kept at the model's size. Whether there is memory for all of a data set is decided
//! by whoever makes one.

use std::sync::OnceLock;

use crate::fit::Preprocess;

/// Pictures of a set as one way of fitting leaves them.
#[derive(Debug)]
pub(crate) struct Kept {
    preprocess: Preprocess,
    pictures: Vec<OnceLock<Box<[u8]>>>,
}

impl Kept {
    /// With these pictures already there.
    pub(crate) fn new(preprocess: Preprocess, pictures: Vec<Option<Box<[u8]>>>) -> Self {
        let cell = |picture: Option<Box<[u8]>>| picture.map_or_else(OnceLock::new, OnceLock::from);
        Self { preprocess, pictures: pictures.into_iter().map(cell).collect() }
    }

    /// Whether this is about pictures fitted in this way.
    pub(crate) fn is_of(&self, preprocess: &Preprocess) -> bool {
        self.preprocess == *preprocess
    }

    /// Picture `i`, if it is there.
    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        self.pictures[i].get().map(|pixels| &**pixels)
    }

    /// Keeps picture `i`.
    pub(crate) fn put(&self, i: usize, pixels: &[u8]) {
        let _ = self.pictures[i].set(pixels.into()); // if another thread was first, it put the same
    }
}
