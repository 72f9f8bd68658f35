//! The part on practical use: bands, costs, and (in `coverage`) which images may be left to the model.

use maud::{Markup, html};
use tallow_metrics::{Band, Bands, ClassBand, CostTable, DecisionCosts};

use super::coverage::{coverage, currency};
use super::{Number, Section, Text, facts, long_table, name, plain, table};
use crate::analysis::{Options, Test, Trust};
use crate::chart::grouped;
use crate::error::Result;

pub(super) fn section(
    test: &Test<'_>,
    trust: &Trust,
    options: &Options,
    costs: Option<&CostTable>,
) -> Result<Section> {
    let (coverage, charts) = coverage(trust, options.target_accuracy, costs)?;
    let body = html! {
        h3 { "What the model may decide alone" }
        (coverage)
        @if let Some(costs) = costs {
            h3 { "What errors cost" }
            (cost_part(test, trust, costs))
        }
        h3 { "Which classes can be used" }
        (bands(test))
    };
    Ok(Section { id: "business", heading: "For the business", body, charts })
}

/// Formats an amount in the currency of the cost table.
pub(super) fn money(costs: &CostTable, amount: f64) -> String {
    format!("{} {}", grouped(amount, 2), currency(costs)).trim_end().to_owned()
}

fn bands(test: &Test<'_>) -> Markup {
    let bands = Bands::default();
    let mut of_classes: Vec<(usize, ClassBand)> = (0..test.class_names.len())
        .filter_map(|class| Some((class, bands.of_class(&test.matrix, class)?)))
        .collect();
    of_classes.sort_by(|a, b| b.1.errors_per_1000.total_cmp(&a.1.errors_per_1000)); // stable
    let rows: Vec<Vec<Markup>> = of_classes
        .iter()
        .map(|(class, found)| {
            let worst = found.confused_with.map_or(plain("–"), |other| name(&test.class_names[other]));
            vec![
                name(&test.class_names[*class]),
                html! { span class={ "band " (found.band.name()) } { (word(found.band)) } },
                worst,
                plain(format!("{:.0}", found.errors_per_1000)),
            ]
        })
        .collect();
    let columns =
        [("class", Text), ("band", Text), ("most often taken for", Text), ("per 1,000 images", Number)];
    html! {
        div class="columns" {
        div {
        @for band in [Band::Failing, Band::Improvable, Band::Acceptable] {
            @let of_band: Vec<usize> = of_classes.iter().filter(|(_, found)| found.band == band).map(|(class, _)| *class).collect();
            p {
                span class={ "band " (band.name()) } { (word(band)) } " "
                strong { (of_band.len()) " of " (of_classes.len()) " classes" } ". "
                (meaning(&bands, band)) ". " (advice(band))
            }
        }
        }
        (long_table("Classes by band, the weakest first", &columns, &rows))
        }
    }
}

/// Returns the sentence of a band without the band's name, with a capital first letter.
fn meaning(bands: &Bands, band: Band) -> String {
    let sentence = bands.sentence(band);
    let (_, rest) = sentence.split_once(": ").unwrap_or(("", &sentence));
    rest.chars().take(1).flat_map(char::to_uppercase).chain(rest.chars().skip(1)).collect()
}

fn word(band: Band) -> &'static str {
    match band {
        Band::Acceptable => "acceptable",
        Band::Improvable => "can be improved",
        Band::Failing => "failing",
    }
}

fn advice(band: Band) -> &'static str {
    match band {
        Band::Acceptable => "Can be used as it is.",
        Band::Improvable => {
            "Usable if an error is cheap. To improve it, first collect more training images of both classes."
        }
        Band::Failing => {
            "Let a person look at these answers, or collect more and clearer images of both classes."
        }
    }
}

fn cost_part(test: &Test<'_>, trust: &Trust, costs: &CostTable) -> Markup {
    let money = |amount: f64| money(costs, amount);
    let argmax = costs.evaluate_argmax(&trust.test);
    let least = costs.evaluate(&trust.test, |row| costs.decide_alone(row));
    let with_person = costs.ask_a_person().map(|_| costs.evaluate(&trust.test, |row| costs.decide(row)));
    let all_asked = costs.ask_a_person().map(|price| 1000.0 * price);
    let row = |name: &str, c: &DecisionCosts| {
        let share = |n: u64| plain(format!("{:.1} %", 100.0 * n as f64 / c.n.max(1) as f64));
        vec![plain(name), plain(money(c.cost_per_1000)), share(c.n - c.n_asked), share(c.n_asked)]
    };
    let mut rows = vec![row("the most probable class", &argmax), row("the class that costs least", &least)];
    if let Some(with_person) = &with_person {
        rows.push(row("the class that costs least, or a person", with_person));
    }
    if let Some(all) = all_asked {
        rows.push(vec![plain("a person, always"), plain(money(all)), plain("0.0 %"), plain("100.0 %")]);
    }
    let best = with_person.unwrap_or(least);
    let columns = [
        ("decision", Text),
        ("cost of 1,000 images", Number),
        ("answered", Number),
        ("sent to a person", Number),
    ];
    let saved = argmax.cost_per_1000 - best.cost_per_1000;
    html! {
        (facts(&[
            ("Cost of 1,000 images, by the most probable class".to_owned(), plain(money(argmax.cost_per_1000))),
            ("By the decision that costs least".to_owned(), html! { strong { (money(best.cost_per_1000)) } }),
            ("Saved by that decision".to_owned(), plain(money(saved))),
        ]))
        (table("Ways to decide, on the test images", &columns, &rows))
        p { "The rule: answer the class j with the least expected cost. This cost is the sum over i of p(i), the calibrated probability, times the price of taking i for j. Ask a person if even that costs more than asking." }
        (dearest(test, costs))
    }
}

fn dearest(test: &Test<'_>, costs: &CostTable) -> Markup {
    let amount = |x: f64| plain(grouped(x, 2));
    let name = |class: usize| super::name(&test.class_names[class]);
    let pairs: Vec<Vec<Markup>> = costs
        .pair_costs(&test.matrix)
        .iter()
        .take(8)
        .map(|p| {
            vec![
                name(p.target),
                name(p.predicted),
                plain(p.n.to_string()),
                amount(p.price),
                amount(p.cost_per_1000),
            ]
        })
        .collect();
    let mut classes: Vec<(usize, f64)> = costs.class_costs(&test.matrix).into_iter().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable
    let classes: Vec<Vec<Markup>> =
        classes.iter().take(8).map(|(class, cost)| vec![name(*class), amount(*cost)]).collect();
    html! {
        div class="columns" {
            (table("The pairs that cost most, by the most probable class", &[("true class", Text), ("taken for", Text), ("images", Number), ("price of one", Number), ("cost per 1,000 images", Number)], &pairs))
            (table("The classes that cost most", &[("true class", Text), ("cost per 1,000 images", Number)], &classes))
        }
    }
}
