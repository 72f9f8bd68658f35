//! Accesses Candle tensors in main memory as plain slices, without a copy.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};

/// Calls `read` with the elements of `tensor`, which must be contiguous, f32, and on the CPU.
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

/// Calls `update` to change the elements of `tensor` in place. The tensor must be contiguous, f32, and on the CPU.
pub(crate) fn update(tensor: &Tensor, update: impl FnMut(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Update(Mutex::new(update)))
}

/// The operation of [`update`]. Candle gives mutable storage only to an `InplaceOp1`, through `&self`; therefore the closure is
/// behind a lock, which is taken once.
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

/// Returns the elements of `tensor` in order, as f32. The tensor may be on any device.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()
}
