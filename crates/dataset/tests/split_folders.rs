//! Folders called train, val and test: splits, or classes that happen to have these names.

mod tree;

use tallow_dataset::folder::SplitName;
use tree::{Tree, counted, says};

#[test]
fn splits_in_the_usual_spellings() {
    for (train, val, test) in [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("trn", "dev", "tst"),
        ("seg_train", "seg_val", "seg_test"),
    ] {
        let tree = Tree::new(&[
            &format!("{test}/cat/*1"),
            &format!("{test}/dog/*1"),
            &format!("{val}/dog/*2"),
            &format!("{val}/cat/*1"),
            &format!("{train}/cat/*3"),
            &format!("{train}/dog/*2"),
        ]);
        let listing = tree.list().unwrap();
        assert_eq!(
            counted(&listing),
            "test/cat 1, test/dog 1, train/cat 3, train/dog 2, val/cat 1, val/dog 2"
        );
        assert_eq!(listing.class_names, ["cat", "dog"]);
        assert_eq!(listing.entries[0].split, Some(SplitName::Train));
        assert_eq!(listing.entries.last().unwrap().split, Some(SplitName::Test));
    }
    let wrapped = Tree::new(&[
        "seg_train/seg_train/cat/*2",
        "seg_train/seg_train/dog/*2",
        "seg_test/seg_test/cat/*1",
        "seg_test/seg_test/dog/*1",
        "seg_pred/seg_pred/*3",
    ])
    .list()
    .unwrap();
    assert_eq!(counted(&wrapped), "test/cat 1, test/dog 1, train/cat 2, train/dog 2");
    assert_eq!(wrapped.unlabelled.len(), 3);
    assert!(says(&wrapped, &["seg_pred", "3 pictures"]));
}

#[test]
fn classes_are_matched_by_name_and_missing_ones_are_said() {
    let listing = Tree::new(&[
        "train/a/*2",
        "train/b/*2",
        "train/c/*2",
        "val/a/*1",
        "val/b/*1",
        "test/b/*1",
        "test/c/*1",
        "test/a/",
    ])
    .list()
    .unwrap();
    assert_eq!(listing.class_names, ["a", "b", "c"]);
    assert_eq!(counted(&listing), "test/b 1, test/c 1, train/a 2, train/b 2, train/c 2, val/a 1, val/b 1");
    assert!(says(&listing, &["c has no validation pictures"]) && says(&listing, &["a has no test pictures"]));
    let refused = Tree::new(&["train/a/*2", "train/b/*2", "val/a/*1", "val/b/*1", "val/c/*1"]).refused();
    assert!(refused.contains("no training pictures of c"), "{refused}");
}

#[test]
fn a_class_that_is_called_as_a_split() {
    let listing = Tree::new(&["bus/*2", "train/*3", "tram/*1"]).list().unwrap();
    assert_eq!(counted(&listing), "bus 2, train 3, tram 1");
    assert!(says(&listing, &["train beside bus, tram", "taken as classes"]), "{:?}", listing.notices);
    let extra = Tree::new(&["train/cat/*2", "train/dog/*2", "test/cat/*1", "test/dog/*1", "extra/*4"])
        .list()
        .unwrap();
    assert_eq!(extra.class_names, ["cat", "dog"]);
    assert!(says(&extra, &["extra", "4 pictures"]) && extra.unlabelled.len() == 4);
    let either = Tree::new(&["train/cat/*2", "train/dog/*2", "extra/*4"]).refused();
    assert!(either.contains("train") && either.contains("extra"), "{either}");
    let twice = Tree::new(&["train/cat/*1", "val/cat/*1", "valid/cat/*1"]).refused();
    assert!(twice.contains("val and valid"), "{twice}");
    let flat = Tree::new(&["train/*4", "test/*4"]).refused();
    assert!(flat.contains("8 pictures in train, test") && flat.contains("no class folders"), "{flat}");
    let flat_test = Tree::new(&["train/cat/*2", "train/dog/*2", "test/*4"]).list().unwrap();
    assert!(says(&flat_test, &["test has no class folders"]) && flat_test.unlabelled.len() == 4);
    let inside = Tree::new(&["cat/train/*2", "cat/test/*1", "dog/train/*2", "dog/test/*1"]).list().unwrap();
    assert_eq!(counted(&inside), "cat 3, dog 3");
    assert!(says(&inside, &["each class folder holds test, train"]), "{:?}", inside.notices);
}
