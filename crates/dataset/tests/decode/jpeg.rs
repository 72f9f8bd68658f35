//! Writes JPEGs for tests, of blocks with one value each. Every colour model, sampling and order of scans can be made,
//! with samples that are known exactly.
//!
//! A block has one coefficient, its mean. With quantiser 8, a step of the coefficient is a step of the samples. So two
//! small code tables are enough: one gives the number of bits of a difference, in four bits; the other ends a block.

/// Code table for the number of bits of a difference: twelve codes of four bits.
const DC_TABLE: [u8; 29] =
    [0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// Code table for the other coefficients: `00` is a value after no zeros, `01` the end of a block.
const AC_TABLE: [u8; 19] = [0x10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0];

/// Description of a JPEG to be written.
pub(crate) struct Jpeg<'a> {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Name and sampling factors (horizontal, vertical) of each component.
    pub(crate) components: &'a [(u8, usize, usize)],
    /// Components of each scan.
    pub(crate) scans: &'a [&'a [usize]],
    /// Number of units between restarts; 0 for no restarts.
    pub(crate) restart_interval: usize,
    /// Marker and body of segments before the frame.
    pub(crate) segments: &'a [(u8, &'a [u8])],
    /// Value of a block, by component, row and column.
    pub(crate) value: &'a dyn Fn(usize, usize, usize) -> u8,
}

impl Jpeg<'_> {
    /// Returns the bytes of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        for (marker, body) in self.segments {
            segment(&mut out, *marker, body);
        }
        segment(&mut out, 0xdb, &[&[0][..], &[8; 64]].concat());
        segment(&mut out, 0xc4, &DC_TABLE);
        segment(&mut out, 0xc4, &AC_TABLE);
        segment(&mut out, 0xdd, &(self.restart_interval as u16).to_be_bytes());
        let mut frame = vec![8];
        frame.extend((self.height as u16).to_be_bytes());
        frame.extend((self.width as u16).to_be_bytes());
        frame.push(self.components.len() as u8);
        for &(id, h, v) in self.components {
            frame.extend([id, (h << 4 | v) as u8, 0]);
        }
        segment(&mut out, 0xc0, &frame);
        for scan in self.scans {
            let ids = scan.iter().flat_map(|&c| [self.components[c].0, 0]);
            let header: Vec<u8> = [scan.len() as u8].into_iter().chain(ids).chain([0, 63, 0]).collect();
            segment(&mut out, 0xda, &header);
            self.data(scan, &mut out);
        }
        out.extend([0xff, 0xd9]);
        out
    }

    fn data(&self, scan: &[usize], out: &mut Vec<u8>) {
        let mut bits = Bits::default();
        let mut before = [128; 4];
        for (i, unit) in self.units(scan).iter().enumerate() {
            if self.restart_interval > 0 && i > 0 && i % self.restart_interval == 0 {
                std::mem::take(&mut bits).flush(out);
                out.extend([0xff, 0xd0 + ((i / self.restart_interval - 1) % 8) as u8]);
                before = [128; 4];
            }
            for &(component, row, column) in unit {
                let value = i32::from((self.value)(component, row, column));
                let difference = value - before[component];
                before[component] = value;
                let n_bits = 32 - difference.unsigned_abs().leading_zeros();
                bits.put(n_bits, 4);
                bits.put((difference - i32::from(difference < 0)) as u32 & ((1 << n_bits) - 1), n_bits);
                bits.put(0b01, 2);
            }
        }
        bits.flush(out);
    }

    /// Returns the blocks (component, row, column) of each unit of a scan.
    fn units(&self, scan: &[usize]) -> Vec<Vec<(usize, usize, usize)>> {
        let largest =
            |side: fn(&(u8, usize, usize)) -> usize| self.components.iter().map(side).max().unwrap();
        let (h_max, v_max) = (largest(|c| c.1), largest(|c| c.2));
        let mut units = Vec::new();
        if let &[component] = scan {
            let (_, h, v) = self.components[component];
            let rows = (self.height * v).div_ceil(v_max).div_ceil(8);
            let columns = (self.width * h).div_ceil(h_max).div_ceil(8);
            units.extend(
                (0..rows).flat_map(|row| (0..columns).map(move |column| vec![(component, row, column)])),
            );
            return units;
        }
        for y in 0..self.height.div_ceil(8 * v_max) {
            for x in 0..self.width.div_ceil(8 * h_max) {
                let mut unit = Vec::new();
                for &component in scan {
                    let (_, h, v) = self.components[component];
                    unit.extend((0..v).flat_map(|j| (0..h).map(move |i| (component, y * v + j, x * h + i))));
                }
                units.push(unit);
            }
        }
        units
    }
}

/// Appends a segment with its length.
pub(crate) fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend_from_slice(body);
}

/// A sequence of bits, the highest first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, n_bits: u32) {
        self.0.extend((0..n_bits).rev().map(|i| value >> i & 1 == 1));
    }

    /// Appends the bits as bytes: the last byte is filled up with ones, and each 255 is followed by 0.
    fn flush(mut self, out: &mut Vec<u8>) {
        self.0.resize(self.0.len().next_multiple_of(8), true);
        for byte in self.0.chunks(8) {
            let byte = byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
        }
    }
}
