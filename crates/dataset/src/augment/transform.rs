//! One image changed and normalised, as it was drawn.

use std::ops::Range;

use super::{CropFill, Jitter, Warp};

/// What is done to one image: drawn by [`Augment::draw`](crate::Augment::draw).
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Mirror left to right, after the crop.
    pub flip: bool,
    /// Rows and columns by which the crop lies below and right of the image's place.
    pub shift: (isize, isize),
    /// What is seen beyond the image.
    pub fill: CropFill,
    /// Rows and columns, after all else, that are set to 0 (the mean).
    pub cutout: Option<(Range<usize>, Range<usize>)>,
    /// What is done to the image before the crop; the crop is then one of the warped image, and both are one sampling.
    pub warp: Option<Warp>,
    /// What is done to its colours, after all that moves pixels.
    pub jitter: Option<Jitter>,
    /// Rows and columns, after all else, that are set to 0 (the mean).
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
    /// `table[channel][byte]` is the normalised value of a byte, linear in the byte (see
    /// [`Normalization::table`](crate::Normalization::table)). Where pixels are sampled or colours change, values
    /// between bytes are normalised by the line through those of 0 and 255, unrounded.
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

    /// Flip and crop, with `table[channel][byte]` in place of each byte.
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

    /// Where in the image the place `at` of the padded image comes from, along a side of `length`.
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

/// Values in 0 to 255 as the line through `table[channel][0]` and `table[channel][255]` says.
fn normalize(values: &mut [f32], channels: usize, table: &[[f32; 256]; 3]) {
    let lines = table.each_ref().map(|row| (row[0], (row[255] - row[0]) / 255.0));
    for pixel in values.chunks_exact_mut(channels) {
        for (value, (start, step)) in pixel.iter_mut().zip(lines) {
            *value = start + *value * step;
        }
    }
}
