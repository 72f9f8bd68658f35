//! A bar per class that shows how its images are classified: found, taken for the most frequent wrong class, taken for
//! the rest.

use maud::html;

use super::{Area, Chart, Format, TITLE_PX, hover, px, text, text_px};

/// One class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassBar {
    /// Its name.
    pub label: String,
    /// Share of its images that is found (recall).
    pub found: f64,
    /// The most frequent wrong class for its images, and the share of all its images that is taken for it.
    pub worst: Option<(String, f64)>,
}

const WIDTH: f64 = 560.0;
const ROW: f64 = 26.0;
const NAME_COLUMNS: usize = 16;

/// Draws a bar per class, in the order of `rows`.
pub fn class_bars(name: &str, title: &str, rows: &[ClassBar]) -> Chart {
    let percent = |share: f64| Format::Percent.write(share, 0.001);
    let label = |text: &str| super::name(text, NAME_COLUMNS);
    let widest = rows.iter().map(|row| text_px(&label(&row.label), 12.0)).fold(40.0, f64::max);
    let worst = |row: &ClassBar| {
        row.worst.as_ref().map(|(class, share)| format!("{} {}", label(class), percent(*share)))
    };
    let right = rows.iter().filter_map(worst).map(|text| text_px(&text, 12.0)).fold(40.0, f64::max);
    let left = widest + 16.0;
    let area = Area {
        left,
        top: TITLE_PX + 22.0,
        width: WIDTH - left - 58.0 - right,
        height: ROW * rows.len() as f64,
    };
    let part = |x: f64, y: f64, width: f64, class: &str| {
        html! {
            @if width >= 0.05 {
                rect x=(px(x)) y=(px(y)) width=(px(width)) height="16" class=(class) {}
            }
        }
    };
    let body = html! {
        (text(area.left, TITLE_PX + 10.0, "tick", "start", "found"))
        (text(area.right(), TITLE_PX + 10.0, "tick", "end", "taken for others"))
        (text(WIDTH - 6.0, TITLE_PX + 10.0, "tick", "end", "most often for"))
        @for (i, row) in rows.iter().enumerate() {
            @let middle = area.top + ROW * (i as f64 + 0.5);
            @let found = row.found * area.width;
            @let taken = row.worst.as_ref().map_or(0.0, |(_, share)| share * area.width);
            @let marks = html! {
                (part(area.left, middle - 8.0, found, "found"))
                (part(area.left + found, middle - 8.0, taken, "taken"))
                (part(area.left + found + taken, middle - 8.0, area.width - found - taken, "others"))
                (text(area.left - 8.0, middle + 4.0, "label", "end", &label(&row.label)))
                (text(area.right() + 52.0, middle + 4.0, "count", "end", &percent(row.found)))
                @if let Some(worst) = worst(row) { (text(WIDTH - 6.0, middle + 4.0, "count", "end", &worst)) }
            };
            (hover(&says(row), &marks))
        }
    };
    let listed = rows.iter().map(says);
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        desc: format!("{}.", listed.collect::<Vec<_>>().join("; ")),
        width_px: WIDTH,
        height_px: area.bottom() + 10.0,
        origin: String::new(),
        body,
    }
}

fn says(row: &ClassBar) -> String {
    let found = format!("{}: {} found", row.label, Format::Percent.write(row.found, 0.001));
    match &row.worst {
        Some((class, share)) => {
            format!("{found}, {} taken for {class}", Format::Percent.write(*share, 0.001))
        }
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shares_of_the_bar() {
        let rows = [
            ClassBar { label: "cat".into(), found: 0.5, worst: Some(("<dog>".into(), 0.25)) },
            ClassBar { label: "car".into(), found: 1.0, worst: None },
        ];
        let chart = class_bars("c", "Classes", &rows);
        assert_eq!(chart.desc, "cat: 50.0 % found, 25.0 % taken for <dog>; car: 100.0 % found.");
        let svg = chart.to_svg();
        assert_eq!(
            [r#"class="found""#, r#"class="taken""#, r#"class="others""#].map(|c| svg.matches(c).count()),
            [2, 1, 1]
        );
        assert!(svg.contains("&lt;dog&gt;") && !svg.contains("<dog>"));
        let widths: Vec<f64> = svg
            .split("<rect x=")
            .filter(|rect| rect.contains("height=\"16\""))
            .map(|rect| rect.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(
            (widths[0] - 2.0 * widths[1]).abs() < 0.2 && (widths[3] - 2.0 * widths[0]).abs() < 0.2,
            "{widths:?}"
        );
    }
}
