//! CPU kernels on slices: the operations of a convolutional network, forward and backward.
//!
//! The kernels take slices with a shape and write slices. They have no tensor type, no network and no state. Feature
//! maps are f32, or any [`Element`] (f32 or bf16) where a function is generic over it. They are contiguous in
//! (n, h, w, c) order, so the channels of a pixel lie side by side. An operation on channels is therefore a loop over
//! them, and a convolution is a matrix product with rows of pixels. Weights are in PyTorch's order:
//! (c_out, c_in, k_h, k_w) and (f_out, f_in).
//!
//! * convolution: [`conv2d_forward`], [`conv2d_input_grad`], [`conv2d_weight_grad`], and [`FoldedConv`] for
//!   inference; depthwise: [`depthwise_forward`], [`depthwise_input_grad`], [`depthwise_weight_grad`],
//!   [`FoldedDepthwise`]; fully connected: [`linear_forward`], [`linear_input_grad`], [`linear_weight_grad`]; the
//!   gradient of a bias is [`channel_sums`];
//! * batch normalisation: [`batch_norm_stats`], [`scale_shift`], [`batch_norm_backward`],
//!   [`batch_norm_backward_frozen`]; fused with the operations after it: [`norm_act`], [`norm_act_backward`],
//!   [`norm_affine`], [`norm_affine_backward`]; layer normalisation: [`layer_norm`], [`layer_norm_backward`];
//! * activations: [`relu`], [`relu6`], [`gelu`], [`silu`], [`hard_swish`] and their gradients;
//! * squeeze and excite: [`scale_channels`], the gates [`sigmoid`] and [`hard_sigmoid`], and their gradients;
//! * tokens of vision transformers: [`attention`], [`embed_tokens`], [`class_and_mean_token`];
//! * pooling: [`max_pool2d`], [`avg_pool2d`] and their gradients;
//! * channels of several maps side by side: [`concat_channels`], [`take_channels`]; zeros below and to the right of a
//!   map: [`zero_pad`], [`zero_pad_backward`];
//! * loss: [`softmax_cross_entropy`], [`log_softmax`];
//! * search: [`largest_products`];
//! * [`optim`]: steps of SGD, Adam, AdamW and Muon in place; [`math`]: functions with the same bits on every
//!   platform;
//! * [`isa()`]: the instruction set in use; [`profile`]: counts and times of kernel calls; [`measured_peak_gflops`]:
//!   the highest measured throughput of the processor.
//!
//! **Results do not depend on the number of threads.** Work runs on rayon's current pool. The shape alone decides how
//! work is divided, and partial sums are added in a fixed order: the same slices give the same bits on 1 thread and
//! on 16.
//!
//! **A wrong length is a programming error.** It panics with the names of the function and the slice and with both
//! lengths. A caller that takes shapes from a user or a file must check them first.
//!
//! ```
//! use tallow_kernels::{ConvShape, Padding, conv2d_forward, relu};
//! // the mean of each pixel and its four neighbours, of one 4 x 5 image with one channel
//! let s = ConvShape { n: 1, h: 4, w: 5, c_in: 1, c_out: 1, k_h: 3, k_w: 3, stride: 1, padding: Padding::Symmetric(1) };
//! let image: Vec<f32> = (0..20).map(|i| i as f32).collect();
//! let weight = [0.0, 0.2, 0.0, 0.2, 0.2, 0.2, 0.0, 0.2, 0.0];
//! let mut blurred = vec![0.0; s.y_len()];
//! conv2d_forward(&s, &image, &weight, Some(&[-6.0]), &mut blurred);
//! let mut y = vec![0.0; blurred.len()];
//! relu(&blurred, &mut y);
//! assert_eq!((y[0], y[6], y[12]), (0.0, 0.0, 6.0)); // corner, and the two pixels with row 1, 2 and column 1, 2
//! ```
#![deny(unsafe_code)] // except one call in `gemm.rs`, the inner loops of `direct`, and `vectorised!`

mod conv;
mod depthwise;
#[allow(unsafe_code)] // every bound is checked before a loop begins, in `direct/kernel.rs`
mod direct;
mod inverted_residual;
mod linear;

mod batch_norm;
mod layer_norm;
mod norm_act;
mod reduce;

mod activation;
mod concat;
mod loss;
pub mod math;
mod nearest;
pub mod optim;
mod pool;
mod squeeze_excite;
mod tokens;
mod zero_pad;

mod chunks;
mod convert;
mod error;
mod gemm;
mod im2col;
mod isa;
mod layout;
mod padding;
pub mod profile;
mod transpose;
mod vectorise;

pub use activation::{
    gelu, gelu_backward, hard_swish, hard_swish_backward, relu, relu_backward, relu6, relu6_backward, silu,
    silu_backward,
};
pub use batch_norm::{batch_norm_backward, batch_norm_backward_frozen, batch_norm_stats, scale_shift};
pub use concat::{concat_channels, take_channels};
pub use conv::{
    ConvShape, FoldedConv, FoldedEpilogue, conv2d_forward, conv2d_forward_with_moments, conv2d_input_grad,
    conv2d_weight_grad,
};
pub use convert::{add, masked, narrow, widen};
pub use depthwise::{
    DepthwiseShape, FoldedDepthwise, depthwise_forward, depthwise_forward_with_moments, depthwise_input_grad,
    depthwise_weight_grad,
};
pub use direct::{
    AttentionShape, CONV_VARIABLE, Element, Moments, attention, check_conv_method, measured_peak_gflops,
};
pub use error::{IsaError, MethodError};
pub use inverted_residual::InvertedResidual;
pub use isa::{ISA_VARIABLE, Isa, detect_isa, is_bf16_faster, isa};
pub use layer_norm::{LayerNormState, layer_norm, layer_norm_backward};
pub use linear::{linear_forward, linear_input_grad, linear_weight_grad};
pub use loss::{CrossEntropyMeans, Reduction, Targets, log_softmax, softmax_cross_entropy};
pub use nearest::largest_products;
pub use norm_act::{
    Affine, After, NormActShape, NormState, Saved, norm_act, norm_act_backward, norm_affine,
    norm_affine_backward,
};
pub use padding::Padding;
pub use pool::{PoolShape, avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward};
pub use reduce::{channel_moments, channel_sums};
pub use squeeze_excite::{
    hard_sigmoid, hard_sigmoid_backward, scale_channels, scale_channels_backward, sigmoid, sigmoid_backward,
};
pub use tokens::{class_and_mean_token, embed_tokens};
pub use zero_pad::{zero_pad, zero_pad_backward};
