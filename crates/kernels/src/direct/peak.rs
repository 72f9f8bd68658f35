//! The highest rate of multiply-adds that the processor reaches, for comparison with the kernels.

use std::hint::black_box;
use std::time::Instant;

use super::element::Element;
use super::kernel::{Arch, Kernels, NV};
use crate::isa::isa;

/// Rounds of one measurement: some milliseconds.
const N_ROUNDS: usize = 1 << 21;

/// Number of measurements. The best one counts, because disturbances only make a measurement slower.
const N_WINDOWS: usize = 12;

/// Measures the rate, in GFLOP/s, at which all threads of rayon's current pool together multiply and add without
/// memory access. Takes about a tenth of a second. Returns `None` if [`isa()`] has no kernels for `E`.
///
/// The loop is that of the convolutions, with the same number of sums in registers but without loads. An f32 product
/// and its sum are one fused multiply-add, a pair of bf16 products one `vdpbf16ps`. A product and its sum count as
/// two operations.
pub fn measured_peak_gflops<E: Element>() -> Option<f64> {
    let kernels = Kernels::<E>::of(isa())?;
    let window = || {
        let start = Instant::now();
        // SAFETY: the instruction set was detected before `Kernels` was made.
        let flops = rayon::broadcast(|_| unsafe { (kernels.peak)(N_ROUNDS) });
        flops.into_iter().sum::<usize>() as f64 / start.elapsed().as_secs_f64()
    };
    Some((0..N_WINDOWS).map(|_| window()).fold(0.0, f64::max) / 1e9)
}

/// Adds `n_rounds` products to each sum of a tile of `MR` pixels. Returns the number of operations.
///
/// # Safety
/// The processor has the features of `A`.
#[inline(always)]
pub(super) unsafe fn peak_loop<A: Arch, const MR: usize>(n_rounds: usize) -> usize {
    // `black_box` hides the initial and final sums from the compiler, so that it neither merges nor drops any
    let begin: [f32; 16] = black_box([1.0; 16]);
    let operands = black_box([A::Elem::from_f32(0.5); 32]);
    // SAFETY: features as the caller promises; no vector has more than 16 lanes, or 32 elements.
    unsafe {
        let (a, b) = (A::broadcast(operands.as_ptr()), A::load(operands.as_ptr()));
        let mut acc = [[A::zero(); NV]; MR];
        for i in 0..MR {
            for v in 0..NV {
                acc[i][v] = A::load_acc(black_box(begin).as_ptr());
            }
        }
        for _ in 0..n_rounds {
            for i in 0..MR {
                for v in 0..NV {
                    acc[i][v] = A::dot(acc[i][v], a, b);
                }
            }
        }
        let mut end = [0.0; 16];
        for i in 0..MR {
            for v in 0..NV {
                A::store_acc(end.as_mut_ptr(), acc[i][v]);
                black_box(end);
            }
        }
    }
    2 * n_rounds * MR * NV * A::LANES * A::UNIT
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn the_peak_is_what_a_processor_can_do() {
        let peaks = [measured_peak_gflops::<f32>(), measured_peak_gflops::<bf16>()];
        assert_eq!(
            peaks.map(|peak| peak.is_some()),
            [Kernels::<f32>::of(isa()).is_some(), Kernels::<bf16>::of(isa()).is_some()]
        );
        // between half an operation and 10 instructions of 64 operations per nanosecond and thread: a loop that the
        // compiler had dropped would be far above
        let n_threads = rayon::current_num_threads() as f64;
        for peak in peaks.into_iter().flatten() {
            assert!(peak > 0.5 && peak < 640.0 * n_threads, "{peak} GFLOP/s on {n_threads} threads");
        }
    }
}
