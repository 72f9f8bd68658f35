//! Parses the hub's description of a model: its commit, and the length and digest of each file.

use serde::Deserialize;

use super::super::error::WeightsError;
use super::names::{BlobId, Commit};

/// Largest listing that is read, in bytes.
pub(super) const MAX_LISTING_BYTES: u64 = 16 << 20;

/// The hub's description of a model at one commit.
pub(super) struct Listing {
    pub(super) commit: Commit,
    siblings: Vec<Sibling>,
}

/// Name, length and digest of a file on the hub.
#[derive(Debug)]
pub(super) struct ListedFile {
    pub(super) name: &'static str,
    pub(super) n_bytes: u64,
    pub(super) blob: BlobId,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Parses the JSON that `url` returned.
    pub(super) fn parse(json: &[u8], url: &str) -> Result<Self, WeightsError> {
        let refuse = |problem| WeightsError::Answer { url: url.to_owned(), problem };
        let info: Info = serde_json::from_slice(json).map_err(|e| {
            refuse(format!("expected the hub's description of a model, found something else ({e})"))
        })?;
        let commit = Commit::parse(&info.sha).ok_or_else(|| {
            refuse(format!("expected a commit of 40 hexadecimal digits, found {:?}", info.sha))
        })?;
        Ok(Self { commit, siblings: info.siblings })
    }

    /// Returns the file `name`, if the model has it.
    ///
    /// # Errors
    /// If the listing states no valid digest and length for the file, or more than `max_bytes`.
    pub(super) fn file(
        &self,
        name: &'static str,
        max_bytes: u64,
        url: &str,
    ) -> Result<Option<ListedFile>, WeightsError> {
        let refuse = |problem| Err(WeightsError::Answer { url: url.to_owned(), problem });
        let Some(found) = self.siblings.iter().find(|sibling| sibling.rfilename == name) else {
            return Ok(None);
        };
        let (digest, n_digits, n_bytes) = match &found.lfs {
            Some(lfs) => (Some(&lfs.sha256), 64, Some(lfs.size)),
            None => (found.blob_id.as_ref(), 40, found.size),
        };
        let (Some(digest), Some(n_bytes)) = (digest, n_bytes) else {
            return refuse(format!("it states no digest or no length of {name}"));
        };
        let Some(blob) = BlobId::parse(digest).filter(|blob| blob.as_str().len() == n_digits) else {
            return refuse(format!("it states {digest:?} for {name}, which is not a digest"));
        };
        if n_bytes > max_bytes {
            return refuse(format!("{name} has {n_bytes} bytes, expected at most {max_bytes}"));
        }
        Ok(Some(ListedFile { name, n_bytes, blob }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn message(siblings: &str) -> String {
        let json = format!(r#"{{"sha": "{COMMIT}", "siblings": [{siblings}]}}"#);
        let listing = Listing::parse(json.as_bytes(), "http://hub/x").unwrap();
        listing.file("model.safetensors", 1000, "http://hub/x").unwrap_err().to_string()
    }

    #[test]
    fn a_large_file_has_its_sha256_and_a_small_one_its_name_in_git() {
        let sha256 = "ab".repeat(32);
        let json = format!(
            r#"{{"_id": "x", "sha": "{COMMIT}", "tags": [], "siblings": [
                {{"rfilename": "config.json", "size": 5, "blobId": "{COMMIT}"}},
                {{"rfilename": "model.safetensors", "size": 134, "blobId": "{COMMIT}",
                  "lfs": {{"sha256": "{sha256}", "size": 1000, "pointerSize": 134}}}}]}}"#
        );
        let listing = Listing::parse(json.as_bytes(), "").unwrap();
        assert_eq!(listing.commit.as_str(), COMMIT);
        let config = listing.file("config.json", 5, "").unwrap().unwrap();
        assert_eq!((config.n_bytes, config.blob.as_str()), (5, COMMIT));
        let model = listing.file("model.safetensors", 1000, "").unwrap().unwrap();
        assert_eq!((model.n_bytes, model.blob.as_str()), (1000, sha256.as_str()));
        assert!(listing.file("absent", 5, "").unwrap().is_none());
    }

    #[test]
    fn what_a_hub_would_not_say_is_refused() {
        let file = r#""rfilename": "model.safetensors""#;
        assert!(message(&format!("{{{file}}}")).contains("no digest or no length"));
        assert!(message(&format!(r#"{{{file}, "size": 1, "blobId": "../../x"}}"#)).contains("../../x"));
        let short = format!(r#"{{{file}, "lfs": {{"sha256": "{COMMIT}", "size": 1}}}}"#);
        assert!(message(&short).contains("which is not a digest"));
        let large = format!(r#"{{{file}, "size": 1001, "blobId": "{COMMIT}"}}"#);
        assert!(message(&large).contains("at most 1000"));
        let bad_commit = Listing::parse(br#"{"sha": "../../x", "siblings": []}"#, "http://hub/x");
        assert!(bad_commit.err().unwrap().to_string().contains("40 hexadecimal digits"));
        assert!(
            Listing::parse(b"<html>", "http://hub/x").err().unwrap().to_string().contains("http://hub/x")
        );
    }
}
