//! What a training pass over a part of a batch gives, as one array of numbers that can be added: the gradients, then the running
//! statistics.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;

use crate::error::{NnError, Result};
use crate::gradients::Gradients;
use crate::host;
use crate::params::{Param, ParamStore};

/// Added to any number, it gives that number with the same bits; `0.0` would turn `-0.0` into `0.0`.
const NOTHING: f32 = -0.0;

impl ParamStore {
    /// Returns the number of values of a [flat pass](Self::flat_pass).
    pub fn flat_len(&self) -> usize {
        self.n_trained() + self.running().map(Param::n_values).sum::<usize>()
    }

    /// Returns where each gradient stands in a flat pass, by name. The running statistics follow after
    /// [`n_trained`](Self::n_trained) values.
    pub fn flat_places(&self) -> BTreeMap<String, Range<usize>> {
        let (mut places, mut n) = (BTreeMap::new(), 0);
        for param in self.trained() {
            places.insert(param.name().to_owned(), n..n + param.n_values());
            n += param.n_values();
        }
        places
    }

    /// Returns a flat pass that changes no bit of another one to which it is added.
    pub fn no_pass(&self) -> Vec<f32> {
        vec![NOTHING; self.flat_len()]
    }

    /// Returns the flat pass over a part of a batch after its forward pass: no gradients yet, followed by the running statistics,
    /// multiplied by `share`. The order is that of the names.
    ///
    /// # Errors
    /// If the device fails.
    pub fn flat_pass(&self, share: f32) -> Result<Vec<f32>> {
        let mut flat = vec![NOTHING; self.n_trained()];
        for buffer in self.running() {
            flat.extend(host::to_vec(buffer.var())?.iter().map(|value| value * share));
        }
        Ok(flat)
    }

    /// Writes the gradients into a flat pass. A parameter without one counts as nothing.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill_gradients(&self, flat: &mut [f32], grads: &Gradients) -> Result<()> {
        let mut rest = flat;
        for param in self.trained() {
            let (values, after) = rest.split_at_mut(param.n_values());
            if let Some(grad) = grads.get(param.name()) {
                values.copy_from_slice(&host::to_vec(grad)?);
            }
            rest = after;
        }
        Ok(())
    }

    /// Sets the running statistics to those of `flat`, a sum of flat passes whose shares add up to 1. Returns its gradients.
    ///
    /// # Errors
    /// If it has another length, or the device fails.
    pub fn take_flat(&self, flat: &[f32]) -> Result<Gradients> {
        if flat.len() != self.flat_len() {
            let problem = format!("expected {} numbers, there are {}", self.flat_len(), flat.len());
            return Err(NnError::shape("the sum of the passes", problem));
        }
        let (mut grads, mut rest) = (Gradients::default(), flat);
        for param in self.trained() {
            let (values, after) = rest.split_at(param.n_values());
            grads.insert(param.name(), Tensor::from_slice(values, param.shape(), self.device())?);
            rest = after;
        }
        self.load_running(rest)?;
        Ok(grads)
    }

    /// Returns a copy of the running statistics that training changes, one after another in name order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn copy_running(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for buffer in self.running() {
            all.extend(host::to_vec(buffer.var())?);
        }
        Ok(all)
    }

    /// Overwrites the running statistics with numbers from [`copy_running`](Self::copy_running).
    ///
    /// # Errors
    /// If the device fails, or there are too few numbers.
    pub fn load_running(&self, numbers: &[f32]) -> Result<()> {
        let mut rest = numbers;
        for buffer in self.running() {
            let Some((values, after)) = rest.split_at_checked(buffer.n_values()) else {
                return Err(NnError::shape(
                    "running statistics",
                    format!("there are {} numbers", numbers.len()),
                ));
            };
            buffer.set(&Tensor::from_slice(values, buffer.shape(), self.device())?)?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::init::Init;

    fn store() -> ParamStore {
        let mut store = ParamStore::new(0, &Device::Cpu);
        let mut root = store.root();
        for (name, value) in [("a", 1.0), ("frozen", 2.0), ("unused", 3.0)] {
            root.param(name, &[2], Init::Constant(value)).unwrap();
        }
        root.buffer("mean", &[2], 4.0).unwrap();
        store.freeze(|name| name == "frozen");
        store
    }

    #[test]
    fn a_pass_is_flat_and_back_again() {
        let store = store();
        let mut grads = Gradients::default();
        grads.add("a", &[2], vec![-0.0, 6.0]).unwrap();
        let mut flat = store.flat_pass(0.5).unwrap();
        store.fill_gradients(&mut flat, &grads).unwrap();
        assert_eq!(flat, [-0.0, 6.0, -0.0, -0.0, 2.0, 2.0]);
        for (x, nothing) in flat.iter_mut().zip(store.no_pass()) {
            let before = x.to_bits();
            *x += nothing;
            assert_eq!(x.to_bits(), before);
        }
        flat[5] = 7.0;
        let places = store.flat_places();
        assert_eq!((&places["a"], &places["unused"], places.len()), (&(0..2), &(2..4), 2));
        assert_eq!((store.n_trained(), store.flat_len()), (4, 6));
        let back = store.take_flat(&flat).unwrap();
        assert_eq!(host::to_vec(back.get("a").unwrap()).unwrap(), [0.0, 6.0]);
        assert!(back.get("unused").is_some() && back.get("frozen").is_none());
        assert_eq!(store.copy_running().unwrap(), [2.0, 7.0]);
        store.load_running(&[1.0, 2.0]).unwrap();
        assert_eq!(store.copy_running().unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn another_length_is_refused() {
        assert!(store().take_flat(&[0.0; 5]).is_err());
        assert!(store().load_running(&[0.0]).is_err());
    }
}
