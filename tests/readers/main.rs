//! The smoke test of every reader of bytes from outside (`table`): a few thousand changed inputs each, the same in every run.
//!
//! `cargo xtask fuzz` gives the same readers millions of inputs, led by the code that they reach, under limits of time and memory.
//! `cargo xtask fuzz --stable` gives them millions of the inputs that are made here: it asks this program for one reader and a
//! range of inputs at a time, and adds up what it says.

mod table;

use std::fs;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use table::{READERS, Reader};
use tallow_core::rng::key_of_name;
use tallow_core::{Purpose, Stream};

/// The environment variable with the numbers of the inputs that are asked for, such as `1000..2000`.
const ASKED_FOR: &str = "TALLOW_INPUTS";

/// Largest memory of the whole test, in bytes.
const MAX_RSS_BYTES: u64 = 1 << 30;

/// Pieces of text and numbers that readers are known to stumble over.
const TOKENS: [&[u8]; 24] = [
    b"0",
    b"-1",
    b"1e309",
    b"1e39",
    b"1e-46",
    b"NaN",
    b"inf",
    b"18446744073709551615",
    b"99999999999999999999",
    b"null",
    b"\"",
    b"'",
    b"\\",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"../",
    b"\n",
    b"\r\n",
    b",",
    b"{",
    b"]",
    "\u{202e}é".as_bytes(),
];

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                reads_or_refuses(stringify!($name));
            }
        )*

        #[test]
        fn every_reader_has_a_test() {
            assert_eq!(READERS.each_ref().map(|reader| reader.name), [$(stringify!($name)),*]);
        }
    };
}

tests! {
    recipe network costs history predictions summary run_folder manifest
    safetensors model_file checkpoint pretrained_config feature_cache hub
    cifar_batch cifar_names label_table archive official_archive scan_results
    picture request
}

/// What came of changed inputs.
#[derive(Default)]
struct Tally {
    n_read: u64,
    /// The longest time that an input took, and its number.
    slowest: Duration,
    slowest_input: u64,
}

/// Gives a reader its seeds and then changed ones.
#[track_caller]
#[expect(clippy::print_stdout, reason = "`cargo xtask fuzz` reads it")]
fn reads_or_refuses(name: &str) {
    let reader = READERS.iter().find(|reader| reader.name == name).unwrap();
    let seeds = (reader.seeds)();
    assert!(read(reader, &seeds[0], "seed 0"), "{name} refuses its first seed");
    for (i, seed) in seeds.iter().enumerate() {
        read(reader, seed, &format!("seed {i}"));
    }
    let asked_for = std::env::var(ASKED_FOR).ok().map(|text| numbers(&text));
    let Tally { n_read, slowest, slowest_input } =
        tally(reader, &seeds, asked_for.clone().unwrap_or(0..reader.n_tried));
    let peak = tallow_training::peak_rss_bytes();
    assert!(peak.is_none_or(|bytes| bytes < MAX_RSS_BYTES), "{peak:?} bytes");
    if asked_for.is_none() {
        assert!((1..reader.n_tried).contains(&n_read), "{n_read} were read: the changes say nothing");
    }
    let slowest_ms = 1e3 * slowest.as_secs_f64();
    println!(
        "{}",
        json!({"read": n_read, "slowest_ms": slowest_ms, "slowest_input": slowest_input, "peak_bytes": peak})
    );
}

/// Returns the numbers of a text like `1000..2000`.
#[track_caller]
fn numbers(text: &str) -> Range<u64> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.unwrap_or_else(|| panic!("{ASKED_FOR} is {text:?}, expected two numbers with .. between them"))
}

/// Gives a reader the inputs of these numbers.
#[track_caller]
fn tally(reader: &Reader, seeds: &[Vec<u8>], numbers: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for i in numbers {
        let mut stream = Stream::new(key_of_name(reader.name), Purpose::Test, 0, i);
        let input = changed(seeds, &mut stream);
        let timed = || {
            let started = Instant::now();
            (read(reader, &input, &format!("input {i}")), started.elapsed())
        };
        let (is_read, mut took) = timed();
        // others may have had the processor: what is slow is slow each time, and without them
        for _ in 0..2 {
            if took > tally.slowest {
                let before = waited();
                let again = timed().1;
                took = took.min(again.saturating_sub(waited().saturating_sub(before)));
            }
        }
        tally.n_read += u64::from(is_read);
        if took > tally.slowest {
            (tally.slowest, tally.slowest_input) = (took, i);
        }
    }
    tally
}

/// Returns how long this thread has waited for a processor so far; zero where the system does not tell.
fn waited() -> Duration {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = figures.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// Gives a reader an input. If the reader breaks a promise, keeps the input in a file, which the message names.
#[track_caller]
fn read(reader: &Reader, input: &[u8], what: &str) -> bool {
    catch_unwind(|| (reader.read)(input)).unwrap_or_else(|_| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
        let path = folder.join(format!("{}-{}", reader.name, what.replace(' ', "-")));
        fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)).unwrap();
        panic!("{}: {what}, see above; it is kept in {}", reader.name, path.display());
    })
}

/// Returns one of the seeds with one to four changes.
fn changed(seeds: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    let mut bytes = choose(seeds, stream).clone();
    for _ in 0..=stream.below(4) {
        change(&mut bytes, seeds, stream);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], stream: &mut Stream) {
    let (range, token) = (some_range(bytes.len(), stream), *choose(&TOKENS, stream));
    match stream.below(9) {
        0 => bytes.truncate(range.start),
        1 => drop(bytes.drain(range)),
        2 => {
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, copy);
        }
        3 => drop(bytes.splice(range.start..range.start, token.iter().copied())),
        4 => {
            let other = choose(seeds, stream);
            let piece = other[some_range(other.len(), stream)].to_vec();
            bytes.splice(range, piece);
        }
        5 => replace_number(bytes, range.start, token),
        6 => bytes[range].iter_mut().for_each(|byte| *byte = 0xff),
        _ => {
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte ^= 1 << stream.below(8);
            }
        }
    }
}

/// Replaces the first decimal number at `from` or behind it.
fn replace_number(bytes: &mut Vec<u8>, from: usize, by: &[u8]) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let n_digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + n_digits, by.iter().copied());
}

/// Returns a range within a length: often short, sometimes any.
fn some_range(len: usize, stream: &mut Stream) -> std::ops::Range<usize> {
    let start = stream.below(len as u32 + 1) as usize;
    let longest = if stream.coin() { 8 } else { len };
    start..len.min(start + stream.below(longest as u32 + 1) as usize)
}

#[track_caller]
fn choose<'a, T>(items: &'a [T], stream: &mut Stream) -> &'a T {
    &items[stream.below(items.len() as u32) as usize]
}
