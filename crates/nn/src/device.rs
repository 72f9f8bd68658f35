//! The device of a network, and which of the two paths its layers take. Only this file makes these choices.
//!
//! On the CPU, feature maps are (N, H, W, C) and are computed by `tallow-kernels`, with a tape of our own for gradients. On CUDA
//! and Metal, feature maps are (N, C, H, W) and are computed by Candle's operators, with Candle's autograd. Tests run both paths
//! on the CPU and compare them.

use candle_core::Device;

use crate::error::{NnError, Result};
use crate::map::Precision;

/// The way layers compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `tallow-kernels` on (N, H, W, C) in main memory, with a tape.
    Kernels,
    /// Candle's operators on (N, C, H, W), with Candle's autograd.
    Candle,
    /// Nothing is computed: layers record their operations ([`Graph`](crate::Graph)).
    Graph,
}

impl Backend {
    /// Returns the path for `device`.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Kernels,
            Device::Cuda(_) | Device::Metal(_) => Self::Candle,
        }
    }
}

/// Returns the precision that is fastest on `device`: bf16 if the processor multiplies bf16 in hardware, otherwise f32.
pub fn native_precision(device: &Device) -> Precision {
    match device {
        Device::Cpu if tallow_kernels::isa() == tallow_kernels::Isa::Avx512Bf16 => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// Returns the device called `name`: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// `auto` is the first CUDA device, or Metal, if the binary was built for it and the machine has one. Otherwise it is the CPU.
///
/// # Errors
/// If the name is unknown, or the device is not available. The message then says how to build for the device.
pub fn device(name: &str) -> Result<Device> {
    let ordinal = |text: &str| {
        text.parse::<usize>()
            .map_err(|_| NnError::Device(format!("device {name}: \"{text}\" is not a number")))
    };
    match name {
        "auto" => Ok(Device::new_cuda(0).or_else(|_| Device::new_metal(0)).unwrap_or(Device::Cpu)),
        "cpu" => Ok(Device::Cpu),
        "cuda" => cuda(0),
        "metal" => Device::new_metal(0).map_err(|e| missing("metal", "metal", &e)),
        _ => match name.strip_prefix("cuda:") {
            Some(n) => cuda(ordinal(n)?),
            None => Err(NnError::Device(format!(
                "unknown device \"{name}\": expected auto, cpu, cuda, cuda:N or metal"
            ))),
        },
    }
}

fn cuda(ordinal: usize) -> Result<Device> {
    Device::new_cuda(ordinal).map_err(|e| missing(&format!("cuda:{ordinal}"), "cuda", &e))
}

fn missing(device: &str, feature: &str, error: &candle_core::Error) -> NnError {
    NnError::Device(format!(
        "device {device} is not available ({}); use --device cpu, or build with --features {feature} on a machine that has one",
        error.to_string().lines().next().unwrap_or("unknown reason")
    ))
}

/// Returns the name of `device`, as [`device()`] reads it.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(device_name(&device("cpu").unwrap()), "cpu");
        let unknown = device("tpu").unwrap_err().to_string();
        assert!(unknown.contains("tpu") && unknown.contains("cuda:N"), "{unknown}");
        assert!(device("cuda:x").unwrap_err().to_string().contains("\"x\""));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_there_names_the_remedy() {
        let message = device("cuda").unwrap_err().to_string();
        assert!(message.contains("--device cpu") && message.contains("--features cuda"), "{message}");
    }
}
