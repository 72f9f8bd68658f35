//! Writes CIFAR's Python version like Python 2: protocol 2, byte strings, `numpy.core.multiarray`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::Path;

/// The files of CIFAR-10, training files first.
pub(crate) const BATCH_FILES: [&str; 6] =
    ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];

/// Returns the planes of an image: red is the column, green is the row, blue is `blue`.
pub(crate) fn image_row(blue: u8) -> Vec<u8> {
    let red = (0..1024).map(|i| (i % 32) as u8);
    red.chain((0..1024).map(|i| (i / 32) as u8)).chain([blue; 1024]).collect()
}

/// Returns the pickle of a batch: `labels` under `labels_key`, and `data` with rows of 3,072 bytes.
pub(crate) fn batch(labels_key: &str, labels: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}q\x01(U".to_vec();
    bytes.push(labels_key.len() as u8);
    bytes.extend(labels_key.as_bytes());
    bytes.extend(b"q\x02](");
    bytes.extend(labels.iter().flat_map(|&label| [b'K', label]));
    bytes.extend(
        b"eU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01J",
    );
    bytes.extend(((data.len() / 3072) as u32).to_le_bytes());
    bytes.extend(b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes.extend(b"tbu.");
    bytes
}

/// Writes the files of CIFAR-10 with `n` images each, of the classes 0, 1, 2, ..., without a meta file.
pub(crate) fn write_folder(folder: &Path, n: u8) {
    fs::create_dir_all(folder).unwrap();
    let labels: Vec<u8> = (0..n).collect();
    let data: Vec<u8> = labels.iter().flat_map(|&label| image_row(label)).collect();
    for file in BATCH_FILES {
        fs::write(folder.join(file), batch("labels", &labels, &data)).unwrap();
    }
}
