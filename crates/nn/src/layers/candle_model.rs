//! A network that another crate built from Candle's operators, as a frozen part of one of our networks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Module, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::Layer;
use crate::act::{Act, Dims, to_candle};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::host;
use crate::init::Init;
use crate::params::{Param, Scope};

/// A network of the other crate: from (n, c, h, w) to (n, features).
pub type CandleModule = Box<dyn Module + Send + Sync>;

type Build = Box<dyn Fn(VarBuilder<'_>) -> candle_core::Result<CandleModule> + Send + Sync>;

/// A network that `build` makes from a [`VarBuilder`]. Its weights are parameters in our store, under the names that it
/// requests, and are loaded, digested and saved like all others. It computes in f32 on both paths, for any precision of the
/// context.
///
/// It has no gradients. A model that contains it must freeze its parameters.
///
/// # Shapes
/// (n, c, h, w) to (n, features).
///
/// # Parameters
/// The parameters that `build` requests. They are 0 until weights are loaded, because they are not trained here.
pub struct CandleModel {
    name: String,
    params: Params,
    build: Build,
    /// The network, and the generation of the parameters that it was built from. It is built anew after a change, because
    /// `build` may have computed its own values from the parameters.
    built: Mutex<Option<(u64, Arc<CandleModule>)>>,
}

type Params = BTreeMap<String, Param>;

impl CandleModel {
    /// Declares all parameters that `build` requests in `scope`. `build` is called again after each change of parameters.
    ///
    /// # Errors
    /// If `build` fails, or a name is taken.
    pub fn new(
        scope: &mut Scope<'_>,
        build: impl Fn(VarBuilder<'_>) -> candle_core::Result<CandleModule> + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = scope.name().to_owned();
        let device = scope.device().clone();
        let declaring = Mutex::new((scope, Params::new()));
        build(VarBuilder::from_backend(Box::new(Declaring(&declaring)), DType::F32, device))?;
        let params = declaring.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        Ok(Self { name, params, build: Box::new(build), built: Mutex::new(None) })
    }

    fn module(&self, device: &Device) -> Result<Arc<CandleModule>> {
        let generation = self.params.values().next().map_or(0, Param::generation);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, module)) = &*built
            && *at == generation
        {
            return Ok(Arc::clone(module));
        }
        let backend = Declared(&self.params);
        let module = (self.build)(VarBuilder::from_backend(Box::new(backend), DType::F32, device.clone()))?;
        let module = Arc::new(module);
        *built = Some((generation, Arc::clone(&module)));
        Ok(module)
    }
}

impl Layer for CandleModel {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = match ctx.backend() {
            Backend::Kernels => to_candle(&x.as_host(&self.name)?, x.dims(), ctx.device())?,
            Backend::Candle => x.as_candle(&self.name)?.detach().to_dtype(DType::F32)?,
            Backend::Graph => {
                return Err(NnError::shape(
                    &self.name,
                    "a network of another crate cannot be recorded as a graph",
                ));
            }
        };
        let y = self.module(ctx.device())?.forward(&x)?;
        let (n, c) = y.dims2()?;
        let dims = Dims { n, c, h: 1, w: 1 };
        match ctx.backend() {
            Backend::Kernels => Ok(Act::host(dims, host::to_vec(&y)?, false)),
            Backend::Candle | Backend::Graph => Ok(Act::candle(dims, y.reshape((n, c, 1, 1))?)),
        }
    }
}

/// Declares each requested parameter.
struct Declaring<'a, 'b, 'c>(&'a Mutex<(&'b mut Scope<'c>, Params)>);

impl SimpleBackend for Declaring<'_, '_, '_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: candle_nn::Init,
        _dtype: DType,
        _device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut declared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (scope, params) = &mut *declared;
        let param = scope.param(name, shape.dims(), Init::Constant(0.0)).map_err(candle_core::Error::wrap)?;
        let tensor = param.var().as_detached_tensor();
        params.insert(name.to_owned(), param);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        bail!("{name} was requested without a shape")
    }

    /// Returns `false`, so that `build` requests its first choice of names.
    fn contains_tensor(&self, _name: &str) -> bool {
        false
    }
}

/// Returns the declared parameters: the same values, not copies.
struct Declared<'a>(&'a Params);

impl SimpleBackend for Declared<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if *tensor.shape() != shape {
            bail!("{name} has the shape {:?}, requested was {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> candle_core::Result<Tensor> {
        match self.0.get(name) {
            Some(param) => Ok(param.var().as_detached_tensor()),
            None => bail!("{name} was not requested before"),
        }
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParamStore;

    /// Twice the output of the dense layer `fc` for the mean of each channel.
    struct Doubled(candle_nn::Linear);

    impl Module for Doubled {
        fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
            self.0.forward(&x.mean((2, 3))?)? * 2.0
        }
    }

    fn build(vb: VarBuilder<'_>) -> candle_core::Result<CandleModule> {
        Ok(Box::new(Doubled(candle_nn::linear(3, 2, vb.pp("fc"))?)))
    }

    #[test]
    fn its_weights_are_parameters_and_both_paths_agree() {
        let mut store = ParamStore::new(0, &Device::Cpu);
        let model = CandleModel::new(&mut store.root().sub("trunk"), build).unwrap();
        let mut tensors = store.to_tensors().unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["trunk.fc.bias", "trunk.fc.weight"]);

        let dims = Dims { n: 1, c: 3, h: 1, w: 2 };
        let forward = |path| {
            let mut ctx = Ctx::eval(path, &Device::Cpu);
            let x = ctx.input(vec![1.0, 2.0, 3.0, 3.0, 4.0, 5.0], dims).unwrap();
            let y = model.forward(x, &mut ctx).unwrap();
            assert_eq!(y.dims(), Dims { n: 1, c: 2, h: 1, w: 1 });
            y.to_vec().unwrap()
        };
        assert_eq!(forward(Backend::Kernels), [0.0, 0.0]);
        tensors.get_mut("trunk.fc.weight").unwrap().data = vec![1.0, 0.0, 0.0, 0.0, 10.0, 100.0];
        tensors.get_mut("trunk.fc.bias").unwrap().data = vec![0.5, 0.0];
        store.load_tensors(&tensors).unwrap();
        // the means are 2, 3, 4
        assert_eq!(forward(Backend::Kernels), [5.0, 860.0]);
        assert_eq!(forward(Backend::Candle), [5.0, 860.0]);
    }
}
