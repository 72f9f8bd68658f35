//! Places the labels of vertical marks in rows above a plot. Each label is beside its line. No label covers another label, and
//! a line crosses a label only if there is no other place.

/// The place of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Label {
    /// Its row, counted upward from the plot.
    pub(super) row: usize,
    /// Its start and its end.
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Distance between a line and its label.
const GAP: f64 = 4.0;

/// Places a label for each mark; a mark is (x, width of its label). No label extends beyond `right`.
pub(super) fn rows(marks: &[(f64, f64)], right: f64) -> Vec<Label> {
    let mut order: Vec<usize> = (0..marks.len()).collect();
    order.sort_by(|&a, &b| marks[b].0.total_cmp(&marks[a].0)); // from the right: labels reach over later lines
    let mut placed: Vec<(f64, Label)> = Vec::new();
    let mut out = vec![Label { row: 0, from: 0.0, to: 0.0 }; marks.len()];
    for i in order {
        let (x, width) = marks[i];
        let (from, to) =
            if x + GAP + width <= right { (x + GAP, x + GAP + width) } else { (x - GAP - width, x - GAP) };
        let free = |row: usize| {
            placed.iter().all(|(line, label)| {
                let over_label = label.row == row && label.from < to + GAP && from < label.to + GAP;
                let over_line = label.row >= row && from < *line && *line < to;
                !(over_label || over_line)
            })
        };
        let through_label = |row: usize| placed.iter().any(|(_, l)| l.row < row && l.from < x && x < l.to);
        let all = 0..=placed.len(); // the row above all placed labels is free
        let best = all.clone().find(|&row| free(row) && !through_label(row));
        let row = best.or_else(|| all.clone().find(|&row| free(row))).unwrap_or(placed.len());
        out[i] = Label { row, from, to };
        placed.push((x, out[i]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_make_a_staircase_and_the_last_label_turns_round() {
        let found = rows(&[(100.0, 50.0), (110.0, 50.0), (120.0, 50.0), (300.0, 50.0)], 320.0);
        assert_eq!(found.iter().map(|label| label.row).collect::<Vec<_>>(), [2, 1, 0, 0]);
        assert_eq!((found[3].from, found[3].to), (246.0, 296.0));
        assert_eq!(found[0].from, 104.0);
    }

    proptest! {
        #[test]
        fn no_label_is_over_another(marks in prop::collection::vec((50.0f64..400.0, 20.0f64..80.0), 0..8)) {
            let found = rows(&marks, 430.0);
            for (i, a) in found.iter().enumerate() {
                for b in &found[i + 1..] {
                    prop_assert!(a.row != b.row || a.to <= b.from || b.to <= a.from, "{a:?} {b:?}");
                }
            }
        }
    }
}
