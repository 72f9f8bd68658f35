//! The device of a network, and which of the two paths its layers take. Only this file makes these choices.
//!
//! On the CPU, feature maps are (N, H, W, C) and are computed by `tallow-kernels`, with a tape of our own for gradients. On CUDA
//! and Metal, feature maps are (N, C, H, W) and are computed by Candle's operators, with Candle's autograd. Tests run both paths
//! on the CPU and compare them.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;

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

/// Returns the precision that is fastest on `device`: bf16 if the processor multiplies bf16 faster than f32, otherwise f32.
pub fn native_precision(device: &Device) -> Precision {
    match device {
        Device::Cpu if tallow_kernels::is_bf16_faster() => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// Returns the device called `name`: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// `auto` is the first CUDA device, or Metal, if the binary was built for it and the machine has one. Otherwise it is the CPU.
///
/// # Errors
/// If the name is unknown, or the device is not available. The message then says how to build for the device. Also if there is
/// a CUDA device and one of CUDA's libraries is missing: `auto` would be many times slower on the CPU and say nothing.
pub fn device(name: &str) -> Result<Device> {
    let ordinal = |text: &str| {
        text.parse::<usize>()
            .map_err(|_| NnError::Device(format!("device {name}: \"{text}\" is not a number")))
    };
    match name {
        "auto" => Ok(open_cuda(0)?.or_else(|_| Device::new_metal(0)).unwrap_or(Device::Cpu)),
        "cpu" => Ok(Device::Cpu),
        "cuda" => cuda(0),
        "metal" => Device::new_metal(0).map_err(|e| missing("metal", "metal", cfg!(feature = "metal"), &e)),
        _ => match name.strip_prefix("cuda:") {
            Some(n) => cuda(ordinal(n)?),
            None => Err(NnError::Device(format!(
                "unknown device \"{name}\": expected auto, cpu, cuda, cuda:N or metal"
            ))),
        },
    }
}

fn cuda(ordinal: usize) -> Result<Device> {
    let name = format!("cuda:{ordinal}");
    open_cuda(ordinal)?.map_err(|e| missing(&name, "cuda", cfg!(feature = "cuda"), &e))
}

/// Opens a CUDA device. The inner error says that there is none, the outer one that a library for it is missing.
///
/// A binary that loads CUDA's libraries when it needs them (`cargo xtask check-cuda --link` builds one) panics in cudarc where
/// one is missing.
fn open_cuda(ordinal: usize) -> Result<candle_core::Result<Device>> {
    match without_panic(|| Device::new_cuda(ordinal)) {
        Ok(opened) => Ok(opened),
        Err(panic) => Ok(Err(no_device(ordinal, &panic)?)),
    }
}

/// Reads the words of a panic in cudarc. Without NVIDIA's driver there is no device, and that is returned.
///
/// # Errors
/// If there is a device, but a library for it is missing or too old. cudarc looks for those after it found the device.
fn no_device(ordinal: usize, panic: &str) -> Result<candle_core::Error> {
    match missing_library(panic) {
        Some("cuda") => {
            let reason = "NVIDIA's driver, with the library libcuda, is not installed";
            Ok(candle_core::Error::Msg(reason.to_owned()))
        }
        Some(library) => Err(NnError::Device(format!(
            "device cuda:{ordinal} needs the library lib{library} of the CUDA toolkit, which is not found; install the \
             toolkit, add the library's folder to LD_LIBRARY_PATH, or use --device cpu"
        ))),
        None => Err(NnError::Device(format!(
            "device cuda:{ordinal} cannot be used ({}); update NVIDIA's driver and the CUDA toolkit, or use --device cpu",
            panic.lines().next().unwrap_or("unknown reason")
        ))),
    }
}

/// Returns the name of the library, such as `cublas`, from the words of cudarc's panic about a library that is not found.
fn missing_library(panic: &str) -> Option<&str> {
    let (name, _) = panic.strip_prefix("Unable to dynamically load the \"")?.split_once('"')?;
    Some(name)
}

/// Runs `work`. If it panics, returns the words of the panic instead of printing them.
fn without_panic<T>(work: impl FnOnce() -> T + UnwindSafe) -> std::result::Result<T, String> {
    thread_local! {
        static IS_SILENT: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_SILENT.get() {
                usual(info);
            }
        }));
    });
    IS_SILENT.set(true);
    let done = panic::catch_unwind(work);
    IS_SILENT.set(false);
    done.map_err(|payload| {
        let literal = payload.downcast_ref::<&str>().copied();
        let words = payload.downcast_ref::<String>().map(String::as_str).or(literal);
        words.unwrap_or("unknown reason").to_owned()
    })
}

fn missing(device: &str, feature: &str, is_built: bool, error: &candle_core::Error) -> NnError {
    let build = if is_built { String::new() } else { format!("build with --features {feature} on ") };
    NnError::Device(format!(
        "device {device} is not available ({}); use --device cpu, or {build}a machine that has one",
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

    #[test]
    fn where_the_binary_is_built_for_the_device_the_remedy_is_no_other_binary() {
        let error = candle_core::Error::Msg("no GPU\nbacktrace".to_owned());
        let message = |is_built| missing("cuda:1", "cuda", is_built, &error).to_string();
        assert_eq!(
            message(true),
            "device cuda:1 is not available (no GPU); use --device cpu, or a machine that has one"
        );
        assert!(message(false).ends_with("or build with --features cuda on a machine that has one"));
    }

    #[test]
    fn the_words_of_a_panic_are_returned() {
        assert_eq!(without_panic(|| 3), Ok(3));
        let formatted = without_panic(|| -> u8 { panic!("no {}", "libcublas") });
        assert_eq!(formatted, Err("no libcublas".to_owned()));
        assert_eq!(without_panic(|| -> u8 { panic!("literal") }), Err("literal".to_owned()));
    }

    /// The words of cudarc 0.19.10: of `panic_no_lib_found`, and of `load` in its `sys` modules.
    #[test]
    fn without_the_driver_there_is_no_device_and_without_another_library_it_cannot_be_used() {
        let panic = |name: &str| {
            format!(
                "Unable to dynamically load the \"{name}\" shared library - searched for library names: \
                 [\"lib{name}.so\"]. Ensure that `LD_LIBRARY_PATH` has the correct path to the installed library."
            )
        };
        assert!(no_device(0, &panic("cuda")).unwrap().to_string().starts_with("NVIDIA's driver"));
        let message = no_device(1, &panic("cublas")).unwrap_err().to_string();
        assert!(message.starts_with("device cuda:1 needs the library libcublas "), "{message}");
        let message =
            no_device(0, "Missing symbol cuCtxCreate_v4: undefined symbol").unwrap_err().to_string();
        assert!(message.contains("(Missing symbol cuCtxCreate_v4: undefined symbol)"), "{message}");
    }
}
