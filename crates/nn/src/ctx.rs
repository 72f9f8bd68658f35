//! The context of one pass through a network: which path it takes, whether it trains, and what undoes it.
//!
//! On the kernel path each layer pushes one closure that turns the gradient of its output into the gradient of its
//! input and hands its parameters' gradients over by name; [`Ctx::backward`] walks them in reverse. On the Candle
//! path the layers note which parameters they used, and `backward` calls Candle's autograd.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use crate::act::{Act, Dims, from_candle, to_candle};
use crate::device::Path;
use crate::error::{NnError, Result};
use crate::gradients::Gradients;
use crate::graph::Node;
use crate::map::{Buffer, HostMap, MapElement as _, Precision};
use crate::params::Param;

/// What undoes one layer: gradient of its output in, gradient of its input out (`None` where nobody wants it).
pub(crate) type Undo = Box<dyn FnOnce(HostMap, &mut Gradients) -> Result<Option<HostMap>> + Send>;

/// What the layers of a (part of a) network pushed, first layer first.
#[derive(Default)]
pub(crate) struct Tape(Vec<Undo>);

impl Tape {
    /// Walks back to the input, or to the layer below which nobody wants a gradient.
    pub(crate) fn backward(self, grad: HostMap, grads: &mut Gradients) -> Result<Option<HostMap>> {
        let mut grad = grad;
        for undo in self.0.into_iter().rev() {
            match undo(grad, grads)? {
                Some(below) => grad = below,
                None => return Ok(None),
            }
        }
        Ok(Some(grad))
    }
}

/// What a training pass draws its random numbers from: dropout masks are a function of this, of the layer's name and
/// of the image's place in the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place of the batch's first image in the epoch's order.
    pub first_position: u64,
}

/// The context of one forward pass and, when training, the backward pass that belongs to it.
pub struct Ctx {
    path: Path,
    device: Device,
    train: Option<TrainKey>,
    precision: Precision,
    tape: Tape,
    used: Vec<Param>,
    input: Option<Var>,
    nodes: Vec<Node>,
}

impl Ctx {
    /// A context for training: batch statistics, dropout, and a backward pass.
    pub fn train(path: Path, device: &Device, key: TrainKey) -> Self {
        Self::new(path, device, Some(key))
    }

    /// A context for inference: running statistics, no dropout, nothing is kept for a backward pass.
    pub fn eval(path: Path, device: &Device) -> Self {
        Self::new(path, device, None)
    }

    fn new(path: Path, device: &Device, train: Option<TrainKey>) -> Self {
        let precision = Precision::default();
        Self {
            path,
            device: device.clone(),
            train,
            precision,
            tape: Tape::default(),
            used: Vec::new(),
            input: None,
            nodes: Vec::new(),
        }
    }

    /// A context that records the operations of inference.
    pub(crate) fn record(device: &Device) -> Self {
        Self::new(Path::Graph, device, None)
    }

    /// The operations recorded so far.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Appends an operation, and returns its index.
    pub(crate) fn push_node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The same context, computing in `precision`. The default is f32.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What the pass computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The path that layers take.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The device that the pass runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The key of a training pass; `None` in inference.
    pub fn train_key(&self) -> Option<TrainKey> {
        self.train
    }

    /// Whether this is a training pass.
    pub fn is_training(&self) -> bool {
        self.train.is_some()
    }

    /// Brings a batch in: `pixels` in (N, H, W, C) order.
    ///
    /// # Errors
    /// If there are none, or not as many as `dims` says, or the device fails.
    pub fn input(&mut self, pixels: Vec<f32>, dims: Dims) -> Result<Act> {
        if pixels.len() != dims.len() || pixels.is_empty() {
            return Err(NnError::shape("input", format!("{} numbers given for {dims}", pixels.len())));
        }
        match self.path {
            Path::Kernels => Ok(Act::host(dims, Buffer::of_batch(pixels), false)),
            Path::Candle => Ok(Act::candle(dims, to_candle(&pixels, dims, &self.device)?)),
            Path::Graph => {
                Err(NnError::shape("input", "a graph is recorded by Graph::record, without pixels"))
            }
        }
    }

    /// Like [`input`](Self::input), and [`backward`](Self::backward) gives the gradient of the input too.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn input_with_grad(&mut self, pixels: Vec<f32>, dims: Dims) -> Result<Act> {
        let act = self.input(pixels, dims)?;
        match self.path {
            Path::Kernels => Ok(Act::host(dims, act.as_host("input")?, true)),
            Path::Candle => {
                let var = Var::from_tensor(act.as_candle("input")?)?;
                let tensor = var.as_tensor().clone();
                self.input = Some(var);
                Ok(Act::candle(dims, tensor))
            }
            Path::Graph => Ok(act),
        }
    }

    /// Keeps what undoes a layer of the kernel path that computes in f32; only in training.
    pub(crate) fn push<R: Into<HostMap>>(
        &mut self,
        undo: impl FnOnce(Arc<Buffer<f32>>, &mut Gradients) -> Result<Option<R>> + Send + 'static,
    ) {
        self.push_map(move |grad, grads| Ok(undo(f32::of(&grad), grads)?.map(Into::into)));
    }

    /// Keeps what undoes a layer of the kernel path, which takes and gives gradients of either type; only in training.
    pub(crate) fn push_map(
        &mut self,
        undo: impl FnOnce(HostMap, &mut Gradients) -> Result<Option<HostMap>> + Send + 'static,
    ) {
        if self.is_training() {
            self.tape.0.push(Box::new(undo));
        }
    }

    /// Runs `forward` with a tape of its own and returns that tape: the branch of a residual block.
    pub(crate) fn branch(&mut self, forward: impl FnOnce(&mut Self) -> Result<Act>) -> Result<(Act, Tape)> {
        let outer = std::mem::take(&mut self.tape);
        let result = forward(self);
        let inner = std::mem::replace(&mut self.tape, outer);
        Ok((result?, inner))
    }

    /// A parameter as a tensor of the Candle path: tracked in training, detached in inference and where it is frozen.
    pub(crate) fn weight(&mut self, param: &Param) -> Tensor {
        if self.is_training() && !param.is_frozen() {
            self.used.push(param.clone());
            param.var().as_tensor().clone()
        } else {
            param.var().as_detached_tensor()
        }
    }

    /// The gradients of `sum(logits * grad_logits)`, which is what a loss with the gradient `grad_logits` asks for:
    /// (N, C) row by row. `logits` is what the pass ended with.
    ///
    /// # Errors
    /// If this is no training pass, `grad_logits` has another size than `logits`, or the device fails.
    pub fn backward(self, logits: &Act, grad_logits: Vec<f32>) -> Result<Gradients> {
        if !self.is_training() {
            return Err(NnError::shape("backward", "this pass was run for inference and kept nothing"));
        }
        if grad_logits.len() != logits.dims().len() {
            let problem = format!("{} gradients given for logits of {}", grad_logits.len(), logits.dims());
            return Err(NnError::shape("backward", problem));
        }
        match self.path {
            Path::Kernels => {
                let mut grads = Gradients::default();
                if logits.needs_grad() {
                    let input = self.tape.backward(grad_logits.into(), &mut grads)?;
                    grads.input = input.map(|grad| f32::of(&grad).to_vec());
                }
                Ok(grads)
            }
            Path::Candle => self.backward_candle(logits, &grad_logits),
            Path::Graph => Err(NnError::shape("backward", "a recorded pass has no gradients")),
        }
    }

    fn backward_candle(mut self, logits: &Act, grad_logits: &[f32]) -> Result<Gradients> {
        let tensor = logits.as_candle("backward")?.to_dtype(candle_core::DType::F32)?;
        let grad = to_candle(grad_logits, logits.dims(), &self.device)?;
        let store = (tensor * grad)?.sum_all()?.backward()?;
        let mut grads = Gradients::default();
        self.used.sort_by(|a, b| a.name().cmp(b.name()));
        self.used.dedup_by(|a, b| a.name() == b.name());
        for param in self.used {
            if let Some(grad) = store.get(param.var()) {
                grads.insert(param.name(), grad.detach().contiguous()?);
            }
        }
        if let Some(grad) = self.input.as_ref().and_then(|input| store.get(input)) {
            grads.input = Some(from_candle(grad)?);
        }
        Ok(grads)
    }
}
