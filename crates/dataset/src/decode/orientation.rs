//! Reads the orientation in EXIF, and moves the pixels so that the picture is upright.

/// Orientation of a stored picture: the values 1 to 8 of EXIF's tag 0x0112; 1 is upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

const TAG: u16 = 0x0112;
const SHORT: u16 = 3;
/// Side of the tiles in which a picture is transposed, in pixels. Two tiles fit into the L1 cache.
const TILE_PX: usize = 32;

impl Orientation {
    /// The orientation of a picture that is stored upright.
    pub(super) const UPRIGHT: Self = Self(1);

    /// Converts a value of the tag; a value outside 1 to 8 is ignored.
    pub(super) fn from_value(value: u32) -> Self {
        if (1..=8).contains(&value) { Self(value as u8) } else { Self::UPRIGHT }
    }

    /// Reads the orientation from an EXIF block, with or without the six bytes of its name. A block that cannot be read
    /// means upright: the picture itself is undamaged.
    pub(super) fn of_exif(block: &[u8]) -> Self {
        let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
        tag_value(block).map_or(Self::UPRIGHT, |value| Self::from_value(value.into()))
    }

    /// Returns whether height and width change places.
    pub(super) fn swaps_sides(self) -> bool {
        self.0 >= 5
    }

    /// Moves the pixels of a `height` x `width` picture in RGB so that it is upright. May use a second buffer.
    pub(super) fn turn(self, pixels: Vec<u8>, height: usize, width: usize) -> Vec<u8> {
        let (mut pixels, width) =
            if self.swaps_sides() { (transposed(&pixels, height, width), height) } else { (pixels, width) };
        match self.0 {
            2 | 6 => mirror_rows(&mut pixels, width),
            3 | 7 => pixels.as_chunks_mut::<3>().0.reverse(),
            4 | 8 => reverse_rows(&mut pixels, width),
            _ => {}
        }
        pixels
    }
}

/// Returns the value of tag 0x0112 in the first directory.
fn tag_value(block: &[u8]) -> Option<u16> {
    let is_little = match block.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = [*block.get(at)?, *block.get(at + 1)?];
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let (high, low) = if is_little { (u16_at(6)?, u16_at(4)?) } else { (u16_at(4)?, u16_at(6)?) };
    let directory = usize::from(high) << 16 | usize::from(low);
    let n_entries = usize::from(u16_at(directory)?);
    let entry =
        (0..n_entries).map(|i| directory + 2 + 12 * i).find(|&at| u16_at(at).is_none_or(|t| t == TAG))?;
    (u16_at(entry + 2)? == SHORT).then(|| u16_at(entry + 8))?
}

fn transposed(pixels: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut out = vec![0; pixels.len()];
    let (from, to) = (pixels.as_chunks::<3>().0, out.as_chunks_mut::<3>().0);
    for top in (0..height).step_by(TILE_PX) {
        for left in (0..width).step_by(TILE_PX) {
            for x in left..width.min(left + TILE_PX) {
                for y in top..height.min(top + TILE_PX) {
                    to[x * height + y] = from[y * width + x];
                }
            }
        }
    }
    out
}

fn mirror_rows(pixels: &mut [u8], width: usize) {
    for row in pixels.as_chunks_mut::<3>().0.chunks_exact_mut(width) {
        row.reverse();
    }
}

fn reverse_rows(pixels: &mut [u8], width: usize) {
    let mut rows = pixels.chunks_exact_mut(3 * width);
    while let (Some(top), Some(bottom)) = (rows.next(), rows.next_back()) {
        top.swap_with_slice(bottom);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the letters of `rows`, one per pixel, after the orientation `value` was applied.
    fn turned(rows: [&str; 2], value: u32) -> String {
        let pixels = rows.concat().bytes().flat_map(|letter| [letter, letter, 0]).collect();
        let out = Orientation::from_value(value).turn(pixels, 2, rows[0].len());
        out.chunks(3).map(|pixel| char::from(pixel[0])).collect()
    }

    #[test]
    fn each_value_moves_pixels_as_exif_says() {
        let stored = ["abc", "def"];
        // The rows of the upright picture, one after the other. From value 5 on, the picture is 2 wide and 3 high.
        let expected = ["abcdef", "cbafed", "fedcba", "defabc", "adbecf", "daebfc", "fcebda", "cfbead"];
        for (value, expected) in (1..).zip(expected) {
            assert_eq!(turned(stored, value), expected, "orientation {value}");
        }
        for value in [0, 9, 65_535] {
            assert_eq!(turned(stored, value), expected[0], "orientation {value}");
        }
    }

    #[test]
    fn a_large_picture_is_transposed_over_tiles() {
        let (height, width) = (33, 70);
        let pixels: Vec<u8> = (0..3 * height * width).map(|i| (i % 251) as u8).collect();
        let out = transposed(&pixels, height, width);
        for (y, x) in [(0, 0), (32, 69), (31, 32), (5, 64)] {
            assert_eq!(out[3 * (x * height + y)..][..3], pixels[3 * (y * width + x)..][..3], "({y}, {x})");
        }
    }

    #[test]
    fn exif_blocks_are_read_in_both_byte_orders_and_ignored_where_broken() {
        let big = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x01\0\0\0\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0";
        let little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0";
        assert_eq!(Orientation::of_exif(big), Orientation(6));
        assert_eq!(Orientation::of_exif(little), Orientation(8));
        for n_bytes in 0..little.len() - 2 {
            assert!(Orientation::of_exif(&little[..n_bytes]) == Orientation::UPRIGHT, "{n_bytes} bytes");
        }
        let beyond_its_end = b"MM\0*\xff\xff\xff\xff\0\x01";
        let many_entries = b"II*\0\x08\0\0\0\xff\xff\x0f\x01\x02\0\x01\0\0\0\0\0\0\0";
        for block in [&b""[..], b"Exif\0\0", beyond_its_end, many_entries] {
            assert_eq!(Orientation::of_exif(block), Orientation::UPRIGHT);
        }
    }
}
