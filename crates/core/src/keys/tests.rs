//! Tests of the key table on a small document.

use toml::Table;

use super::*;

const SECTIONS: &[Section] = &[
    Section::new("shape", "").tagged("kind"),
    Section::new("ink", "").tagged("kind").optional(),
    Section::new("marks", "").list(),
];

const KEYS: &[Key] = &[
    Key::new("n", Takes::Whole, "").range("of 1 or more"),
    Key::new("title", Takes::Text, "").or("\"none\""),
    Key::new("shape.kind", Takes::Choice(&["circle", "box"]), ""),
    Key::new("shape.radius", Takes::Number, "").of(&["circle"]).or("1.0"),
    Key::new("shape.sides", Takes::Numbers(2), "").of(&["box"]).or("[1, 2]"),
    Key::new("shape.filled", Takes::YesNo, "").or("false"),
    Key::new("ink.kind", Takes::Choice(&["grey", "colour"]), "").or("\"grey\""),
    Key::new("ink.level", Takes::Number, "").of(&["grey"]).or("0.5"),
    Key::new("ink.hue", Takes::Number, "").of(&["colour"]).or("0.25"),
    Key::new("marks.at", Takes::Wholes(0), ""),
    Key::new("marks.size", Takes::Number, "").or("3"),
];

fn keys() -> KeyTable {
    KeyTable::default().with(SECTIONS, KEYS)
}

fn table(text: &str) -> Table {
    toml::from_str(text).unwrap()
}

fn wrong(text: &str) -> String {
    keys().check(&table(text), Extent::Whole).unwrap_err()
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let cases = [
        ("n = 1\nshap.kind = 'box'", "no key \"shap\": did you mean \"shape\"?"),
        ("n = 1\nradius = 2", "no key \"radius\": did you mean \"shape.radius\"?"),
        (
            "shape = { kind = 'box', side = [1, 2] }",
            "did you mean \"shape.sides\"? All keys: trainer recipes --keys shape",
        ),
        (
            "shape = { kind = 'circel' }",
            "shape.kind takes one of circle, box; found the text \"circel\": did you mean \"circle\"?",
        ),
        (
            "shape = { kind = 'box', radius = 2 }",
            "shape.radius is a key of shape.kind = circle, here shape.kind is box",
        ),
        (
            "shape = { kind = 'box', sides = [1] }",
            "shape.sides takes a list of 2 numbers; found the list [1]",
        ),
        ("n = 'many'", "n takes a whole number of 1 or more; found the text \"many\""),
        ("n = -1", "found -1"),
        ("title = 5", "title takes text; found 5: put it in quotes"),
        (
            "n.x = 1",
            "n takes a whole number of 1 or more; found a table: it is not a table, and no key is called \"n.x\"",
        ),
        (
            "shape = 3",
            "shape must be a table with shape.kind, shape.radius, shape.sides, shape.filled; found 3",
        ),
        ("n = 1", "shape.kind is missing: it takes one of circle, box"),
        ("shape.kind = 'box'", "n is missing"),
        ("marks = { at = [1] }", "marks must be a list of tables"),
        (
            "n = 1\nshape.kind = 'box'\nmarks = [{ at = [1] }, { size = 2 }]",
            "marks.at is missing: it takes a list of whole numbers (table 2 of marks)",
        ),
    ];
    for (text, expected) in cases {
        assert!(wrong(text).contains(expected), "{text}: {}", wrong(text));
    }
    keys().check(&table("shape.radius = 2"), Extent::Part).unwrap();
    keys().check(&table("n = 1\nshape = { kind = 'circle', radius = 2 }"), Extent::Whole).unwrap();
}

#[test]
fn what_is_left_out_is_put_in() {
    let filled = |text: &str| {
        let mut table = table(text);
        keys().fill(&mut table);
        table
    };
    assert_eq!(filled("n = 2"), table("n = 2\ntitle = 'none'"));
    let expected = table("title = 'a'\nshape = { kind = 'box', filled = false, sides = [1, 2] }");
    assert_eq!(filled("title = 'a'\nshape.kind = 'box'"), expected);
    assert_eq!(filled("ink.level = 0.1")["ink"], table("kind = 'grey'\nlevel = 0.1").into());
    assert_eq!(filled("ink.hue = 0.1")["ink"], table("kind = 'colour'\nhue = 0.1").into());
    assert_eq!(filled("marks = [{ at = [] }]")["marks"][0]["size"].as_integer(), Some(3));
}

#[test]
fn another_kind_keeps_what_means_the_same() {
    let keys = keys();
    let mut shape = table("kind = 'circle'\nradius = 3\nfilled = true");
    keys.choose(keys.section("shape").unwrap(), &mut shape, "box");
    assert_eq!(shape, table("kind = 'box'\nfilled = true"));
    keys.choose(keys.section("shape").unwrap(), &mut shape, "box");
    assert_eq!(shape, table("kind = 'box'\nfilled = true"));
}
