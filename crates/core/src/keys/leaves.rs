//! The values of a document, each with its full key.

use toml::{Table, Value};

/// Returns each value of `table` that is not itself a table, with its keys joined by dots, in the order of the
/// document.
pub fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut out = Vec::new();
    gather("", table, &mut out);
    out
}

fn gather<'a>(prefix: &str, table: &'a Table, out: &mut Vec<(String, &'a Value)>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => gather(&name, inner, out),
            other => out.push((name, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_joined_and_lists_stay_whole() {
        let table: Table = toml::from_str("a = 1\n[b]\nc = [1, 2]\n[b.d]\ne = \"x\"\n[empty]").unwrap();
        let found: Vec<String> =
            leaves(&table).iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(found, ["a = 1", "b.c = [1, 2]", "b.d.e = \"x\""]);
    }
}
