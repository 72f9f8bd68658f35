//! The parameters and buffers of a network: ordered by name, named as torchvision names them.
//!
//! A parameter is what an optimiser changes; a buffer (a running mean) belongs to the network's state and is saved
//! with it, but has no gradient. Both are Candle variables in f32 on the network's device, whatever precision the
//! layers compute in. Layers hold clones, which share the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candle_core::{Device, Tensor, Var};

use crate::error::{NnError, Result};
use crate::host;
use crate::init::Init;
use crate::misfit::Misfit;
use crate::weights::{HostTensor, Tensors};

/// No network here has more numbers: 8 GiB of weights, and as much for each of gradients and what an optimiser keeps.
const MAX_NUMBERS: usize = 1 << 31;

/// One named variable of a network. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Param {
    name: Arc<str>,
    var: Var,
    /// Of all parameters of the network: how often one was changed.
    generation: Arc<AtomicU64>,
    frozen: Arc<AtomicBool>,
}

impl Param {
    /// The full name, such as `layer1.0.conv1.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variable; it is changed by [`update`](Self::update) and [`set`](Self::set) alone.
    pub(crate) fn var(&self) -> &Var {
        &self.var
    }

    /// The sizes of its dimensions.
    pub fn shape(&self) -> &[usize] {
        self.var.dims()
    }

    /// The numbers of a parameter in main memory, without a copy.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
        Ok(host::read(&self.var, read)?)
    }

    /// Whether it stays as it is: a frozen parameter gets no gradient; a batch norm whose running mean is frozen takes the
    /// running statistics in training, too, and leaves them alone.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// Changes the numbers of a parameter in main memory in place.
    pub(crate) fn update(&self, update: impl FnMut(&mut [f32])) -> Result<()> {
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(host::update(&self.var, update)?)
    }

    /// Overwrites the parameter on its device.
    pub(crate) fn set(&self, value: &Tensor) -> Result<()> {
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(self.var.set(value)?)
    }

    /// Grows whenever a parameter or buffer of the network changes.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

/// All parameters and buffers of one network.
#[derive(Debug)]
pub struct ParamStore {
    device: Device,
    seed: u64,
    generation: Arc<AtomicU64>,
    params: BTreeMap<String, Param>,
    buffers: BTreeMap<String, Param>,
    /// Numbers of both.
    n_declared: usize,
}

impl ParamStore {
    /// An empty store; what is declared in it starts as `seed` and its name decide, and lives on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        let generation = Arc::default();
        let (params, buffers) = (BTreeMap::new(), BTreeMap::new());
        Self { device: device.clone(), seed, generation, params, buffers, n_declared: 0 }
    }

    /// Where names start: `store.root().sub("layer1").sub("0")` declares `layer1.0.…`.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { store: self, prefix: String::new() }
    }

    /// The device that everything lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters in name order.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.params.values()
    }

    /// The parameter or buffer called `name`.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.get(name).or_else(|| self.buffers.get(name))
    }

    /// Freezes the parameters and buffers whose names fit, and thaws the rest: see [`Param::is_frozen`].
    pub fn freeze(&self, fits: impl Fn(&str) -> bool) {
        for param in self.params.values().chain(self.buffers.values()) {
            param.frozen.store(fits(param.name()), Ordering::Relaxed);
        }
    }

    /// How many numbers training changes: those of the parameters that are not frozen.
    pub fn n_trained(&self) -> usize {
        self.params.values().filter(|p| !p.is_frozen()).map(|p| p.var.elem_count()).sum()
    }

    /// How many numbers an optimiser could change, frozen ones too.
    pub fn n_parameters(&self) -> usize {
        self.params.values().map(|p| p.var.elem_count()).sum()
    }

    /// A copy of all parameters and buffers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_tensors(&self) -> Result<Tensors> {
        self.copies(|_| true)
    }

    /// A copy of all parameters and buffers that are not frozen: what training changes.
    ///
    /// # Errors
    /// If the device fails.
    pub fn learned_tensors(&self) -> Result<Tensors> {
        self.copies(|param| !param.is_frozen())
    }

    /// A copy of all parameters and buffers that are frozen.
    ///
    /// # Errors
    /// If the device fails.
    pub fn frozen_tensors(&self) -> Result<Tensors> {
        self.copies(Param::is_frozen)
    }

    fn copies(&self, wanted: impl Fn(&Param) -> bool) -> Result<Tensors> {
        let all = self.params.iter().chain(&self.buffers).filter(|(_, param)| wanted(param));
        all.map(|(name, p)| {
            Ok((name.clone(), HostTensor { shape: p.shape().to_vec(), data: host::to_vec(&p.var)? }))
        })
        .collect()
    }

    /// Overwrites what is not frozen: nothing is changed unless everything fits.
    ///
    /// # Errors
    /// As [`load_tensors`](Self::load_tensors).
    pub fn load_learned(&self, tensors: &Tensors) -> Result<()> {
        self.load(tensors, |param| !param.is_frozen())
    }

    /// Overwrites all parameters and buffers: nothing is changed unless everything fits.
    ///
    /// # Errors
    /// [`NnError::Weights`] says how many tensors are missing, extra or of another shape, with examples.
    pub fn load_tensors(&self, tensors: &Tensors) -> Result<()> {
        self.load(tensors, |_| true)
    }

    fn load(&self, tensors: &Tensors, wanted: impl Fn(&Param) -> bool) -> Result<()> {
        let all = || self.params.iter().chain(&self.buffers).filter(|(_, param)| wanted(param));
        let expected = all().map(|(name, param)| (name.clone(), param.shape().to_vec())).collect();
        if let Some(misfit) = Misfit::between(&expected, tensors) {
            return Err(NnError::Weights(Box::new(misfit)));
        }
        for (name, param) in all() {
            param.set(&Tensor::from_slice(&tensors[name].data, param.shape(), &self.device)?)?;
        }
        Ok(())
    }

    fn declare(&mut self, name: String, shape: &[usize], init: Init, buffer: bool) -> Result<Param> {
        if self.get(&name).is_some() {
            return Err(NnError::Duplicate(name));
        }
        let n = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let all = n.and_then(|n| n.checked_add(self.n_declared)).filter(|&all| all <= MAX_NUMBERS);
        let (Some(n), Some(all)) = (n, all) else {
            return Err(NnError::TooLarge { name, shape: shape.to_vec(), max: MAX_NUMBERS });
        };
        self.n_declared = all;
        let values = init.values(n, self.seed, &name);
        let var = Var::from_vec(values, shape, &self.device)?;
        let generation = Arc::clone(&self.generation);
        let param = Param { name: name.as_str().into(), var, generation, frozen: Arc::default() };
        let map = if buffer { &mut self.buffers } else { &mut self.params };
        map.insert(name, param.clone());
        Ok(param)
    }
}

/// A place in the tree of names, where layers declare what they own.
pub struct Scope<'a> {
    store: &'a mut ParamStore,
    prefix: String,
}

impl Scope<'_> {
    /// The place `name` below this one.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = self.full(&name.to_string());
        Scope { store: self.store, prefix }
    }

    /// This place's full name.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    /// The device that everything lives on.
    pub(crate) fn device(&self) -> &Device {
        &self.store.device
    }

    /// Declares a parameter.
    ///
    /// # Errors
    /// If the name is taken, or the device fails.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Param> {
        self.store.declare(self.full(name), shape, init, false)
    }

    /// Declares a buffer that starts with `value`.
    ///
    /// # Errors
    /// If the name is taken, or the device fails.
    pub fn buffer(&mut self, name: &str, shape: &[usize], value: f32) -> Result<Param> {
        self.store.declare(self.full(name), shape, Init::Constant(value), true)
    }

    fn full(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        }
    }
}
