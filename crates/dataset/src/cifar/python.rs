//! Reads CIFAR-10 and CIFAR-100 in the Python version: pickled dictionaries of labels and of a byte matrix with one
//! image a row.
//!
//! A row is the planes of red, of green, and of blue (<https://www.cs.toronto.edu/~kriz/cifar.html>). The class names
//! come from the folder's own meta file. Batches may have any number of rows, because people write their own data in
//! this format. All files are read before an error is returned, so that the error names every bad file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallow_core::{FileError, Foreign, files};

use super::names::{CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES};
use super::pickle::Pickle;
use super::{PLANE, SIDE_PX, push_pixels};
use crate::{Dataset, Error, ImageSet, Normalization};

/// Largest file that is read, in bytes. CIFAR-100's training file has 155 million bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Bytes of a row.
const ROW_BYTES: usize = 3 * PLANE;

/// Properties that distinguish the data sets of this family.
pub(super) struct Layout {
    name: &'static str,
    pub(super) folder: &'static str,
    train_files: &'static [&'static str],
    test_files: &'static [&'static str],
    labels_key: &'static str,
    meta_file: &'static str,
    names_key: &'static str,
    /// Class names that are used if there is no meta file.
    class_names: &'static [&'static str],
}

pub(super) const CIFAR10: Layout = Layout {
    name: "cifar10",
    folder: "cifar-10-batches-py",
    train_files: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test_files: &["test_batch"],
    labels_key: "labels",
    meta_file: "batches.meta",
    names_key: "label_names",
    class_names: &CIFAR10_CLASSES,
};

pub(super) const CIFAR100: Layout = Layout {
    name: "cifar100",
    folder: "cifar-100-python",
    train_files: &["train"],
    test_files: &["test"],
    labels_key: "fine_labels",
    meta_file: "meta",
    names_key: "fine_label_names",
    class_names: &CIFAR100_CLASSES,
};

pub(super) const CIFAR100_COARSE: Layout = Layout {
    name: "cifar100-coarse",
    labels_key: "coarse_labels",
    names_key: "coarse_label_names",
    class_names: &CIFAR100_SUPERCLASSES,
    ..CIFAR100
};

/// Loads CIFAR-10, or CIFAR-100 with its fine classes, in the Python version from `folder`. The files in the folder
/// decide which of the two is loaded.
///
/// Batches may have any number of rows. The class names come from `batches.meta` or `meta`; without such a file the
/// official names are used. Mean and standard deviation are those of the training images.
///
/// # Errors
/// [`Error::CifarPickles`] with every file that is missing, is cut short, does not have rows of 3,072 bytes with a
/// label each, or asks for a function to be run.
pub fn load_cifar_python(folder: &Path) -> Result<Dataset, Error> {
    for layout in [CIFAR10, CIFAR100] {
        for name in layout.train_files.iter().chain(layout.test_files).chain([&layout.meta_file]) {
            if files::is_file(&folder.join(name))? {
                return layout.load(folder);
            }
        }
    }
    let expected = "the folder has neither the files of CIFAR-10 (batches.meta, data_batch_1, ...) nor those of \
                    CIFAR-100 (meta, train, test)";
    Err(Error::CifarPickles(vec![(folder.to_owned(), expected.to_owned())]))
}

/// Files that cannot be used, with the reasons.
type Problems = Vec<(PathBuf, String)>;

impl Layout {
    /// Loads the data set in `folder`.
    pub(super) fn load(&self, folder: &Path) -> Result<Dataset, Error> {
        let mut problems = Problems::new();
        let class_names = self.class_names(folder).unwrap_or_else(|problem| {
            problems.push(problem);
            self.official_names()
        });
        let mut parts = [self.train_files, self.test_files].map(|names| {
            let mut part = (Vec::new(), Vec::new());
            for path in names.iter().map(|name| folder.join(name)) {
                if let Err(problem) = self.read_batch(&path, class_names.len(), &mut part) {
                    problems.push((path, problem));
                }
            }
            part
        });
        if !problems.is_empty() {
            return Err(Error::CifarPickles(problems));
        }
        let mut set = |part: usize| {
            let (labels, pixels) = std::mem::take(&mut parts[part]);
            ImageSet::new(SIDE_PX, SIDE_PX, 3, pixels, labels, class_names.clone())
        };
        let (train, test) = (set(0)?, set(1)?);
        let indices: Vec<u32> = (0..train.len() as u32).collect();
        let normalization = Normalization::of(&train, &indices)?;
        Ok(Dataset::new(self.name, train, test, normalization))
    }

    fn official_names(&self) -> Arc<[Foreign]> {
        self.class_names.iter().map(|&name| name.into()).collect()
    }

    fn class_names(&self, folder: &Path) -> Result<Arc<[Foreign]>, (PathBuf, String)> {
        let path = folder.join(self.meta_file);
        match files::exists(&path) {
            Ok(false) => Ok(self.official_names()),
            Ok(true) => self.read_names(&path).map_err(|problem| (path, problem)),
            Err(e) => Err((path, unreadable(&e))),
        }
    }

    fn read_names(&self, path: &Path) -> Result<Arc<[Foreign]>, String> {
        let bytes = read(path)?;
        let pickle = Pickle::read(&bytes)?;
        let names = pickle.root().get(self.names_key).and_then(|names| names.items());
        let names = names.ok_or_else(|| format!("it has no list {:?}", self.names_key))?;
        let names: Option<Arc<[Foreign]>> = names.map(|name| Some(name.text()?.into())).collect();
        let names = names.ok_or_else(|| format!("{:?} has an entry that is not a text", self.names_key))?;
        let mut seen = HashSet::new();
        match names.iter().find(|name| !seen.insert(*name)) {
            _ if names.is_empty() => Err(format!("{:?} is empty", self.names_key)),
            Some(name) => Err(format!("{:?} has {name:?} twice", self.names_key)),
            None => Ok(names),
        }
    }

    /// Appends the labels and the pixels of the batch at `path`.
    fn read_batch(
        &self,
        path: &Path,
        n_classes: usize,
        part: &mut (Vec<u32>, Vec<u8>),
    ) -> Result<(), String> {
        let bytes = read(path)?;
        let pickle = Pickle::read(&bytes)?;
        let batch = pickle.root();
        if !batch.is_dict() {
            return Err("it does not hold a dictionary".into());
        }
        let data = batch.get("data").ok_or("it has no \"data\"")?;
        let data = data.matrix().map_err(|problem| format!("\"data\" {problem}"))?;
        if data.n_columns != ROW_BYTES {
            return Err(format!("its rows have {} bytes, expected {ROW_BYTES}", data.n_columns));
        }
        let key = self.labels_key;
        let labels = batch.get(key).and_then(|labels| labels.items());
        let labels = labels.ok_or_else(|| format!("it has no list {key:?}"))?;
        if labels.len() != data.n_rows {
            return Err(format!(
                "it has {} {key} for {} rows, expected one per row",
                labels.len(),
                data.n_rows
            ));
        }
        if data.n_rows == 0 {
            return Err("it has no rows".into());
        }
        for (row, label) in labels.enumerate() {
            let label = label.int().ok_or_else(|| format!("the label of row {row} is not a whole number"))?;
            if !(0..n_classes as i64).contains(&label) {
                return Err(format!("row {row} has label {label}, expected 0 to {}", n_classes - 1));
            }
            part.0.push(label as u32);
        }
        data.data.chunks_exact(ROW_BYTES).for_each(|planes| push_pixels(planes, &mut part.1));
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_at_most(path, MAX_FILE_BYTES).map_err(|e| match files::is_absent(&e.source) {
        true => "it is missing".into(),
        false => unreadable(&e),
    })
}

fn unreadable(error: &FileError) -> String {
    format!("it cannot be read: {}", error.source)
}
