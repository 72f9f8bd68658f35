//! The end of a run after its results: steps that the caller brings, such as a report.
//!
//! `checkpoints/ending` is there from before `summary.json` is written until the last step is taken, and has a line for each
//! step that was taken. So a run that is killed on the way is resumed with the next step, and has ended if it has a summary
//! and no such file. That is also true of the runs of older programs, which had no such steps.

use std::sync::Arc;

use tallow_core::StopSignal;
use tallow_metrics::Summary;
use tallow_run_files::{ENDING, MODEL};

use crate::error::Result;
use crate::event::Event;
use crate::model_file::read_model;
use crate::session::{Outcome, Session, Watch};

/// A step of the end of a run, taken when the results are written.
pub struct EndStep<'a> {
    /// The name under which the run folder remembers that the step was taken.
    pub name: &'static str,
    /// Takes the step, and returns whether it succeeded; the caller reports why it did not. The step may be taken again, and
    /// replaces what it wrote before.
    pub take: Box<dyn Fn(&Session) -> bool + 'a>,
}

impl Session {
    /// Requests that the steps of the end are taken again, all of them, if the run is over.
    pub fn repeat_end(&mut self) {
        if self.finished.is_some() {
            self.taken.get_or_insert_default();
        }
    }

    /// Takes those of `steps` that were not `taken` yet. A failed step does not stop the others. But those after it may build
    /// on it, so that a resumed run takes all of them again.
    pub(crate) fn take_steps(&self, steps: &[EndStep<'_>], mut taken: Vec<String>) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let run = &self.recorder.run;
        let mut all_taken = true;
        for step in steps {
            if all_taken && taken.iter().any(|name| name == step.name) {
                continue;
            }
            all_taken &= (step.take)(self);
            if all_taken {
                taken.push(step.name.to_owned());
                run.write_ending(&taken)?;
            }
        }
        if all_taken {
            run.remove(ENDING)?;
        }
        Ok(())
    }

    /// Ends a run that had its results, `summary`, when it was resumed: takes the steps that are left, if any.
    pub(crate) fn end_again(
        &mut self,
        summary: Summary,
        watch: &mut Watch<'_>,
        steps: &[EndStep<'_>],
    ) -> Result<Outcome> {
        self.comm = Arc::default(); // the other processes have no steps to take
        let taken = self.taken.take().filter(|_| !steps.is_empty());
        let text = match &taken {
            None => "the run is over, and nothing is left to train; a larger --epochs would extend it",
            Some(_) => "the run is trained and tested; only the rest of its end is left",
        };
        (watch.on_event)(&Event::Notice { text: text.to_owned() });
        if let Some(taken) = taken {
            self.recorder.run.write_ending(&taken)?;
            self.load_tested()?;
            self.feeds = self.feeds(watch)?;
            if self.feeds.is_none() {
                return Ok(Outcome::Interrupted(watch.stop.raised().unwrap_or(StopSignal::Interrupt)));
            }
            self.take_steps(steps, taken)?;
        }
        Ok(Outcome::Finished(Box::new(summary)))
    }

    /// Loads the weights that were tested; the checkpoint has those of the last step.
    fn load_tested(&mut self) -> Result<()> {
        // the run of a fold has no model file, and is never extended: its best epoch is that of the checkpoint
        if self.recipe.data.fold.is_some() {
            self.best = self.read_best()?;
            return self.load_best().map(drop);
        }
        let model = read_model(&self.run_dir().join(MODEL))?;
        Ok(self.learner.model.params.load_tensors(&model.weights)?)
    }
}
