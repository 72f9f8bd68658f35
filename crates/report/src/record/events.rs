//! What `events.jsonl` tells that no other file does: when, and what happened between epochs.
//!
//! The lines are another crate's; what is not understood is passed over, so that newer runs can be shown too.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;

/// No line is longer.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunEvents {
    /// Seconds since 1970-01-01 UTC at the first event.
    pub started_unix_secs: Option<f64>,
    /// After which epochs the learning rate was lowered, and to what base rate.
    pub rate_lowered: Vec<(u64, f64)>,
    /// After which epoch the run ended early.
    pub stopped_early: Option<u64>,
    /// The epoch whose weights were taken up again at the end.
    pub best_restored: Option<u64>,
    /// How often the run was gone on with.
    pub n_resumed: u64,
    /// Notices to the user.
    pub notices: Vec<String>,
    /// The steps of all epochs, a few at a time.
    pub steps: Vec<StepPoint>,
    /// Names and versions of what trained, at the last start.
    pub versions: Vec<(&'static str, String)>,
    /// The commit of the folder in which the run was last started; it ends in `-dirty` where files had been changed.
    pub git_commit: Option<String>,
}

/// Some steps that followed one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPoint {
    /// Epochs of training before their middle.
    pub epochs: f64,
    /// Their mean cross-entropy.
    pub loss: f64,
    /// The learning rate of the first.
    pub learning_rate: f64,
}

/// What the first line of the file at `path` tells, where it can be read: when the run was started.
pub(super) fn first(path: &Path) -> RunEvents {
    let mut text = String::new();
    // a pipe of that name would never answer
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        let _ = BufReader::new(file).take(MAX_LINE_BYTES).read_line(&mut text);
    }
    RunEvents::parse(&text)
}

/// The fields of a line that are read, whatever its kind.
#[derive(Deserialize)]
struct EventLine {
    event: String,
    time_unix_secs: Option<f64>,
    epoch: Option<u64>,
    batch: Option<u64>,
    to: Option<f64>,
    text: Option<String>,
    program: Option<Program>,
    record: Option<Record>,
    #[serde(default)]
    points: Vec<Point>,
}

/// Of what an epoch came to.
#[derive(Deserialize)]
struct Record {
    epoch: u64,
}

/// Some steps of an epoch: the share of it that their middle has before it, and their figures.
#[derive(Deserialize)]
struct Point {
    at: f64,
    loss: f64,
    learning_rate: f64,
}

/// What trained.
#[derive(Deserialize)]
struct Program {
    tallow: Option<String>,
    candle: Option<String>,
    git_commit: Option<String>,
}

impl RunEvents {
    /// What trained, in words: `Tallow 0.1.0, Candle 0.11.1`.
    pub fn versions(&self) -> Option<String> {
        let named = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        (!self.versions.is_empty()).then(|| named.collect::<Vec<_>>().join(", "))
    }

    /// Reads the lines that can be read: the last one of a run that was killed may be cut off.
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<EventLine>(line).ok()) {
            found.started_unix_secs = found.started_unix_secs.or(line.time_unix_secs);
            match (line.event.as_str(), line.epoch) {
                ("rate_lowered", Some(epoch)) => found.rate_lowered.extend(line.to.map(|to| (epoch, to))),
                ("stopped_early", epoch) => found.stopped_early = epoch,
                ("best_restored", epoch) => found.best_restored = epoch,
                ("started", Some(epoch)) => {
                    found.n_resumed += u64::from(epoch > 1 || line.batch.unwrap_or(0) > 0);
                    if let Some(program) = line.program {
                        let versions = [("Tallow", program.tallow), ("Candle", program.candle)];
                        found.versions = versions
                            .into_iter()
                            .filter_map(|(name, version)| Some((name, version?)))
                            .collect();
                        found.git_commit = program.git_commit;
                    }
                }
                ("notice", _) => found.notices.extend(line.text),
                ("epoch", _) => {
                    // an epoch after that is one of an extension
                    (found.stopped_early, found.best_restored) = (None, None);
                    let before = line.record.map_or(0, |record| record.epoch.saturating_sub(1)) as f64;
                    found.steps.extend(line.points.into_iter().map(|Point { at, loss, learning_rate }| {
                        StepPoint { epochs: before + at, loss, learning_rate }
                    }));
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_taken_and_the_rest_passed_over() {
        let text = r#"{"version":1,"time_unix_secs":5.5,"event":"started","epoch":1,"batch":0}
{"version":1,"time_unix_secs":6,"event":"rate_lowered","epoch":3,"from":0.1,"to":0.05}
{"version":9,"event":"a new kind"}
{"version":1,"event":"epoch","record":{"epoch":2,"loss":1.0},"points":[{"at":0.5,"loss":1.25,"learning_rate":0.1}]}
{"version":1,"event":"started","epoch":4,"batch":0,"program":{"tallow":"0.2.0","candle":null,"git_commit":"c0ffee-dirty"}}
{"version":1,"event":"notice","text":"<b>"}
{"version":1,"event":"stopped_early","epoch":7}
{"version":1,"event":"tested","epoch":7,"score":{"accuracy":0.5,"loss":1.5,"accuracy_interval":[0.25,0.75]}}
{"version":1,"event":"best_rest"#;
        let expected = RunEvents {
            started_unix_secs: Some(5.5),
            rate_lowered: vec![(3, 0.05)],
            stopped_early: Some(7),
            best_restored: None,
            n_resumed: 1,
            notices: vec!["<b>".into()],
            steps: vec![StepPoint { epochs: 1.5, loss: 1.25, learning_rate: 0.1 }],
            versions: vec![("Tallow", "0.2.0".into())],
            git_commit: Some("c0ffee-dirty".into()),
        };
        assert_eq!(RunEvents::parse(text), expected);
    }
}
