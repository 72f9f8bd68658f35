//! The passes with 2x2 max pooling, on pairs of lines of `w` pixels. Pixels that do not fill a window are left out.

use super::lanes::{Channels, Coefficients, Sums, at, at_mut, for_lanes, relu};
use crate::direct::Element;
use crate::vectorise::vectorised;

vectorised! {
    /// Computes the largest number of each window after ReLU, and which of the four pixels it is.
    fn forward<E: Element>(y: &[E], scale: &[f32], shift: &[f32], w: usize, a: &mut [E], winners: &mut [u8]) {
        let (c, w_out) = (scale.len(), w / 2);
        if w_out == 0 {
            return;
        }
        let lines = y.chunks_exact(2 * w * c).zip(a.chunks_exact_mut(w_out * c)).zip(winners.chunks_exact_mut(w_out * c));
        for ((y, a), winners) in lines {
            let (above, below) = y.split_at(w * c);
            let pixels = a.chunks_exact_mut(c).zip(winners.chunks_exact_mut(c));
            for ((a, won), (above, below)) in pixels.zip(above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c))) {
                for_lanes!(c, i, N, {
                    let window = [at::<E, N>(above, i), at(above, c + i), at(below, i), at(below, c + i)];
                    pool(&Channels::<N>::at(scale, shift, i), window, at_mut(a, i), at_mut(won, i));
                });
            }
        }
    }
}

#[inline(always)]
fn pool<E: Element, const N: usize>(
    channels: &Channels<'_, N>,
    window: [&[E; N]; 4],
    a: &mut [E; N],
    winners: &mut [u8; N],
) {
    let mut largest = [0.0; N];
    let mut winner = [0u32; N];
    for i in 0..N {
        largest[i] = channels.z(window[0][i].to_f32(), i);
    }
    for place in 1..4 {
        for i in 0..N {
            let z = channels.z(window[place][i].to_f32(), i);
            let wins = z > largest[i] || z.is_nan();
            largest[i] = if wins { z } else { largest[i] };
            winner[i] = if wins { place as u32 } else { winner[i] };
        }
    }
    for i in 0..N {
        a[i] = E::from_f32(relu(largest[i]));
        winners[i] = winner[i] as u8;
    }
}

/// Returns the number of the winning pixel in each window, as f32.
#[inline(always)]
fn of_winner<E: Element, const N: usize>(window: [&[E; N]; 4], winners: &[u8; N]) -> [f32; N] {
    let (mut y, mut winner) = ([0.0; N], [0u32; N]);
    for i in 0..N {
        y[i] = window[0][i].to_f32();
        winner[i] = u32::from(winners[i]);
    }
    for place in 1..4 {
        for i in 0..N {
            let other = window[place][i].to_f32();
            y[i] = if winner[i] == place as u32 { other } else { y[i] };
        }
    }
    y
}

vectorised! {
    /// Adds the sums of g and of g * (y - mean) to `sums` (2, c).
    fn add_up<E: Element>(
        y: &[E], da: &[E], winners: &[u8], scale: &[f32], shift: &[f32], mean: &[f32], w: usize, sums: &mut [f32],
    ) {
        let (c, w_out) = (scale.len(), w / 2);
        if w_out == 0 {
            return;
        }
        let (of_g, of_gx) = sums.split_at_mut(c);
        let lines = y.chunks_exact(2 * w * c).zip(da.chunks_exact(w_out * c)).zip(winners.chunks_exact(w_out * c));
        for ((y, da), winners) in lines {
            let (above, below) = y.split_at(w * c);
            let pixels = da.chunks_exact(c).zip(winners.chunks_exact(c));
            for ((da, won), (above, below)) in pixels.zip(above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c))) {
                for_lanes!(c, i, N, {
                    let window = [at::<E, N>(above, i), at(above, c + i), at(below, i), at(below, c + i)];
                    let (y, da) = (of_winner::<E, N>(window, at(won, i)), at::<E, N>(da, i));
                    let (channels, mut sums) = (Channels::<N>::at(scale, shift, i), Sums::<N>::at(mean, of_g, of_gx, i));
                    for j in 0..N {
                        sums.add(channels.relu_gradient(y[j], da[j].to_f32(), j), y[j], j);
                    }
                });
            }
        }
    }
}

vectorised! {
    /// Computes `dy = A * g + B * (y - mean) + C` with the coefficients (3, c).
    fn apply<E: Element>(
        y: &[E], da: &[E], winners: &[u8], scale: &[f32], shift: &[f32], mean: &[f32], coefficients: &[f32], w: usize,
        dy: &mut [E],
    ) {
        let (c, w_out) = (scale.len(), w / 2);
        for (line, (y, dy)) in y.chunks_exact(w * c).zip(dy.chunks_exact_mut(w * c)).enumerate() {
            for (column, (y, dy)) in y.chunks_exact(c).zip(dy.chunks_exact_mut(c)).enumerate() {
                let window = (line / 2 * w_out + column / 2) * c;
                let place = (line % 2 * 2 + column % 2) as u32;
                if column / 2 >= w_out || window + c > da.len() {
                    for_lanes!(c, i, N, {
                        let (y, dy) = (at::<E, N>(y, i), at_mut::<E, N>(dy, i));
                        let by = Coefficients::<N>::at(coefficients, mean, i);
                        for j in 0..N {
                            dy[j] = E::from_f32(by.dy(0.0, y[j].to_f32(), j));
                        }
                    });
                    continue;
                }
                let (da, won) = (&da[window..window + c], &winners[window..window + c]);
                for_lanes!(c, i, N, {
                    let (y, da, dy) = (at::<E, N>(y, i), at::<E, N>(da, i), at_mut::<E, N>(dy, i));
                    let (won, channels) = (at::<u8, N>(won, i), Channels::<N>::at(scale, shift, i));
                    let by = Coefficients::<N>::at(coefficients, mean, i);
                    for j in 0..N {
                        let y = y[j].to_f32();
                        let g = channels.relu_gradient(y, da[j].to_f32(), j);
                        dy[j] = E::from_f32(by.dy(if u32::from(won[j]) == place { g } else { 0.0 }, y, j));
                    }
                });
            }
        }
    }
}
