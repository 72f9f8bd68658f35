//! The result of a campaign: counts by kind of training.

use super::faults::Fault;

/// Counts of a kind of training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that were disturbed and compared.
    pub runs: u64,
    /// Processes ended by SIGKILL.
    pub kills: u64,
    /// Processes ended by another signal.
    pub signals: u64,
    /// Processes with a failed call, a short write or a full disk.
    pub faults: u64,
    /// States of the disk after a power loss.
    pub power_losses: u64,
    /// Processes that resumed a run.
    pub resumes: u64,
    /// Unfinished files that were left in the end.
    pub left_over: u64,
    /// Runs that differed from the undisturbed one, or a process of which ended in no sane way.
    pub differences: u64,
}

impl Counts {
    const HEADER: [&str; 9] =
        ["kind", "runs", "kills", "signals", "faults", "power losses", "resumes", "left over", "differences"];

    /// Counts a process that was disturbed.
    pub fn add(&mut self, fault: Fault) {
        *match fault {
            Fault::Kill | Fault::KillAtCall => &mut self.kills,
            Fault::Signal => &mut self.signals,
            Fault::ErrorAtCall | Fault::FullDisk | Fault::ShortWrite => &mut self.faults,
            Fault::PowerLoss => &mut self.power_losses,
        } += 1;
    }

    /// Returns the sums of two counts.
    pub fn plus(&self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            kills: self.kills + other.kills,
            signals: self.signals + other.signals,
            faults: self.faults + other.faults,
            power_losses: self.power_losses + other.power_losses,
            resumes: self.resumes + other.resumes,
            left_over: self.left_over + other.left_over,
            differences: self.differences + other.differences,
        }
    }

    fn figures(&self) -> [u64; 8] {
        let Self { runs, kills, signals, faults, power_losses, resumes, left_over, differences } = *self;
        [runs, kills, signals, faults, power_losses, resumes, left_over, differences]
    }
}

/// Returns the table of the kinds and of all together.
pub fn table(rows: &[(&str, Counts)]) -> String {
    let sum = rows.iter().fold(Counts::default(), |sum, (_, counts)| sum.plus(*counts));
    let all = rows.iter().copied().chain([("all", sum)]);
    let line = |first: &str, rest: &[String]| {
        let widths = Counts::HEADER[1..].iter().map(|name| name.len());
        let cells = rest.iter().zip(widths).map(|(text, width)| format!("  {text:>width$}"));
        format!("{first:<8}{}\n", cells.collect::<String>())
    };
    let header = Counts::HEADER[1..].iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let rows = all.map(|(name, counts)| line(name, &counts.figures().map(|n| n.to_string())));
    [line(Counts::HEADER[0], &header)].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_rows_and_the_last_is_the_sum() {
        let mut counts = Counts { runs: 3, ..Counts::default() };
        [Fault::Kill, Fault::KillAtCall, Fault::PowerLoss].into_iter().for_each(|fault| counts.add(fault));
        let text = table(&[("cnn", counts), ("folds", Counts { runs: 1234, ..Counts::default() })]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["cnn", "3", "2", "0", "0", "1", "0", "0", "0"]);
        assert_eq!(lines[3], ["all", "1237", "2", "0", "0", "1", "0", "0", "0"]);
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }
}
