//! `trainer report`, `compare` and `card` on runs of the built binary.

use crate::support::{Sandbox, TINY};

#[test]
fn a_run_becomes_a_page_charts_and_a_card() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let told = sandbox.trainer("report run --target-accuracy 0.5 --json").ok().json();
    assert_eq!(told["report"], "run/report.html");
    let page = sandbox.text("run/report.html");
    assert!(
        page.contains("Content-Security-Policy") && page.contains("default-src 'none'"),
        "no request leaves"
    );
    let versions = format!("Tallow {}, Candle ", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&versions), "versions");
    assert!(page.contains("airplane") && page.len() < 3_000_000);
    let plots = told["plots"].as_array().unwrap();
    assert!(plots.len() >= 6, "{plots:?}");
    for plot in plots {
        let bytes = sandbox.read(plot.as_str().unwrap());
        let is_svg = String::from_utf8_lossy(&bytes).contains("<svg");
        assert!(is_svg || bytes.starts_with(b"\x89PNG"), "{plot}");
    }
    sandbox.write("costs.toml", "[value]\ncow = 1\n");
    sandbox.trainer("report run --costs costs.toml").fails(&["costs.toml", "value.cow"]);
    sandbox.trainer("card run").ok();
    let card = sandbox.text("run/README.md");
    assert!(card.starts_with("---\n") && card.contains("model.safetensors"));
    assert!(card.contains(&versions), "{card}");
}

/// The page goes to the requested place, or a message tells what is possible; no folder is created unasked.
#[test]
fn a_page_goes_where_it_is_asked_for_or_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.write("a.html/file", "");
    let before = sandbox.everything();
    for (out, parts) in [
        ("x.pdf", &["x.pdf", ".html", "print it"][..]),
        ("x.PDF", &["print it"]),
        ("x.png", &["beside it as SVG and PNG"]),
        ("page", &["ends in .html"]),
        ("run", &["ends in .html"]),
        ("no/such/page.html", &["there is no folder no/such", "make it"]),
        ("a.html", &["a folder has this name"]),
    ] {
        sandbox.trainer(&format!("report run --out {out}")).fails(parts);
        sandbox.trainer(&format!("report run run --out {out}")).fails(parts);
    }
    assert_eq!(sandbox.everything(), before);
    for name in ["page.html", "page.HTM"] {
        let told = sandbox.trainer(&format!("report run --out run/{name} --json")).ok().json();
        assert_eq!(told["report"], format!("run/{name}"));
        assert!(sandbox.path("run/page-plots").is_dir() && !sandbox.read(&format!("run/{name}")).is_empty());
    }
}

#[test]
fn two_runs_are_compared_and_one_is_not() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir a")).ok();
    sandbox.trainer(&format!("{TINY} --seed 1 --run-dir b")).ok();
    let text = sandbox.trainer("compare a b").ok().stdout;
    assert!(text.contains("b against a: not told apart by this test set"), "{text}");
    sandbox.trainer("report a b").ok();
    assert!(sandbox.text("comparison.html").contains("McNemar"));
    sandbox.trainer("report nowhere").fails(&["nowhere", "no such folder"]);
    sandbox.trainer("report a b --target-accuracy 0.9").fails(&["--target-accuracy"]);
}
