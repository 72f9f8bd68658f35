//! What libraries report to while they work. They know nothing of terminals: a binary hands in something that draws
//! (see `terminal`, behind a feature), a test hands in [`Silent`].

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as KiB, MiB, …
    Bytes,
    /// Things, with their name in the plural: `"images"`, `"steps"`.
    Items(&'static str),
}

/// One piece of long work at a time: `begin`, then `advance` and `note` as often as liked, then `end`.
pub trait Progress: Send + Sync {
    /// Work called `label` begins; `total` is how much there is, where that is known.
    fn begin(&self, label: &str, total: Option<u64>, unit: Unit);
    /// As [`begin`](Self::begin), where `done` of the total was done by somebody before: it tells nothing of the rate.
    fn go_on(&self, label: &str, total: Option<u64>, unit: Unit, done: u64) {
        self.begin(label, total, unit);
        self.advance(done);
    }
    /// `done` of the total is done (not: more than before).
    fn advance(&self, done: u64);
    /// A short text beside the bar, such as the current loss; replaces the one before.
    fn note(&self, text: &str);
    /// The work is over, well or not.
    fn end(&self);
    /// A line that stays, above whatever bar is drawn.
    fn say(&self, line: &str);
}

/// A piece of work that ends with its scope, whatever way that is left.
pub struct Bar<'a>(&'a dyn Progress);

impl<'a> Bar<'a> {
    /// Begins the work, as [`Progress::begin`].
    pub fn begin(progress: &'a dyn Progress, label: &str, total: Option<u64>, unit: Unit) -> Self {
        progress.begin(label, total, unit);
        Self(progress)
    }

    /// Begins the work where it was left, as [`Progress::go_on`].
    pub fn go_on(progress: &'a dyn Progress, label: &str, total: Option<u64>, unit: Unit, done: u64) -> Self {
        progress.go_on(label, total, unit, done);
        Self(progress)
    }

    /// As [`Progress::advance`].
    pub fn advance(&self, done: u64) {
        self.0.advance(done);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Progress that nobody sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str, _total: Option<u64>, _unit: Unit) {}
    fn advance(&self, _done: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
}
