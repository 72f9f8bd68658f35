//! Reads `images/` of a run folder: PNG files, and `index.json`, which describes each of them.
//!
//! ```json
//! {
//!   "version": 1,
//!   "image_px": [32, 32],
//!   "train_counts": [4500, 4500],
//!   "pictures": [
//!     {"file": "sample-00.png", "role": "sample", "class": "cat", "index": 17},
//!     {"file": "augmented-00.png", "role": "augmented", "class": "cat", "index": 17},
//!     {"file": "test-4711.png", "role": "test", "class": "dog", "index": 4711, "name": "dog/rex.jpg"},
//!     {"file": "near-4711-0.png", "role": "near", "class": "cat", "index": 12, "near": [4711, 0.93]},
//!     {"file": "map-4711.png", "role": "map", "class": "dog", "index": 4711}
//!   ]
//! }
//! ```
//!
//! `role` is one of
//! * `sample`: training images as they are, 25 of them;
//! * `augmented`: the same images as the network saw them once, after augmentation;
//! * `test`: the test images that [`wanted_test_images`](crate::wanted_test_images) returns;
//! * `near`: training images near one of those test images. `near` gives the index of the test image, and the cosine
//!   between the features of both;
//! * `map`: the places of one of those test images that speak for the predicted class, as colours.
//!
//! `index` is the image's index in its data set (the one in `predictions_test.csv` for test images), and `class` is its
//! true class. `name` is the user's file that the image came from, if there is one. `image_px` is height and width.
//! `train_counts` is the number of training images per class, in the order of the classes. A run folder without `images/`
//! is complete too.

use std::collections::HashSet;
use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;
use tallow_core::{Foreign, files};
use tallow_run_files::{IMAGE_INDEX, IMAGES};

const VERSION: u32 = 1;
const MAX_INDEX_BYTES: u64 = 4 << 20;
/// Largest size of one picture, and of all pictures of a page together.
const MAX_PICTURE_BYTES: u64 = 64 << 10;
const MAX_TOTAL_BYTES: usize = 2_200_000;

/// The purpose of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A training image.
    Sample,
    /// A training image after augmentation.
    Augmented,
    /// A test image.
    Test,
    /// A training image that is near a test image.
    Near,
    /// The places of a test image that speak for the predicted class.
    Map,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The purpose of the picture.
    pub role: Role,
    /// The true class of the image.
    pub class: Foreign,
    /// Index of the image in its data set.
    pub index: u32,
    /// The user's file that the image came from; `None` if there is no such file.
    pub name: Option<Foreign>,
    /// For a training image near a test image: the index of the test image, and the cosine between the features of both.
    pub near: Option<(u32, f32)>,
    /// The content of the PNG file.
    pub png: Vec<u8>,
}

impl Picture {
    /// Returns the picture as a URL, `data:image/png;base64,…`.
    pub(crate) fn data_url(&self) -> String {
        format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(&self.png))
    }
}

/// The content of `images/`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PictureIndex {
    /// Height and width of the data set's images, in px.
    pub image_px: Option<[u32; 2]>,
    /// Number of training images of each class.
    pub train_counts: Option<Vec<u64>>,
    /// The pictures, in the order of the index.
    pub pictures: Vec<Picture>,
}

#[derive(Deserialize)]
struct IndexFile {
    version: u32,
    image_px: Option<[u32; 2]>,
    train_counts: Option<Vec<u64>>,
    #[serde(default)]
    pictures: Vec<PictureEntry>,
}

#[derive(Deserialize)]
struct PictureEntry {
    file: Foreign,
    role: Role,
    class: Foreign,
    index: u32,
    name: Option<Foreign>,
    near: Option<(u32, f32)>,
}

impl PictureIndex {
    /// Reads `run/images`. Damaged entries are left out, and reported in `problems`. Sets `is_unread` if the system fails to tell
    /// whether there are any, or if the index or one of them cannot be read.
    pub(super) fn read(run: &Path, problems: &mut Vec<Foreign>, is_unread: &mut bool) -> Self {
        let folder = run.join(IMAGES);
        let path = run.join(IMAGE_INDEX);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Self::default(),
            Err(e) => {
                problems.push(format!("{IMAGE_INDEX}: {e}").into());
                *is_unread = true;
                return Self::default();
            }
        }
        let read = files::read_at_most(&path, MAX_INDEX_BYTES);
        *is_unread |= read.is_err();
        let index = read
            .map_err(|e| e.to_string())
            .and_then(|bytes| serde_json::from_slice::<IndexFile>(&bytes).map_err(|e| e.to_string()));
        let index = match index {
            Ok(index) if index.version == VERSION => index,
            Ok(index) => {
                let problem = format!("{IMAGE_INDEX}: version is {}, expected {VERSION}", index.version);
                problems.push(problem.into());
                return Self::default();
            }
            Err(problem) => {
                problems.push(format!("{IMAGE_INDEX}: {problem}").into());
                return Self::default();
            }
        };
        let mut total_bytes = 0;
        let (mut pictures, mut seen) = (Vec::new(), HashSet::new());
        for entry in index.pictures {
            if !seen.insert(entry.file.clone()) {
                continue;
            }
            match png(&folder, entry.file.raw()) {
                Ok(bytes) if total_bytes + bytes.len() > MAX_TOTAL_BYTES => {
                    let problem =
                        format!("{IMAGES}/: more than {MAX_TOTAL_BYTES} bytes, the rest is left out");
                    problems.push(problem.into());
                    break;
                }
                Ok(png) => {
                    total_bytes += png.len();
                    let PictureEntry { role, class, index, name, near, .. } = entry;
                    pictures.push(Picture { role, class, index, name, near, png });
                }
                Err(problem) => {
                    *is_unread = true;
                    problems.push(format!("{IMAGES}/{}: {problem}", entry.file.shown()).into());
                }
            }
        }
        Self { image_px: index.image_px, train_counts: index.train_counts, pictures }
    }

    /// Returns the pictures with this role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Picture> {
        self.pictures.iter().filter(move |picture| picture.role == role)
    }

    /// Returns the training images near the test image `index`, the nearest first.
    pub fn near(&self, index: u32) -> impl Iterator<Item = &Picture> {
        self.of(Role::Near).filter(move |picture| picture.near.is_some_and(|(of, _)| of == index))
    }

    /// Returns what decided about the test image `index`.
    pub fn map(&self, index: u32) -> Option<&Picture> {
        self.of(Role::Map).find(|picture| picture.index == index)
    }

    /// Returns the picture of the test image `index`.
    pub fn test(&self, index: u32) -> Option<&Picture> {
        self.of(Role::Test).find(|picture| picture.index == index)
    }
}

/// Reads a PNG file that lies in `folder` itself; refuses names with other characters than those of plain file names.
fn png(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain || name.starts_with('.') {
        return Err(
            "expected the name of a file in the same folder, with only letters, digits, '-', '_' and '.'"
                .into(),
        );
    }
    let bytes = files::read_at_most(&folder.join(name), MAX_PICTURE_BYTES).map_err(|e| e.to_string())?;
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") { Ok(bytes) } else { Err("is not a PNG file".into()) }
}
