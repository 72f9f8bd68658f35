//! The interface through which libraries report progress. Libraries know nothing of terminals: a binary passes an
//! implementation that draws (see `terminal`, behind a feature), a test passes [`Silent`].

/// The unit in which work is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as KiB, MiB, …
    Bytes,
    /// Items, with their name in the plural: `"images"`, `"steps"`.
    Items(&'static str),
}

/// Receiver of progress reports on one piece of long work at a time: `begin`, then any number of `advance` and
/// `note`, then `end`.
pub trait Progress: Send + Sync {
    /// Begins work with the name `label`. `total` is the amount of work, if it is known.
    fn begin(&self, label: &str, total: Option<u64>, unit: Unit);
    /// Begins work like [`begin`](Self::begin), of which an earlier run has already done `done` of the total. That
    /// part does not count for the rate.
    fn go_on(&self, label: &str, total: Option<u64>, unit: Unit, done: u64) {
        self.begin(label, total, unit);
        self.advance(done);
    }
    /// Reports that `done` of the total is done, counted from the beginning of the work (not from the last call).
    fn advance(&self, done: u64);
    /// Shows a short text beside the bar, such as the current loss. The text replaces the previous note.
    fn note(&self, text: &str);
    /// Ends the work, whether it succeeded or failed.
    fn end(&self);
    /// Prints a line that stays, above the bar if one is drawn.
    fn say(&self, line: &str);
}

/// A piece of work that ends when this value goes out of scope, also on an early return.
pub struct Bar<'a>(&'a dyn Progress);

impl<'a> Bar<'a> {
    /// Begins the work like [`Progress::begin`].
    pub fn begin(progress: &'a dyn Progress, label: &str, total: Option<u64>, unit: Unit) -> Self {
        progress.begin(label, total, unit);
        Self(progress)
    }

    /// Resumes the work like [`Progress::go_on`].
    pub fn go_on(progress: &'a dyn Progress, label: &str, total: Option<u64>, unit: Unit, done: u64) -> Self {
        progress.go_on(label, total, unit, done);
        Self(progress)
    }

    /// Reports progress like [`Progress::advance`].
    pub fn advance(&self, done: u64) {
        self.0.advance(done);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Discards all progress reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str, _total: Option<u64>, _unit: Unit) {}
    fn advance(&self, _done: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
}
