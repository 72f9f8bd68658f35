//! CIFAR-10 and CIFAR-100, in the binary version and in the Python version.
//!
//! Both versions hold the same images: 1,024 bytes of red, then of green, then of blue, each row by row. Images are
//! kept as HWC here. Either version gives the same [`Dataset`], digest included. `binary` reads the binary version.
//! `python` reads the Python version with the help of `pickle`, which reads a pickle as data and runs nothing in it.
//! Downloading the files is left to `fetch`.

use std::path::Path;

use tallow_core::files;

use crate::{Dataset, Error};

mod binary;
mod names;
mod pickle;
mod python;

#[cfg(feature = "fetch")]
pub(crate) use binary::{CIFAR10, CIFAR100, Layout};
pub use binary::{CIFAR10_FILES, FileCheck, verify_cifar10};
pub use names::{CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_SUPERCLASSES};
pub use python::load_cifar_python;

/// Rows and columns of an image.
const SIDE_PX: usize = 32;
/// Pixels of an image, which is also the length of a colour plane.
const PLANE: usize = SIDE_PX * SIDE_PX;

/// Loads CIFAR-10 from `data_dir/cifar-10-batches-bin`, or from `data_dir/cifar-10-batches-py` if the former is
/// missing.
///
/// The binary version must be complete: 50,000 training and 10,000 test images, 5,000 and 1,000 of each class. The
/// Python version may have batches of any length ([`load_cifar_python`]).
///
/// # Errors
/// [`Error::Absent`] if neither folder exists. Other errors name the bad file, the problem, and how to get a good file.
pub fn load_cifar10(data_dir: &Path) -> Result<Dataset, Error> {
    load_either(data_dir, &binary::CIFAR10, &python::CIFAR10)
}

/// Loads CIFAR-100 with its 100 fine classes from `data_dir/cifar-100-binary`, or from `data_dir/cifar-100-python` if
/// the former is missing.
///
/// The binary version must have 50,000 training and 10,000 test images, 500 and 100 of each class.
///
/// # Errors
/// Like [`load_cifar10`].
pub fn load_cifar100(data_dir: &Path) -> Result<Dataset, Error> {
    load_either(data_dir, &binary::CIFAR100, &python::CIFAR100)
}

/// Loads CIFAR-100 with its 20 coarse classes (superclasses), otherwise like [`load_cifar100`].
///
/// # Errors
/// Like [`load_cifar10`].
pub fn load_cifar100_coarse(data_dir: &Path) -> Result<Dataset, Error> {
    load_either(data_dir, &binary::CIFAR100_COARSE, &python::CIFAR100_COARSE)
}

fn load_either(data_dir: &Path, binary: &binary::Layout, python: &python::Layout) -> Result<Dataset, Error> {
    let loaded = binary.load(data_dir);
    let other = data_dir.join(python.folder);
    if matches!(loaded, Err(Error::Absent { .. })) && files::is_folder(&other)? {
        return python.load(&other);
    }
    loaded
}

/// Appends an image's `planes` (CHW) to `pixels` as HWC.
fn push_pixels(planes: &[u8], pixels: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    pixels.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
}
