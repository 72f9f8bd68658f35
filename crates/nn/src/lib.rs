//! The parts of networks: layers, losses, optimisers and parameters on Candle tensors.
//!
//! A layer is `forward(x, ctx)`. The context states whether the pass trains, and which of two paths it takes ([`Backend`]): on the
//! CPU `tallow-kernels` with a tape of our own, on CUDA and Metal Candle's operators and autograd. This crate handles layouts,
//! devices and gradients, so models need no code for them.
//!
//! ```
//! use tallow_nn::{CrossEntropy, Ctx, Dims, Layer, Linear, Optimizer, OptimizerConfig, ParamStore, Backend, TrainKey};
//!
//! let device = tallow_nn::device("cpu")?;
//! let mut store = ParamStore::new(0, &device);
//! let layer = Linear::new(&mut store.root().sub("fc"), 2, 3, true)?;
//! let config = OptimizerConfig::Sgd { lr: 0.5, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
//! let mut optimizer = Optimizer::new(&config, &[], &store)?;
//!
//! let mut losses = Vec::new();
//! for step in 0..20 {
//!     let mut ctx = Ctx::train(Backend::of(&device), &device, TrainKey { seed: 0, epoch: 0, first_position: step });
//!     let x = ctx.input(vec![1.0, 0.0, 0.0, 1.0], Dims { n: 2, c: 2, h: 1, w: 1 })?;
//!     let logits = layer.forward(x, &mut ctx)?;
//!     let loss = CrossEntropy::default().forward(&logits, &[0, 2])?;
//!     let grads = ctx.backward(&logits, loss.grad_logits)?;
//!     optimizer.step(&store, &grads, config.lr())?;
//!     losses.push(loss.mean);
//! }
//! assert!(losses[19] < 0.1 * losses[0]);
//! # Ok::<(), tallow_nn::NnError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod act;
mod activation_map;
mod candle_ops;
mod ctx;
mod device;
mod error;
mod file_digest;
mod flat;
mod folded;
mod gradients;
mod graph;
mod header;
mod host;
mod init;
mod layers;
mod loss;
mod map;
mod misfit;
mod model;
mod optim;
mod params;
mod size;
mod weights;

pub use act::{Act, Dims};
pub use activation_map::ActivationMap;
pub use candle_core::Device;
pub use ctx::{Ctx, TrainKey};
pub use device::{Backend, device, device_name, native_precision};
pub use error::{NnError, Result};
pub use gradients::{Announcer, Gradients};
pub use graph::{Constant, Graph, Node, Op, Value};
pub use header::MAX_HEADER_BYTES;
pub use init::Init;
pub use layers::{
    AvgPool2d, BatchNorm2d, BatchNormConfig, CandleModel, CandleModule, Concat, Conv2d, Conv2dConfig,
    ConvNormAct, DepthwiseConfig, DepthwiseConv2d, DepthwiseNormAct, Dropout, Flatten, Gelu, GlobalAvgPool,
    InvertedResidual, Layer, LayerNorm, LearnableAffine, Linear, MaxPool2d, NormAct, PooledStages,
    PositionResize, Relu, Residual, ResidualBlock, Scale, Sequential, Takes, TokenFeatures,
    VisionTransformer, VisionTransformerConfig, ZeroPad2d,
};
pub use loss::{CrossEntropy, Loss, Reduction, log_softmax};
pub use map::Precision;
pub use misfit::{Misfit, NonFinite, first_non_finite};
pub use model::{CUSTOM, Model, Trunk};
pub use optim::{GroupOptimizer, Optimizer, OptimizerConfig, ParamGroup, Rate, SgdSettings};
pub use params::{Param, ParamStore, Scope};
pub use size::NetworkSize;
pub use tallow_kernels::{
    After, CONV_VARIABLE, Isa, IsaError, MethodError, Padding, check_conv_method, detect_isa, isa,
    largest_products, linear_forward, linear_weight_grad,
};
pub use weights::{
    HostTensor, METADATA_KEY, Tensors, decode, encode, encode_with_digest, has_digest, le_bytes,
};
