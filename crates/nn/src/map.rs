//! Feature maps in main memory, in f32 or bf16. Their memory goes back to the arena when the last reference is dropped.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use half::bf16;
use half::vec::{HalfBitsVecExt as _, HalfFloatVecExt as _};
use tallow_core::memory::ARENA;
use tallow_kernels::Element;

use crate::folded::Folds;

/// The number format of the kernel backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Feature maps and the operands of convolutions in bf16; sums, statistics, weights, logits and loss in f32.
    Bf16,
}

/// An element type that the arena keeps arrays of, perhaps as another type of the same size.
pub(crate) trait Pooled: Copy + Default + 'static {
    /// Returns an array of `len` numbers from the arena.
    fn take(len: usize) -> Vec<Self>;
    /// Gives back an array from [`take`](Self::take).
    fn give(array: Vec<Self>);
}

/// An element type of feature maps.
pub(crate) trait MapElement: Element + Pooled + Folds {
    fn wrap(buffer: Arc<Buffer<Self>>) -> HostMap;
    /// Returns the map in this type: the map itself, or a rounded or widened copy.
    fn of(map: &HostMap) -> Arc<Buffer<Self>>;
}

/// The numbers of a map.
#[derive(Debug)]
pub(crate) struct Buffer<E: Pooled> {
    values: Vec<E>,
    /// Gets the memory when the buffer is dropped.
    give: fn(Vec<E>),
}

impl<E: Pooled> Buffer<E> {
    /// Returns `len` numbers with undefined values from earlier use of the memory. The caller must overwrite all of them.
    pub(crate) fn dirty(len: usize) -> Self {
        Self { values: E::take(len), give: E::give }
    }
}

impl<E: Pooled> Buffer<E> {
    /// Wraps numbers that did not come from the arena. Their memory is freed, because the arena is not asked for this size.
    pub(crate) fn from_vec(values: Vec<E>) -> Self {
        Self { values, give: drop }
    }
}

impl Buffer<f32> {
    /// Wraps a batch of images. Its memory may have come from the arena, which decides whether to keep it.
    pub(crate) fn of_batch(values: Vec<f32>) -> Self {
        Self { values, give: |values| ARENA.give_loose(values) }
    }
}

impl From<Vec<f32>> for Buffer<f32> {
    fn from(values: Vec<f32>) -> Self {
        Self::from_vec(values)
    }
}

impl<E: Pooled> Drop for Buffer<E> {
    fn drop(&mut self) {
        (self.give)(std::mem::take(&mut self.values));
    }
}

impl<E: Pooled> Deref for Buffer<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        &self.values
    }
}

impl<E: Pooled> DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.values
    }
}

/// A feature map, or the gradient of one: (N, H, W, C).
#[derive(Clone, Debug)]
pub(crate) enum HostMap {
    F32(Arc<Buffer<f32>>),
    Bf16(Arc<Buffer<bf16>>),
}

impl HostMap {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(buffer) => buffer.len(),
            Self::Bf16(buffer) => buffer.len(),
        }
    }
}

impl From<Vec<f32>> for HostMap {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(Arc::new(Buffer::from(values)))
    }
}

impl<E: MapElement> From<Buffer<E>> for HostMap {
    fn from(buffer: Buffer<E>) -> Self {
        E::wrap(Arc::new(buffer))
    }
}

impl<E: MapElement> From<Arc<Buffer<E>>> for HostMap {
    fn from(buffer: Arc<Buffer<E>>) -> Self {
        E::wrap(buffer)
    }
}

impl Pooled for f32 {
    fn take(len: usize) -> Vec<Self> {
        ARENA.take(len)
    }

    fn give(array: Vec<Self>) {
        ARENA.give(array);
    }
}

impl Pooled for u8 {
    fn take(len: usize) -> Vec<Self> {
        ARENA.take(len)
    }

    fn give(array: Vec<Self>) {
        ARENA.give(array);
    }
}

/// As the bits, without a copy.
impl Pooled for bf16 {
    fn take(len: usize) -> Vec<Self> {
        ARENA.take::<u16>(len).reinterpret_into()
    }

    fn give(array: Vec<Self>) {
        ARENA.give::<u16>(array.reinterpret_into());
    }
}

impl MapElement for f32 {
    fn wrap(buffer: Arc<Buffer<Self>>) -> HostMap {
        HostMap::F32(buffer)
    }

    fn of(map: &HostMap) -> Arc<Buffer<Self>> {
        match map {
            HostMap::F32(buffer) => Arc::clone(buffer),
            HostMap::Bf16(buffer) => {
                let mut wide = Buffer::dirty(buffer.len());
                tallow_kernels::widen(buffer, &mut wide);
                Arc::new(wide)
            }
        }
    }
}

impl MapElement for bf16 {
    fn wrap(buffer: Arc<Buffer<Self>>) -> HostMap {
        HostMap::Bf16(buffer)
    }

    fn of(map: &HostMap) -> Arc<Buffer<Self>> {
        match map {
            HostMap::F32(buffer) => {
                let mut narrow = Buffer::dirty(buffer.len());
                tallow_kernels::narrow(buffer, &mut narrow);
                Arc::new(narrow)
            }
            HostMap::Bf16(buffer) => Arc::clone(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let len = 12_347; // no other test uses this length
        let first = Buffer::<bf16>::dirty(len);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::<bf16>::dirty(len).as_ptr(), place);
    }

    #[test]
    fn maps_are_widened_and_rounded() {
        let map: HostMap = vec![1.0, 1.0 + 1.0 / 512.0, -3.0].into();
        let narrow: HostMap = bf16::of(&map).into();
        assert_eq!(**f32::of(&narrow), [1.0, 1.0, -3.0]);
        assert_eq!(narrow.len(), 3);
    }
}
