//! Comparison with the whole of CIFAR-10: certain pixels of certain records, the pinned constants, the sample.
//!
//! The variable `TALLOW_CIFAR10_ARCHIVE` names the archive. Without it, the test says so and passes.

use std::path::Path;

use tallow_core::{Silent, StopFlag};
use tallow_dataset::cifar::{load_cifar10, verify_cifar10};
use tallow_dataset::fetch::{FetchRequest, Fetched, Which, fetch};
use tallow_dataset::{Dataset, ImageSet, Normalization, load_sample};

mod pickles;

#[test]
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn the_whole_of_cifar10() {
    let Some(archive) = std::env::var("TALLOW_CIFAR10_ARCHIVE").ok().filter(|path| !path.is_empty()) else {
        eprintln!("SKIPPED: the_whole_of_cifar10 (set TALLOW_CIFAR10_ARCHIVE to cifar-10-binary.tar.gz)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let request = FetchRequest { from: Some(archive), ..FetchRequest::new(Which::Cifar10, folder.path()) };
    let path = folder.path().join("cifar-10-batches-bin");
    let fetched = fetch(&request, &Silent, &StopFlag::default()).unwrap();
    assert_eq!(fetched, Fetched::Fetched { path: path.clone(), n_bytes: 184_380_000 });
    let again = fetch(&request, &Silent, &StopFlag::default()).unwrap();
    assert_eq!(again, Fetched::AlreadyThere { path });

    let data = load_cifar10(folder.path()).unwrap();
    named_pixels_of_named_records(&data);
    everything_is_counted_and_pinned(&data);
    the_sample_is_the_first_images_of_each_class(&data);
    the_python_version_is_the_same(folder.path(), &data.digest);
    verifying_finds_a_changed_file(folder.path());
}

fn pixel(set: &ImageSet, image: usize, row: usize, column: usize) -> &[u8] {
    &set.block().unwrap().0[image * 32 * 32 * 3..][(row * 32 + column) * 3..][..3]
}

/// Values read from the bytes of the files without this crate.
fn named_pixels_of_named_records(data: &Dataset) {
    let train = &data.train;
    let labels = [0, 1, 9_999, 40_000, 49_999].map(|i| train.class_names()[train.label(i) as usize].raw());
    assert_eq!(labels, ["frog", "truck", "dog", "automobile", "automobile"]);
    assert_eq!(pixel(train, 0, 0, 0), [59, 62, 63]);
    assert_eq!(pixel(train, 0, 0, 31), [148, 124, 103]);
    assert_eq!(pixel(train, 0, 31, 0), [177, 144, 116]);
    assert_eq!(pixel(train, 0, 5, 20), [102, 68, 42]);
    assert_eq!(pixel(train, 1, 0, 0), [154, 177, 187]);
    assert_eq!(pixel(train, 9_999, 31, 0), [169, 201, 132]);
    assert_eq!(pixel(train, 40_000, 5, 20), [134, 156, 176]);
    assert_eq!(pixel(train, 49_999, 31, 0), [122, 119, 114]);
    let test = &data.test;
    assert_eq!([test.label(0), test.label(9_999)], [3, 7]);
    assert_eq!(pixel(test, 0, 0, 31), [116, 85, 33]);
    assert_eq!(pixel(test, 9_999, 31, 0), [116, 120, 90]);
}

fn everything_is_counted_and_pinned(data: &Dataset) {
    assert_eq!((data.train.len(), data.test.len()), (50_000, 10_000));
    assert_eq!(data.train.class_counts(), [5_000; 10]);
    assert_eq!(data.test.class_counts(), [1_000; 10]);
    let all: Vec<u32> = (0..50_000).collect();
    assert_eq!(Normalization::of(&data.train, &all).unwrap(), Normalization::CIFAR10);
    assert_eq!(data.normalization, Normalization::CIFAR10);
    assert_eq!(data.digest, DIGEST);
}
const DIGEST: &str = "b785ffeeb2d97bedfd72ea62f81a17201c34c87d93816b6f472d2d8da133ec54";

fn the_sample_is_the_first_images_of_each_class(data: &Dataset) {
    let sample = load_sample().unwrap();
    for (whole, part, n_per_class) in [(&data.train, &sample.train, 200), (&data.test, &sample.test, 100)] {
        assert_eq!(whole.class_names(), part.class_names());
        let mut at = 0;
        for class in 0..10 {
            for i in (0..whole.len()).filter(|&i| whole.label(i) == class).take(n_per_class) {
                assert_eq!((part.label(at), part.read(at).unwrap()), (class, whole.read(i).unwrap()));
                at += 1;
            }
        }
        assert_eq!(at, part.len());
    }
}

/// Checks that the same records, written as pickles, give the same data set.
fn the_python_version_is_the_same(data_dir: &Path, digest: &str) {
    let (binary, python) = (data_dir.join("cifar-10-batches-bin"), tempfile::tempdir().unwrap());
    let folder = python.path().join("cifar-10-batches-py");
    std::fs::create_dir(&folder).unwrap();
    for name in pickles::BATCH_FILES {
        let bytes = std::fs::read(binary.join(format!("{name}.bin"))).unwrap();
        let (labels, rows): (Vec<u8>, Vec<&[u8]>) = bytes.chunks(3073).map(|r| (r[0], &r[1..])).unzip();
        std::fs::write(folder.join(name), pickles::batch("labels", &labels, &rows.concat())).unwrap();
    }
    let data = load_cifar10(python.path()).unwrap();
    assert_eq!((data.digest.as_str(), data.normalization), (digest, Normalization::CIFAR10));
}

fn verifying_finds_a_changed_file(data_dir: &Path) {
    assert!(verify_cifar10(data_dir, &Silent).unwrap().iter().all(|check| check.is_ok()));
    let path = data_dir.join("cifar-10-batches-bin/data_batch_3.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_234_567] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(data_dir.join("cifar-10-batches-bin/test_batch.bin")).unwrap();
    let checks = verify_cifar10(data_dir, &Silent).unwrap();
    let bad: Vec<_> = checks.iter().filter(|check| !check.is_ok()).collect();
    assert_eq!(bad.len(), 2);
    assert!(bad[0].path == path && bad[0].actual.is_some());
    assert!(bad[1].path.ends_with("test_batch.bin") && bad[1].actual.is_none());
}
