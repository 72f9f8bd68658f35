//! Reader of a pickle's bytes, and decoding of the texts of protocol 0.

/// Reads the bytes of a pickle in order.
#[derive(Default)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT: &str = "it is cut short";

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the position of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end)).ok_or(CUT)?;
        self.at += n;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| CUT.to_owned())
    }

    /// Reads an unsigned little-endian number of `n_bytes` bytes, at most 8.
    pub(super) fn length(&mut self, n_bytes: usize) -> Result<usize, String> {
        let mut bytes = [0; 8];
        bytes[..n_bytes].copy_from_slice(self.take(n_bytes)?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| CUT.to_owned())
    }

    /// Reads the rest of the line and returns it without the line end.
    pub(super) fn line(&mut self) -> Result<&'a [u8], String> {
        let n = self.bytes[self.at..].iter().position(|&byte| byte == b'\n').ok_or(CUT)?;
        let line = self.take(n)?;
        self.at += 1;
        Ok(line)
    }
}

/// Returns the number in `line`, which may end with the L of Python 2.
pub(super) fn number<T: std::str::FromStr>(line: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    text.trim_end_matches('L').parse().map_err(|_| format!("\"{}\" is not a number", line.escape_ascii()))
}

/// Decodes Python's byte string literal, given without its quotes.
pub(super) fn unescape(literal: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(literal.len());
    let mut rest = literal;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [b'x', tail @ ..]) => {
                let (code, tail) = hex(tail, 2)?;
                (code as u8, tail)
            }
            (b'\\', [escaped, tail @ ..]) => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'\\' | b'\'' | b'"' => *escaped,
                    other => return Err(format!("it has the unknown escape \\{}", other.escape_ascii())),
                };
                (byte, tail)
            }
            (b'\\', []) => return Err("it has a text that ends within an escape".into()),
            (&byte, tail) => (byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    Ok(bytes)
}

/// Decodes Python's "raw-unicode-escape": Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn unescape_unicode(line: &[u8]) -> Result<String, String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [first, tail @ ..] = rest {
        let (code, tail) = match (first, tail) {
            (b'\\', [b'u', tail @ ..]) => hex(tail, 4)?,
            (b'\\', [b'U', tail @ ..]) => hex(tail, 8)?,
            (&byte, tail) => (u32::from(byte), tail),
        };
        text.push(
            char::from_u32(code)
                .ok_or_else(|| format!("it has the code {code:#x}, which is not a character"))?,
        );
        rest = tail;
    }
    Ok(text)
}

/// Returns the number that the first `n_digits` hexadecimal digits of `text` give, and the rest of `text`.
fn hex(text: &[u8], n_digits: usize) -> Result<(u32, &[u8]), String> {
    let (digits, rest) = text.split_at_checked(n_digits).ok_or("it has a text that ends within an escape")?;
    let number = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let number = number.ok_or_else(|| format!("it has the unknown escape \"{}\"", digits.escape_ascii()))?;
    Ok((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_pythons() {
        assert_eq!(unescape(br"a\x00\xff\n\\\'").unwrap(), b"a\x00\xff\n\\'");
        assert!(unescape(br"\q").unwrap_err().contains(r"\q"));
        assert!(unescape(br"\x0").is_err() && unescape(b"\\").is_err());
        assert_eq!(
            unescape_unicode(b"caf\xe9 \\u20ac \\U0001f600 \\d").unwrap(),
            "caf\u{e9} \u{20ac} \u{1f600} \\d"
        );
        assert!(unescape_unicode(b"\\ud800").unwrap_err().contains("0xd800"));
        assert_eq!(number::<i64>(b"-12L").unwrap(), -12);
        assert!(number::<i64>(b"").is_err());
    }
}
