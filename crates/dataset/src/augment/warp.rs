//! Part, rotation, zoom and shift as one linear map of positions, and one bilinear sampling by that map.

use std::ops::Range;

use super::{CropFill, Transform};

/// Changes that move an image's pixels by fractions of a pixel.
///
/// The changes act on the image as a plane, in this order: a part is enlarged to the whole size; the whole is enlarged
/// about its centre, rotated about its centre, and shifted. Each pixel of the result is interpolated once between the
/// four image pixels around its position. So positions beyond the part but within the image show the image. torchvision
/// applies the changes one after the other and shows the fill there. Nothing is antialiased: only a zoom below 1
/// shrinks images.
#[derive(Clone, Debug, PartialEq)]
pub struct Warp {
    /// Rows and columns of the part that is enlarged to the whole size; `None`: the whole image.
    pub part: Option<(Range<usize>, Range<usize>)>,
    /// Angle of the rotation, counter-clockwise, in degrees.
    pub rotation_deg: f64,
    /// Factor by which the image is enlarged.
    pub zoom: f64,
    /// Shift downwards and to the right, in pixels.
    pub shift_px: (f64, f64),
}

/// Position in the image as a linear function of a position (y, x) in the result.
struct Map {
    row: [f64; 3],
    column: [f64; 3],
}

/// Position between two pixels of a side.
struct Between {
    first: usize,
    second: usize,
    /// Weight of the second pixel.
    share: f32,
}

impl Warp {
    fn map(&self, height: usize, width: usize) -> Map {
        let angle = self.rotation_deg.to_radians();
        let (sin, cos) = (libm::sin(angle) / self.zoom, libm::cos(angle) / self.zoom);
        let centre = |side: usize| (side - 1) as f64 / 2.0;
        let (c_y, c_x) = (centre(height), centre(width));
        let (from_y, from_x) = (c_y + self.shift_px.0, c_x + self.shift_px.1);
        let mut map = Map {
            row: [cos, sin, c_y - cos * from_y - sin * from_x],
            column: [-sin, cos, c_x + sin * from_y - cos * from_x],
        };
        if let Some((rows, columns)) = &self.part {
            into_part(&mut map.row, rows, height);
            into_part(&mut map.column, columns, width);
        }
        map
    }

    /// Overwrites `out` with the image, warped, cropped and flipped. Values stay in 0 to 255.
    pub(super) fn sample(
        &self,
        transform: &Transform,
        image: &[u8],
        [height, width, channels]: [usize; 3],
        out: &mut [f32],
    ) {
        let map = self.map(height, width);
        for (y, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
            let y = (y as isize + transform.shift.0) as f64;
            let start = |[per_y, _, start]: [f64; 3]| per_y * y + start;
            let (row_start, column_start) = (start(map.row), start(map.column));
            for (x, out_pixel) in out_row.chunks_exact_mut(channels).enumerate() {
                let unflipped = if transform.flip { width - 1 - x } else { x };
                let x = (unflipped as isize + transform.shift.1) as f64;
                let row = between(row_start + map.row[1] * x, height, transform.fill);
                let column = between(column_start + map.column[1] * x, width, transform.fill);
                match row.zip(column) {
                    Some((row, column)) => mix(image, width * channels, &row, &column, out_pixel),
                    None => out_pixel.fill(0.0),
                }
            }
        }
    }
}

/// Appends to a map along a side of `length` the map that enlarges `part` to the whole side, edges to edges.
fn into_part(map: &mut [f64; 3], part: &Range<usize>, length: usize) {
    let scale = part.len() as f64 / length as f64;
    let [per_y, per_x, start] = *map;
    *map = [per_y * scale, per_x * scale, (start + 0.5) * scale - 0.5 + part.start as f64];
}

/// Returns the pixels around the position `at` of a side of `length`; `None` beyond the side.
///
/// A pixel extends half a pixel from its centre. A reflection is about the centres of the outermost pixels.
fn between(at: f64, length: usize, fill: CropFill) -> Option<Between> {
    let last = (length - 1) as f64;
    let at = match fill {
        _ if (0.0..=last).contains(&at) => at,
        CropFill::Zero if at < -0.5 || at > last + 0.5 => return None,
        CropFill::Zero => at.clamp(0.0, last),
        CropFill::Reflect if length == 1 => 0.0,
        CropFill::Reflect => {
            let within = at.rem_euclid(2.0 * last);
            within.min(2.0 * last - within)
        }
    };
    let first = at as usize;
    Some(Between { first, second: (first + 1).min(length - 1), share: (at - first as f64) as f32 })
}

fn mix(image: &[u8], line_len: usize, row: &Between, column: &Between, out: &mut [f32]) {
    let channels = out.len();
    let pixel = |row: usize, column: usize| &image[row * line_len + column * channels..][..channels];
    let (upper, lower) = (row.first, row.second);
    let [a, b] = [pixel(upper, column.first), pixel(upper, column.second)];
    let [c, d] = [pixel(lower, column.first), pixel(lower, column.second)];
    let line = |from: u8, to: u8| f32::from(from) + (f32::from(to) - f32::from(from)) * column.share;
    for (channel, out) in out.iter_mut().enumerate() {
        let (upper, lower) = (line(a[channel], b[channel]), line(c[channel], d[channel]));
        *out = upper + (lower - upper) * row.share;
    }
}
