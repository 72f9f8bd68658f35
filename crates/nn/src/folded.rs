//! Convolutions with their batch norm folded in, kept from one batch to the next until a weight changes.

use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use tallow_kernels::FoldedConv;

use crate::error::Result;
use crate::map::MapElement;

/// What a layer folded last, in either precision.
#[derive(Default)]
pub(crate) struct FoldedCache {
    f32: Slot<f32>,
    bf16: Slot<bf16>,
}

/// The folded weights and the generation of the parameters that they were made from.
pub(crate) type Slot<E> = Mutex<Option<(u64, Arc<FoldedConv<E>>)>>;

/// An element that has a slot.
pub(crate) trait Folds: Sized {
    fn slot(cache: &FoldedCache) -> &Slot<Self>;
}

impl Folds for f32 {
    fn slot(cache: &FoldedCache) -> &Slot<Self> {
        &cache.f32
    }
}

impl Folds for bf16 {
    fn slot(cache: &FoldedCache) -> &Slot<Self> {
        &cache.bf16
    }
}

impl FoldedCache {
    /// What was folded at this `generation` of the parameters, or what `fold` makes now.
    pub(crate) fn get_or_fold<E: MapElement>(
        &self,
        generation: u64,
        fold: impl FnOnce() -> Result<FoldedConv<E>>,
    ) -> Result<Arc<FoldedConv<E>>> {
        let mut slot = E::slot(self).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, folded)) = &*slot
            && *at == generation
        {
            return Ok(Arc::clone(folded));
        }
        let folded = Arc::new(fold()?);
        *slot = Some((generation, Arc::clone(&folded)));
        Ok(folded)
    }
}
