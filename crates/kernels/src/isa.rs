//! The choice of the instruction set: detected once, at run time. `TALLOW_ISA` lowers it for tests and comparisons.
//!
//! The `gemm` crate detects its instruction set itself; `TALLOW_ISA` does not affect it.

use std::sync::OnceLock;

use crate::error::IsaError;

/// The environment variable that lowers the instruction set.
pub const ISA_VARIABLE: &str = "TALLOW_ISA";

/// An instruction set that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, compiled for the baseline of the target.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// [`Isa::Avx512`] with the bf16 dot products.
    Avx512Bf16,
    /// AArch64 with NEON.
    Neon,
}

impl Isa {
    /// All instruction sets; within an architecture the lower ones come first.
    const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Neon];

    /// Returns the name that `TALLOW_ISA` and summaries use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Neon => "neon",
        }
    }

    /// Returns whether this processor has the instruction set.
    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            Self::Neon => false,
        }
    }

    /// Returns whether this processor has the instruction set.
    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"), // part of the architecture's baseline
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 => false,
        }
    }
}

/// Returns the instruction set in use: the one that `TALLOW_ISA` names, or the best one of the processor.
///
/// The first call decides. It cannot fail: an invalid value of `TALLOW_ISA` is ignored. A binary calls [`detect_isa`]
/// first and reports the error.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let request = std::env::var_os(ISA_VARIABLE);
        detect_isa(request.as_ref().map(|name| name.to_string_lossy()).as_deref()).unwrap_or_else(|_| best())
    })
}

/// Returns the instruction set that `request` names, the value of `TALLOW_ISA`. Without a request, returns the best
/// one of the processor.
///
/// # Errors
/// If no instruction set has this name, or the processor does not have it.
pub fn detect_isa(request: Option<&str>) -> Result<Isa, IsaError> {
    let Some(name) = request else { return Ok(best()) };
    let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.as_str() == name) else {
        return Err(IsaError::Unknown { name: name.to_owned(), expected: names(Isa::ALL) });
    };
    match isa.is_available() {
        true => Ok(isa),
        false => Err(IsaError::Unavailable { requested: isa.as_str(), available: names(available()) }),
    }
}

/// Returns whether the loops of [`isa()`] multiply bf16 faster than f32.
///
/// Measured on two cores with [`measured_peak_gflops`](crate::measured_peak_gflops): 468 GFLOP/s in bf16 and 234 in f32 on an AMD
/// EPYC of family 25 (Zen 4), 167 and 337 on an Intel Xeon of family 6, model 207 (Emerald Rapids). Intel's processors multiply
/// bf16 fast only in their matrix unit (AMX), which these loops do not use.
pub fn is_bf16_faster() -> bool {
    isa() == Isa::Avx512Bf16 && !is_intel()
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}

fn available() -> impl DoubleEndedIterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn best() -> Isa {
    available().next_back().unwrap_or(Isa::Portable)
}

fn names(isas: impl IntoIterator<Item = Isa>) -> String {
    isas.into_iter().map(Isa::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_one_can_be_asked_for_by_name() {
        for isa in available() {
            assert_eq!(detect_isa(Some(isa.as_str())), Ok(isa));
        }
        assert_eq!(detect_isa(Some("portable")), Ok(Isa::Portable));
        assert!(detect_isa(None).unwrap().is_available());
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn the_maker_is_the_one_that_the_system_names() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        assert_eq!(is_intel(), told.contains("GenuineIntel"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        for name in ["sse9", "AVX2", ""] {
            let message = detect_isa(Some(name)).unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")) && message.contains("avx512bf16"), "{message}");
        }
    }

    #[test]
    fn what_the_processor_lacks_is_refused() {
        let lacking = Isa::ALL.into_iter().find(|isa| !isa.is_available()).unwrap(); // no processor has all of them
        let message = detect_isa(Some(lacking.as_str())).unwrap_err().to_string();
        assert!(message.contains(lacking.as_str()) && message.contains("portable"), "{message}");
    }
}
