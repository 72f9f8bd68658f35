//! Class folders, folders that wrap them, and entries beside them: accepted, reported, or refused by name.

mod tree;

use tallow_core::{Silent, StopFlag, StopSignal};
use tallow_dataset::folder::{FolderError, ListingOptions, list, walk_pictures};
use tree::{PNG, Tree, counted, names, says};

#[test]
fn the_first_folder_is_the_class_and_deeper_ones_are_the_owners_order() {
    let listing =
        Tree::new(&["dog/2021/a.png", "cat/2022/x/b.png", "cat/2021/b.png", "cat/a.png"]).list().unwrap();
    assert_eq!(listing.class_names, ["cat", "dog"]);
    assert_eq!(names(&listing), ["cat/2021/b.png", "cat/2022/x/b.png", "cat/a.png", "dog/2021/a.png"]);
    assert_eq!(listing.entries.iter().map(|entry| entry.label).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert!(!listing.has_splits() && listing.notices.is_empty());
}

#[test]
fn numbers_stand_by_value_and_pictures_by_bytes() {
    let listing = Tree::new(&["10/b.png", "10/B.png", "2/a.png", "1/é.png", "1/z.png"]).list().unwrap();
    assert_eq!(listing.class_names, ["1", "2", "10"]);
    assert_eq!(names(&listing), ["1/z.png", "1/é.png", "2/a.png", "10/B.png", "10/b.png"]);
}

#[test]
fn one_folder_that_wraps_all_is_gone_into() {
    for wrap in ["photos", "a/b/photos", "Photos of 2024"] {
        let listing =
            Tree::new(&[&format!("{wrap}/cat/*2"), &format!("{wrap}/dog/*1"), "__MACOSX/cat/._1.png"])
                .list()
                .unwrap();
        assert_eq!(counted(&listing), "cat 2, dog 1");
        assert!(
            says(&listing, &["photos", "cat, dog"]) || says(&listing, &["Photos", "cat, dog"]),
            "{:?}",
            listing.notices
        );
        assert_eq!(listing.entries[0].name, format!("{wrap}/cat/0.png"));
    }
    let splits = Tree::new(&["data/train/cat/*1", "data/train/dog/*1", "data/val/cat/*1", "data/val/dog/*1"])
        .list()
        .unwrap();
    assert!(splits.has_splits() && splits.class_names == ["cat", "dog"]);
    let beside = Tree::new(&["photos/cat/*2", "photos/dog/*1", "new.png"]).refused();
    assert!(beside.contains("found one: photos") && beside.contains("photos holds cat, dog"), "{beside}");
}

#[test]
fn one_class_is_refused() {
    for names in [["cat/*3", "cat/b/*1"], ["photos/cat/*3", "README/"], ["train/cat/*2", "val/cat/*1"]] {
        let refused = Tree::new(&names[..1]).refused();
        assert!(refused.contains("expected at least two classes, found one: cat"), "{refused}");
    }
    assert!(Tree::new(&["a.png", "b.png"]).refused().contains("2 pictures (a.png, b.png)"));
}

#[test]
fn an_empty_class_is_refused_by_name() {
    for holds in ["bird/", "bird/.gitkeep", "bird/Thumbs.db", "bird/sub/", "bird/clip.mp4", "bird/IMG_1.nef"]
    {
        let tree = Tree::new(&["cat/*2", "dog/*2"]);
        let tree = if holds.ends_with('/') {
            Tree::new(&["cat/*2", "dog/*2", holds])
        } else {
            tree.with(holds, "x")
        };
        let refused = tree.refused();
        assert!(refused.contains("no pictures of bird"), "{holds}: {refused}");
    }
    let refused = Tree::new(&["train/cat/*1", "train/dog/*1", "train/bird/", "val/bird/*1"]).refused();
    assert!(refused.contains("no training pictures of bird"), "{refused}");
}

#[test]
fn folders_of_systems_notes_and_runs_are_no_classes_and_are_named() {
    let tree = Tree::new(&[
        "cat/*2",
        "dog/*2",
        "lost+found/",
        ".svn/x.png",
        "cat/.ipynb_checkpoints/0.png",
        "@eaDir/cat/x.png",
    ])
    .with("$RECYCLE.BIN/desktop.ini", "x")
    .with("System Volume Information/guid", "x")
    .with("docs/notes.txt", "x")
    .with("labels/cat/0.txt", "0 0 0 1 1")
    .with("runs/cnn-1/model.safetensors", "x")
    .with("runs/cnn-1/plots/loss.png", PNG);
    let listing = tree.list().unwrap();
    assert_eq!(counted(&listing), "cat 2, dog 2");
    for words in [
        ["lost+found/", "System Volume Information/"],
        ["docs/", "1 .txt"],
        ["labels/", "holds no picture"],
        ["runs/", "1 picture: runs/cnn-1/plots/loss.png"],
    ] {
        assert!(says(&listing, &words), "{words:?}: {:?}", listing.notices);
    }
    let other = Tree::new(&["cat/*2", "dog/*2", "runs/train/*1"])
        .with("runs/train/weights/best.pt", "x")
        .list()
        .unwrap();
    assert!(says(&other, &["runs/ is a class of 1 picture", "best.pt"]), "{:?}", other.notices);
    let model_in_class = Tree::new(&["cat/*2", "dog/*2"]).with("cat/model.safetensors", "x").list().unwrap();
    assert_eq!(counted(&model_in_class), "cat 2, dog 2");
}

#[test]
fn other_files_are_counted_in_one_line() {
    let tree = Tree::new(&["cat/*2", "dog/*1"])
        .with("README.txt", "x")
        .with("cat/a.TXT", "x")
        .with("cat/.nomedia", "")
        .with("cat/._0.png", PNG)
        .with("dog/Thumbs.db", "x")
        .with("dog/call.wav", "RIFF0000WAVE")
        .with("dog/noise", "x")
        .with("dog/hidden in no suffix", PNG)
        .with("dog/broken.jpg", "");
    let listing = tree.list().unwrap();
    assert_eq!(counted(&listing), "cat 2, dog 3");
    assert_eq!(listing.n_left_alone, 7);
    assert_eq!(listing.left_alone_examples.len(), 5);
    let lines: Vec<&String> = listing
        .notices
        .iter()
        .filter(|line| line.starts_with("files that are not pictures are ignored"))
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(
        says(&listing, &["3 hidden or of the system", "2 .txt", "1 .wav", "1 without a suffix"]),
        "{lines:?}"
    );
}

#[test]
fn no_pictures_says_what_was_found_and_what_is_read() {
    let refused =
        Tree::new(&[]).with("cat/a.txt", "x").with("dog/a.txt", "x").with("dog/b.pdf", "x").refused();
    assert!(
        refused.contains("2 .txt") && refused.contains("1 .pdf") && refused.contains("JPEG"),
        "{refused}"
    );
    assert!(Tree::new(&[]).refused().contains("found: nothing"));
    assert!(Tree::new(&[]).with("photos.zip", "PK").refused().contains("photos.zip is an archive"));
}

#[test]
fn pictures_beside_the_classes_are_named() {
    let listing = Tree::new(&["cat/*2", "dog/*2", "new-1.png", "new-0.png"]).list().unwrap();
    assert_eq!(counted(&listing), "cat 2, dog 2");
    assert!(says(&listing, &["without a class", "new-0.png, new-1.png"]));
    let in_split = Tree::new(&["train/cat/*2", "train/dog/*2", "train/new.png"]).list().unwrap();
    assert!(says(&in_split, &["train/new.png"]) && in_split.unlabelled.len() == 1);
}

#[test]
fn folders_too_deep_are_refused() {
    let deep = "d/".repeat(80);
    let refused = Tree::new(&["cat/*1", "dog/*1", &format!("cat/{deep}0.png")]).refused();
    assert!(refused.contains("more than 64 deep"), "{refused}");
}

#[test]
fn twins_are_refused_together() {
    let refused = Tree::new(&["Cat/*1", "cat/*1", "dog/*1"]).refused();
    assert!(refused.contains("\"Cat\" and \"cat\""), "{refused}");
    let refused = Tree::new(&["train/Cat/*1", "train/dog/*1", "val/cat/*1"]).refused();
    assert!(refused.contains("\"Cat\" and \"cat\""), "{refused}");
}

#[test]
fn messages_show_no_raw_escapes_and_names_stay_raw() {
    let listing = Tree::new(&["a\x1b[31m/x\ny.png", "b/*1", "new\u{202e}.png"]).list().unwrap();
    assert_eq!(listing.class_names[0], "a\x1b[31m");
    assert_eq!(listing.entries[0].name, "a\x1b[31m/x\ny.png");
    assert!(says(&listing, &["new<U+202E>.png"]));
    let refused = Tree::new(&["a\x1b[31m/*1"]).refused();
    assert!(refused.contains("a<U+001B>[31m") && !refused.contains('\x1b'), "{refused}");
}

#[test]
fn what_is_not_there_or_no_data_set_is_said() {
    let tree = Tree::new(&["a.png"]).with("a.pdf", "%PDF");
    let refused = |name: &str| tree.list_at(name, &ListingOptions::default()).unwrap_err().to_string();
    assert!(refused("absent").contains("does not exist"));
    assert!(refused("a.png").contains("a single picture"));
    assert!(refused("a.pdf").contains("not a data set"));
    let stop = StopFlag::default();
    stop.raise(StopSignal::Interrupt);
    let stopped = list(tree.path(), &ListingOptions::default(), tree.path(), &Silent, &stop);
    assert!(matches!(stopped, Err(FolderError::Stopped(StopSignal::Interrupt))));
}

#[test]
fn paths_for_prediction_are_walked_and_files_taken_as_they_are() {
    let tree = Tree::new(&["b/2.png", "b/1.png", "a.png"])
        .with("b/.DS_Store", "x")
        .with("b/notes.txt", "x")
        .with("c", "x");
    let walk = |name: &str| walk_pictures(&tree.path().join(name), &Silent, &StopFlag::default());
    let walked = walk("").unwrap();
    let names: Vec<&str> = walked.pictures.iter().map(|picture| picture.name.raw()).collect();
    assert_eq!(names, ["a.png", "b/1.png", "b/2.png"]);
    assert_eq!(walked.n_left_alone, 3);
    assert_eq!(walk("c").unwrap().pictures.len(), 1);
    assert!(walk("absent").unwrap_err().to_string().contains("does not exist"));
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;
    use tree::inside;

    #[test]
    fn links_are_followed_and_end() {
        let store = Tree::new(&["dog/*3", "x.png"]);
        let tree = Tree::new(&["set/cat/*2"]);
        let link = |to: &std::path::Path, name: &str| symlink(to, inside(&tree, name)).unwrap();
        link(&inside(&store, "x.png"), "set/cat/9.png");
        link(&inside(&store, "dog"), "set/dog");
        link(&inside(&store, "absent"), "set/cat/gone.png");
        link(std::path::Path::new(".."), "set/cat/again");
        link(std::path::Path::new("/"), "set/cat/all");
        link(std::path::Path::new("self"), "set/cat/self");
        let listing = tree.list_at("set", &ListingOptions::default()).unwrap();
        assert_eq!(counted(&listing), "cat 3, dog 3");
        let bad: Vec<(&str, &str)> =
            listing.bad.iter().map(|bad| (bad.name.raw(), bad.reason.as_str())).collect();
        assert_eq!(bad[0], ("cat/gone.png", "a broken link"));
        assert!(bad.len() == 2 && bad[1].0 == "cat/self", "{bad:?}");
        assert!(says(&listing, &["not followed", "cat/again, cat/all"]), "{:?}", listing.notices);
    }

    #[test]
    fn a_class_of_dead_links_is_refused_by_name() {
        let tree = Tree::new(&["cat/*2", "dog/*2", "fox/"]);
        symlink("/nothing/here.png", inside(&tree, "fox/0.png")).unwrap();
        let refused = tree.refused();
        assert!(refused.contains("no pictures of fox") && refused.contains("a broken link"), "{refused}");
    }

    /// The name of a class is shown, written down and compared as text.
    #[test]
    fn a_class_folder_whose_name_is_no_utf8_is_refused_by_name() {
        for below in ["", "train/"] {
            let tree = Tree::new(&[&format!("{below}a/*1"), &format!("{below}b/*1")]);
            let named = |name: &[u8]| inside(&tree, below).join(OsStr::from_bytes(name));
            for name in [b"caf\xe9", b"caf\xe8"] {
                std::fs::create_dir(named(name)).unwrap();
                std::fs::write(named(name).join("0.png"), PNG).unwrap();
            }
            let refused = tree.refused();
            assert!(refused.contains("caf\\xE8: the name of this folder is not UTF-8 text"), "{refused}");
            for name in [b"caf\xe9", b"caf\xe8"] {
                std::fs::rename(named(name).join("0.png"), named(name).join("0.txt")).unwrap();
                std::fs::write(named(name).join("0.txt"), "notes").unwrap();
            }
            assert_eq!(tree.list().unwrap().class_names, ["a", "b"], "folders of notes are no classes");
        }
    }

    /// Names are the texts of paths: each leads back to its own file.
    #[test]
    fn names_that_are_no_utf8_keep_their_bytes() {
        let tree = Tree::new(&["a/*1", "b/*1", "a\\xE9/*1"]);
        let names: [&[u8]; 3] = [b"caf\xe9.png", b"caf\xe8.png", b"caf\\xE9.png"];
        for name in names {
            std::fs::write(inside(&tree, "a").join(OsStr::from_bytes(name)), PNG).unwrap();
        }
        let listing = tree.list().unwrap();
        assert_eq!(listing.class_names, ["a", "a\\xE9", "b"], "a class is called as its folder");
        let found: Vec<&str> = listing.entries.iter().map(|entry| entry.name.raw()).collect();
        let expected = [
            "a/0.png",
            "a/caf\\x5CxE9.png",
            "a/caf\\xE8.png",
            "a/caf\\xE9.png",
            "a\\x5CxE9/0.png",
            "b/0.png",
        ];
        assert_eq!(found, expected);
        for entry in &listing.entries {
            assert_eq!(tree.path().join(tallow_core::path_of(entry.name.raw())), entry.path);
        }
        let walked =
            walk_pictures(&entry_of(&listing, "a/caf\\xE8.png"), &Silent, &StopFlag::default()).unwrap();
        assert!(walked.pictures[0].name.raw().ends_with("/a/caf\\xE8.png"), "{:?}", walked.pictures);

        let table = "file,label\na/0.png,x\na/caf\\xE9.png,y\na/caf\\xE8.png,x\nb/0.png,y\n";
        let tree = tree.with("labels.csv", table);
        let of_table = tree.list_at("labels.csv", &ListingOptions::default()).unwrap();
        let path = entry_of(&of_table, "a/caf\\xE9.png");
        assert_eq!(path.file_name(), Some(OsStr::from_bytes(b"caf\xe9.png")));
    }

    fn entry_of(listing: &tallow_dataset::folder::Listing, name: &str) -> std::path::PathBuf {
        listing.entries.iter().find(|entry| entry.name == name).unwrap().path.clone()
    }

    /// A FIFO would make the program wait for a writer.
    #[test]
    fn a_fifo_among_pictures_is_named_and_not_opened() {
        let tree = Tree::new(&["cat/*2", "dog/*2"]);
        for name in ["cat/fifo.png", "dog/fifo"] {
            let made = std::process::Command::new("mkfifo").arg(inside(&tree, name)).status().unwrap();
            assert!(made.success());
        }
        let bad: Vec<_> = tree.list().unwrap().bad.into_iter().map(|bad| (bad.name, bad.reason)).collect();
        let reason = || "neither a file nor a folder".to_owned();
        assert_eq!(bad, [("cat/fifo.png".into(), reason()), ("dog/fifo".into(), reason())]);
        let refused = tree.list_at("cat/fifo.png", &ListingOptions::default()).unwrap_err().to_string();
        assert!(refused.contains("neither a file nor a folder"), "{refused}");
    }
}
