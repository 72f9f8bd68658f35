//! Pages: one self-contained HTML file that loads nothing, made of parts. Each part has a file of its own; this file has
//! the frame.

mod advice;
mod business;
mod coverage;
mod data;
mod disagreements;
mod errors;
mod folds;
mod head_to_head;
mod learning;
mod novelty;
mod race;
mod recipes;
mod recommendation;
mod suspects;
mod test;
mod trained;
mod trust;
mod verdict;

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tallow_core::Foreign;

use crate::analysis::{Options, Test, Trust};
pub use data::sample_grids;
pub use suspects::suspects_report;

use crate::chart::{Chart, chart_css, colors_css};
use crate::comparison::Comparison;
use crate::error::Result;
use crate::record::RunRecord;
use crate::shown::{columns, shortened, shown};

const PAGE_CSS: &str = include_str!("../../../../assets/report/page.css");

/// A page, and its charts as separate files.
#[derive(Clone, Debug)]
pub struct Report {
    /// The page as HTML.
    pub html: String,
    /// The charts, in the order of the page.
    pub charts: Vec<Chart>,
}

/// A part of a page.
struct Section {
    id: &'static str,
    heading: &'static str,
    body: Markup,
    charts: Vec<Chart>,
}

/// Returns the report of one run, with everything that its folder holds.
///
/// # Errors
/// If the options do not fit the run: a cost table for other classes, or a target accuracy that is not above 0 and below
/// 1.
pub fn run_report(run: &RunRecord, options: &Options) -> Result<Report> {
    options.check(run)?;
    let mut parts = Vec::new();
    if let Some(test) = Test::of(run)? {
        let (trust, costs) = (Trust::of(run, &test)?, options.cost_table(test.class_names)?);
        parts.push(verdict::section(run, &test, &trust, options, costs.as_ref())?);
        parts.push(errors::section(run, &test, &trust.test));
        parts.push(test::section(&test));
        parts.extend(folds::section(run));
        parts.push(business::section(&test, &trust, options, costs.as_ref())?);
        parts.push(trust::section(&trust));
        parts.extend(novelty::section(run, &test));
    }
    parts.extend(learning::section(run));
    parts.extend(data::section(run));
    parts.push(trained::section(run));
    let dataset = run.summary.as_ref().map(|summary| shown(&summary.dataset)).unwrap_or_default();
    let title = match dataset.is_empty() {
        true => format!("{}: report", shown(&run.name)),
        false => format!("{}, trained on {dataset}", shown(&run.name)),
    };
    let origin = format!("{}  {dataset}", shown(&run.name));
    Ok(document(&title, &origin, &verdict::warnings(run), parts))
}

/// Returns the comparison of runs on the same test data, as a page in `folder` that links to the pages of the runs.
pub fn comparison_report(comparison: &Comparison<'_>, folder: &Path) -> Report {
    let names: Vec<String> = comparison.runs.iter().map(|run| shown(&run.label)).collect();
    let title = match &names[..] {
        [first, second] => format!("{second} against {first}"),
        several => format!("Comparison of {} runs", several.len()),
    };
    document(&title, &title, &html! {}, head_to_head::parts(comparison, folder))
}

fn document(title: &str, origin: &str, lead: &Markup, parts: Vec<Section>) -> Report {
    let css = format!("{}{}{PAGE_CSS}", colors_css(), chart_css());
    // The policy allows only this style sheet, and images inside the page: nothing else is loaded, run or sent.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        base64_digest(&css)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(&css)) }
            }
            body {
                header { h1 { (title) } }
                nav aria-label="Parts" { @for part in &parts { a href={ "#" (part.id) } { (part.heading) } } }
                main {
                    (lead)
                    @for part in &parts {
                        section id=(part.id) aria-labelledby={ (part.id) "-heading" } {
                            h2 id={ (part.id) "-heading" } { (part.heading) }
                            (part.body)
                        }
                    }
                }
                footer { p { "Made by Tallow " (env!("CARGO_PKG_VERSION")) " from the run folder alone." } }
            }
        }
    };
    let charts = parts.into_iter().flat_map(|part| part.charts);
    let named = |mut chart: Chart| {
        origin.clone_into(&mut chart.origin);
        chart
    };
    Report { html: page.into_string(), charts: charts.map(named).collect() }
}

/// Returns the SHA-256 of `text` in the form that content security policies use.
fn base64_digest(text: &str) -> String {
    use base64::Engine as _;
    let hex = tallow_core::digest::of_bytes(text.as_bytes());
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> =
        hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Draws charts side by side if there is room.
fn figures(charts: &[Chart]) -> Markup {
    html! { div class="figures" { @for chart in charts { figure class=(if chart.width_px > 500.0 { "wide" } else { "" }) { (chart.inline()) } } } }
}

/// The alignment of a table's column.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Text,
    Number,
}
use Column::{Number, Text};

/// Makes a table with row headings in the first column; on a narrow page, the table scrolls on its own.
fn table(caption: &str, columns: &[(&str, Column)], rows: &[Vec<Markup>]) -> Markup {
    let class = |i: usize| match columns.get(i) {
        Some((_, Number)) => "number",
        _ => "text",
    };
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { span { (caption) } } // the span stays visible while the table scrolls
                thead { tr { @for (i, (name, _)) in columns.iter().enumerate() { th scope="col" class=(class(i)) { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (i, field) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" class=(class(i)) { (field) } } @else { td class=(class(i)) { (field) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Number of rows that are visible at once; the others are folded away.
const MAX_OPEN_ROWS: usize = 30;

/// Makes a [`table`] of any length; `rows` has the most important rows first.
fn long_table(caption: &str, columns: &[(&str, Column)], rows: &[Vec<Markup>]) -> Markup {
    let Some((open, rest)) = rows.split_at_checked(MAX_OPEN_ROWS).filter(|(_, rest)| !rest.is_empty()) else {
        return table(caption, columns, rows);
    };
    html! {
        (table(&format!("{caption}: {MAX_OPEN_ROWS} of {}", rows.len()), columns, open))
        details { summary { "The other " (rest.len()) } (table(&format!("{caption}: the rest"), columns, rest)) }
    }
}

/// Makes a list of terms and their descriptions.
fn facts(entries: &[(String, Markup)]) -> Markup {
    html! { dl class="facts" { @for (term, fact) in entries { div { dt { (term) } dd { (fact) } } } } }
}

/// Formats a share as percent with two decimals: "85.42 %".
fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// Formats an interval in percent: "84.71 to 86.10 %".
fn percent_interval([low, high]: [f64; 2]) -> String {
    format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high)
}

/// Shows the name of a class or a run in a table: a short name without line breaks, a very long one cut.
fn name(text: &Foreign) -> Markup {
    unbroken(&shortened(text, 80))
}

/// Shows a short text without line breaks.
fn unbroken(text: &str) -> Markup {
    let class = if columns(text) <= 24 { "name" } else { "" };
    html! { span class=(class) { (text) } }
}

/// Returns text as markup.
fn plain(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_policy() {
        // printf abc | openssl dgst -sha256 -binary | base64
        assert_eq!(base64_digest("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn a_long_table_is_folded_and_whole() {
        let rows =
            |n: usize| -> Vec<Vec<Markup>> { (0..n).map(|i| vec![plain(format!("row{i}."))]).collect() };
        let text = |n| long_table("C", &[("class", Text)], &rows(n)).into_string();
        assert!(!text(MAX_OPEN_ROWS).contains("<details>"));
        let folded = text(MAX_OPEN_ROWS + 2);
        let (open, rest) = folded.split_once("<summary>The other 2</summary>").unwrap();
        assert!(
            open.contains("row29.")
                && !open.contains("row30.")
                && rest.contains("row30.")
                && rest.contains("row31.")
        );
    }

    #[test]
    fn a_table_names_its_rows_and_columns() {
        let text =
            table("C", &[("class", Text), ("n", Number)], &[vec![plain("<a>"), plain("1")]]).into_string();
        assert!(
            text.contains("<th scope=\"row\" class=\"text\">&lt;a&gt;</th><td class=\"number\">1</td>"),
            "{text}"
        );
    }
}
