//! Candle tensors in main memory as plain slices, without a copy.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};

/// Calls `read` with the elements of `tensor`, which is contiguous, f32, and on the CPU.
pub(crate) fn read<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => Ok(read(&data[start..end])),
        _ => bail!(
            "expected a contiguous f32 tensor on the CPU, got {:?} {:?}",
            tensor.dtype(),
            tensor.device()
        ),
    }
}

/// Calls `update` with the elements of `tensor`, which is contiguous, f32, and on the CPU, to change them in place.
pub(crate) fn update(tensor: &Tensor, update: impl FnMut(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Update(Mutex::new(update)))
}

/// Candle hands out mutable storage to an `InplaceOp1` only, and by `&self`: hence the lock, taken once.
struct Update<F>(Mutex<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for Update<F> {
    fn name(&self) -> &'static str {
        "update-in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(data), Some((start, end))) => {
                let mut update = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                update(&mut data[start..end]);
                Ok(())
            }
            _ => bail!("update in place: expected a contiguous f32 tensor on the CPU"),
        }
    }
}

/// The elements of `tensor`, on whatever device, in order, as f32.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()
}
