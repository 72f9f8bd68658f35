//! Times as people say them.

/// `8.3s`, `12m 05s`, `3h 20m`.
pub fn duration(secs: f64) -> String {
    let whole = secs.max(0.0).round() as u64;
    match whole {
        _ if secs < 9.95 => format!("{:.1}s", secs.max(0.0)),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
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
}
