//! From a picture to the numbers that a network sees: read, fit to the model's size, augment, normalise. The one way for
//! training, evaluation, features, prediction and the pictures of a report.

use std::sync::Arc;

use crate::fit::{Fitter, Interpolation, Preprocess};
use crate::resize::Resize;
use crate::{Error, ImageSet, Normalization, Transform};

/// The way of a set's pictures.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    set: Arc<ImageSet>,
    /// `None`: pictures keep their size, which is one.
    preprocess: Option<Preprocess>,
    table: [[f32; 256]; 3],
    /// Images in memory that are smaller than the model's size are enlarged last, in f32, where interpolation is `Linear`.
    enlarge: Option<Resize>,
    /// Rows, columns and channels that pictures are changed in.
    shape: [usize; 3],
}

/// Memory to work in, one for each thread.
#[derive(Default)]
pub(crate) struct Scratch {
    fitter: Option<Fitter>,
    fitted: Vec<u8>,
    image: Vec<f32>,
    line: Vec<f32>,
}

impl Pipeline {
    /// # Errors
    /// If there is no size to fit to and pictures have none in common, or the size cannot be had.
    pub(crate) fn new(
        set: Arc<ImageSet>,
        preprocess: Option<Preprocess>,
        normalization: Normalization,
    ) -> Result<Self, Error> {
        if let Some(preprocess) = &preprocess {
            preprocess.validate()?;
        }
        let own = set.block_shape();
        let shape = match (&preprocess, own) {
            (Some(preprocess), _) => [preprocess.size_px[0], preprocess.size_px[1], set.channels()],
            (None, Some(own)) => own,
            (None, None) => {
                return Err(Error::Images(
                    "pictures of different sizes need a size to be fitted to: the model has none".into(),
                ));
            }
        };
        let linear = preprocess.is_some_and(|p| p.interpolation == Interpolation::Linear);
        let is_smaller =
            |own: &[usize; 3]| own[..2] != shape[..2] && own[0] <= shape[0] && own[1] <= shape[1];
        let smaller = own.filter(|own| linear && is_smaller(own));
        let enlarge = smaller.map(|own| Resize::new([own[0], own[1]], [shape[0], shape[1]], own[2]));
        // where that does not serve, the same between the nearest pixels, but without their noise in a smaller picture
        let preprocess = preprocess.map(|p| match p.interpolation {
            Interpolation::Linear => Preprocess { interpolation: Interpolation::Bilinear, ..p },
            _ => p,
        });
        let table = normalization.table();
        Ok(Self { set, preprocess, table, enlarge, shape: smaller.unwrap_or(shape) })
    }

    /// The pictures.
    pub(crate) fn set(&self) -> &Arc<ImageSet> {
        &self.set
    }

    /// Rows and columns that pictures have while they are changed.
    pub(crate) fn augmented_px(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1]]
    }

    /// Rows, columns and channels of what comes out.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let [height, width] = self.enlarge.as_ref().map_or(self.augmented_px(), Resize::size);
        [height, width, self.shape[2]]
    }

    /// Overwrites `out`, (h, w, c), with picture `i`, changed by `transform` and normalised.
    ///
    /// # Errors
    /// If the picture cannot be read.
    pub(crate) fn write(
        &self,
        i: usize,
        transform: &Transform,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let apply = |pixels: &[u8], out: &mut [f32]| {
            transform.apply(pixels, self.shape, &self.table, out);
        };
        let Scratch { fitter, fitted, image, line } = scratch;
        if let Some(enlarge) = &self.enlarge {
            image.resize(self.shape.iter().product(), 0.0);
            apply(&self.set.read(i)?.pixels, image);
            enlarge.apply(image, line, out);
            return Ok(());
        }
        let Some(preprocess) = &self.preprocess else {
            apply(&self.set.read(i)?.pixels, out);
            return Ok(());
        };
        let fitter = match fitter {
            Some(fitter) if fitter.preprocess() == preprocess => fitter,
            _ => fitter.insert(Fitter::new(*preprocess)?),
        };
        self.set.fitted(i, fitter, fitted, |pixels| apply(pixels, out))
    }
}
