//! Parses the value of `--weights`: a folder, a file, or a model on the hub. Finding the files is left to `resolve`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tallow_core::{path_of, path_text};

use super::error::WeightsError;

/// The text of a model on the hub begins with this.
const HUB_PREFIX: &str = "hf:";
/// The hub's limit for owner and for name of a model.
const MAX_NAME_CHARS: usize = 96;

/// The source of pretrained weights. Displays as the text that it was parsed from: for a path, its [`path_text()`].
///
/// ```
/// use tallow_models::weights::WeightsSource;
/// let source: WeightsSource = "hf:timm/resnet18.a1_in1k@main".parse()?;
/// assert!(matches!(&source, WeightsSource::Hub(model) if model.id() == "timm/resnet18.a1_in1k"));
/// assert_eq!(source.to_string(), "hf:timm/resnet18.a1_in1k@main");
/// # Ok::<(), tallow_models::weights::WeightsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsSource {
    /// A folder with `config.json` and `model.safetensors`, or a safetensors file.
    Path(PathBuf),
    /// A model on the hub.
    Hub(HubModel),
}

/// A model on the hub. Its name and revision can safely be part of an address or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    id: String,
    revision: Option<String>,
}

impl HubModel {
    /// Returns `owner/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns a branch, a tag or a commit; `main` if the text names no revision.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HUB_PREFIX}{}", self.id)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl fmt::Display for WeightsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path_text(path).fmt(f),
            Self::Hub(model) => model.fmt(f),
        }
    }
}

impl FromStr for WeightsSource {
    type Err = WeightsError;

    /// # Errors
    /// If the text is empty, or if a model on the hub cannot have this name or revision.
    fn from_str(text: &str) -> Result<Self, WeightsError> {
        let refuse = |problem| Err(WeightsError::Source { text: text.to_owned(), problem });
        if text.is_empty() {
            return refuse("it is empty");
        }
        let Some(model) = text.strip_prefix(HUB_PREFIX) else { return Ok(Self::Path(path_of(text))) };
        let (id, revision) = match model.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (model, None),
        };
        if !id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name)) {
            return refuse("this cannot be the name of a model on the hub");
        }
        if !revision.is_none_or(is_revision) {
            return refuse("a revision is a branch, a tag or a commit");
        }
        Ok(Self::Hub(HubModel { id: id.to_owned(), revision: revision.map(str::to_owned) }))
    }
}

/// Whether an owner or a model on the hub can have this name. The hub forbids `--`, because the cache writes `/` as `--`.
fn is_name(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().last()];
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !ends.iter().flatten().any(|c| "-.".contains(*c))
        && !["--", ".."].iter().any(|pair| text.contains(pair))
}

/// Whether the text can safely be a path below the cache's `refs`, and part of an address.
fn is_revision(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.len() <= 200 && text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_and_given_back() {
        for text in
            ["weights", "a/b.safetensors", "hf", "hf:timm/r.a1_in1k", "hf:a/b@v1.0", "hf:a/b@refs/pr/1"]
        {
            let source: WeightsSource = text.parse().unwrap();
            assert_eq!(matches!(source, WeightsSource::Hub(_)), text.starts_with("hf:"));
            assert_eq!(source.to_string(), text);
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;
            let WeightsSource::Path(path) = "caf\\xE9/w".parse().unwrap() else { panic!("no path") };
            assert_eq!(path.as_os_str().as_bytes(), b"caf\xe9/w");
            assert_eq!(WeightsSource::Path(path).to_string(), "caf\\xE9/w");
        }
        let WeightsSource::Hub(model) = "hf:a/b".parse().unwrap() else { panic!("a path") };
        assert_eq!((model.id(), model.revision()), ("a/b", "main"));
    }

    #[test]
    fn what_no_model_is_called_is_refused() {
        let bad = ["", "hf:", "hf:resnet18", "hf:a/", "hf:/b", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b--c"];
        let bad_revisions =
            ["hf:a/b@", "hf:a/b@../x", "hf:a/b@x/../y", "hf:a/b@/x", "hf:a/b@x?y", "hf:a/b@x@y"];
        for text in bad.into_iter().chain(bad_revisions) {
            let message = text.parse::<WeightsSource>().unwrap_err().to_string();
            assert!(message.contains("hf:OWNER/NAME[@REVISION]"), "{message}");
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }
}
