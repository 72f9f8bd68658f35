//! Parses and checks the headers of a JPEG's frame and scans (ITU-T T.81, B.2.2 and B.2.3).

use super::{DecodeError, Format};

/// A component of the frame.
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal sampling factor, 1 to 4: blocks side by side in a unit of the scan.
    pub(super) horizontal: u8,
    /// Vertical sampling factor, 1 to 4: blocks on top of each other in a unit of the scan.
    pub(super) vertical: u8,
    /// Number of the component's quantisation table.
    pub(super) table: u8,
}

/// The frame header.
pub(super) struct Frame {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) is_progressive: bool,
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// Parses the marker's code and the body of its segment.
    pub(super) fn read(marker: u8, body: &[u8]) -> Result<Self, DecodeError> {
        match marker {
            0xc0..=0xc2 => {}
            0xc3 => return Err(unsupported("lossless JPEG")),
            0xc9..=0xcf => return Err(unsupported("JPEG with arithmetic coding")),
            _ => return Err(unsupported("hierarchical JPEG")),
        }
        let &[precision, h1, h0, w1, w0, n_components, ref rest @ ..] = body else {
            return Err(damaged("a frame header with too few bytes"));
        };
        if precision != 8 {
            return Err(unsupported(format!("{precision}-bit JPEG")));
        }
        if !matches!(n_components, 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG of {n_components} channels")));
        }
        let mut components: Vec<Component> = rest.as_chunks().0.iter().map(Component::read).collect();
        let is_factor = |n: u8| (1..=4).contains(&n);
        let is_sound = |c: &Component| is_factor(c.horizontal) && is_factor(c.vertical);
        if rest.len() != 3 * usize::from(n_components) || !components.iter().all(is_sound) {
            return Err(damaged("a frame header that contradicts itself"));
        }
        if let [only] = &mut *components {
            (only.horizontal, only.vertical) = (1, 1); // a single component is not subsampled, whatever the header says
        }
        let [height, width] = [[h1, h0], [w1, w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        if height == 0 || width == 0 {
            return Err(damaged("a side of 0 pixels"));
        }
        Ok(Self { height, width, is_progressive: marker == 0xc2, components })
    }

    /// Returns the samples of all components per pixel, rounded up.
    pub(super) fn samples_per_px(&self) -> u64 {
        let area = |c: &Component| u64::from(c.horizontal) * u64::from(c.vertical);
        let largest =
            |side: fn(&Component) -> u8| self.components.iter().map(side).max().map_or(1, u64::from);
        let full = largest(|c| c.horizontal) * largest(|c| c.vertical);
        self.components.iter().map(area).sum::<u64>().div_ceil(full)
    }

    /// Returns whether the sampling factors of the first component are powers of two, and those of all others are 1.
    pub(super) fn is_sampling_usual(&self) -> bool {
        let Some((first, others)) = self.components.split_first() else { return true };
        let is_one = |c: &Component| c.horizontal == 1 && c.vertical == 1;
        first.horizontal.is_power_of_two() && first.vertical.is_power_of_two() && others.iter().all(is_one)
    }
}

impl Component {
    fn read(&[id, sampling, table]: &[u8; 3]) -> Self {
        Self { id, horizontal: sampling >> 4, vertical: sampling & 15, table }
    }
}

/// A scan header.
pub(super) struct Scan {
    /// Each component's index in the frame and the numbers of its code tables.
    pub(super) components: Vec<(usize, u8)>,
    /// First coefficient of the scan.
    pub(super) first: u8,
    /// Last coefficient of the scan.
    pub(super) last: u8,
    /// Lowest bit that earlier scans sent; 0 if there was none.
    high_bit: u8,
    /// Lowest bit that is known after this scan.
    pub(super) low_bit: u8,
}

impl Scan {
    /// Parses the body of a scan header's segment.
    pub(super) fn read(body: &[u8], frame: &Frame) -> Result<Self, DecodeError> {
        let wrong = || damaged("a scan header that contradicts itself");
        let [n_components, rest @ .., first, last, bits] = body else { return Err(wrong()) };
        let (components, []) = rest.as_chunks::<2>() else { return Err(wrong()) };
        let place = |&[id, tables]: &[u8; 2]| {
            frame
                .components
                .iter()
                .position(|component| component.id == id)
                .map(|i| (i, tables))
                .ok_or_else(wrong)
        };
        let components = components.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        if components.len() != usize::from(*n_components)
            || components.is_empty()
            || *first > 63
            || *last > 63
        {
            return Err(wrong());
        }
        Ok(Self { components, first: *first, last: *last, high_bit: bits >> 4, low_bit: bits & 15 })
    }

    /// Returns whether the scan refines the coefficients by one bit, instead of sending their first bits.
    pub(super) fn is_refinement(&self) -> bool {
        self.high_bit > 0
    }
}

/// Returns the error for a file that ends before the picture does.
pub(super) fn truncated() -> DecodeError {
    DecodeError::Truncated { format: Format::Jpeg }
}

/// Returns the error for a file that contradicts itself.
pub(super) fn damaged(reason: impl Into<String>) -> DecodeError {
    DecodeError::Damaged { format: Format::Jpeg, reason: reason.into() }
}

fn unsupported(what: impl Into<String>) -> DecodeError {
    DecodeError::Unsupported { format: Format::Jpeg, what: what.into() }
}
