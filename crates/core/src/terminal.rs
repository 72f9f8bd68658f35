//! Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere.
//!
//! Also how the binaries print an error. Behind the feature `terminal`, for the binaries alone.
#![expect(clippy::print_stderr, reason = "this is where the binaries' progress is printed")]

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::{Progress, Unit};

/// How often plain lines appear where there is no terminal.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(10);

/// Draws progress on standard error.
pub struct Terminal {
    quiet: bool,
    is_terminal: bool,
    work: Mutex<Option<Work>>,
}

struct Work {
    bar: ProgressBar,
    label: String,
    note: String,
    last_line: Instant,
}

impl Terminal {
    /// Draws bars and lines; nothing but what is said with `say` where `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, is_terminal: std::io::stderr().is_terminal(), work: Mutex::new(None) }
    }

    fn with_work(&self, act: impl FnOnce(&mut Work)) {
        if let Some(work) = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut() {
            act(work);
        }
    }
}

impl Progress for Terminal {
    fn begin(&self, label: &str, total: Option<u64>, unit: Unit) {
        let target = match self.is_terminal && !self.quiet {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(total, target).with_style(style(total.is_some(), unit));
        bar.set_prefix(label.to_owned());
        let work = Work { bar, label: label.to_owned(), note: String::new(), last_line: Instant::now() };
        *self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(work);
    }

    fn advance(&self, done: u64) {
        let plain = !self.is_terminal && !self.quiet;
        self.with_work(|work| {
            work.bar.set_position(done);
            if plain && work.last_line.elapsed() >= PLAIN_LINE_EVERY {
                work.last_line = Instant::now();
                eprintln!("{}", plain_line(work));
            }
        });
    }

    fn note(&self, text: &str) {
        self.with_work(|work| {
            work.note = text.to_owned();
            work.bar.set_message(text.to_owned());
        });
    }

    fn end(&self) {
        let work = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(work) = work {
            work.bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        let mut said = false;
        self.with_work(|work| {
            work.bar.suspend(|| eprintln!("{line}"));
            said = true;
        });
        if !said {
            eprintln!("{line}");
        }
    }
}

/// Prints an error on standard error, from its messages, outermost first. A cause that a message above has told already is left
/// out.
pub fn print_error(messages: impl IntoIterator<Item = String>) {
    eprintln!("error: {}", error_text(messages));
}

fn error_text(messages: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for message in messages {
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
    }
    text
}

fn style(bounded: bool, unit: Unit) -> ProgressStyle {
    let (count, rate) = match unit {
        Unit::Bytes => ("{bytes}/{total_bytes}", "{bytes_per_sec}".to_owned()),
        Unit::Items(name) => ("{human_pos}/{human_len}", format!("{{per_sec}} {name}")),
    };
    let template = match bounded {
        true => format!("{{prefix}} {{bar:28}} {count} {rate} {{eta}} left  {{msg}}"),
        false => format!("{{prefix}} {{spinner}} {} {rate}  {{msg}}", count.split('/').next().unwrap_or("")),
    };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn plain_line(work: &Work) -> String {
    let done = work.bar.position();
    let left = work.bar.eta().as_secs();
    match work.bar.length() {
        Some(total) if total > 0 => {
            let percent = 100.0 * done as f64 / total as f64;
            format!("{}: {percent:.0} % ({done} of {total}), {left} s left  {}", work.label, work.note)
        }
        _ => format!("{}: {done}  {}", work.label, work.note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let messages = ["cannot load x", "cannot read a.bin: denied", "denied"].map(str::to_owned);
        assert_eq!(error_text(messages), "cannot load x: cannot read a.bin: denied");
    }
}
