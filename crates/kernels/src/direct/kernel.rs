//! The two inner loops, generic over the instruction set, and safe functions that run them.

use super::element::Element;
use super::method::Method;
use crate::depthwise::{LinesTask, SumsTask};
use crate::isa::Isa;

/// Number of vectors of output channels in a tile.
pub(super) const NV: usize = 2;

/// The operations of an instruction set. All functions are `unsafe` because they need its features.
pub(super) trait Arch {
    type Elem: Element;
    /// A vector of f32 sums.
    type Acc: Copy;
    /// A vector of operands.
    type Operand: Copy;
    /// Number of f32 in a vector.
    const LANES: usize;
    /// Number of products that one instruction adds to each lane.
    const UNIT: usize;
    unsafe fn zero() -> Self::Acc;
    /// Loads `LANES` f32 from `p`.
    unsafe fn load_acc(p: *const f32) -> Self::Acc;
    /// Stores `LANES` f32 to `p`.
    unsafe fn store_acc(p: *mut f32, acc: Self::Acc);
    unsafe fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// Returns `x` in every lane.
    unsafe fn splat(x: f32) -> Self::Acc;
    /// Returns `max(a, low)`; a NaN in `a` stays NaN.
    unsafe fn at_least(a: Self::Acc, low: Self::Acc) -> Self::Acc;
    /// Returns `min(a, high)`; a NaN in `a` stays NaN.
    unsafe fn at_most(a: Self::Acc, high: Self::Acc) -> Self::Acc;
    /// Loads `LANES` elements from `p`, as f32.
    unsafe fn load_wide(p: *const Self::Elem) -> Self::Acc;
    /// Returns `a * b + c`.
    unsafe fn mul_add(a: Self::Acc, b: Self::Acc, c: Self::Acc) -> Self::Acc;
    /// Loads `LANES * UNIT` elements from `p`.
    unsafe fn load(p: *const Self::Elem) -> Self::Operand;
    /// Loads `UNIT` elements from `p` into every lane.
    unsafe fn broadcast(p: *const Self::Elem) -> Self::Operand;
    /// Returns `acc + sum over the unit of a * b`, lane by lane.
    unsafe fn dot(acc: Self::Acc, a: Self::Operand, b: Self::Operand) -> Self::Acc;
    /// Stores `LANES` elements, rounded, to `p`.
    unsafe fn store(p: *mut Self::Elem, acc: Self::Acc);
    /// Asks the processor to bring the memory at `p` into the cache. `p` may be invalid. Only the speed depends on
    /// it.
    #[inline(always)]
    unsafe fn prefetch(_p: *const Self::Elem) {}
    /// Loads the first `n` lanes (at most `LANES`) from `p`, as f32; the other lanes are 0.
    ///
    /// # Safety
    /// `n` elements at `p` can be read.
    #[inline(always)]
    unsafe fn load_wide_part(p: *const Self::Elem, n: usize) -> Self::Acc {
        let mut lanes = [0f32; 16];
        // SAFETY: as the caller promises; no vector has more than 16 lanes.
        unsafe {
            for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                *lane = (*p.add(i)).to_f32();
            }
            Self::load_acc(lanes.as_ptr())
        }
    }
    /// Stores the first `n` lanes (at most `LANES`), rounded, to `p`.
    ///
    /// # Safety
    /// `n` elements at `p` can be written.
    #[inline(always)]
    unsafe fn store_part(p: *mut Self::Elem, acc: Self::Acc, n: usize) {
        let mut lanes = [0f32; 16];
        // SAFETY: as the caller promises; no vector has more than 16 lanes.
        unsafe {
            Self::store_acc(lanes.as_mut_ptr(), acc);
            for (i, lane) in lanes.iter().enumerate().take(n) {
                *p.add(i) = Self::Elem::from_f32(*lane);
            }
        }
    }
}

/// A task of the forward loop.
pub(crate) struct ForwardTask<'a, E> {
    /// The padded input.
    pub(super) x: &'a [E],
    /// Start of each output pixel's window in `x`.
    pub(super) x_offsets: &'a [u32],
    /// Number of elements from one row of the padded input to the next.
    pub(super) row: usize,
    pub(super) k_h: usize,
    /// Number of units of a kernel row.
    pub(super) n_units: usize,
    /// Packed weights: (blocks, k_h, units, NV * LANES, UNIT).
    pub(super) weights: &'a [E],
    /// One number per output channel, padded to whole blocks.
    pub(super) bias: Option<&'a [f32]>,
    /// Added to the output. It has the length of `y` and is read at the same offsets.
    pub(super) residual: Option<&'a [E]>,
    /// The lower and the upper limit of the numbers that are written.
    pub(super) limits: Option<[f32; 2]>,
    pub(super) c_out: usize,
    pub(super) y: &'a mut [E],
    /// Start of each output pixel in `y`.
    pub(super) y_offsets: &'a [u32],
    /// The sums and the sums of squares of the numbers that are written, per output channel, padded to whole blocks.
    pub(super) moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// A tile row of the weight gradient: `dw[j][o] = (0 or dw[j][o]) + sum over units of x[unit offset + j] * dy[unit][o]`.
pub(crate) struct WeightTask<'a, E> {
    /// The padded input. Each element is followed by its neighbours in the unit.
    pub(super) x: &'a [E],
    /// Start of each unit's window in `x`, counted in units.
    pub(super) x_offsets: &'a [u32],
    /// Number of units from one row of the padded input to the next.
    pub(super) row: usize,
    pub(super) k_h: usize,
    /// Number of elements under a kernel row.
    pub(super) run: usize,
    /// Packed gradients: (units, NV * LANES, UNIT).
    pub(super) dy: &'a [E],
    /// (k_h, run, NV * LANES).
    pub(super) dw: &'a mut [f32],
    /// Whether `dw` is overwritten, whatever it holds, in place of added to.
    pub(super) is_first: bool,
}

/// The loops of one instruction set.
pub(crate) struct Kernels<E> {
    /// Number of f32 in a vector of sums.
    pub(super) lanes: usize,
    /// Number of output channels in a block.
    pub(super) block: usize,
    /// Number of elements in a unit.
    pub(super) unit: usize,
    /// The requested method of 3x3 convolutions with stride 1, if there is a request.
    pub(super) method: Option<Method>,
    /// The f32 loops of the same instruction set, for the products between Winograd's transforms.
    pub(super) wide: fn() -> Kernels<f32>,
    pub(super) forward: unsafe fn(ForwardTask<'_, E>),
    pub(super) weight_grad: unsafe fn(WeightTask<'_, E>),
    /// See `depthwise`, also for `sums`.
    pub(super) lines: unsafe fn(LinesTask<'_, E>),
    pub(super) sums: unsafe fn(SumsTask<'_, E>),
    /// See `peak`.
    pub(super) peak: unsafe fn(usize) -> usize,
}

impl<E: Element> Kernels<E> {
    /// Returns the loops for `isa`, if it has any for this element type.
    pub(crate) fn of(isa: Isa) -> Option<Self> {
        E::kernels(isa).map(|direct| direct.0)
    }

    pub(super) fn n_blocks(&self, c_out: usize) -> usize {
        c_out.div_ceil(self.block)
    }

    /// Runs a forward task, after a check of every bound that the loop relies on.
    pub(super) fn run_forward(&self, task: ForwardTask<'_, E>) {
        let n_blocks = self.n_blocks(task.c_out);
        let window = (task.k_h - 1) * task.row + task.n_units * self.unit;
        let max = |offsets: &[u32]| offsets.iter().max().map_or(0, |&m| m as usize);
        assert_eq!(task.x_offsets.len(), task.y_offsets.len(), "one offset per pixel in both maps");
        assert!(max(task.x_offsets) + window <= task.x.len(), "a window reaches beyond the padded input");
        assert!(max(task.y_offsets) + task.c_out <= task.y.len(), "a pixel lies beyond the output");
        assert_eq!(
            task.weights.len(),
            n_blocks * task.k_h * task.n_units * self.block * self.unit,
            "packed weights"
        );
        assert!(task.bias.is_none_or(|b| b.len() == n_blocks * self.block), "bias");
        assert!(task.residual.is_none_or(|r| r.len() == task.y.len()), "residual");
        if let Some((sums, squares)) = &task.moments {
            assert!(sums.len() == n_blocks * self.block && squares.len() == sums.len(), "moments");
        }
        if !task.x_offsets.is_empty() {
            // SAFETY: the instruction set was detected before `Kernels` was made. At each offset, the loop reads
            // `window` elements of `x`, writes `c_out` elements of `y`, and reads the same elements of the residual.
            // These bounds and the lengths of weights, bias and moments are checked above. The slices do not alias:
            // `y` and the moments are borrowed exclusively.
            unsafe { (self.forward)(task) }
        }
    }

    /// Runs a weight gradient task, after a check of every bound that the loop relies on.
    pub(super) fn run_weight_grad(&self, task: WeightTask<'_, E>) {
        let max = task.x_offsets.iter().max().map_or(0, |&m| m as usize);
        let window = (task.k_h - 1) * task.row + task.run;
        assert!((max + window) * self.unit <= task.x.len(), "a window reaches beyond the padded input");
        assert_eq!(task.dy.len(), task.x_offsets.len() * self.block * self.unit, "packed gradients");
        assert_eq!(task.dw.len(), task.k_h * task.run * self.block, "weight gradient");
        // SAFETY: the instruction set was detected before `Kernels` was made. The loop reads the units
        // `offset + r * row + j` of `x` for r < k_h and j < run, and all of `dy`. It reads and writes all of `dw`,
        // which is borrowed exclusively. These bounds are checked above.
        unsafe { (self.weight_grad)(task) }
    }
}

/// Runs all tiles of a forward task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of [`Kernels::run_forward`].
#[inline(always)]
pub(super) unsafe fn forward_task<A: Arch, const MR: usize>(mut task: ForwardTask<'_, A::Elem>) {
    let block_len = task.k_h * task.n_units * NV * A::LANES * A::UNIT;
    for block in 0..task.weights.len() / block_len {
        // SAFETY: as the caller promises; `block` counts whole blocks of the packed weights.
        unsafe {
            let weights = task.weights.as_ptr().add(block * block_len);
            if task.c_out - block * NV * A::LANES > A::LANES {
                block_of_channels::<A, MR, NV>(&mut task, block, weights);
            } else {
                block_of_channels::<A, MR, 1>(&mut task, block, weights);
            }
        }
    }
}

/// Computes all pixels with the first `V` vectors of a block. The last block may need only one vector.
///
/// # Safety
/// As [`forward_task`]; `weights` points at the weights of the block.
#[inline(always)]
unsafe fn block_of_channels<A: Arch, const MR: usize, const V: usize>(
    task: &mut ForwardTask<'_, A::Elem>,
    block: usize,
    weights: *const A::Elem,
) {
    let n_pixels = task.x_offsets.len();
    // SAFETY: features as the caller promises. `tile` gets pixels that exist: MR of them from `first` on, or one.
    // Moments hold NV * LANES numbers per block.
    unsafe {
        let mut sums = [A::zero(); V];
        let mut squares = sums;
        let mut done = 0;
        while done < n_pixels {
            if n_pixels >= MR {
                let first = done.min(n_pixels - MR); // the last tile may overlap the previous one
                tile::<A, MR, V>(task, block, weights, first, done - first, &mut sums, &mut squares);
                done = first + MR;
            } else {
                tile::<A, 1, V>(task, block, weights, done, 0, &mut sums, &mut squares);
                done += 1;
            }
        }
        if let Some((total, total_squares)) = &mut task.moments {
            for v in 0..V {
                let at = (block * NV + v) * A::LANES;
                A::store_acc(total.as_mut_ptr().add(at), sums[v]);
                A::store_acc(total_squares.as_mut_ptr().add(at), squares[v]);
            }
        }
    }
}

/// Computes `MR` pixels from `first` on with the first `V` vectors of a block of channels. An earlier tile has
/// already written and counted the first `seen` pixels.
///
/// # Safety
/// As [`forward_task`]; `first + MR` pixels exist, and `weights` points at the weights of the block.
#[inline(always)]
unsafe fn tile<A: Arch, const MR: usize, const V: usize>(
    task: &mut ForwardTask<'_, A::Elem>,
    block: usize,
    weights: *const A::Elem,
    first: usize,
    seen: usize,
    sums: &mut [A::Acc; V],
    squares: &mut [A::Acc; V],
) {
    // SAFETY: reads and writes stay inside the bounds that `run_forward` checked: windows of `x`, one block of
    // weights, bias and moments, and `c_out` elements per pixel of `y` (for a partial vector, only its part).
    unsafe {
        let mut acc = [[A::zero(); V]; MR];
        let mut offsets = [0usize; MR];
        for i in 0..MR {
            offsets[i] = *task.x_offsets.get_unchecked(first + i) as usize;
        }
        // The memory that is read and written after the sums is far away, and few of its lines are adjacent. It is
        // asked for a pixel at a time: so many requests at once would keep the loop from its own.
        let mut asked = 0;
        let mut weights = weights;
        for r in 0..task.k_h {
            let line = task.x.as_ptr().add(r * task.row);
            for unit in 0..task.n_units {
                let mut b = [A::load(weights); V];
                for v in 1..V {
                    b[v] = A::load(weights.add(v * A::LANES * A::UNIT));
                }
                weights = weights.add(NV * A::LANES * A::UNIT);
                if asked < MR {
                    let at = *task.y_offsets.get_unchecked(first + asked) as usize + block * NV * A::LANES;
                    for v in 0..V {
                        A::prefetch(task.y.as_ptr().add(at + v * A::LANES));
                        if let Some(residual) = task.residual {
                            A::prefetch(residual.as_ptr().add(at + v * A::LANES));
                        }
                    }
                    asked += 1;
                }
                let x = line.add(unit * A::UNIT);
                for i in 0..MR {
                    let a = A::broadcast(x.add(offsets[i]));
                    for v in 0..V {
                        acc[i][v] = A::dot(acc[i][v], a, b[v]);
                    }
                }
            }
        }
        // Loops over `acc` have constant bounds and small bodies, so the compiler unrolls them and keeps `acc` in
        // registers.
        let channel = block * NV * A::LANES;
        if let Some(bias) = task.bias {
            for v in 0..V {
                let bias = A::load_acc(bias.as_ptr().add(channel + v * A::LANES));
                for i in 0..MR {
                    acc[i][v] = A::add(acc[i][v], bias);
                }
            }
        }
        let n_channels = (task.c_out - channel).min(V * A::LANES);
        if n_channels == V * A::LANES {
            if let Some(residual) = task.residual {
                for i in 0..MR {
                    let at = *task.y_offsets.get_unchecked(first + i) as usize + channel;
                    for v in 0..V {
                        acc[i][v] = A::add(acc[i][v], A::load_wide(residual.as_ptr().add(at + v * A::LANES)));
                    }
                }
            }
            if let Some([low, high]) = task.limits {
                let (low, high) = (A::splat(low), A::splat(high));
                for i in 0..MR {
                    for v in 0..V {
                        acc[i][v] = A::at_most(A::at_least(acc[i][v], low), high);
                    }
                }
            }
            for i in 0..MR {
                let y = task.y.as_mut_ptr().add(*task.y_offsets.get_unchecked(first + i) as usize + channel);
                for v in 0..V {
                    A::store(y.add(v * A::LANES), acc[i][v]);
                }
            }
        } else {
            store_part::<A, MR, V>(task, &acc, first, channel, n_channels);
        }
        if task.moments.is_some() {
            for i in 0..MR {
                if i >= seen {
                    for v in 0..V {
                        sums[v] = A::add(sums[v], acc[i][v]);
                        squares[v] = A::mul_add(acc[i][v], acc[i][v], squares[v]);
                    }
                }
            }
        }
    }
}

/// Writes a tile with fewer channels than lanes: the first `n_channels` channels. Also adds the residual and applies
/// the limits.
///
/// # Safety
/// As [`tile`], of which it is a part.
#[inline(always)]
unsafe fn store_part<A: Arch, const MR: usize, const V: usize>(
    task: &mut ForwardTask<'_, A::Elem>,
    acc: &[[A::Acc; V]; MR],
    first: usize,
    channel: usize,
    n_channels: usize,
) {
    // The sums go through memory here. In one large loop over them, the compiler would keep them in memory from the
    // beginning.
    let mut lanes = [[[0f32; 16]; V]; MR];
    for i in 0..MR {
        for v in 0..V {
            // SAFETY: features as the caller promises; no vector has more than 16 lanes.
            unsafe { A::store_acc(lanes[i][v].as_mut_ptr(), acc[i][v]) };
        }
    }
    for (i, lanes) in lanes.iter().enumerate() {
        for (v, lanes) in lanes.iter().enumerate() {
            let done = n_channels.min(v * A::LANES);
            let n = (n_channels - done).min(A::LANES);
            // SAFETY: features as the caller promises; the pixel has `n` channels after the first `done` ones, in
            // both maps.
            unsafe {
                let at = *task.y_offsets.get_unchecked(first + i) as usize + channel + done;
                let mut sum = A::load_acc(lanes.as_ptr());
                if let Some(residual) = task.residual {
                    sum = A::add(sum, A::load_wide_part(residual.as_ptr().add(at), n));
                }
                if let Some([low, high]) = task.limits {
                    sum = A::at_most(A::at_least(sum, A::splat(low)), A::splat(high));
                }
                A::store_part(task.y.as_mut_ptr().add(at), sum, n);
            }
        }
    }
}

/// Runs all tiles of a weight gradient task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of [`Kernels::run_weight_grad`].
#[inline(always)]
pub(super) unsafe fn weight_grad_task<A: Arch, const MR: usize>(mut task: WeightTask<'_, A::Elem>) {
    for r in 0..task.k_h {
        let mut j = 0;
        while j < task.run {
            // SAFETY: rows j .. j + MR (or fewer) of the kernel row's run exist.
            unsafe {
                match task.run - j {
                    left if left >= MR => weight_tile::<A, MR>(&mut task, r, j, MR),
                    left if left > 8 => weight_tile::<A, 12>(&mut task, r, j, left),
                    left if left > 4 => weight_tile::<A, 8>(&mut task, r, j, left),
                    left if left > 2 => weight_tile::<A, 4>(&mut task, r, j, left),
                    left => weight_tile::<A, 2>(&mut task, r, j, left),
                }
            }
            j += MR;
        }
    }
}

/// Computes `n` of at most `M` rows of the weight gradient, from `j` on in kernel row `r`. Rows beyond `n` repeat the
/// last row and are dropped.
///
/// # Safety
/// As [`weight_grad_task`]; `1 <= n <= M` and `j + n <= run`.
#[inline(always)]
unsafe fn weight_tile<A: Arch, const M: usize>(
    task: &mut WeightTask<'_, A::Elem>,
    r: usize,
    j: usize,
    n: usize,
) {
    // SAFETY: rows are clamped to n; x, dy and dw are read and written inside the bounds that `run_weight_grad`
    // checked.
    unsafe {
        let block = NV * A::LANES;
        let dw = task.dw.as_mut_ptr().add((r * task.run + j) * block);
        let mut acc = [[A::zero(); NV]; M];
        // not `0..n`: with an index that is unknown here, the compiler would put the sums into memory
        for i in 0..M {
            for v in 0..NV {
                if i < n && !task.is_first {
                    acc[i][v] = A::load_acc(dw.add(i * block + v * A::LANES));
                }
            }
        }
        let mut rows = [0usize; M];
        for i in 0..M {
            rows[i] = i.min(n - 1) * A::UNIT;
        }
        let x = task.x.as_ptr().add((r * task.row + j) * A::UNIT);
        let mut dy = task.dy.as_ptr();
        for &offset in task.x_offsets {
            let mut b = [A::load(dy); NV];
            for v in 1..NV {
                b[v] = A::load(dy.add(v * A::LANES * A::UNIT));
            }
            dy = dy.add(block * A::UNIT);
            let x = x.add(offset as usize * A::UNIT);
            for i in 0..M {
                let a = A::broadcast(x.add(rows[i]));
                for v in 0..NV {
                    acc[i][v] = A::dot(acc[i][v], a, b[v]);
                }
            }
        }
        for i in 0..M {
            for v in 0..NV {
                if i < n {
                    A::store_acc(dw.add(i * block + v * A::LANES), acc[i][v]);
                }
            }
        }
    }
}
