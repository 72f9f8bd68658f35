//! Readers of data sets: CIFAR's pickles, label tables, archives, the results of earlier scans.
//!
//! CIFAR's binary version has no reader here: a file must have exactly the official length, and holds no lengths, names or
//! counts. Its unit tests change its files instead.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use tallow_core::{Silent, StopFlag};
use tallow_dataset::cifar::load_cifar_python;
use tallow_dataset::fetch::{FetchRequest, FileSpec, Spec, Which, fetch};
use tallow_dataset::folder::{Listing, ListingOptions, list};
use tallow_dataset::{PhotographsRequest, descriptors, load_photographs};
use tar::EntryType;
use zip::write::SimpleFileOptions;

use super::pictures::png;
use super::{owned, scratch, text};

#[path = "../../../crates/dataset/tests/pickles/mod.rs"]
mod pickles;

/// The first bytes of a PNG: listings look at no more.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) fn cifar_batch(bytes: &[u8]) -> bool {
    cifar("data_batch_1", bytes)
}

pub(super) fn cifar_names(bytes: &[u8]) -> bool {
    cifar("batches.meta", bytes)
}

/// Reads a small CIFAR-10 with `bytes` in place of one of its files.
fn cifar(file: &str, bytes: &[u8]) -> bool {
    let folder = scratch();
    pickles::write_folder(folder.path(), 1);
    fs::write(folder.path().join(file), bytes).expect("a file");
    let Ok(data) = load_cifar_python(folder.path()) else { return false };
    let n_classes = data.train.class_names().len() as u32;
    assert!(data.train.labels().iter().all(|label| *label < n_classes));
    (0..data.train.len()).for_each(|i| drop(data.train.read(i).expect("a picture in memory")));
    true
}

pub(super) fn cifar_batches() -> Vec<Vec<u8>> {
    let data = pickles::image_row(7);
    let two = pickles::batch("labels", &[3, 9], &[data.clone(), data.clone()].concat());
    let by_columns = {
        let mut bytes = pickles::batch("labels", &[3], &data);
        // the flag after the type's state: true for data that are stored column by column
        let flag = bytes.windows(3).position(|window| window == b"tb\x89").expect("the flag") + 2;
        bytes[flag] = 0x88;
        bytes
    };
    let text = b"(dp0\nS'labels'\np1\n(lp2\nI3\nasS'data'\nVx\ns.".to_vec();
    vec![two, by_columns, text, pickles::batch("fine_labels", &[3], &data), b"\x80\x05}.".to_vec()]
}

pub(super) fn cifar_name_lists() -> Vec<Vec<u8>> {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "<j>"];
    let listed = |open: &[u8]| {
        let mut bytes = [&b"\x80\x02}q\x01U\x0blabel_names"[..], open].concat();
        for name in names {
            bytes.extend([b'U', name.len() as u8]);
            bytes.extend(name.as_bytes());
        }
        bytes
    };
    let list = [listed(b"]("), b"es.".to_vec()].concat();
    let tuple = [listed(b"("), b"ts.".to_vec()].concat();
    let text = format!("(dp0\nVlabel_names\n(l{}s.", names.map(|name| format!("V{name}\na")).concat());
    vec![list, tuple, text.into_bytes()]
}

/// Lists what a table beside a few pictures says.
pub(super) fn label_table(bytes: &[u8]) -> bool {
    let folder = scratch();
    fs::create_dir(folder.path().join("more")).expect("a folder");
    for name in ["a.png", "b.png", "c d.jpg", "more/a.png", "more/e.png"] {
        fs::write(folder.path().join(name), PNG).expect("a file");
    }
    let table = folder.path().join("labels.csv");
    fs::write(&table, bytes).expect("a file");
    let data = scratch();
    let listing = list(&table, &ListingOptions::default(), data.path(), &Silent, &StopFlag::default());
    listing.is_ok_and(|listing| is_sound(&listing))
}

pub(super) fn label_tables() -> Vec<Vec<u8>> {
    owned(&[
        "file,label\na.png,cat\nb.png,dog\n",
        "\u{feff}image;class;split\r\n\"c d.jpg\";cat;train\r\nmore/e;\"d\r\nog\";test\r\nb;\"=1+1\";val\r\n",
        "a.png 0 cat\nmore/e.png 1 dog\n",
        "id\tlabel\r./a.png\tcat\rmore\\e.png\tdog\r",
        "file,label\n../a.png,cat\n/etc/hostname,dog\n",
    ])
}

/// Unpacks an archive and lists its pictures. Nothing may be written outside the data folder, and nothing of a refused archive
/// may stay.
pub(super) fn archive(bytes: &[u8]) -> bool {
    let folder = scratch();
    let (given, data) = (folder.path().join("given"), folder.path().join("data"));
    fs::write(&given, bytes).expect("a file");
    let listing = list(&given, &ListingOptions::default(), &data, &Silent, &StopFlag::default());
    let names = names_in(folder.path());
    assert!(names == ["given"] || names == ["data", "given"], "{names:?}");
    let unpacked = names_in(&data.join("unpacked"));
    assert!(unpacked.iter().filter(|name| *name != ".lock").count() <= 1, "{unpacked:?}");
    assert!(names_in(&data).iter().all(|name| name == "unpacked"));
    listing.is_ok_and(|listing| is_sound(&listing))
}

fn is_sound(listing: &Listing) -> bool {
    let n_classes = listing.class_names.len();
    assert!(n_classes >= 2 && listing.entries.iter().all(|entry| (entry.label as usize) < n_classes));
    true
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(super) fn archives() -> Vec<Vec<u8>> {
    let pictures = ["set/cat/1.png", "set/cat/2.png", "set/dog/1.png", "set/.DS_Store", "set/notes.txt"];
    let files =
        pictures.map(|name| (name, EntryType::Regular, if name.ends_with(".png") { PNG } else { b"text" }));
    let link = [("cat/1.png", EntryType::Symlink, &b""[..]), ("dog/1.png", EntryType::Link, &b""[..])];
    let out = [("../cat/1.png", EntryType::Regular, PNG), ("/dog/1.png", EntryType::Regular, PNG)];
    let swelled = vec![0; 100_000];
    let swelling = [("a/1.png", EntryType::Regular, PNG), ("b/1.png", EntryType::Regular, &swelled[..])];
    vec![
        zipped(&pictures),
        tarred(&files),
        gzipped(&tarred(&files)),
        zipped(&["cat\\1.png", "../dog/1.png", "cat/", "/etc/x"]),
        tarred(&link),
        tarred(&out),
        gzipped(&tarred(&swelling)),
    ]
}

fn zipped(names: &[&str]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in names {
        writer.start_file(*name, SimpleFileOptions::default()).expect("a member");
        writer.write_all(if name.ends_with(".png") { PNG } else { b"text" }).expect("a member");
    }
    writer.finish().expect("an archive").into_inner()
}

/// Returns a tar archive. Names are not checked.
fn tarred(members: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in members {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/hostname").expect("a short name");
        }
        header.set_cksum();
        builder.append(&header, *content).expect("a member");
    }
    builder.into_inner().expect("an archive")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("bytes in memory");
    encoder.finish().expect("bytes in memory")
}

/// Installs a data set of two small files from a local archive.
pub(super) fn official_archive(bytes: &[u8]) -> bool {
    let folder = scratch();
    let (given, data) = (folder.path().join("given"), folder.path().join("data"));
    fs::write(&given, bytes).expect("a file");
    let file = |name: &str, n_bytes| FileSpec { name: name.to_owned(), n_bytes, sha256: None };
    let spec = Spec {
        title: "Tiny".to_owned(),
        url: String::new(),
        archive: None,
        folder: "tiny".to_owned(),
        files: vec![file("a.bin", 4), file("b.bin", 3)],
        max_bytes: 1 << 20,
        check: None,
    };
    let from = Some(given.to_string_lossy().into_owned());
    let request = FetchRequest { spec, from, ..FetchRequest::new(Which::Cifar10, &data) };
    let is_fetched = fetch(&request, &Silent, &StopFlag::default()).is_ok();
    let length = |name: &str| fs::metadata(data.join("tiny").join(name)).map(|file| file.len()).ok();
    let expected = if is_fetched { [Some(4), Some(3)] } else { [None, None] };
    assert_eq!(["a.bin", "b.bin"].map(length), expected);
    is_fetched
}

pub(super) fn official_archives() -> Vec<Vec<u8>> {
    let file = |name: &'static str, content: &'static [u8]| (name, EntryType::Regular, content);
    let (a, b) = (file("tiny/a.bin", b"abcd"), file("./tiny/b.bin", b"efg"));
    vec![
        gzipped(&tarred(&[file("tiny/readme.txt", b"hello"), a, b])),
        gzipped(&tarred(&[a, file("./tiny/a.bin", b"abcd")])),
        gzipped(&tarred(&[file("../evil", b"x"), a, b])),
        b"<!doctype html>".to_vec(),
    ]
}

/// Stands for the path of the pictures in the results of a scan, as it is another path for every input.
const ROOT: &str = "@ROOT@";

/// Loads pictures with `bytes` as the results of an earlier scan.
pub(super) fn scan_results(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let folder = scratch();
    let results = scanned(folder.path());
    let root = folder.path().to_string_lossy();
    fs::write(&results, text.replace(ROOT, &root)).expect("a file");
    let Some(data) = load(folder.path()) else { return false };
    let of_train = data.dataset.normalization;
    assert!(of_train.mean.iter().chain(&of_train.std).all(|value| value.is_finite()), "{of_train:?}");
    let train = &data.dataset.train;
    descriptors(train, 0..train.len(), true).expect("pictures that can be read");
    true
}

pub(super) fn scans() -> Vec<Vec<u8>> {
    let folder = scratch();
    let results = fs::read_to_string(scanned(folder.path())).expect("a file");
    let results = results.replace(&*folder.path().to_string_lossy(), ROOT);
    vec![results.into_bytes(), b"1\n{}\n".to_vec()]
}

/// Makes a data set of six pictures in `folder`, scans it, and returns the file of the results.
fn scanned(folder: &Path) -> PathBuf {
    for (i, name) in ["cat/1", "cat/2", "cat/3", "dog/1", "dog/2", "dog/3"].iter().enumerate() {
        let path = folder.join(format!("set/{name}.png"));
        fs::create_dir_all(path.parent().unwrap_or(folder)).expect("a folder");
        fs::write(&path, png(2, 3, &[40 * i as u8; 18])).expect("a file");
        // results count only for a file of the same time
        let modified = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("a file");
    }
    load(folder).expect("a data set");
    let scans = folder.join("data/scans");
    scans.join(&names_in(&scans)[0])
}

fn load(folder: &Path) -> Option<tallow_dataset::Photographs> {
    let request = PhotographsRequest {
        path: &folder.join("set"),
        options: ListingOptions::default(),
        data_dir: &folder.join("data"),
        test_fraction: 0.3,
        skip_bad: false,
        is_all_test: false,
        keep: None,
    };
    load_photographs(&request, &Silent, &StopFlag::default()).ok().flatten()
}
