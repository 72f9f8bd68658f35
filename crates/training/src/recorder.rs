//! Writes the logs of a run. The session passes its events to the recorder. The recorder decides which of `history.csv`,
//! `events.jsonl` and `events.out.tfevents.*` an event goes to, and how these files are cut back to a checkpoint.
//!
//! `run_folder.rs` keeps files whole, and `tensorboard` writes the TensorBoard format. The session writes its checkpoints and
//! the final files of a run into the folder that the recorder holds.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tallow_core::FileError;
use tallow_metrics::{EpochRecord, TestScore, history_to_csv};
use tallow_run_files::{EVENTS, HISTORY};

use crate::checkpoint::encoding;
use crate::error::Result;
use crate::event::Event;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;
use crate::state::State;
use crate::tensorboard::EventFile;

/// The version of the lines of `events.jsonl`.
const EVENTS_VERSION: u32 = 1;

/// A line of `events.jsonl`.
#[derive(Serialize)]
struct EventLine<'a> {
    version: u32,
    /// Seconds since 1970-01-01 UTC.
    time_unix_secs: f64,
    #[serde(flatten)]
    event: &'a Event,
}

/// Writes a run's logs.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) run: RunFolder,
    /// Whether epochs end with validation, so that `history.csv` has its columns. The data decide: a recipe may ask for
    /// validation and leave no image to it.
    has_validation: bool,
    /// The TensorBoard file; open once the run is at work.
    event_file: Option<EventFile>,
}

impl Recorder {
    pub(crate) fn new(run: RunFolder, has_validation: bool) -> Self {
        Self { run, has_validation, event_file: None }
    }

    /// Cuts `history.csv` and `events.jsonl` back to their content when the checkpoint with `state` was written.
    pub(crate) fn cut_back(&self, state: &State) -> Result<()> {
        if self.events_bytes() > state.events_bytes {
            let cut = self.run.events.set_len(state.events_bytes);
            cut.map_err(FileError::writing(&self.run.path().join(EVENTS)))?;
        }
        self.run.write(HISTORY, history_to_csv(&state.history, self.has_validation).as_bytes())
    }

    /// Begins the TensorBoard file, or continues it at the length recorded in `state`.
    pub(crate) fn open_event_file(&mut self, state: &State, recipe: &Recipe) -> Result<()> {
        let (file, is_new) = EventFile::open(self.run.path(), state.tfevents_bytes)?;
        if is_new {
            file.begin(recipe)?;
        }
        self.event_file = Some(file);
        Ok(())
    }

    /// Writes `event` to the logs it belongs to.
    pub(crate) fn record(&self, event: &Event) -> Result<()> {
        if let Event::Epoch { record, .. } = event {
            self.append_history(record)?;
        }
        if let Some(file) = &self.event_file {
            file.record(event)?;
        }
        match event {
            Event::Step { .. } => Ok(()),
            _ => self.append_event(event),
        }
    }

    /// Writes the end of the TensorBoard file: the test's score, and `pictures` under their tags. Replaces what follows the
    /// checkpoint with `state`, so it can be repeated.
    pub(crate) fn record_end(
        &self,
        state: &State,
        recipe: &Recipe,
        score: Option<TestScore>,
        pictures: &[(String, Vec<u8>)],
    ) -> Result<()> {
        let (file, is_new) = EventFile::open(self.run.path(), state.tfevents_bytes)?;
        if is_new {
            file.begin(recipe)?;
        }
        if let Some(score) = score {
            file.record(&Event::Tested { epoch: state.epoch, score })?;
        }
        for (tag, png) in pictures {
            file.append_picture(state.epoch, tag, png)?;
        }
        file.sync()?;
        Ok(())
    }

    /// Records the lengths of the logs in `state`, for a checkpoint. By then the logs are on disk.
    pub(crate) fn note_lengths(&self, state: &mut State) -> Result<()> {
        state.events_bytes = self.events_bytes();
        state.tfevents_bytes = self.sync()?;
        Ok(())
    }

    /// Syncs the TensorBoard file, the only log that is not synced event by event, and returns its length in bytes.
    pub(crate) fn sync(&self) -> Result<u64> {
        self.event_file.as_ref().map_or(Ok(0), EventFile::sync)
    }

    /// Appends one row to `history.csv`.
    fn append_history(&self, record: &EpochRecord) -> Result<()> {
        let path = self.run.path().join(HISTORY);
        let append = |path: &Path| -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(path)?;
            file.write_all(format!("{}\n", record.to_csv_row(self.has_validation)).as_bytes())?;
            file.sync_data()
        };
        Ok(append(&path).map_err(FileError::writing(&path))?)
    }

    /// Appends one line to `events.jsonl`.
    fn append_event(&self, event: &Event) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = EventLine { version: EVENTS_VERSION, time_unix_secs: now.as_secs_f64(), event };
        let mut line = serde_json::to_string(&line).map_err(encoding)?;
        line.push('\n');
        let mut events = &self.run.events;
        let written = events.write_all(line.as_bytes()).and_then(|()| events.sync_data());
        Ok(written.map_err(FileError::writing(&self.run.path().join(EVENTS)))?)
    }

    /// Returns the length of `events.jsonl` in bytes.
    fn events_bytes(&self) -> u64 {
        self.run.events.metadata().map_or(0, |m| m.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tallow_nn::Tensors;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::recipe_source::load_recipe;
    use crate::run_folder::RunPlace;
    use crate::step_points::StepPoint;

    fn step(step: u64) -> Event {
        Event::Step { step, accuracy: 0.5, loss: 2.0, optimized_loss: 2.5, learning_rate: 0.1 }
    }

    fn epoch(epoch: u64) -> (EpochRecord, Event) {
        let record = EpochRecord {
            epoch,
            accuracy: 0.5,
            loss: 2.0,
            optimized_loss: Some(2.25),
            val_accuracy: Some(0.25),
            val_loss: Some(2.5),
            learning_rate: 0.1,
        };
        let images_per_second = Some(1e3);
        (
            record,
            Event::Epoch {
                record,
                n_epochs: 2,
                n_steps: 10,
                secs: 1.5,
                step_ms: 2.0,
                images_per_second,
                points: vec![StepPoint { at: 0.5, loss: 2.0, learning_rate: 0.1 }],
            },
        )
    }

    /// `history.csv`, `events.jsonl` without its times, and the length of the event file.
    fn logs(recorder: &Recorder) -> (String, Vec<String>, u64) {
        let read = |name: &str| fs::read_to_string(recorder.run.path().join(name)).unwrap();
        let untimed = |line: &str| {
            let (version, rest) = line.split_once(r#","time_unix_secs":"#).unwrap();
            format!("{version},{}", rest.split_once(',').unwrap().1)
        };
        let n_bytes = recorder.event_file.as_ref().unwrap().sync().unwrap();
        (read("history.csv"), read("events.jsonl").lines().map(untimed).collect(), n_bytes)
    }

    #[test]
    fn an_event_goes_where_it_belongs_and_back_to_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = load_recipe("cnn", &[]).unwrap();
        let mut state = State::new(&recipe, "", &[], None);
        let (model, optimizer) = (Tensors::new(), Tensors::new());
        let checkpoint = Checkpoint { state: state.clone(), model, optimizer, average: None };
        let place = RunPlace::At(folder.path().join("run"));
        let run = RunFolder::create(&place, &recipe, &history_to_csv(&[], true), &checkpoint).unwrap();
        let mut recorder = Recorder::new(run, true);
        recorder.open_event_file(&state, &recipe).unwrap();
        let begun = logs(&recorder);
        assert_eq!(begun.0, "epoch,accuracy,loss,optimized_loss,val_accuracy,val_loss,learning_rate\n");

        recorder.record(&step(9)).unwrap();
        assert_eq!(logs(&recorder), begun, "of ten steps one is shown");
        recorder.record(&step(10)).unwrap();
        let stepped = logs(&recorder);
        assert!((&stepped.0, &stepped.1) == (&begun.0, &begun.1) && stepped.2 > begun.2);

        let (record, event) = epoch(1);
        recorder.record(&event).unwrap();
        state.history.push(record);
        recorder.note_lengths(&mut state).unwrap();
        let saved = logs(&recorder);
        assert_eq!(saved.0, format!("{}1,0.5,2,2.25,0.25,2.5,0.1\n", begun.0));
        let line = r#"{"version":1,"event":"epoch","record":{"epoch":1,"accuracy":0.5,"loss":2.0,"optimized_loss":2.25,"val_accuracy":0.25,"val_loss":2.5,"learning_rate":0.1},"n_epochs":2,"n_steps":10,"secs":1.5,"step_ms":2.0,"points":[{"at":0.5,"loss":2.0,"learning_rate":0.1}]}"#;
        assert_eq!(saved.1, [line]);

        recorder.record(&epoch(2).1).unwrap();
        let score = TestScore { accuracy: 0.5, loss: 1.5, accuracy_interval: [0.25, 0.75] };
        recorder.record(&Event::Tested { epoch: 2, score }).unwrap();
        let ended = logs(&recorder);
        let line = r#"{"version":1,"event":"tested","epoch":2,"score":{"accuracy":0.5,"loss":1.5,"accuracy_interval":[0.25,0.75]}}"#;
        assert_eq!((ended.0.lines().count(), ended.1.len(), &*ended.1[2]), (3, 3, line));
        assert!(ended.2 > saved.2);

        recorder.cut_back(&state).unwrap();
        recorder.open_event_file(&state, &recipe).unwrap();
        assert_eq!(logs(&recorder), saved);

        let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        let pictures = [("a".to_owned(), png)];
        let end = || {
            recorder.record_end(&state, &recipe, Some(score), &pictures).unwrap();
            logs(&recorder)
        };
        let first = end();
        assert!(first.2 > saved.2 && (&first.0, &first.1) == (&saved.0, &saved.1));
        assert_eq!(end(), first, "the end can be written again");
    }
}
