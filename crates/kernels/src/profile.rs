//! Time per kernel: [`record`] runs a closure and returns which kernels it called, with which shapes, and how long
//! each call took.
//!
//! A recording belongs to the thread that calls the kernels. Without a recording, a kernel tests one thread-local
//! flag per call and nothing within its loops. A kernel that is called by another kernel is not counted; its time
//! belongs to the outer one.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::conv::ConvShape;
use crate::depthwise::DepthwiseShape;
use crate::direct::{AttentionShape, Method};
use crate::norm_act::{After, NormActShape};
use crate::pool::PoolShape;

/// One call of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kernel's name, such as `conv2d_forward`.
    pub op: &'static str,
    /// The shape of the data, without the number of images. `3x3/1 32->64 16x16` is a convolution with stride 1 from
    /// 32 to 64 channels on maps of 16 rows and columns. A final `f4` means that it ran as Winograd's F(4x4, 3x3).
    /// Empty if the shape does not matter.
    pub shape: String,
    /// Duration of the call in seconds.
    pub secs: f64,
    /// Floating-point operations: two per multiply-add of a convolution or a linear layer, including those with the
    /// zeros of the padding. 0 for elementwise work, which memory limits.
    pub flops: u64,
}

thread_local! {
    /// Whether a kernel call opens a span: true within [`record`], but false within another span.
    static IS_OPEN: Cell<bool> = const { Cell::new(false) };
    static SPANS: RefCell<Vec<Span>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` and returns its result and the kernels that it called on this thread, in order.
///
/// A nested `record` within `work` takes its spans out of the outer recording.
///
/// ```
/// use tallow_kernels::{profile, relu};
/// let ((), spans) = profile::record(|| relu(&[1.0, -1.0], &mut [0.0; 2]));
/// assert_eq!((spans.len(), spans[0].op, spans[0].flops), (1, "relu", 0));
/// ```
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Vec<Span>) {
    /// Restores the previous state, also if `work` panics.
    struct Before(bool, Vec<Span>);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_OPEN.set(self.0);
            SPANS.set(std::mem::take(&mut self.1));
        }
    }
    let _before = Before(IS_OPEN.replace(true), SPANS.take());
    let result = work();
    (result, SPANS.take())
}

/// A running kernel; dropping the value ends its span.
pub(crate) struct Open {
    op: &'static str,
    shape: String,
    flops: u64,
    start: Instant,
}

impl Drop for Open {
    fn drop(&mut self) {
        let secs = self.start.elapsed().as_secs_f64();
        let span = Span { op: self.op, shape: std::mem::take(&mut self.shape), secs, flops: self.flops };
        SPANS.with_borrow_mut(|spans| spans.push(span));
        IS_OPEN.set(true);
    }
}

/// Opens a span if a recording is active. `describe` returns the shape and the floating-point operations.
#[inline]
fn open(op: &'static str, describe: impl FnOnce() -> (String, usize)) -> Option<Open> {
    if !IS_OPEN.get() {
        return None;
    }
    IS_OPEN.set(false);
    let (shape, flops) = describe();
    Some(Open { op, shape, flops: flops as u64, start: Instant::now() })
}

/// Opens a span of a convolution or of one of its gradients, computed by this method.
pub(crate) fn conv(op: &'static str, s: &ConvShape, method: &'static str) -> Option<Open> {
    open(op, || {
        let ConvShape { h, w, c_in, c_out, k_h, k_w, stride, .. } = s;
        let mut shape = format!("{k_h}x{k_w}/{stride} {c_in}->{c_out} {h}x{w}");
        if method != Method::DIRECT {
            shape = format!("{shape} {method}");
        }
        (shape, 2 * s.y_len() * k_h * k_w * c_in)
    })
}

/// Opens a span of a depthwise convolution or of one of its gradients.
pub(crate) fn depthwise(op: &'static str, s: &DepthwiseShape) -> Option<Open> {
    open(op, || {
        let DepthwiseShape { h, w, c, k, stride, .. } = s;
        (format!("{k}x{k}/{stride} {c} {h}x{w}"), 2 * s.y_len() * k * k)
    })
}

/// Opens a span of an inverted residual block with the shape of its depthwise convolution. `c_in` is given if the
/// block expands its channels.
pub(crate) fn inverted_residual(s: &DepthwiseShape, c_in: Option<usize>, c_out: usize) -> Option<Open> {
    open("inverted_residual", || {
        let DepthwiseShape { n, h, w, c, k, stride, .. } = s;
        let wider = c_in.map_or(String::new(), |c_in| format!("{c_in}->"));
        let n_out = s.y_len() * (k * k + c_out);
        (
            format!("{k}x{k}/{stride} {wider}{c}->{c_out} {h}x{w}"),
            2 * (n_out + c_in.unwrap_or(0) * n * h * w * c),
        )
    })
}

/// Opens a span of a linear layer of `n` rows, or of one of its gradients.
pub(crate) fn linear(op: &'static str, n: usize, f_in: usize, f_out: usize) -> Option<Open> {
    open(op, || (format!("{f_in}->{f_out}"), 2 * n * f_in * f_out))
}

/// Opens a span of self-attention: of both products.
pub(crate) fn attention(op: &'static str, s: &AttentionShape) -> Option<Open> {
    let AttentionShape { n, tokens, heads, head_width } = s;
    open(op, || (format!("{heads}x{head_width} {tokens}"), 4 * n * tokens * tokens * s.width()))
}

/// Opens a span of a pooling or of its gradient.
pub(crate) fn pool(op: &'static str, s: &PoolShape) -> Option<Open> {
    let PoolShape { h, w, c, k_h, k_w, stride, .. } = s;
    open(op, || (format!("{k_h}x{k_w}/{stride} {c} {h}x{w}"), 0))
}

/// Opens a span of a batch norm fused with the operation after it.
pub(crate) fn norm_act(op: &'static str, s: &NormActShape) -> Option<Open> {
    let NormActShape { h, w, c, after, .. } = s;
    let after = match after {
        After::Nothing => "",
        After::Relu => " relu",
        After::ReluPool => " relu pool",
        After::Gelu => " gelu",
        After::Relu6 => " relu6",
        After::Silu => " silu",
        After::HardSwish => " hard swish",
    };
    open(op, || (format!("{c} {h}x{w}{after}"), 0))
}

/// Opens a span of an operation on a (rows, c) matrix, channel by channel.
pub(crate) fn channels(op: &'static str, len: usize, c: usize) -> Option<Open> {
    open(op, || (format!("{}x{c}", len.checked_div(c).unwrap_or(0)), 0))
}

/// Opens a span of an elementwise operation on `len` numbers.
pub(crate) fn elements(op: &'static str, len: usize) -> Option<Open> {
    open(op, || (len.to_string(), 0))
}

/// Opens a span of an optimiser's step on one parameter. All parameters share one empty shape.
pub(crate) fn parameters(op: &'static str) -> Option<Open> {
    open(op, || (String::new(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padding::Padding;
    use crate::{conv2d_forward, conv2d_forward_with_moments, linear_forward, relu};

    const SHAPE: ConvShape = ConvShape {
        n: 2,
        h: 5,
        w: 7,
        c_in: 3,
        c_out: 4,
        k_h: 3,
        k_w: 2,
        stride: 2,
        padding: Padding::Symmetric(1),
    };

    #[test]
    fn calls_are_told_in_order_with_shapes_and_operations() {
        let (x, weight) = (vec![0f32; SHAPE.x_len()], vec![0.0; SHAPE.weight_len()]);
        let mut y = vec![0f32; SHAPE.y_len()];
        let (sum, spans) = record(|| {
            conv2d_forward(&SHAPE, &x, &weight, None, &mut y);
            linear_forward(2, 3, 5, &[0.0; 6], &[0.0; 15], None, &mut [0.0; 10]);
            1 + 1
        });
        assert_eq!(sum, 2);
        let told: Vec<_> = spans.iter().map(|s| (s.op, s.shape.as_str(), s.flops)).collect();
        // two images of 3 x 4 pixels with 4 channels; each output number takes 18 products
        let expected =
            [("conv2d_forward", "3x2/2 3->4 5x7", 2 * (2 * 3 * 4 * 4) * 18), ("linear_forward", "3->5", 60)];
        assert_eq!(told, expected);
        assert!(spans.iter().all(|span| span.secs >= 0.0 && span.secs < 60.0));
    }

    #[test]
    fn a_kernel_within_a_kernel_counts_once() {
        // In bf16 without direct kernels, `conv2d_forward_with_moments` calls `conv2d_forward`. The nested spans here
        // test the same on every processor.
        let ((), spans) = record(|| {
            let _outer = elements("outer", 1);
            relu(&[1.0], &mut [0.0]);
        });
        assert_eq!(spans.iter().map(|span| span.op).collect::<Vec<_>>(), ["outer"]);
        let (x, weight) = (vec![0f32; SHAPE.x_len()], vec![0.0; SHAPE.weight_len()]);
        let (_, spans) =
            record(|| conv2d_forward_with_moments(&SHAPE, &x, &weight, None, &mut vec![0.0; SHAPE.y_len()]));
        assert_eq!(spans.iter().map(|span| span.op).collect::<Vec<_>>(), ["conv2d_forward_with_moments"]);
    }

    #[test]
    fn nothing_is_kept_outside_a_recording() {
        relu(&[1.0], &mut [0.0]);
        assert!(record(|| ()).1.is_empty());
        let panicked = std::panic::catch_unwind(|| record(|| relu(&[1.0], &mut [])));
        assert!(panicked.is_err() && !IS_OPEN.get());
        relu(&[1.0], &mut [0.0]);
        let (inner, outer) = record(|| {
            relu(&[1.0], &mut [0.0]);
            record(|| relu(&[1.0], &mut [0.0])).1.len()
        });
        assert_eq!((inner, outer.len()), (1, 1));
        assert!(SPANS.with_borrow(Vec::is_empty));
    }
}
