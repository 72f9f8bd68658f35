//! The thread that computes: it takes what waits, has a model look at all of it once, and sends the answers back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tallow_core::{Silent, StopFlag};
use tallow_dataset::{Error as DataError, ImageSet};
use tallow_training::{Answer, Near, TrainingError};

use crate::answer::{Answered, Failed, Fault, Nearest};
use crate::posted::{Posted, PostedFiles};
use crate::queue::Job;
use crate::served::{Card, Served};
use crate::server::Shared;

/// Pictures that are taken at a time. The model looks at them in passes of its own size, and the next pass is decoded meanwhile.
const MAX_PICTURES: usize = 256;

/// Answers requests until the queue is closed and empty, or, in the middle of a batch, `abort` is raised.
pub(crate) fn work(models: &[Served], shared: &Shared, abort: &StopFlag) {
    while let Some(jobs) = shared.queue.take(MAX_PICTURES) {
        // nobody waits for the answer to a request that was given up
        let jobs: Vec<Job> = jobs.into_iter().filter(|job| !job.answers.is_closed()).collect();
        if let Some(model) = jobs.first().map(|job| job.model) {
            let asked = Asked { served: &models[model], card: &shared.cards[model], model, shared, abort };
            asked.answer(jobs);
        }
    }
}

/// The model that is asked.
struct Asked<'a> {
    served: &'a Served,
    card: &'a Card,
    /// Its place.
    model: usize,
    shared: &'a Shared,
    abort: &'a StopFlag,
}

/// Requests that a failure of the model left without an answer.
struct Unanswered {
    jobs: VecDeque<Job>,
    reason: String,
}

impl Asked<'_> {
    /// Answers all of `jobs`. Where the model fails at several together, each is asked alone, so that one costs no other its answer.
    fn answer(&self, jobs: Vec<Job>) {
        let Err(Unanswered { mut jobs, reason }) = self.look(jobs) else { return };
        match jobs.len() {
            1 => jobs.drain(..).for_each(|job| fail(job, &reason)),
            _ => jobs.into_iter().for_each(|job| self.answer(vec![job])),
        }
    }

    /// Has the model look at all pictures once; each request is answered as soon as its last picture is.
    fn look(&self, jobs: Vec<Job>) -> Result<(), Unanswered> {
        let start = Instant::now();
        let files: Vec<Posted> = jobs.iter().flat_map(|job| &job.files).cloned().collect();
        let n = files.len();
        let posted = Arc::new(PostedFiles { files, max_pixels: self.shared.limits.max_pixels });
        let (mut jobs, mut outcomes) = (VecDeque::from(jobs), Vec::new());
        let (mut n_answered, mut n_unreadable) = (0, 0);
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let set = ImageSet::of(posted.clone(), vec![0; n], self.card.classes.clone(), None)?;
            let on_answer = |answer| {
                let top_k = jobs.front().map_or(1, |job| job.top_k);
                let outcome = self.outcome(answer, &posted, top_k);
                *(if outcome.is_ok() { &mut n_answered } else { &mut n_unreadable }) += 1;
                outcomes.push(outcome);
                if let Some(job) = jobs.pop_front_if(|job| job.files.len() == outcomes.len()) {
                    let _ = job.answers.send(std::mem::take(&mut outcomes)); // it may have been given up
                }
                Ok(())
            };
            // from within the pool each kernel begins at once, where this thread would wake a thread of the pool and wait for it
            let set = Arc::new(set);
            rayon::scope(|_| {
                self.served.predictor.predict::<TrainingError>(&set, &Silent, self.abort, on_answer)
            })
        }));
        self.shared.metrics.looked(self.model, n_answered, n_unreadable, start.elapsed());
        match looked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Unanswered { jobs, reason: e.to_string() }),
            Err(_) => Err(Unanswered { jobs, reason: "the program failed at it, which is a bug".into() }),
        }
    }

    /// What is said of one picture.
    fn outcome(&self, answer: Answer, posted: &PostedFiles, top_k: usize) -> Result<Answered, Failed> {
        let i = answer.index as usize;
        let file = posted.files[i].name.clone();
        match answer.log_probs {
            Ok(log_probs) => {
                let nearest = self.served.training_images.as_ref();
                let nearest =
                    nearest.map(|set| answer.nearest.iter().map(|near| self.nearest(set, near)).collect());
                Ok(Answered::new(file, self.card, top_k, &log_probs, answer.typicality, nearest))
            }
            Err(error) => {
                let fault = if posted.is_too_large(i) { Fault::TooLarge } else { Fault::Unreadable };
                let reason = match error {
                    DataError::BadPicture(bad) => bad.reason,
                    other => other.to_string(),
                };
                Err(Failed { file, reason, fault })
            }
        }
    }

    fn nearest(&self, set: &ImageSet, near: &Near) -> Nearest {
        let i = near.index as usize;
        Nearest {
            class: set.class_names()[set.label(i) as usize].clone(),
            file: set.file(i).map(str::to_owned),
            similarity: near.similarity,
            picture: format!("/nearest/{}/{i}", self.model),
        }
    }
}

/// Says that the model failed, for each picture of a request.
fn fail(job: Job, reason: &str) {
    let failed = |file: &Posted| {
        Err(Failed { file: file.name.clone(), reason: reason.to_owned(), fault: Fault::Ours })
    };
    let outcomes = job.files.iter().map(failed).collect();
    let _ = job.answers.send(outcomes); // it may have been given up
}
