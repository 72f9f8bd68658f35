//! Convolution without a matrix of patches: the kernel reads the padded map directly.
//!
//! In (n, h, w, c) order the `k_w * c` numbers under one row of a kernel lie side by side. A window is therefore
//! `k_h` runs of that length, and every size, stride and channel count uses the same loop:
//!
//! ```text
//! for each task (some images, or a band of rows of a large one), in parallel:
//!     copy its input rows, with zeros around them, into a scratch buffer that stays in L2 (unless no window needs zeros)
//!     for each block of output channels, for each tile of MR pixels:
//!         acc[MR][NV] = 0
//!         for each kernel row, for each unit of its run:       a unit: 2 numbers in bf16, 1 in f32
//!             acc[i][v] += broadcast(x at pixel i) * weights[v]    for all i, v
//!         acc + bias (+ residual, ReLU or ReLU6) -> moments, output (with pooling: L2, then the 2x2 pooling)
//! ```
//!
//! Where weights are larger than maps, the work is divided by output channels as well: see `parts`.
//!
//! The input gradient is the same loop on the output's gradient with the taps reversed, once per phase of the stride.
//! The weight gradient sums over pixels instead (see `weight_grad`).
//!
//! Depthwise convolutions have their own loops: see `depthwise`.
//!
//! 3x3 convolutions with stride 1 can take fewer products: see `winograd`, which uses the same loops, and `method`,
//! which chooses the method.
//!
//! The products of attention use this loop too: see `attention`. Blocks of mobile networks stay in L2: see
//! `inverted_residual`.
//!
//! `arch` has the parts that differ between instruction sets; `Kernels::of` picks one. Everything else is divided by
//! the shape alone.

mod arch;
mod attention;
mod depthwise;
mod element;
mod forward;
mod geometry;
mod input_grad;
mod inverted_residual;
mod kernel;
mod method;
mod pack;
mod parts;
mod peak;
mod scratch;
mod units;
mod weight_grad;
mod winograd;

#[cfg(test)]
pub(crate) use inverted_residual::is_one_band;

#[cfg(test)]
mod emulated;
#[cfg(test)]
mod tests;

pub use attention::{AttentionShape, attention};
pub use element::Element;
pub use forward::Moments;
pub(crate) use forward::{Epilogue, Input, forward};
pub(crate) use input_grad::input_grad;
pub(crate) use inverted_residual::{Block, Pointwise, can_fuse, inverted_residual};
pub(crate) use kernel::Kernels;
pub use method::{CONV_VARIABLE, check_conv_method};
pub(crate) use method::{Method, Pass};
pub(crate) use pack::PackedWeights;
pub use peak::measured_peak_gflops;
pub(crate) use weight_grad::weight_grad;
