//! The confusion matrix for a terminal: bands are shown as colours, and as signs for people who see no colours.

use std::fmt::Write as _;

use tallow_core::Foreign;
use tallow_metrics::{Band, Bands, ConfusionMatrix, confused_pairs};

use crate::shown::{columns, padded, shortened, shown};

/// Largest width of class names at the left: with enough room, and with little room.
const MAX_NAME_COLUMNS: usize = 28;
const SHORT_NAME_COLUMNS: usize = 14;
/// Comfortable width of a column, and least number of letters of a class name at its head: less would say too little.
const COMFORTABLE_CELL: usize = 7;
const MIN_HEAD_COLUMNS: usize = 3;
const HEAD: &str = "true class";
const N_PAIRS: usize = 20;

/// Returns the matrix as text: true classes from top to bottom, predicted classes from left to right. Failing cells end
/// in `!`, improvable ones in `?`. With `color` (ANSI, for a terminal that shows it), these cells are also red and
/// yellow, and correct answers are bold.
///
/// The text is at most `max_columns` wide. Names are whole if they fit and cut otherwise. If there is no room for the
/// matrix, the text is a list of the most confused pairs.
///
/// # Panics
/// If the number of names is not the number of classes.
pub fn confusion_text(
    matrix: &ConfusionMatrix,
    class_names: &[Foreign],
    bands: &Bands,
    color: bool,
    max_columns: usize,
) -> String {
    assert_eq!(class_names.len(), matrix.n_classes(), "one name per class");
    match Layout::of(matrix, class_names, max_columns) {
        Some(layout) => table(matrix, class_names, bands, color, layout) + &legend(bands, color, max_columns),
        None => pairs(matrix, class_names, bands, color, max_columns),
    }
}

/// Widths of the names at the left, and of the column of each class: at least one blank, a number or a name, and a sign.
#[derive(Clone, Copy)]
struct Layout {
    name: usize,
    cell: usize,
}

impl Layout {
    /// Returns the widest layout that fits; `None` if the matrix does not fit.
    fn of(matrix: &ConfusionMatrix, class_names: &[Foreign], max_columns: usize) -> Option<Self> {
        let longest = class_names.iter().map(|name| columns(&shown(name))).max().unwrap_or(0);
        let most = (0..matrix.n_classes()).flat_map(|class| matrix.row(class)).max().copied().unwrap_or(0);
        let least = most.to_string().len().max(MIN_HEAD_COLUMNS) + 2;
        let comfortable = least.max(COMFORTABLE_CELL);
        let tries = [
            (MAX_NAME_COLUMNS, comfortable),
            (SHORT_NAME_COLUMNS, comfortable),
            (SHORT_NAME_COLUMNS, least),
            (HEAD.len(), least),
        ];
        tries.into_iter().find_map(|(max_name, min_cell)| {
            let name = longest.min(max_name).max(HEAD.len());
            let cell = max_columns.saturating_sub(name) / matrix.n_classes();
            (cell >= min_cell).then(|| Self { name, cell: cell.min((longest + 2).max(comfortable)) })
        })
    }
}

fn table(
    matrix: &ConfusionMatrix,
    class_names: &[Foreign],
    bands: &Bands,
    color: bool,
    Layout { name: widest, cell: width }: Layout,
) -> String {
    let mut out = padded(HEAD, widest);
    for name in class_names {
        let name = shortened(name, width - 2);
        out.push_str(&" ".repeat(width - 1 - columns(&name)));
        out.push_str(&name);
        out.push(' ');
    }
    out = format!("{}\n", out.trim_end());
    for (target, name) in class_names.iter().enumerate() {
        let mut line = padded(&shortened(name, widest), widest);
        for predicted in 0..matrix.n_classes() {
            line.push_str(&cell(matrix, bands, target, predicted, width, color));
        }
        let _ = writeln!(out, "{}", line.trim_end()); // writing to a String cannot fail
    }
    out
}

/// Explains the signs, in as few lines as possible.
fn legend(bands: &Bands, color: bool, max_columns: usize) -> String {
    let (low, high) = (bands.acceptable_up_to, bands.improvable_up_to);
    let parts = [
        ("", None, "Rows: true; columns: predicted.".to_owned()),
        ("", None, "Of 1,000 images of the true class:".to_owned()),
        ("?", Some(Band::Improvable), format!(" above {low} (can be improved),")),
        ("!", Some(Band::Failing), format!(" above {high} (failing)")),
    ];
    let (mut out, mut used) = (String::from("\n"), 0);
    for (sign, band, text) in parts {
        let n = sign.len() + text.len();
        let between = match used {
            0 => "",
            _ if used + 1 + n > max_columns => "\n",
            _ => " ",
        };
        used = if between == " " { used + 1 + n } else { n };
        let _ = write!(out, "{between}{}{text}", painted(sign, band, color));
    }
    out.push('\n');
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
    // a blank is not coloured, so that it can be trimmed from the end of a line
    let text = format!("{number}{}", sign.trim_end());
    let blank = if sign == " " { sign } else { "" };
    if target == predicted && color {
        format!("{blanks}\u{1b}[1m{text}\u{1b}[0m{blank}")
    } else {
        format!("{blanks}{}{blank}", painted(&text, band, color))
    }
}

fn painted(text: &str, band: Option<Band>, color: bool) -> String {
    match band {
        Some(Band::Failing) if color => format!("\u{1b}[31m{text}\u{1b}[0m"),
        Some(Band::Improvable) if color => format!("\u{1b}[33m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

fn pairs(
    matrix: &ConfusionMatrix,
    class_names: &[Foreign],
    bands: &Bands,
    color: bool,
    max_columns: usize,
) -> String {
    // width beside the names: "taken for", counts, shares, and the band if there is room for it
    const WITH_WORD: usize = 46;
    const WITHOUT_WORD: usize = 34;
    const MIN_NAME: usize = 8;
    let pairs = confused_pairs(matrix);
    let pairs = &pairs[..pairs.len().min(N_PAIRS)];
    let has_word = max_columns >= WITH_WORD + 2 * MIN_NAME;
    let beside = if has_word { WITH_WORD } else { WITHOUT_WORD };
    let named = pairs.iter().flat_map(|pair| [pair.target, pair.predicted]);
    let longest = named.map(|class| columns(&shown(&class_names[class]))).max().unwrap_or(0);
    let width = longest.min((max_columns.saturating_sub(beside) / 2).max(MIN_NAME));
    if pairs.is_empty() {
        return format!("{} classes; no image was taken for another\n", matrix.n_classes());
    }
    let mut out = format!("{} classes; the most confused pairs:\n", matrix.n_classes());
    for pair in pairs {
        let [target, predicted] =
            [pair.target, pair.predicted].map(|class| padded(&shortened(&class_names[class], width), width));
        let band = bands.of_cell(matrix, pair.target, pair.predicted).filter(|_| has_word);
        let word = painted(band.map_or("", Band::name), band, color);
        let line = format!(
            "{target} taken for {predicted} {:>6} times, {:>5.1} %  {word}",
            pair.n,
            100.0 * pair.share
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Foreign> {
        names.iter().map(|name| Foreign::from(*name)).collect()
    }

    fn three() -> (ConfusionMatrix, Vec<Foreign>) {
        let counts = vec![900, 60, 40, 20, 980, 0, 0, 30, 970];
        (ConfusionMatrix::from_counts(3, counts).unwrap(), names(&["cat", "a very long name", "猫"]))
    }

    #[test]
    fn the_text_is_this() {
        let (matrix, names) = three();
        let text = confusion_text(&matrix, &names, &Bands::default(), false, 120);
        let expected = "\
true class                    cat  a very long name                猫
cat                           900                60!               40?
a very long name               20               980                 ·
猫                              ·                30               970

Rows: true; columns: predicted. Of 1,000 images of the true class: ? above 30 (can be improved), ! above 50 (failing)
";
        assert_eq!(text, expected);
        let text = confusion_text(&matrix, &names, &Bands::default(), false, 40);
        let expected = "\
true class          cat  a ver…      猫
cat                 900      60!     40?
a very long name     20     980       ·
猫                    ·      30     970

Rows: true; columns: predicted.
Of 1,000 images of the true class:
? above 30 (can be improved),
! above 50 (failing)
";
        assert_eq!(text, expected);
    }

    /// No line is wider than the given width; if there are few columns, the text is a list.
    #[test]
    fn no_line_is_longer_than_there_is_room() {
        let n = 12;
        let counts = (0..n * n).map(|i| if i % (n + 1) == 0 { 9_000 } else { i as u64 % 700 }).collect();
        let matrix = ConfusionMatrix::from_counts(n, counts).unwrap();
        let names: Vec<Foreign> =
            (0..n).map(|i| format!("class number {i} of the twelve, 猫").into()).collect();
        for width in 50..400 {
            let text = confusion_text(&matrix, &names, &Bands::default(), false, width);
            let widest = text.lines().map(columns).max().unwrap();
            assert!(widest <= width, "{width}: {widest}\n{text}");
            assert_eq!(text.starts_with("12 classes; the most confused pairs:\n"), width < 82, "{width}");
        }
        let text = confusion_text(&matrix, &names, &Bands::default(), false, 500);
        assert_eq!(
            text.lines().next().unwrap().matches("of the twelve, 猫").count(),
            12,
            "whole names:\n{text}"
        );
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let matrix = ConfusionMatrix::from_counts(2, vec![9, 1, 0, 10]).unwrap();
        let names = names(&["a\u{1b}[2J", "b"]);
        let plain = confusion_text(&matrix, &names, &Bands::default(), false, 80);
        assert!(!plain.contains('\u{1b}') && plain.contains("<U+001B>"));
        let mut colored = confusion_text(&matrix, &names, &Bands::default(), true, 80);
        for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m"] {
            colored = colored.replace(code, "");
        }
        assert_eq!(colored, plain);
    }

    #[test]
    fn of_many_classes_the_pairs_are_listed() {
        let mut counts = vec![0; 200 * 200];
        counts[1] = 7;
        let matrix = ConfusionMatrix::from_counts(200, counts).unwrap();
        let many: Vec<Foreign> = (0..200).map(|i| format!("c{i}").into()).collect();
        let text = confusion_text(&matrix, &many, &Bands::default(), false, 100);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("c0 taken for c1      7 times, 100.0 %  failing"), "{text}");
    }
}
