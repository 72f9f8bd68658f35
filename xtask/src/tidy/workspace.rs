//! The input of the rules: the packages as `cargo metadata` describes them, and the text files of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The folders with the repository's sources.
pub(super) const SOURCE_FOLDERS: [&str; 9] =
    ["crates", "xtask", "assets", "tests", "fuzz", "benches", "python", ".ci", ".cargo"];

/// The repository, read once.
#[derive(Default)]
pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
    /// The imports of each package of the dependency tree, by name. For packages of this repository they are those of
    /// [`Package::imports`]; for others, those they were built with.
    pub(super) imports: BTreeMap<String, BTreeSet<String>>,
    pub(super) files: Vec<TextFile>,
}

/// A package of this repository. Paths are relative to its root.
pub(super) struct Package {
    pub(super) name: String,
    /// For example `crates/core`.
    pub(super) folder: String,
    /// All imports of its manifest: optional ones and those of tests are included.
    pub(super) imports: Vec<String>,
    /// The first files of its library and its programs.
    pub(super) roots: Vec<String>,
}

/// A file that holds text.
pub(super) struct TextFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl TextFile {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns the lines with their numbers, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

impl Workspace {
    /// Reads the repository at `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let metadata = metadata(root)?;
        let relative =
            |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let packages = metadata.packages.iter().filter(|p| metadata.workspace_members.contains(&p.id));
        let packages: Vec<Package> = packages
            .map(|package| Package {
                name: package.name.clone(),
                folder: relative(package.manifest_path.parent().unwrap_or(root)),
                imports: package.dependencies.iter().map(|d| d.name.clone()).collect(),
                roots: package
                    .targets
                    .iter()
                    .filter(|t| t.is_product())
                    .map(|t| relative(&t.src_path))
                    .collect(),
            })
            .collect();
        let mut imports = metadata.imports();
        for package in &packages {
            imports.entry(package.name.clone()).or_default().extend(package.imports.iter().cloned());
        }
        Ok(Self { packages, imports, files: text_files(root)? })
    }

    pub(super) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// Returns the text files among the documents and below the source folders. Other files, such as data, runs and a person's
/// own recipes, are ignored.
fn text_files(root: &Path) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    let mut paths = SOURCE_FOLDERS.map(str::to_owned).to_vec();
    let is_text = |name: &String| {
        name.ends_with(".md") || ["Cargo.toml", "Cargo.lock", "deny.toml"].contains(&name.as_str())
    };
    paths.extend(names_in(root)?.into_iter().filter(is_text));
    while let Some(path) = paths.pop() {
        let full = root.join(&path);
        if full.is_dir() {
            paths.extend(names_in(&full)?.into_iter().map(|name| format!("{path}/{name}")));
        } else if full.is_file() {
            let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            if let (false, Ok(text)) = (bytes.contains(&0), String::from_utf8(bytes)) {
                files.push(TextFile { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let listing = || format!("cannot list {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(listing)?;
    let names =
        entries.map(|entry| Ok(entry.with_context(listing)?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    // for this platform only, because a build does not download packages for other platforms
    let arguments = ["metadata", "--format-version=1", "--filter-platform=host-tuple"];
    let done =
        Command::new("cargo").args(arguments).current_dir(root).output().context("cannot run cargo")?;
    ensure!(done.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).context("the output of cargo metadata cannot be read")
}

/// The part of `cargo metadata` that is used.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    manifest_path: std::path::PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: std::path::PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    pkg: String,
    dep_kinds: Vec<LinkKind>,
}

#[derive(Deserialize)]
struct LinkKind {
    /// `None` for an ordinary dependency, otherwise `dev` or `build`.
    kind: Option<String>,
}

impl Target {
    fn is_product(&self) -> bool {
        self.kind.iter().any(|kind| kind == "lib" || kind == "bin")
    }
}

impl Metadata {
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let names: BTreeMap<&str, &str> = self.packages.iter().map(|p| (&*p.id, &*p.name)).collect();
        let name = |id: &str| names.get(id).unwrap_or(&id).to_string();
        let mut imports = BTreeMap::<_, BTreeSet<_>>::new();
        for node in &self.resolve.nodes {
            let linked = node.deps.iter().filter(|link| link.dep_kinds.iter().any(|k| k.kind.is_none()));
            imports.entry(name(&node.id)).or_default().extend(linked.map(|link| name(&link.pkg)));
        }
        imports
    }
}
