//! The digest that a safetensors file carries of itself.
//!
//! It is the last entry of the JSON object under [`METADATA_KEY`](crate::METADATA_KEY): `…,"file_digest":"<64 digits>"}`. It is
//! the SHA-256 of the whole file, with zeros in place of its own digits. So it covers every byte: the length of the header,
//! the names, types, shapes, places and numbers of the tensors, the rest of the metadata, and the padding. A damaged byte
//! among the digits changes what is expected, so it is noticed as well. Another program needs only SHA-256 to check a file.
//!
//! Damage to the entry's name or to the marks around it leaves a file without a digest. Then the object is no JSON, or has an
//! unknown entry. A reader that refuses both notices this damage, too.

use tallow_core::digest::Hasher;

use crate::error::{NnError, Result};

/// Name of the entry.
const KEY: &str = "file_digest";

/// Number of hexadecimal digits.
const N_DIGITS: usize = 64;

/// Returns the JSON object `metadata` with an entry for the digest; its digits are zeros.
pub(crate) fn with_place(metadata: &str) -> Result<String> {
    match metadata.strip_suffix('}').filter(|object| object.starts_with('{') && object.len() > 1) {
        Some(object) => Ok(format!("{object},\"{KEY}\":\"{}\"}}", zeros())),
        None => Err(NnError::Format("its metadata is no JSON object with an entry".into())),
    }
}

/// Writes the digest into the file `bytes`, whose metadata [`with_place`] returned.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    let no_place = || NnError::Format("its metadata has no place for a digest".into());
    let place = place(bytes, &zeros()).ok_or_else(no_place)?;
    let digest = digest(bytes, place);
    bytes[place..place + N_DIGITS].copy_from_slice(digest.as_bytes());
    Ok(())
}

/// Checks the digest of the file `bytes`, if its metadata `text` ends with one. Returns the metadata without it.
///
/// # Errors
/// [`NnError::Digest`] if the file has another digest.
pub(crate) fn check(bytes: &[u8], text: String) -> Result<String> {
    let Some((object, digits)) = split(&text) else { return Ok(text) };
    match place(bytes, digits).is_some_and(|place| digest(bytes, place) == digits) {
        true => Ok(format!("{object}}}")),
        false => Err(NnError::Digest),
    }
}

/// Whether the metadata `text` ends with a digest.
pub(crate) fn is_in(text: &str) -> bool {
    split(text).is_some()
}

/// Splits metadata into the object before the digest's entry, without its closing brace, and the digits.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_suffix("\"}")?;
    let (before, digits) = text.split_at_checked(text.len().checked_sub(N_DIGITS)?)?;
    Some((before.strip_suffix(&format!(",\"{KEY}\":\""))?, digits))
}

/// Returns the position of `digits` in the header of the file `bytes`. The header has the metadata as a JSON string, so a
/// backslash stands before each quotation mark. In the name of a class or tensor there would be more of them.
fn place(bytes: &[u8], digits: &str) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let before = format!(r#"\"{KEY}\":\""#);
    let at = std::str::from_utf8(header).ok()?.find(&format!("{before}{digits}"))?;
    Some(length.len() + at + before.len())
}

fn digest(bytes: &[u8], place: usize) -> String {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..place]);
    hasher.update(zeros().as_bytes());
    hasher.update(&bytes[place + N_DIGITS..]);
    hasher.finish()
}

fn zeros() -> String {
    "0".repeat(N_DIGITS)
}
