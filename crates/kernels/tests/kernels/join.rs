//! Joining, padding and taking apart of maps.

use half::bf16;
use proptest::prelude::*;
use tallow_kernels::*;

use crate::{cases, random};

fn map<E: Element>(seed: u64, len: usize) -> Vec<E> {
    random(seed, len).into_iter().map(E::from_f32).collect()
}

fn check_join<E: Element>(rows: usize, widths: &[usize], seed: u64) {
    let parts: Vec<Vec<E>> = (seed..).zip(widths).map(|(seed, width)| map(seed, rows * width)).collect();
    let c: usize = widths.iter().sum();
    let mut y = vec![E::from_f32(f32::NAN); rows * c];
    concat_channels(
        &parts.iter().zip(widths).map(|(part, &width)| (&part[..], width)).collect::<Vec<_>>(),
        &mut y,
    );
    let mut first = 0;
    for (part, &width) in parts.iter().zip(widths) {
        for (i, &number) in part.iter().enumerate() {
            assert_eq!(y[i / width * c + first + i % width], number);
        }
        let (mut taken, mut sum) = (vec![E::from_f32(f32::NAN); part.len()], vec![E::default(); part.len()]);
        take_channels(&y, c, first, width, None, &mut taken);
        assert_eq!(&taken, part);
        let other: Vec<E> = map(seed + 100, part.len());
        take_channels(&y, c, first, width, Some(&other), &mut sum);
        let expected: Vec<E> =
            part.iter().zip(&other).map(|(a, b)| E::from_f32(a.to_f32() + b.to_f32())).collect();
        assert_eq!(sum, expected);
        first += width;
    }
}

fn check_pad<E: Element>(dims: [usize; 4], after: [usize; 2], seed: u64) {
    let ([n, h, w, c], [bottom, right]) = (dims, after);
    let (h_out, w_out) = (h + bottom, w + right);
    let x: Vec<E> = map(seed, n * h * w * c);
    let mut y = vec![E::from_f32(f32::NAN); n * h_out * w_out * c];
    zero_pad(dims, after, &x, &mut y);
    let dy: Vec<E> = map(seed + 1, y.len());
    let mut dx = vec![E::from_f32(f32::NAN); x.len()];
    zero_pad_backward(dims, after, &dy, &mut dx);
    for (i, &number) in y.iter().enumerate() {
        let (channel, pixel) = (i % c, i / c);
        let (column, row, image) = (pixel % w_out, pixel / w_out % h_out, pixel / w_out / h_out);
        if row < h && column < w {
            let from = ((image * h + row) * w + column) * c + channel;
            assert_eq!((number, dx[from]), (x[from], dy[i]));
        } else {
            assert_eq!(number, E::default());
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn joined_channels_are_their_parts(
        rows in 0usize..=900, widths in prop::collection::vec(1usize..=40, 1..=5), seed in any::<u32>(),
    ) {
        check_join::<f32>(rows, &widths, u64::from(seed));
        check_join::<bf16>(rows, &widths, u64::from(seed));
    }

    #[test]
    fn padded_maps_are_their_definition(
        n in 0usize..=3, h in 0usize..=9, w in 0usize..=9, c in 1usize..=20, bottom in 0usize..=2, right in 0usize..=2,
        seed in any::<u32>(),
    ) {
        check_pad::<f32>([n, h, w, c], [bottom, right], u64::from(seed));
        check_pad::<bf16>([n, h, w, c], [bottom, right], u64::from(seed));
    }
}
