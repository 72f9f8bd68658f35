//! The part of the protocol buffer wire format that event files need, and TFRecord's framing.
//!
//! # Source
//! <https://protobuf.dev/programming-guides/encoding/>; `tensorflow/core/lib/io/record_writer.cc`.

use crc::{CRC_32_ISCSI, Crc};

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const WITH_LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// A message under construction: its fields in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds an integer, an enum value, or a bool.
    pub(super) fn integer(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, FIXED_64);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds bytes, a string, or packed numbers.
    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, WITH_LENGTH);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(super) fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// Returns the message as it is embedded in another one.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the message as a record of a file: its length, a checksum of the length, the message, a checksum of the
    /// message.
    pub(super) fn to_record(&self) -> Vec<u8> {
        let length = (self.0.len() as u64).to_le_bytes();
        let checksum = |bytes: &[u8]| masked(CRC32C.checksum(bytes)).to_le_bytes();
        [&length[..], &checksum(&length), &self.0, &checksum(&self.0)].concat()
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    /// Appends a varint: seven bits per byte, the lowest first; the top bit is set if more bytes follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Masks a checksum as TFRecord does, by a rotation and a constant, so that checksums of data that contains checksums remain
/// useful.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(Message::default().integer(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().bytes(2, b"testing").0, b"\x12\x07testing");
        let inner = Message::default().integer(1, 150);
        assert_eq!(Message::default().message(3, &inner).0, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().integer(16, u64::MAX).0[..4], [0x80, 0x01, 0xff, 0xff]);
        assert_eq!(Message::default().float(2, 1.0).0, [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::default().double(1, -2.0).0, [0x09, 0, 0, 0, 0, 0, 0, 0, 0xc0]);
    }

    /// RFC 3720, appendix B.4: 32 bytes of zeros have the CRC32C 8a9136aa.
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(0), 0xa282_ead8);
        assert_eq!(masked(0x8000), 0xa282_ead9);
    }
}
