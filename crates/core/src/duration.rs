//! Durations as short text for people.

/// Formats a duration in seconds as `8.3s`, `12m 05s` or `3h 20m`.
pub fn duration(secs: f64) -> String {
    let whole = secs.max(0.0).round() as u64;
    match whole {
        _ if secs < 9.95 => format!("{:.1}s", secs.max(0.0)),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Parses a duration such as `90s`, `10m`, `1h30m` or `1.5h` and returns it in seconds. Returns `None` if the text
/// has another form or the duration is 0.
pub fn parse_duration(text: &str) -> Option<f64> {
    let (mut secs, mut rest) = (0.0, text.trim());
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = match rest[end..].chars().next()? {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            _ => return None,
        };
        secs += number * unit;
        rest = rest[end + 1..].trim_start();
    }
    (secs > 0.0).then_some(secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [
            (-1.0, "0.0s"),
            (0.04, "0.0s"),
            (9.94, "9.9s"),
            (9.96, "10s"),
            (61.0, "1m 01s"),
            (3720.0, "1h 02m"),
        ];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, secs) in
            [("90s", 90.0), ("10m", 600.0), ("1h 30m", 5400.0), ("1h30m", 5400.0), ("0.5h", 1800.0)]
        {
            assert_eq!(parse_duration(text), Some(secs), "{text}");
        }
        for text in ["", "10", "m", "10x", "-5m", "0s", "1.2.3s", "ten minutes", "10mé"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
