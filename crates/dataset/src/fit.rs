//! Resizing of 8-bit pictures of any size to the model's input size.
//!
//! The result equals that of Pillow's `Image.resize`, with torchvision's `Resize` and `CenterCrop` or timm's around it,
//! to within one level of 255. Columns are resized first and rounded to bytes, then rows. The crate `fast_image_resize`
//! computes the sums. Its weights have 16 bits where Pillow's have 32, which explains the difference of one level. The
//! sums are of integers, so every instruction set gives the same bytes. `geometry` computes the positions of the
//! pixels. Reading files, augmentation and normalisation are left to other modules.

mod geometry;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x2, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use self::geometry::{Side, Span};
use crate::Error;

/// Longest side that can be requested: the longest side of a JPEG.
const MAX_SIDE_PX: usize = 65_535;

/// Smallest crop fraction. At this value the shorter side is resized to a hundred times the model's input side.
const MIN_CROP_FRACTION: f64 = 0.01;

/// Largest intermediate picture between the two passes, in bytes, before the order of the passes is swapped; see
/// [`Fitter::apply`].
const MAX_SCRATCH_BYTES: usize = 1 << 28;

const WHITE: u8 = 255;

/// Which part of a picture the model sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The whole picture. Rows and columns are each resized to the input size, so the aspect ratio is lost.
    #[default]
    Squash,
    /// The centre: the shorter side is resized to input size / crop fraction, then a centre crop of the input size is
    /// taken. Equals torchvision's `Resize` and `CenterCrop`, and timm's evaluation.
    Crop,
    /// The whole picture with its aspect ratio kept, centred on white. Equals Pillow's `ImageOps.pad`.
    Pad,
}

/// How a pixel is computed from the pixels around its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle filter. When the picture shrinks, the filter is widened to the size of an output pixel
    /// (antialiasing). Equals Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// A cubic filter with a = -0.5, widened in the same way. Equals Pillow's `BICUBIC`.
    Bicubic,
    /// Interpolation between the nearest pixels only, like `torch.nn.functional.interpolate(mode="bilinear")`. The
    /// batch pipeline enlarges images in memory in this way if they are smaller than the model's input size: in f32 and
    /// after normalisation. For all other images the pipeline uses [`Bilinear`](Self::Bilinear). Model files of older
    /// versions mean this interpolation.
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

/// How pictures are fitted to the model's input size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Rows and columns of the model's input.
    pub size_px: [usize; 2],
    /// Which part of a picture the model sees.
    pub fit: Fit,
    /// Input size / shorter side of the resized picture, in [0.01, 1]; used by [`Fit::Crop`] only. timm's `crop_pct`.
    pub crop_fraction: f64,
    /// How the pixels of the resized picture are computed.
    pub interpolation: Interpolation,
}

impl Preprocess {
    /// Checks the settings.
    ///
    /// # Errors
    /// If a side is not in 1 to 65,535, or the crop fraction is not in [0.01, 1].
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value, reason: String| Err(Error::Preprocess { field, value, reason });
        if self.size_px.iter().any(|side| !(1..=MAX_SIDE_PX).contains(side)) {
            let value = format!("{:?}", self.size_px);
            return refuse("size_px", value, format!("expected sides of 1 to {MAX_SIDE_PX} pixels"));
        }
        if !(MIN_CROP_FRACTION..=1.0).contains(&self.crop_fraction) {
            let value = self.crop_fraction.to_string();
            return refuse("crop_fraction", value, format!("expected {MIN_CROP_FRACTION} to 1"));
        }
        Ok(())
    }
}

/// Fits pictures one after the other and reuses its memory.
#[derive(Clone, Debug)]
pub struct Fitter {
    preprocess: Preprocess,
    resizer: Resizer,
    /// Result of the first pass.
    between: Vec<u8>,
    /// Result of the second pass, where that is only a part of the output.
    inset: Vec<u8>,
}

impl Fitter {
    /// Creates a fitter with the settings `preprocess`.
    ///
    /// # Errors
    /// Like [`Preprocess::validate`].
    pub fn new(preprocess: Preprocess) -> Result<Self, Error> {
        preprocess.validate()?;
        Ok(Self { preprocess, resizer: Resizer::new(), between: Vec::new(), inset: Vec::new() })
    }

    /// Returns the settings of this fitter.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Overwrites `out` (HWC, the model's input size, the picture's channels) with the fitted `image` (HWC, `height` x
    /// `width` x `channels`, 1 to 3 channels). If no side has to be resized, bytes are copied.
    ///
    /// Only the visible part is computed. Columns are resized first, so the intermediate picture has the needed rows of
    /// the picture and the visible columns of the output. If it would take more than 256 MiB (for example a picture
    /// 400,000 pixels high and few pixels wide), rows are resized first.
    ///
    /// # Errors
    /// If the picture has no pixels, a side longer than `u32::MAX`, or not 1 to 3 channels, or if a length does not fit
    /// the shape.
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

    /// Overwrites `out` with the visible part of the picture, in its visible size.
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
        // Along the first axis, the intermediate picture has the visible size. Along the second axis it has every pixel
        // that the second pass needs.
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

/// Settings shared by both passes.
struct Pass {
    channels: usize,
    options: ResizeOptions,
}

impl Pass {
    /// Resizes the part `seen` (rows, columns) of `from` to the whole of `to`. `from` and `to` each come with their
    /// numbers of rows and columns.
    fn run(
        &self,
        resizer: &mut Resizer,
        (from, [from_height, from_width]): (&[u8], [usize; 2]),
        seen: [Span; 2],
        (to, [height, width]): (&mut [u8], [usize; 2]),
    ) -> Result<(), Error> {
        let resize = match self.channels {
            1 => resize::<U8>,
            2 => resize::<U8x2>,
            _ => resize::<U8x3>,
        };
        let [rows, columns] = seen;
        let options = self.options.crop(columns.start, rows.start, columns.len, rows.len);
        let from = (from, [from_height as u32, from_width as u32]);
        resize(resizer, from, (to, [height as u32, width as u32]), &options)
            .map_err(|e| Error::Images(format!("cannot be resized: {e}")))
    }
}

/// Resizes `from` to `to`, each with its numbers of rows and columns. Only the types of pixels that are in use are compiled: for
/// all types, the loops of the crate take two minutes.
fn resize<P: PixelTrait>(
    resizer: &mut Resizer,
    (from, [from_height, from_width]): (&[u8], [u32; 2]),
    (to, [height, width]): (&mut [u8], [u32; 2]),
    options: &ResizeOptions,
) -> Result<(), Box<dyn std::error::Error>> {
    let from = TypedImageRef::<P>::from_buffer(from_width, from_height, from)?;
    let mut to = TypedImage::<P>::from_buffer(width, height, to)?;
    Ok(resizer.resize_typed(&from, &mut to, options)?)
}

fn check(shape: [usize; 3], image_len: usize, size: [usize; 2], out_len: usize) -> Result<(), Error> {
    let [height, width, channels] = shape;
    let sides_fit = [height, width].iter().all(|&side| side > 0 && u32::try_from(side).is_ok());
    if !sides_fit || !(1..=3).contains(&channels) {
        let what = format!("{height} x {width} pixels with {channels} channels is not a picture");
        return Err(Error::Images(what));
    }
    if height.checked_mul(width).and_then(|n| n.checked_mul(channels)) != Some(image_len)
        || out_len != size[0] * size[1] * channels
    {
        let from = format!("{image_len} bytes for {height} x {width} x {channels}");
        let to = format!("{out_len} bytes for {} x {} x {channels}", size[0], size[1]);
        return Err(Error::Images(format!("cannot fit a picture of {from} into {to}")));
    }
    Ok(())
}
