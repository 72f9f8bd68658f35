//! An image set (pictures with their classes and names), and a data set of two image sets.
//!
//! Labels, class names and file names are always in memory. Pictures come from a source, one at a time.

use std::fmt;
use std::sync::Arc;

use tallow_core::Foreign;
use tallow_core::digest::Hasher;

use crate::fit::{Fit, Fitter, Preprocess};
use crate::kept::Kept;
use crate::source::{Block, Chosen, Facts, Identity, ImageSource, Picture};
use crate::{Error, Normalization};

/// Pictures with their labels.
#[derive(Clone)]
pub struct ImageSet {
    source: Arc<dyn ImageSource>,
    labels: Arc<[u32]>,
    class_names: Arc<[Foreign]>,
    /// Text of the path of each picture's file, relative to the data set's folder ([`Foreign::of_path`]); `None` if pictures
    /// have no files.
    files: Option<Arc<[Foreign]>>,
    /// Cache of pictures at the model's input size, for sources that take time to read.
    kept: Option<Arc<Kept>>,
}

impl ImageSet {
    /// Creates a set of images of `height` x `width` pixels with `channels` (1 to 3) channels from `pixels` (NHWC, u8),
    /// with one of `labels` for each image.
    ///
    /// # Errors
    /// If a size is 0, there are more than 3 channels, the lengths do not match, or a label has no class.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        class_names: Arc<[Foreign]>,
    ) -> Result<Self, Error> {
        let shape = [height, width, channels];
        if height == 0 || width == 0 || !(1..=3).contains(&channels) {
            let shape = format!("{height} x {width} pixels with {channels} channels is not an image");
            return Err(Error::Images(shape));
        }
        let expected = shape.iter().try_fold(labels.len(), |product, &side| product.checked_mul(side));
        if expected != Some(pixels.len()) {
            let (bytes, n) = (pixels.len(), labels.len());
            let what = format!("{bytes} bytes for {n} labels of {height} x {width} x {channels} images");
            return Err(Error::Images(what));
        }
        Self::of(Arc::new(Block { shape, pixels }), labels, class_names, None)
    }

    /// Creates a set of the pictures of `source`, with one of `labels` for each picture and the names of their `files`,
    /// if they have any.
    ///
    /// # Errors
    /// If the lengths do not match, or a label has no class.
    pub fn of(
        source: Arc<dyn ImageSource>,
        labels: Vec<u32>,
        class_names: Arc<[Foreign]>,
        files: Option<Vec<Foreign>>,
    ) -> Result<Self, Error> {
        let n = source.len();
        let n_files = files.as_ref().map_or(n, Vec::len);
        if labels.len() != n || n_files != n || u32::try_from(n).is_err() {
            let what = format!("{n} pictures, {} labels, {n_files} names of files", labels.len());
            return Err(Error::Images(what));
        }
        check_labels(&labels, &class_names)?;
        Ok(Self { source, labels: labels.into(), class_names, files: files.map(Into::into), kept: None })
    }

    /// Returns the same set with a cache of its pictures, fitted with `preprocess`. `pictures` has one entry for each
    /// image: the fitted picture, or `None` if it is not fitted yet.
    ///
    /// # Panics
    /// If the number of entries is not the number of images.
    #[must_use]
    pub fn keeping(self, preprocess: Preprocess, pictures: Vec<Option<Box<[u8]>>>) -> Self {
        assert_eq!(pictures.len(), self.len(), "ImageSet::keeping: places");
        Self { kept: Some(Arc::new(Kept::new(preprocess, pictures))), ..self }
    }

    /// Returns the same pictures with the classes `class_names`. Images of class `i` get the class `places[i]`, or
    /// class 0 if that is `None` or missing.
    ///
    /// # Errors
    /// If `places` has an index that is not a class.
    pub fn with_classes(&self, class_names: Arc<[Foreign]>, places: &[Option<u32>]) -> Result<Self, Error> {
        let place = |&label: &u32| places.get(label as usize).copied().flatten().unwrap_or(0);
        let labels: Vec<u32> = self.labels.iter().map(place).collect();
        check_labels(&labels, &class_names)?;
        Ok(Self { labels: labels.into(), class_names, ..self.clone() })
    }

    /// Returns the images `indices`, in this order.
    ///
    /// # Panics
    /// If an index has no image.
    #[must_use]
    pub fn subset(&self, indices: &[u32]) -> Self {
        let source: Arc<dyn ImageSource> = match self.source.block() {
            Some((pixels, shape)) => {
                let len = shape.iter().product::<usize>();
                let image = |&i: &u32| &pixels[i as usize * len..][..len];
                Arc::new(Block { shape, pixels: indices.iter().flat_map(image).copied().collect() })
            }
            None => Arc::new(Chosen { source: Arc::clone(&self.source), indices: indices.to_vec() }),
        };
        Self {
            source,
            labels: indices.iter().map(|&i| self.labels[i as usize]).collect(),
            class_names: self.class_names.clone(),
            files: self
                .files
                .as_ref()
                .map(|files| indices.iter().map(|&i| files[i as usize].clone()).collect()),
            kept: None,
        }
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Reads image `i`.
    ///
    /// # Errors
    /// If the image's file cannot be read; the error names the file.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn read(&self, i: usize) -> Result<Picture<'_>, Error> {
        self.source.read(i)
    }

    /// Passes image `i`, fitted by `fitter`, to `take`: from the cache, or read now and then cached. `fitted` is
    /// working memory.
    ///
    /// # Errors
    /// If the image's file cannot be read; the error names the file.
    pub(crate) fn fitted(
        &self,
        i: usize,
        fitter: &mut Fitter,
        fitted: &mut Vec<u8>,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), Error> {
        let preprocess = *fitter.preprocess();
        let kept = self.kept.as_ref().filter(|kept| kept.is_of(&preprocess));
        if let Some(pixels) = kept.and_then(|kept| kept.get(i)) {
            take(pixels);
            return Ok(());
        }
        let picture = self.read(i)?;
        let is_whole = preprocess.fit != Fit::Crop || preprocess.crop_fraction == 1.0;
        let pixels: &[u8] = if is_whole && [picture.height, picture.width] == preprocess.size_px {
            &picture.pixels
        } else {
            fitted.resize(preprocess.size_px.iter().product::<usize>() * picture.channels, 0);
            fitter.apply(&picture.pixels, picture.shape(), fitted)?;
            fitted
        };
        if let Some(kept) = kept {
            kept.put(i, pixels);
        }
        take(pixels);
        Ok(())
    }

    /// Returns rows, columns and channels of every image, if the images lie in memory and have one size.
    pub fn block_shape(&self) -> Option<[usize; 3]> {
        self.source.block().map(|(_, shape)| shape)
    }

    /// Returns the pixels of all images, (n, h, w, c), and the shape (h, w, c) of each, if they lie in memory.
    pub fn block(&self) -> Option<(&[u8], [usize; 3])> {
        self.source.block()
    }

    /// Returns the facts that a scan found about image `i`; `None` if there was no scan.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn facts(&self, i: usize) -> Option<&Facts> {
        self.source.facts(i)
    }

    /// Returns the values per pixel: the number of channels of images in memory, and 3 for files.
    pub fn channels(&self) -> usize {
        self.block_shape().map_or(3, |[_, _, channels]| channels)
    }

    /// Returns a value that distinguishes image `i` from any other.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn identity(&self, i: usize) -> Identity {
        self.source.identity(i)
    }

    /// Returns the text of the path of image `i`'s file, relative to the data set's folder, if it has a file.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn file(&self, i: usize) -> Option<&Foreign> {
        self.files.as_ref().map(|files| &files[i])
    }

    /// Returns the class of image `i`.
    ///
    /// # Panics
    /// If there is no such image, as for a slice.
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    /// Returns the classes of all images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Returns the names of the classes, in the order of the labels.
    pub fn class_names(&self) -> &Arc<[Foreign]> {
        &self.class_names
    }

    /// Returns the number of images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &label in self.labels() {
            counts[label as usize] += 1;
        }
        counts
    }

    /// Adds sizes, labels, class names and pictures to a digest. Every part of variable length is preceded by its
    /// length, so that different contents never give the same bytes.
    fn digest(&self, hasher: &mut Hasher) {
        let mut size = |size: usize| hasher.update(&(size as u64).to_le_bytes());
        size(self.len());
        self.block_shape().into_iter().flatten().for_each(&mut size);
        size(self.class_names.len());
        for name in self.class_names.iter() {
            hasher.update(&(name.raw().len() as u64).to_le_bytes());
            hasher.update(name.raw().as_bytes());
        }
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        match self.source.block() {
            Some((pixels, _)) => hasher.update(pixels),
            None => (0..self.len()).for_each(|i| hasher.update(&self.identity(i))),
        }
    }
}

fn check_labels(labels: &[u32], class_names: &[Foreign]) -> Result<(), Error> {
    let n_classes = class_names.len();
    match labels.iter().position(|&label| label as usize >= n_classes) {
        Some(i) => {
            let what = format!("image {i} has label {}, but there are {n_classes} classes", labels[i]);
            Err(Error::Images(what))
        }
        None => Ok(()),
    }
}

/// Prints the sizes, but not the pixels: there may be 150 million of them.
impl fmt::Debug for ImageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, n_classes) = (self.len(), self.class_names.len());
        match self.block_shape() {
            Some([h, w, c]) => write!(f, "ImageSet({n} x {h} x {w} x {c}, {n_classes} classes)"),
            None => write!(f, "ImageSet({n} files, {n_classes} classes)"),
        }
    }
}

/// A data set: training images, test images, and the data that belong to both.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// "cifar10", "cifar100", "sample", or the name of a folder, table or archive.
    pub name: Foreign,
    /// Description of the data set if the name is not enough: "3,000 images of CIFAR-10".
    pub about: Option<&'static str>,
    /// Images to train and to validate on.
    pub train: Arc<ImageSet>,
    /// Indices of the images of `train` that are for validation, ascending, if the data set itself defines them.
    /// `None`: validation images are split off (see [`stratified_split`](crate::stratified_split)).
    pub val_indices: Option<Arc<[u32]>>,
    /// Group of each image of `train`: images that are the same photograph have the same number. `None`: only
    /// byte-identical copies are known.
    pub groups: Option<Arc<[u32]>>,
    /// Test images, evaluated once, after training. Empty if the data set has no test images.
    pub test: Arc<ImageSet>,
    /// Mean and standard deviation of the training pixels.
    pub normalization: Normalization,
    /// SHA-256 over class names, sizes, labels and pixels of both sets, and the validation indices if there are any.
    /// The same images give the same digest, whatever their source.
    pub digest: String,
}

impl Dataset {
    /// Creates a data set of these parts, without validation images of its own.
    pub fn new(name: &str, train: ImageSet, test: ImageSet, normalization: Normalization) -> Self {
        Self::with_val(name, train, None, test, normalization)
    }

    /// Creates a data set of these parts. `val_indices` are the images of `train` that are for validation.
    pub fn with_val(
        name: &str,
        train: ImageSet,
        val_indices: Option<Vec<u32>>,
        test: ImageSet,
        normalization: Normalization,
    ) -> Self {
        let mut hasher = Hasher::new();
        for (part, set) in [("train", &train), ("test", &test)] {
            hasher.update(part.as_bytes());
            set.digest(&mut hasher);
        }
        if let Some(indices) = &val_indices {
            hasher.update(b"val");
            indices.iter().for_each(|i| hasher.update(&i.to_le_bytes()));
        }
        Self {
            name: name.into(),
            about: None,
            train: Arc::new(train),
            val_indices: val_indices.map(Into::into),
            groups: None,
            test: Arc::new(test),
            normalization,
            digest: hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Arc<[Foreign]> {
        (0..n).map(|i| format!("class {i}").into()).collect()
    }

    /// Two images of 2 rows, 3 columns, 3 channels.
    fn two() -> ImageSet {
        ImageSet::new(2, 3, 3, (0..36).collect(), vec![1, 0], names(2)).unwrap()
    }

    #[test]
    fn images_are_found_where_they_were_put() {
        let set = two();
        assert_eq!((set.len(), set.block_shape(), set.channels()), (2, Some([2, 3, 3]), 3));
        assert_eq!(*set.read(1).unwrap().pixels, (18..36).collect::<Vec<u8>>());
        assert_ne!(set.identity(0), set.identity(1));
        assert_eq!(set.label(0), 1);
        assert_eq!(set.class_counts(), [1, 1]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let new = |h, w, c, bytes, labels: Vec<u32>| ImageSet::new(h, w, c, vec![0; bytes], labels, names(2));
        let said = |result: Result<ImageSet, Error>| result.unwrap_err().to_string();
        assert!(said(new(2, 3, 3, 35, vec![1, 0])).contains("35 bytes for 2 labels"));
        assert!(said(new(2, 3, 3, 36, vec![1, 2])).contains("image 1 has label 2, but there are 2 classes"));
        assert!(said(new(0, 3, 3, 0, vec![])).contains("is not an image"));
        assert!(said(new(1, 1, 4, 4, vec![0])).contains("is not an image"));
        assert!(said(new(usize::MAX, 2, 3, 0, vec![0])).contains("0 bytes"));
        assert!(new(2, 3, 3, 0, vec![]).unwrap().is_empty());
    }

    #[test]
    fn the_digest_depends_on_everything_and_on_nothing_else() {
        let of = |train: &ImageSet, test: &ImageSet| {
            Dataset::new("any name", train.clone(), test.clone(), Normalization::CIFAR10).digest
        };
        let set = two();
        let new = |h, w, labels: [u32; 2], n_classes, flipped: u8| {
            let pixels = (0..36).map(|i| if i == 7 { i ^ flipped } else { i }).collect();
            ImageSet::new(h, w, 3, pixels, labels.to_vec(), names(n_classes)).unwrap()
        };
        let mut digests = vec![of(&set, &set)];
        for other in [
            new(2, 3, [1, 0], 2, 1),
            new(2, 3, [0, 1], 2, 0),
            new(3, 2, [1, 0], 2, 0),
            new(2, 3, [1, 0], 3, 0),
        ] {
            digests.extend([of(&other, &set), of(&set, &other)]);
        }
        let with_val =
            Dataset::with_val("x", set.clone(), Some(vec![1]), set.clone(), Normalization::CIFAR10);
        digests.push(with_val.digest);
        let n = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), n);
        assert_eq!(of(&set, &set), of(&two(), &two()));
    }
}
