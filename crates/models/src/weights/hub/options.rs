//! [`HubOptions`]: how to reach the hub and where its cache is, from the environment variables of Hugging Face's programs.

use std::ffi::OsString;
use std::path::PathBuf;

use tallow_fetch::Patience;

use super::super::error::WeightsError;

/// Address of the Hugging Face hub.
const ENDPOINT: &str = "https://huggingface.co";

/// How to reach the hub, and where its cache is.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The folder of the cache, which all programs for the hub share. It is created if necessary.
    pub cache_dir: PathBuf,
    /// Address of the hub: `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// Token, sent only to the scheme, host and port of the endpoint.
    pub token: Option<String>,
    /// If set, no request is sent. Holds the reason as a sentence, such as "HF_HUB_OFFLINE is set".
    pub offline: Option<&'static str>,
    /// How long a download waits.
    pub patience: Patience,
}

impl HubOptions {
    /// Returns options for the Hugging Face hub with its cache in `cache_dir`.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            endpoint: ENDPOINT.to_owned(),
            token: None,
            offline: None,
            patience: Patience::default(),
        }
    }

    /// Reads the options from the environment, as Hugging Face's own programs do:
    ///
    /// - cache: the first of `HF_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub` and `~/.cache/huggingface/hub`
    /// - token: `HF_TOKEN`, or the token that their login stored
    /// - address: `HF_ENDPOINT`
    /// - offline: `HF_HUB_OFFLINE`
    ///
    /// # Errors
    /// If no variable names the cache and there is no home folder.
    pub fn from_env() -> Result<Self, WeightsError> {
        Self::from_vars(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_vars(
        var: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, WeightsError> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let text = |name| var(name).map(|value| value.to_string_lossy().trim().to_owned());
        let folder = |name| var(name).map(|value| expand(value.into(), home.as_ref()));
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        let hf_home = folder("HF_HOME").or_else(|| Some(caches?.join("huggingface")));
        let cache_dir = folder("HF_HUB_CACHE").or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let cache_dir = cache_dir.ok_or(WeightsError::NoCache)?;
        // hf-hub looks for the token beside a folder `hub`
        let login = || hf_hub::Cache::new(hf_home?.join("hub")).token();
        let mut options = Self::new(cache_dir);
        options.token = text("HF_TOKEN").or_else(login);
        options.offline =
            text("HF_HUB_OFFLINE").filter(|value| is_true(value)).map(|_| "HF_HUB_OFFLINE is set");
        if let Some(endpoint) = text("HF_ENDPOINT") {
            options.endpoint = endpoint.trim_end_matches('/').to_owned();
        }
        Ok(options)
    }
}

/// Whether Hugging Face's programs read `value` as true.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Replaces a leading `~` by the home folder, because no shell may have expanded the variable.
fn expand(path: PathBuf, home: Option<&PathBuf>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)]) -> HubOptions {
        let var = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        HubOptions::from_vars(var, Some("/h".into())).unwrap()
    }

    #[test]
    fn the_cache_is_where_other_programs_have_it() {
        let (hub, home, xdg) = (("HF_HUB_CACHE", "/hub"), ("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/xdg"));
        for (vars, expected) in [
            (&[][..], "/h/.cache/huggingface/hub"),
            (&[xdg], "/xdg/huggingface/hub"),
            (&[xdg, home], "/h/hf/hub"),
            (&[xdg, home, hub], "/hub"),
            (&[("HF_HOME", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(options(vars).cache_dir, PathBuf::from(expected));
        }
        let error = HubOptions::from_vars(|_| None, None).unwrap_err().to_string();
        assert!(error.contains("HF_HOME"), "{error}");
    }

    #[test]
    fn endpoint_offline_and_token() {
        let nothing = options(&[]);
        assert_eq!((nothing.endpoint.as_str(), nothing.offline), ("https://huggingface.co", None));
        assert_eq!(options(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
        for (value, offline) in
            [("1", true), ("TRUE", true), ("on", true), ("0", false), ("no", false), ("", false)]
        {
            assert_eq!(options(&[("HF_HUB_OFFLINE", value)]).offline.is_some(), offline, "{value}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-login\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(options(&[home]).token.as_deref(), Some("from-login"));
        assert_eq!(options(&[home, ("HF_TOKEN", "from-env")]).token.as_deref(), Some("from-env"));
    }
}
