//! Reads the records of TensorBoard's event files, with no code of the writer.

/// Computes the checksum bit by bit, from the polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// Returns the messages of the file's records. Checks every checksum, and that no bytes are left over.
#[track_caller]
pub(crate) fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut take = |n: usize| {
        let (head, rest) = bytes.split_at(n);
        bytes = rest;
        (head, rest.is_empty())
    };
    let mut records = Vec::new();
    loop {
        let length = take(8).0;
        let checked = |covered: &[u8], checksum: &[u8]| {
            let crc = u32::from_le_bytes(checksum.try_into().unwrap()).wrapping_sub(0xa282_ead8);
            assert_eq!(crc.rotate_left(15), crc32c(covered), "record {}", records.len());
        };
        checked(length, take(4).0);
        let message = take(u64::from_le_bytes(length.try_into().unwrap()) as usize).0;
        let (checksum, is_last) = take(4);
        checked(message, checksum);
        records.push(message);
        if is_last {
            return records;
        }
    }
}

/// Returns the fields of a message: number and content. The content of a numeric field is its bytes.
pub(crate) fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let n = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let value = bytes[..n].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        *bytes = &bytes[n..];
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let n = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, message[..n].to_vec()));
        message = &message[n..];
    }
    fields
}
