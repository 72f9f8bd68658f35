//! Contents of the known data sets' archives: addresses, lengths, digests.

use std::path::Path;
use std::str::FromStr;

use crate::Error;
use crate::cifar::{CIFAR10, CIFAR10_FILES, CIFAR100, Layout, load_cifar100};

/// A data set that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version.
    Cifar100,
}

impl FromStr for Which {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "cifar10" => Ok(Self::Cifar10),
            "cifar100" => Ok(Self::Cifar100),
            _ => Err(Error::UnknownDataset(name.to_owned())),
        }
    }
}

/// An archive (tar, gzip) that holds one folder of files, with the information to verify it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name in messages: "CIFAR-10".
    pub title: String,
    /// Official address.
    pub url: String,
    /// Length and digest of the archive as its authors packed it.
    pub archive: Option<Packing>,
    /// Name of the folder, both in the archive and in the data folder.
    pub folder: String,
    /// Files that are unpacked from the archive. All other files in it are skipped.
    pub files: Vec<FileSpec>,
    /// Size limit in bytes, both for the archive and for everything that it unpacks to.
    pub max_bytes: u64,
    /// Check in addition to sizes and digests.
    pub check: Option<Check>,
}

/// Checks whether the files of a data set in a data folder are good.
pub type Check = fn(&Path) -> Result<(), Error>;

/// Length and digest of an archive.
#[derive(Clone, Debug)]
pub struct Packing {
    /// Length in bytes.
    pub n_bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

/// A file that an archive must hold.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// Name in the folder.
    pub name: String,
    /// Length in bytes.
    pub n_bytes: u64,
    /// SHA-256, if it is known.
    pub sha256: Option<String>,
}

impl Spec {
    /// Returns the specification of `dataset`.
    ///
    /// For CIFAR-10, the digest of every file is known. For CIFAR-100, only the digest of the official archive is
    /// known. Archives packed by others are checked for sizes, label ranges and class counts.
    pub fn of(dataset: Which) -> Self {
        match dataset {
            Which::Cifar10 => cifar10(),
            Which::Cifar100 => cifar100(),
        }
    }
}

fn cifar10() -> Spec {
    let sha256 = |name: &str| CIFAR10_FILES.iter().find(|file| file.0 == name).map(|file| file.1.to_owned());
    Spec {
        title: CIFAR10.title.to_owned(),
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz".to_owned(),
        archive: Some(Packing {
            n_bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd".to_owned(),
        }),
        folder: CIFAR10.folder.to_owned(),
        files: files(&CIFAR10, sha256),
        max_bytes: 256 << 20,
        check: None, // the digests leave nothing more to check
    }
}

fn cifar100() -> Spec {
    Spec {
        title: CIFAR100.title.to_owned(),
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz".to_owned(),
        archive: Some(Packing {
            n_bytes: 168_513_733,
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec".to_owned(),
        }),
        folder: CIFAR100.folder.to_owned(),
        files: files(&CIFAR100, |_| None),
        max_bytes: 256 << 20,
        check: Some(|data_dir| load_cifar100(data_dir).map(drop)),
    }
}

fn files(layout: &Layout, sha256: impl Fn(&str) -> Option<String>) -> Vec<FileSpec> {
    let file =
        |(name, n_bytes): (&str, u64)| FileSpec { name: name.to_owned(), n_bytes, sha256: sha256(name) };
    layout.files().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_are_the_published_ones_and_every_digest_is_there() {
        let lengths = |which| Spec::of(which).files.iter().map(|file| file.n_bytes).collect::<Vec<_>>();
        assert_eq!(lengths(Which::Cifar10), [30_730_000; 6]);
        assert_eq!(lengths(Which::Cifar100), [153_700_000, 30_740_000]);
        assert!(Spec::of(Which::Cifar10).files.iter().all(|file| file.sha256.is_some()));
        assert!("cifar-10".parse::<Which>().unwrap_err().to_string().contains("cifar10 or cifar100"));
    }
}
