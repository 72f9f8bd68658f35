//! The confusion matrix for a terminal: bands as colour, and as signs for those who see none.

use std::fmt::Write as _;

use tallow_metrics::{Band, Bands, ConfusionMatrix, confused_pairs};

use crate::shown::{columns, padded, shortened, shown};

/// Wider matrices do not fit a terminal: their most confused pairs are listed instead.
const MAX_CLASSES: usize = 20;
const MAX_NAME_COLUMNS: usize = 14;
const N_PAIRS: usize = 20;

/// The matrix with true classes downwards and predicted ones to the right. Failing cells end in `!`, improvable ones in
/// `?`; with `color` (ANSI, for a terminal that shows it) they are red and yellow too, and right answers bold.
///
/// Of more than 20 classes, the most confused pairs.
///
/// # Panics
/// If there is not one name per class.
pub fn confusion_text(
    matrix: &ConfusionMatrix,
    class_names: &[String],
    bands: &Bands,
    color: bool,
) -> String {
    assert_eq!(class_names.len(), matrix.n_classes(), "one name per class");
    if matrix.n_classes() > MAX_CLASSES {
        return pairs(matrix, class_names, bands, color);
    }
    let names: Vec<String> = class_names.iter().map(|name| shortened(name, MAX_NAME_COLUMNS)).collect();
    let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0).max("true class".len());
    let head = |name: &String| shortened(name, 6);
    let most =
        (0..matrix.n_classes()).flat_map(|class| matrix.row(class)).max().map_or(1, |n| n.to_string().len());
    let width = (most + 1).max(7);

    let mut out = padded("true class", widest);
    for name in class_names {
        let name = head(&shown(name));
        out.push_str(&" ".repeat(width - 1 - columns(&name)));
        out.push_str(&name);
        out.push(' ');
    }
    out = format!("{}\n", out.trim_end());
    for (target, name) in names.iter().enumerate() {
        let mut line = padded(name, widest);
        for predicted in 0..matrix.n_classes() {
            line.push_str(&cell(matrix, bands, target, predicted, width, color));
        }
        let _ = writeln!(out, "{}", line.trim_end()); // writing to a String cannot fail
    }
    let (low, high) = (bands.acceptable_up_to, bands.improvable_up_to);
    let _ = writeln!(
        out,
        "\nRows: true; columns: predicted. Of 1,000 images of the true class: {} above {low} (can be improved), {} above \
         {high} (failing)",
        painted("?", Some(Band::Improvable), color),
        painted("!", Some(Band::Failing), color)
    );
    out
}

fn cell(
    matrix: &ConfusionMatrix,
    bands: &Bands,
    target: usize,
    predicted: usize,
    width: usize,
    color: bool,
) -> String {
    let count = matrix.count(target, predicted);
    let number = if count == 0 { "·".to_owned() } else { count.to_string() };
    let blanks = " ".repeat(width - 1 - columns(&number));
    let band = bands.of_cell(matrix, target, predicted).filter(|_| count > 0);
    let sign = match band {
        Some(Band::Failing) => "!",
        Some(Band::Improvable) => "?",
        _ => " ",
    };
    let text = format!("{number}{sign}");
    if target == predicted && color {
        format!("{blanks}\u{1b}[1m{text}\u{1b}[0m")
    } else {
        format!("{blanks}{}", painted(&text, band, color))
    }
}

fn painted(text: &str, band: Option<Band>, color: bool) -> String {
    match band {
        Some(Band::Failing) if color => format!("\u{1b}[31m{text}\u{1b}[0m"),
        Some(Band::Improvable) if color => format!("\u{1b}[33m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

fn pairs(matrix: &ConfusionMatrix, class_names: &[String], bands: &Bands, color: bool) -> String {
    let mut out = format!("{} classes; the most confused pairs:\n", matrix.n_classes());
    for pair in confused_pairs(matrix).iter().take(N_PAIRS) {
        let [target, predicted] =
            [pair.target, pair.predicted].map(|class| shortened(&class_names[class], 2 * MAX_NAME_COLUMNS));
        let band = bands.of_cell(matrix, pair.target, pair.predicted);
        let word = painted(band.map_or("", Band::name), band, color);
        let target = padded(&target, 2 * MAX_NAME_COLUMNS);
        let _ = writeln!(
            out,
            "{target} taken for {} {:>6} times, {:>5.1} %  {word}",
            padded(&predicted, 2 * MAX_NAME_COLUMNS),
            pair.n,
            100.0 * pair.share
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_text_is_this() {
        let matrix = ConfusionMatrix::from_counts(3, vec![900, 60, 40, 20, 980, 0, 0, 30, 970]).unwrap();
        let text =
            confusion_text(&matrix, &names(&["cat", "a very long name", "猫"]), &Bands::default(), false);
        let expected = "\
true class       cat a ver…     猫
cat              900     60!    40?
a very long n…    20    980      ·
猫                 ·     30    970

Rows: true; columns: predicted. Of 1,000 images of the true class: ? above 30 (can be improved), ! above 50 (failing)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let matrix = ConfusionMatrix::from_counts(2, vec![9, 1, 0, 10]).unwrap();
        let names = names(&["a\u{1b}[2J", "b"]);
        let plain = confusion_text(&matrix, &names, &Bands::default(), false);
        assert!(!plain.contains('\u{1b}') && plain.contains("<U+001B>"));
        let mut colored = confusion_text(&matrix, &names, &Bands::default(), true);
        for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m"] {
            colored = colored.replace(code, "");
        }
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&colored), squeezed(&plain));
    }

    #[test]
    fn of_many_classes_the_pairs_are_listed() {
        let mut counts = vec![0; 200 * 200];
        counts[1] = 7;
        let matrix = ConfusionMatrix::from_counts(200, counts).unwrap();
        let many: Vec<String> = (0..200).map(|i| format!("c{i}")).collect();
        let text = confusion_text(&matrix, &many, &Bands::default(), false);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("c0") && text.contains("7 times, 100.0 %  failing"), "{text}");
    }
}
