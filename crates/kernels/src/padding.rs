//! Zero padding around the input map of a convolution.

/// Number of rows and columns of zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// This many on each of the four sides, as in PyTorch.
    Symmetric(usize),
    /// TensorFlow's `SAME`: enough zeros for `ceil(len / stride)` windows. An odd zero is below or to the right.
    Same,
}

impl Padding {
    /// Returns the number of windows of `k` along `len` pixels, and the number of zeros before the first pixel.
    pub(crate) fn windows(self, len: usize, k: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Symmetric(padding) => (n_windows(len, k, stride, padding), padding),
            Self::Same => {
                let n = len.div_ceil(stride);
                let seen = n.saturating_sub(1) * stride + k;
                (n, seen.saturating_sub(len) / 2)
            }
        }
    }

    /// The zeros before and after `len` pixels that windows of `k` pixels see.
    pub fn sides(self, len: usize, k: usize, stride: usize) -> [usize; 2] {
        let (n, before) = self.windows(len, k, stride);
        match self {
            Self::Symmetric(padding) => [padding; 2],
            Self::Same => [before, (n.saturating_sub(1) * stride + k).saturating_sub(len + before)],
        }
    }
}

/// Returns the number of windows of `k` that fit into `len` with `padding` on both sides.
pub(crate) fn n_windows(len: usize, k: usize, stride: usize, padding: usize) -> usize {
    (len + 2 * padding).checked_sub(k).map_or(0, |room| room / stride + 1)
}
