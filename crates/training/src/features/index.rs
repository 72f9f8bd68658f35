//! The index of a cache folder: which pictures have features, and in which row of which shard.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::shard::{Of, is_shard_name, read_pictures};

/// The shards of a folder, and the row of every picture.
pub(super) struct Index {
    pub(super) shards: Vec<Listed>,
    places: HashMap<Of, Place>,
}

/// A shard, described by its header.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) pictures: Vec<Of>,
}

/// The location of a picture's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the shard.
    pub(super) shard: usize,
    /// Row in the shard.
    pub(super) row: usize,
}

impl Index {
    /// Reads the index of `folder`; other files are skipped.
    pub(super) fn read(folder: &Path) -> Self {
        let is_shard = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(is_shard_name);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_shard).collect();
        paths.sort_unstable();
        let listed = paths.into_par_iter().filter_map(|path| {
            let pictures = read_pictures(&path)?;
            Some(Listed { path, pictures })
        });
        let mut index = Self { shards: Vec::new(), places: HashMap::new() };
        listed.collect::<Vec<_>>().into_iter().for_each(|shard| index.add(shard));
        index
    }

    /// Adds a shard. It replaces earlier entries of the same pictures, because the earlier shard may have been found damaged.
    pub(super) fn add(&mut self, listed: Listed) {
        let shard = self.shards.len();
        for (row, picture) in listed.pictures.iter().enumerate() {
            self.places.insert(*picture, Place { shard, row });
        }
        self.shards.push(listed);
    }

    /// Returns the location of the features of `picture`.
    pub(super) fn place(&self, picture: &Of) -> Option<Place> {
        self.places.get(picture).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::shard::write_shard;
    use super::*;
    use tallow_nn::HostTensor;

    #[test]
    fn pictures_are_found_whatever_shard_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let of = |i: u8| Of { identity: [i; 32], mirrored: false };
        let rows = |n: usize| HostTensor { shape: vec![n, 1], data: vec![0.0; n] };
        write_shard(folder.path(), &[of(1), of(2)], rows(2), 1.0).unwrap();
        fs::write(folder.path().join("key.json"), "{}").unwrap();
        fs::write(folder.path().join("0123456789abcdef.safetensors"), "no shard").unwrap();
        let mut index = Index::read(folder.path());
        assert_eq!(index.place(&of(2)), Some(Place { shard: 0, row: 1 }));
        assert_eq!(index.place(&Of { mirrored: true, ..of(2) }), None);
        index.add(Listed { path: "b".into(), pictures: vec![of(2), of(3)] });
        assert_eq!(index.place(&of(2)), Some(Place { shard: 1, row: 0 }), "the last counts");
        assert_eq!(index.place(&of(3)), Some(Place { shard: 1, row: 1 }));
    }
}
