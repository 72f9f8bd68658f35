//! Weights from a hub that breaks off, falls silent, sends wrong bytes or is hostile, and weights from a damaged cache.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::*;
use tallow_core::{Progress, Silent, StopFlag, StopSignal, Unit, digest};
use tallow_models::weights::{HubOptions, WeightsError, resolve};

/// Returns the path of the weights' blob in the cache, with `ending` appended.
fn blob(options: &HubOptions, ending: &str) -> PathBuf {
    let name = format!("{}{ending}", digest::of_bytes(&model_file()));
    options.cache_dir.join("models--timm--tiny/blobs").join(name)
}

#[test]
fn a_cut_is_resumed_within_the_call() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![cut_after(90_000), hang_up()]);
    let options = hub.options(folder.path());
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert_eq!(hub.range_starts(), [None, Some(90_000), Some(90_000)]);
    assert!(!blob(&options, ".part").exists());
}

#[test]
fn a_cut_is_resumed_by_a_second_call() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![cut_after(90_000), hang_up(), hang_up(), hang_up()]);
    let options = hub.options(folder.path());
    let message = get("hf:timm/tiny", &options).unwrap_err().to_string();
    assert!(message.contains("broke off after 90000 of ") && message.contains("to continue"), "{message}");
    assert_eq!(fs::read(blob(&options, ".part")).unwrap(), model_file()[..90_000]);
    assert!(!options.cache_dir.join("models--timm--tiny/refs").exists());
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert_eq!(hub.range_starts()[4..], [Some(90_000)]);
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![silent_after(90_000)]);
    let mut options = hub.options(folder.path());
    options.patience.stall = Duration::from_millis(200);
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert_eq!(hub.range_starts(), [None, Some(90_000)]);
}

#[test]
fn a_redirect_is_followed_with_the_range() {
    let (folder, hub, store) = (tempfile::tempdir().unwrap(), TestHub::start(), TestHub::start());
    hub.reply(vec![cut_after(90_000), redirect(&store.url, "")]);
    assert!(are_right(&get("hf:timm/tiny", &hub.options(folder.path())).unwrap()));
    assert_eq!(store.range_starts(), [Some(90_000)]);
}

#[test]
fn a_part_that_is_complete_needs_no_request() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let part = blob(&options, ".part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, model_file()).unwrap();
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert!(hub.range_starts().is_empty());
}

#[test]
fn a_whole_body_as_the_answer_to_a_range_begins_anew() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![cut_after(90_000), with_head(&model_file(), "200 OK", "")]);
    assert!(are_right(&get("hf:timm/tiny", &hub.options(folder.path())).unwrap()));
    assert_eq!(hub.range_starts(), [None, Some(90_000)]);
}

#[test]
fn a_range_that_does_not_fit_is_thrown_away_with_the_part() {
    let total = model_file().len();
    let partial =
        |range: String| with_head(b"abcd", "206 Partial Content", &format!("Content-Range: {range}\r\n"));
    for misfit in [
        partial(format!("bytes 90001-90004/{total}")),
        partial(format!("bytes 90000-90003/{}", total + 1)),
        partial("bytes 90000-90003/*".to_owned()),
        partial("nonsense".to_owned()),
        with_head(b"abcd", "206 Partial Content", ""),
        status("416 Range Not Satisfiable"),
    ] {
        let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
        hub.reply(vec![cut_after(90_000), misfit]);
        assert!(are_right(&get("hf:timm/tiny", &hub.options(folder.path())).unwrap()));
        assert_eq!(hub.range_starts(), [None, Some(90_000), None]);
    }
}

#[test]
fn a_part_that_is_damaged_is_downloaded_anew() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let part = blob(&options, ".part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![7; 90_000]).unwrap();
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert_eq!(hub.range_starts(), [Some(90_000), None]);
}

#[test]
fn wrong_bytes_are_told_and_never_found_again() {
    let (mut other, mut long) = (model_file(), model_file());
    other[100_000] ^= 1;
    long.push(0);
    for wrong in [other, long] {
        let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
        hub.reply(vec![with_head(&wrong, "200 OK", "")]);
        let options = hub.options(folder.path());
        let message = get("hf:timm/tiny", &options).unwrap_err().to_string();
        assert!(message.contains(&digest::of_bytes(&model_file())), "{message}");
        assert!(message.contains("the download was deleted"), "{message}");
        let names = paths_in(&options.cache_dir);
        assert!(
            !names.iter().any(|name| name.ends_with("model.safetensors") || name.contains("refs")),
            "{names:?}"
        );
        assert!(!blob(&options, "").exists() && !blob(&options, ".part").exists());
        assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
        assert_eq!(hub.range_starts(), [None, None]);
    }
}

#[test]
fn a_config_of_wrong_bytes_is_refused_as_well() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let lie = small("config.json", &[b' '; CONFIG.len()]);
    hub.say(listing(COMMIT, &[lie]));
    let message = get("hf:timm/tiny", &hub.options(folder.path())).unwrap_err().to_string();
    assert!(message.contains(&format!("git blob {}", git_blob(CONFIG.as_bytes()))), "{message}");
    assert!(!paths_in(folder.path()).iter().any(|name| name.ends_with("config.json")));
}

#[test]
fn a_damaged_cache_is_noticed_and_made_good() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let files = get("hf:timm/tiny", &options).unwrap();
    for path in [&files.model, files.config.as_ref().unwrap()] {
        let mut content = fs::read(path).unwrap();
        content[10] ^= 1;
        fs::write(path, &content).unwrap();
        assert_eq!(get("hf:timm/tiny", &options).unwrap(), files);
        assert!(are_right(&files));
    }
    fs::write(&files.model, "short").unwrap();
    let offline = HubOptions { offline: Some("HF_HUB_OFFLINE is set"), ..options.clone() };
    assert!(matches!(get("hf:timm/tiny", &offline), Err(WeightsError::Unreachable { .. })));
    assert!(!files.model.exists());
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
}

#[test]
fn names_that_are_no_digests_become_no_paths() {
    let (n_bytes, sha256) = (model_file().len(), digest::of_bytes(&model_file()));
    let weights = |name: &str| large("model.safetensors", n_bytes, name);
    let absolute = format!("/{}", "a".repeat(63));
    let climbing = format!("../../../{}", "a".repeat(55));
    for hostile in [
        listing("../../x", &[weights(&sha256)]),
        listing(&format!("../../../{}", "a".repeat(31)), &[weights(&sha256)]),
        listing(COMMIT, &[weights("../../x")]),
        listing(COMMIT, &[weights(&climbing)]),
        listing(COMMIT, &[weights(&absolute)]),
        listing(COMMIT, &[r#"{"rfilename": "config.json", "size": 1, "blobId": "../../x"}"#.to_owned()]),
    ] {
        let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
        hub.say(hostile.clone());
        let error = get("hf:timm/tiny", &hub.options(folder.path())).unwrap_err();
        assert!(matches!(error, WeightsError::Answer { .. }), "{hostile}: {error}");
        let left: Vec<String> = paths_in(folder.path());
        assert!(left.iter().all(|name| name.contains("/.no_exist/")), "{left:?}");
    }
}

#[test]
fn names_in_the_head_of_an_answer_are_not_looked_at() {
    let (folder, hub, store) = (tempfile::tempdir().unwrap(), TestHub::start(), TestHub::start());
    let hostile = "ETag: \"../../../x\"\r\nX-Linked-Etag: \"../../../x\"\r\nX-Repo-Commit: ../../x\r\n\
                   Content-Disposition: attachment; filename=\"../../x\"\r\n";
    hub.reply(vec![redirect(&store.url, hostile)]);
    store.reply(vec![with_head(&model_file(), "200 OK", hostile)]);
    assert!(are_right(&get("hf:timm/tiny", &hub.options(folder.path())).unwrap()));
    assert_eq!(store.requests().len(), 1);
    let paths = paths_in(folder.path());
    assert_eq!(paths.len(), 7, "{paths:?}");
    assert!(paths.iter().all(|path| path.starts_with("hub/models--timm--tiny/")), "{paths:?}");
}

#[test]
fn a_redirect_without_an_address_is_an_error_and_no_panic() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply((0..4).map(|_| with_head(b"", "302 Found", "")).collect());
    let message = get("hf:timm/tiny", &hub.options(folder.path())).unwrap_err().to_string();
    assert!(message.contains("/model.safetensors"), "{message}");
}

/// Raises the stop flag when this number of bytes has come.
struct StopAt(u64, StopFlag);

impl Progress for StopAt {
    fn begin(&self, label: &str, total: Option<u64>, unit: Unit) {
        assert!(label.starts_with("downloading ") && label.ends_with(" of hf:timm/tiny"), "{label}");
        assert!(total.is_some() && unit == Unit::Bytes);
    }
    fn advance(&self, done: u64) {
        if done >= self.0 {
            self.1.raise(StopSignal::Interrupt);
        }
    }
    fn note(&self, _text: &str) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
}

#[test]
fn a_stop_keeps_what_came_and_does_not_wait_for_a_silent_server() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    hub.reply(vec![silent_after(90_000)]);
    let mut options = hub.options(folder.path());
    options.patience.stall = Duration::from_secs(60);
    let (stop, start) = (StopFlag::default(), Instant::now());
    let source = "hf:timm/tiny".parse().unwrap();
    let error = resolve(&source, &options, &StopAt(90_000, stop.clone()), &stop).unwrap_err();
    assert!(matches!(error, WeightsError::Stopped(StopSignal::Interrupt)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(are_right(&get("hf:timm/tiny", &options).unwrap()));
    assert_eq!(hub.range_starts(), [None, Some(90_000)]);
}

#[test]
fn another_program_that_downloads_the_same_is_waited_for() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), TestHub::start());
    let options = hub.options(folder.path());
    let path = blob(&options, ".lock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let other = File::create(&path).unwrap();
    other.lock().unwrap();
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| get("hf:timm/tiny", &options).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        fs::write(blob(&options, ""), model_file()).unwrap();
        drop(other);
        assert!(are_right(&ours.join().unwrap()));
    });
    assert!(hub.range_starts().is_empty());

    let (second, stop) = (tempfile::tempdir().unwrap(), StopFlag::default());
    let options = hub.options(second.path());
    fs::create_dir_all(blob(&options, "").parent().unwrap()).unwrap();
    let other = File::create(blob(&options, ".lock")).unwrap();
    other.lock().unwrap();
    stop.raise(StopSignal::Terminate);
    let error = resolve(&"hf:timm/tiny".parse().unwrap(), &options, &Silent, &stop).unwrap_err();
    assert!(matches!(error, WeightsError::Stopped(StopSignal::Terminate)), "{error}");
}
