//! The memory of a run: the peak of the process, and the least that a run will take, which is compared with what is free before
//! any of it is requested.

use tallow_core::memory::{self, Room, in_words};
use tallow_nn::{Device, NetworkSize, Precision};

use crate::error::{Result, TrainingError};
use crate::recipe::Recipe;

/// Returns the most memory that the process has held at once, in bytes; `None` if the system does not report it.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The memory that a run takes at least, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunBytes {
    /// Weights, and the state of the optimiser and the average of the weights.
    learner: u64,
    /// Gradients of a training step.
    gradients: u64,
    /// Images and maps of a training step.
    maps: u64,
    /// A copy of what learns, for a checkpoint.
    checkpoint: u64,
}

impl RunBytes {
    fn new(recipe: &Recipe, size: &NetworkSize, n_train: usize) -> Self {
        let of_f32 = |n: u64| n.saturating_mul(size_of::<f32>() as u64);
        let n_states = recipe.optimizer.n_states() as u64 + u64::from(recipe.averaging.is_some());
        let kept = size.n_learned.saturating_mul(n_states);
        let n = recipe.batch_size.min(n_train) as u64;
        let map_bytes = match recipe.precision.resolve(&Device::Cpu) {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        };
        let per_image = of_f32(size.n_input).saturating_add(size.n_kept.saturating_mul(map_bytes));
        Self {
            learner: of_f32(size.n_values.saturating_add(kept)),
            gradients: of_f32(size.n_learned),
            maps: n.saturating_mul(per_image),
            checkpoint: of_f32(size.n_learned.saturating_add(kept)),
        }
    }

    fn total(&self) -> u64 {
        self.learner.saturating_add(self.gradients.saturating_add(self.maps).max(self.checkpoint))
    }
}

impl Recipe {
    /// Compares the memory that a run of this recipe takes at least with what is free. `size` is that of its network for images of
    /// `input_px`; `n_train` images are trained on. Computing on another device than the CPU, only the checkpoint counts.
    ///
    /// # Errors
    /// If less is free. The message has the largest part and the keys that make it smaller.
    pub fn check_memory(
        &self,
        size: &NetworkSize,
        input_px: [usize; 2],
        n_train: usize,
        device: &Device,
    ) -> Result<()> {
        match self.lack(size, input_px, n_train, device, memory::free()) {
            Some((key, problem)) => Err(TrainingError::Value { key, problem }),
            None => Ok(()),
        }
    }

    /// Returns what the run lacks if only `free` can be taken: a key, and the problem with it.
    fn lack(
        &self,
        size: &NetworkSize,
        [h, w]: [usize; 2],
        n_train: usize,
        device: &Device,
        free: Option<Room>,
    ) -> Option<(&'static str, String)> {
        let mut bytes = RunBytes::new(self, size, n_train);
        if !device.is_cpu() {
            bytes = RunBytes { learner: 0, gradients: 0, maps: 0, ..bytes };
        }
        let free = free.filter(|free| free.bytes < bytes.total())?;
        let wanted = in_words(bytes.total());
        if bytes.maps > bytes.learner {
            let n = self.batch_size.min(n_train);
            let problem = format!(
                "a training step on {n} images of {h} x {w} pixels takes at least {wanted} of memory, but {free}: choose a \
                 smaller batch_size or model.input_px"
            );
            return Some(("batch_size:", problem));
        }
        let n = size.n_learned;
        let problem = format!(
            "{n} weights that learn, their optimiser and a checkpoint take at least {wanted} of memory, but {free}: choose a \
             smaller network (fewer model.widths, model.dense or model.head.hidden), or model.unfreeze = \"none\""
        );
        Some(("[model]:", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe_source::{Override, load_recipe};

    const SIZE: NetworkSize =
        NetworkSize { n_values: 1000, n_learned: 900, n_input: 300, n_kept: 5000, n_at_once: 100 };

    fn recipe(settings: &[&str]) -> Recipe {
        let settings: Vec<_> = settings.iter().map(|text| Override::parse(text).unwrap()).collect();
        load_recipe("cnn", &settings).unwrap()
    }

    #[test]
    fn every_part_of_a_run_is_counted() {
        let sgd = recipe(&["batch_size=10", "precision=f32", "optimizer={kind=\"sgd\",lr=0.1}"]);
        let bytes = RunBytes::new(&sgd, &SIZE, 1000);
        let expected = RunBytes {
            learner: 4 * 1000,
            gradients: 4 * 900,
            maps: 10 * (4 * 300 + 4 * 5000),
            checkpoint: 4 * 900,
        };
        assert_eq!(bytes, expected);
        assert_eq!(bytes.total(), expected.learner + expected.gradients + expected.maps);
        let few = RunBytes::new(&sgd, &SIZE, 3);
        assert_eq!(few.maps, 3 * (4 * 300 + 4 * 5000), "no more images than there are");
        let adam = recipe(&[
            "precision=bf16",
            "batch_size=10",
            "optimizer={kind=\"adam\",lr=0.1}",
            "averaging={kind=\"ema\",decay=0.9}",
        ]);
        let bytes = RunBytes::new(&adam, &SIZE, 1000);
        assert_eq!(bytes.learner, 4 * (1000 + 3 * 900), "two states and the average");
        assert_eq!(bytes.maps, 10 * (4 * 300 + 2 * 5000));
        assert_eq!(bytes.checkpoint, 4 * 4 * 900);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_key_that_makes_it_smaller() {
        let recipe = recipe(&["batch_size=1000000000000000000"]);
        let free = Room { bytes: 1 << 30, place: "on this machine" };
        let lack = |size: NetworkSize, n, device: &Device, free| {
            recipe.lack(&size, [64, 32], n, device, free).map(|(key, problem)| format!("{key} {problem}"))
        };
        assert_eq!(lack(SIZE, 1000, &Device::Cpu, Some(free)), None);
        let many = NetworkSize { n_kept: u64::MAX / 2, ..SIZE };
        assert_eq!(lack(many, usize::MAX, &Device::Cpu, None), None, "nothing is known");
        let message = lack(many, usize::MAX, &Device::Cpu, Some(free)).unwrap();
        let start = format!("batch_size: a training step on {} images of 64 x 32 pixels", 10u64.pow(18));
        assert!(
            message.starts_with(&start) && message.contains("but 1.1 GB are free on this machine"),
            "{message}"
        );
        let message = lack(NetworkSize { n_learned: 1 << 50, ..SIZE }, 10, &Device::Cpu, Some(free)).unwrap();
        assert!(message.starts_with("[model]: 1125899906842624 weights that learn"), "{message}");
    }
}
