//! What is made of weights for inference, such as convolutions with their batch norm folded in: kept from one batch to the next
//! until a weight changes.

use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use tallow_kernels::{ConvShape, FoldedConv};

use crate::error::Result;
use crate::map::MapElement;

/// What was made last, and the generation of the parameters that it was made from.
pub(crate) struct Slot<T>(Mutex<Option<(u64, Arc<T>)>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    /// What was made at this `generation` of the parameters, or what `make` makes now.
    pub(crate) fn get_or_make(&self, generation: u64, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        self.get_or_make_what(generation, |_| true, make)
    }

    /// The same, made anew also where what was made last is not what `suits`.
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

/// What a convolution folded last, in either precision.
#[derive(Default)]
pub(crate) struct FoldedCache {
    f32: Slot<FoldedConv<f32>>,
    bf16: Slot<FoldedConv<bf16>>,
}

/// An element that has a slot.
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
    /// What was folded at this `generation` of the parameters, if it suits the shape, or what `fold` makes now.
    pub(crate) fn get_or_fold<E: MapElement>(
        &self,
        generation: u64,
        shape: &ConvShape,
        fold: impl FnOnce() -> Result<FoldedConv<E>>,
    ) -> Result<Arc<FoldedConv<E>>> {
        E::slot(self).get_or_make_what(generation, |folded| folded.suits(shape), fold)
    }
}
