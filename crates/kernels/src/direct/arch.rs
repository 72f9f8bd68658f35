//! Instruction sets: their operations, and the loops compiled for each of them. Only this module uses intrinsics.

use super::kernel::Kernels;
use crate::isa::Isa;

/// Returns the f32 loops for `isa`: `None`, because convolutions here use matrices of patches.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn f32_kernels(_isa: Isa) -> Option<Kernels<f32>> {
    None
}

/// Returns the bf16 loops for `isa`: `None`, because bf16 is emulated here.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn bf16_kernels(_isa: Isa) -> Option<Kernels<half::bf16>> {
    None
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{bf16_kernels, f32_kernels};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{Isa, Kernels};
    use crate::depthwise::{LinesTask, SumsTask};
    use crate::direct::depthwise::{lines_task, sums_task};
    use crate::direct::kernel::{Arch, ForwardTask, NV, WeightTask, forward_task, weight_grad_task};
    use crate::direct::method::requested_method;
    use crate::direct::peak::peak_loop;

    pub(in crate::direct) fn f32_kernels(isa: Isa) -> Option<Kernels<f32>> {
        match isa {
            Isa::Avx2 => Some(avx2::kernels()),
            Isa::Avx512 | Isa::Avx512Bf16 => Some(avx512::kernels()),
            Isa::Portable | Isa::Neon => None,
        }
    }

    pub(in crate::direct) fn bf16_kernels(isa: Isa) -> Option<Kernels<bf16>> {
        match isa {
            Isa::Avx512Bf16 => Some(avx512bf16::kernels()),
            _ => None,
        }
    }

    /// The loops compiled for one instruction set.
    macro_rules! compile {
        ($name:ident, $arch:ty, $wide:ident, $features:literal, $forward_rows:literal, $weight_rows:literal) => {
            mod $name {
                use super::*;

                pub(super) fn kernels() -> Kernels<<$arch as Arch>::Elem> {
                    Kernels {
                        lanes: <$arch>::LANES,
                        block: NV * <$arch>::LANES,
                        unit: <$arch>::UNIT,
                        method: requested_method(),
                        wide: super::$wide::kernels,
                        forward,
                        weight_grad,
                        lines,
                        sums,
                        peak,
                    }
                }

                /// # Safety
                /// The processor has the features, and the task passed `run_forward`'s checks.
                #[target_feature(enable = $features)]
                unsafe fn forward(task: ForwardTask<'_, <$arch as Arch>::Elem>) {
                    // SAFETY: as the caller promises.
                    unsafe { forward_task::<$arch, $forward_rows>(task) }
                }

                /// # Safety
                /// The processor has the features, and the task passed `run_weight_grad`'s checks.
                #[target_feature(enable = $features)]
                unsafe fn weight_grad(task: WeightTask<'_, <$arch as Arch>::Elem>) {
                    // SAFETY: as the caller promises.
                    unsafe { weight_grad_task::<$arch, $weight_rows>(task) }
                }

                /// # Safety
                /// The processor has the features, and the task passed `run_lines`'s checks.
                #[target_feature(enable = $features)]
                unsafe fn lines(task: LinesTask<'_, <$arch as Arch>::Elem>) {
                    // SAFETY: as the caller promises.
                    unsafe { lines_task::<$arch>(task) }
                }

                /// # Safety
                /// The processor has the features, and the task passed `run_sums`'s checks.
                #[target_feature(enable = $features)]
                unsafe fn sums(task: SumsTask<'_, <$arch as Arch>::Elem>) {
                    // SAFETY: as the caller promises.
                    unsafe { sums_task::<$arch>(task) }
                }

                /// # Safety
                /// The processor has the features.
                #[target_feature(enable = $features)]
                unsafe fn peak(n_rounds: usize) -> usize {
                    // SAFETY: as the caller promises.
                    unsafe { peak_loop::<$arch, $forward_rows>(n_rounds) }
                }
            }
        };
    }

    // number of rows of a tile: with 2 vectors of sums per row, registers are left for 2 operands and a broadcast
    compile!(avx2, Avx2, avx2, "avx2,fma", 6, 6);
    compile!(avx512, Avx512, avx512, "avx512f,avx512bw,avx512dq,avx512vl", 12, 12);
    compile!(avx512bf16, Avx512Bf16, avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16", 12, 12);

    /// Returns a mask of the first `n` of 16 lanes.
    #[inline(always)]
    fn first_lanes(n: usize) -> u16 {
        ((1u32 << n) - 1) as u16
    }

    /// f32 with AVX2 and FMA.
    struct Avx2;

    /// f32 with AVX-512.
    struct Avx512;

    /// bf16 with AVX-512: `vdpbf16ps` adds two products to each lane.
    struct Avx512Bf16;

    // SAFETY of the three: each function is one intrinsic. The caller promises its features and valid pointers; loads
    // and stores are unaligned.
    impl Arch for Avx2 {
        type Elem = f32;
        type Acc = __m256;
        type Operand = __m256;
        const LANES: usize = 8;
        const UNIT: usize = 1;

        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            // SAFETY: see above; a prefetch of an invalid address does nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_acc(p: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store_acc(p: *mut f32, acc: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(p, acc) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn at_least(a: __m256, low: __m256) -> __m256 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm256_max_ps(low, a) }
        }
        #[inline(always)]
        unsafe fn at_most(a: __m256, high: __m256) -> __m256 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm256_min_ps(high, a) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn broadcast(p: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(*p) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(a, b, acc) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, acc: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(p, acc) }
        }
    }

    impl Arch for Avx512 {
        type Elem = f32;
        type Acc = __m512;
        type Operand = __m512;
        const LANES: usize = 16;
        const UNIT: usize = 1;

        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            // SAFETY: see above; a prefetch of an invalid address does nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_acc(p: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store_acc(p: *mut f32, acc: __m512) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(p, acc) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn at_least(a: __m512, low: __m512) -> __m512 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm512_max_ps(low, a) }
        }
        #[inline(always)]
        unsafe fn at_most(a: __m512, high: __m512) -> __m512 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm512_min_ps(high, a) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn broadcast(p: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(*p) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(a, b, acc) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, acc: __m512) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(p, acc) }
        }
        #[inline(always)]
        unsafe fn load_wide_part(p: *const f32, n: usize) -> __m512 {
            // SAFETY: see above; masked elements are not read.
            unsafe { _mm512_maskz_loadu_ps(first_lanes(n), p) }
        }
        #[inline(always)]
        unsafe fn store_part(p: *mut f32, acc: __m512, n: usize) {
            // SAFETY: see above; masked elements are not written.
            unsafe { _mm512_mask_storeu_ps(p, first_lanes(n), acc) }
        }
    }

    impl Arch for Avx512Bf16 {
        type Elem = bf16;
        type Acc = __m512;
        type Operand = __m512bh;
        const LANES: usize = 16;
        const UNIT: usize = 2;

        #[inline(always)]
        unsafe fn prefetch(p: *const bf16) {
            // SAFETY: see above; a prefetch of an invalid address does nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_acc(p: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store_acc(p: *mut f32, acc: __m512) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(p, acc) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn at_least(a: __m512, low: __m512) -> __m512 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm512_max_ps(low, a) }
        }
        #[inline(always)]
        unsafe fn at_most(a: __m512, high: __m512) -> __m512 {
            // SAFETY: see above; with a NaN in a pair, the intrinsic returns the second operand.
            unsafe { _mm512_min_ps(high, a) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const bf16) -> __m512 {
            // SAFETY: see above; the upper half of an f32 is a bf16.
            unsafe {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn load(p: *const bf16) -> __m512bh {
            // SAFETY: see above; both types are 64 bytes of any bits.
            unsafe { std::mem::transmute(_mm512_loadu_si512(p.cast())) }
        }
        #[inline(always)]
        unsafe fn broadcast(p: *const bf16) -> __m512bh {
            // SAFETY: see above; two elements are four bytes, read unaligned.
            unsafe { std::mem::transmute(_mm512_set1_epi32(p.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn dot(acc: __m512, a: __m512bh, b: __m512bh) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_dpbf16_ps(acc, a, b) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut bf16, acc: __m512) {
            // SAFETY: see above; both types are 32 bytes of any bits.
            unsafe {
                _mm256_storeu_si256(
                    p.cast(),
                    std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(acc)),
                )
            }
        }
        #[inline(always)]
        unsafe fn load_wide_part(p: *const bf16, n: usize) -> __m512 {
            // SAFETY: see above; masked elements are not read. The upper half of an f32 is a bf16.
            unsafe {
                let bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n), p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }
        }
        #[inline(always)]
        unsafe fn store_part(p: *mut bf16, acc: __m512, n: usize) {
            // SAFETY: see above; masked elements are not written, and both types are 32 bytes of any bits.
            unsafe {
                let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(acc));
                _mm256_mask_storeu_epi16(p.cast(), first_lanes(n), rounded);
            }
        }
    }
}
