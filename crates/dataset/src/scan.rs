//! Scans every picture before training begins: finds the pictures that cannot be read, and the facts about the others.
//!
//! The results are stored in a file in the data folder, keyed by path, size and modification time of each picture, so
//! that the next start decodes only new pictures. The scan also fits the pictures to the model's input size, if there
//! is enough memory to keep them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallow_core::digest::{self, Hasher};
use tallow_core::{Bar, Progress, StopFlag, Unit, files, memory, path_text};
use tracing::debug;

use crate::decode::{self, DecodeError, Format, decode};
use crate::files::read_file;
use crate::fit::{Fitter, Preprocess};
use crate::loader::decoders;
use crate::near_duplicates::fields;
use crate::source::{Facts, Levels, Picture};
use crate::{BadPicture, Error};

/// Version of the file of scan results. It changes whenever a picture would be decoded to different pixels.
const VERSION: u32 = 1;
/// Largest file of scan results that is read, in bytes.
const MAX_FINDINGS_BYTES: u64 = 4 << 30;

/// Formats of pictures that can be read.
const READ: [Format; 6] = [Format::Jpeg, Format::Png, Format::WebP, Format::Gif, Format::Bmp, Format::Tiff];

/// Reason why a picture cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file is damaged, or is not a picture.
    Bad(BadPicture),
    /// The picture is of a kind that is not supported.
    Unsupported { path: PathBuf, what: String },
}

/// Result of the scan for one file: its facts, and its pixels at the model's input size if they are kept.
pub(crate) type Finding = Result<(Facts, Option<Box<[u8]>>), Fault>;

/// A line of the file of scan results.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Text of the path.
    path: String,
    n_bytes: u64,
    modified_ns: u64,
    identity: String,
    size_px: [u32; 2],
    n: u64,
    sums: [u64; 3],
    squares: [u64; 3],
    fields: String,
    is_turned: bool,
    format: String,
}

/// Scans all `paths`. Returns `None` if `stop` was raised. The results are stored in a file in `folder`, named after
/// `root`.
pub(crate) fn scan(
    root: &Path,
    paths: &[PathBuf],
    folder: &Path,
    keep: Option<Preprocess>,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Vec<Finding>>, Error> {
    let kept_in = file_of(root, folder);
    let known = read(&kept_in);
    let (started, n_done) = (Instant::now(), AtomicU64::new(0));
    let n_new = paths.iter().filter(|path| known_of(path, &known).is_none()).count();
    let label = if n_new == 0 { "checking pictures" } else { "looking at pictures" };
    let bar = Bar::begin(progress, label, Some(paths.len() as u64), Unit::Items("pictures"));
    let look = |path: &PathBuf| {
        if stop.raised().is_some() {
            return None;
        }
        let finding = match known_of(path, &known) {
            Some(facts) => Ok((facts, None)),
            None => look_at(path, keep),
        };
        bar.advance(n_done.fetch_add(1, Ordering::Relaxed) + 1);
        Some(finding)
    };
    let findings =
        decoders()?.install(|| paths.par_iter().with_max_len(1).map(look).collect::<Option<Vec<_>>>());
    drop(bar);
    let Some(findings) = findings else { return Ok(None) };
    if n_new > 0 {
        write(&kept_in, paths, &findings)?;
    }
    let n_bad = findings.iter().filter(|finding| finding.is_err()).count();
    let (pictures, secs) = (paths.len(), started.elapsed().as_secs_f64());
    debug!(pictures, decoded = n_new, bad = n_bad, secs, "pictures scanned");
    Ok(Some(findings))
}

/// Reads and decodes one file.
fn look_at(path: &PathBuf, keep: Option<Preprocess>) -> Finding {
    let bad = |reason: String| Fault::Bad(BadPicture { path: path.clone(), reason });
    let bytes = read_file(path).map_err(Fault::Bad)?;
    let decoded = decode(&bytes).map_err(|e| match e {
        DecodeError::Unsupported { what, .. } => Fault::Unsupported { path: path.clone(), what },
        e => bad(e.to_string()),
    })?;
    let mut hasher = Hasher::new();
    hasher.update(&bytes);
    let (format, is_turned) = (decoded.format.name(), decoded.is_turned);
    let decode::Image { height, width, ref pixels } = decoded.image;
    let picture = Picture { height, width, channels: 3, pixels: pixels.into() };
    let facts = Facts {
        identity: hasher.finish_bytes(),
        size_px: [height as u32, width as u32],
        levels: Levels::of(pixels, 3),
        fields: fields(&picture),
        is_turned,
        format,
    };
    let fitted = keep.and_then(|preprocess| {
        let mut out = memory::filled(0, preprocess.size_px.iter().product::<usize>() * 3);
        let mut fitter = Fitter::new(preprocess).ok()?;
        fitter.apply(pixels, [height, width, 3], &mut out).ok()?;
        Some(out.into_boxed_slice())
    });
    Ok((facts, fitted))
}

/// Returns the path of the file of scan results for `root`.
fn file_of(root: &Path, folder: &Path) -> PathBuf {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let name = digest::of_bytes(whole.as_os_str().as_encoded_bytes());
    folder.join("scans").join(format!("{}.jsonl", &name[..16]))
}

/// Returns the key of a scan result: the path's text, size and modification time. `None` if the file does not exist.
fn stamp(path: &Path) -> Option<(String, u64, u64)> {
    let metadata = path.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((path_text(path), metadata.len(), modified.as_nanos() as u64))
}

fn known_of(path: &Path, known: &HashMap<String, Line>) -> Option<Facts> {
    if known.is_empty() {
        return None;
    }
    let (name, n_bytes, modified_ns) = stamp(path)?;
    let line = known.get(&name)?;
    if (line.n_bytes, line.modified_ns) != (n_bytes, modified_ns) {
        return None;
    }
    Some(Facts {
        identity: unhex(&line.identity)?.try_into().ok()?,
        size_px: line.size_px,
        levels: Levels { n: line.n, sums: line.sums, squares: line.squares },
        fields: unhex(&line.fields).filter(|fields| fields.len() == 8 * 8 * 3)?,
        is_turned: line.is_turned,
        format: READ.iter().map(|format| format.name()).find(|name| *name == line.format)?,
    })
}

/// Reads the stored scan results. Returns none if they cannot be read; the pictures are then scanned again.
fn read(path: &Path) -> HashMap<String, Line> {
    let Ok(bytes) = files::read_at_most(path, MAX_FINDINGS_BYTES) else { return HashMap::new() };
    let mut lines = bytes.split(|&byte| byte == b'\n');
    if lines.next() != Some(VERSION.to_string().as_bytes()) {
        return HashMap::new();
    }
    let parsed = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    parsed.map(|line| (line.path.clone(), line)).collect()
}

fn write(kept_in: &Path, paths: &[PathBuf], findings: &[Finding]) -> Result<(), Error> {
    let mut text = format!("{VERSION}\n").into_bytes();
    for (path, finding) in paths.iter().zip(findings) {
        let (Ok((facts, _)), Some((path, n_bytes, modified_ns))) = (finding, stamp(path)) else { continue };
        let line = Line {
            path,
            n_bytes,
            modified_ns,
            identity: digest::hex(&facts.identity),
            size_px: facts.size_px,
            n: facts.levels.n,
            sums: facts.levels.sums,
            squares: facts.levels.squares,
            fields: digest::hex(&facts.fields),
            is_turned: facts.is_turned,
            format: facts.format.to_owned(),
        };
        // a struct of numbers and texts can always be serialised
        text.extend(serde_json::to_vec(&line).unwrap_or_default());
        text.push(b'\n');
    }
    files::create_folder(files::folder_of(kept_in))?;
    Ok(files::write(kept_in, &text)?)
}

/// Decodes a text with two hexadecimal digits per byte.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().as_chunks::<2>();
    if !digits.1.is_empty() {
        return None;
    }
    let digit = |c: u8| (c as char).to_digit(16).map(|digit| digit as u8);
    digits.0.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
