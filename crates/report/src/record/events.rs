//! What `events.jsonl` tells that no other file does: when, and what happened between epochs.
//!
//! The lines are another crate's; what is not understood is passed over, so that newer runs can be shown too.

use serde::Deserialize;

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
}

impl RunEvents {
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
                    found.n_resumed += u64::from(epoch > 1 || line.batch.unwrap_or(0) > 0)
                }
                ("notice", _) => found.notices.extend(line.text),
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
{"version":1,"event":"started","epoch":4,"batch":0}
{"version":1,"event":"notice","text":"<b>"}
{"version":1,"event":"stopped_early","epoch":7}
{"version":1,"event":"best_rest"#;
        let expected = RunEvents {
            started_unix_secs: Some(5.5),
            rate_lowered: vec![(3, 0.05)],
            stopped_early: Some(7),
            best_restored: None,
            n_resumed: 1,
            notices: vec!["<b>".into()],
        };
        assert_eq!(RunEvents::parse(text), expected);
    }
}
