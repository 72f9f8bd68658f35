//! Formats durations, times, and numbers of epochs and threads for people.

/// Formats a duration: "4.3 s", "34 s", "2 min 51 s", "1 h 5 min".
pub(crate) fn duration(secs: f64) -> String {
    let whole = secs.max(0.0).round() as u64;
    match whole {
        0..10 => format!("{secs:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Formats a number of epochs: "1 epoch", "20 epochs".
pub(crate) fn epochs(n: u64) -> String {
    counted(n, "epoch")
}

/// Formats a number of threads: "1 thread", "2 threads".
pub(crate) fn threads(n: u64) -> String {
    counted(n, "thread")
}

fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Formats a time in UTC: "2026-11-23 20:59 UTC".
pub(crate) fn utc(unix_secs: f64) -> String {
    let minutes = (unix_secs / 60.0).floor() as i64;
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

/// Returns year, month and day in the Gregorian calendar, given the number of days since 1970-01-01.
///
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!([4.26, 34.4, 171.0, 3900.0].map(duration), ["4.3 s", "34 s", "2 min 51 s", "1 h 5 min"]);
    }

    #[test]
    fn one_epoch_is_not_epochs() {
        assert_eq!([0, 1, 20].map(epochs), ["0 epochs", "1 epoch", "20 epochs"]);
    }

    #[test]
    fn instants() {
        // date -u -d @N
        assert_eq!(utc(0.0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399.0), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_467_560.16), "2026-11-23 20:59 UTC");
        assert_eq!(utc(4_107_542_400.0), "2100-03-01 00:00 UTC");
    }
}
