//! `trainer data duplicates`: finds test images that are near-duplicates of training images. `tallow-dataset` provides the
//! descriptors for the search and the distance for the judgement; `tallow-kernels` searches.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde::Serialize;
use tallow_core::shown::shown_path;
use tallow_core::{Foreign, Progress, StopFlag, StopSignal, Unit, files};
use tallow_dataset::{
    Dataset, Detail, ImageSet, MAX_DUPLICATE_DISTANCE, MIN_CANDIDATE_SIMILARITY, descriptor_len, descriptors,
};
use tallow_kernels::largest_products;
use tallow_training::DataConfig;

use crate::App;
use crate::args::DuplicatesArgs;
use crate::output;
use crate::source::{self, Spec};

/// Number of nearest training images, by descriptor, that are judged for a test image as it is, and the same number for it
/// mirrored. Of the 286 pairs published for CIFAR-10, 264 are among them.
const N_CANDIDATES: usize = 8;
/// Images with a smaller distance are copies (recompressed, scaled, brightened), whatever the distances of other images.
const MAX_COPY_DISTANCE: f32 = 0.03;
/// When groups are made, other near-duplicates count only if their distance is at most this share of the distance to an
/// unrelated image. The image after the `N_COPIES` nearest ones is taken as unrelated.
const MAX_SHARE_OF_OTHERS: f32 = 0.5;
const N_COPIES: usize = 4;
/// Largest number of near-duplicates in a group.
const MAX_GROUP: usize = 20;
/// Largest number of details that are kept, of 12 kB each.
const MAX_DETAILS: usize = 80_000;
/// Largest number of file pairs printed on a terminal; the list has all.
const MAX_PAIRS_SHOWN: usize = 20;
/// Number of test images between two checks of the stop flag.
const N_PER_LOOK: usize = 512;

/// A test image and the most similar training image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Duplicate {
    pub(crate) test_index: u32,
    train_index: u32,
    /// The distance of the two images, [`Detail::distance`].
    distance: f32,
}

#[derive(Serialize)]
struct Found<'a> {
    dataset: &'a Foreign,
    n_train: usize,
    n_test: usize,
    n_duplicates: usize,
    max_distance: f32,
    /// Files of training and test images, if images have files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pairs: Vec<[Foreign; 2]>,
    #[serde(serialize_with = "output::path")]
    csv: PathBuf,
}

/// Returns the files of each pair, if images have files.
fn pairs(duplicates: &[Duplicate], train: &ImageSet, test: &ImageSet) -> Vec<[Foreign; 2]> {
    let pair = |d: &Duplicate| {
        Some([train.file(d.train_index as usize)?.clone(), test.file(d.test_index as usize)?.clone()])
    };
    duplicates.iter().filter_map(pair).collect()
}

pub(crate) fn run(args: &DuplicatesArgs, app: &App) -> Result<ExitCode> {
    let spec = Spec::parse(&args.data.dataset)?;
    let mut config = args.data.labels.config(&args.data.data_dir);
    config.test_fraction = args.test_fraction.unwrap_or(config.test_fraction);
    let dataset = match source::load_local(&spec, &config, false, app)?.told(app) {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let (train, test) = (&dataset.train, &dataset.test);
    let Some(duplicates) = find(train, test, &app.progress, &app.stop)? else {
        return Ok(ExitCode::from(app.stop.raised().map_or(1, StopSignal::exit_status)));
    };
    let csv = args.out.clone().unwrap_or_else(|| format!("duplicates-{}.csv", dataset.name.raw()).into());
    files::write(&csv, to_csv(&duplicates, train, test).as_bytes())?;
    let (n_train, n_test, n_duplicates) = (train.len(), test.len(), duplicates.len());
    if app.global.json {
        let (dataset, max_distance) = (&dataset.name, MAX_DUPLICATE_DISTANCE);
        let pairs = pairs(&duplicates, train, test);
        output::json(&Found { dataset, n_train, n_test, n_duplicates, max_distance, pairs, csv })?;
        return Ok(ExitCode::SUCCESS);
    }
    for [train, test] in pairs(&duplicates, train, test).iter().take(MAX_PAIRS_SHOWN) {
        output::line(&format!("{} = {}", train.shown(), test.shown()))?;
    }
    let share = 100.0 * n_duplicates as f64 / n_test.max(1) as f64;
    output::line(&format!(
        "{n_duplicates} of {n_test} test images of {} ({share:.2} %) are near-duplicates of one of \
         {n_train} training images.\n\
         Images are compared by fine detail: each pixel minus the mean of the 5 x 5 pixels around it. The \
         distance is\n\
         1 - the correlation at the best shift of up to an eighth of the image, mirrored or not. A \
         near-duplicate has a distance\n\
         of at most {MAX_DUPLICATE_DISTANCE}. Judged by eye on CIFAR-10, about 95 of 100 such pairs show \
         the same photograph.\n\
         Pairs in {}",
        dataset.name.shown(),
        shown_path(&csv)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a notice about test pictures that are near-duplicates of training pictures, if there are any. Returns `None`
/// if a stop was requested.
pub(crate) fn between_parts(
    dataset: &Dataset,
    config: &DataConfig,
    app: &App,
) -> Result<Option<Vec<String>>> {
    let (train, test) = (&dataset.train, &dataset.test);
    let Some(duplicates) = find(train, test, &app.progress, &app.stop)? else { return Ok(None) };
    if duplicates.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let named: Vec<String> = pairs(&duplicates, train, test)
        .iter()
        .take(3)
        .map(|[train, test]| format!("{} = {}", test.shown(), train.shown()))
        .collect();
    Ok(Some(vec![format!(
        "{} of {} test pictures look like training pictures, so the test score is too good ({}{}): trainer data \
         duplicates{} lists them, trainer eval RUN --without-duplicates leaves them out",
        duplicates.len(),
        test.len(),
        named.join(", "),
        if duplicates.len() > named.len() { ", …" } else { "" },
        source::flags(config)
    )]))
}

/// Returns, for every image of `test` with a near-duplicate in `train`, the nearest one, in the order of `test`. Returns
/// `None` if `stop` was raised on the way.
pub(crate) fn find(
    train: &ImageSet,
    test: &ImageSet,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Vec<Duplicate>>> {
    let mut duplicates = Vec::new();
    let went_through = judge(train, test, progress, stop, |judged| {
        let nearest = judged.into_iter().min_by(|a, b| a.distance.total_cmp(&b.distance));
        duplicates.extend(nearest.filter(|d| d.distance <= MAX_DUPLICATE_DISTANCE));
    })?;
    Ok(went_through.then_some(duplicates))
}

/// Returns the group of each image of `set`. Copies and near-duplicates, and images linked by them, have the same number,
/// that of their first image. Returns `None` if `stop` was raised on the way.
///
/// Near-duplicates are linked transitively. So in a set of images that are all similar, such as cells of solar panels,
/// everything would become one group. Therefore a pair counts only if it is nearly identical, or if it is much more similar
/// than the fifth nearest image. A group of more than [`MAX_GROUP`] images is not one photograph taken several times; in such
/// a group only exact copies stay together.
pub(crate) fn groups(set: &ImageSet, progress: &dyn Progress, stop: &StopFlag) -> Result<Option<Groups>> {
    let mut first = HashMap::new();
    let copies: Vec<u32> =
        (0..set.len()).map(|i| *first.entry(set.identity(i)).or_insert(i as u32)).collect();
    let (mut groups, mut alike) = (copies.clone(), Vec::new());
    let went_through = judge(set, set, progress, stop, |judged| {
        // each image once, whether mirrored or not
        let mut nearest: HashMap<u32, f32> = HashMap::new();
        for pair in &judged {
            let distance = nearest.entry(pair.train_index).or_insert(pair.distance);
            *distance = distance.min(pair.distance);
        }
        let mut distances: Vec<f32> = nearest.into_values().collect();
        distances.sort_unstable_by(f32::total_cmp);
        let of_others = distances.get(N_COPIES).copied().unwrap_or(1.0);
        for pair in judged {
            let is_exceptional =
                pair.distance <= MAX_DUPLICATE_DISTANCE && pair.distance <= MAX_SHARE_OF_OTHERS * of_others;
            if pair.distance <= MAX_DUPLICATE_DISTANCE {
                alike.push([pair.train_index, pair.test_index]);
            }
            if pair.distance <= MAX_COPY_DISTANCE || is_exceptional {
                let [a, b] = [pair.train_index, pair.test_index].map(|i| first_of(&groups, i));
                groups[a.max(b) as usize] = a.min(b);
            }
        }
    })?;
    let whole: Vec<u32> = (0..groups.len() as u32).map(|i| first_of(&groups, i)).collect();
    let mut sizes = HashMap::new();
    whole.iter().for_each(|group| *sizes.entry(*group).or_insert(0) += 1);
    let groups: Vec<u32> = whole
        .iter()
        .zip(copies)
        .map(|(group, copy)| if sizes[group] > MAX_GROUP { copy } else { *group })
        .collect();
    let apart = alike.iter().filter(|pair| groups[pair[0] as usize] != groups[pair[1] as usize]).flatten();
    let n_alike_apart = apart.collect::<HashSet<_>>().len();
    Ok(went_through.then_some(Groups { groups, n_alike_apart }))
}

/// The images that are held out together.
pub(crate) struct Groups {
    /// The group of each image.
    pub(crate) groups: Vec<u32>,
    /// Number of images that are considered near-duplicates of images in other groups.
    n_alike_apart: usize,
}

impl Groups {
    /// Returns a notice about images that look like others and may be held out apart from them.
    pub(crate) fn notice(&self) -> Option<String> {
        let n = self.n_alike_apart;
        (n > 0).then(|| {
            format!(
                "{n} of {} pictures look like others that may be in other folds. That is normal if all \
                 pictures show the same kind of thing in the same way. But if they are several shots of the \
                 same thing, the accuracy by folds is too good",
                self.groups.len()
            )
        })
    }
}

/// Returns the first image of the group of image `i`. Each image's entry leads to an earlier image of its group; the entry of
/// the first image leads to itself.
fn first_of(groups: &[u32], mut i: u32) -> u32 {
    while groups[i as usize] != i {
        i = groups[i as usize];
    }
    i
}

/// Passes to `on_judged`, for each image of `test` in order, the candidates of `train` that have similar descriptors, with
/// their distances. An image is never a candidate for itself. Returns false if `stop` was raised on the way.
fn judge(
    train: &ImageSet,
    test: &ImageSet,
    progress: &dyn Progress,
    stop: &StopFlag,
    mut on_judged: impl FnMut(Vec<Duplicate>),
) -> Result<bool> {
    if train.channels() != test.channels() {
        bail!("the training images have {} channels, the test images {}", train.channels(), test.channels());
    }
    let dim = descriptor_len(train.channels());
    let keys = descriptors(train, 0..train.len(), false)?;
    let details = Details::of(train);
    progress.begin("near-duplicates", Some(test.len() as u64), Unit::Items("images"));
    for first in (0..test.len()).step_by(N_PER_LOOK) {
        if stop.raised().is_some() {
            progress.end();
            return Ok(false);
        }
        let range = first..(first + N_PER_LOOK).min(test.len());
        let candidates = |mirrored| -> Result<Vec<Vec<(u32, f32)>>> {
            let queries = descriptors(test, range.clone(), mirrored)?;
            Ok(largest_products(&queries, &keys, dim, N_CANDIDATES))
        };
        let candidates = candidates(false)?.into_par_iter().zip(candidates(true)?);
        let judged = range.clone().into_par_iter().zip(candidates);
        let judged = judged.map(|(i, (plain, mirrored))| -> Result<Vec<Duplicate>> {
            let mut judged = distances(&details, test, i, false, plain)?;
            judged.extend(distances(&details, test, i, true, mirrored)?);
            Ok(judged)
        });
        let judged: Vec<Vec<Duplicate>> = judged.collect::<Result<_>>()?;
        judged.into_iter().for_each(&mut on_judged);
        progress.advance(range.end as u64);
    }
    progress.end();
    Ok(true)
}

/// Returns the distances of the sufficiently similar candidates from image `i` of `test`, mirrored or as it is.
fn distances(
    train: &Details<'_>,
    test: &ImageSet,
    i: usize,
    mirrored: bool,
    candidates: Vec<(u32, f32)>,
) -> Result<Vec<Duplicate>> {
    let is_itself = |index: u32| std::ptr::eq(train.set, test) && index as usize == i;
    let mut alike = candidates
        .into_iter()
        .filter(|&(index, similarity)| similarity >= MIN_CANDIDATE_SIMILARITY && !is_itself(index))
        .peekable();
    if alike.peek().is_none() {
        return Ok(Vec::new());
    }
    let detail = Detail::new(&test.read(i)?, mirrored);
    let judged = alike.map(|(train_index, _)| {
        let distance = detail.distance(&*train.get(train_index as usize)?);
        Ok(Duplicate { test_index: i as u32, train_index, distance })
    });
    judged.collect()
}

/// The details of a set's images, each computed once if there is room for all.
struct Details<'a> {
    set: &'a ImageSet,
    kept: Vec<OnceLock<Detail>>,
}

impl<'a> Details<'a> {
    fn of(set: &'a ImageSet) -> Self {
        let n = if set.len() <= MAX_DETAILS { set.len() } else { 0 };
        Self { set, kept: (0..n).map(|_| OnceLock::new()).collect() }
    }

    fn get(&self, i: usize) -> Result<Cow<'_, Detail>> {
        if let Some(detail) = self.kept.get(i).and_then(OnceLock::get) {
            return Ok(Cow::Borrowed(detail));
        }
        let detail = Detail::new(&self.set.read(i)?, false);
        Ok(match self.kept.get(i) {
            Some(slot) => Cow::Borrowed(slot.get_or_init(|| detail)),
            None => Cow::Owned(detail),
        })
    }
}

/// Writes indices, distance and, if images have files, their names.
fn to_csv(duplicates: &[Duplicate], train: &ImageSet, test: &ImageSet) -> String {
    let names = pairs(duplicates, train, test);
    let mut csv = "test_index,train_index,distance".to_owned();
    csv.push_str(if names.is_empty() { "\n" } else { ",test_file,train_file\n" });
    for (i, Duplicate { test_index, train_index, distance }) in duplicates.iter().enumerate() {
        let _ = write!(csv, "{test_index},{train_index},{distance}"); // writing to a String cannot fail
        if let Some([train, test]) = names.get(i) {
            let _ = write!(csv, ",{},{}", test.in_csv(), train.in_csv());
        }
        csv.push('\n');
    }
    csv
}

#[cfg(test)]
mod tests {
    use tallow_core::{Purpose, Silent, Stream};

    use super::*;

    const SIDE: usize = 32;

    /// Returns a distinct picture: a hundred discs of all sizes and colours on a coloured ground.
    fn picture(key: u64) -> Vec<u8> {
        let mut random = Stream::new(key, Purpose::Test, 0, 0);
        let mut below = |n: u32| random.next_u32() % n;
        let mut pixels = [0; 3].map(|_| below(256) as u8).repeat(SIDE * SIDE);
        for _ in 0..100 {
            let (x, y, r) = (below(32) as i32, below(32) as i32, 1 + below(5) as i32);
            let colour = [0; 3].map(|_| below(256) as u8);
            for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                let (dx, dy) = ((i % SIDE) as i32 - x, (i / SIDE) as i32 - y);
                if dx * dx + dy * dy <= r * r {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
        pixels
    }

    /// Returns the picture with each pixel taken from where `place` says, and each value changed by `level`.
    fn changed(
        pixels: &[u8],
        place: impl Fn(usize, usize) -> [usize; 2],
        level: impl Fn(u8) -> u8,
    ) -> Vec<u8> {
        let from = |i: usize| {
            let [y, x] = place(i / SIDE, i % SIDE);
            (y.min(SIDE - 1) * SIDE + x.min(SIDE - 1)) * 3
        };
        (0..SIDE * SIDE).flat_map(|i| pixels[from(i)..from(i) + 3].to_vec()).map(level).collect()
    }

    fn set(pictures: &[Vec<u8>]) -> ImageSet {
        let labels = vec![0; pictures.len()];
        ImageSet::new(
            SIDE,
            SIDE,
            3,
            pictures.concat(),
            labels,
            ["thing"].map(tallow_core::Foreign::from).into(),
        )
        .unwrap()
    }

    fn found(train: &[Vec<u8>], test: &[Vec<u8>]) -> Vec<Duplicate> {
        find(&set(train), &set(test), &Silent, &StopFlag::default()).unwrap().unwrap()
    }

    #[test]
    fn what_was_planted_is_found_and_nothing_else() {
        let train: Vec<Vec<u8>> = (0..300).map(picture).collect();
        let same = |y, x| [y, x];
        let planted = [
            changed(&train[17], same, |level| level),
            changed(&train[40], |y, x| [y, SIDE - 1 - x], |level| level),
            changed(&train[99], |y, x| [y + 1, x.saturating_sub(2)], |level| level),
            changed(&train[299], same, |level| level / 2 + 90),
            changed(&train[0], same, |level| 255 - level),
        ];
        // other images before and after them, so that positions and indices differ
        let mut test: Vec<Vec<u8>> = (1_000..1_040).map(picture).collect();
        test.splice(20..20, planted);
        let found = found(&train, &test);
        let pairs: Vec<[u32; 2]> = found.iter().map(|d| [d.test_index, d.train_index]).collect();
        assert_eq!(pairs, [[20, 17], [21, 40], [22, 99], [23, 299]], "a negative is another picture");
        assert!(found[0].distance < 1e-5 && found[1].distance < 1e-5, "{found:?}");
        assert!(found.iter().all(|d| d.distance < 0.15), "{found:?}");
    }

    #[test]
    fn images_of_one_colour_are_no_duplicates_and_no_image_is_none() {
        let grey = vec![vec![128; SIDE * SIDE * 3], vec![0; SIDE * SIDE * 3]];
        assert_eq!(found(&grey, &grey), []);
        assert_eq!((found(&[], &grey), found(&grey, &[])), (vec![], vec![]));
    }

    #[test]
    fn the_nearest_of_several_is_named() {
        let original = picture(1);
        let darker = changed(&original, |y, x| [y, x], |level| level / 16 * 8);
        let found = found(&[picture(2), darker, original.clone()], &[original]);
        assert_eq!(found.iter().map(|d| d.train_index).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn copies_of_copies_are_one_group() {
        let (a, b) = (picture(1), picture(2));
        let same = |y, x| [y, x];
        let mirrored = changed(&a, |y, x| [y, SIDE - 1 - x], |level| level);
        let darker = changed(&mirrored, same, |level| level / 2);
        let images = set(&[picture(3), a.clone(), b.clone(), darker, picture(4), mirrored, b.clone()]);
        let found =
            |images: &ImageSet| groups(images, &Silent, &StopFlag::default()).unwrap().map(|g| g.groups);
        assert_eq!(found(&images), Some(vec![0, 1, 2, 1, 4, 1, 2]));
        let brightened = |n: u8| changed(&a, same, |level| level / 2 + n);
        let many: Vec<Vec<u8>> =
            (0..=MAX_GROUP as u8).map(brightened).chain([b.clone(), b.clone()]).collect();
        let mut apart: Vec<u32> = (0..many.len() as u32).collect();
        apart[MAX_GROUP + 2] -= 1;
        assert_eq!(found(&set(&many)), Some(apart), "so many are no photograph taken several times");
        let grey = vec![vec![128; SIDE * SIDE * 3]; 2];
        assert_eq!(found(&set(&grey)), Some(vec![0, 0]));
    }

    /// All images share a pattern and have their own noise, so pairs are near-duplicates by distance but not exceptional.
    #[test]
    fn a_set_of_images_that_are_all_alike_is_no_group() {
        let pattern = picture(1);
        let alike: Vec<Vec<u8>> = (0..40)
            .map(|key| {
                let mut noise = Stream::new(key, Purpose::Test, 0, 1);
                pattern.iter().map(|&level| level / 2 + (noise.next_u32() % 60) as u8).collect()
            })
            .collect();
        let images = set(&alike);
        let near = find(&images, &set(&alike[..1]), &Silent, &StopFlag::default()).unwrap().unwrap();
        assert_eq!(near.len(), 1);
        let found = groups(&images, &Silent, &StopFlag::default()).unwrap().unwrap();
        assert_eq!(found.groups, (0..40).collect::<Vec<u32>>());
        assert!(found.notice().unwrap().contains(" of 40 pictures look like others"));
    }

    #[test]
    fn who_is_asked_to_stop_has_no_answer() {
        let stop = StopFlag::default();
        stop.raise(StopSignal::Interrupt);
        let images = set(&[picture(1)]);
        assert_eq!(find(&images, &images, &Silent, &stop).unwrap(), None);
        assert!(groups(&images, &Silent, &stop).unwrap().is_none());
    }

    #[test]
    fn the_list_is_csv() {
        let duplicate = Duplicate { test_index: 3, train_index: 41, distance: 0.25 };
        let images = set(&[picture(1)]);
        assert_eq!(to_csv(&[duplicate], &images, &images), "test_index,train_index,distance\n3,41,0.25\n");
    }
}
