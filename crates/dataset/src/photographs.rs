//! Loads a user's own pictures as a data set: lists, scans and splits them, and reports everything unusual.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallow_core::shown::shown_path;
use tallow_core::{Foreign, Progress, StopFlag, path_text};

use crate::error::max_skipped;
use crate::files::Files;
use crate::fit::Preprocess;
use crate::folder::{self, FolderError, ListedPicture, Listing, ListingOptions, SplitName};
use crate::scan::{Fault, scan};
use crate::source::{Facts, Identity};
use crate::{BadPicture, Dataset, Error, ImageSet, Normalization, stratified_split};

/// Seed of the choice of test images. It is the same for every run, so that runs can be compared.
const TEST_SEED: u64 = 0;
/// Largest number of files that a notice names.
const MAX_NAMED: usize = 5;

/// A request to load the pictures at a user's path.
#[derive(Clone, Debug)]
pub struct PhotographsRequest<'a> {
    /// Path of a folder, a label table, or an archive.
    pub path: &'a Path,
    /// The user's settings for a label table.
    pub options: ListingOptions,
    /// Folder in which scan results are stored and archives are unpacked.
    pub data_dir: &'a Path,
    /// Share of the pictures that are test pictures if the data set has no test split of its own; 0: there are none.
    pub test_fraction: f64,
    /// Whether unreadable pictures, up to 1 % of all and at least one, may be left out.
    pub skip_bad: bool,
    /// Whether nothing is trained on the data set: the test pictures are those that their owner calls so, or else all.
    pub is_all_test: bool,
    /// How pictures are fitted to the model's input size, and how many bytes of fitted pictures may be kept in memory.
    /// Either all pictures are kept, or none.
    pub keep: Option<(Preprocess, usize)>,
}

/// A data set of pictures, with notices about it.
#[derive(Clone, Debug)]
pub struct Photographs {
    /// The data set.
    pub dataset: Dataset,
    /// Notices, one line each, safe to print.
    pub notices: Vec<String>,
}

/// A readable picture that is to be put into a set.
struct Good {
    entry: ListedPicture,
    facts: Facts,
    fitted: Option<Box<[u8]>>,
}

/// Lists, scans and splits the pictures of `request`. Returns `None` if `stop` was raised.
///
/// # Errors
/// If the path does not hold a data set, more pictures are unreadable than may be left out, or a class has no training
/// pictures.
pub fn load_photographs(
    request: &PhotographsRequest<'_>,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Photographs>, Error> {
    let PhotographsRequest { path, data_dir, .. } = request;
    let options = ListingOptions { allows_one_class: request.is_all_test, ..request.options.clone() };
    let mut listing = match folder::list(path, &options, data_dir, progress, stop) {
        Err(FolderError::Stopped(_)) => return Ok(None),
        listing => listing?,
    };
    let mut notices = std::mem::take(&mut listing.notices);
    let fits = |&(preprocess, n_bytes): &(Preprocess, usize)| {
        let picture_bytes = preprocess.size_px.iter().product::<usize>() * 3;
        listing.entries.len().saturating_mul(picture_bytes) <= n_bytes
    };
    let keep = request.keep.filter(fits).map(|(preprocess, _)| preprocess);
    let paths: Vec<PathBuf> = listing.entries.iter().map(|entry| entry.path.clone()).collect();
    let Some(findings) = scan(&listing.root, &paths, data_dir, keep, progress, stop)? else {
        return Ok(None);
    };
    let (mut good, mut bad, mut unsupported) = (Vec::new(), listed_as_bad(&listing), BTreeMap::new());
    for (entry, finding) in std::mem::take(&mut listing.entries).into_iter().zip(findings) {
        match finding {
            Ok((facts, fitted)) => good.push(Good { entry, facts, fitted }),
            Err(Fault::Bad(picture)) => bad.push(picture),
            Err(Fault::Unsupported { what, path }) => {
                unsupported.entry(what).or_insert_with(Vec::new).push(path);
            }
        }
    }
    let n_pictures = good.len() + bad.len();
    let n_skippable = if request.skip_bad { max_skipped(n_pictures) } else { 0 };
    if bad.len() > n_skippable {
        return Err(Error::BadPictures { bad, n_pictures });
    }
    notices.extend(bad.iter().map(|bad| format!("left out: {bad}")));
    notices.extend(unsupported.iter().map(|(what, paths)| not_read(what, paths, &listing.root)));
    let class_names: Arc<[Foreign]> = listing.class_names.into();
    let parts = parts(good, &class_names, request, &mut notices)?;
    notices.extend(copies(&parts, &class_names));
    let dataset = dataset(request.path, parts, class_names, keep, &mut notices)?;
    Ok(Some(Photographs { dataset, notices }))
}

fn listed_as_bad(listing: &Listing) -> Vec<BadPicture> {
    let bad = |bad: &folder::BadFile| BadPicture { path: bad.path.clone(), reason: bad.reason.clone() };
    listing.bad.iter().map(bad).collect()
}

fn not_read(what: &str, paths: &[PathBuf], root: &Path) -> String {
    let name = |path: &PathBuf| shown_path(path.strip_prefix(root).unwrap_or(path));
    let names: Vec<String> = paths.iter().take(MAX_NAMED).map(name).collect();
    let more = if paths.len() > MAX_NAMED { ", …" } else { "" };
    let n = paths.len();
    let pictures = if n == 1 { "picture is" } else { "pictures are" };
    format!(
        "{n} {pictures} left out because the format cannot be read: {what} ({}{more}). Convert to JPEG or \
         PNG to use them",
        names.join(", ")
    )
}

/// The pictures of a data set, by purpose.
struct Parts {
    /// Pictures to train and to validate on.
    train: Vec<Good>,
    /// Indices of the pictures of `train` that are for validation, ascending, if the data set defines them.
    val: Option<Vec<u32>>,
    test: Vec<Good>,
}

/// Divides pictures into training, validation and test: as their owner did, or at random if the owner did not.
fn parts(
    good: Vec<Good>,
    class_names: &[Foreign],
    request: &PhotographsRequest<'_>,
    notices: &mut Vec<String>,
) -> Result<Parts, Error> {
    let has = |split| good.iter().any(|good| good.entry.split == Some(split));
    let [has_train, has_val, has_test] = [SplitName::Train, SplitName::Val, SplitName::Test].map(has);
    let parts = match (has_train || has_val || has_test, has_test) {
        _ if request.is_all_test => {
            let test = good.into_iter().filter(|good| !has_test || good.entry.split == Some(SplitName::Test));
            return Ok(Parts { train: Vec::new(), val: None, test: test.collect() });
        }
        (_, false) if request.test_fraction == 0.0 && !has_val => {
            Parts { train: good, val: None, test: Vec::new() }
        }
        (false, _) => by_chance(good, class_names.len(), request)?,
        (true, true) => by_owner(good, SplitName::Test),
        (true, false) => {
            notices.push(
                match request.test_fraction == 0.0 {
                    true => "there are no test pictures: the validation pictures are used once, as the test",
                    false => {
                        "there are no test pictures: the validation pictures are used once, as the test, \
                         and other validation pictures are split from the training pictures"
                    }
                }
                .to_owned(),
            );
            by_owner(good, SplitName::Val)
        }
    };
    check_parts(&parts, class_names, request, notices)?;
    Ok(parts)
}

/// Divides pictures by the owner's splits. The pictures of the split `test` become the test set.
fn by_owner(good: Vec<Good>, test: SplitName) -> Parts {
    let (test, train): (Vec<Good>, Vec<Good>) =
        good.into_iter().partition(|good| good.entry.split == Some(test));
    let is_val = |(i, good): (usize, &Good)| (good.entry.split == Some(SplitName::Val)).then_some(i as u32);
    let val: Vec<u32> = train.iter().enumerate().filter_map(is_val).collect();
    Parts { train, val: (!val.is_empty()).then_some(val), test }
}

/// Chooses test pictures at random, from every class. The choice does not depend on the seed of a run. A copy of a
/// training picture is never chosen.
fn by_chance(good: Vec<Good>, n_classes: usize, request: &PhotographsRequest<'_>) -> Result<Parts, Error> {
    let labels: Vec<u32> = good.iter().map(|good| good.entry.label).collect();
    let split = stratified_split(&labels, n_classes, request.test_fraction, 1, TEST_SEED);
    let smallest =
        (0..n_classes as u32).map(|class| labels.iter().filter(|&&label| label == class).count()).min();
    let problem = match smallest {
        Some(n @ 3..) => format!(
            "a share of {} for the test leaves a class of {n} pictures without some to train or to test on: \
             choose another --test-fraction",
            request.test_fraction
        ),
        _ => format!(
            "{} pictures of {n_classes} classes are too few to train and to test on: each class needs at \
             least 3 pictures, and 20 are a good start. Add pictures",
            labels.len()
        ),
    };
    let mut split = split.map_err(|_| Error::Pictures { path: request.path.to_owned(), problem })?;
    split.keep_copies_together(|i| good[i as usize].facts.identity);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (i, good) in good.into_iter().enumerate() {
        let part = if split.val.binary_search(&(i as u32)).is_ok() { &mut test } else { &mut train };
        part.push(good);
    }
    Ok(Parts { train, val: None, test })
}

/// Refuses classes without training pictures. Adds notices about classes without validation or test pictures.
fn check_parts(
    parts: &Parts,
    class_names: &[Foreign],
    request: &PhotographsRequest<'_>,
    notices: &mut Vec<String>,
) -> Result<(), Error> {
    let path = request.path;
    let missing = |is_there: &dyn Fn(u32) -> bool| -> Vec<String> {
        let classes = (0..class_names.len() as u32).filter(|&class| !is_there(class));
        classes.map(|class| class_names[class as usize].shown().into_owned()).collect()
    };
    let is_val = |i: usize| parts.val.as_ref().is_some_and(|val| val.binary_search(&(i as u32)).is_ok());
    let trains =
        |class| parts.train.iter().enumerate().any(|(i, good)| good.entry.label == class && !is_val(i));
    let untrained = missing(&trains);
    if !untrained.is_empty() {
        let problem =
            format!("no pictures to train on of {}: add some, or remove the class", untrained.join(", "));
        return Err(Error::Pictures { path: path.to_owned(), problem });
    }
    let is_tested = !parts.test.is_empty();
    if !is_tested && request.test_fraction > 0.0 {
        let problem = "there are no pictures to test on: add some of each class".to_owned();
        return Err(Error::Pictures { path: path.to_owned(), problem });
    }
    // The listing already has this notice, unless the class has unreadable pictures only.
    let unsaid = |names: Vec<String>, part: &str, notices: &[String]| -> Vec<String> {
        names
            .into_iter()
            .filter(|name| !notices.contains(&format!("{name} has no {part} pictures")))
            .collect()
    };
    let untested = missing(&|class| !is_tested || parts.test.iter().any(|good| good.entry.label == class));
    let untested = unsaid(untested, "test", notices);
    if !untested.is_empty() {
        notices.push(format!(
            "no test pictures of {}: the accuracy on such pictures is unknown",
            untested.join(", ")
        ));
    }
    if let Some(val) = &parts.val {
        let unvalidated = missing(&|class| val.iter().any(|&i| parts.train[i as usize].entry.label == class));
        let unvalidated = unsaid(unvalidated, "validation", notices);
        if !unvalidated.is_empty() {
            notices.push(format!("no validation pictures of {}", unvalidated.join(", ")));
        }
    }
    Ok(())
}

/// Returns notices about byte-identical copies: test pictures that are copies of training pictures, and copies with two
/// classes.
fn copies(parts: &Parts, class_names: &[Foreign]) -> Vec<String> {
    let mut first: HashMap<Identity, (&Good, bool)> = HashMap::new();
    let (mut leaks, mut contradictions) = (Vec::new(), Vec::new());
    let all = parts.train.iter().map(|good| (good, false)).chain(parts.test.iter().map(|good| (good, true)));
    for (good, is_test) in all {
        let &mut (other, is_other_test) = first.entry(good.facts.identity).or_insert((good, is_test));
        let pair = || format!("{} = {}", other.entry.name.shown(), good.entry.name.shown());
        if other.entry.label != good.entry.label {
            let names = [other, good].map(|good| class_names[good.entry.label as usize].shown());
            contradictions.push(format!("{} ({} and {})", pair(), names[0], names[1]));
        }
        if is_test && !is_other_test {
            leaks.push(pair());
        }
    }
    let told = |pairs: Vec<String>, [one, many]: [&str; 2]| {
        let what = if pairs.len() == 1 { one } else { many };
        let more = if pairs.len() > MAX_NAMED { ", …: see `trainer data duplicates`" } else { "" };
        let shown: Vec<String> = pairs.iter().take(MAX_NAMED).cloned().collect();
        (!pairs.is_empty()).then(|| format!("{} {what}: {}{more}", pairs.len(), shown.join(", ")))
    };
    let leaks = told(
        leaks,
        [
            "test picture is a copy of a training picture, so the model already knows it",
            "test pictures are copies of training pictures, so the model already knows them",
        ],
    );
    let contradictions = told(
        contradictions,
        [
            "picture is in two classes, and one of them is wrong",
            "pictures are in two classes, and one of them is wrong",
        ],
    );
    leaks.into_iter().chain(contradictions).collect()
}

fn dataset(
    path: &Path,
    parts: Parts,
    class_names: Arc<[Foreign]>,
    keep: Option<Preprocess>,
    notices: &mut Vec<String>,
) -> Result<Dataset, Error> {
    let set = |goods: Vec<Good>| -> Result<ImageSet, Error> {
        let labels = goods.iter().map(|good| good.entry.label).collect();
        let names = goods.iter().map(|good| good.entry.name.clone()).collect();
        let (mut files, mut fitted) = (Vec::with_capacity(goods.len()), Vec::with_capacity(goods.len()));
        for good in goods {
            files.push((good.entry.path, good.facts));
            fitted.push(good.fitted);
        }
        let source = Arc::new(Files::scanned(files.into_iter()));
        let set = ImageSet::of(source, labels, class_names.clone(), Some(names))?;
        Ok(match keep {
            Some(preprocess) => set.keeping(preprocess, fitted),
            None => set,
        })
    };
    let (train, test) = (set(parts.train)?, set(parts.test)?);
    if train.is_empty() {
        return Ok(Dataset::new(
            &name_of(path),
            train,
            test,
            Normalization { mean: [0.5; 3], std: [0.5; 3] },
        ));
    }
    let n_least = train.class_counts().into_iter().min().unwrap_or(0);
    if n_least < 10 {
        notices.push(format!(
            "the smallest class has only {} to train and validate on, so figures will be rough; 50 pictures \
             of each class are better",
            folder::pictures(n_least)
        ));
    }
    let all: Vec<u32> = (0..train.len() as u32).collect();
    let normalization = Normalization::of(&train, &all)?;
    Ok(Dataset::with_val(&name_of(path), train, parts.val, test, normalization))
}

/// Returns the name of a data set: its folder's name, or its file's name without the suffix.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    name.map_or("pictures".into(), |name| path_text(Path::new(name)))
}
