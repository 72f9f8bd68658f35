//! AVX-512-BF16 in plain Rust, for tests: whatever the processor, the loops, packing and pairs of bf16 are run.

use half::bf16;

use super::element::Element;
use super::kernel::{Arch, ForwardTask, Kernels, NV, WeightTask, forward_task, weight_grad_task};

struct Emulated;

pub(super) fn bf16_kernels() -> Kernels<bf16> {
    Kernels {
        block: NV * Emulated::LANES,
        unit: Emulated::UNIT,
        has_winograd: false,
        forward,
        weight_grad,
        peak: |_| 0,
    }
}

unsafe fn forward(task: ForwardTask<'_, bf16>) {
    // SAFETY: as the caller promises; no feature is needed.
    unsafe { forward_task::<Emulated, 12>(task) }
}

unsafe fn weight_grad(task: WeightTask<'_, bf16>) {
    // SAFETY: as the caller promises; no feature is needed.
    unsafe { weight_grad_task::<Emulated, 12>(task) }
}

// SAFETY of what follows: pointers reach as far as the trait says, in any alignment; the rest is plain arithmetic.
impl Arch for Emulated {
    type Elem = bf16;
    type Acc = [f32; 16];
    type Operand = [bf16; 32];
    const LANES: usize = 16;
    const UNIT: usize = 2;

    unsafe fn zero() -> [f32; 16] {
        [0.0; 16]
    }
    unsafe fn load_acc(p: *const f32) -> [f32; 16] {
        // SAFETY: see above.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    unsafe fn store_acc(p: *mut f32, acc: [f32; 16]) {
        // SAFETY: see above.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(acc) }
    }
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    unsafe fn relu(a: [f32; 16]) -> [f32; 16] {
        a.map(|a| if a < 0.0 { 0.0 } else { a })
    }
    unsafe fn load_wide(p: *const bf16) -> [f32; 16] {
        // SAFETY: see above.
        unsafe { p.cast::<[bf16; 16]>().read_unaligned() }.map(Element::to_f32)
    }
    unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    unsafe fn load(p: *const bf16) -> [bf16; 32] {
        // SAFETY: see above.
        unsafe { p.cast::<[bf16; 32]>().read_unaligned() }
    }
    unsafe fn broadcast(p: *const bf16) -> [bf16; 32] {
        // SAFETY: see above.
        let pair = unsafe { p.cast::<[bf16; 2]>().read_unaligned() };
        std::array::from_fn(|i| pair[i % 2])
    }
    unsafe fn dot(acc: [f32; 16], a: [bf16; 32], b: [bf16; 32]) -> [f32; 16] {
        let product = |i: usize| a[i].to_f32() * b[i].to_f32();
        std::array::from_fn(|i| acc[i] + product(2 * i) + product(2 * i + 1))
    }
    unsafe fn store(p: *mut bf16, acc: [f32; 16]) {
        // SAFETY: see above.
        unsafe { p.cast::<[bf16; 16]>().write_unaligned(acc.map(Element::from_f32)) }
    }
}
