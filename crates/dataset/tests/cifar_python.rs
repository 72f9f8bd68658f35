//! CIFAR's Python version: pickles as literals of protocols 0, 2, 4 and 5, and each kind of damage to them.

use std::fs;
use std::path::Path;

use tallow_dataset::cifar::{CIFAR10_CLASSES, load_cifar_python, load_cifar10, load_cifar100_coarse};
use tallow_dataset::{Dataset, Normalization};

mod pickles;
use pickles::{BATCH_FILES, batch, image_row, write_folder};

/// Bytes after an array's type in protocol 2: the state of the type.
const DTYPE: &[u8] = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb";

/// Returns the error message after `change` was applied to the third batch.
fn refusal(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), 4);
    let path = folder.path().join("data_batch_3");
    fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    let message = load_cifar_python(folder.path()).unwrap_err().to_string();
    assert!(message.contains("data_batch_3: ") && !message.contains("data_batch_2"), "{message}");
    assert!(message.contains("cargo xtask fetch-data"), "{message}");
    message
}

fn pixel(data: &Dataset, image: usize, row: usize, column: usize) -> [u8; 3] {
    data.train.read(image).unwrap().pixels[(row * 32 + column) * 3..][..3].try_into().unwrap()
}

/// Checks that `bytes` as the third batch give the expected labels and pixels.
fn reads_as_third_batch(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), 4);
    fs::write(folder.path().join("data_batch_3"), bytes).unwrap();
    let data = load_cifar_python(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(data.train.labels()[8..10], [7, 2]);
    assert_eq!([pixel(&data, 8, 3, 31), pixel(&data, 9, 31, 0)], [[31, 3, 7], [0, 31, 2]]);
}

fn two_rows() -> Vec<u8> {
    [image_row(7), image_row(2)].concat()
}

fn sized(length: usize) -> [u8; 4] {
    (length as u32).to_le_bytes()
}

#[test]
fn a_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), 4);
    let data = load_cifar_python(folder.path()).unwrap();
    assert_eq!((data.name.raw(), data.train.len(), data.test.len()), ("cifar10", 20, 4));
    assert_eq!(data.train.labels()[..5], [0, 1, 2, 3, 0]);
    assert_eq!(pixel(&data, 2, 3, 31), [31, 3, 2]);
    assert_eq!(data.train.class_names()[..], CIFAR10_CLASSES); // there is no meta file
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(data.normalization, Normalization::of(&data.train, &all).unwrap());
}

#[test]
fn the_data_folder_may_hold_either_version() {
    let data_dir = tempfile::tempdir().unwrap();
    let message = load_cifar10(data_dir.path()).unwrap_err().to_string();
    assert!(message.contains("cifar-10-batches-bin"), "{message}");
    let folder = data_dir.path().join("cifar-10-batches-py");
    write_folder(&folder, 4);
    assert_eq!(load_cifar10(data_dir.path()).unwrap().digest, load_cifar_python(&folder).unwrap().digest);
    fs::create_dir(data_dir.path().join("cifar-10-batches-bin")).unwrap(); // preferred, and incomplete
    let message = load_cifar10(data_dir.path()).unwrap_err().to_string();
    assert!(message.contains("data_batch_1.bin"), "{message}");
}

#[test]
fn coarse_labels_are_a_choice() {
    let data_dir = tempfile::tempdir().unwrap();
    let folder = data_dir.path().join("cifar-100-python");
    fs::create_dir(&folder).unwrap();
    for file in ["train", "test"] {
        let mut bytes = batch("fine_labels", &[70, 30], &two_rows());
        let end = bytes.split_off(bytes.len() - 2);
        fs::write(folder.join(file), [&bytes, &b"U\x0dcoarse_labels](K\x02K\x13e"[..], &end].concat())
            .unwrap();
    }
    let (fine, coarse) =
        (load_cifar_python(&folder).unwrap(), load_cifar100_coarse(data_dir.path()).unwrap());
    assert_eq!((fine.name.raw(), fine.train.labels()), ("cifar100", &[70, 30][..]));
    assert_eq!((coarse.name.raw(), coarse.train.labels()), ("cifar100-coarse", &[2, 19][..]));
    assert_eq!([&fine.train.class_names()[70], &coarse.train.class_names()[19]], ["rose", "vehicles_2"]);
}

#[test]
fn names_are_those_of_the_meta_file() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), 4);
    let meta = |bytes: &[u8]| fs::write(folder.path().join("batches.meta"), bytes).unwrap();
    meta(b"\x80\x02}U\x0blabel_names](U\x01aX\x02\x00\x00\x00\xc3\xa4U\x01cU\x01des.");
    assert_eq!(load_cifar_python(folder.path()).unwrap().train.class_names()[..], ["a", "\u{e4}", "c", "d"]);
    let refusal = |bytes: &[u8]| {
        meta(bytes);
        load_cifar_python(folder.path()).unwrap_err().to_string()
    };
    let message = refusal(b"\x80\x02}U\x0blabel_names](U\x01aU\x01aes.");
    assert!(message.contains("batches.meta: \"label_names\" has \"a\" twice"), "{message}");
    assert!(refusal(b"\x80\x02}U\x0blabel_names]s.").contains("is empty"));
    assert!(refusal(b"\x80\x02}.").contains("no list \"label_names\""));
    let message = refusal(b"\x80\x02}U\x0blabel_names](U\x01aU\x01bes.");
    assert!(message.contains("row 2 has label 2, expected 0 to 1"), "{message}");
    assert_eq!(message.lines().count(), 6, "{message}"); // every batch is named
}

#[test]
fn protocol_4_of_python_3_and_numpy_2_is_read() {
    let data = [&b"B"[..], &sized(6144), &two_rows()].concat();
    let array = [
        b"\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94",
        &b"K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02M\x00\x0c\x86\x94h\x03\x8c\x05dtype\x94\x93\x94"[..],
        b"\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89",
        &data,
        b"\x94t\x94b",
    ];
    let start =
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}(\x8c\x06labels](\x8a\x01\x07K\x02e\x8c\x04data";
    reads_as_third_batch(&[&start[..], &array.concat(), b"u."].concat());
}

#[test]
fn protocol_0_is_read() {
    let escaped: String = two_rows().iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let text = format!(
        "(dp0\nS'labels'\np1\n(lp2\nI7\naL2L\nasS'data'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\n\
         ndarray\np5\n(I0\ntS'b'\ntRp6\n(I1\n(I2\nI3072\ntcnumpy\ndtype\np7\n(S'u1'\nI0\nI1\ntRp8\n(I3\nS'|'\nNNN\
         I-1\nI-1\nI0\ntbI00\nS'{escaped}'\ntbs."
    );
    reads_as_third_batch(text.as_bytes());
}

#[test]
fn protocol_5_is_read() {
    let start = b"\x80\x05}(C\x06labels](K\x07K\x02eX\x04\x00\x00\x00data\x8c\x12numpy.core.numeric\x8c\x0b_frombuffer\x93";
    let middle = b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87R";
    let end = b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbK\x02M\x00\x0c\x86\x8c\x01CtRu.";
    let data = [&b"\x96"[..], &6144_u64.to_le_bytes(), &two_rows()].concat();
    reads_as_third_batch(&[&start[..], b"(", &data, middle, end].concat());
}

/// Python 3 writes byte strings in protocol 2 as texts. NumPy writes column-major arrays without reordering them.
#[test]
fn encoded_bytes_and_columns_are_read() {
    let rows = two_rows();
    let columns: Vec<u8> = (0..3072).flat_map(|i| [rows[i], rows[3072 + i]]).collect();
    let text: String = columns.iter().map(|&byte| char::from(byte)).collect();
    let start = b"\x80\x02}(X\x06\x00\x00\x00labels](K\x07K\x02eX\x04\x00\x00\x00datacnumpy._core.multiarray\n_reconstruct\n";
    let shape = b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R";
    let encoded =
        [&b"c_codecs\nencode\nX"[..], &sized(text.len()), text.as_bytes(), b"X\x06\x00\x00\x00latin1\x86R"];
    reads_as_third_batch(&[&start[..], shape, DTYPE, b"\x88", &encoded.concat(), b"tbu."].concat());
}

#[test]
fn a_batch_that_is_cut_anywhere_is_refused() {
    let whole = batch("labels", &[7, 2], &two_rows());
    for n in (0..whole.len()).step_by(61).chain(whole.len() - 40..whole.len()) {
        let message = refusal(|_| whole[..n].to_vec());
        assert!(message.contains("it is cut short"), "cut at {n}: {message}");
    }
}

/// Changing any byte gives a result or an error, but no panic.
#[test]
fn any_byte_may_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), 1);
    let whole = batch("labels", &[7], &image_row(7));
    let skeleton = whole.len() - 3072;
    for at in (0..skeleton - 30).chain(whole.len() - 30..whole.len()) {
        for byte in *b"\0.(tbR\x93\xff" {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            fs::write(folder.path().join("data_batch_3"), bytes).unwrap();
            drop(load_cifar_python(folder.path()));
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let said = |bytes: Vec<u8>| refusal(|_| bytes);
    let message = said(batch("labels", &[7, 10], &two_rows()));
    assert!(message.contains("row 1 has label 10, expected 0 to 9"), "{message}");
    let message = said(batch("labels", &[7], &two_rows()));
    assert!(message.contains("it has 1 labels for 2 rows"), "{message}");
    let message = said(batch("fine_labels", &[7, 2], &two_rows()));
    assert!(message.contains("it has no list \"labels\""), "{message}");
    assert!(said(batch("labels", &[], &[])).contains("it has no rows"));
    assert!(said(b"\x80\x02](.".to_vec()).contains("takes more values"));
    assert!(said(b"\x80\x02].".to_vec()).contains("does not hold a dictionary"));
    assert!(said(b"\x80\x02}.".to_vec()).contains("no \"data\""));
    assert!(said(b"\x80\x06}.".to_vec()).contains("protocol 6, expected 0 to 5"));
    assert!(said(b"\x80\x02}U\x04dataK\x05s.".to_vec()).contains("\"data\" is not an array"));
    assert!(said(b"}h\x07.".to_vec()).contains("uses value 7"));
    assert!(said(b"<html>".to_vec()).contains("0x3c"), "an error page");
    let other_type = |bytes: Vec<u8>| {
        let at = bytes.windows(4).position(|w| w == b"\x02u1K").unwrap();
        [&bytes[..at], b"\x02f4K", &bytes[at + 4..]].concat()
    };
    assert!(refusal(other_type).contains("has the type \"f4\""));
}

#[test]
fn a_program_is_refused_by_name_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let command = format!("touch {}", trace.display());
    for program in [
        format!("cos\nsystem\n(S'{command}'\ntR."),
        format!(
            "\u{8c}\u{2}os\u{8c}\u{6}system\u{93}\u{8c}{}{command}\u{85}R.",
            char::from(command.len() as u8)
        ),
    ] {
        let bytes = program.chars().map(|c| u32::from(c) as u8).collect();
        let message = refusal(|_| bytes);
        assert!(
            message.contains("it asks for \"os.system\"") && message.contains("nothing was run"),
            "{message}"
        );
    }
    assert!(!Path::new(&trace).exists());
    for program in [&b"(ios\nsystem\n."[..], b"}]\x81.", b"P1\n."] {
        assert!(refusal(|_| program.to_vec()).contains("which plain data do not need"));
    }
}

#[test]
fn every_bad_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = load_cifar_python(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("neither the files of CIFAR-10") && message.contains("nor those of CIFAR-100"),
        "{message}"
    );
    write_folder(folder.path(), 2);
    for file in [BATCH_FILES[1], BATCH_FILES[5]] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join(BATCH_FILES[3]), "").unwrap();
    let message = load_cifar_python(folder.path()).unwrap_err().to_string();
    for part in ["data_batch_2: it is missing", "data_batch_4: it is cut short", "test_batch: it is missing"]
    {
        assert!(message.contains(part), "{message}");
    }
}
