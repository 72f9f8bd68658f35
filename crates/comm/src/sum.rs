//! The sum over all ranks, in the order of a binary tree.
//!
//! Recursive halving, then doubling. In step `s`, a rank and its partner, whose numbers differ in bit `s`, have sums over `2^s`
//! ranks each of the same part of the data. Each sends the other half of the part and adds what it gets to its own half.
//! After the last step each rank has the sum over all ranks of its own part. Then the parts go back the same way.
//!
//! `a + b` and `b + a` have the same bits, so both partners, and every order of arrival, give the same sums.

use std::ops::Range;

use crate::error::CommError;
use crate::mesh::Mesh;

/// Bytes of a number.
const NUMBER_BYTES: usize = size_of::<f32>();

/// Sums `data` over all ranks. `exchange` sends numbers to a partner, and fills the last array with what the partner sent.
pub(crate) fn sum(
    rank: usize,
    world: usize,
    data: &mut [f32],
    exchange: impl Fn(usize, &[f32], &mut [f32]) -> Result<(), CommError>,
) -> Result<(), CommError> {
    if !world.is_power_of_two() {
        return Err(CommError::World { world });
    }
    let mut theirs = vec![0.0; data.len() - data.len() / 2];
    let mut own = 0..data.len();
    let mut halvings: Vec<(usize, Range<usize>, Range<usize>)> = Vec::new();
    for step in 0..world.trailing_zeros() {
        let partner = rank ^ (1 << step);
        let (kept, given) = halves(own, rank >> step & 1 == 1);
        let theirs = &mut theirs[..kept.len()];
        exchange(partner, &data[given.clone()], theirs)?;
        data[kept.clone()].iter_mut().zip(theirs).for_each(|(sum, x)| *sum += *x);
        halvings.push((partner, kept.clone(), given));
        own = kept;
    }
    for (partner, kept, given) in halvings.into_iter().rev() {
        let theirs = &mut theirs[..given.len()];
        exchange(partner, &data[kept], theirs)?;
        data[given].copy_from_slice(theirs);
    }
    Ok(())
}

/// Returns the half of `range` that a rank keeps, the upper one if `upper`, and the half that it gives away.
fn halves(range: Range<usize>, upper: bool) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    let (low, high) = (range.start..middle, middle..range.end);
    if upper { (high, low) } else { (low, high) }
}

/// Exchanges numbers over a mesh.
pub(crate) fn over_mesh(
    mesh: &Mesh,
    partner: usize,
    ours: &[f32],
    theirs: &mut [f32],
) -> Result<(), CommError> {
    let mut bytes = vec![0; ours.len() * NUMBER_BYTES];
    for (bytes, x) in bytes.chunks_exact_mut(NUMBER_BYTES).zip(ours) {
        bytes.copy_from_slice(&x.to_le_bytes());
    }
    mesh.send(partner, &bytes)?;
    let bytes = mesh.receive(partner)?;
    let (got, expected) = (bytes.len(), theirs.len() * NUMBER_BYTES);
    if got != expected {
        return Err(CommError::OutOfStep { rank: partner, got, expected });
    }
    for (x, bytes) in theirs.iter_mut().zip(bytes.chunks_exact(NUMBER_BYTES)) {
        *x = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(())
}
