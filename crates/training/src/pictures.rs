//! `images/` of a run folder: some of the images that the run saw, for a report. What `index.json` says stands in
//! `tallow-report`, which reads it.

use std::fs;

use serde::Serialize;
use tallow_core::FileError;
use tallow_dataset::{Augment, ImageSet, images_to_show, to_png, transformed_pixels};

use crate::checkpoint::encoding;
use crate::error::{Result, TrainingError};
use crate::session::Session;

const VERSION: u32 = 1;
/// Training images that are shown: five rows of five.
const N_SAMPLES: usize = 25;
/// No picture is longer or wider, so that all of them fit into a page.
const MAX_SIDE_PX: usize = 72;

#[derive(Serialize)]
struct Index<'a> {
    version: u32,
    /// Height and width of the data set's images.
    image_px: [usize; 2],
    /// Images that are trained on, by class.
    train_counts: Vec<u64>,
    pictures: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    file: String,
    role: &'static str,
    class: &'a str,
    /// Its place in its data set.
    index: u32,
}

impl Session {
    /// Writes `images/`: 25 training images of all classes where that can be; the same as the first epoch's augmentation
    /// changed them, where the recipe has any; the images `test` of the test set; and `index.json`, last. What was there
    /// before goes.
    ///
    /// # Errors
    /// If an image of `test` is not there, or a file cannot be written.
    pub fn write_pictures(&self, test: &[u32]) -> Result<()> {
        let (data, recipe) = (&self.data, &self.recipe);
        if let Some(index) = test.iter().find(|&&index| index as usize >= data.test.set.len()) {
            let problem =
                format!("image {index} is asked for, there are {} test images", data.test.set.len());
            return Err(TrainingError::Damaged { path: self.run.path().to_owned(), problem });
        }
        self.clear_pictures()?;
        let set = &data.train.set;
        let samples = images_to_show(set, &data.train.indices, N_SAMPLES, recipe.seed)?;
        let mut pictures = Vec::new();
        for (i, &index) in samples.iter().enumerate() {
            let pixels = set.image(index as usize);
            pictures.push(self.picture(format!("sample-{i:02}.png"), "sample", set, index, pixels)?);
        }
        if recipe.augment != Augment::default() {
            for (i, &index) in samples.iter().enumerate() {
                let (shape, augment) = (shape(set), &recipe.augment);
                let transform = augment.draw(recipe.seed, 0, index, shape[0], shape[1]);
                let normalization = &data.dataset.normalization;
                let seen = transformed_pixels(set.image(index as usize), shape, &transform, normalization);
                let file = format!("augmented-{i:02}.png");
                pictures.push(self.picture(file, "augmented", set, index, &seen)?);
            }
        }
        let set = &data.test.set;
        for &index in test {
            let pixels = set.image(index as usize);
            pictures.push(self.picture(format!("test-{index}.png"), "test", set, index, pixels)?);
        }
        let [height, width, _] = shape(set);
        let index = Index {
            version: VERSION,
            image_px: [height, width],
            train_counts: self.train_counts(),
            pictures,
        };
        let json = serde_json::to_string_pretty(&index).map_err(encoding)?;
        self.run.write("images/index.json", format!("{json}\n").as_bytes())
    }

    /// Writes a picture that shows the image `index` of `set`.
    fn picture<'a>(
        &self,
        file: String,
        role: &'static str,
        set: &'a ImageSet,
        index: u32,
        pixels: &[u8],
    ) -> Result<Entry<'a>> {
        self.run.write(&format!("images/{file}"), &to_png(pixels, shape(set), MAX_SIDE_PX)?)?;
        let class = &set.class_names()[set.label(index as usize) as usize];
        Ok(Entry { file, role, class, index })
    }

    /// Removes the pictures of an earlier end of the run.
    fn clear_pictures(&self) -> Result<()> {
        let folder = self.run.path().join("images");
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

/// Height, width and channels.
fn shape(set: &ImageSet) -> [usize; 3] {
    [set.height(), set.width(), set.channels()]
}
