//! Decoding of a corpus of pictures from users' folders, each with its expected result.
//!
//! The corpus is not part of the repository. The variable `TALLOW_FIELD` names a folder with `EXPECTED.json` and either
//! `corpus/` or `corpus.tar.gz`. If it is not set, the test says so and passes. The tests in `decode/` rebuild the most
//! telling cases.
#![expect(clippy::print_stdout, reason = "says that nothing was checked")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;
use tallow_dataset::decode::{DecodeError, Image, decode, probe};

/// Kinds of cases in which each file is checked on its own.
const KINDS: [&str; 6] =
    ["decoding", "damaged files", "sizes", "predicting", "names", "models and data drift"];

#[test]
fn every_picture_of_the_field_corpus_has_its_best_outcome() {
    let Some(field) = env::var_os("TALLOW_FIELD").map(PathBuf::from) else {
        println!("TALLOW_FIELD is not set: nothing was checked");
        return;
    };
    let expected: Value = serde_json::from_slice(&fs::read(field.join("EXPECTED.json")).unwrap()).unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    let corpus = corpus(&field, unpacked.path());
    let (mut n_checked, mut troubles) = (0, Vec::new());
    for (name, case) in expected["cases"].as_object().unwrap() {
        if !KINDS.contains(&case["kind"].as_str().unwrap()) {
            continue;
        }
        let root = corpus.join(name).join(case["root"].as_str().unwrap());
        for (file, trouble) in check_case(case, &root) {
            n_checked += 1;
            troubles.extend(trouble.map(|trouble| format!("{name}/{file}: {trouble}")));
        }
    }
    assert!(n_checked > 100, "only {n_checked} files of the corpus were found");
    assert!(troubles.is_empty(), "{} of {n_checked} files:\n{}", troubles.len(), troubles.join("\n"));
}

/// Returns `corpus/`, or the archive unpacked into `folder` with its links.
fn corpus(field: &Path, folder: &Path) -> PathBuf {
    let unpacked = field.join("corpus");
    if unpacked.is_dir() {
        return unpacked;
    }
    let archive = fs::File::open(field.join("corpus.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(folder).unwrap();
    folder.to_owned()
}

/// Decodes each file of a case. Returns its name and the difference from the expected result.
fn check_case(case: &Value, root: &Path) -> Vec<(String, Option<String>)> {
    let mut checked = Vec::new();
    let unsupported: Vec<&str> = texts(&case["unsupported_ok"]);
    for (file, picture) in case["images"].as_object().unwrap() {
        let bytes = fs::read(root.join(path_of(file, picture))).unwrap();
        let trouble = match decode(&bytes) {
            Err(DecodeError::Unsupported { .. }) if unsupported.contains(&&**file) => None,
            Err(e) => Some(e.to_string()),
            Ok(decoded) => {
                let probed = probe(&bytes).map(|p| (p.format, p.height, p.width));
                let image = &decoded.image;
                check_picture(picture, image).or_else(|| {
                    let same = probed == Ok((decoded.format, image.height, image.width));
                    (!same).then(|| format!("the header alone says {probed:?}"))
                })
            }
        };
        checked.push((file.clone(), trouble));
    }
    for bad in case["bad_files"].as_array().unwrap() {
        let file = bad["path"].as_str().unwrap();
        if let Ok(bytes) = fs::read(root.join(file)) {
            let trouble = decode(&bytes).is_ok().then(|| format!("decodes, but: {}", bad["reason"]));
            checked.push((file.to_owned(), trouble));
        }
    }
    checked
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// Returns a name as the file system has it. The corpus also gives the bytes of names that are not valid UTF-8.
#[cfg(unix)]
fn path_of(file: &str, picture: &Value) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let Some(hex) = picture["path_hex"].as_str() else { return file.into() };
    let byte = |i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    std::ffi::OsString::from_vec((0..hex.len() / 2).map(byte).collect()).into()
}

#[cfg(not(unix))]
fn path_of(file: &str, _: &Value) -> PathBuf {
    file.into()
}

/// Returns the first difference in a picture's size, pixels or mean.
fn check_picture(expected: &Value, image: &Image) -> Option<String> {
    let size = serde_json::json!([image.width, image.height]);
    if expected["size"] != size {
        return Some(format!("size {size}, {} is expected", expected["size"]));
    }
    let tolerance = expected["tolerance"].as_f64().unwrap();
    let wrong_pixel = |points: &Value| {
        points.as_array().unwrap().iter().find_map(|point| {
            let [x, y] = [0, 1].map(|i| point["at"][i].as_u64().unwrap() as usize);
            let found = &image.pixels[3 * (y * image.width + x)..][..3];
            (!is_near(&point["rgb"], found.iter().map(|&v| v.into()), tolerance))
                .then(|| format!("at ({x}, {y}) {found:?}, {} is expected", point["rgb"]))
        })
    };
    if let Some(points) = expected.get("pixels")
        && let Some(trouble) = wrong_pixel(points)
    {
        return Some(trouble);
    }
    // The corpus accepts several policies for transparency, and one must match; ours is a white background.
    if let Some(policies) = expected.get("pixels_any_of").and_then(Value::as_object) {
        let troubles: Vec<_> = policies.iter().map(|(name, points)| (name, wrong_pixel(points))).collect();
        if troubles.iter().all(|(_, trouble)| trouble.is_some()) {
            return Some(format!("{troubles:?}"));
        }
    }
    let n_px = (image.height * image.width) as f64;
    let sum = |channel| image.pixels.iter().skip(channel).step_by(3).map(|&v| f64::from(v)).sum::<f64>();
    let mean = [0, 1, 2].map(|channel| sum(channel) / n_px);
    let mean_tolerance = expected["mean_tolerance"].as_f64().unwrap_or(0.0);
    let is_mean = expected.get("mean").is_none_or(|m| is_near(m, mean.into_iter(), mean_tolerance));
    (!is_mean).then(|| format!("mean {mean:?}, {} is expected", expected["mean"]))
}

fn is_near(expected: &Value, found: impl Iterator<Item = f64>, tolerance: f64) -> bool {
    let expected = expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
    expected.zip(found).all(|(expected, found)| (expected - found).abs() <= tolerance)
}
