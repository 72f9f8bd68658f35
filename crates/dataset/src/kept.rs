//! Cache of decoded pictures at the model's input size. The creator of the cache decides whether there is enough memory
//! for the whole data set.

use std::sync::OnceLock;

use crate::fit::Preprocess;

/// Cache of the pictures of a set, fitted with one setting.
#[derive(Debug)]
pub(crate) struct Kept {
    preprocess: Preprocess,
    pictures: Vec<OnceLock<Box<[u8]>>>,
}

impl Kept {
    /// Creates a cache that already holds these pictures.
    pub(crate) fn new(preprocess: Preprocess, pictures: Vec<Option<Box<[u8]>>>) -> Self {
        let cell = |picture: Option<Box<[u8]>>| picture.map_or_else(OnceLock::new, OnceLock::from);
        Self { preprocess, pictures: pictures.into_iter().map(cell).collect() }
    }

    /// Returns whether the cached pictures are fitted with `preprocess`.
    pub(crate) fn is_of(&self, preprocess: &Preprocess) -> bool {
        self.preprocess == *preprocess
    }

    /// Returns picture `i` if it is cached.
    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        self.pictures[i].get().map(|pixels| &**pixels)
    }

    /// Stores picture `i`.
    pub(crate) fn put(&self, i: usize, pixels: &[u8]) {
        let _ = self.pictures[i].set(pixels.into()); // if another thread was first, it stored the same pixels
    }
}
