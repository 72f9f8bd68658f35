//! Every reader of bytes that come from outside, in one table. The smoke test (`tests/readers/main.rs`) and the fuzzer (`fuzz`)
//! both compile it, so neither can miss a reader that the other has.
//!
//! A reader must read its input or refuse it with an error: it must not panic, take more than a second, or take more than a
//! gigabyte of memory. What has a writer is also written and read again: nothing may change. A reader that is given a file on
//! disk gets one, in a folder that lives for one input.

mod data;
mod hub;
mod models;
mod pictures;
mod records;
mod requests;
mod runs;

use std::path::Path;

use tempfile::TempDir;

/// A reader of bytes from outside.
pub(crate) struct Reader {
    /// The name: of its test, and for `cargo xtask fuzz`.
    pub(crate) name: &'static str,
    /// Returns true if the bytes were read, and false if they were refused. Panics if the reader broke one of its promises.
    pub(crate) read: fn(&[u8]) -> bool,
    /// Returns inputs to start from. The first one can be read.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Number of inputs of the smoke test: fewer for readers that need files or sockets.
    pub(crate) n_tried: u64,
}

const fn reader(
    name: &'static str,
    read: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Vec<u8>>,
    n_tried: u64,
) -> Reader {
    Reader { name, read, seeds, n_tried }
}

pub(crate) static READERS: [Reader; 22] = [
    reader("recipe", records::recipe, records::recipes, 2000),
    reader("network", records::network, records::networks, 2000),
    reader("costs", records::costs, records::cost_tables, 10000),
    reader("history", records::history, records::histories, 10000),
    reader("predictions", records::predictions, records::prediction_tables, 10000),
    reader("summary", records::summary, records::summaries, 10000),
    reader("run_folder", runs::run_folder, runs::run_folders, 300),
    reader("manifest", runs::manifest, runs::manifests, 2000),
    reader("safetensors", models::safetensors, models::safetensors_files, 10000),
    reader("model_file", models::model_file, models::model_files, 10000),
    reader("checkpoint", models::checkpoint, models::checkpoints, 6000),
    reader("pretrained_config", models::pretrained_config, models::pretrained_configs, 10000),
    reader("feature_cache", models::feature_cache, models::feature_caches, 3000),
    reader("hub", hub::hub, hub::answers, 100),
    reader("cifar_batch", data::cifar_batch, data::cifar_batches, 2000),
    reader("cifar_names", data::cifar_names, data::cifar_name_lists, 2000),
    reader("label_table", data::label_table, data::label_tables, 3000),
    reader("archive", data::archive, data::archives, 600),
    reader("official_archive", data::official_archive, data::official_archives, 600),
    reader("scan_results", data::scan_results, data::scans, 200),
    reader("picture", pictures::picture, pictures::pictures, 4000),
    reader("request", requests::request, requests::requests, 500),
];

/// Returns a new folder, in memory where the system has such a place: readers of files sync what they write.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for one input")
}

/// Returns the input as text, if it is text.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Splits an input that stands for several files. A line `=== NAME` is before the content of each; the line end before the next
/// such line is not part of the content.
fn parts(bytes: &[u8]) -> Vec<(&str, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes.strip_prefix(b"=== ");
    while let Some(part) = rest {
        let end = part.windows(5).position(|window| window == b"\n=== ");
        let own = end.map_or(part, |end| &part[..end]);
        let line = own.iter().position(|&byte| byte == b'\n').unwrap_or(own.len());
        found.push((text(&own[..line]).unwrap_or_default(), own.get(line + 1..).unwrap_or_default()));
        rest = end.map(|end| &part[end + 5..]);
    }
    found
}

/// Returns the input that [`parts`] splits into these.
fn joined(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let part = |(name, content): &(&str, &[u8])| [format!("=== {name}\n").as_bytes(), content].concat();
    parts.iter().map(part).collect::<Vec<_>>().join(&b'\n')
}

fn owned(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}
