//! Reads CIFAR-10 and CIFAR-100 in the binary version. Every size, label and count is checked.
//!
//! A file is a sequence of records without a header. A record is one label byte (CIFAR-100: two, coarse then fine) and
//! 1,024 bytes of red, then of green, then of blue, each row by row. The format is described at
//! <https://www.cs.toronto.edu/~kriz/cifar.html>. Downloading the files is left to `fetch`.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallow_core::{FileError, Foreign, Progress, Unit, digest, files, memory};

use super::names::{CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES};
use super::{PLANE, SIDE_PX, push_pixels};
use crate::{Dataset, Error, ImageSet, Normalization};

/// The files of CIFAR-10, training files first, with their official digests.
pub const CIFAR10_FILES: [(&str, &str); 6] = [
    ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];

/// Properties that distinguish the data sets of this family.
pub(crate) struct Layout {
    pub(crate) title: &'static str,
    name: &'static str,
    pub(crate) folder: &'static str,
    train_files: &'static [&'static str],
    test_files: &'static [&'static str],
    n_records_per_train_file: usize,
    n_records_per_test_file: usize,
    n_label_bytes: usize,
    /// Index of the label byte that gives the class.
    label_byte: usize,
    class_names: &'static [&'static str],
    normalization: Normalization,
    remedy: &'static str,
}

pub(crate) const CIFAR10: Layout = Layout {
    title: "CIFAR-10",
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    train_files: &[
        CIFAR10_FILES[0].0,
        CIFAR10_FILES[1].0,
        CIFAR10_FILES[2].0,
        CIFAR10_FILES[3].0,
        CIFAR10_FILES[4].0,
    ],
    test_files: &[CIFAR10_FILES[5].0],
    n_records_per_train_file: 10_000,
    n_records_per_test_file: 10_000,
    n_label_bytes: 1,
    label_byte: 0,
    class_names: &CIFAR10_CLASSES,
    normalization: Normalization::CIFAR10,
    remedy: "cargo xtask fetch-data",
};

pub(crate) const CIFAR100: Layout = Layout {
    title: "CIFAR-100",
    name: "cifar100",
    folder: "cifar-100-binary",
    train_files: &["train.bin"],
    test_files: &["test.bin"],
    n_records_per_train_file: 50_000,
    n_records_per_test_file: 10_000,
    n_label_bytes: 2,
    label_byte: 1,
    class_names: &CIFAR100_CLASSES,
    normalization: Normalization::CIFAR100,
    remedy: "cargo xtask fetch-data --dataset cifar100",
};

/// The same files as [`CIFAR100`], labelled by the other label byte.
pub(crate) const CIFAR100_COARSE: Layout =
    Layout { name: "cifar100-coarse", label_byte: 0, class_names: &CIFAR100_SUPERCLASSES, ..CIFAR100 };

/// Digest of one file and the expected digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// The file.
    pub path: PathBuf,
    /// The official SHA-256.
    pub expected: &'static str,
    /// The SHA-256 of the file that was found; `None` if the file is missing.
    pub actual: Option<String>,
}

impl FileCheck {
    /// Returns whether the file is the official one.
    pub fn is_ok(&self) -> bool {
        self.actual.as_deref() == Some(self.expected)
    }
}

/// Compares each file of CIFAR-10 in `data_dir` with its official digest.
///
/// # Errors
/// [`Error::Absent`] if the folder does not exist; [`Error::File`] if a file cannot be read.
pub fn verify_cifar10(data_dir: &Path, progress: &dyn Progress) -> Result<Vec<FileCheck>, Error> {
    let folder = CIFAR10.folder_in(data_dir)?;
    progress.begin("verifying", Some(CIFAR10_FILES.len() as u64), Unit::Items("files"));
    let check = |(done, (name, expected)): (usize, (&str, &'static str))| {
        let path = folder.join(name);
        let actual = if files::exists(&path)? { Some(digest::of_file(&path)?) } else { None };
        progress.advance(done as u64 + 1);
        Ok(FileCheck { path, expected, actual })
    };
    let checks = CIFAR10_FILES.into_iter().enumerate().map(check).collect();
    progress.end();
    checks
}

impl Layout {
    /// Returns the names and lengths of all files.
    #[cfg(feature = "fetch")]
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let n_bytes = |n_records| (n_records * self.n_record_bytes()) as u64;
        let train = self.train_files.iter().map(move |&name| (name, n_bytes(self.n_records_per_train_file)));
        train.chain(self.test_files.iter().map(move |&name| (name, n_bytes(self.n_records_per_test_file))))
    }

    fn n_record_bytes(&self) -> usize {
        self.n_label_bytes + 3 * PLANE
    }

    /// Returns the data set's folder, or an error if it does not exist.
    fn folder_in(&self, data_dir: &Path) -> Result<PathBuf, Error> {
        let folder = data_dir.join(self.folder);
        if files::is_folder(&folder)? {
            Ok(folder)
        } else {
            Err(Error::Absent { dataset: self.title, folder, remedy: self.remedy })
        }
    }

    pub(super) fn load(&self, data_dir: &Path) -> Result<Dataset, Error> {
        let folder = self.folder_in(data_dir)?;
        let train = self.load_part(&folder, "training", self.train_files, self.n_records_per_train_file)?;
        let test = self.load_part(&folder, "test", self.test_files, self.n_records_per_test_file)?;
        Ok(Dataset::new(self.name, train, test, self.normalization))
    }

    fn load_part(
        &self,
        folder: &Path,
        part: &'static str,
        files: &[&str],
        n_records: usize,
    ) -> Result<ImageSet, Error> {
        let n_images = files.len() * n_records;
        let mut labels = Vec::with_capacity(n_images);
        let mut pixels = memory::with_capacity(n_images * 3 * PLANE);
        for file in files {
            self.read_file(&folder.join(file), n_records, &mut labels, &mut pixels)?;
        }
        let class_names: Arc<[Foreign]> = self.class_names.iter().map(|&name| name.into()).collect();
        let set = ImageSet::new(SIDE_PX, SIDE_PX, 3, pixels, labels, class_names)?;
        let expected = n_images / self.class_names.len();
        match set.class_counts().into_iter().zip(self.class_names).find(|(found, _)| *found != expected) {
            None => Ok(set),
            Some((found, &class)) => Err(Error::ClassCount {
                folder: folder.to_owned(),
                part,
                class: class.into(),
                found,
                expected,
                remedy: self.remedy,
            }),
        }
    }

    /// Appends the `n_records` records of the file at `path`.
    fn read_file(
        &self,
        path: &Path,
        n_records: usize,
        labels: &mut Vec<u32>,
        pixels: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let file = files::open(path)?;
        let mut record = vec![0; self.n_record_bytes()];
        let expected = (n_records * record.len()) as u64;
        let found = file.metadata().map_err(FileError::reading(path))?.len();
        if found != expected {
            return Err(Error::FileLength { path: path.to_owned(), found, expected, remedy: self.remedy });
        }
        let mut reader = BufReader::with_capacity(1 << 20, file);
        for number in 0..n_records {
            reader.read_exact(&mut record).map_err(FileError::reading(path))?;
            let (label_bytes, planes) = record.split_at(self.n_label_bytes);
            let label = u32::from(label_bytes[self.label_byte]);
            let n_classes = self.class_names.len();
            if label as usize >= n_classes {
                let (path, remedy) = (path.to_owned(), self.remedy);
                return Err(Error::RecordLabel { path, record: number, label, n_classes, remedy });
            }
            labels.push(label);
            push_pixels(planes, pixels);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tallow_core::{Purpose, Stream};

    use super::*;

    /// Two training files and a test file of four records, two classes.
    const SMALL: Layout = Layout {
        folder: "small",
        train_files: &["one.bin", "two.bin"],
        test_files: &["test.bin"],
        n_records_per_train_file: 4,
        n_records_per_test_file: 4,
        class_names: &["left", "right"],
        remedy: "get it",
        ..CIFAR10
    };

    /// A record. Its pixel at (row, column) is (row, column, `blue`).
    fn record(label_bytes: &[u8], blue: u8) -> Vec<u8> {
        let plane = |value: fn(usize) -> usize| (0..PLANE).map(move |i| value(i) as u8);
        let pixels = plane(|i| i / 32).chain(plane(|i| i % 32)).chain(std::iter::repeat_n(blue, PLANE));
        label_bytes.iter().copied().chain(pixels).collect()
    }

    /// Writes the files of `layout`, with the labels 0 1 0 1. `blue` is the number of the record in its file.
    fn write(layout: &Layout, data_dir: &Path) {
        fs::create_dir_all(data_dir.join(layout.folder)).unwrap();
        for file in layout.train_files.iter().chain(layout.test_files) {
            let bytes = (0..4).flat_map(|i| {
                let mut label_bytes = vec![9; layout.n_label_bytes];
                label_bytes[layout.label_byte] = i % 2;
                record(&label_bytes, i)
            });
            let bytes: Vec<u8> = bytes.collect();
            fs::write(data_dir.join(layout.folder).join(file), bytes).unwrap();
        }
    }

    #[test]
    fn planes_become_pixels_and_the_label_byte_counts() {
        let [coarse, fine] = [0, 1].map(|label_byte| Layout { n_label_bytes: 2, label_byte, ..SMALL });
        for layout in [SMALL, coarse, fine] {
            let folder = tempfile::tempdir().unwrap();
            write(&layout, folder.path());
            let data = layout.load(folder.path()).unwrap();
            assert_eq!((data.train.len(), data.test.len()), (8, 4));
            assert_eq!(data.train.labels(), [0, 1, 0, 1, 0, 1, 0, 1]);
            let frog = data.train.read(6).unwrap().pixels;
            let pixel = |row: usize, column: usize| &frog[(row * 32 + column) * 3..][..3];
            assert_eq!(pixel(0, 0), [0, 0, 2]);
            assert_eq!(pixel(3, 31), [3, 31, 2]);
            assert_eq!(pixel(31, 4), [31, 4, 2]);
        }
    }

    /// Returns the error message after `change` has been applied to a file.
    fn refusal(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(&SMALL, folder.path());
        let path = folder.path().join("small").join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let message = SMALL.load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("`get it`") && message.contains("trainer data verify"), "{message}");
        message
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let message = refusal("two.bin", |bytes| bytes.truncate(4 * 3073 - 1));
        assert!(message.contains("two.bin has 12291 bytes, expected 12292: it is cut short"), "{message}");
        let message = refusal("test.bin", |bytes| bytes.push(0));
        assert!(message.contains("test.bin has 12293 bytes"), "{message}");
        let message = refusal("one.bin", |bytes| bytes[2 * 3073] = 2);
        assert!(message.contains("one.bin, record 2: label 2, expected 0 to 1"), "{message}");
        let message = refusal("two.bin", |bytes| bytes[0] = 1);
        assert!(message.contains("3 training images of class \"left\", expected 4"), "{message}");
    }

    #[test]
    fn changed_files_are_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(&SMALL, folder.path());
        let path = folder.path().join("small/two.bin");
        let whole = fs::read(&path).unwrap();
        let mut n_read = 0;
        for i in 0..200 {
            let (mut bytes, mut stream) = (whole.clone(), Stream::new(0, Purpose::Test, 0, i));
            for _ in 0..stream.below(4) {
                let at = stream.below(bytes.len() as u32) as usize;
                bytes[at] = stream.next_u32() as u8;
            }
            if stream.below(4) == 0 {
                bytes.resize(stream.below(2 * bytes.len() as u32) as usize, 0);
            }
            fs::write(&path, bytes).unwrap();
            if let Ok(data) = SMALL.load(folder.path()) {
                assert_eq!(data.train.class_counts(), [4, 4]);
                n_read += 1;
            }
        }
        assert!((50..200).contains(&n_read), "{n_read}");
    }

    #[test]
    fn missing_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = SMALL.load(folder.path()).unwrap_err();
        assert!(
            matches!(error, Error::Absent { .. }) && error.to_string().contains("get it with `get it`"),
            "{error}"
        );
        write(&SMALL, folder.path());
        fs::remove_file(folder.path().join("small/test.bin")).unwrap();
        let message = SMALL.load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("test.bin"), "{message}");
    }
}
