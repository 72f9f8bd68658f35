//! The event file on disk: begun, cut back, continued. `tests/tensorboard.rs` reads its content.

use super::*;

fn open(folder: &Path, n_bytes: u64) -> (EventFile, bool) {
    EventFile::open(folder, n_bytes).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_cut_back_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (file, is_new) = open(folder.path(), 0);
    assert!(is_new);
    file.append(1, &[Value::scalar("a", 1.0)]).unwrap();
    let n_bytes = file.sync().unwrap();
    let checkpoint = fs::read(&file.path).unwrap();
    file.append(2, &[Value::scalar("a", 2.0)]).unwrap();
    fs::write(&file.path, [fs::read(&file.path).unwrap(), b"half a rec".to_vec()].concat()).unwrap();

    let (again, is_new) = open(folder.path(), n_bytes);
    assert!(!is_new && again.path == file.path && fs::read(&file.path).unwrap() == checkpoint);
    again.append(2, &[Value::scalar("a", 2.0)]).unwrap();
    // a scalar takes the same bytes whatever its value
    assert_eq!(again.sync().unwrap() - n_bytes, n_bytes - open_bytes());
    assert_eq!(names(folder.path()).len(), 1);
}

/// Returns the length of a file without events.
fn open_bytes() -> u64 {
    open(tempfile::tempdir().unwrap().path(), 0).0.sync().unwrap()
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_its_file_again() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 0).0.append(1, &[Value::scalar("a", 1.0)]).unwrap();
    let (file, is_new) = open(folder.path(), 0);
    assert!(is_new && file.sync().unwrap() == open_bytes());
}

#[test]
fn a_file_that_is_gone_or_too_short_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join(format!("{PREFIX}1000000000.host"));
    fs::write(&short, b"short").unwrap();
    let (_, is_new) = open(folder.path(), 4_000);
    assert!(is_new);
    assert_eq!((names(folder.path()).len(), fs::read(&short).unwrap()), (2, b"short".to_vec()));
}

/// A loop of links stands for every error of the system: the file may be whole.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_looked_at_is_not_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{PREFIX}1000000000.host"));
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let refused = EventFile::open(folder.path(), 4_000).unwrap_err().to_string();
    assert!(refused.contains("1000000000.host"), "{refused}");
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn only_a_png_is_an_image() {
    let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &[0, 0, 1, 4, 0, 0, 0, 2]].concat();
    assert!(Value::image("a", &png).is_some());
    for no_png in [&png[..23], b"", b"GIF89a and so on, long enough"] {
        assert!(Value::image("a", no_png).is_none());
    }
}
