//! TensorBoard's event files without their times. Only as much of the format is read as is needed to find these.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

/// The name of an event file up to the time in it.
pub(super) const PREFIX: &str = "events.out.tfevents.";

/// The fields that hold times, each by the numbers of the fields around it: the time of an event; the start of the run, and its
/// end, in the hyper-parameters.
const TIMES: [&[u64]; 3] = [&[1], &[5, 1, 9, 1, 2, 3, 5], &[5, 1, 9, 1, 2, 4, 2]];

/// The scalar that is a rate: its tag, and the fields that hold values and their tags.
const RATE: &[u8] = b"images_per_second";
const VALUES: [u64; 2] = [5, 1];
const TAG: u64 = 1;

/// Returns the records of an event file, one after another, with zeros in place of times, and without rates.
pub(super) fn untimed(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        // the length and its checksum, the record and its checksum; both checksums cover times
        let (length, rest) = bytes.split_first_chunk::<8>().context("it ends in a length")?;
        let n_bytes = usize::try_from(u64::from_le_bytes(*length))?;
        ensure!(rest.len() >= 8 && rest.len() - 8 >= n_bytes, "it ends in a record");
        let mut record = rest[4..4 + n_bytes].to_vec();
        for path in TIMES {
            zero(&mut record, path)?;
        }
        all.extend(without_rate(&record)?);
        bytes = &rest[8 + n_bytes..];
    }
    Ok(all)
}

/// Returns a record without the rate, and without the length of its values. The rate is missing if a process was stopped at the end
/// of an epoch, as the next one takes no step in it.
fn without_rate(record: &[u8]) -> Result<Vec<u8>> {
    let Some(values) = places(record, &VALUES[..1])?.into_iter().next() else { return Ok(record.to_vec()) };
    let n_length_bytes = (1..).find(|n| values.len() >> (7 * n) == 0).unwrap_or(1);
    let mut kept = record[..values.start - n_length_bytes].to_vec();
    for value in places(record, &VALUES)? {
        let value = &record[value];
        let is_rate = places(value, &[TAG])?.into_iter().any(|tag| &value[tag] == RATE);
        if !is_rate {
            kept.extend(value);
        }
    }
    Ok(kept)
}

/// Overwrites the fields at `path` with zeros.
fn zero(message: &mut [u8], path: &[u64]) -> Result<()> {
    for place in places(message, path)? {
        message[place].fill(0);
    }
    Ok(())
}

/// Returns the places of the payloads of the fields at `path`.
fn places(message: &[u8], path: &[u64]) -> Result<Vec<Range<usize>>> {
    let Some((number, inner)) = path.split_first() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (_, place) in fields(message)?.into_iter().filter(|(n, _)| n == number) {
        if inner.is_empty() {
            found.push(place);
            continue;
        }
        let below = places(&message[place.clone()], inner)?;
        found.extend(below.into_iter().map(|range| place.start + range.start..place.start + range.end));
    }
    Ok(found)
}

/// Returns the fields of a message: their numbers, and the places of their payloads.
fn fields(message: &[u8]) -> Result<Vec<(u64, Range<usize>)>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let key = varint(message, &mut at)?;
        let n_bytes = match key & 7 {
            0 => {
                let start = at;
                varint(message, &mut at)?;
                found.push((key >> 3, start..at));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(message, &mut at)?)?,
            5 => 4,
            other => bail!("a field has the wire type {other}"),
        };
        ensure!(message.len() - at >= n_bytes, "a field ends early");
        found.push((key >> 3, at..at + n_bytes));
        at += n_bytes;
    }
    Ok(found)
}

fn varint(message: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at).context("a number ends early")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number has too many bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, payload.len() as u8], payload].concat()
    }

    /// An event at `time` with a scalar, framed as a record.
    fn record(time: f64, tag: &[u8], scalar: f32) -> Vec<u8> {
        let value = [field(1, tag), [&[2 << 3 | 5][..], &scalar.to_le_bytes()].concat()].concat();
        let event = [
            [&[1 << 3 | 1][..], &time.to_le_bytes()].concat(),
            vec![2 << 3, 0x96, 1],
            field(5, &field(1, &value)),
        ];
        let event = event.concat();
        [&(event.len() as u64).to_le_bytes()[..], b"crcs", &event, b"crcs"].concat()
    }

    #[test]
    fn times_and_rates_are_taken_out_and_nothing_else() {
        let of = |time, tag: &[u8], scalar| untimed(&record(time, tag, scalar)).unwrap();
        assert_eq!(of(1.0, b"loss", 2.0), of(3.0, b"loss", 2.0));
        assert_ne!(of(1.0, b"loss", 2.0), of(1.0, b"loss", 2.5));
        assert_ne!(of(1.0, b"loss", 2.0), of(1.0, b"lost", 2.0));
        assert_eq!(of(1.0, RATE, 2.0), of(1.0, RATE, 2.5));
        let two = [record(1.0, b"a", 0.5), record(2.0, b"a", 0.5)].concat();
        assert_eq!(untimed(&two).unwrap(), of(3.0, b"a", 0.5).repeat(2));
        assert!(untimed(&two[..two.len() - 1]).is_err());

        // the end of a session: value, metadata, plugin, content, end
        let end = [&[2 << 3 | 1][..], &7f64.to_le_bytes()].concat();
        let nested = [4, 2, 1, 9, 1, 5].iter().fold(end, |inner, &number| field(number, &inner));
        let framed = [&(nested.len() as u64).to_le_bytes()[..], b"crcs", &nested, b"crcs"].concat();
        assert!(untimed(&framed).unwrap().ends_with(&[0; 8]));
    }
}
