//! Plain loops compiled once per instruction set: `vectorised!` wraps a function, and the compiler vectorises it.

/// Defines a function with a body that is compiled for AVX-512, AVX2 and the baseline. The function calls the version
/// for [`crate::isa()`]. The body must be worth this lookup: a chunk of a feature map, not a pixel.
macro_rules! vectorised {
    ($(#[$meta:meta])* fn $name:ident<E: Element>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)] // calls the versions below after the match on the instruction set
        #[allow(clippy::too_many_arguments)] // parts of a feature map and one number per channel
        pub(crate) fn $name<E: Element>($($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<E: Element>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<E: Element>($($arg: $ty),*) {
                body::<E>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<E: Element>($($arg: $ty),*) {
                body::<E>($($arg),*)
            }

            match $crate::isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` returns only instruction sets that the processor has.
                $crate::Isa::Avx512 | $crate::Isa::Avx512Bf16 => unsafe { avx512::<E>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::Isa::Avx2 => unsafe { avx2::<E>($($arg),*) },
                _ => body::<E>($($arg),*),
            }
        }
    };
}

pub(crate) use vectorised;
