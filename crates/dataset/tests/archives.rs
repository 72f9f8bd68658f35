//! Archives that are damaged or malicious, and the state of the data folder around a fetch.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use tallow_dataset::fetch::{FetchError, Fetched, Packing};
use tar::EntryType;

/// Fetches from a local archive of these bytes, which must be refused without leaving anything new. Returns the
/// message.
fn refusal(archive: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (from, data_dir) = (folder.path().join("local.tar.gz"), folder.path().join("data"));
    fs::write(&from, archive).unwrap();
    let message = run(&request(&data_dir, from.to_str().unwrap())).unwrap_err().to_string();
    assert_eq!(names_in(folder.path()), ["local.tar.gz"]);
    message
}

/// [`tiny_archive`] with an additional entry at its end.
fn with_entry(name: &str, kind: EntryType, link: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (file, content) in tiny() {
        builder
            .append(&header(&format!("tiny/{file}"), EntryType::Regular, content.len()), &*content)
            .unwrap();
    }
    let mut header = header(name, kind, bytes.len());
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
        header.set_cksum();
    }
    builder.append(&header, bytes).unwrap();
    gzip(&builder.into_inner().unwrap())
}

#[test]
fn names_that_climb_out_are_refused() {
    for name in ["../evil", "tiny/../../evil", "/tmp/tallow-evil", "tiny/.."] {
        let message = refusal(&with_entry(name, EntryType::Regular, "", b"x"));
        assert!(message.contains("points outside the folder"), "{message}");
    }
    assert!(!Path::new("/tmp/tallow-evil").exists());
}

#[test]
fn what_is_neither_file_nor_folder_is_refused() {
    for (kind, link) in [
        (EntryType::Symlink, "/etc"),
        (EntryType::Link, "tiny/a.bin"),
        (EntryType::Char, ""),
        (EntryType::Fifo, ""),
    ] {
        let message = refusal(&with_entry("tiny/c.bin", kind, link, b""));
        assert!(message.contains("neither a file nor a folder"), "{message}");
    }
}

#[test]
fn a_file_that_is_there_twice_is_refused() {
    let message = refusal(&with_entry("tiny/b.bin", EntryType::Regular, "", &tiny()[1].1));
    assert!(message.contains("b.bin\" is in the archive twice"), "{message}");
    let message = refusal(&with_entry("./tiny/b.bin", EntryType::Regular, "", &tiny()[1].1));
    assert!(message.contains("b.bin\" is in the archive twice"), "{message}");
}

#[test]
fn an_archive_that_swells_is_refused() {
    let swelling = with_entry("tiny/zeros", EntryType::Regular, "", &vec![0; 2_000_000]);
    assert!(swelling.len() < 300_000);
    let message = refusal(&swelling);
    assert!(message.contains("unpacks to more than 1000000 bytes"), "{message}");
}

#[test]
fn a_missing_file_is_refused() {
    let message = refusal(&gzip(&tar_of(&[("tiny/a.bin", tiny()[0].1.clone())])));
    assert!(message.contains("it does not contain tiny/b.bin"), "{message}");
}

#[test]
fn a_file_of_another_length_is_refused() {
    let message = refusal(&gzip(&tar_of(&[("tiny/b.bin", vec![0; 999])])));
    assert!(message.contains("999 bytes, expected 1000"), "{message}");
}

#[test]
fn a_file_of_the_right_length_and_other_bytes_is_refused() {
    let message = refusal(&gzip(&tar_of(&[("tiny/b.bin", vec![0; 1_000])])));
    assert!(message.contains("b.bin in ") && message.contains("not the official one"), "{message}");
}

#[test]
fn damaged_archives_are_refused() {
    let archive = tiny_archive();
    let message = refusal(&archive[..archive.len() - 1_000]);
    assert!(message.contains("cannot be unpacked"), "{message}");
    let mut bad_checksum = archive.clone();
    let at = bad_checksum.len() - 8;
    bad_checksum[at] ^= 1;
    let message = refusal(&bad_checksum);
    assert!(message.contains("cannot be unpacked"), "{message}");
    // a tar file that ends within a member, in a complete gzip file
    let mut tar = tar_of(&[("tiny/b.bin", tiny()[1].1.clone())]);
    tar.truncate(512 + 700);
    let message = refusal(&gzip(&tar));
    assert!(message.contains("ends in the middle of b.bin"), "{message}");
    assert!(refusal(b"<html>").contains("an HTML page"));
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"PK\x03\x04").contains("something else"));
}

#[test]
fn a_local_archive_is_taken_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (from, data_dir) = (folder.path().join("local.tar.gz"), folder.path().join("data"));
    fs::write(&from, tiny_archive()).unwrap();
    let mut request = request(&data_dir, from.to_str().unwrap());
    // An archive with the official length must have the official digest.
    request.spec.archive = Some(Packing { n_bytes: tiny_archive().len() as u64, sha256: "0".repeat(64) });
    assert!(matches!(run(&request), Err(FetchError::Digest { .. })));
    assert!(!data_dir.exists());
    request.spec.archive = Some(Packing { n_bytes: 7, sha256: "0".repeat(64) });
    assert!(matches!(run(&request), Ok(Fetched::Fetched { n_bytes: 201_000, .. })));
    assert!(is_whole(&data_dir) && from.exists());
}

#[test]
fn what_is_neither_address_nor_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for from in ["ftp://example.org/x.tar.gz", "no/such/file.tar.gz"] {
        let message = run(&request(&folder.path().join("data"), from)).unwrap_err().to_string();
        assert!(message.contains(from) && message.contains("nor a file"), "{message}");
        assert!(names_in(folder.path()).is_empty());
    }
}

#[test]
fn a_damaged_data_set_is_put_aside_and_a_killed_call_is_cleaned_up_after() {
    let folder = tempfile::tempdir().unwrap();
    let (from, data_dir) = (folder.path().join("local.tar.gz"), folder.path().join("data"));
    fs::write(&from, tiny_archive()).unwrap();
    let request = request(&data_dir, from.to_str().unwrap());
    run(&request).unwrap();
    let mut changed = tiny()[0].1.clone();
    changed[17] ^= 1;
    fs::write(data_dir.join("tiny/a.bin"), &changed).unwrap();
    fs::create_dir(data_dir.join(".unpacking-old")).unwrap();
    assert!(matches!(run(&request), Ok(Fetched::Fetched { .. })));
    assert!(is_whole(&data_dir));
    assert_eq!(names_in(&data_dir), ["tiny", "tiny.damaged-1"]);
    assert_eq!(fs::read(data_dir.join("tiny.damaged-1/a.bin")).unwrap(), changed);
    fs::remove_file(data_dir.join("tiny/b.bin")).unwrap();
    run(&request).unwrap();
    assert_eq!(names_in(&data_dir), ["tiny", "tiny.damaged-1", "tiny.damaged-2"]);
}

#[test]
fn what_fails_the_last_look_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (from, data_dir) = (folder.path().join("local.tar.gz"), folder.path().join("data"));
    fs::write(&from, tiny_archive()).unwrap();
    let mut request = request(&data_dir, from.to_str().unwrap());
    request.spec.check = Some(|_| Err(tallow_dataset::Error::UnknownDataset("tiny".into())));
    assert!(matches!(run(&request), Err(FetchError::Data(_))));
    assert!(!data_dir.exists());
}

#[test]
fn two_calls_do_not_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let lock = fs::File::create(folder.path().join(".fetch.lock")).unwrap();
    lock.lock().unwrap();
    let from = folder.path().join("local.tar.gz");
    fs::write(&from, tiny_archive()).unwrap();
    let message = run(&request(folder.path(), from.to_str().unwrap())).unwrap_err().to_string();
    assert!(message.contains("another fetch"), "{message}");
    drop(lock);
    run(&request(folder.path(), from.to_str().unwrap())).unwrap();
}
