//! Posted pictures: whole files in memory, which are decoded like files on disk.

use axum::body::Bytes;
use tallow_core::Foreign;
use tallow_core::digest::Hasher;
use tallow_dataset::decode::{DecodeError, decode, probe};
use tallow_dataset::{BadPicture, Error, Identity, ImageSource, Picture};

/// A file that was posted.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// The name that the client gives the file.
    pub(crate) name: Foreign,
    pub(crate) bytes: Bytes,
}

/// The posted files of one batch.
pub(crate) struct PostedFiles {
    pub(crate) files: Vec<Posted>,
    /// Pictures with more pixels are refused before they are decoded.
    pub(crate) max_pixels: u64,
}

impl PostedFiles {
    /// Returns whether file `i` has too many pixels.
    pub(crate) fn is_too_large(&self, i: usize) -> bool {
        matches!(self.check(i), Err(DecodeError::TooLarge { .. }))
    }

    /// Checks the size in the header of file `i`, before anything is allocated.
    fn check(&self, i: usize) -> Result<(), DecodeError> {
        let probe = probe(&self.files[i].bytes)?;
        let (width, height, limit) = (probe.width, probe.height, self.max_pixels);
        match (width as u64).saturating_mul(height as u64) > limit {
            true => Err(DecodeError::TooLarge { width, height, limit }),
            false => Ok(()),
        }
    }
}

impl ImageSource for PostedFiles {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn read(&self, i: usize) -> Result<Picture<'_>, Error> {
        let file = &self.files[i];
        let decoded = self.check(i).and_then(|()| decode(&file.bytes));
        let bad = |e: DecodeError| BadPicture { path: file.name.raw().into(), reason: e.to_string() };
        let image = decoded.map_err(bad)?.image;
        Ok(Picture { height: image.height, width: image.width, channels: 3, pixels: image.pixels.into() })
    }

    fn identity(&self, i: usize) -> Identity {
        let mut hasher = Hasher::new();
        hasher.update(&self.files[i].bytes);
        hasher.finish_bytes()
    }
}
