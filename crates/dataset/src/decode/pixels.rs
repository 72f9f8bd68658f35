//! Conversion of samples of any depth and number of channels to 8-bit RGB over white.

/// Returns round(`value` / 257): maps 0..=65535 to 0..=255 without clipping or stretching.
pub(super) fn to_8_bits(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// Returns round(colour * alpha / 255 + 255 * (1 - alpha / 255)) in 8-bit sRGB: the colour over white.
pub(super) fn over_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Appends interleaved 8-bit samples of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels as RGB.
pub(super) fn push_rgb(samples: &[u8], n_channels: usize, rgb: &mut Vec<u8>) {
    match n_channels {
        1 => rgb.extend(samples.iter().flat_map(|&grey| [grey; 3])),
        2 => rgb.extend(samples.as_chunks().0.iter().flat_map(|&[grey, alpha]| [over_white(grey, alpha); 3])),
        3 => rgb.extend_from_slice(samples),
        _ => rgb.extend(
            samples.as_chunks().0.iter().flat_map(|&[r, g, b, a]| [r, g, b].map(|c| over_white(c, a))),
        ),
    }
}

/// Converts RGB with alpha to RGB over white, in the same memory.
pub(super) fn rgba_to_rgb(mut samples: Vec<u8>) -> Vec<u8> {
    let n_px = samples.len() / 4;
    for i in 0..n_px {
        let alpha = samples[4 * i + 3];
        for c in 0..3 {
            samples[3 * i + c] = over_white(samples[4 * i + c], alpha);
        }
    }
    samples.truncate(3 * n_px);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_scaled_by_a_257th() {
        for value in 0..=u16::MAX {
            assert_eq!(to_8_bits(value), (f64::from(value) / 257.0).round() as u8);
        }
    }

    #[test]
    fn colours_are_blended_with_white() {
        for (colour, alpha) in (0..=255).flat_map(|c| (0..=255).map(move |a| (c, a))) {
            let share = f64::from(alpha) / 255.0;
            let expected = (f64::from(colour) * share + 255.0 * (1.0 - share)).round() as u8;
            assert_eq!(over_white(colour, alpha), expected, "{colour} at {alpha}");
        }
        assert_eq!(rgba_to_rgb(vec![1, 2, 3, 255, 255, 0, 255, 0]), [1, 2, 3, 255, 255, 255]);
        let mut rgb = Vec::new();
        push_rgb(&[7, 255, 0, 0], 2, &mut rgb);
        assert_eq!(rgb, [7, 7, 7, 255, 255, 255]);
    }
}
