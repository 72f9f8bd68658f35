//! Interpolates learnt positions for images of another size.

/// The interpolation of positions from the learnt grid of patches to another one, as in PyTorch's `interpolate` with
/// `mode="bicubic"`, which has these two variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionResize {
    /// The four nearest positions in each direction, weighted by the cubic curve with a = -0.75. Positions beyond an edge equal
    /// the edge. DINOv2's code uses this variant.
    Bicubic,
    /// All positions under the cubic curve with a = -0.5. If new patches are larger than learnt ones, the curve is widened to
    /// the size of a new patch. Positions beyond an edge are left out. timm uses this variant (`antialias=True`).
    AntialiasedBicubic,
}

/// Interpolates positions (1 + n_side * n_side, width) to (1 + rows * columns, width). The first row, of the class token, is
/// copied; the others are those of the patches.
pub(super) fn resampled(
    learnt: &[f32],
    n_side: usize,
    [rows, columns]: [usize; 2],
    width: usize,
    how: PositionResize,
) -> Vec<f32> {
    if [rows, columns] == [n_side; 2] {
        return learnt.to_vec();
    }
    let (class, patches) = learnt.split_at(width);
    let mut out = class.to_vec();
    let mut position = vec![0.0; width];
    for i in 0..rows {
        for j in 0..columns {
            position.fill(0.0);
            for (row, row_share) in how.taps(i, n_side, rows) {
                for (column, column_share) in how.taps(j, n_side, columns) {
                    let share = row_share * column_share;
                    let from = &patches[(row * n_side + column) * width..];
                    position.iter_mut().zip(from).for_each(|(out, from)| *out += share * f64::from(*from));
                }
            }
            out.extend(position.iter().map(|&p| p as f32));
        }
    }
    out
}

impl PositionResize {
    /// Returns the learnt places (of `from`) that contribute to new place `i` (of `to`), with their shares.
    fn taps(self, i: usize, from: usize, to: usize) -> Vec<(usize, f64)> {
        let step = from as f64 / to as f64;
        let centre = (i as f64 + 0.5) * step;
        match self {
            Self::Bicubic => {
                let first = (centre - 0.5).floor() as isize - 1;
                let tap = |place: isize| {
                    let inside = place.clamp(0, from as isize - 1) as usize;
                    (inside, cubic(-0.75, centre - 0.5 - place as f64))
                };
                (first..first + 4).map(tap).collect()
            }
            Self::AntialiasedBicubic => {
                let wide = step.max(1.0);
                let first = (centre - 2.0 * wide + 0.5).max(0.0) as usize;
                let last = from.min((centre + 2.0 * wide + 0.5) as usize);
                let share = |place: usize| cubic(-0.5, (place as f64 + 0.5 - centre) / wide);
                let total: f64 = (first..last).map(share).sum();
                (first..last).map(|place| (place, share(place) / total)).collect()
            }
        }
    }
}

/// Keys' cubic convolution kernel, <https://doi.org/10.1109/TASSP.1981.1163711>.
fn cubic(a: f64, x: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with `F.interpolate(x, size=(2, n), mode="bicubic", antialias=...)`. Each row of x is the squares 0, 1, 4, …
    #[test]
    fn values_are_pytorchs() {
        GOLDENS.iter().for_each(|(how, n_side, expected)| {
            let squares = (0..n_side * n_side).map(|i| ((i % n_side) * (i % n_side)) as f32);
            let learnt: Vec<f32> = [-1.0].into_iter().chain(squares).collect();
            let found = resampled(&learnt, *n_side, [2, expected.len()], 1, *how);
            assert_eq!(found[0], -1.0);
            for row in found[1..].chunks(expected.len()) {
                for (&found, expected) in row.iter().zip(*expected) {
                    let found = f64::from(found);
                    assert!(
                        (found - expected).abs() < 1e-4 * (1.0 + expected),
                        "{how:?}: {found} {expected}"
                    );
                }
            }
        });
    }

    #[test]
    fn the_learnt_size_stays_as_it_is() {
        let learnt: Vec<f32> = (0..10).map(|i| i as f32).collect();
        assert_eq!(resampled(&learnt, 3, [3, 3], 1, PositionResize::AntialiasedBicubic), learnt);
    }

    const GOLDENS: &[(PositionResize, usize, &[f64])] = &[
        (PositionResize::Bicubic, 37, &[75.67188, 745.04688]),
        (
            PositionResize::Bicubic,
            37,
            &[2.25514, 31.59259, 94.60631, 191.81481, 324.00000, 490.58025, 690.06310, 922.25926, 1187.24280],
        ),
        (
            PositionResize::Bicubic,
            14,
            &[
                -0.04120, 0.55780, 2.61938, 6.36646, 11.80103, 18.85278, 27.35767, 37.05786, 47.76636,
                60.24487, 74.68042, 91.02612, 109.14136, 128.79175, 150.22760, 170.02997,
            ],
        ),
        (PositionResize::AntialiasedBicubic, 37, &[115.26109, 720.29896]),
        (
            PositionResize::AntialiasedBicubic,
            37,
            &[3.24523, 31.72834, 95.62908, 192.93203, 324.00709, 488.86956, 687.54840, 925.85744, 1180.50015],
        ),
        (
            PositionResize::AntialiasedBicubic,
            14,
            &[0.41004, 6.18919, 20.25000, 42.25000, 72.25000, 111.24324, 155.26778],
        ),
        (PositionResize::AntialiasedBicubic, 14, &[1.16875, 13.57803, 42.26778, 87.73174, 145.10346]),
        (
            PositionResize::AntialiasedBicubic,
            14,
            &[
                -0.02852, 0.66494, 2.84766, 6.56641, 11.81641, 18.59766, 26.91016, 36.75391, 48.12891,
                61.03516, 75.47266, 91.44141, 108.94141, 127.97266, 149.20351, 169.71293,
            ],
        ),
    ];
}
