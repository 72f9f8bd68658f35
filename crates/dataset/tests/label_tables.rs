//! Label tables: the roles of columns, the files that cells mean, and problems reported by row.

mod tree;

use tallow_dataset::folder::ListingOptions;
use tree::{Tree, counted, names, says};

fn table(rows: &str) -> String {
    rows.split_whitespace().collect::<Vec<_>>().join("\n")
}

#[test]
fn a_competitions_layout() {
    let tree =
        Tree::new(&["train/0001.png", "train/0002.png", "train/0010.png", "test/0011.png", "test/0012.png"])
            .with("train.csv", table("id,label 0010,cat 0002,dog 0001,cat"))
            .with("sample_submission.csv", table("id,label 0011,cat 0012,cat"));
    let listing = tree.list().unwrap();
    assert_eq!(names(&listing), ["train/0010.png", "train/0002.png", "train/0001.png"], "the table's order");
    assert_eq!(counted(&listing), "cat 2, dog 1");
    assert!(!listing.has_splits());
    assert!(says(&listing, &["without a class", "test/0011.png, test/0012.png"]));
    assert!(says(&listing, &["the classes come from train.csv, column label"]));
}

#[test]
fn the_same_numbers_in_train_and_test_are_told_apart_by_the_tables_name() {
    let tree = Tree::new(&["train/1.png", "train/2.png", "test/1.png", "test/2.png"])
        .with("train.csv", table("id,label 1,cat 2,dog"));
    assert_eq!(names(&tree.list().unwrap()), ["train/1.png", "train/2.png"]);
    let tree = Tree::new(&["a/1.png", "a/2.png", "b/1.png", "b/2.png"])
        .with("labels.csv", table("id,label 1,cat 2,dog"));
    let refused = tree.refused();
    assert!(refused.contains("row 2: 1 could be a/1.png, b/1.png"), "{refused}");
}

#[test]
fn a_table_for_each_split() {
    let tree = Tree::new(&["images/*6"])
        .with("train.csv", table("image,label 0.png,cat 1.png,dog"))
        .with("val.csv", table("image,label 3.png,cat 2.png,dog"))
        .with("test.csv", table("image,label 4.png,cat 5.png,dog"));
    let listing = tree.list().unwrap();
    assert_eq!(counted(&listing), "test/cat 1, test/dog 1, train/cat 1, train/dog 1, val/cat 1, val/dog 1");
    assert_eq!(names(&listing)[2], "images/3.png");
    let tree = tree.with("labels.csv", table("image,label 0.png,cat 1.png,dog"));
    let refused = tree.refused();
    assert!(refused.contains("labels.csv") && refused.contains("give the path"), "{refused}");
    assert_eq!(counted(&tree.list_at("labels.csv", &ListingOptions::default()).unwrap()), "cat 1, dog 1");
}

#[test]
fn a_column_of_splits() {
    let text = table("set;image;class train;a/0;x valid;a/1;x Test;a/2;y train;a/3.png;y");
    let tree = Tree::new(&["a/*4"]).with("labels.csv", text);
    let listing = tree.list().unwrap();
    assert_eq!(counted(&listing), "test/y 1, train/x 1, train/y 1, val/x 1");
    assert_eq!(names(&listing), ["a/0.png", "a/3.png", "a/1.png", "a/2.png"]);
    let odd = Tree::new(&["a/*2"]).with("labels.csv", table("part,image,class train,0,x holdout,1,y"));
    let options = ListingOptions { split_column: Some("part".into()), ..ListingOptions::default() };
    let refused = odd.list_at("", &options).unwrap_err().to_string();
    assert!(refused.contains("row 3: 1 is in split holdout"), "{refused}");
}

#[test]
fn a_wrong_word_among_splits_does_not_undo_the_division() {
    let rows = "split;image;class train;a/0;x train;a/1;y test;a/2;x tarin;a/3;y ;a/4;x";
    let refused = Tree::new(&["a/*5"]).with("labels.csv", table(rows)).refused();
    for part in ["row 5: a/3 is in split tarin: expected train, val or test", "row 6: a/4 is in no split"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(!refused.contains("is not in any row"), "{refused}");
    // a column with such a name that holds something else is none of splits
    let tree = Tree::new(&["a/*2"]).with("labels.csv", table("set;image;class 7;a/0;x 8;a/1;y"));
    assert_eq!(counted(&tree.list().unwrap()), "x 1, y 1");
}

#[test]
fn tables_that_know_the_splits_are_read_beside_class_folders() {
    let folders = || Tree::new(&["cat/*3", "dog/*3"]);
    let rows =
        "file,label,split cat/0,cat,train cat/1,cat,train cat/2,cat,test dog/0,dog,train dog/1,dog,test";
    let tree = folders().with("labels.csv", table(&format!("{rows} dog/2,dog,train")));
    assert_eq!(counted(&tree.list().unwrap()), "test/cat 1, test/dog 1, train/cat 2, train/dog 2");
    let tree = folders()
        .with("train.csv", table("file,label cat/0,cat cat/1,cat dog/0,dog dog/1,dog"))
        .with("test.csv", table("file,label cat/2,cat dog/2,dog"));
    assert_eq!(counted(&tree.list().unwrap()), "test/cat 1, test/dog 1, train/cat 2, train/dog 2");
    // a table without splits says nothing that the folders do not say
    let tree = folders().with("labels.csv", table("file,label cat/0,cat dog/1,dog"));
    let listing = tree.list().unwrap();
    assert_eq!(counted(&listing), "cat 3, dog 3");
    assert!(listing.notices.iter().any(|notice| notice.contains("not read, because folders")));
}

#[test]
fn files_are_found_as_people_write_them() {
    let tree =
        Tree::new(&["pictures/x/Gru\u{308}n 1.png", "pictures/b.v2.png", "pictures/c.png", "pictures/d.png"])
            .with(
                "labels.tsv",
                "path\tspecies\n./pictures/x/Grün 1.png\tcat\nb.v2\tdog\npictures\\c.png\tcat\n d.png\tdog\n",
            );
    assert_eq!(counted(&tree.list().unwrap()), "cat 2, dog 2");
    let tree = Tree::new(&["images/*2"])
        .with("lists/labels.csv", table("file,label ../images/0.png,cat ../images/1.png,dog"));
    assert_eq!(
        counted(&tree.list_at("lists/labels.csv", &ListingOptions::default()).unwrap()),
        "cat 1, dog 1"
    );
}

#[test]
fn all_troubles_are_named_by_row_and_file() {
    let rows = "Image,Class\np0.png,cat\np1.png,cat \np2.png,dog\np3.png,\np77.png,dog\np0.png,dog\np2.png,dog\n,cat\n";
    let tree = Tree::new(&["images/p*4", "images/unlisted.png"]).with("labels.csv", rows);
    let refused = tree.refused();
    for trouble in [
        "row 3: p1.png: label \"cat \" has spaces",
        "row 5: p3.png has no label",
        "row 6: p77.png does not exist",
        "row 7: p0.png is dog, but cat in row 2",
        "row 8: p2.png is also in row 4",
        "row 9: it does not name a file",
        "images/unlisted.png is not in any row",
    ] {
        assert!(refused.contains(trouble), "{trouble}\n{refused}");
    }
    let mild = Tree::new(&["images/*3"])
        .with("labels.csv", "image,class\n0.png,cat \n1.png,dog\n1.png,dog\n")
        .list()
        .unwrap();
    assert_eq!(counted(&mild), "cat 1, dog 1");
    assert!(says(&mild, &["row 2", "\"cat \""]) && says(&mild, &["row 4", "row 3"]));
    assert!(says(&mild, &["without a class", "images/2.png"]));
}

#[test]
fn many_troubles_are_capped() {
    let rows: String = (0..60).map(|i| format!("gone{i}.png,cat\n")).collect();
    let refused = Tree::new(&["images/*2"])
        .with("labels.csv", format!("image,class\n0.png,cat\n1.png,dog\n{rows}"))
        .refused();
    assert_eq!(refused.lines().count(), 22);
    assert!(refused.ends_with("and 40 more"), "{refused}");
}

#[test]
fn columns_that_could_all_be_meant_are_listed_with_the_flag() {
    let text = table("image,label,category,width 0,1,cat,7 1,2,dog,8");
    let tree = Tree::new(&["images/*2"]).with("labels.csv", text);
    let refused = tree.list_at("labels.csv", &ListingOptions::default()).unwrap_err().to_string();
    assert!(
        refused.contains("label, category could all be") && refused.contains("--label-column"),
        "{refused}"
    );
    let options = ListingOptions { label_column: Some("Category".into()), ..ListingOptions::default() };
    assert_eq!(counted(&tree.list_at("labels.csv", &options).unwrap()), "cat 1, dog 1");
    assert_eq!(counted(&tree.list_at("", &options).unwrap()), "cat 1, dog 1");
    let options = ListingOptions { label_column: Some("colour".into()), ..ListingOptions::default() };
    let refused = tree.list_at("labels.csv", &options).unwrap_err().to_string();
    assert!(
        refused.contains("no column colour") && refused.contains("image, label, category, width"),
        "{refused}"
    );
    let gone = Tree::new(&["images/*2"]).with("labels.csv", table("file,label 7,cat 8,dog"));
    let refused = gone.list_at("labels.csv", &ListingOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("7; there are 2 pictures"), "{refused}");
}

#[test]
fn the_column_of_files_is_found_by_content() {
    let tree =
        Tree::new(&["images/*2"]).with("labels.csv", table("id,picked,label 77,0.png,cat 78,1.png,dog"));
    assert_eq!(counted(&tree.list().unwrap()), "cat 1, dog 1");
}

#[test]
fn numbers_are_classes_if_they_are_few() {
    let few: String = (0..12).map(|i| format!("{i}.png,{}\n", ["0.333", "0.667", "1.0"][i % 3])).collect();
    let listing =
        Tree::new(&["images/*12"]).with("labels.csv", format!("image,label\n{few}")).list().unwrap();
    assert_eq!(listing.class_names, ["0.333", "0.667", "1.0"]);
    let many: String = (0..12).map(|i| format!("{i}.png,{}\n", 0.5 + f64::from(i))).collect();
    let tree = Tree::new(&["images/*12"]).with("labels.csv", format!("image,label\n{many}"));
    let refused = tree.list_at("labels.csv", &ListingOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("12 different values in 12 rows"), "{refused}");
}

#[test]
fn folders_serve_where_they_say_the_same_and_tables_where_they_do_not() {
    let same = Tree::new(&["cat/*1", "dog/1.png"])
        .with("labels.csv", table("file,label cat/0.png,cat dog/1.png,dog"));
    let listing = same.list().unwrap();
    assert!(says(&listing, &["labels.csv: not read"]) && counted(&listing) == "cat 1, dog 1");
    let two = same.with("other.csv", table("file,label cat/0.png,cat dog/1.png,dog"));
    assert!(says(&two.list().unwrap(), &["labels.csv, other.csv: not read"]));
    let other = Tree::new(&["cat/*2", "dog/1.png"])
        .with("labels.csv", table("file,label cat/0.png,dog cat/1.png,cat"));
    assert!(other.refused().contains("row 2 says that cat/0.png is dog"));
    assert_eq!(counted(&other.list_at("labels.csv", &ListingOptions::default()).unwrap()), "cat 1, dog 1");
    let no_table = Tree::new(&["cat/*2", "dog/1.png"]);
    let options = ListingOptions { label_column: Some("label".into()), ..ListingOptions::default() };
    assert!(no_table.list_at("", &options).unwrap_err().to_string().contains("no table"));
    let parts = Tree::new(&["part1/0.png", "part2/1.png"]).with("metadata.csv", table("image,dx 0,nv 1,mel"));
    assert_eq!(parts.list().unwrap().class_names, ["mel", "nv"]);
    let unclear =
        Tree::new(&["part1/0.png", "part2/1.png"]).with("metadata.csv", table("image,MEL,NV 0,0,1 1,1,0"));
    let listing = unclear.list().unwrap();
    assert!(says(&listing, &["not used as labels", "image, MEL, NV"]), "{:?}", listing.notices);
    let wrapped =
        Tree::new(&["data/images/*2"]).with("data/labels.csv", table("file,label 0.png,cat 1.png,dog"));
    assert_eq!(counted(&wrapped.list().unwrap()), "cat 1, dog 1");
}

#[test]
fn twins_and_one_class_are_refused_as_with_folders() {
    let twins =
        Tree::new(&["images/*3"]).with("labels.csv", table("file,label 0.png,Cat 1.png,cat 2.png,dog"));
    assert!(twins.refused().contains("\"Cat\" and \"cat\""));
    let one = Tree::new(&["images/*2"]).with("labels.csv", table("file,label 0.png,cat 1.png,cat"));
    assert!(one.refused().contains("found one: cat"));
    let untrained = Tree::new(&["images/*3"])
        .with("labels.csv", table("file,label,split 0.png,cat,train 1.png,dog,train 2.png,fox,val"));
    assert!(untrained.refused().contains("no training pictures of fox"));
}
