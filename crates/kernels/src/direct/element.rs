//! The element types of feature maps: f32 and bf16.

use std::borrow::Cow;

use half::bf16;

use super::arch;
use super::kernel::Kernels;
use crate::isa::Isa;

/// An element of a feature map: `f32` or [`half::bf16`]. Sums are f32 for both.
pub trait Element:
    sealed::Sealed + Copy + Default + Send + Sync + PartialEq + std::fmt::Debug + 'static
{
    /// Returns the nearest number of this type; ties go to the even one.
    fn from_f32(x: f32) -> Self;
    /// Returns the number as f32, exactly.
    fn to_f32(self) -> f32;
    /// Returns the numbers as f32: the slice itself, or a copy.
    fn as_f32(x: &[Self]) -> Cow<'_, [f32]>;
    /// Lets `edit` write f32 numbers, and rounds them into `y`. `edit` must not rely on the previous numbers of `y`.
    fn edit_as_f32(y: &mut [Self], edit: impl FnOnce(&mut [f32]));
    #[doc(hidden)]
    fn kernels(isa: Isa) -> Option<sealed::Direct<Self>>;
}

#[doc(hidden)]
pub(crate) mod sealed {
    /// Wraps a type that is not part of the public interface.
    pub struct Direct<E: super::Element>(pub(crate) super::Kernels<E>);
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn as_f32(x: &[Self]) -> Cow<'_, [f32]> {
        Cow::Borrowed(x)
    }

    fn edit_as_f32(y: &mut [Self], edit: impl FnOnce(&mut [f32])) {
        edit(y);
    }

    fn kernels(isa: Isa) -> Option<sealed::Direct<Self>> {
        arch::f32_kernels(isa).map(sealed::Direct)
    }
}

impl Element for bf16 {
    /// Rounds to nearest even with integer operations, which vectorise; NaN stays NaN.
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        Self::from_bits(if x.is_nan() { quiet_nan } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn as_f32(x: &[Self]) -> Cow<'_, [f32]> {
        x.iter().map(|&x| Element::to_f32(x)).collect()
    }

    fn edit_as_f32(y: &mut [Self], edit: impl FnOnce(&mut [f32])) {
        let mut wide = vec![0.0; y.len()];
        edit(&mut wide);
        y.iter_mut().zip(wide).for_each(|(y, x)| *y = Element::from_f32(x));
    }

    fn kernels(isa: Isa) -> Option<sealed::Direct<Self>> {
        arch::bf16_kernels(isa).map(sealed::Direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_half_crate_does() {
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            let (ours, theirs) = (<bf16 as Element>::from_f32(x), bf16::from_f32(x));
            assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{x}: {ours} {theirs}");
            assert!(x.is_nan() == ours.is_nan());
        }
    }
}
