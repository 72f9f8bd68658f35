//! Checks that imports point only downwards, and that the packages that must not depend on Candle do not.

use std::collections::BTreeSet;

use super::Finding;
use super::workspace::{Package, Workspace};

/// The packages of the repository, bottom up, each with the packages of the repository that it may import.
const LAYERS: [(&str, &[&str]); 15] = [
    ("tallow-core", &[]),
    ("tallow-fetch", &["tallow-core"]),
    ("tallow-comm", &["tallow-core"]),
    ("tallow-kernels", &["tallow-core"]),
    ("tallow-run-files", &["tallow-core"]),
    ("tallow-metrics", &["tallow-core"]),
    ("tallow-dataset", &["tallow-fetch", "tallow-core"]),
    ("tallow-nn", &["tallow-kernels", "tallow-core"]),
    ("tallow-models", &["tallow-nn", "tallow-fetch", "tallow-core"]),
    ("tallow-onnx", &["tallow-nn"]),
    ("tallow-report", &["tallow-metrics", "tallow-run-files", "tallow-core"]),
    (
        "tallow-training",
        &["tallow-nn", "tallow-dataset", "tallow-metrics", "tallow-run-files", "tallow-comm", "tallow-core"],
    ),
    ("tallow-serve", &["tallow-training", "tallow-nn", "tallow-dataset", "tallow-metrics", "tallow-core"]),
    (
        "trainer",
        &[
            "tallow-serve",
            "tallow-report",
            "tallow-training",
            "tallow-onnx",
            "tallow-models",
            "tallow-nn",
            "tallow-dataset",
            "tallow-metrics",
            "tallow-run-files",
            "tallow-comm",
            "tallow-kernels",
            "tallow-core",
        ],
    ),
    ("xtask", &["tallow-dataset", "tallow-core"]),
];

/// Packages that must compile without Candle.
const WITHOUT_CANDLE: [&str; 9] = [
    "tallow-core",
    "tallow-fetch",
    "tallow-comm",
    "tallow-kernels",
    "tallow-run-files",
    "tallow-metrics",
    "tallow-dataset",
    "tallow-report",
    "xtask",
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<Finding> {
    let name = &*package.name;
    let manifest = format!("{}/Cargo.toml", package.folder);
    let at = |word: &str, message: String| {
        let lines = workspace.file(&manifest).into_iter().flat_map(|file| file.lines());
        let line = lines.filter(|(_, text)| text.starts_with(word)).map(|(number, _)| number).next();
        Finding::new(&manifest, line.unwrap_or(1), message)
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        let message = format!("`{name}` is in no layer: add it to LAYERS in xtask/src/tidy/layers.rs");
        return vec![at("name", message)];
    };
    let ours = package.imports.iter().filter(|import| workspace.packages.iter().any(|p| p.name == **import));
    let forbidden = ours.filter(|import| !allowed.contains(&&***import));
    let mut findings: Vec<Finding> = forbidden
        .map(|import| {
            let remedy = "use a crate in its row of LAYERS, or move the needed code to a lower layer";
            at(import, format!("`{name}` must not import `{import}`: {remedy}"))
        })
        .collect();
    if WITHOUT_CANDLE.contains(&name)
        && let Some(way) = way_to_candle(workspace, name, &mut BTreeSet::new())
    {
        let message = format!("`{name}` must compile without Candle: break {}", way.join(" -> "));
        findings.push(at(way[1], message));
    }
    findings
}

/// Returns a chain of imports from the crate `name` to one of Candle's crates.
fn way_to_candle<'a>(
    workspace: &'a Workspace,
    name: &'a str,
    seen: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if name.starts_with("candle") {
        return Some(vec![name]);
    }
    if !seen.insert(name) {
        return None;
    }
    let imports = workspace.imports.get(name)?;
    let mut way = imports.iter().find_map(|import| way_to_candle(workspace, import, seen))?;
    way.insert(0, name);
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::TextFile;
    use super::*;

    fn messages(packages: &[(&str, &[&str])], imports: &[(&str, &[&str])]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let package = |&(name, imports): &(&str, &[&str])| Package {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            imports: owned(imports),
            roots: vec![],
        };
        let manifest = |&(name, imports): &(&str, &[&str])| TextFile {
            path: format!("crates/{name}/Cargo.toml"),
            text: format!("[dependencies]\n{}.workspace = true\n", imports.join(".workspace = true\n")),
        };
        let workspace = Workspace {
            packages: packages.iter().map(package).collect(),
            imports: packages
                .iter()
                .chain(imports)
                .map(|(name, imports)| (name.to_string(), owned(imports).into_iter().collect()))
                .collect(),
            files: packages.iter().map(manifest).collect(),
        };
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn down_is_fine() {
        let packages: [(&str, &[&str]); 3] = [
            ("tallow-core", &["sha2"]),
            ("tallow-nn", &["tallow-core", "candle-core"]),
            ("tallow-models", &["tallow-nn"]),
        ];
        assert_eq!(messages(&packages, &[]), [""; 0]);
    }

    #[test]
    fn up_and_sideways_are_not() {
        let found = messages(&[("tallow-core", &["sha2", "tallow-nn"]), ("tallow-nn", &[])], &[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("crates/tallow-core/Cargo.toml:3: `tallow-core` must not import"),
            "{found:?}"
        );
        let found = messages(&[("tallow-metrics", &["tallow-dataset"]), ("tallow-dataset", &[])], &[]);
        assert!(found[0].contains("`tallow-metrics` must not import `tallow-dataset`"), "{found:?}");
    }

    #[test]
    fn a_package_in_no_layer_is_named() {
        let found = messages(&[("tallow-extras", &[])], &[]);
        assert!(found[0].contains("`tallow-extras` is in no layer"), "{found:?}");
    }

    #[test]
    fn candle_is_found_however_deep() {
        let imports: [(&str, &[&str]); 3] =
            [("sha2", &["digest"]), ("digest", &["sha2"]), ("plots", &["digest", "candle-nn"])];
        let found = messages(&[("tallow-metrics", &["sha2", "plots"])], &imports);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/tallow-metrics/Cargo.toml:3: "), "{found:?}");
        assert!(found[0].ends_with("break tallow-metrics -> plots -> candle-nn"), "{found:?}");
    }
}
