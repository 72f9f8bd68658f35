//! Pictures of any size as pictures of the model's input size, in bytes.
//!
//! What comes out is what Pillow's `Image.resize` gives (with torchvision's `Resize` and `CenterCrop`, or timm's, around
//! it), to within one level of 255: columns are resized first, rounded to bytes, then rows. The crate
//! `fast_image_resize` does the sums, with weights of 16 bits where Pillow has 32; that is the difference. The sums are
//! of integers: every instruction set gives the same bytes. Where which pixel goes stands in `geometry`. Reading
//! files, augmentation and normalisation are elsewhere.

mod geometry;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use self::geometry::{Side, Span};
use crate::Error;

/// The longest side that can be asked for: the longest of a JPEG.
const MAX_SIDE_PX: usize = 65_535;

/// The smallest crop fraction: a shorter side of a hundred times the model's.
const MIN_CROP_FRACTION: f64 = 0.01;

/// Bytes between the two passes that are too many; see [`Fitter::apply`].
const MAX_SCRATCH_BYTES: usize = 1 << 28;

const WHITE: u8 = 255;

/// Which part of a picture the model sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The whole picture, rows and columns each resized to the input size: nothing is lost but the proportions.
    #[default]
    Squash,
    /// The centre: the shorter side is resized to input size / crop fraction, then the input size is cut out of the
    /// middle. As torchvision's `Resize` and `CenterCrop`, and timm's evaluation.
    Crop,
    /// The whole picture in its proportions, in the middle of white. As Pillow's `ImageOps.pad`.
    Pad,
}

/// How a pixel is computed from those around its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle, as wide as a pixel of the output where that is larger (antialiased). Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5, widened in the same way. Pillow's `BICUBIC`.
    Bicubic,
    /// Between the nearest pixels only: `torch.nn.functional.interpolate(mode="bilinear")`. Images in memory that are
    /// smaller than the model's size are enlarged so, in f32 and after normalisation; the batches' pipeline takes
    /// [`Bilinear`](Self::Bilinear) for all others. Model files of older versions mean this one.
    Linear,
}

impl Interpolation {
    fn algorithm(self) -> ResizeAlg {
        match self {
            Self::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Self::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Self::Linear => ResizeAlg::Interpolation(FilterType::Bilinear),
        }
    }
}

/// How pictures are brought to the model's input size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Rows and columns of the model's input.
    pub size_px: [usize; 2],
    /// Which part of a picture it sees.
    pub fit: Fit,
    /// Input size / shorter side of the resized picture, for [`Fit::Crop`] only; in [0.01, 1]. timm's `crop_pct`.
    pub crop_fraction: f64,
    /// How pixels are computed.
    pub interpolation: Interpolation,
}

impl Preprocess {
    /// Whether this can be done.
    ///
    /// # Errors
    /// If a side is not in 1 to 65,535, or the crop fraction is not in [0.01, 1].
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value, reason: String| Err(Error::Preprocess { field, value, reason });
        if self.size_px.iter().any(|side| !(1..=MAX_SIDE_PX).contains(side)) {
            let value = format!("{:?}", self.size_px);
            return refuse("size_px", value, format!("sides of 1 to {MAX_SIDE_PX} pixels are expected"));
        }
        if !(MIN_CROP_FRACTION..=1.0).contains(&self.crop_fraction) {
            let value = self.crop_fraction.to_string();
            return refuse("crop_fraction", value, format!("{MIN_CROP_FRACTION} to 1 is expected"));
        }
        Ok(())
    }
}

/// Fits pictures, one after the other, in memory that it keeps.
#[derive(Clone, Debug)]
pub struct Fitter {
    preprocess: Preprocess,
    resizer: Resizer,
    /// What the first pass gives.
    between: Vec<u8>,
    /// What the second pass gives, where it is not the whole output.
    inset: Vec<u8>,
}

impl Fitter {
    /// A fitter that does as `preprocess` says.
    ///
    /// # Errors
    /// As [`Preprocess::validate`].
    pub fn new(preprocess: Preprocess) -> Result<Self, Error> {
        preprocess.validate()?;
        Ok(Self { preprocess, resizer: Resizer::new(), between: Vec::new(), inset: Vec::new() })
    }

    /// What it does.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Overwrites `out` (HWC, of the model's input size and the picture's channels) with `image` (HWC, `height` x
    /// `width` x `channels`, 1 to 3 channels), fitted. Where nothing is to be resized, bytes are copied.
    ///
    /// Only what is seen is computed. Between the passes lie as many rows as the picture has, of as many columns as the
    /// input has; where that would be more than 256 MiB (a picture 400,000 pixels high and few wide), rows are resized
    /// first.
    ///
    /// # Errors
    /// If the picture has no pixel, a side of more than `u32::MAX`, or other than 1 to 3 channels, or a length does not
    /// fit.
    pub fn apply(
        &mut self,
        image: &[u8],
        [height, width, channels]: [usize; 3],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let size = self.preprocess.size_px;
        check([height, width, channels], image.len(), size, out.len())?;
        let sides = geometry::sides(&self.preprocess, [height, width]);
        let shown = sides.each_ref().map(|side| side.shown);
        if shown == size {
            return self.resize(image, &sides, channels, out);
        }
        out.fill(WHITE);
        let mut inset = std::mem::take(&mut self.inset);
        inset.resize(shown[0] * shown[1] * channels, 0);
        let resized = self.resize(image, &sides, channels, &mut inset);
        let (line, left) = (shown[1] * channels, sides[1].place * channels);
        let rows = out.chunks_exact_mut(size[1] * channels).skip(sides[0].place);
        for (row, inset) in rows.zip(inset.chunks_exact(line)) {
            row[left..left + line].copy_from_slice(inset);
        }
        self.inset = inset;
        resized
    }

    /// Overwrites `out` with the part of the picture that is seen, in the size in which it is seen.
    fn resize(
        &mut self,
        image: &[u8],
        sides: &[Side; 2],
        channels: usize,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let own = [sides[0].from, sides[1].from];
        if sides.iter().all(Side::is_whole) {
            out.copy_from_slice(image);
            return Ok(());
        }
        let needed = sides.each_ref().map(Side::needed);
        let columns_first = needed[0].len().saturating_mul(sides[1].shown * channels) <= MAX_SCRATCH_BYTES;
        let [first, second] = if columns_first { [1, 0] } else { [0, 1] };
        // along the first axis what is seen, along the second all that is needed to compute what is seen
        let mut between_size = sides.each_ref().map(|side| side.shown);
        between_size[second] = needed[second].len();
        let mut seen = sides.each_ref().map(Side::span);
        let whole = Span { start: 0.0, len: sides[first].shown as f64 };
        let second_span = std::mem::replace(&mut seen[second], Span::from(&needed[second]));
        self.between.resize(between_size[0] * between_size[1] * channels, 0);
        let options = ResizeOptions::new().resize_alg(self.preprocess.interpolation.algorithm());
        let pass = Pass { channels, options: options.use_alpha(false) };
        pass.run(&mut self.resizer, (image, own), seen, (&mut self.between, between_size))?;
        seen[first] = whole;
        seen[second] = second_span.shifted(needed[second].start);
        let shown = sides.each_ref().map(|side| side.shown);
        pass.run(&mut self.resizer, (&self.between, between_size), seen, (out, shown))
    }
}

/// What is the same in both passes.
struct Pass {
    channels: usize,
    options: ResizeOptions,
}

impl Pass {
    /// Resizes what `seen` says (rows, columns) of `from` to the whole of `to`; each has its rows and columns beside it.
    fn run(
        &self,
        resizer: &mut Resizer,
        (from, [from_height, from_width]): (&[u8], [usize; 2]),
        seen: [Span; 2],
        (to, [height, width]): (&mut [u8], [usize; 2]),
    ) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Images(format!("cannot be resized: {error}"));
        let pixel = [PixelType::U8, PixelType::U8x2, PixelType::U8x3][self.channels - 1];
        let from =
            ImageRef::new(from_width as u32, from_height as u32, from, pixel).map_err(|e| failed(&e))?;
        let to = Image::from_slice_u8(width as u32, height as u32, to, pixel);
        let [rows, columns] = seen;
        let options = self.options.crop(columns.start, rows.start, columns.len, rows.len);
        resizer.resize(&from, &mut to.map_err(|e| failed(&e))?, &options).map_err(|e| failed(&e))
    }
}

fn check(shape: [usize; 3], image_len: usize, size: [usize; 2], out_len: usize) -> Result<(), Error> {
    let [height, width, channels] = shape;
    let sides_fit = [height, width].iter().all(|&side| side > 0 && u32::try_from(side).is_ok());
    if !sides_fit || !(1..=3).contains(&channels) {
        let what = format!("{height} x {width} pixels with {channels} channels is no picture");
        return Err(Error::Images(what));
    }
    if height.checked_mul(width).and_then(|n| n.checked_mul(channels)) != Some(image_len)
        || out_len != size[0] * size[1] * channels
    {
        let from = format!("{image_len} bytes for {height} x {width} x {channels}");
        let to = format!("{out_len} bytes for {} x {} x {channels}", size[0], size[1]);
        return Err(Error::Images(format!("a picture of {from} is to be fitted into {to}")));
    }
    Ok(())
}
