//! Counts the images in an epoch's batches, from the embedded sample or from images made here.
#![forbid(unsafe_code)]

use std::sync::Arc;

use tallow_dataset::{Augment, Error, ImageSet, Mix, Normalization, TrainLoader, train_batches};

#[cfg(feature = "sample")]
fn images() -> Result<Arc<ImageSet>, Error> {
    Ok(tallow_dataset::load_sample()?.train)
}

#[cfg(not(feature = "sample"))]
fn images() -> Result<Arc<ImageSet>, Error> {
    let class_names = Arc::from(["left", "right"].map(tallow_dataset::Foreign::from));
    Ok(Arc::new(ImageSet::new(2, 3, 3, vec![128; 4 * 2 * 3 * 3], vec![0, 1, 0, 1], class_names)?))
}

fn main() -> Result<(), Error> {
    let set = images()?;
    let loader = TrainLoader {
        batch_size: 64,
        drop_last: false,
        augment: Augment::default(),
        mix: Mix::default(),
        normalization: Normalization::CIFAR10,
        preprocess: None,
        seed: 0,
        share: None,
    };
    let indices = (0..set.len() as u32).collect();
    let batches = train_batches(set, indices, &loader, 0, 0)?;
    let n_images = batches.map(|batch| Ok(batch?.n)).sum::<Result<usize, Error>>()?;
    println!("{n_images} images");
    Ok(())
}
