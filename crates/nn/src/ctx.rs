//! The context of one pass through a network: its path, whether it trains, and the tape for its backward pass.
//!
//! On the kernel backend each layer pushes one closure. The closure computes the gradient of the layer's input from the
//! gradient of its output, and stores the gradients of its parameters by name. [`Ctx::backward`] calls the closures in
//! reverse order. On the Candle backend the layers note the parameters that they used, and `backward` calls Candle's autograd.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use crate::act::{Act, Dims, from_candle, to_candle};
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::gradients::{Announcer, Gradients};
use crate::graph::Node;
use crate::map::{Buffer, HostMap, MapElement as _, Precision};
use crate::params::Param;

/// The backward pass of one layer: gets the gradient of its output, returns the gradient of its input (`None` if not needed).
pub(crate) type Undo = Box<dyn FnOnce(HostMap, &mut Gradients) -> Result<Option<HostMap>> + Send>;

/// The backward closures of a network, or of a part of it, first layer first.
#[derive(Default)]
pub(crate) struct Tape(Vec<Undo>);

impl Tape {
    /// Calls the closures back to the input, or to the last layer that needs a gradient. Returns the gradient of the input.
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

/// The key of a training pass for random numbers. A dropout mask depends only on this key, the layer's name and the image's
/// place in the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place of the batch's first image in the epoch's order.
    pub first_position: u64,
}

/// The context of one forward pass and, in training, of its backward pass.
pub struct Ctx {
    backend: Backend,
    device: Device,
    train: Option<TrainKey>,
    precision: Precision,
    tape: Tape,
    used: Vec<Param>,
    input: Option<Var>,
    nodes: Vec<Node>,
    explains: bool,
    watched: Option<Act>,
}

impl Ctx {
    /// Returns a context for training: with batch statistics, dropout, and a backward pass.
    pub fn train(backend: Backend, device: &Device, key: TrainKey) -> Self {
        Self::new(backend, device, Some(key))
    }

    /// Returns a context for inference: with running statistics, without dropout, and without data for a backward pass.
    pub fn eval(backend: Backend, device: &Device) -> Self {
        Self::new(backend, device, None)
    }

    fn new(backend: Backend, device: &Device, train: Option<TrainKey>) -> Self {
        let precision = Precision::default();
        Self {
            backend,
            device: device.clone(),
            train,
            precision,
            tape: Tape::default(),
            used: Vec::new(),
            input: None,
            nodes: Vec::new(),
            explains: false,
            watched: None,
        }
    }

    /// Returns a context for inference on the kernel backend that keeps a tape from the last map on.
    pub(crate) fn explain(device: &Device) -> Self {
        Self { explains: true, ..Self::new(Backend::Kernels, device, None) }
    }

    /// Whether the pass is one for explanation.
    pub(crate) fn explains(&self) -> bool {
        self.explains
    }

    pub(crate) fn set_watched(&mut self, map: Act) {
        self.watched = Some(map);
    }

    pub(crate) fn take_watched(&mut self) -> Option<Act> {
        self.watched.take()
    }

    /// A context that records the operations of inference.
    pub(crate) fn record(device: &Device) -> Self {
        Self::new(Backend::Graph, device, None)
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

    /// Returns the context with another precision. The default is f32.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Returns the precision of the pass.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the path that layers take.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Returns the device that the pass runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the key of a training pass; `None` in inference.
    pub fn train_key(&self) -> Option<TrainKey> {
        self.train
    }

    /// Whether the pass keeps what a backward pass needs: in training, and in a pass for explanation.
    pub fn is_training(&self) -> bool {
        self.train.is_some() || self.explains
    }

    /// Returns a batch as an activation. `pixels` are in (N, H, W, C) order.
    ///
    /// # Errors
    /// If there are no pixels, their number does not agree with `dims`, or the device fails.
    pub fn input(&mut self, pixels: Vec<f32>, dims: Dims) -> Result<Act> {
        if pixels.len() != dims.len() || pixels.is_empty() {
            return Err(NnError::shape("input", format!("{} numbers given for {dims}", pixels.len())));
        }
        match self.backend {
            Backend::Kernels => Ok(Act::host(dims, Buffer::of_batch(pixels), false)),
            Backend::Candle => Ok(Act::candle(dims, to_candle(&pixels, dims, &self.device)?)),
            Backend::Graph => {
                Err(NnError::shape("input", "a graph is recorded by Graph::record, without pixels"))
            }
        }
    }

    /// Like [`input`](Self::input), but [`backward`](Self::backward) also returns the gradient of the input.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn input_with_grad(&mut self, pixels: Vec<f32>, dims: Dims) -> Result<Act> {
        let act = self.input(pixels, dims)?;
        match self.backend {
            Backend::Kernels => Ok(Act::host(dims, act.as_host("input")?, true)),
            Backend::Candle => {
                let var = Var::from_tensor(act.as_candle("input")?)?;
                let tensor = var.as_tensor().clone();
                self.input = Some(var);
                Ok(Act::candle(dims, tensor))
            }
            Backend::Graph => Ok(act),
        }
    }

    /// In training, keeps the backward closure of a layer of the kernel backend that computes in f32.
    pub(crate) fn push<R: Into<HostMap>>(
        &mut self,
        undo: impl FnOnce(Arc<Buffer<f32>>, &mut Gradients) -> Result<Option<R>> + Send + 'static,
    ) {
        self.push_map(move |grad, grads| Ok(undo(f32::of(&grad), grads)?.map(Into::into)));
    }

    /// In training, keeps the backward closure of a layer of the kernel backend, with gradients in either precision.
    pub(crate) fn push_map(
        &mut self,
        undo: impl FnOnce(HostMap, &mut Gradients) -> Result<Option<HostMap>> + Send + 'static,
    ) {
        if self.is_training() {
            self.tape.0.push(Box::new(undo));
        }
    }

    /// Runs `forward` with a new tape, and returns its output and that tape. Residual blocks use this for a branch.
    pub(crate) fn branch(&mut self, forward: impl FnOnce(&mut Self) -> Result<Act>) -> Result<(Act, Tape)> {
        let outer = std::mem::take(&mut self.tape);
        let result = forward(self);
        let inner = std::mem::replace(&mut self.tape, outer);
        Ok((result?, inner))
    }

    /// Returns a parameter as a tensor of the Candle backend: tracked in training, detached in inference or if it is frozen.
    pub(crate) fn weight(&mut self, param: &Param) -> Tensor {
        if self.is_training() && !param.is_frozen() {
            self.used.push(param.clone());
            param.var().as_tensor().clone()
        } else {
            param.var().as_detached_tensor()
        }
    }

    /// Returns the gradients of `sum(logits * grad_logits)`. They are the gradients of a loss if `grad_logits`, (N, C) row by
    /// row, is the gradient of that loss with respect to the logits. `logits` is the output of the pass.
    ///
    /// # Errors
    /// If this is not a training pass, `grad_logits` has another size than `logits`, or the device fails.
    pub fn backward(self, logits: &Act, grad_logits: Vec<f32>) -> Result<Gradients> {
        self.backward_announced(logits, grad_logits, None)
    }

    /// Does the same as [`backward`](Self::backward), and announces the gradients on the way, on the kernel backend.
    ///
    /// # Errors
    /// The same as [`backward`](Self::backward).
    pub fn backward_announced(
        self,
        logits: &Act,
        grad_logits: Vec<f32>,
        announcer: Option<Announcer>,
    ) -> Result<Gradients> {
        if !self.is_training() {
            return Err(NnError::shape("backward", "this pass was run for inference and kept nothing"));
        }
        if grad_logits.len() != logits.dims().len() {
            let problem = format!("{} gradients given for logits of {}", grad_logits.len(), logits.dims());
            return Err(NnError::shape("backward", problem));
        }
        match self.backend {
            Backend::Kernels => {
                let mut grads = Gradients::default();
                grads.announcer = announcer;
                if logits.needs_grad() {
                    let input = self.tape.backward(grad_logits.into(), &mut grads)?;
                    grads.input = input.map(|grad| f32::of(&grad).to_vec());
                }
                grads.announcer = None; // nothing more will come
                Ok(grads)
            }
            Backend::Candle => self.backward_candle(logits, &grad_logits),
            Backend::Graph => Err(NnError::shape("backward", "a recorded pass has no gradients")),
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
