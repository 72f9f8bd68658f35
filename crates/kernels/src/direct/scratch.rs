//! Copies of a task's input in the layout that the kernels need: padded, and for the weight gradient with
//! neighbouring pixels side by side. A scratch belongs to a thread, which keeps it from one task to the next. Tasks are
//! cut to fit into the caches, so it stays small. Memory for packed weights and sums comes from the arena of the process,
//! which keeps it from one step to the next.

use std::cell::RefCell;
use std::marker::PhantomData;

use tallow_core::memory::{self, ARENA};

use super::element::Element;
use super::geometry::{Geometry, Task};

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: [Vec<u64>; 3],
}

thread_local! {
    static FREE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a scratch of this thread. A nested call (for a second buffer, or in a stolen task while another
/// one waits) gets another scratch.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut scratch);
    FREE.with_borrow_mut(|free| free.push(scratch));
    result
}

/// An array in memory that any thread may have used before. Fresh memory costs page faults, and every step needs the
/// same amount. Few arrays are in use at a time, and their lengths differ from layer to layer, so each array takes
/// the shortest memory that fits.
#[derive(Debug)]
pub(super) struct Reused<E> {
    words: Vec<u64>,
    len: usize,
    element: PhantomData<E>,
}

impl<E: Element> Reused<E> {
    /// Returns `len` numbers. They hold whatever the memory held before.
    pub(super) fn new(len: usize) -> Self {
        Self { words: ARENA.take_at_least(n_words::<E>(len)), len, element: PhantomData }
    }

    pub(super) fn as_slice(&self) -> &[E] {
        // SAFETY: as in `as_elements`; `new` ensured the length, and no method shortens the vector.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [E] {
        as_elements(&mut self.words, self.len)
    }
}

impl<E> Clone for Reused<E> {
    fn clone(&self) -> Self {
        let n_words = n_words::<E>(self.len);
        let mut words = ARENA.take_at_least::<u64>(n_words);
        words[..n_words].copy_from_slice(&self.words[..n_words]);
        Self { words, len: self.len, element: PhantomData }
    }
}

impl<E> Drop for Reused<E> {
    fn drop(&mut self) {
        ARENA.give(std::mem::take(&mut self.words));
    }
}

/// Returns the number of words that `len` numbers take. If the bytes of so many numbers overflow, the result is more than
/// any allocation gives.
fn n_words<E>(len: usize) -> usize {
    len.saturating_mul(size_of::<E>()).div_ceil(size_of::<u64>())
}

impl Scratch {
    /// Returns buffers of these lengths. They hold whatever they held before.
    pub(super) fn buffers<E: Element, const N: usize>(&mut self, lens: [usize; N]) -> [&mut [E]; N] {
        let mut buffers = self.bytes.iter_mut();
        lens.map(|len| match buffers.next() {
            Some(buffer) => as_elements(buffer, len),
            None => panic!("a scratch has 3 buffers"),
        })
    }
}

fn as_elements<E: Element>(buffer: &mut Vec<u64>, len: usize) -> &mut [E] {
    let n_words = n_words::<E>(len);
    memory::grow(buffer, 0, n_words);
    let start = buffer.as_mut_ptr().cast::<E>();
    // SAFETY: the buffer holds n_words * 8 >= len * size_of::<E>() initialised bytes; u64 is aligned at least as E (f32
    // or bf16), any bits are a valid E, and the slice borrows the buffer exclusively.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// Copies the part of `x` (n, h, w, c) under the windows of `task` to `out` (images, padded rows, padded columns, c),
/// with zeros outside of `x`.
pub(super) fn pad<E: Element>(x: &[E], g: &Geometry, task: &Task, out: &mut [E]) {
    let (rows, columns) = (g.padded_h(task.rows.len()), g.padded_w());
    let first_row = (task.rows.start * g.stride) as isize - g.top;
    // columns of the padded row that come from the image
    let from = (g.left.max(0) as usize).min(columns);
    let to = ((g.w as isize + g.left).clamp(0, columns as isize) as usize).max(from);
    let first_column = (from as isize - g.left) as usize;
    for (image, padded) in task.images.clone().zip(out.chunks_exact_mut(rows * columns * g.c_in)) {
        let x = &x[image * g.h * g.w * g.c_in..][..g.h * g.w * g.c_in];
        for (i, line) in padded.chunks_exact_mut(columns * g.c_in).enumerate() {
            let row = first_row + i as isize;
            if row < 0 || row >= g.h as isize || to == from {
                line.fill(E::default());
                continue;
            }
            let source = &x[(row as usize * g.w + first_column) * g.c_in..][..(to - from) * g.c_in];
            line[..from * g.c_in].fill(E::default());
            line[from * g.c_in..to * g.c_in].copy_from_slice(source);
            line[to * g.c_in..].fill(E::default());
        }
    }
}
