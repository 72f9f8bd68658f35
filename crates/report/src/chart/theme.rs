//! Colours and look of all charts. The series can be told apart by colour-blind readers too (the colours start from the
//! palette of Okabe and Ito), and each series has a contrast of at least 3 : 1 with the background.

/// Number of series with different colours.
pub(super) const N_SERIES: usize = 6;

/// Name, colour in light mode, colour in dark mode.
const COLORS: [(&str, &str, &str); 17] = [
    ("ink", "#1b1f24", "#e6e8eb"),
    ("muted", "#57606a", "#a9b1bb"),
    ("paper", "#ffffff", "#14171b"),
    ("panel", "#f5f6f8", "#1d2127"),
    ("grid", "#e3e6ea", "#2d333b"),
    ("axis", "#8a929c", "#6f7883"),
    ("link", "#0b5cad", "#7cc0ff"),
    ("c0", "#0072b2", "#5ab4e8"),
    ("c1", "#d55e00", "#ff9a52"),
    ("c2", "#00805c", "#3fcf9f"),
    ("c3", "#aa3f8c", "#e69ad0"),
    ("c4", "#8a6d00", "#e0bf3f"),
    ("c5", "#56606b", "#aab4bf"),
    ("right", "#0072b2", "#2f86bd"),
    ("acceptable", "#7a8591", "#8d98a5"),
    ("improvable", "#e69f00", "#c98a00"),
    ("failing", "#d55e00", "#e06a10"),
];

const CHART_CSS: &str = include_str!("../../../../assets/report/chart.css");

/// Returns the colours as CSS variables, light by default, dark if the reader prefers that.
pub(crate) fn colors_css() -> String {
    let list = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        COLORS.iter().map(|row| format!("--{}:{};", row.0, pick(row))).collect::<String>()
    };
    format!(
        ":root{{color-scheme:light dark;{}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
        list(|row| row.1),
        list(|row| row.2)
    )
}

/// Returns the look of charts as CSS that uses the variables of [`colors_css`].
pub(crate) fn chart_css() -> &'static str {
    CHART_CSS
}

/// Returns the look of charts as CSS with the light colours in place of the variables: the PNG renderer does not support
/// variables.
pub(super) fn literal_css() -> String {
    COLORS.iter().fold(CHART_CSS.to_owned(), |css, row| css.replace(&format!("var(--{})", row.0), row.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance by WCAG 2.
    fn luminance(color: &str) -> f64 {
        let channel = |i: usize| {
            let value = f64::from(u8::from_str_radix(&color[i..i + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn text_and_series_can_be_read_on_their_paper() {
        let paper = COLORS.iter().find(|row| row.0 == "paper").unwrap();
        for (name, light, dark) in COLORS {
            let needed = match name {
                "ink" | "muted" | "link" => 4.5,
                name if name.starts_with('c') || name == "right" || name == "failing" || name == "axis" => {
                    3.0
                }
                _ => 1.0,
            };
            assert!(contrast(light, paper.1) >= needed, "{name} in the light: {}", contrast(light, paper.1));
            assert!(contrast(dark, paper.2) >= needed, "{name} in the dark: {}", contrast(dark, paper.2));
        }
    }

    #[test]
    fn every_variable_has_a_colour() {
        assert!(!literal_css().contains("var("), "{}", literal_css());
    }
}
