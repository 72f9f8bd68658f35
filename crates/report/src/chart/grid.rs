//! Draws images in rows of five, with their class names below them, as a PNG.

use maud::html;
use resvg::tiny_skia::{FilterQuality, Pixmap, PixmapPaint, Transform};

use super::{Area, Chart, TITLE_PX, raster, text};
use crate::error::{ReportError, Result};
use crate::record::Picture;

const N_COLUMNS: usize = 5;
/// Largest side of an image, and distance from one image to the next (horizontal, vertical).
const IMAGE: f64 = 80.0;
const PITCH: [f64; 2] = [108.0, 108.0];
const MARGIN: f64 = 8.0;
const NAME_COLUMNS: usize = 14;

/// Draws `pictures` under a heading as PNG, with `scale` pixels per unit. Small images are enlarged by a whole factor, so
/// that their pixels stay square.
///
/// # Errors
/// If a picture cannot be decoded, or the whole image is too large.
pub fn picture_grid(title: &str, pictures: &[&Picture], scale: f32) -> Result<Vec<u8>> {
    let chart = frame(title, pictures);
    let mut canvas = raster::drawn(&chart, scale)?;
    for (i, picture) in pictures.iter().enumerate() {
        let image = Pixmap::decode_png(&picture.png).map_err(|e| ReportError::Picture {
            name: format!("of image {}", picture.index),
            problem: e.to_string(),
        })?;
        put(&mut canvas, &image, place(i), scale);
    }
    raster::encode(&chart, &canvas)
}

/// Draws the heading and the names.
fn frame(title: &str, pictures: &[&Picture]) -> Chart {
    let body = html! {
        @for (i, picture) in pictures.iter().enumerate() {
            @let Area { left, top, width, height } = place(i);
            (text(left + width / 2.0, top + height + 14.0, "label", "middle", &super::name(&picture.class.shown(), NAME_COLUMNS)))
        }
    };
    Chart {
        name: "grid".to_owned(),
        title: title.to_owned(),
        desc: format!("{} images with their class names", pictures.len()),
        width_px: 2.0 * MARGIN + PITCH[0] * N_COLUMNS as f64,
        height_px: TITLE_PX + MARGIN + PITCH[1] * pictures.len().div_ceil(N_COLUMNS) as f64,
        origin: String::new(),
        body,
    }
}

/// Returns the place of image `i`.
fn place(i: usize) -> Area {
    let (row, column) = (i / N_COLUMNS, i % N_COLUMNS);
    let left = MARGIN + PITCH[0] * column as f64 + (PITCH[0] - IMAGE) / 2.0;
    Area { left, top: TITLE_PX + MARGIN + PITCH[1] * row as f64, width: IMAGE, height: IMAGE }
}

/// Draws `image` into the middle of `area`, enlarged by the largest whole factor that fits. A larger image is shrunk to
/// fit.
fn put(canvas: &mut Pixmap, image: &Pixmap, area: Area, scale: f32) {
    let area = [area.left, area.top, area.width, area.height].map(|length| length as f32 * scale);
    let size = [image.width() as f32, image.height() as f32];
    let fits = (area[2] / size[0]).min(area[3] / size[1]);
    let (times, quality) = match fits >= 1.0 {
        true => (fits.floor(), FilterQuality::Nearest),
        false => (fits, FilterQuality::Bilinear),
    };
    let corner = |i: usize| (area[i] + (area[i + 2] - times * size[i]) / 2.0).round();
    let transform = Transform::from_row(times, 0.0, 0.0, times, corner(0), corner(1));
    canvas.draw_pixmap(
        0,
        0,
        image.as_ref(),
        &PixmapPaint { quality, ..PixmapPaint::default() },
        transform,
        None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Role;

    /// An image of `width` x 2 pixels: the first pixel is red, the others are blue.
    fn picture(class: &str, width: u32) -> Picture {
        let mut image = Pixmap::new(width, 2).unwrap();
        image.fill(resvg::tiny_skia::Color::from_rgba8(0, 0, 255, 255));
        image.data_mut()[..4].copy_from_slice(&[255, 0, 0, 255]);
        Picture {
            role: Role::Sample,
            class: class.into(),
            index: 7,
            name: None,
            near: None,
            png: image.encode_png().unwrap(),
        }
    }

    fn pixel(picture: &Pixmap, x: f64, y: f64) -> [u8; 3] {
        let color = picture.pixel(x as u32, y as u32).unwrap();
        [color.red(), color.green(), color.blue()]
    }

    #[test]
    fn images_stand_in_rows_of_five_with_square_pixels() {
        let square = picture("猫 <b>", 2);
        let png = picture_grid("Title", &[&square; 7], 2.0).unwrap();
        let drawn = Pixmap::decode_png(&png).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (1112, 508));
        for i in [0, 4, 6] {
            let Area { left, top, .. } = place(i);
            let at = |x: f64, y: f64| pixel(&drawn, 2.0 * (left + x), 2.0 * (top + y));
            assert_eq!([at(1.0, 1.0), at(39.0, 39.0)], [[255, 0, 0]; 2]); // a quarter of the area
            assert_eq!([at(41.0, 39.0), at(39.0, 41.0), at(79.0, 79.0)], [[0, 0, 255]; 3]);
            assert_eq!([at(-1.0, 40.0), at(81.0, 40.0)], [[255; 3]; 2]);
        }
    }

    #[test]
    fn what_is_too_wide_is_made_smaller_and_what_is_no_image_is_named() {
        let wide = picture("wide", 400);
        let drawn = Pixmap::decode_png(&picture_grid("T", &[&wide], 1.0).unwrap()).unwrap();
        let Area { left, top, .. } = place(0);
        assert_eq!(pixel(&drawn, left + 60.0, top + 10.0), [255; 3]);
        assert_eq!(pixel(&drawn, left + 82.0, top + 40.0), [255; 3]);
        let broken = Picture { png: b"\x89PNG".to_vec(), ..picture("x", 2) };
        let message = picture_grid("T", &[&broken], 1.0).unwrap_err().to_string();
        assert!(message.contains("image 7"), "{message}");
    }

    #[test]
    fn names_are_drawn() {
        let grid = |class: &str| picture_grid("T", &[&picture(class, 2)], 1.0).unwrap();
        assert_ne!(grid("cat"), grid("dog"));
        assert_eq!(grid("\u{f8f0}"), grid("<U+F8F0>"));
    }
}
