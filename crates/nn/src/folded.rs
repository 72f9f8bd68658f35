//! Caches values computed from weights for inference, such as convolutions with their batch norm folded in. A value is kept from
//! batch to batch until a weight changes.

use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use tallow_kernels::{ConvShape, FoldedConv};

use crate::error::Result;
use crate::map::MapElement;

/// The value computed last, and the generation of the parameters that it was computed from.
pub(crate) struct Slot<T>(Mutex<Option<(u64, Arc<T>)>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    /// Returns the value of this `generation` of the parameters. Calls `make` if the slot does not hold it.
    pub(crate) fn get_or_make(&self, generation: u64, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        self.get_or_make_what(generation, |_| true, make)
    }

    /// Like [`get_or_make`](Self::get_or_make), but also calls `make` if the stored value does not satisfy `suits`.
    fn get_or_make_what(
        &self,
        generation: u64,
        suits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, made)) = &*slot
            && *at == generation
            && suits(made)
        {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(make()?);
        *slot = Some((generation, Arc::clone(&made)));
        Ok(made)
    }
}

/// The folded weights that a convolution computed last, in either precision.
#[derive(Default)]
pub(crate) struct FoldedCache {
    f32: Slot<FoldedConv<f32>>,
    bf16: Slot<FoldedConv<bf16>>,
}

/// An element type with a slot in [`FoldedCache`].
pub(crate) trait Folds: Sized {
    fn slot(cache: &FoldedCache) -> &Slot<FoldedConv<Self>>;
}

impl Folds for f32 {
    fn slot(cache: &FoldedCache) -> &Slot<FoldedConv<Self>> {
        &cache.f32
    }
}

impl Folds for bf16 {
    fn slot(cache: &FoldedCache) -> &Slot<FoldedConv<Self>> {
        &cache.bf16
    }
}

impl FoldedCache {
    /// Returns the folded weights of this `generation` of the parameters. Calls `fold` if the cache lacks them, or if they do not
    /// suit the shape.
    pub(crate) fn get_or_fold<E: MapElement>(
        &self,
        generation: u64,
        shape: &ConvShape,
        fold: impl FnOnce() -> Result<FoldedConv<E>>,
    ) -> Result<Arc<FoldedConv<E>>> {
        E::slot(self).get_or_make_what(generation, |folded| folded.suits(shape), fold)
    }
}
