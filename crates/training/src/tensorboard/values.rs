//! The values of an event: scalars, texts, images and hyper-parameters, in the form that TensorBoard's plugins expect.
//!
//! Field numbers are those of `tensorboard/compat/proto/{event,summary,tensor}.proto` and
//! `tensorboard/plugins/hparams/{api,plugin_data}.proto`.

use super::proto::Message;

/// `DataType` of a tensor.
const DT_FLOAT: u64 = 1;
const DT_STRING: u64 = 7;
/// `DataClass` of a summary.
const TENSOR: u64 = 2;
/// `Status` of a hyper-parameter session.
const SUCCESS: u64 = 1;

/// One value of an event, under a tag.
#[derive(Clone, Debug)]
pub(crate) struct Value(Message);

impl Value {
    pub(crate) fn scalar(tag: &str, value: f64) -> Self {
        Self(tagged(tag).float(2, value as f32))
    }

    /// Creates a text in Markdown.
    pub(crate) fn text(tag: &str, markdown: &str) -> Self {
        let no_dimensions = Message::default();
        let tensor =
            Message::default().integer(1, DT_STRING).message(2, &no_dimensions).bytes(8, markdown.as_bytes());
        Self(tagged(tag).message(9, &metadata("text", &[]).integer(4, TENSOR)).message(8, &tensor))
    }

    /// Creates an image; returns `None` if `png` is not a PNG.
    pub(crate) fn image(tag: &str, png: &[u8]) -> Option<Self> {
        let header = png.get(..24).filter(|header| header.starts_with(b"\x89PNG\r\n\x1a\n"))?;
        let side = |at: usize| header[at..at + 4].iter().fold(0, |side, &byte| side << 8 | u64::from(byte));
        const RGBA: u64 = 4;
        let image =
            Message::default().integer(1, side(20)).integer(2, side(16)).integer(3, RGBA).bytes(4, png);
        Some(Self(tagged(tag).message(4, &image)))
    }

    /// Creates the hyper-parameters of a run that begins.
    pub(crate) fn hparams(hparams: &[(String, toml::Value)], time_unix_secs: f64) -> Self {
        let mut start = Message::default();
        for (key, value) in hparams {
            let value = match value {
                toml::Value::Integer(n) => Message::default().double(2, *n as f64),
                toml::Value::Float(x) => Message::default().double(2, *x),
                toml::Value::String(text) => Message::default().bytes(3, text.as_bytes()),
                toml::Value::Boolean(flag) => Message::default().integer(4, u64::from(*flag)),
                other => Message::default().bytes(3, other.to_string().as_bytes()),
            };
            start = start.message(1, &Message::default().bytes(1, key.as_bytes()).message(2, &value));
        }
        Self::session("_hparams_/session_start_info", 3, &start.double(5, time_unix_secs))
    }

    /// Creates the end of the session that [`hparams`](Self::hparams) began.
    pub(crate) fn hparams_end(time_unix_secs: f64) -> Self {
        let end = Message::default().integer(1, SUCCESS).double(2, time_unix_secs);
        Self::session("_hparams_/session_end_info", 4, &end)
    }

    /// Creates a value with `info` in its metadata. The tensor has no meaning; a summary must hold one.
    fn session(tag: &str, field: u64, info: &Message) -> Self {
        let content = Message::default().message(field, info);
        let one = Message::default().message(2, &Message::default().integer(1, 1));
        let tensor = Message::default().integer(1, DT_FLOAT).message(2, &one).bytes(5, &0f32.to_le_bytes());
        Self(
            tagged(tag)
                .message(9, &metadata("hparams", content.as_bytes()).integer(4, TENSOR))
                .message(8, &tensor),
        )
    }
}

fn tagged(tag: &str) -> Message {
    Message::default().bytes(1, tag.as_bytes())
}

fn metadata(plugin: &str, content: &[u8]) -> Message {
    Message::default().message(1, &Message::default().bytes(1, plugin.as_bytes()).bytes(2, content))
}

/// Returns the event that every file begins with.
pub(super) fn file_version(time_unix_secs: f64) -> Message {
    Message::default().double(1, time_unix_secs).bytes(3, b"brain.Event:2")
}

/// Returns an event with `values` at `step`.
pub(super) fn event(time_unix_secs: f64, step: u64, values: &[Value]) -> Message {
    let summary = values.iter().fold(Message::default(), |summary, value| summary.message(1, &value.0));
    Message::default().double(1, time_unix_secs).integer(2, step).message(5, &summary)
}
