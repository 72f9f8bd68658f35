//! The messages between two ranks: a kind, a length, and that many bytes.

use std::io::{self, Read, Write};

/// Largest number of bytes of a message: 2^31 numbers, the largest network.
const MAX_BYTES: u64 = 8 << 30;

/// Number of bytes that are read between two signs of life.
const CHUNK_BYTES: usize = 1 << 16;

/// The kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes that an operation sends.
    Data,
    /// A sign of life.
    Beat,
    /// The sender is done.
    Bye,
    /// The sender fails; the content is the reason.
    Fail,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Data, Self::Beat, Self::Bye, Self::Fail];
}

/// Writes a message.
pub(crate) fn write(out: &mut impl Write, kind: Kind, content: &[u8]) -> io::Result<()> {
    let mut head = [0; 9];
    head[0] = kind as u8;
    head[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    out.write_all(&head)?;
    out.write_all(content)
}

/// Reads a message, and calls `alive` whenever some of it has come.
pub(crate) fn read(input: &mut impl Read, alive: impl Fn()) -> io::Result<(Kind, Vec<u8>)> {
    let mut head = [0; 9];
    input.read_exact(&mut head)?;
    alive();
    let [kind, len @ ..] = head;
    let (kind, len) = (Kind::ALL.get(usize::from(kind)).copied(), u64::from_le_bytes(len));
    let (Some(kind), true) = (kind, len <= MAX_BYTES) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it sent something that is no message"));
    };
    let mut content = Vec::new();
    let mut n_left = len as usize;
    while n_left > 0 {
        // the memory grows with what has come, and not with what was announced
        let (n_read, n) = (content.len(), n_left.min(CHUNK_BYTES));
        content.resize(n_read + n, 0);
        input.read_exact(&mut content[n_read..])?;
        alive();
        n_left -= n;
    }
    Ok((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = vec![7; 3 * CHUNK_BYTES + 1];
        let mut bytes = Vec::new();
        for (kind, content) in [(Kind::Data, &long[..]), (Kind::Beat, b""), (Kind::Fail, b"why")] {
            write(&mut bytes, kind, content).unwrap();
        }
        let mut input = &bytes[..];
        assert_eq!(read(&mut input, || ()).unwrap(), (Kind::Data, long));
        assert_eq!(read(&mut input, || ()).unwrap(), (Kind::Beat, vec![]));
        assert_eq!(read(&mut input, || ()).unwrap(), (Kind::Fail, b"why".to_vec()));
        assert_eq!(read(&mut input, || ()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_message_is_refused_before_memory_is_taken() {
        let http = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(read(&mut &http[..], || ()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let endless = [&[0][..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(read(&mut &endless[..], || ()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let announced = [&[0][..], &MAX_BYTES.to_le_bytes()].concat();
        assert_eq!(read(&mut &announced[..], || ()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
