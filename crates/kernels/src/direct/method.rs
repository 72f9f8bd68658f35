//! The choice of a convolution's method, the direct loop or a Winograd scheme: one rule for every pass.

use std::sync::OnceLock;

use super::element::Element;
use super::geometry::Geometry;
use super::kernel::Kernels;
use super::winograd::Scheme;
use crate::conv::ConvShape;
use crate::error::MethodError;
use crate::isa::isa;

/// The environment variable that sets the method of 3x3 convolutions with stride 1: `direct`, `f2` or `f4`.
pub const CONV_VARIABLE: &str = "TALLOW_CONV";

/// The method of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Direct,
    Winograd(Scheme),
}

/// The pass of a convolution that a method computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    /// Like forward, with the taps reversed.
    InputGrad,
    WeightGrad,
}

impl Pass {
    /// Returns the method of this pass of a convolution: `direct`, `f2` or `f4`, or `patches` if the instruction set
    /// has no loop.
    pub(crate) fn method_name<E: Element>(self, s: &ConvShape) -> &'static str {
        let Some(kernels) = Kernels::<E>::of(isa()) else { return "patches" };
        let g = match self {
            Self::InputGrad => Geometry { h_out: s.h, w_out: s.w, ..Geometry::of(s) },
            Self::Forward | Self::WeightGrad => Geometry::of(s),
        };
        Method::of(&kernels, self, &g).name()
    }
}

const METHODS: [(&str, Method); 3] =
    [("direct", Method::Direct), ("f2", Method::Winograd(Scheme::F2)), ("f4", Method::Winograd(Scheme::F4))];

impl Method {
    pub(crate) const DIRECT: &str = "direct";

    /// Returns the requested method, or else the fastest one for maps of these rows and columns. Only 3x3
    /// convolutions with stride 1 have a choice. The number of images does not matter, so an image gives the same
    /// numbers in every batch.
    pub(super) fn of<E>(kernels: &Kernels<E>, pass: Pass, g: &Geometry) -> Self {
        if [g.k_h, g.k_w, g.stride] != [3, 3, 1] {
            return Self::Direct;
        }
        kernels.method.unwrap_or_else(|| {
            let cost = |method: &Self| method.cost(kernels.unit, pass, g);
            let all = METHODS.map(|(_, method)| method);
            all.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Self::Direct)
        })
    }

    /// Returns the estimated cost of a map, in f32 products per input and output channel.
    fn cost(self, unit: usize, pass: Pass, g: &Geometry) -> f64 {
        let (h, w) = (g.h_out, g.w_out);
        match self {
            Self::Direct => {
                let speed = if unit == 2 { BF16_SPEED } else { 1.0 };
                (9 * h * w) as f64 * DIRECT_COST[pass as usize] / speed
            }
            Self::Winograd(scheme) => {
                let tiles = h.div_ceil(scheme.out()) * w.div_ceil(scheme.out());
                let (product, transform) = match scheme {
                    Scheme::F2 => (1.15, 13.0),
                    Scheme::F4 => (1.35, 16.0),
                };
                let transforms = transform * (1.0 / g.c_in as f64 + 1.0 / g.c_out as f64);
                (tiles * scheme.n_products()) as f64 * (product + transforms)
            }
        }
    }

    fn name(self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

// Measured with `cargo bench -p tallow-kernels --bench convolutions` for each method in turn, on a Zen 4 processor.

/// Number of bf16 products in the time of one f32 product.
const BF16_SPEED: f64 = 2.0;

/// Cost of one product of the direct loop for each pass, in products at the peak rate.
const DIRECT_COST: [f64; 3] = [1.06, 1.06, 1.22];

/// Returns the method that `TALLOW_CONV` names. An invalid value is ignored: a binary calls [`check_conv_method`]
/// first.
pub(super) fn requested_method() -> Option<Method> {
    static REQUESTED: OnceLock<Option<Method>> = OnceLock::new();
    *REQUESTED.get_or_init(|| {
        let name = std::env::var_os(CONV_VARIABLE)?;
        named(&name.to_string_lossy()).ok()
    })
}

fn named(name: &str) -> Result<Method, MethodError> {
    let found = METHODS.iter().find(|(known, _)| *known == name).map(|(_, method)| *method);
    found.ok_or_else(|| MethodError {
        name: name.to_owned(),
        expected: METHODS.map(|(name, _)| name).join(", "),
    })
}

/// Checks that `request`, the value of `TALLOW_CONV`, names a method.
///
/// # Errors
/// If no method has this name.
pub fn check_conv_method(request: Option<&str>) -> Result<(), MethodError> {
    request.map_or(Ok(()), |name| named(name).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(unit: usize, pass: Pass, side: usize, c_in: usize, c_out: usize) -> &'static str {
        let g = Geometry {
            h: side,
            w: side,
            c_in,
            h_out: side,
            w_out: side,
            c_out,
            k_h: 3,
            k_w: 3,
            stride: 1,
            top: 1,
            left: 1,
        };
        let kernels = Kernels { unit, ..crate::direct::emulated::f32_kernels() };
        Method::of(&kernels, pass, &g).name()
    }

    /// The expected methods were the fastest ones in measurements.
    #[test]
    fn the_rule_says_what_was_measured() {
        for (unit, pass, side, c_in, c_out, quickest) in [
            (1, Pass::Forward, 31, 24, 64, "f4"),
            (1, Pass::Forward, 7, 256, 256, "f4"),
            (1, Pass::Forward, 3, 256, 256, "f4"),
            (1, Pass::Forward, 2, 512, 512, "f2"),
            (1, Pass::Forward, 1, 512, 512, "direct"),
            (1, Pass::Forward, 32, 3, 8, "direct"),
            (1, Pass::WeightGrad, 16, 64, 64, "f4"),
            (2, Pass::Forward, 31, 24, 64, "direct"),
            (2, Pass::Forward, 3, 256, 256, "direct"),
            (2, Pass::Forward, 16, 128, 128, "f4"),
            (2, Pass::WeightGrad, 31, 24, 64, "f4"),
            (2, Pass::WeightGrad, 3, 256, 256, "direct"),
        ] {
            assert_eq!(method(unit, pass, side, c_in, c_out), quickest, "{pass:?} {side} {c_in} {c_out}");
        }
        let other = Geometry { stride: 2, ..Geometry::of(&conv_1x1()) };
        assert_eq!(
            Method::of(&crate::direct::emulated::f32_kernels(), Pass::Forward, &other),
            Method::Direct
        );
    }

    fn conv_1x1() -> ConvShape {
        let padding = crate::Padding::Symmetric(0);
        ConvShape { n: 1, h: 8, w: 8, c_in: 64, c_out: 64, k_h: 1, k_w: 1, stride: 1, padding }
    }

    #[test]
    fn names_are_known_and_others_refused() {
        for (name, method) in METHODS {
            assert_eq!((named(name), method.name()), (Ok(method), name));
        }
        let message = check_conv_method(Some("f6")).unwrap_err().to_string();
        assert!(message.contains("f6") && message.contains("direct, f2, f4"), "{message}");
        assert_eq!(check_conv_method(None), Ok(()));
    }
}
