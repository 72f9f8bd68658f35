//! Weights from a hub: downloaded once and then read from the cache, offline, refused by the hub, and of a pinned revision.

mod common;

use std::fs;

use common::*;
use tallow_core::digest;
use tallow_models::weights::{HubOptions, PretrainedConfig, WeightsError, read};

#[test]
fn the_first_run_downloads_and_the_second_sends_no_request() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let files = get("hf:timm/tiny", &options).unwrap();
    assert!(are_right(&files));
    assert_eq!(files.origin, format!("hf:timm/tiny@{COMMIT}"));
    assert_eq!(files.commit.as_deref(), Some(COMMIT));
    assert_eq!(read(&files.model).unwrap(), weights());
    let config = PretrainedConfig::read(files.config.as_ref().unwrap()).unwrap();
    assert_eq!(config.architecture, Some("resnet18".into()));

    assert_eq!(hub.requests().len(), 3);
    assert_eq!(get("hf:timm/tiny", &options).unwrap(), files);
    assert_eq!(get(&files.origin, &options).unwrap(), files);
    assert_eq!(hub.requests().len(), 3);
}

#[test]
fn the_cache_is_laid_out_as_other_programs_expect_it() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let files = get("hf:timm/tiny", &options).unwrap();
    let (config, model) = (git_blob(CONFIG.as_bytes()), digest::of_bytes(&model_file()));
    let mut expected = [
        format!("blobs/{config}"),
        format!("blobs/{config}.lock"),
        format!("blobs/{model}"),
        format!("blobs/{model}.lock"),
        "refs/main".to_owned(),
        format!("snapshots/{COMMIT}/config.json"),
        format!("snapshots/{COMMIT}/model.safetensors"),
    ];
    expected.sort();
    assert_eq!(paths_in(&options.cache_dir.join("models--timm--tiny")), expected);
    let theirs = hf_hub::Cache::new(options.cache_dir.clone()).model("timm/tiny".to_owned());
    assert_eq!(theirs.get("model.safetensors"), Some(files.model.clone()));
    if cfg!(unix) {
        // relative: the cache may be moved
        assert_eq!(
            fs::read_link(&files.model).unwrap().to_str(),
            Some(format!("../../blobs/{model}").as_str())
        );
    }
}

#[test]
fn offline_the_cache_serves_and_nothing_is_asked() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let online = hub.options(folder.path());
    let offline = HubOptions { offline: Some("--offline was given"), ..online.clone() };
    let message = get("hf:timm/tiny", &offline).unwrap_err().to_string();
    for part in ["hf:timm/tiny", "--offline was given", "run once with a network", "--weights a folder"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.contains(&offline.cache_dir.display().to_string()), "{message}");
    assert!(hub.requests().is_empty());
    let files = get("hf:timm/tiny", &online).unwrap();
    let n_requests = hub.requests().len();
    assert_eq!(get("hf:timm/tiny", &offline).unwrap(), files);
    assert!(get("hf:timm/tiny@other", &offline).is_err());
    assert_eq!(hub.requests().len(), n_requests);
}

#[test]
fn without_a_network_both_remedies_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let options = HubOptions { endpoint: endpoint.clone(), ..HubOptions::new(folder.path()) };
    let message = get("hf:timm/tiny", &options).unwrap_err().to_string();
    for part in [endpoint.as_str(), "run once with a network", "HF_HOME", "--weights a folder", "or a file"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_refusal_says_what_to_do_and_leaves_nothing() {
    for (status, remedy) in [
        ("401 Unauthorized", "set HF_TOKEN"),
        ("403 Forbidden", "terms"),
        ("404 Not Found", "check the name"),
        ("503 Service Unavailable", "later"),
    ] {
        let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
        hub.refuse(status);
        let message = get("hf:timm/tiny", &hub.options(folder.path())).unwrap_err().to_string();
        assert!(message.contains(&hub.url) && message.contains(&status[..3]), "{message}");
        assert!(message.contains(remedy), "{message}");
        assert!(paths_in(folder.path()).is_empty());
    }
}

#[test]
fn a_refusal_of_the_file_alone_is_told_too() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![status("401 Unauthorized"), status("404 Not Found")]);
    let options = hub.options(folder.path());
    for expected in [401, 404] {
        let error = get("hf:timm/tiny", &options).unwrap_err();
        assert!(matches!(&error, WeightsError::Status { status, .. } if *status == expected), "{error}");
        assert!(error.to_string().contains("/model.safetensors"), "{error}");
    }
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let (folder, hub, store) = (tempfile::tempdir().unwrap(), TestHub::start(), TestHub::start());
    hub.want_token("secret");
    let elsewhere = store.url.replace("127.0.0.1", "localhost");
    hub.reply(vec![redirect(&elsewhere, "")]);
    let mut options = hub.options(folder.path());
    assert!(matches!(get("hf:timm/tiny", &options), Err(WeightsError::Status { status: 401, .. })));
    options.token = Some("secret".to_owned());
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    let at_store = store.requests();
    assert_eq!(at_store.len(), 1);
    assert!(!at_store[0].contains("secret"), "{}", at_store[0]);
}

#[test]
fn a_pinned_revision_is_asked_for_and_nothing_else_taken() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let other = COMMIT.replace('0', "f");
    let message = get(&format!("hf:timm/tiny@{other}"), &options).unwrap_err().to_string();
    assert!(message.contains(&format!("asked for the commit {other}")), "{message}");

    let pinned = format!("hf:timm/tiny@{COMMIT}");
    let files = get(&pinned, &options).unwrap();
    assert!(are_right(&files));
    assert!(hub.requests()[1].contains(&format!("/revision/{COMMIT}?blobs=true")));
    let n_requests = hub.requests().len();
    assert_eq!(get(&pinned, &options).unwrap(), files);
    assert_eq!(hub.requests().len(), n_requests);
    // a branch with the same content needs one request and no download
    assert_eq!(get("hf:timm/tiny@refs/pr/1", &options).unwrap(), files);
    assert_eq!(hub.requests().len(), n_requests + 1);
    assert!(hub.requests()[n_requests].contains("/revision/refs%2fpr%2f1?"));
}

#[test]
fn a_model_without_a_config_has_none_and_one_without_weights_is_refused() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    hub.remove("config.json");
    let files = get("hf:timm/tiny", &options).unwrap();
    assert_eq!(files.config, None);
    assert_eq!(fs::read(&files.model).unwrap(), model_file());
    let n_requests = hub.requests().len();
    assert_eq!(get("hf:timm/tiny", &options).unwrap(), files);
    assert_eq!(hub.requests().len(), n_requests);

    hub.remove("model.safetensors");
    let message = get("hf:timm/tiny@v2", &options).unwrap_err().to_string();
    assert!(message.contains("hf:timm/tiny@v2 has no model.safetensors"), "{message}");
}

#[test]
fn what_is_no_hub_is_told() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.say("<html>Log in</html>");
    let message = get("hf:timm/tiny", &hub.options(folder.path())).unwrap_err().to_string();
    assert!(message.contains(&hub.url) && message.contains("HF_ENDPOINT"), "{message}");
    assert!(paths_in(folder.path()).is_empty());
}
