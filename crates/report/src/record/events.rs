//! Reads from `events.jsonl` what no other file holds: the start time, and what happened between epochs.
//!
//! Another crate writes the lines. Unknown lines are skipped, so that runs of newer programs can be shown too.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use tallow_core::{Foreign, files};

/// Largest length of the first line.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The events of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunEvents {
    /// Time of the first event, in seconds since 1970-01-01 UTC.
    pub started_unix_secs: Option<f64>,
    /// The epochs after which the learning rate was lowered, each with the new base rate.
    pub rate_lowered: Vec<(u64, f64)>,
    /// The epoch after which the run stopped early.
    pub stopped_early: Option<u64>,
    /// The epoch whose weights were restored at the end.
    pub best_restored: Option<u64>,
    /// Number of times that the run was resumed.
    pub n_resumed: u64,
    /// Notices to the user.
    pub notices: Vec<Foreign>,
    /// The steps of all epochs; each point combines a few consecutive steps.
    pub steps: Vec<StepPoint>,
    /// Names and versions of the training software, at the last start.
    pub versions: Vec<(&'static str, Foreign)>,
    /// The git commit of the folder that the run was last started in; it ends in `-dirty` if files had been changed.
    pub git_commit: Option<Foreign>,
}

/// A few consecutive steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPoint {
    /// Position of their middle, in epochs of training.
    pub epochs: f64,
    /// Mean cross-entropy of the steps.
    pub loss: f64,
    /// Learning rate of the first of them.
    pub learning_rate: f64,
}

/// Reads the start time from the first line of the file at `path`, if it can be read.
pub(super) fn first(path: &Path) -> RunEvents {
    let mut text = String::new();
    if let Ok(file) = files::open(path) {
        let _ = BufReader::new(file).take(MAX_LINE_BYTES).read_line(&mut text);
    }
    RunEvents::parse(&text)
}

/// The fields that are read from a line, for lines of every kind.
#[derive(Deserialize)]
struct EventLine {
    event: String,
    time_unix_secs: Option<f64>,
    epoch: Option<u64>,
    batch: Option<u64>,
    to: Option<f64>,
    text: Option<Foreign>,
    program: Option<Program>,
    record: Option<Record>,
    #[serde(default)]
    points: Vec<Point>,
}

/// The field of an epoch's record that is read.
#[derive(Deserialize)]
struct Record {
    epoch: u64,
}

/// A few consecutive steps of an epoch: the position of their middle as a share of the epoch, and their figures.
#[derive(Deserialize)]
struct Point {
    at: f64,
    loss: f64,
    learning_rate: f64,
}

/// The training software.
#[derive(Deserialize)]
struct Program {
    tallow: Option<Foreign>,
    candle: Option<Foreign>,
    git_commit: Option<Foreign>,
}

impl RunEvents {
    /// Returns the versions of the training software in words: `Tallow 0.1.0, Candle 0.11.1`.
    pub fn versions(&self) -> Option<String> {
        let named = self.versions.iter().map(|(name, version)| format!("{name} {}", version.shown()));
        (!self.versions.is_empty()).then(|| named.collect::<Vec<_>>().join(", "))
    }

    /// Reads every line that can be read. The last line of a killed run may be cut off.
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
                    // a later epoch belongs to an extension of the run
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
