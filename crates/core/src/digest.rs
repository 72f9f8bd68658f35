//! SHA-256 digests as lower-case hexadecimal text.

use std::io::{self, Read};
use std::path::Path;

use sha2::Digest as _;

use crate::files::{self, FileError};

/// A digest under construction: [`update`](Self::update) adds bytes, [`finish`](Self::finish) returns the digest.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Returns a hasher that has seen no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes` to the digest.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest as 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.finish_bytes())
    }

    /// Returns the digest as bytes.
    pub fn finish_bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns `bytes` as text, with two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the digest of `bytes`.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// Returns the digest of the content of the file at `path`.
///
/// # Errors
/// If the file cannot be read, or is not a regular file.
pub fn of_file(path: &Path) -> Result<String, FileError> {
    let mut file = files::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(FileError::reading(path))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_vectors() {
        assert_eq!(of_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(of_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_in_pieces_is_the_same_as_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let bytes = vec![7u8; (1 << 20) + 13];
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(of_file(&path).unwrap(), of_bytes(&bytes));
        assert!(of_file(&folder.path().join("absent")).unwrap_err().to_string().contains("absent"));
    }
}
