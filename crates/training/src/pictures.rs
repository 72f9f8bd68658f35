//! Writes `images/` of a run folder: some images of the run, for a report. The format of `index.json` is documented in
//! `tallow-report`, which reads it.

use std::fs;

use serde::Serialize;
use tallow_core::{FileError, Foreign};
use tallow_dataset::{Augment, ImageSet, Picture, as_seen, images_to_show, to_png};
use tallow_run_files::{IMAGE_INDEX, IMAGES};

use crate::error::{Result, TrainingError};
use crate::explanation::explain;
use crate::feed::train_loader;
use crate::session::Session;

const VERSION: u32 = 1;
/// Number of training images shown: five rows of five.
const N_SAMPLES: usize = 25;
/// Largest height and width of a picture, so that all of them fit on a page.
const MAX_SIDE_PX: usize = 72;
/// Largest height and width of a photograph, large enough to recognise it.
const MAX_PHOTOGRAPH_SIDE_PX: usize = 112;

/// Number of training images shown beside a test image, and their largest height and width.
const N_NEAREST: usize = 3;
const MAX_NEAR_SIDE_PX: usize = 56;

/// Largest height and width of a map that shows what decided.
const MAX_MAP_SIDE_PX: usize = 112;

#[derive(Serialize)]
struct Index<'a> {
    version: u32,
    /// Height and width of the data set's images, if all have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_px: Option<[usize; 2]>,
    /// Number of training images per class.
    train_counts: Vec<u64>,
    pictures: Vec<PictureEntry<'a>>,
}

#[derive(Serialize)]
struct PictureEntry<'a> {
    file: String,
    role: &'static str,
    class: &'a Foreign,
    /// The image's index in its data set.
    index: u32,
    /// The image's file below the data set's folder, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Foreign>,
    /// For a picture near a test image: that image's index, and the cosine similarity of their features.
    #[serde(skip_serializing_if = "Option::is_none")]
    near: Option<(u32, f32)>,
}

fn entry<'a>(file: String, role: &'static str, set: &'a ImageSet, index: u32) -> PictureEntry<'a> {
    let class = &set.class_names()[set.label(index as usize) as usize];
    PictureEntry { file, role, class, index, name: set.file(index as usize), near: None }
}

impl Session {
    /// Writes `images/`: 25 training images, from all classes if possible; the same images with the augmentation of the first
    /// epoch, if the recipe has any; the images `test` of the test set; if the run trains on features, the training images
    /// nearest to the images `surest`; where the network can be explained, what decided about the images `surest`; and last,
    /// `index.json`. Earlier content of the folder is removed.
    ///
    /// # Errors
    /// If an image of `test` or `surest` does not exist, or a file cannot be written.
    pub fn write_pictures(&self, test: &[u32], surest: &[u32]) -> Result<()> {
        let (data, recipe) = (&self.data, &self.recipe);
        if let Some(index) = test.iter().chain(surest).find(|&&index| index as usize >= data.test.set.len()) {
            let problem =
                format!("image {index} was requested, but there are {} test images", data.test.set.len());
            return Err(TrainingError::Damaged { path: self.recorder.run.path().to_owned(), problem });
        }
        self.clear_pictures()?;
        let set = &data.train.set;
        let samples = images_to_show(set, &data.train.indices, N_SAMPLES, recipe.seed)?;
        let mut pictures = Vec::new();
        for (i, &index) in samples.iter().enumerate() {
            let picture = set.read(index as usize)?;
            pictures.push(self.picture(format!("sample-{i:02}.png"), "sample", set, index, &picture)?);
        }
        if recipe.augment != Augment::default() {
            let cfg = train_loader(recipe, data, self.learner.model.input_px);
            for (i, &index) in samples.iter().enumerate() {
                let seen = as_seen(set, index, &cfg, 0)?;
                let file = format!("augmented-{i:02}.png");
                pictures.push(self.picture(file, "augmented", set, index, &seen)?);
            }
        }
        let set = &data.test.set;
        for &index in test {
            let picture = set.read(index as usize)?;
            pictures.push(self.picture(format!("test-{index}.png"), "test", set, index, &picture)?);
        }
        let set = &data.train.set;
        for &index in surest {
            for (i, near) in self.nearest(index, N_NEAREST).into_iter().enumerate() {
                let (picture, file) = (set.read(near.index as usize)?, format!("near-{index}-{i}.png"));
                self.recorder.run.write(&format!("{IMAGES}/{file}"), &to_png(&picture, MAX_NEAR_SIDE_PX)?)?;
                let entry = entry(file, "near", set, near.index);
                pictures.push(PictureEntry { near: Some((index, near.similarity)), ..entry });
            }
        }
        pictures.extend(self.maps(surest)?);
        let index = Index {
            version: VERSION,
            image_px: data.train.set.block_shape().map(|[height, width, _]| [height, width]),
            train_counts: self.train_counts(),
            pictures,
        };
        self.recorder.run.write_json(IMAGE_INDEX, &index)
    }

    /// Writes what decided about test images, and returns the entries: none where the network cannot be explained.
    fn maps(&self, indices: &[u32]) -> Result<Vec<PictureEntry<'_>>> {
        let (set, input) = (&self.data.test.set, self.input());
        let mut entries = Vec::new();
        for &index in indices {
            let explanation = match explain(&self.learner.model, &input, set, index, None) {
                Ok(explanation) => explanation,
                Err(error @ TrainingError::Data(_)) => return Err(error),
                Err(_) => return Ok(entries), // a vision transformer, or a model on a GPU
            };
            let file = format!("map-{index}.png");
            let png = to_png(&explanation.overlay(), MAX_MAP_SIDE_PX)?;
            self.recorder.run.write(&format!("{IMAGES}/{file}"), &png)?;
            entries.push(entry(file, "map", set, index));
        }
        Ok(entries)
    }

    /// Writes a picture of the image `index` of `set`.
    fn picture<'a>(
        &self,
        file: String,
        role: &'static str,
        set: &'a ImageSet,
        index: u32,
        picture: &Picture<'_>,
    ) -> Result<PictureEntry<'a>> {
        let name = set.file(index as usize);
        let max_side_px = if name.is_some() { MAX_PHOTOGRAPH_SIDE_PX } else { MAX_SIDE_PX };
        self.recorder.run.write(&format!("{IMAGES}/{file}"), &to_png(picture, max_side_px)?)?;
        Ok(entry(file, role, set, index))
    }

    /// Removes pictures from an earlier end of the run.
    fn clear_pictures(&self) -> Result<()> {
        let folder = self.recorder.run.path().join(IMAGES);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::new("remove the folder", &folder)(e).into())
            }
            _ => Ok(()),
        }
    }

    fn train_counts(&self) -> Vec<u64> {
        let part = &self.data.train;
        let mut counts = vec![0; part.set.class_names().len()];
        part.indices.iter().for_each(|&i| counts[part.set.label(i as usize) as usize] += 1);
        counts
    }
}
