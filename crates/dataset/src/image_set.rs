//! Images in memory: bytes, labels and class names that are known to fit together.

use std::fmt;
use std::sync::Arc;

use tallow_core::digest::Hasher;

use crate::{Error, Normalization};

/// Images of one size with their labels.
///
/// Pixels are `u8` in NHWC order: image after image, rows from the top, columns from the left, channels together
/// (red, green, blue).
#[derive(Clone, PartialEq, Eq)]
pub struct ImageSet {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    class_names: Arc<[String]>,
}

impl ImageSet {
    /// Images of `height` x `width` pixels with `channels` (1 to 3) from `pixels` (NHWC), one of `labels` for each.
    ///
    /// # Errors
    /// If a size is 0, there are more than 3 channels, the lengths do not fit or a label names no class.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        class_names: Arc<[String]>,
    ) -> Result<Self, Error> {
        if height == 0 || width == 0 || !(1..=3).contains(&channels) {
            let shape = format!("{height} x {width} pixels with {channels} channels is no image");
            return Err(Error::Images(shape));
        }
        let expected = [height, width, channels]
            .iter()
            .try_fold(labels.len(), |product, &side| product.checked_mul(side));
        if expected != Some(pixels.len()) || u32::try_from(labels.len()).is_err() {
            let (bytes, n) = (pixels.len(), labels.len());
            let what = format!("{bytes} bytes for {n} labels of {height} x {width} x {channels} images");
            return Err(Error::Images(what));
        }
        if let Some(i) = labels.iter().position(|&label| label as usize >= class_names.len()) {
            let (label, n_classes) = (labels[i], class_names.len());
            return Err(Error::Images(format!("image {i} has label {label}, there are {n_classes} classes")));
        }
        Ok(Self { height, width, channels, pixels, labels, class_names })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Rows of an image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Numbers per pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Numbers per image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of image `i`, HWC.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.image_len()..][..self.image_len()]
    }

    /// The class of image `i`.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    /// The classes of all images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The pixels of all images, NHWC.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The names of the classes, in the order of the labels.
    pub fn class_names(&self) -> &Arc<[String]> {
        &self.class_names
    }

    /// How many images each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }
}

/// The sizes; not the pixels, of which there may be 150 million.
impl fmt::Debug for ImageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, n_classes) = (self.len(), self.class_names.len());
        write!(f, "ImageSet({n} x {} x {} x {}, {n_classes} classes)", self.height, self.width, self.channels)
    }
}

/// A data set: images to train on, images to test on, and what belongs to both.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// "cifar10", "cifar100" or "sample".
    pub name: String,
    /// What is trained on; validation is split from it (see [`stratified_split`](crate::stratified_split)).
    pub train: Arc<ImageSet>,
    /// What is looked at once, after training.
    pub test: Arc<ImageSet>,
    /// Mean and deviation of the training pixels.
    pub normalization: Normalization,
    /// SHA-256 over class names, sizes, labels and pixels of both parts: the same for the same images, wherever
    /// they came from.
    pub digest: String,
}

impl Dataset {
    /// A data set of these parts.
    pub fn new(name: &str, train: ImageSet, test: ImageSet, normalization: Normalization) -> Self {
        let digest = digest(&train, &test);
        Self { name: name.to_owned(), train: Arc::new(train), test: Arc::new(test), normalization, digest }
    }
}

/// Every part that varies in length is led by its length, so that no two contents give the same bytes.
fn digest(train: &ImageSet, test: &ImageSet) -> String {
    let mut hasher = Hasher::new();
    for (part, set) in [("train", train), ("test", test)] {
        hasher.update(part.as_bytes());
        for size in [set.len(), set.height, set.width, set.channels, set.class_names.len()] {
            hasher.update(&(size as u64).to_le_bytes());
        }
        for name in set.class_names.iter() {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        let labels: Vec<u8> = set.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        hasher.update(&set.pixels);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Arc<[String]> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    /// Two images of 2 rows, 3 columns, 3 channels.
    fn two() -> ImageSet {
        ImageSet::new(2, 3, 3, (0..36).collect(), vec![1, 0], names(2)).unwrap()
    }

    #[test]
    fn images_are_found_where_they_were_put() {
        let set = two();
        assert_eq!((set.len(), set.height(), set.width(), set.channels()), (2, 2, 3, 3));
        assert_eq!(set.image(1), (18..36).collect::<Vec<u8>>());
        assert_eq!(set.label(0), 1);
        assert_eq!(set.class_counts(), [1, 1]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let new = |h, w, c, bytes, labels: Vec<u32>| ImageSet::new(h, w, c, vec![0; bytes], labels, names(2));
        let said = |result: Result<ImageSet, Error>| result.unwrap_err().to_string();
        assert!(said(new(2, 3, 3, 35, vec![1, 0])).contains("35 bytes for 2 labels"));
        assert!(said(new(2, 3, 3, 36, vec![1, 2])).contains("image 1 has label 2, there are 2 classes"));
        assert!(said(new(0, 3, 3, 0, vec![])).contains("is no image"));
        assert!(said(new(1, 1, 4, 4, vec![0])).contains("is no image"));
        assert!(said(new(usize::MAX, 2, 3, 0, vec![0])).contains("0 bytes"));
        assert!(new(2, 3, 3, 0, vec![]).unwrap().is_empty());
    }

    #[test]
    fn the_digest_depends_on_everything_and_on_nothing_else() {
        let of = |train: &ImageSet, test: &ImageSet| {
            Dataset::new("any name", train.clone(), test.clone(), Normalization::CIFAR10).digest
        };
        let set = two();
        let changed = |change: fn(&mut ImageSet)| {
            let mut other = two();
            change(&mut other);
            other
        };
        let mut digests = vec![of(&set, &set)];
        for other in [
            changed(|s| s.pixels[7] ^= 1),
            changed(|s| s.labels.swap(0, 1)),
            changed(|s| (s.height, s.width) = (3, 2)),
            changed(|s| s.class_names = names(3)),
        ] {
            digests.extend([of(&other, &set), of(&set, &other)]);
        }
        let n = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), n);
        assert_eq!(of(&set, &set), of(&two(), &two()));
    }
}
