//! The two schemes and their transforms in one dimension. `transform` and `weights` apply them in two dimensions.
//!
//! A scheme comes from points at which polynomials are multiplied. F(2, 3) has 0, 1, -1 and infinity. F(4, 3) has 0,
//! ±5/8, ±3/2 and infinity: among the pairs ±a, ±b with few binary digits these have the smallest error. It is half
//! the error of the usual ±1, ±2: relative to the norm of the result, with 96 channels, 0.8e-6 in the forward pass
//! and 1.2e-6 in the weight gradient, where ±1, ±2 have 1.9e-6 and 2.5e-6.
//!
//! Sources: Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>; on points: Barabasz et al. 2018,
//! <https://arxiv.org/abs/1803.10986>, Alam et al. 2022, <https://arxiv.org/abs/2201.10369>

/// The size of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// F(2x2, 3x3).
    F2,
    /// F(4x4, 3x3).
    F4,
}

impl Scheme {
    /// Returns the number of rows (and columns) of output pixels in a tile.
    pub(in crate::direct) fn out(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
        }
    }

    /// Returns the number of products per tile, input channel and output channel. It is the number of input pixels
    /// under a tile.
    pub(in crate::direct) fn n_products(self) -> usize {
        (self.out() + 2).pow(2)
    }
}

/// The transforms of `N` channels in one dimension: `M` outputs depend on `T` input numbers of a tile through 3 taps.
pub(super) trait Transforms<const T: usize, const M: usize> {
    /// Returns `B^T d`, the transform of the input.
    fn input<const N: usize>(d: &[[f32; N]; T]) -> [[f32; N]; T];
    /// Returns `A^T m`, the transform of the products.
    fn output<const N: usize>(m: &[[f32; N]; T]) -> [[f32; N]; M];
    /// Returns `A dy`, the transform of the output's gradient.
    fn gradient<const N: usize>(dy: &[[f32; N]; M]) -> [[f32; N]; T];
    /// Returns `G w`, the transform of the taps.
    fn taps<const N: usize>(w: &[[f32; N]; 3]) -> [[f32; N]; T];
    /// Returns `G^T du`, the gradient of the taps from the gradient of the transformed taps.
    fn taps_gradient<const N: usize>(du: &[[f32; N]; T]) -> [[f32; N]; 3];
}

pub(super) struct F2;
pub(super) struct F4;

// No closures and no `map` over arrays below: a function that is not inlined is not compiled for the instruction set.

impl Transforms<4, 2> for F2 {
    #[inline(always)]
    fn input<const N: usize>(d: &[[f32; N]; 4]) -> [[f32; N]; 4] {
        let mut v = [[0.0; N]; 4];
        for i in 0..N {
            v[0][i] = d[0][i] - d[2][i];
            v[1][i] = d[1][i] + d[2][i];
            v[2][i] = d[2][i] - d[1][i];
            v[3][i] = d[1][i] - d[3][i];
        }
        v
    }

    #[inline(always)]
    fn output<const N: usize>(m: &[[f32; N]; 4]) -> [[f32; N]; 2] {
        let mut y = [[0.0; N]; 2];
        for i in 0..N {
            y[0][i] = m[0][i] + m[1][i] + m[2][i];
            y[1][i] = m[1][i] - m[2][i] - m[3][i];
        }
        y
    }

    #[inline(always)]
    fn gradient<const N: usize>(dy: &[[f32; N]; 2]) -> [[f32; N]; 4] {
        let mut d = [[0.0; N]; 4];
        for i in 0..N {
            d[0][i] = dy[0][i];
            d[1][i] = dy[0][i] + dy[1][i];
            d[2][i] = dy[0][i] - dy[1][i];
            d[3][i] = -dy[1][i];
        }
        d
    }

    #[inline(always)]
    fn taps<const N: usize>(w: &[[f32; N]; 3]) -> [[f32; N]; 4] {
        let mut u = [[0.0; N]; 4];
        for i in 0..N {
            u[0][i] = w[0][i];
            u[1][i] = 0.5 * (w[0][i] + w[1][i] + w[2][i]);
            u[2][i] = 0.5 * (w[0][i] - w[1][i] + w[2][i]);
            u[3][i] = w[2][i];
        }
        u
    }

    #[inline(always)]
    fn taps_gradient<const N: usize>(du: &[[f32; N]; 4]) -> [[f32; N]; 3] {
        let mut dw = [[0.0; N]; 3];
        for i in 0..N {
            dw[0][i] = du[0][i] + 0.5 * (du[1][i] + du[2][i]);
            dw[1][i] = 0.5 * (du[1][i] - du[2][i]);
            dw[2][i] = 0.5 * (du[1][i] + du[2][i]) + du[3][i];
        }
        dw
    }
}

/// The points of F(4, 3) are 0, ±`P`, ±`Q` and infinity.
const P: f32 = 0.625;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;

/// Factors of a filter's values at the points: 1 / the product of the differences to the other points.
const OF_0: f32 = 1.0 / (P2 * Q2);
const OF_P: f32 = 1.0 / (2.0 * P2 * (P2 - Q2));
const OF_Q: f32 = 1.0 / (2.0 * Q2 * (Q2 - P2));

impl Transforms<6, 4> for F4 {
    #[inline(always)]
    fn input<const N: usize>(d: &[[f32; N]; 6]) -> [[f32; N]; 6] {
        let mut v = [[0.0; N]; 6];
        for i in 0..N {
            let even = d[4][i] - Q2 * d[2][i];
            let odd = P * (d[3][i] - Q2 * d[1][i]);
            v[1][i] = even + odd;
            v[2][i] = even - odd;
        }
        for i in 0..N {
            let even = d[4][i] - P2 * d[2][i];
            let odd = Q * (d[3][i] - P2 * d[1][i]);
            v[3][i] = even + odd;
            v[4][i] = even - odd;
        }
        for i in 0..N {
            v[0][i] = P2 * Q2 * d[0][i] + (d[4][i] - (P2 + Q2) * d[2][i]);
            v[5][i] = P2 * Q2 * d[1][i] + (d[5][i] - (P2 + Q2) * d[3][i]);
        }
        v
    }

    #[inline(always)]
    fn output<const N: usize>(m: &[[f32; N]; 6]) -> [[f32; N]; 4] {
        let mut y = [[0.0; N]; 4];
        for i in 0..N {
            let (sum_p, difference_p) = (m[1][i] + m[2][i], m[1][i] - m[2][i]);
            let (sum_q, difference_q) = (m[3][i] + m[4][i], m[3][i] - m[4][i]);
            y[0][i] = m[0][i] + sum_p + sum_q;
            y[1][i] = P * difference_p + Q * difference_q;
            y[2][i] = P2 * sum_p + Q2 * sum_q;
            y[3][i] = P * P2 * difference_p + (Q * Q2 * difference_q + m[5][i]);
        }
        y
    }

    #[inline(always)]
    fn gradient<const N: usize>(dy: &[[f32; N]; 4]) -> [[f32; N]; 6] {
        let mut d = [[0.0; N]; 6];
        for i in 0..N {
            let (even_p, odd_p) = (dy[0][i] + P2 * dy[2][i], P * (dy[1][i] + P2 * dy[3][i]));
            let (even_q, odd_q) = (dy[0][i] + Q2 * dy[2][i], Q * (dy[1][i] + Q2 * dy[3][i]));
            d[0][i] = dy[0][i];
            d[1][i] = even_p + odd_p;
            d[2][i] = even_p - odd_p;
            d[3][i] = even_q + odd_q;
            d[4][i] = even_q - odd_q;
            d[5][i] = dy[3][i];
        }
        d
    }

    #[inline(always)]
    fn taps<const N: usize>(w: &[[f32; N]; 3]) -> [[f32; N]; 6] {
        let mut u = [[0.0; N]; 6];
        for i in 0..N {
            let (even_p, odd_p) = (w[0][i] + P2 * w[2][i], P * w[1][i]);
            let (even_q, odd_q) = (w[0][i] + Q2 * w[2][i], Q * w[1][i]);
            u[0][i] = OF_0 * w[0][i];
            u[1][i] = OF_P * (even_p + odd_p);
            u[2][i] = OF_P * (even_p - odd_p);
            u[3][i] = OF_Q * (even_q + odd_q);
            u[4][i] = OF_Q * (even_q - odd_q);
            u[5][i] = w[2][i];
        }
        u
    }

    #[inline(always)]
    fn taps_gradient<const N: usize>(du: &[[f32; N]; 6]) -> [[f32; N]; 3] {
        let mut dw = [[0.0; N]; 3];
        for i in 0..N {
            let (sum_p, difference_p) = (OF_P * (du[1][i] + du[2][i]), OF_P * (du[1][i] - du[2][i]));
            let (sum_q, difference_q) = (OF_Q * (du[3][i] + du[4][i]), OF_Q * (du[3][i] - du[4][i]));
            dw[0][i] = OF_0 * du[0][i] + (sum_p + sum_q);
            dw[1][i] = P * difference_p + Q * difference_q;
            dw[2][i] = P2 * sum_p + (Q2 * sum_q + du[5][i]);
        }
        dw
    }
}

#[cfg(test)]
mod tests {
    use tallow_core::{Purpose, Stream};

    use super::*;

    fn random<const L: usize>(stream: &mut Stream) -> [[f32; 1]; L] {
        std::array::from_fn(|_| [stream.uniform_f32(-1.0, 1.0)])
    }

    fn dot<const L: usize>(a: &[[f32; 1]; L], b: &[[f32; 1]; L]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a[0] * b[0]).sum()
    }

    fn is_a_convolution<S: Transforms<T, M>, const T: usize, const M: usize>() {
        let mut stream = Stream::new(0, Purpose::Test, 0, 0);
        let (d, w, dy) = (random::<T>(&mut stream), random::<3>(&mut stream), random::<M>(&mut stream));
        let (v, u) = (S::input(&d), S::taps(&w));
        let y = S::output(&std::array::from_fn(|e| [u[e][0] * v[e][0]]));
        for (k, y) in y.iter().enumerate() {
            let expected: f64 = (0..3).map(|t| f64::from(d[k + t][0]) * f64::from(w[t][0])).sum();
            assert!((f64::from(y[0]) - expected).abs() < 1e-6, "output {k}: {y:?}, expected {expected}");
        }
        // the gradients are transposes: <A^T m, dy> = <m, A dy>, <G w, du> = <w, G^T du>
        let m = random::<T>(&mut stream);
        let (left, right) = (dot(&S::output(&m), &dy), dot(&m, &S::gradient(&dy)));
        assert!((left - right).abs() < 1e-5, "{left} {right}");
        let (left, right) = (dot(&u, &m), dot(&w, &S::taps_gradient(&m)));
        assert!((left - right).abs() < 1e-5, "{left} {right}");
    }

    #[test]
    fn each_scheme_is_a_convolution_and_its_gradient_the_transpose() {
        is_a_convolution::<F2, 4, 2>();
        is_a_convolution::<F4, 6, 4>();
    }
}
