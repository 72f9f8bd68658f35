//! Tests of good and bad archives: which are unpacked, which are refused, and that a refused archive leaves nothing
//! behind.

use std::io::{self, Cursor};

use tallow_core::{Silent, StopSignal, digest};
use tar::EntryType::{Directory, Fifo, Link, Regular, Symlink, XGlobalHeader};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;

struct Setting {
    folder: TempDir,
    stop: StopFlag,
}

impl Setting {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), stop: StopFlag::default() }
    }

    fn unpack(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, FolderError> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let packing = packing(&path)?.expect("an archive");
        unpack(&path, packing, &self.folder.path().join("data"), &Silent, &self.stop)
    }

    /// Returns the number of unpacked folders, including staging folders.
    fn unpacked(&self) -> usize {
        let folder = fs::read_dir(self.folder.path().join("data/unpacked"));
        folder.map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count())
    }

    /// Checks that the archive is refused and leaves nothing behind. Returns the message.
    fn refused(&self, name: &str, bytes: &[u8]) -> String {
        let message = self.unpack(name, bytes).unwrap_err().to_string();
        assert_eq!(self.unpacked(), 0, "{message}");
        for evil in ["evil", "data/evil"] {
            assert!(!files::exists(&self.folder.path().join(evil)).unwrap());
        }
        message
    }
}

fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        io::Write::write_all(&mut writer, bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Makes a tar file, even of members that the `tar` crate itself would refuse to write.
fn tar_of(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn each_kind_is_unpacked_once() {
    let setting = Setting::new();
    let tar = tar_of(&[
        ("p/", Directory, b""),
        ("pax", XGlobalHeader, b"12 comment=\n"),
        ("p/cat/1.png", Regular, b"one"),
    ]);
    let zip = zip_of(&[("p/cat/1.png", b"one"), ("p\\dog\\2.png", b"two")]);
    for (name, bytes) in
        [("a.tar", tar.clone()), ("b.tar.gz", gzipped(&tar)), ("c.tgz", gzipped(&tar)), ("d.zip", zip)]
    {
        let folder = setting.unpack(name, &bytes).unwrap();
        let own_name = folder.file_name().unwrap().to_str().unwrap();
        assert_eq!(own_name, format!("{}-{}", &name[..1], &digest::of_bytes(&bytes)[..12]));
        assert_eq!(fs::read(folder.join("p/cat/1.png")).unwrap(), b"one");
        fs::write(folder.join("mark"), b"").unwrap();
        assert_eq!(setting.unpack(name, &bytes).unwrap(), folder);
        assert!(files::exists(&folder.join("mark")).unwrap(), "it was unpacked again");
    }
    let folder = setting.unpack("d.zip", &zip_of(&[("p\\dog\\2.png", b"two")])).unwrap();
    assert_eq!(fs::read(folder.join("p/dog/2.png")).unwrap(), b"two");
    assert_eq!(setting.unpacked(), 5, "no staging folder is left");
    let left = setting.folder.path().join("data/unpacked/.unpacking-killed");
    fs::create_dir(&left).unwrap();
    setting.unpack("e.zip", &zip_of(&[("a.png", b"")])).unwrap();
    assert!(!files::exists(&left).unwrap(), "what a killed call left");
}

#[test]
fn nothing_leaves_the_folder() {
    let setting = Setting::new();
    for name in ["../evil", "a/../../evil", "/tmp/evil"] {
        assert!(
            setting.refused("a.zip", &zip_of(&[("a.png", b""), (name, b"")])).contains("points outside"),
            "{name}"
        );
        assert!(
            setting.refused("a.tar", &tar_of(&[(name, Regular, b"")])).contains("points outside"),
            "{name}"
        );
    }
    assert!(setting.refused("a.zip", &zip_of(&[("..\\evil", b"")])).contains("points outside"));
    for kind in [Symlink, Link] {
        assert!(setting.refused("a.tar", &tar_of(&[("l", kind, b"")])).contains("is a link"));
    }
    assert!(setting.refused("a.tar", &tar_of(&[("f", Fifo, b"")])).contains("neither a file"));
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("l", "/etc", SimpleFileOptions::default()).unwrap();
    assert!(setting.refused("a.zip", &writer.finish().unwrap().into_inner()).contains("is a link"));
}

/// The reader of tar files keeps the name of a member in memory, and gzip shrinks a name of gigabytes to megabytes.
#[test]
fn a_name_of_megabytes_is_not_kept_in_memory() {
    let setting = Setting::new();
    let name = vec![b'a'; 1 << 20];
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let tar = tar_of(&[("././@LongLink", kind, &name), ("a.png", Regular, b"x")]);
        let message = setting.refused("a.tar.gz", &gzipped(&tar));
        assert!(message.contains("the header of a member is too long") && message.len() < 1000, "{message}");
    }
    let name = [[b'a'; 200].as_slice(), b"/b.png"].concat();
    let tar = tar_of(&[("././@LongLink", tar::EntryType::GNULongName, &name), ("a.png", Regular, b"x")]);
    setting.unpack("long.tar.gz", &gzipped(&tar)).unwrap();
}

#[test]
fn damaged_archives_are_named_and_leave_nothing() {
    let setting = Setting::new();
    let tar = tar_of(&[("a.png", Regular, &[7; 3000]), ("b.png", Regular, &[8; 3000])]);
    let zip = zip_of(&[("a.png", &[7; 3000])]);
    for (name, bytes) in [
        ("cut.tar", tar[..2000].to_vec()),
        ("cut.tar.gz", gzipped(&tar)[..60].to_vec()),
        ("cut.zip", zip[..60].to_vec()),
        ("no-tar.gz", gzipped(b"a letter, not a tar file")),
    ] {
        let message = setting.refused(name, &bytes);
        assert!(message.contains(name) && message.contains("get the archive again"), "{message}");
    }
    let mut flipped = zip;
    let at = flipped.windows(5).position(|bytes| bytes == b"a.png").unwrap() + 6;
    flipped[at] ^= 0x55;
    assert!(setting.refused("flipped.zip", &flipped).contains("a.png"));
    let twice = tar_of(&[("a.png", Regular, b"1"), ("./a.png", Regular, b"2")]);
    assert!(setting.refused("twice.tar", &twice).contains("twice"));
    let path = setting.folder.path().join("a.7z");
    fs::write(&path, b"7z\xbc\xaf\x27\x1c").unwrap();
    assert!(packing(&path).unwrap_err().to_string().contains("unpack it"));
}

#[test]
fn caps_hold_on_members_and_on_bytes() {
    let setting = Setting::new();
    let path = setting.folder.path().join("a");
    let out_folder = setting.folder.path().join("out");
    let run = |bytes: &[u8], packing, caps| {
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_dir_all(&out_folder);
        files::create_folder(&out_folder).unwrap();
        let bar = Bar::begin(&Silent, "", None, Unit::Items("files"));
        let mut out = Out::new(&path, &out_folder, caps, bar, &setting.stop);
        match packing {
            Packing::Zip => members::zip(&mut out),
            _ => members::tar(&mut out, packing),
        }
    };
    let large = vec![0; 4 << 20];
    let caps = Caps { max_members: 3, max_bytes: 2 << 20 };
    let zip = zip_of(&[("a", &large)]);
    let tar_gz = gzipped(&tar_of(&[("a", Regular, &large)]));
    assert!(run(&zip, Packing::Zip, caps).unwrap_err().to_string().contains("more than 2 MiB"));
    assert!(run(&tar_gz, Packing::TarGz, caps).unwrap_err().to_string().contains("more than 2 MiB"));
    let wide = Caps { max_bytes: 4 << 20, ..caps };
    run(&zip, Packing::Zip, wide).unwrap();
    run(&tar_gz, Packing::TarGz, wide).unwrap();
    let many = zip_of(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")]);
    assert!(run(&many, Packing::Zip, caps).unwrap_err().to_string().contains("more than 3 files"));
    assert_eq!(Caps::of(1).max_bytes, 1 << 30);
    assert_eq!(Caps::of(u64::MAX).max_bytes, 100 << 30);
}

#[test]
fn a_raised_flag_stops_it() {
    let setting = Setting::new();
    setting.stop.raise(StopSignal::Interrupt);
    assert_eq!(setting.refused("a.zip", &zip_of(&[("a.png", b"")])), "stopped");
}
