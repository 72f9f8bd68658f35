//! JPEG: colours, sampling, scans, orientations, and files that must be refused.

use super::jpeg::{Jpeg, segment};
use super::{at, decoded, refusal};

const YCBCR: [(u8, usize, usize); 3] = [(1, 1, 1), (2, 1, 1), (3, 1, 1)];
const SAMPLED: [(u8, usize, usize); 3] = [(1, 2, 2), (2, 1, 1), (3, 1, 1)];
const FOUR: [(u8, usize, usize); 4] = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)];
const TOGETHER: &[&[usize]] = &[&[0, 1, 2]];

/// Returns Adobe's segment with this transform.
fn adobe(transform: u8) -> Vec<u8> {
    [&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat()
}

/// Returns an EXIF segment with this orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [&b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation, 0, 0, 0, 0, 0, 0]]
        .concat()
}

/// Returns a JPEG of 13 x 27 pixels. Its brightness grows from block to block.
fn grey_steps(components: &[(u8, usize, usize)], scans: &[&[usize]], segments: &[(u8, &[u8])]) -> Vec<u8> {
    let value =
        |component, row, column| if component == 0 { (40 + 50 * row + 30 * column) as u8 } else { 128 };
    Jpeg { height: 13, width: 27, components, scans, restart_interval: 0, segments, value: &value }.bytes()
}

/// Writes and decodes a JPEG of 8 x 8 pixels with one stored colour. Returns a decoded pixel.
fn plain(components: &[(u8, usize, usize)], stored: &[u8], segments: &[(u8, &[u8])]) -> [u8; 3] {
    let all: Vec<usize> = (0..components.len()).collect();
    let value = |component: usize, _, _| stored[component];
    let jpeg = Jpeg {
        height: 8,
        width: 8,
        components,
        scans: &[&all],
        restart_interval: 0,
        segments,
        value: &value,
    };
    at(&decoded(&jpeg.bytes()), 3, 5)
}

fn assert_near(found: [u8; 3], expected: [u8; 3]) {
    assert!(
        found.iter().zip(expected).all(|(&f, e)| f.abs_diff(e) <= 2),
        "{found:?}, {expected:?} is expected"
    );
}

#[test]
fn colours_are_what_the_file_means() {
    let stored = [100, 120, 180]; // YCbCr that means RGB 173, 66, 86
    assert_near(plain(&YCBCR, &stored, &[]), [173, 66, 86]);
    assert_near(plain(&YCBCR, &stored, &[(0xee, &adobe(1))]), [173, 66, 86]);
    assert_near(plain(&YCBCR, &stored, &[(0xee, &adobe(0))]), stored);
    let by_name = [(b'R', 1, 1), (b'G', 1, 1), (b'B', 1, 1)];
    assert_near(plain(&by_name, &stored, &[]), stored);
    assert_near(plain(&by_name, &stored, &[(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")]), [173, 66, 86]);
    assert_near(plain(&[(1, 2, 2)], &[77], &[]), [77; 3]);
}

#[test]
fn light_stays_light_in_four_colours() {
    let inverted = [200, 100, 50, 204]; // the amounts of light that the inks leave
    let expected = [160, 80, 40];
    assert_near(plain(&FOUR, &inverted, &[(0xee, &adobe(0))]), expected);
    assert_near(plain(&FOUR, &inverted, &[]), expected);
    // the same as YCCK: 255 - light converted to YCbCr, and the black unchanged
    let (y, cb, cr) = (0.299 * 55.0 + 0.587 * 155.0 + 0.114 * 205.0, 205.0, 55.0);
    let ycck = [y, 128.0 + (cb - y) * 0.564, 128.0 + (cr - y) * 0.713, 204.0].map(|v: f64| v.round() as u8);
    assert_near(plain(&FOUR, &ycck, &[(0xee, &adobe(2))]), expected);
    let black_in_full = [(1, 2, 2), (2, 1, 1), (3, 1, 1), (4, 2, 2)];
    assert_near(plain(&black_in_full, &ycck, &[(0xee, &adobe(2))]), expected);
}

#[test]
fn scans_restarts_and_sampling_make_no_difference() {
    let expected = decoded(&grey_steps(&YCBCR, TOGETHER, &[]));
    assert_eq!((expected.height, expected.width), (13, 27));
    assert_near(at(&expected, 12, 26), [180; 3]);
    let components = [YCBCR, SAMPLED, [(1, 3, 1), (2, 1, 1), (3, 1, 1)], [(1, 2, 2), (2, 2, 1), (3, 1, 2)]];
    for components in components {
        for scans in [TOGETHER, &[&[0], &[1], &[2]], &[&[0], &[1, 2]]] {
            for restart_interval in [0, 1, 3] {
                let value = |component, row, column| {
                    if component == 0 { (40 + 50 * row + 30 * column) as u8 } else { 128 }
                };
                let segments = &[];
                let jpeg = Jpeg {
                    height: 13,
                    width: 27,
                    components: &components,
                    scans,
                    restart_interval,
                    segments,
                    value: &value,
                };
                let found = decoded(&jpeg.bytes());
                let largest = expected.pixels.iter().zip(&found.pixels).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(largest <= Some(2), "{components:?} {scans:?} {restart_interval}: {largest:?}");
            }
        }
    }
}

#[test]
fn exif_turns_the_picture_and_wrong_values_do_not() {
    let turned = |value| decoded(&grey_steps(&YCBCR, TOGETHER, &[(0xe1, &exif(value))]));
    for wrong in [0, 1, 9] {
        assert_eq!(turned(wrong), decoded(&grey_steps(&YCBCR, TOGETHER, &[])));
    }
    let upright = turned(6); // the stored first row is the last column
    assert_eq!((upright.height, upright.width), (27, 13));
    assert_near(at(&upright, 0, 12), [40; 3]);
    assert_near(at(&upright, 26, 12), [130; 3]);
    assert_near(at(&upright, 0, 0), [90; 3]);
    assert_near(at(&turned(3), 0, 0), [180; 3]);
}

#[test]
fn only_a_missing_end_marker_may_be_cut_off() {
    for (components, scans) in [(YCBCR, TOGETHER), (SAMPLED, TOGETHER), (SAMPLED, &[&[0], &[1], &[2]])] {
        let bytes = grey_steps(&components, scans, &[]);
        let whole = decoded(&bytes);
        assert_eq!(decoded(&bytes[..bytes.len() - 2]), whole);
        for n_bytes in 3..bytes.len() - 2 {
            assert_eq!(refusal(&bytes[..n_bytes]), "ends early: the JPEG is cut short", "{n_bytes} bytes");
            let with_end = [&bytes[..n_bytes], &[0xff, 0xd9]].concat();
            refusal(&with_end); // missing data must never become grey
        }
    }
}

#[test]
fn luggage_and_a_second_picture_make_no_difference() {
    let plain = grey_steps(&YCBCR, TOGETHER, &[]);
    let whole = decoded(&plain);
    let end = plain.len() - 2;
    assert_eq!(decoded(&[&plain[..end], &[1, 2, 3, 0, 0], &plain[end..]].concat()), whole);
    assert_eq!(decoded(&[&plain[..], &grey_steps(&YCBCR, TOGETHER, &[])[..40]].concat()), whole);
    assert_eq!(decoded(&[&plain[..end], &[0xff, 0xe5, 0xff, 0xf0, 1, 2, 3]].concat()), whole); // a segment that ends early
    let stuffed = vec![0xff; 65_533];
    let profile = [&b"ICC_PROFILE\0\x01\x02"[..], &[0xaa; 30]].concat();
    let segments: [(u8, &[u8]); 3] = [(0xef, &stuffed), (0xe2, &profile), (0xfe, b"a remark")];
    assert_eq!(decoded(&grey_steps(&YCBCR, TOGETHER, &segments)), whole);
}

#[test]
fn zeros_in_place_of_data_are_no_picture() {
    let bytes = grey_steps(&YCBCR, TOGETHER, &[]);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    for n_zeros in [10, 100, 100_000] {
        let dead_card = [&bytes[..scan], &vec![0; n_zeros]].concat();
        assert_eq!(refusal(&dead_card), "damaged JPEG: zeros in place of data");
        assert_eq!(
            refusal(&[&dead_card[..], &[0xff, 0xd9]].concat()).split(':').next(),
            Some("damaged JPEG")
        );
    }
}

#[test]
fn kinds_of_jpeg_that_are_not_read_are_named() {
    assert_eq!(
        refusal(&[&[0xff, 0xd8, 0xff, 0xf1][..], &[0xff, 0].repeat(500_000)].concat()),
        "ends early: the JPEG is cut short"
    );
    let frame_of = |marker: u8, precision: u8| {
        let mut bytes = vec![0xff, 0xd8];
        segment(&mut bytes, marker, &[precision, 0, 8, 0, 8, 1, 1, 0x11, 0]);
        bytes
    };
    assert_eq!(refusal(&frame_of(0xc1, 12)), "12-bit JPEG cannot be read: convert it to JPEG or PNG");
    assert_eq!(refusal(&frame_of(0xc3, 8)), "lossless JPEG cannot be read: convert it to JPEG or PNG");
    assert_eq!(
        refusal(&frame_of(0xc9, 8)),
        "JPEG with arithmetic coding cannot be read: convert it to JPEG or PNG"
    );
}
