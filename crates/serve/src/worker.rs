//! The thread that computes: takes the waiting requests of one model, predicts all their pictures together, and sends the answers
//! back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tallow_core::memory::Exhausted;
use tallow_core::{Silent, StopFlag};
use tallow_dataset::{Error as DataError, ImageSet};
use tallow_training::{Answer, Near, TrainingError};

use crate::answer::{Answered, Failed, Fault, Nearest};
use crate::posted::{Posted, PostedFiles};
use crate::queue::Job;
use crate::served::{Card, Served};
use crate::server::Shared;

/// Largest number of pictures that are taken from the queue at a time; a single request may have more. The predictor splits them
/// into passes. While one pass is computed, the pictures of the next are decoded.
const MAX_PICTURES: usize = 256;

/// Answers requests until the queue is closed and empty. If `abort` is raised, the current batch is not finished.
pub(crate) fn work(models: &[Served], shared: &Shared, abort: &StopFlag) {
    while let Some(jobs) = shared.queue.take(MAX_PICTURES) {
        // skips requests whose clients have gone
        let jobs: Vec<Job> = jobs.into_iter().filter(|job| !job.answers.is_closed()).collect();
        if let Some(model) = jobs.first().map(|job| job.model) {
            let asked = Asked { served: &models[model], card: &shared.cards[model], model, shared, abort };
            asked.answer(jobs);
        }
    }
}

/// The model that a batch is for.
struct Asked<'a> {
    served: &'a Served,
    card: &'a Card,
    /// The model's index.
    model: usize,
    shared: &'a Shared,
    abort: &'a StopFlag,
}

/// Requests without an answer after the model failed, and the reason.
struct Unanswered {
    jobs: VecDeque<Job>,
    reason: String,
}

impl Asked<'_> {
    /// Answers all of `jobs`. If the model fails on several requests together, each is repeated alone, so that only the request
    /// that causes the failure goes without an answer.
    fn answer(&self, jobs: Vec<Job>) {
        let Err(Unanswered { mut jobs, reason }) = self.look(jobs) else { return };
        match jobs.len() {
            1 => jobs.drain(..).for_each(|job| fail(job, &reason)),
            _ => jobs.into_iter().for_each(|job| self.answer(vec![job])),
        }
    }

    /// Predicts all pictures as one batch. Each request is answered as soon as its last picture has an outcome.
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
                    let _ = job.answers.send(std::mem::take(&mut outcomes)); // the client may have gone
                }
                Ok(())
            };
            // Inside rayon's pool each kernel starts at once. From this thread, each would have to wake the pool and wait for it.
            let set = Arc::new(set);
            rayon::scope(|_| {
                self.served.predictor.predict::<TrainingError>(&set, &Silent, self.abort, on_answer)
            })
        }));
        self.shared.metrics.looked(self.model, n_answered, n_unreadable, start.elapsed());
        match looked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Unanswered { jobs, reason: e.to_string() }),
            Err(payload) => {
                let reason = match payload.downcast_ref::<Exhausted>() {
                    Some(exhausted) => exhausted.to_string(),
                    None => "the program failed at it, which is a bug".into(),
                };
                Err(Unanswered { jobs, reason })
            }
        }
    }

    /// Converts the predictor's answer about one picture.
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
            file: set.file(i).cloned(),
            similarity: near.similarity,
            picture: format!("/nearest/{}/{i}", self.model),
        }
    }
}

/// Answers a request with `reason` for each of its pictures, after a failure of the model.
fn fail(job: Job, reason: &str) {
    let failed = |file: &Posted| {
        Err(Failed { file: file.name.clone(), reason: reason.to_owned(), fault: Fault::Ours })
    };
    let outcomes = job.files.iter().map(failed).collect();
    let _ = job.answers.send(outcomes); // the client may have gone
}
