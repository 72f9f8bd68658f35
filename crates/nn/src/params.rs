//! The parameters and buffers of a network, ordered by name, with names like torchvision's.
//!
//! The optimiser changes parameters. A buffer (such as a running mean) is part of the network's state and is saved with it, but
//! has no gradient. Both are Candle variables in f32 on the network's device, also if the layers compute in bf16. Layers hold
//! clones, which share the numbers.
//!
//! A store of [shapes](ParamStore::shapes) has no numbers. It tells how large a network would be before memory is requested for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use candle_core::{Device, Tensor, Var};

use crate::error::{NnError, Result};
use crate::host;
use crate::init::Init;
use crate::misfit::Misfit;
use crate::weights::{HostTensor, Tensors};

/// Largest number of values in a network: 8 GiB of weights, 8 GiB of gradients, and 8 GiB for each state of an optimiser.
const MAX_NUMBERS: usize = 1 << 31;

/// One named variable of a network. Clones share its values.
#[derive(Clone, Debug)]
pub struct Param {
    name: Arc<str>,
    shape: Arc<[usize]>,
    /// In a store of shapes, a variable without numbers.
    var: Var,
    /// Counts the changes of all parameters and buffers of the network, which share this counter.
    generation: Arc<AtomicU64>,
    frozen: Arc<AtomicBool>,
}

impl Param {
    /// Returns the full name, such as `layer1.0.conv1.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the variable. Only [`update`](Self::update) and [`set`](Self::set) change it.
    pub(crate) fn var(&self) -> &Var {
        &self.var
    }

    /// Returns the sizes of its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of its values.
    pub(crate) fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Calls `read` with the numbers of a parameter in main memory, without a copy.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
        Ok(host::read(&self.var, read)?)
    }

    /// Whether training leaves it unchanged. A frozen parameter gets no gradient. A batch norm with a frozen running mean uses
    /// the running statistics also in training, and does not update them.
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

    /// Returns a counter that grows with each change of a parameter or buffer of the network.
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
    /// Number of values in both.
    n_declared: usize,
    has_values: bool,
}

impl ParamStore {
    /// Returns an empty store. Parameters declared in it are on `device`; their initial values depend on `seed` and their names.
    pub fn new(seed: u64, device: &Device) -> Self {
        let generation = Arc::default();
        let (params, buffers) = (BTreeMap::new(), BTreeMap::new());
        Self { device: device.clone(), seed, generation, params, buffers, n_declared: 0, has_values: true }
    }

    /// Returns an empty store for names and shapes alone: it takes no memory for values. A network that declares its parameters in
    /// it can be recorded ([`Model::size`](crate::Model::size)), but not run, saved or loaded.
    pub fn shapes() -> Self {
        Self { has_values: false, ..Self::new(0, &Device::Cpu) }
    }

    /// Returns the scope without a prefix. `store.root().sub("layer1").sub("0")` declares `layer1.0.…`.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { store: self, prefix: String::new() }
    }

    /// Returns the device of all parameters and buffers.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Iterates over the parameters in name order.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.params.values()
    }

    /// Returns the parameter or buffer called `name`.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.get(name).or_else(|| self.buffers.get(name))
    }

    /// Freezes the parameters and buffers with names that satisfy `fits`, and unfreezes the rest: see [`Param::is_frozen`].
    pub fn freeze(&self, fits: impl Fn(&str) -> bool) {
        for param in self.all() {
            param.frozen.store(fits(param.name()), Ordering::Relaxed);
        }
    }

    /// Returns the names of the frozen parameters and buffers, sorted.
    pub(crate) fn frozen_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.all().filter(|param| param.is_frozen()).map(|param| param.name().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the number of values that training changes: those of the parameters that are not frozen.
    pub fn n_trained(&self) -> usize {
        self.params.values().filter(|p| !p.is_frozen()).map(Param::n_values).sum()
    }

    /// Returns the number of values of all parameters, frozen or not.
    pub fn n_parameters(&self) -> usize {
        self.params.values().map(Param::n_values).sum()
    }

    /// Iterates over the parameters and the buffers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Param> {
        self.params.values().chain(self.buffers.values())
    }

    /// Returns a copy of all parameters and buffers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_tensors(&self) -> Result<Tensors> {
        self.copies(|_| true)
    }

    /// Returns a copy of all parameters and buffers that are not frozen: those that training changes.
    ///
    /// # Errors
    /// If the device fails.
    pub fn learned_tensors(&self) -> Result<Tensors> {
        self.copies(|param| !param.is_frozen())
    }

    /// Returns a copy of all parameters and buffers that are frozen.
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

    /// Iterates over the buffers that training changes, in name order: the running statistics that are not frozen.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Param> {
        self.buffers.values().filter(|buffer| !buffer.is_frozen())
    }

    /// Iterates over the parameters that training changes, in name order.
    pub(crate) fn trained(&self) -> impl Iterator<Item = &Param> {
        self.params.values().filter(|param| !param.is_frozen())
    }

    /// Overwrites all parameters and buffers that are not frozen. If any tensor does not fit, it changes nothing.
    ///
    /// # Errors
    /// As [`load_tensors`](Self::load_tensors).
    pub fn load_learned(&self, tensors: &Tensors) -> Result<()> {
        self.load(tensors, |param| !param.is_frozen())
    }

    /// Overwrites all parameters and buffers. If any tensor does not fit, it changes nothing.
    ///
    /// # Errors
    /// [`NnError::Weights`] states how many tensors are missing, extra or of another shape, with examples.
    pub fn load_tensors(&self, tensors: &Tensors) -> Result<()> {
        self.load(tensors, |_| true)
    }

    /// Compares names and shapes of `tensors` with all parameters and buffers. A store of shapes can do so, too.
    ///
    /// # Errors
    /// As [`load_tensors`](Self::load_tensors).
    pub fn check_tensors(&self, tensors: &Tensors) -> Result<()> {
        self.check(tensors, |_| true)
    }

    fn check(&self, tensors: &Tensors, wanted: impl Fn(&Param) -> bool) -> Result<()> {
        let wanted = self.all().filter(|param| wanted(param));
        let expected = wanted.map(|param| (param.name().to_owned(), param.shape().to_vec())).collect();
        match Misfit::between(&expected, tensors) {
            Some(misfit) => Err(NnError::Weights(Box::new(misfit))),
            None => Ok(()),
        }
    }

    fn load(&self, tensors: &Tensors, wanted: impl Fn(&Param) -> bool) -> Result<()> {
        self.check(tensors, &wanted)?;
        for param in self.all().filter(|param| wanted(param)) {
            param.set(&Tensor::from_slice(&tensors[param.name()].data, param.shape(), &self.device)?)?;
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
        let var = match self.has_values {
            true => Var::from_vec(init.values(n, self.seed, &name), shape, &self.device)?,
            false => Var::from_vec(Vec::<f32>::new(), 0usize, &self.device)?,
        };
        let generation = Arc::clone(&self.generation);
        let (frozen, shape) = (Arc::default(), shape.into());
        let param = Param { name: name.as_str().into(), shape, var, generation, frozen };
        let map = if buffer { &mut self.buffers } else { &mut self.params };
        map.insert(name, param.clone());
        Ok(param)
    }
}

/// A prefix of names. Layers declare their parameters and buffers in a scope.
pub struct Scope<'a> {
    store: &'a mut ParamStore,
    prefix: String,
}

impl Scope<'_> {
    /// Returns the scope `name` below this one.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = self.full(&name.to_string());
        Scope { store: self.store, prefix }
    }

    /// Returns the full name of this scope.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    /// Returns the device of all parameters and buffers.
    pub(crate) fn device(&self) -> &Device {
        &self.store.device
    }

    /// Declares a parameter.
    ///
    /// # Errors
    /// If the name is taken, the network would be too large, or the device fails.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Param> {
        self.store.declare(self.full(name), shape, init, false)
    }

    /// Declares a buffer; all of its values are `value` at first.
    ///
    /// # Errors
    /// If the name is taken, the network would be too large, or the device fails.
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
