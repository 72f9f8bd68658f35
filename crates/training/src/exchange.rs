//! Adds the gradients of all processes while the backward pass still runs.
//!
//! The gradients of the last layers are complete first. A thread collects them into buckets in that order, and each full bucket
//! is summed over the processes at once. The order is that of the first step, in which the network shows it; it is the same on
//! every process, and the sums are those that adding everything at the end would give.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use tallow_comm::Comm;
use tallow_nn::{Announcer, Gradients, ParamStore};

use crate::error::Result;
use crate::shards::TreeSum;

/// Number of gradients' values that are summed at once: enough for a network's bandwidth, few enough to begin early.
const BUCKET_LEN: usize = 1 << 18;

/// The order in which the gradients of a network are computed. A step learns it from a backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientOrder {
    n_uses: Arc<BTreeMap<String, usize>>,
    /// The places of the gradients in the flat array, in the order in which they are complete, joined to buckets.
    buckets: Vec<Vec<Range<usize>>>,
    /// The place of each gradient, by name.
    places: BTreeMap<String, Range<usize>>,
    /// Where the running statistics begin.
    n_gradients: usize,
}

impl GradientOrder {
    /// Learns the order from a pass; `None` if the backend does not tell it.
    pub(crate) fn of(params: &ParamStore, grads: &Gradients) -> Option<Self> {
        let (places, n_gradients) = (params.flat_places(), params.n_trained());
        let mut n_uses = BTreeMap::new();
        for name in grads.computed() {
            *n_uses.entry(name.clone()).or_insert(0) += 1;
        }
        let (mut seen, mut buckets, mut bucket, mut len) = (BTreeMap::new(), Vec::new(), Vec::new(), 0);
        for name in grads.computed() {
            let n_seen = seen.entry(name).or_insert(0);
            *n_seen += 1;
            if *n_seen < n_uses[name] {
                continue; // it is complete the last time
            }
            let place = places.get(name)?.clone();
            len += place.len();
            bucket.push(place);
            if len >= BUCKET_LEN {
                buckets.push(std::mem::take(&mut bucket));
                len = 0;
            }
        }
        buckets.extend((!bucket.is_empty()).then_some(bucket));
        (!buckets.is_empty()).then(|| Self { n_uses: Arc::new(n_uses), buckets, places, n_gradients })
    }

    /// Runs `backward`, and meanwhile adds up its gradients over the processes. `earlier` has the flat passes over the shards
    /// that this process has computed before, and `last` that over its last shard, without gradients. Returns the sum of all
    /// flat passes.
    pub(crate) fn sum(
        &self,
        comm: &Comm,
        earlier: TreeSum<Vec<f32>>,
        last: Vec<f32>,
        backward: impl FnOnce(Announcer) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let (sender, listener) = channel();
        let announcer = Announcer { n_uses: Arc::clone(&self.n_uses), sender };
        std::thread::scope(|scope| {
            let adding = scope.spawn(move || self.add(comm, &earlier, last, &listener));
            let done = backward(announcer);
            let since = Instant::now();
            let sum = adding.join();
            comm.count_stall(since.elapsed());
            done?;
            sum.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Adds the gradients that come to `last`, to what earlier shards gave and to what other processes have, bucket by bucket.
    fn add(
        &self,
        comm: &Comm,
        earlier: &TreeSum<Vec<f32>>,
        last: Vec<f32>,
        listener: &Receiver<(String, Vec<f32>)>,
    ) -> Result<Vec<f32>> {
        let mut flat = last;
        let sum = |places: &[Range<usize>], flat: &mut [f32]| -> Result<()> {
            let mut bucket = Vec::new();
            for place in places {
                for left in earlier.levels() {
                    flat[place.clone()].iter_mut().zip(&left[place.clone()]).for_each(|(sum, x)| *sum += x);
                }
                bucket.extend_from_slice(&flat[place.clone()]);
            }
            comm.sum(&mut bucket)?;
            let mut rest = &bucket[..];
            for place in places {
                let (values, after) = rest.split_at(place.len());
                flat[place.clone()].copy_from_slice(values);
                rest = after;
            }
            Ok(())
        };
        for bucket in &self.buckets {
            let mut n_missing = bucket.len();
            while n_missing > 0 {
                // an empty shard announces nothing, and its zeros are there already
                let Ok((name, values)) = listener.recv() else { break };
                if let Some(place) = self.places.get(&name) {
                    flat[place.clone()].copy_from_slice(&values);
                    n_missing -= 1;
                }
            }
            sum(bucket, &mut flat)?;
        }
        let running = self.n_gradients..flat.len();
        sum(&[running], &mut flat)?;
        Ok(flat)
    }
}
