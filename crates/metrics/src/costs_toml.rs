//! Reads a cost table that a person wrote: TOML with class names.
//!
//! ```toml
//! currency = "EUR"      # what prices are counted in; may be left out
//! ask_a_person = 0.40   # left out: nobody can be asked
//! default_value = 1.0   # the value of classes without one of their own; left out: 1
//!
//! [value]               # what is lost when an image of the class is taken for any other
//! cat = 2.0
//!
//! [[price]]             # a price of its own for one pair
//! true = "cat"
//! predicted = "dog"
//! price = 5.0
//! ```

use std::collections::HashMap;

use serde::Deserialize;
use tallow_core::shown::printable;
use tallow_core::{Foreign, shown};

use crate::csv_text::classes_by_name;
use crate::{CostTable, MetricsError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostsFile {
    #[serde(default)]
    currency: Foreign,
    ask_a_person: Option<f64>,
    #[serde(default = "one")]
    default_value: f64,
    #[serde(default)]
    value: toml::Table,
    #[serde(default)]
    price: Vec<PairPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairPrice {
    r#true: Foreign,
    predicted: Foreign,
    price: f64,
}

fn one() -> f64 {
    1.0
}

impl CostTable {
    /// Reads a cost table for the classes `class_names`: `currency`, `ask_a_person`, `default_value`, a table `[value]`
    /// by class, and `[[price]]` entries of `true`, `predicted` and `price`.
    ///
    /// The price of a pair is the first of these that is given: its own `[[price]]`, the value of its true class,
    /// `default_value`, 1.
    ///
    /// # Errors
    /// If the text is not TOML, it holds an unknown key or an unknown class, a price is not a number or is below 0, a
    /// pair is listed twice, or both classes of a pair are the same.
    pub fn from_toml(text: &str, class_names: &[Foreign]) -> Result<Self, MetricsError> {
        let file: CostsFile =
            toml::from_str(text).map_err(|e| error("the file", printable(&e.to_string()).trim_end()))?;
        let classes = classes_by_name(class_names)?;
        let n_classes = class_names.len();
        let default_value = checked("default_value", file.default_value)?;

        let mut values = vec![default_value; n_classes];
        for (name, value) in &file.value {
            let key = format!("value.{}", shown(name));
            let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
            let number = number.ok_or_else(|| {
                error(&key, &format!("found {}, expected a number", shown(&value.to_string())))
            })?;
            values[class(&classes, &key, &name.as_str().into())?] = checked(&key, number)?;
        }
        let mut prices = Vec::with_capacity(n_classes * n_classes);
        for (target, value) in values.iter().enumerate() {
            prices.extend((0..n_classes).map(|predicted| if predicted == target { 0.0 } else { *value }));
        }
        put_pairs(&file.price, &classes, &mut prices)?;
        let ask_a_person = file.ask_a_person.map(|price| checked("ask_a_person", price)).transpose()?;
        Ok(Self { currency: file.currency, n_classes, prices, ask_a_person })
    }
}

fn put_pairs(
    pairs: &[PairPrice],
    classes: &HashMap<&Foreign, u32>,
    prices: &mut [f64],
) -> Result<(), MetricsError> {
    let mut seen = HashMap::new();
    for (i, pair) in pairs.iter().enumerate() {
        let key = |field: &str| format!("price[{i}].{field}");
        let target = class(classes, &key("true"), &pair.r#true)?;
        let predicted = class(classes, &key("predicted"), &pair.predicted)?;
        if target == predicted {
            return Err(error(&key("predicted"), "is the true class: a right answer costs nothing"));
        }
        if let Some(first) = seen.insert((target, predicted), i) {
            return Err(error(&key("true"), &format!("price[{first}] already gives this pair a price")));
        }
        prices[target * classes.len() + predicted] = checked(&key("price"), pair.price)?;
    }
    Ok(())
}

fn class(classes: &HashMap<&Foreign, u32>, key: &str, name: &Foreign) -> Result<usize, MetricsError> {
    let unknown = || error(key, &format!("there is no class {name:?}; write its name as the data set does"));
    classes.get(name).map(|&class| class as usize).ok_or_else(unknown)
}

fn checked(key: &str, price: f64) -> Result<f64, MetricsError> {
    let fits = price >= 0.0 && price.is_finite();
    if fits { Ok(price) } else { Err(error(key, &format!("found {price}, expected a number of 0 or more"))) }
}

fn error(key: &str, problem: &str) -> MetricsError {
    MetricsError::Costs { key: key.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["cat", "dog", "a \"b\""];
    const TEXT: &str = "currency = \"EUR\"\nask_a_person = 0.4\ndefault_value = 3\n[value]\ncat = 2\n[[price]]\n\
                        true = \"cat\"\npredicted = \"dog\"\nprice = 5.5\n";

    fn read_error(text: &str) -> String {
        CostTable::from_toml(text, &NAMES.map(Foreign::from)).unwrap_err().to_string()
    }

    #[test]
    fn the_nearest_price_counts() {
        let table = CostTable::from_toml(TEXT, &NAMES.map(Foreign::from)).unwrap();
        let prices: Vec<f64> = (0..9).map(|i| table.price(i / 3, i % 3)).collect();
        assert_eq!(prices, [0.0, 5.5, 2.0, 3.0, 0.0, 3.0, 3.0, 3.0, 0.0]);
        assert_eq!((table.currency().raw(), table.ask_a_person()), ("EUR", Some(0.4)));
    }

    #[test]
    fn an_empty_table_counts_errors() {
        let table = CostTable::from_toml("", &NAMES.map(Foreign::from)).unwrap();
        assert_eq!((table.price(0, 1), table.price(1, 1), table.ask_a_person()), (1.0, 0.0, None));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            ("cat = 2", "cow = 2", "costs: value.cow: there is no class \"cow\""),
            ("cat = 2", "cat = -2", "costs: value.cat: found -2, expected a number of 0 or more"),
            ("cat = 2", "cat = \"2\"", "costs: value.cat: found \"2\", expected a number"),
            ("0.4", "nan", "costs: ask_a_person: found NaN, expected a number of 0 or more"),
            ("\"dog\"", "\"cat\"", "costs: price[0].predicted: is the true class"),
            ("true = \"cat\"", "true = \"\"", "costs: price[0].true: there is no class \"\""),
            ("5.5", "inf", "costs: price[0].price: found inf"),
            ("currency", "currencies", "costs: the file: TOML parse error at line 1"),
            ("cat = 2", "\"\\u001b\" = 2", "costs: value.<U+001B>: there is no class \"\\u{1b}\""),
        ];
        for (from, to, expected) in cases {
            let found = read_error(&TEXT.replacen(from, to, 1));
            assert!(found.starts_with(expected), "{found}");
        }
        let twice = format!("{TEXT}{}", &TEXT[TEXT.find("[[").unwrap()..]);
        assert_eq!(read_error(&twice), "costs: price[1].true: price[0] already gives this pair a price");
    }
}
