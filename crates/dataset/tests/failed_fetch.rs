//! A failed fetch leaves only the files that the next fetch continues from.

mod common;

use common::*;
use tallow_dataset::fetch::FetchError;

/// Everything under `folder`, lock files too.
fn left_in(folder: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn folders_that_were_made_for_nothing_go_again() {
    let archive = tiny_archive();
    let mut wrong = archive.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    let failures: [Vec<Reply>; 4] = [
        vec![status("404 Not Found")],
        vec![],
        vec![whole(&wrong)],
        vec![cut_after(&archive, 0), hang_up(), hang_up(), hang_up()],
    ];
    for (i, replies) in failures.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(replies);
        run(&request(&folder.path().join("new/data"), &server.url)).unwrap_err();
        assert_eq!(left_in(folder.path()), [""; 0], "failure {i}");

        // a folder that existed before belongs to the user and stays
        let server = Server::start(vec![status("404 Not Found")]);
        run(&request(folder.path(), &server.url)).unwrap_err();
        assert_eq!(left_in(folder.path()), [""; 0], "failure {i}");
    }
}

#[test]
fn what_can_be_gone_on_from_stays_and_that_is_said() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let server = Server::start(vec![cut_after(&archive, 90_000), hang_up(), hang_up(), hang_up()]);
    let data_dir = folder.path().join("data");
    let error = run(&request(&data_dir, &server.url)).unwrap_err();
    assert!(
        matches!(error, FetchError::Download(_))
            && error.to_string().contains("the part that arrived is kept")
    );
    assert_eq!(left_in(&data_dir), ["tiny.part", "tiny.part.json"]);
}
