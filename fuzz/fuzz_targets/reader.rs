//! The fuzz target of all readers of bytes from outside. The environment variable `READER` names the one that gets the inputs;
//! without it, the program prints their names. `SEEDS` names a folder that gets the first inputs.
//!
//! One program and not one for each reader: every one of them would link all of Tallow. The readers are those of the smoke test,
//! from the same file.
#![no_main]

#[allow(dead_code, reason = "the smoke test uses the rest")]
#[path = "../../tests/readers/table/mod.rs"]
mod table;

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use table::{READERS, Reader};

static READER: OnceLock<&Reader> = OnceLock::new();

fuzz_target!(
    init: begin(),
    |bytes: &[u8]| {
        if let Some(reader) = READER.get() {
            (reader.read)(bytes);
        }
    }
);

/// Chooses the reader and writes its seeds. libFuzzer has not read the folder of inputs yet.
fn begin() {
    let Ok(name) = std::env::var("READER") else {
        READERS.iter().for_each(|reader| println!("{}", reader.name));
        std::process::exit(0);
    };
    let reader = READERS.iter().find(|reader| reader.name == name).expect("READER names a reader");
    // libFuzzer's own hook ends the program at every panic. A decoder's panic is caught, though, and costs one picture; any other
    // panic still ends the program, because it reaches the fuzzer.
    drop(std::panic::take_hook());
    if let Some(folder) = std::env::var_os("SEEDS") {
        for (i, seed) in (reader.seeds)().iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{i}")), seed).expect("the folder of inputs");
        }
    }
    let _ = READER.set(reader);
}
