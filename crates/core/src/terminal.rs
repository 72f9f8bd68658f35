//! Progress on standard error: a bar with rate and time left on a terminal, plain lines if there is no terminal.
//!
//! The module also prints the errors of the binaries. It is behind the feature `terminal`, for the binaries only.
//!
//! Everything passes [`shown_lines`] or [`printable`]: whatever a caller forgot to escape, no character that acts reaches the
//! terminal, except the codes of the bars themselves and colours.
#![expect(clippy::disallowed_methods, reason = "this is the way to standard error")]

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::duration;
use crate::progress::{Progress, Unit};
use crate::shown::{printable, shown_lines};

/// Interval between plain lines if there is no terminal.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(10);

/// Draws progress on standard error.
pub struct Terminal {
    quiet: bool,
    is_terminal: bool,
    work: Mutex<Option<Work>>,
}

struct Work {
    bar: ProgressBar,
    /// Amount of work done before this run. It does not count for the rate.
    done_before: u64,
    label: String,
    note: String,
    last_line: Instant,
}

impl Terminal {
    /// Returns a drawer of bars and lines, which prints nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, is_terminal: io::stderr().is_terminal(), work: Mutex::new(None) }
    }

    fn with_work(&self, act: impl FnOnce(&mut Work)) {
        if let Some(work) = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut() {
            act(work);
        }
    }
}

impl Progress for Terminal {
    fn begin(&self, label: &str, total: Option<u64>, unit: Unit) {
        self.go_on(label, total, unit, 0);
    }

    fn go_on(&self, label: &str, total: Option<u64>, unit: Unit, done: u64) {
        let target = match self.is_terminal && !self.quiet {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        };
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0.into());
        let label = shown_lines(label).into_owned();
        let bar = ProgressBar::with_draw_target(total, target).with_position(done);
        let bar = bar.with_style(style(total.is_some(), unit, columns, done)).with_prefix(label.clone());
        let work = Work { bar, done_before: done, label, note: String::new(), last_line: Instant::now() };
        *self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(work);
    }

    fn advance(&self, done: u64) {
        let plain = !self.is_terminal && !self.quiet;
        self.with_work(|work| {
            work.bar.set_position(done);
            if plain && work.last_line.elapsed() >= PLAIN_LINE_EVERY {
                work.last_line = Instant::now();
                print_line(&plain_line(work));
            }
        });
    }

    fn note(&self, text: &str) {
        self.with_work(|work| {
            work.note = shown_lines(text).into_owned();
            work.bar.set_message(work.note.clone());
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
            work.bar.suspend(|| print_line(line));
            said = true;
        });
        if !said {
            print_line(line);
        }
    }
}

/// Prints a line on standard error. A line that cannot be printed is dropped: a run must not end because its messages have no
/// reader.
fn print_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown_lines(line));
}

/// Standard error for texts of other crates, such as diagnostics. They must be written as whole texts, not in pieces.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Prints an error on standard error from its messages, outermost first. Skips a cause that an earlier message
/// already contains.
pub fn print_error(messages: impl IntoIterator<Item = String>) {
    print_line(&format!("error: {}", error_text(messages)));
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

/// Returns the style of a bar that fits into `columns` columns. A narrow bar leaves parts out.
fn style(bounded: bool, unit: Unit, columns: usize, done_before: u64) -> ProgressStyle {
    let count = match unit {
        Unit::Bytes => "{bytes}/{total_bytes}",
        Unit::Items(_) => "{human_pos}/{human_len}",
    };
    let template = match (bounded, columns) {
        (true, 100..) => format!("{{prefix}} {{bar:28}} {count} {{rate}} {{left}} left  {{wide_msg}}"),
        (true, 64..) => format!("{{prefix}} {{bar:8}} {count} {{left}} left  {{wide_msg}}"),
        (true, _) => "{prefix} {percent} % {wide_msg}".to_owned(),
        (false, 64..) => {
            format!("{{prefix}} {{spinner}} {} {{rate}}  {{wide_msg}}", count.split('/').next().unwrap_or(""))
        }
        (false, _) => "{prefix} {spinner} {wide_msg}".to_owned(),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .with_key("rate", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&rate_text(per_second(state.pos(), done_before, state.elapsed()), unit));
        })
        .with_key("left", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let rate = per_second(state.pos(), done_before, state.elapsed());
            let _ = out.write_str(&left_text(state.pos(), state.len(), rate));
        })
}

/// Returns the amount of this run's work per second; `None` if nothing is done yet.
fn per_second(done: u64, done_before: u64, elapsed: Duration) -> Option<f64> {
    let n = done.saturating_sub(done_before);
    (n > 0 && !elapsed.is_zero()).then(|| n as f64 / elapsed.as_secs_f64())
}

fn rate_text(rate: Option<f64>, unit: Unit) -> String {
    match (rate, unit) {
        (None, _) => String::new(),
        (Some(rate), Unit::Bytes) => format!("{}/s", HumanBytes(rate as u64)),
        (Some(rate), Unit::Items(name)) if rate < 10.0 => format!("{rate:.1} {name}/s"),
        (Some(rate), Unit::Items(name)) => format!("{rate:.0} {name}/s"),
    }
}

fn left_text(done: u64, total: Option<u64>, rate: Option<f64>) -> String {
    match total.zip(rate) {
        Some((total, rate)) => duration(total.saturating_sub(done) as f64 / rate),
        None => "?".to_owned(),
    }
}

fn plain_line(work: &Work) -> String {
    let done = work.bar.position();
    match work.bar.length() {
        Some(total) if total > 0 => {
            let percent = 100.0 * done as f64 / total as f64;
            let left = left_text(done, Some(total), per_second(done, work.done_before, work.bar.elapsed()));
            format!("{}: {percent:.0} % ({done} of {total}), {left} left  {}", work.label, work.note)
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
    /// Work done before a resume does not count for the rate: 10 of 100 items are left at 1 item per second, so 10
    /// seconds are left.
    #[test]
    fn the_time_left_is_by_what_was_seen() {
        let rate = per_second(90, 80, Duration::from_secs(10));
        assert_eq!(rate, Some(1.0));
        assert_eq!(left_text(90, Some(100), rate), "10s");
        assert_eq!(left_text(80, Some(100), per_second(80, 80, Duration::from_secs(10))), "?");
    }

    #[test]
    fn rates_have_their_unit() {
        assert_eq!(rate_text(Some(3.25), Unit::Items("steps")), "3.2 steps/s");
        assert_eq!(rate_text(Some(1234.5), Unit::Items("images")), "1234 images/s");
        assert_eq!(rate_text(Some(2048.0), Unit::Bytes), "2.00 KiB/s");
        assert_eq!(rate_text(None, Unit::Bytes), "");
    }
}
