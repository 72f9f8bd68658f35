//! Takes times out of the files of a run. Each function knows the fields of one kind of file.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{mask_of, tensorboard};

/// Durations, rates, memory, and the number of threads of the last process.
const OF_SUMMARY: [&str; 6] = [
    "train_seconds",
    "features_seconds",
    "features_own_seconds",
    "images_per_second",
    "peak_rss_bytes",
    "threads",
];

/// The time of a line, and the durations of epochs, steps and folds.
const OF_EVENT: [&str; 4] = ["time_unix_secs", "secs", "step_ms", "train_secs"];

/// The events that depend on the stops, and those that are nothing but times.
const UNLIKE_EVENTS: [&str; 3] = ["started", "interrupted", "estimate"];

/// Durations, and the lengths of logs that have durations and rates in them.
const OF_STATE: [&str; 5] = ["train_secs", "step_secs", "features_secs", "events_bytes", "tfevents_bytes"];

/// The facts of a report that show the above.
const OF_REPORT: [&str; 5] = ["Computed on", "Training took", "Features", "Started", "Resumed"];

/// Puts null in place of the numbers under `keys`.
fn mask(object: &mut Value, keys: &[&str]) {
    for key in keys {
        if let Some(value) = object.get_mut(key).filter(|value| value.is_number()) {
            *value = Value::Null;
        }
    }
}

/// `summary.json`.
pub(super) fn summary(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut summary: Value = serde_json::from_slice(bytes)?;
    mask(&mut summary, &OF_SUMMARY);
    Ok(serde_json::to_vec_pretty(&summary)?)
}

/// `manifest.json`: the entries of files that may differ.
pub(super) fn manifest(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut manifest: Value = serde_json::from_slice(bytes)?;
    let files = manifest["files"].as_array_mut().context("a manifest without files")?;
    for file in files {
        let name = file["path"].as_str().context("a file without a path")?;
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        if last.starts_with(tensorboard::PREFIX) {
            *file = Value::String(format!("{folder}/{}", tensorboard::PREFIX)); // there is a time in its name
        } else if mask_of(name).is_some() {
            *file = Value::String(name.to_owned());
        }
    }
    Ok(serde_json::to_vec_pretty(&manifest)?)
}

/// `events.jsonl`.
pub(super) fn events(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for line in std::str::from_utf8(bytes)?.split_inclusive('\n') {
        let mut event: Value = serde_json::from_str(line).with_context(|| format!("the line {line:?}"))?;
        if event["event"].as_str().is_none_or(|kind| !UNLIKE_EVENTS.contains(&kind)) {
            mask(&mut event, &OF_EVENT);
            serde_json::to_writer(&mut all, &event)?;
            all.extend(line.ends_with('\n').then_some(b'\n'));
        }
    }
    Ok(all)
}

/// `report.html`: removes the tile with the duration, and the facts that have times.
pub(super) fn report(bytes: &[u8]) -> Result<Vec<u8>> {
    const END: &str = "</div>";
    let mut page = std::str::from_utf8(bytes)?.to_owned();
    let marks = OF_REPORT.map(|term| format!("<dt>{term}</dt>"));
    for mark in marks.iter().map(String::as_str).chain(["</span><span>training, "]) {
        if let Some(at) = page.find(mark) {
            let start = page[..at].rfind("<div>").context("the page has another structure")?;
            let end = page[at..].find(END).context("the page has another structure")?;
            page.replace_range(start..at + end + END.len(), "");
        }
    }
    Ok(page.into_bytes())
}

/// A checkpoint.
pub(super) fn checkpoint(bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut header, mut about, tensors) = safetensors(bytes)?;
    let mut state: Value = serde_json::from_str(about["state"].as_str().context("there is no state")?)?;
    mask(&mut state, &OF_STATE);
    about["state"] = state;
    about["digest"] = Value::Null;
    header["__metadata__"]["tallow"] = about;
    Ok([&serde_json::to_vec(&header)?, tensors].concat())
}

/// Kept features.
pub(super) fn features(bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut header, mut about, tensors) = safetensors(bytes)?;
    about["digest"] = Value::Null;
    header["__metadata__"]["tallow"] = about;
    let mut tensors = tensors.to_vec();
    let place = |i: usize| header["seconds"]["data_offsets"][i].as_u64().map(|at| at as usize);
    let seconds = place(0).zip(place(1)).and_then(|(from, to)| tensors.get_mut(from..to));
    seconds.context("there are no seconds")?.fill(0);
    Ok([serde_json::to_vec(&header)?, tensors].concat())
}

/// Returns the header of a safetensors file, the document that it has in its metadata, and the bytes of the tensors.
fn safetensors(bytes: &[u8]) -> Result<(Value, Value, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>().context("it ends in its length")?;
    let n_bytes = usize::try_from(u64::from_le_bytes(*length))?;
    let (header, tensors) = rest.split_at_checked(n_bytes).context("it ends in its header")?;
    let header: Value = serde_json::from_slice(header)?;
    let about = header["__metadata__"]["tallow"].as_str().context("there is no description")?;
    let about = serde_json::from_str(about)?;
    Ok((header, about, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Result<Vec<u8>>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn a_summary_keeps_its_scores() {
        let masked =
            text(summary(br#"{"train_seconds": 1.5, "features_seconds": null, "test": {"loss": 2.5}}"#));
        assert!(!masked.contains("1.5") && masked.contains("2.5"), "{masked}");
        assert_ne!(summary(b"{}").unwrap(), summary(br#"{"threads": 2}"#).unwrap());
    }

    #[test]
    fn events_keep_their_order_and_figures() {
        let log = "{\"time_unix_secs\":5.5,\"event\":\"started\",\"epoch\":1}\n\
                   {\"time_unix_secs\":6.5,\"event\":\"epoch\",\"record\":{\"loss\":1.25},\"secs\":7.5}\n";
        let masked = text(events(log.as_bytes()));
        assert_eq!(
            masked,
            "{\"time_unix_secs\":null,\"event\":\"epoch\",\"record\":{\"loss\":1.25},\"secs\":null}\n"
        );
        assert!(events(&log.as_bytes()[..log.len() - 5]).is_err());
    }

    #[test]
    fn a_page_loses_its_times_alone() {
        let page = "<div><span>91 %</span></div><div><span>0.5 s</span><span>training, 2 epochs</span></div>\
                    <dl><div><dt>Seed</dt><dd>0</dd></div><div><dt>Started</dt><dd>now</dd></div></dl>";
        let expected = "<div><span>91 %</span></div><dl><div><dt>Seed</dt><dd>0</dd></div></dl>";
        assert_eq!(text(report(page.as_bytes())), expected);
    }

    fn file(about: &Value, tensors: &[u8]) -> Vec<u8> {
        let header = serde_json::json!({
            "__metadata__": {"tallow": about.to_string()},
            "a": {"data_offsets": [0, 4]}, "seconds": {"data_offsets": [4, 8]},
        });
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), tensors].concat()
    }

    #[test]
    fn a_checkpoint_keeps_its_numbers() {
        let of = |secs: f64, epoch: u64, tensors: &[u8]| {
            let state = serde_json::json!({"epoch": epoch, "train_secs": secs}).to_string();
            let about = serde_json::json!({"digest": secs.to_string(), "state": state});
            checkpoint(&file(&about, tensors)).unwrap()
        };
        assert_eq!(of(1.0, 1, b"abcdefgh"), of(2.0, 1, b"abcdefgh"));
        assert_ne!(of(1.0, 1, b"abcdefgh"), of(1.0, 2, b"abcdefgh"));
        assert_ne!(of(1.0, 1, b"abcdefgh"), of(1.0, 1, b"abcdefgi"));
    }

    #[test]
    fn features_keep_everything_but_their_seconds() {
        let of = |digest: &str, pictures: &str, tensors: &[u8]| {
            let about = serde_json::json!({"digest": digest, "pictures": pictures});
            features(&file(&about, tensors)).unwrap()
        };
        assert_eq!(of("1", "p", b"abcdefgh"), of("2", "p", b"abcd1234"));
        assert_ne!(of("1", "p", b"abcdefgh"), of("1", "q", b"abcdefgh"));
        assert_ne!(of("1", "p", b"abcdefgh"), of("1", "p", b"bbcdefgh"));
    }
}
