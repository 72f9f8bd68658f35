//! Quantiles of the standard normal distribution.
//!
//! Source: M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics
//! 37 (1988), 477-484: PPND16, a relative error of about 1e-16.
#![expect(clippy::excessive_precision, reason = "the coefficients stand as they were published")]

/// Returns the z with Phi(z) = `p`, for `p` in (0, 1); minus infinity for 0, plus infinity for 1, NaN outside [0, 1].
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let from_middle = p - 0.5;
    if from_middle.abs() <= 0.425 {
        let r = 0.180_625 - from_middle * from_middle;
        return from_middle * quotient(r, &MIDDLE);
    }
    let r = libm::sqrt(-libm::log(p.min(1.0 - p)));
    let z = match r {
        r if r == f64::INFINITY => r,
        r if r <= 5.0 => quotient(r - 1.6, &SIDE),
        r => quotient(r - 5.0, &TAIL),
    };
    z.copysign(from_middle)
}

/// Numerator and denominator, coefficients of r^7 first; the denominator's constant is 1.
type Rational = ([f64; 8], [f64; 8]);

fn quotient(r: f64, (numerator, denominator): &Rational) -> f64 {
    let polynomial = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, c| sum * r + c);
    polynomial(numerator) / polynomial(denominator)
}

const MIDDLE: Rational = (
    [
        2.509_080_928_730_122_672_7e3,
        3.343_057_558_358_812_810_5e4,
        6.726_577_092_700_870_085_3e4,
        4.592_195_393_154_987_145_7e4,
        1.373_169_376_550_946_112_5e4,
        1.971_590_950_306_551_442_7e3,
        1.331_416_678_917_843_774_5e2,
        3.387_132_872_796_366_608_0,
    ],
    [
        5.226_495_278_852_854_561_0e3,
        2.872_908_573_572_194_267_4e4,
        3.930_789_580_009_271_061_0e4,
        2.121_379_430_158_659_586_7e4,
        5.394_196_021_424_751_107_7e3,
        6.871_870_074_920_579_082_8e2,
        4.231_333_070_160_091_125_2e1,
        1.0,
    ],
);

const SIDE: Rational = (
    [
        7.745_450_142_783_414_076_40e-4,
        2.272_384_498_926_918_458_33e-2,
        2.417_807_251_774_506_117_70e-1,
        1.270_458_252_452_368_382_58,
        3.647_848_324_763_204_605_04,
        5.769_497_221_460_691_405_50,
        4.630_337_846_156_545_295_90,
        1.423_437_110_749_683_577_34,
    ],
    [
        1.050_750_071_644_416_843_24e-9,
        5.475_938_084_995_344_946_00e-4,
        1.519_866_656_361_645_719_66e-2,
        1.481_039_764_274_800_745_90e-1,
        6.897_673_349_851_000_045_50e-1,
        1.676_384_830_183_803_849_40,
        2.053_191_626_637_758_821_87,
        1.0,
    ],
);

const TAIL: Rational = (
    [
        2.010_334_399_292_288_132_65e-7,
        2.711_555_568_743_487_578_15e-5,
        1.242_660_947_388_078_438_60e-3,
        2.653_218_952_657_612_309_30e-2,
        2.965_605_718_285_048_912_30e-1,
        1.784_826_539_917_291_335_80,
        5.463_784_911_164_114_369_90,
        6.657_904_643_501_103_777_20,
    ],
    [
        2.044_263_103_389_939_785_64e-15,
        1.421_511_758_316_445_888_70e-7,
        1.846_318_317_510_054_681_80e-5,
        7.868_691_311_456_132_591_00e-4,
        1.487_536_129_085_061_485_25e-2,
        1.369_298_809_227_358_053_10e-1,
        5.998_322_065_558_879_376_90e-1,
        1.0,
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scipy_agrees() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/intervals.json")).unwrap();
        let quantiles = golden["quantiles"].as_array().unwrap();
        assert!(quantiles.len() > 20);
        for case in quantiles {
            let (p, z) = (case["p"].as_f64().unwrap(), case["z"].as_f64().unwrap());
            let error = (normal_quantile(p) - z).abs();
            assert!(error <= 1e-14 * (1.0 + z.abs()), "p = {p}: {} for {z}", normal_quantile(p));
        }
    }

    #[test]
    fn at_and_beyond_the_ends() {
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert_eq!(normal_quantile(0.5), 0.0);
        for outside in [-0.1, 1.1, f64::NAN] {
            assert!(normal_quantile(outside).is_nan());
        }
    }
}
