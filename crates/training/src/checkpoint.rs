//! Checkpoints: weights, optimiser state and [`State`] in one safetensors file that carries a digest of all of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tallow_core::digest::Hasher;
use tallow_core::{FileError, files};
use tallow_nn::{HostTensor, Tensors, decode, encode, le_bytes};

use crate::error::{Result, TrainingError};
use crate::state::{STATE_VERSION, State};

/// Size limit of checkpoints, model files and tables of predictions, in bytes; longer files are refused.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 30;

const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";
const AVERAGE: &str = "average.";

/// The content of a checkpoint file: everything that a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub(crate) state: State,
    pub(crate) model: Tensors,
    pub(crate) optimizer: Tensors,
    /// The average of the weights, if there is one.
    pub(crate) average: Option<Tensors>,
}

/// The metadata of the file. The state is kept as text, so that the digest covers bytes.
#[derive(Serialize, Deserialize)]
struct Envelope {
    digest: String,
    state: String,
}

impl Checkpoint {
    /// Returns the bytes of the file.
    ///
    /// # Errors
    /// If the state cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let prefixed = |prefix: &'static str, tensors: &Tensors| {
            tensors.iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone())).collect::<Vec<_>>()
        };
        let mut tensors: Tensors = prefixed(MODEL, &self.model).into_iter().collect();
        tensors.extend(prefixed(OPTIMIZER, &self.optimizer));
        tensors.extend(self.average.iter().flat_map(|average| prefixed(AVERAGE, average)));
        let state = self.state.to_json()?;
        let envelope = Envelope { digest: digest(&state, &tensors), state };
        let metadata = serde_json::to_string(&envelope).map_err(encoding)?;
        Ok(encode(&tensors, &metadata)?)
    }

    /// Reads a checkpoint and checks its digest.
    ///
    /// # Errors
    /// If the file is missing or damaged, or has another version.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(&files::read_at_most(path, MAX_FILE_BYTES)?, path)
    }

    /// Reads the bytes of the file `path`, which messages name, and checks their digest.
    ///
    /// # Errors
    /// If they are damaged, or have another version.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |problem: String| TrainingError::Damaged { path: path.to_owned(), problem };
        let (mut tensors, metadata) = decode(bytes).map_err(|e| damaged(e.to_string()))?;
        let envelope: Envelope = metadata
            .and_then(|text| serde_json::from_str(&text).ok())
            .ok_or_else(|| damaged("it is not a checkpoint".into()))?;
        if digest(&envelope.state, &tensors) != envelope.digest {
            return Err(damaged("its content does not match its digest".into()));
        }
        let state: State = serde_json::from_str(&envelope.state)
            .map_err(|e| damaged(format!("it was written by another version of the program ({e})")))?;
        if state.version != STATE_VERSION {
            return Err(damaged(format!("it has version {}, expected {STATE_VERSION}", state.version)));
        }
        let mut parts = [MODEL, OPTIMIZER, AVERAGE].map(|prefix| (prefix, Tensors::new()));
        while let Some((name, tensor)) = tensors.pop_first() {
            for (prefix, part) in &mut parts {
                if let Some(name) = name.strip_prefix(*prefix) {
                    part.insert(name.to_owned(), tensor);
                    break;
                }
            }
        }
        let [model, optimizer, average] = parts.map(|(_, tensors)| tensors);
        Ok(Self { state, model, optimizer, average: (!average.is_empty()).then_some(average) })
    }

    /// Returns the weights that the run would end with: the averaged ones, if there are any.
    pub(crate) fn into_weights(self) -> Tensors {
        self.average.unwrap_or(self.model)
    }
}

/// Reads the checkpoint at `path` only to check it.
///
/// # Errors
/// If the file is missing, damaged or does not match its digest, or has another version.
pub fn check_checkpoint(path: &Path) -> Result<()> {
    Checkpoint::read(path).map(drop)
}

/// Returns the digest of a state's text and of tensors: names, shapes and the bits of every number.
pub(crate) fn digest(state: &str, tensors: &Tensors) -> String {
    let mut hasher = Hasher::new();
    hasher.update(state.as_bytes());
    for (name, HostTensor { shape, data }) in tensors {
        hasher.update(format!("\n{name} {shape:?}\n").as_bytes());
        // in chunks that fit into the caches
        data.chunks(1 << 12).for_each(|data| hasher.update(&le_bytes(data)));
    }
    hasher.finish()
}

/// Reports a failure to write JSON as a failed file write; such a failure would be a defect of this program.
pub(crate) fn encoding(error: serde_json::Error) -> FileError {
    FileError::writing(Path::new("JSON"))(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe_source::load_recipe;

    fn sample() -> Checkpoint {
        let tensor = |v: f32| HostTensor { shape: vec![2], data: vec![v, -v] };
        let mut state = State::new(&load_recipe("keras", &[]).unwrap(), "d1", &[], None);
        state.loss.add(0.1 + 0.2, 3);
        state.train_secs = 1.0 / 3.0;
        Checkpoint {
            state,
            model: Tensors::from([("a.weight".into(), tensor(0.1))]),
            optimizer: Tensors::from([("a.weight.exp_avg".into(), tensor(f32::MIN_POSITIVE))]),
            average: Some(Tensors::from([("a.weight".into(), tensor(0.3))])),
        }
    }

    #[test]
    fn survives_its_file_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        files::write(&path, &sample().to_bytes().unwrap()).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), sample());
    }

    /// Damage is noticed at every byte tried: the file is cut there, or the byte is changed.
    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        let whole = sample().to_bytes().unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(read) = Checkpoint::read(&path) {
                assert_eq!(read, sample(), "byte {at}"); // such as white space in the header
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "cut at {at}");
        }
    }
}
