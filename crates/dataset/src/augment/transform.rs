//! Applies a drawn transform to one image and normalises it.

use std::ops::Range;

use super::{CropFill, Jitter, Warp};

/// Changes of one image, drawn by [`Augment::draw`](crate::Augment::draw).
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Whether the image is mirrored left to right, after the crop.
    pub flip: bool,
    /// Rows and columns by which the crop is shifted down and right against the image.
    pub shift: (isize, isize),
    /// Content beyond the image.
    pub fill: CropFill,
    /// Cutout: rows and columns that are set to 0 (the mean) after all other changes.
    pub cutout: Option<(Range<usize>, Range<usize>)>,
    /// Warp of the image before the crop. The crop is then taken of the warped image, in the same sampling.
    pub warp: Option<Warp>,
    /// Changes of the colours, after everything that moves pixels.
    pub jitter: Option<Jitter>,
    /// Random erasing: rows and columns that are set to 0 (the mean) after all other changes.
    pub erased: Option<(Range<usize>, Range<usize>)>,
}

/// `LEVELS[channel][byte] = byte`.
const LEVELS: [[f32; 256]; 3] = {
    let mut levels = [[0.0; 256]; 3];
    let mut byte = 0;
    while byte < 256 {
        levels[0][byte] = byte as f32;
        byte += 1;
    }
    [levels[0]; 3]
};

impl Transform {
    /// The transform that changes nothing.
    pub const IDENTITY: Self = Self {
        flip: false,
        shift: (0, 0),
        fill: CropFill::Zero,
        cutout: None,
        warp: None,
        jitter: None,
        erased: None,
    };

    /// Transforms and normalises `image` (HWC, `height` x `width` x `channels`) into `out` (the same shape).
    ///
    /// `table[channel][byte]` is the normalised value of a byte and is linear in the byte (see
    /// [`Normalization::table`](crate::Normalization::table)). Where pixels are interpolated or colours change,
    /// unrounded values between bytes are normalised by the straight line through the values of 0 and 255.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn apply(&self, image: &[u8], shape: [usize; 3], table: &[[f32; 256]; 3], out: &mut [f32]) {
        let [height, width, channels] = shape;
        assert_eq!(image.len(), height * width * channels, "Transform::apply: image");
        assert_eq!(out.len(), image.len(), "Transform::apply: out");
        if self.warp.is_none() && self.jitter.is_none() {
            self.look_up(image, shape, table, out);
        } else {
            match &self.warp {
                Some(warp) => warp.sample(self, image, shape, out),
                None => self.look_up(image, shape, &LEVELS, out),
            }
            if let Some(jitter) = &self.jitter {
                jitter.apply(out, channels);
            }
            normalize(out, channels, table);
        }
        for (rows, columns) in [&self.cutout, &self.erased].into_iter().flatten() {
            for row in rows.clone() {
                out[(row * width + columns.start) * channels..(row * width + columns.end) * channels]
                    .fill(0.0);
            }
        }
    }

    /// Flips and crops, and replaces each byte by `table[channel][byte]`.
    fn look_up(
        &self,
        image: &[u8],
        [height, width, channels]: [usize; 3],
        table: &[[f32; 256]; 3],
        out: &mut [f32],
    ) {
        for (row, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
            let from_row = self.source(row as isize + self.shift.0, height);
            for (column, out_pixel) in out_row.chunks_exact_mut(channels).enumerate() {
                let unflipped = if self.flip { width - 1 - column } else { column };
                let from_column = self.source(unflipped as isize + self.shift.1, width);
                let pixel = from_row.zip(from_column).map(|(r, c)| &image[(r * width + c) * channels..]);
                for (channel, value) in out_pixel.iter_mut().enumerate() {
                    *value = table[channel][pixel.map_or(0, |pixel| usize::from(pixel[channel]))];
                }
            }
        }
    }

    /// Returns the position in the image that corresponds to the position `at` relative to the image, along a side of
    /// `length`. `None` in the black padding.
    fn source(&self, at: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        match self.fill {
            _ if (0..=last).contains(&at) => Some(at as usize),
            CropFill::Zero => None,
            CropFill::Reflect if at < 0 => Some(-at as usize),
            CropFill::Reflect => Some((2 * last - at) as usize),
        }
    }
}

/// Normalises values in 0 to 255 by the straight line through `table[channel][0]` and `table[channel][255]`.
fn normalize(values: &mut [f32], channels: usize, table: &[[f32; 256]; 3]) {
    let lines = table.each_ref().map(|row| (row[0], (row[255] - row[0]) / 255.0));
    for pixel in values.chunks_exact_mut(channels) {
        for (value, (start, step)) in pixel.iter_mut().zip(lines) {
            *value = start + *value * step;
        }
    }
}
