//! Elementary functions with the same bits on every platform, unlike those of the system's mathematics library.
//!
//! They consist of additions, multiplications and bit operations, so the compiler can vectorise a loop over them.
//! Errors are given in ulp, units in the last place of the result. A sweep over the whole range measured them.

/// Returns e^x, to within 1 ulp. A result below the smallest normal number is within 1 ulp of a subnormal number.
///
/// NaN gives NaN, large numbers give infinity, very negative numbers give 0.
///
/// `e^x = 2^n * e^r` with a whole number `n` and `|r| <= ln 2 / 2`. The polynomial for `e^r` is that of Cephes'
/// `expf`, <https://www.netlib.org/cephes/>.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    /// 1.5 * 2^23: adding this constant rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts. The first part has 9 bits, so its product with `n` is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = x.clamp(-104.0, 89.0); // beyond, the result is 0 or infinite; NaN stays NaN
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let exp_r = p * (r * r) + r + 1.0;
    // 2^n as two factors: n goes from -150 to 128, a normal power of 2 only from -126 to 127
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    exp_r * power_of_2(half) * power_of_2(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Returns ln x, to within 1 ulp. The result is NaN below 0 and minus infinity at 0.
#[inline(always)]
pub fn ln_f32(x: f32) -> f32 {
    libm::logf(x) // a translation of musl's `logf`; logarithms are too rare here to need a faster one
}

/// Returns erf x, `2 / sqrt(pi) * integral of e^(-t^2) from 0 to x`, to within 1.2 ulp.
///
/// Near 0 it is a polynomial, farther out `1 - e^polynomial`. The coefficients are those of Norbert Juffa's
/// `my_erff`, <https://stackoverflow.com/a/35148199>.
#[inline]
pub fn erf_f32(x: f32) -> f32 {
    let t = x.abs();
    let s = t * t;

    let mut near = -5.967_617e-4;
    near = near * s + 4.991_194e-3;
    near = near * s - 2.676_813_5e-2;
    near = near * s + 1.128_199_25e-1;
    near = near * s - 3.761_253_3e-1;
    near = near * s + 1.283_791_7e-1;
    let near = near * x + x;

    let t = if t > 4.0 { 4.0 } else { t }; // erf is 1 from 3.92 on
    let mut far = -1.728_534_7e-5 * t + 3.831_971_3e-4;
    far = far * (t * t) + (-3.883_964_4e-3 * t + 2.425_462_2e-2);
    far = far * t - 1.067_778_8e-1;
    far = far * t - 6.348_467e-1;
    far = far * t - 1.287_175_1e-1;
    let far = (1.0 - exp_f32(far * t - t)).copysign(x);

    if x.abs() > 0.927_734_4 { far } else { near }
}

/// Returns `1 / (1 + e^-x)`, to within 2.5 ulp if the result is a normal number.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    1.0 / (1.0 + exp_f32(-x))
}

/// Returns the cumulative normal distribution and its density `e^(-x^2 / 2) / sqrt(2 pi)`, with one exponential. The
/// distribution has an absolute error of at most 3e-7, so `x * cdf` is as accurate as with `erf` in f32.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17.
#[inline(always)]
pub(crate) fn normal_cdf_and_pdf(x: f32) -> (f32, f32) {
    const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;
    let pdf = FRAC_1_SQRT_2_PI * exp_f32(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let mut p = 1.330_274_4;
    p = p * t - 1.821_255_9;
    p = p * t + 1.781_477_9;
    p = p * t - 0.356_563_78;
    p = p * t + 0.319_381_54;
    let tail = pdf * (p * t);
    (if x < 0.0 { tail } else { 1.0 - tail }, pdf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the largest error in ulp over every 97th f32 from `low` to `high`, and where it occurs.
    fn max_error_ulp(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32) -> (f64, f32) {
        let (mut worst, mut at) = (0.0, 0.0);
        for bits in (low.to_bits()..=high.to_bits()).step_by(97) {
            let x = f32::from_bits(bits);
            let exact = exact(f64::from(x));
            let error = (f64::from(f(x)) - exact).abs() / ulp(exact);
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        (worst, at)
    }

    /// Returns the distance between neighbouring f32 numbers at `x`.
    fn ulp(x: f64) -> f64 {
        let x = (x.abs() as f32).clamp(f32::from_bits(1), f32::MAX);
        f64::from(x) - f64::from(f32::from_bits(x.to_bits() - 1))
    }

    #[test]
    fn exp_is_within_1_ulp() {
        for (low, high) in [(1e-12, 88.722_83), (-1e-12, -87.33), (-87.33, -104.0)] {
            let (error, at) = max_error_ulp(exp_f32, libm::exp, low, high);
            assert!(error < 1.0, "{error} ulp at {at}");
            assert!(error > 0.4, "the sweep from {low} to {high} found no rounding at all");
        }
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(-0.0), 1.0);
        assert_eq!(exp_f32(88.722_84), f32::INFINITY);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(f32::MAX), f32::INFINITY);
        assert_eq!(exp_f32(-104.0), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32(f32::NAN).is_nan());
        assert!(exp_f32(-f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_within_1_ulp() {
        let (error, at) = max_error_ulp(ln_f32, libm::log, f32::from_bits(1), f32::MAX);
        assert!(error < 1.0, "{error} ulp at {at}");
        assert_eq!(ln_f32(1.0), 0.0);
        assert_eq!(ln_f32(0.0), f32::NEG_INFINITY);
        assert_eq!(ln_f32(f32::INFINITY), f32::INFINITY);
        assert!(ln_f32(-1.0).is_nan() && ln_f32(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_within_1_2_ulp() {
        for (low, high) in [(f32::MIN_POSITIVE, 1e3), (-f32::MIN_POSITIVE, -1e3)] {
            let (error, at) = max_error_ulp(erf_f32, libm::erf, low, high);
            assert!(error < 1.2, "{error} ulp at {at}");
        }
    }

    #[test]
    fn sigmoid_is_within_2_5_ulp() {
        let exact = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        for (low, high) in [(1e-12, 200.0), (-1e-12, -87.33)] {
            let (error, at) = max_error_ulp(sigmoid_f32, exact, low, high);
            assert!(error < 2.5, "{error} ulp at {at}");
        }
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY, 0.0].map(sigmoid_f32), [1.0, 0.0, 0.5]);
        assert!(sigmoid_f32(f32::NAN).is_nan());
    }

    #[test]
    fn erf_at_the_ends() {
        assert_eq!(erf_f32(0.0), 0.0);
        assert_eq!(erf_f32(4.5), 1.0);
        assert_eq!(erf_f32(f32::INFINITY), 1.0);
        assert_eq!(erf_f32(f32::NEG_INFINITY), -1.0);
        assert!(erf_f32(f32::NAN).is_nan());
        for x in [f32::MAX, 1e30, 3.0, 0.95, 0.9, 0.1, 1e-30] {
            assert_eq!(erf_f32(-x), -erf_f32(x), "odd at {x}");
        }
    }

    #[test]
    fn the_normal_distribution_is_within_3e_7() {
        for i in -60_000..60_000 {
            let x = i as f32 * 1.7e-4;
            let (cdf, pdf) = normal_cdf_and_pdf(x);
            let x = f64::from(x);
            let exact = 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
            let density = libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(cdf) - exact).abs() < 3e-7, "cdf {cdf} at {x}, exactly {exact}");
            assert!((f64::from(pdf) - density).abs() < 1e-7, "pdf {pdf} at {x}, exactly {density}");
        }
        assert!(normal_cdf_and_pdf(f32::NAN).0.is_nan());
    }

    /// The bits are the same on every platform: these.
    #[test]
    fn bits_are_pinned() {
        let bits = [exp_f32(1.0), exp_f32(-3.3), ln_f32(10.0), erf_f32(0.5), erf_f32(1.5)].map(f32::to_bits);
        assert_eq!(bits, [0x402df854, 0x3d1712ce, 0x40135d8e, 0x3f053f7b, 0x3f7752ab], "{bits:#x?}");
    }
}
