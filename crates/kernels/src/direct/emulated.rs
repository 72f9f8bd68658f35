//! AVX-512 and AVX-512-BF16 in plain Rust, for tests: the loops, packing, transforms and pairs of 16 lanes run on
//! every processor. A test of an instruction set that the processor lacks runs with them instead.

use half::bf16;

use super::depthwise::{lines_task, sums_task};
use super::element::Element;
use super::kernel::{Arch, ForwardTask, Kernels, NV, WeightTask, forward_task, weight_grad_task};
use crate::depthwise::{LinesTask, SumsTask};
use crate::error::IsaError;
use crate::isa::{Isa, detect_isa};

/// Defines an instruction set with arrays as vectors, and a function that returns its loops.
macro_rules! emulate {
    ($name:ident, $kernels:ident, $element:ty, $unit:literal) => {
        struct $name;

        pub(super) fn $kernels() -> Kernels<$element> {
            unsafe fn forward(task: ForwardTask<'_, $element>) {
                // SAFETY: as the caller promises; no feature is needed.
                unsafe { forward_task::<$name, 12>(task) }
            }
            unsafe fn weight_grad(task: WeightTask<'_, $element>) {
                // SAFETY: as the caller promises; no feature is needed.
                unsafe { weight_grad_task::<$name, 12>(task) }
            }
            unsafe fn lines(task: LinesTask<'_, $element>) {
                // SAFETY: as the caller promises; no feature is needed.
                unsafe { lines_task::<$name>(task) }
            }
            unsafe fn sums(task: SumsTask<'_, $element>) {
                // SAFETY: as the caller promises; no feature is needed.
                unsafe { sums_task::<$name>(task) }
            }
            Kernels {
                lanes: $name::LANES,
                block: NV * $name::LANES,
                unit: $unit,
                method: None,
                wide: f32_kernels,
                forward,
                weight_grad,
                lines,
                sums,
                peak: |_| 0,
            }
        }

        // SAFETY below: pointers are valid for the lengths that the trait states, in any alignment; the rest is plain
        // arithmetic.
        impl Arch for $name {
            type Elem = $element;
            type Acc = [f32; 16];
            type Operand = [$element; 16 * $unit];
            const LANES: usize = 16;
            const UNIT: usize = $unit;

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
            unsafe fn splat(x: f32) -> [f32; 16] {
                [x; 16]
            }
            unsafe fn at_least(a: [f32; 16], low: [f32; 16]) -> [f32; 16] {
                std::array::from_fn(|i| if a[i] < low[i] { low[i] } else { a[i] })
            }
            unsafe fn at_most(a: [f32; 16], high: [f32; 16]) -> [f32; 16] {
                std::array::from_fn(|i| if a[i] > high[i] { high[i] } else { a[i] })
            }
            unsafe fn load_wide(p: *const $element) -> [f32; 16] {
                // SAFETY: see above.
                unsafe { p.cast::<[$element; 16]>().read_unaligned() }.map(Element::to_f32)
            }
            unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
                std::array::from_fn(|i| a[i] * b[i] + c[i])
            }
            unsafe fn load(p: *const $element) -> Self::Operand {
                // SAFETY: see above.
                unsafe { p.cast::<Self::Operand>().read_unaligned() }
            }
            unsafe fn broadcast(p: *const $element) -> Self::Operand {
                // SAFETY: see above.
                let unit = unsafe { p.cast::<[$element; $unit]>().read_unaligned() };
                std::array::from_fn(|i| unit[i % unit.len()])
            }
            unsafe fn dot(acc: [f32; 16], a: Self::Operand, b: Self::Operand) -> [f32; 16] {
                let product = |i: usize| a[i].to_f32() * b[i].to_f32();
                std::array::from_fn(|i| acc[i] + (0..$unit).map(|u| product($unit * i + u)).sum::<f32>())
            }
            unsafe fn store(p: *mut $element, acc: [f32; 16]) {
                // SAFETY: see above.
                unsafe { p.cast::<[$element; 16]>().write_unaligned(acc.map(Element::from_f32)) }
            }
        }
    };
}

emulate!(Avx512, f32_kernels, f32, 1);
emulate!(Avx512Bf16, bf16_kernels, bf16, 2);

/// An element type with emulated loops.
pub(super) trait Emulated: Element {
    fn emulated() -> Kernels<Self>;
}

impl Emulated for f32 {
    fn emulated() -> Kernels<Self> {
        f32_kernels()
    }
}

impl Emulated for bf16 {
    fn emulated() -> Kernels<Self> {
        bf16_kernels()
    }
}

/// Returns the loops of `isa`, or the emulated ones if the processor does not have it. Then it must not be offered either.
pub(super) fn kernels_or_emulated<E: Emulated>(isa: Isa) -> Kernels<E> {
    match detect_isa(Some(isa.as_str())) {
        Ok(found) => {
            assert_eq!(found, isa);
            Kernels::of(isa).unwrap_or_else(|| panic!("{isa:?} has no loops"))
        }
        Err(IsaError::Unavailable { requested, available }) => {
            assert!(requested == isa.as_str() && !available.split(", ").any(|name| name == requested));
            E::emulated()
        }
        Err(other) => panic!("{isa:?}: {other}"),
    }
}
