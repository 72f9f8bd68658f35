//! Student's t distribution, for any positive number of degrees of freedom, whole or not.
//!
//! Source: NIST Digital Library of Mathematical Functions, 8.17: I_x(a, b), the regularised incomplete beta function, by
//! its continued fraction (8.17.22). Bisection inverts it.

use std::f64::consts::FRAC_PI_2;

/// Returns the t such that a variable with `df` degrees of freedom lies between -t and t with probability `confidence`.
pub(crate) fn student_t(confidence: f64, df: f64) -> f64 {
    // t = tan(theta) sqrt(df): theta is bounded, t is not
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        match outside(middle, df) > 1.0 - confidence {
            true => low = middle,
            false => high = middle,
        }
    }
    libm::tan((low + high) / 2.0) * df.sqrt()
}

/// Returns the probability of a value at least as far from 0 as `t`, on either side.
pub(crate) fn two_sided_p(t: f64, df: f64) -> f64 {
    outside(libm::atan(t.abs() / df.sqrt()), df)
}

/// Returns the probability that |t| is above `tan(theta) sqrt(df)`: I_x(df / 2, 1 / 2) at x = cos(theta)^2 = df / (df +
/// t^2).
fn outside(theta: f64, df: f64) -> f64 {
    let (sin, cos) = (libm::sin(theta), libm::cos(theta));
    incomplete_beta(df / 2.0, 0.5, cos * cos, sin * sin).clamp(0.0, 1.0)
}

/// Returns I_x(a, b), given `x` and its complement `y` = 1 - x.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // the fraction converges fast only for x up to this bound; beyond it, use I_x(a, b) = 1 - I_y(b, a)
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, y, x);
    }
    let log_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    libm::exp(a * libm::log(x) + b * libm::log(y) - log_beta) / a * fraction(a, b, x)
}

/// Returns the continued fraction of I_x(a, b), by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_0 = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_0(1.0 - (a + b) * x / (a + 1.0)));
    let mut product = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_0(1.0 + term * d);
            c = away_from_0(1.0 + term / c);
            factor = c * d;
            product *= factor;
        }
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.ppf(0.5 + confidence / 2, df)`, SciPy 1.17.
    #[test]
    fn quantiles_are_scipys() {
        let cases = [
            (0.95, 1.0, 12.706204736174694),
            (0.95, 2.0, 4.302652729749462),
            (0.95, 3.0, 3.182446305283708),
            (0.95, 4.0, 2.776445105197793),
            (0.99, 9.0, 3.249835541592126),
            (0.5, 6.0, 0.7175581964914126),
            (0.999, 7.0, 5.407882520861828),
            (0.95, 4.7, 2.62072607535317),
            (0.99, 2.5, 7.163728138948783),
            (0.95, 1.3, 7.500529325562029),
            (0.9, 250.25, 1.6509653552580346),
            (0.95, 10_000.0, 1.960201239890626),
        ];
        for (confidence, df, expected) in cases {
            let found = student_t(confidence, df);
            assert!(
                (found / expected - 1.0).abs() < 1e-10,
                "{confidence} {df}: {found}, expected {expected}"
            );
        }
    }

    /// `2 * scipy.stats.t.sf(t, df)`, SciPy 1.17.
    #[test]
    fn p_values_are_scipys() {
        let cases = [
            (0.5, 3.7, 0.6453356333199318),
            (2.5, 4.0, 0.06676654481198814),
            (-2.5, 4.0, 0.06676654481198814),
            (12.0, 9.5, 4.7125170143943235e-07),
            (40.0, 30.0, 1.3726045194406417e-27),
            (0.0, 2.0, 1.0),
        ];
        for (t, df, expected) in cases {
            let found = two_sided_p(t, df);
            assert!((found / expected - 1.0).abs() < 1e-10, "{t} {df}: {found}, expected {expected}");
        }
    }
}
