//! The pipeline from a picture to the network's input: read, fit to the model's input size, augment, normalise.
//! Training, evaluation, features, prediction and the pictures of a report all use it.

use std::sync::Arc;

use crate::fit::{Fitter, Interpolation, Preprocess};
use crate::resize::Resize;
use crate::{Error, ImageSet, Normalization, Transform};

/// The pipeline for the pictures of one set.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    set: Arc<ImageSet>,
    /// How pictures are fitted. `None`: pictures keep their size, which is the same for all.
    preprocess: Option<Preprocess>,
    table: [[f32; 256]; 3],
    /// Resizing after normalisation, in f32: for images in memory that are smaller than the model's input size, if the
    /// interpolation is `Linear`.
    enlarge: Option<Resize>,
    /// Rows, columns and channels of a picture when it is augmented.
    shape: [usize; 3],
}

/// Working memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    fitter: Option<Fitter>,
    fitted: Vec<u8>,
    image: Vec<f32>,
    line: Vec<f32>,
}

impl Pipeline {
    /// # Errors
    /// If `preprocess` is `None` and the pictures have no common size, or if `preprocess` is not valid.
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
                    "the pictures have different sizes, but the model does not set a size to resize them to"
                        .into(),
                ));
            }
        };
        let linear = preprocess.is_some_and(|p| p.interpolation == Interpolation::Linear);
        let is_smaller =
            |own: &[usize; 3]| own[..2] != shape[..2] && own[0] <= shape[0] && own[1] <= shape[1];
        let smaller = own.filter(|own| linear && is_smaller(own));
        let enlarge = smaller.map(|own| Resize::new([own[0], own[1]], [shape[0], shape[1]], own[2]));
        // `Linear` applies only to that enlargement. All other images use the antialiased `Bilinear`, which has less
        // noise when a picture shrinks.
        let preprocess = preprocess.map(|p| match p.interpolation {
            Interpolation::Linear => Preprocess { interpolation: Interpolation::Bilinear, ..p },
            _ => p,
        });
        let table = normalization.table();
        Ok(Self { set, preprocess, table, enlarge, shape: smaller.unwrap_or(shape) })
    }

    /// Returns the set of pictures.
    pub(crate) fn set(&self) -> &Arc<ImageSet> {
        &self.set
    }

    /// Returns rows and columns of a picture when it is augmented.
    pub(crate) fn augmented_px(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1]]
    }

    /// Returns rows, columns and channels of the output.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let [height, width] = self.enlarge.as_ref().map_or(self.augmented_px(), Resize::size);
        [height, width, self.shape[2]]
    }

    /// Overwrites `out`, (h, w, c), with picture `i`, augmented by `transform` and normalised.
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
