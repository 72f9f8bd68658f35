//! The two kinds of names that the hub states and the cache uses: commits and digests. Only a text of the right form becomes a
//! value of these types, and only such a value becomes part of a path or an address.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Digest as _;
use tallow_core::{FileError, digest};

/// A commit of a model: 40 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit(String);

impl Commit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The digest that names a file among the cache's blobs. For a large file it is the SHA-256 (64 digits), for a small file the
/// name of the git blob, which is the SHA-1 of a header and the content (40 digits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlobId(String);

impl BlobId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        (is_hex(text, 64) || is_hex(text, 40)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digest of the same kind of the file at `path`.
    pub(super) fn of_file_alike(&self, path: &Path) -> Result<Self, FileError> {
        if self.0.len() == 64 { digest::of_file(path).map(Self) } else { git_blob(path).map(Self) }
    }

    /// Does the same as [`of_file_alike`](Self::of_file_alike) for a file whose SHA-256 is known.
    pub(super) fn alike(&self, sha256: String, path: &Path) -> Result<Self, FileError> {
        if self.0.len() == 64 { Ok(Self(sha256)) } else { self.of_file_alike(path) }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.len() == 64 { "SHA-256" } else { "git blob" };
        write!(f, "{kind} {}", self.0)
    }
}

fn is_hex(text: &str, n_digits: usize) -> bool {
    text.len() == n_digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn git_blob(path: &Path) -> Result<String, FileError> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = sha1::Sha1::new();
        hasher.update(format!("blob {}\0", file.metadata()?.len()));
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    hash().map_err(FileError::reading(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_names() {
        let (commit, sha256) = ("0123456789abcdef0123456789abcdef01234567", "0".repeat(64));
        assert!(Commit::parse(commit).is_some() && BlobId::parse(commit).is_some());
        assert!(Commit::parse(&sha256).is_none() && BlobId::parse(&sha256).is_some());
        let long_path = format!("../../{}", "0".repeat(58));
        for bad in ["", "main", "../../x", &commit[1..], &commit.to_uppercase(), long_path.as_str(), "/etc/x"]
        {
            assert!(Commit::parse(bad).is_none() && BlobId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn digests_are_the_ones_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object x`, `sha256sum x`
        for known in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let known = BlobId::parse(known).unwrap();
            assert_eq!(known.of_file_alike(&path).unwrap(), known);
        }
    }
}
